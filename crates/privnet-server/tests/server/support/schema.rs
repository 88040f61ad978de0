//! Whether a reply is what the OpenAPI document promises.

use std::sync::LazyLock;

use serde_json::Value;

use super::Reply;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(privnet_api::OPENAPI_JSON).expect("the document is JSON"));

/// Holds status, content type and body against the document.
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
            resolve(response)
        }
        Err(_) => DOCUMENT.pointer(&refusal[1..]).expect("the refusal"),
    };
    match schema.pointer("/content/application~1json/schema") {
        Some(_) if method == "HEAD" => {}
        Some(schema) => check(&reply.body, schema, &format!("{method} {path}")),
        None => assert_eq!(reply.body, Value::Null, "{method} {path}"),
    }
}

fn resolve(schema: &Value) -> &Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("what is referred to is there"),
        None => schema,
    }
}

/// Types, enumerations, ranges, required and undeclared properties.
#[track_caller]
fn check(value: &Value, schema: &Value, at: &str) {
    let schema = resolve(schema);
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        assert!(allowed.contains(value), "{at}: {value} is none of {allowed:?}");
    }
    match schema["type"].as_str() {
        Some("object") => check_object(value, schema, at),
        Some("array") => {
            let items = value.as_array().unwrap_or_else(|| panic!("{at}: {value} is no array"));
            items.iter().for_each(|item| check(item, &schema["items"], &format!("{at}[]")));
        }
        Some("string") => {
            let text = value.as_str().unwrap_or_else(|| panic!("{at}: {value} is no string"));
            let length = text.chars().count() as u64;
            assert!(schema["minLength"].as_u64().is_none_or(|least| length >= least), "{at}: {text}");
            assert!(schema["maxLength"].as_u64().is_none_or(|most| length <= most), "{at}: {text}");
        }
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
fn check_object(value: &Value, schema: &Value, at: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("{at}: {value} is no object"));
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(object.contains_key(required), "{at}: {required} is missing in {value}");
    }
    for (property, value) in object {
        let at = format!("{at}.{property}");
        match (schema.pointer(&format!("/properties/{property}")), &schema["additionalProperties"]) {
            (Some(schema), _) => check(value, schema, &at),
            (None, Value::Bool(true)) => {}
            (None, Value::Object(_)) => check(value, &schema["additionalProperties"], &at),
            (None, _) => panic!("{at} is not in the document"),
        }
    }
}
