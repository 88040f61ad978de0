//! Whether a reply is what the OpenAPI documents promise: privnet's own, and Exoscale's. Both are read as closed:
//! a property that they do not have may not be there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use privnet_model::NetworkId;
use serde_json::Value;

use super::{Reply, official};

/// Our own document.
pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(privnet_api::OPENAPI_JSON).expect("the document is JSON"));

/// Holds status, content type and body against the documents.
#[track_caller]
pub(super) fn check_reply(method: &str, path: &str, reply: &Reply) {
    let content_type = reply.headers.get("content-type").map(|value| value.to_str().expect("a text"));
    let expected = (reply.status != 204).then_some("application/json; charset=utf-8");
    assert_eq!(content_type, expected, "{method} {path}");
    let refusal = "#/components/responses/refusal";
    let schema = match privnet_api::route(method, path.split('?').next().unwrap_or_default()) {
        Ok(route) => {
            let documented = route.endpoint.method.as_str().to_ascii_lowercase();
            let responses = &DOCUMENT["paths"][route.endpoint.path][documented]["responses"];
            let response = &responses[reply.status.to_string()];
            assert!(!response.is_null(), "{method} {path}: the document knows no status {}", reply.status);
            if reply.status == 200 && method != "HEAD" {
                official::check_reply(route.endpoint.id, &reply.body);
            }
            resolve(response, &DOCUMENT)
        }
        Err(_) => DOCUMENT.pointer(&refusal[1..]).expect("the refusal"),
    };
    match schema.pointer("/content/application~1json/schema") {
        Some(_) if method == "HEAD" => {}
        Some(schema) => check(&reply.body, schema, &DOCUMENT, &format!("{method} {path}")),
        None => assert_eq!(reply.body, Value::Null, "{method} {path}"),
    }
}

/// What a schema refers to within its document.
pub(crate) fn resolve<'a>(schema: &'a Value, document: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => document.pointer(&reference[1..]).expect("what is referred to is there"),
        None => schema,
    }
}

/// Types, formats, enumerations, ranges, required and undeclared properties. What patterns say is left to the
/// tests of those who write such texts.
#[track_caller]
pub(super) fn check(value: &Value, schema: &Value, document: &Value, at: &str) {
    let schema = resolve(schema, document);
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        assert!(allowed.contains(value), "{at}: {value} is none of {allowed:?}");
    }
    match schema["type"].as_str() {
        Some("object") => check_object(value, schema, document, at),
        Some("array") => {
            let items = value.as_array().unwrap_or_else(|| panic!("{at}: {value} is no array"));
            items.iter().for_each(|item| check(item, &schema["items"], document, &format!("{at}[]")));
        }
        Some("string") => check_text(value, schema, at),
        Some("boolean") => assert!(value.is_boolean(), "{at}: {value} is no boolean"),
        Some("integer") => {
            let number = value.as_i64().unwrap_or_else(|| panic!("{at}: {value} is no integer"));
            assert!(schema["minimum"].as_i64().is_none_or(|least| number >= least), "{at}: {number}");
            assert!(schema["maximum"].as_i64().is_none_or(|most| number <= most), "{at}: {number}");
        }
        other => panic!("{at}: the document has a type that is not checked: {other:?}"),
    }
}

#[track_caller]
fn check_text(value: &Value, schema: &Value, at: &str) {
    let text = value.as_str().unwrap_or_else(|| panic!("{at}: {value} is no string"));
    let length = text.chars().count() as u64;
    assert!(schema["minLength"].as_u64().is_none_or(|least| length >= least), "{at}: {text}");
    assert!(schema["maxLength"].as_u64().is_none_or(|most| length <= most), "{at}: {text}");
    let is_of_the_format = match schema["format"].as_str() {
        None => true,
        Some("uuid") => text.parse::<NetworkId>().is_ok(),
        Some("ipv4") => text.parse::<Ipv4Addr>().is_ok(),
        Some("ip") => text.parse::<IpAddr>().is_ok(),
        Some("date-time") => text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'),
        Some("uri") => text.starts_with("http://") || text.starts_with("https://"),
        Some(other) => panic!("{at}: the document has a format that is not checked: {other}"),
    };
    assert!(is_of_the_format, "{at}: {text} is no {}", schema["format"]);
}

#[track_caller]
fn check_object(value: &Value, schema: &Value, document: &Value, at: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("{at}: {value} is no object"));
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(object.contains_key(required), "{at}: {required} is missing in {value}");
    }
    for (property, value) in object {
        let at = format!("{at}.{property}");
        match (schema.pointer(&format!("/properties/{property}")), &schema["additionalProperties"]) {
            (Some(schema), _) => check(value, schema, document, &at),
            (None, Value::Bool(true)) => {}
            (None, Value::Object(_)) => check(value, &schema["additionalProperties"], document, &at),
            (None, _) => panic!("{at} is not in the document"),
        }
    }
}
