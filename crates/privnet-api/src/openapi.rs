use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{ENDPOINTS, Endpoint, reply};

/// The OpenAPI document as it is served. `cargo run -p privnet-api --example openapi > crates/privnet-api/openapi.json`
/// rewrites the file.
pub const OPENAPI_JSON: &str = include_str!("../openapi.json");

/// Statuses that any request may be refused with: the path or method is unknown, there are too many requests
/// of one client or of all, or we have a fault.
const REFUSALS_OF_ALL: [u16; 5] = [404, 405, 429, 500, 503];

/// Those of what needs a key besides: the request is not signed, or the key may not; what is signed is too large.
const REFUSALS_OF_SIGNED: [u16; 2] = [403, 413];

/// The name of the security scheme.
const SIGNATURE: &str = "exo2";

/// The OpenAPI document, made from the table of endpoints and their types.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schemas =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    let error = schemas.subschema_for::<reply::Error>();
    let mut paths = Map::new();
    for endpoint in &ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation(endpoint, &mut schemas);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "privnet",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Private networks for instances on your own hosts. What is under /v2 is what clients of Exoscale's API speak; the rest is privnet's own.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{SIGNATURE: []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                SIGNATURE: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "EXO2-HMAC-SHA256 credential=KEY[,signed-query-args=NAME;NAME],expires=UNIX_SECONDS,signature=BASE64: \"API Request Signature\" in Exoscale's API documentation.",
                },
            },
            "schemas": schemas.take_definitions(true),
            "responses": {
                "refusal": {
                    "description": "The request is refused and has changed nothing.",
                    "content": {"application/json": {"schema": error}},
                },
            },
        },
    });
    tidy(&mut document);
    document
}

fn operation(endpoint: &Endpoint, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let success = match endpoint.reply {
        Some(schema) => json!({"description": "Done.", "content": {"application/json": {"schema": schema(schemas)}}}),
        None => json!({"description": "Done."}),
    };
    responses.insert(endpoint.status.to_string(), success);
    let of_signed: &[u16] = if endpoint.access.is_some() { &REFUSALS_OF_SIGNED } else { &[] };
    let refusals = REFUSALS_OF_ALL.iter().chain(of_signed).chain(endpoint.refusals);
    responses.extend(refusals.map(|status| (status.to_string(), json!({"$ref": "#/components/responses/refusal"}))));
    let mut operation = json!({
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "responses": responses,
    });
    if endpoint.access.is_none() {
        operation["security"] = json!([]);
    }
    let parameters = parameters(endpoint);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = endpoint.request {
        let schema = schema(schemas);
        let required = requires_something(&schema, schemas);
        operation["requestBody"] = json!({"required": required, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let names = endpoint.path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let schema = |name| match name {
        "field" => json!({"type": "string", "enum": ["labels"]}),
        "key" => json!({"type": "string", "pattern": "^EXO[0-9a-f]{24}$"}),
        "name" => json!({"type": "string"}),
        "entity" => json!({"type": "string", "enum": ["instance", "private-network"]}),
        _ => json!({"type": "string", "format": "uuid"}),
    };
    let path = names.map(|name| json!({"in": "path", "name": name, "required": true, "schema": schema(name)}));
    let schema = |name| match name {
        "from" | "to" => json!({"type": "string", "format": "date-time"}),
        "organization" => json!({"type": "string", "format": "uuid"}),
        _ => json!({"type": "string"}),
    };
    let query = endpoint.query.iter().map(|name| json!({"in": "query", "name": name, "schema": schema(*name)}));
    path.chain(query).collect()
}

/// Whether the schema, a reference, has required properties: then an empty body cannot do.
fn requires_something(schema: &schemars::Schema, schemas: &SchemaGenerator) -> bool {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    name.and_then(|name| schemas.definitions().get(name)).is_some_and(|schema| schema.get("required").is_some())
}

/// An `Option` is a property that may be absent, and none that may be null. A whole number is what clients generated
/// from Exoscale's document know as one.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            object.values_mut().for_each(tidy);
            if object.get("type").is_some_and(|kind| kind == "integer") {
                object.insert("format".to_owned(), "int64".into());
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = &types[..] {
                    object["type"] = only.clone();
                }
            }
            if let Some(Value::Array(options)) = object.get_mut("anyOf") {
                options.retain(|option| option["type"] != "null");
                if let [Value::Object(only)] = &mut options[..] {
                    let only = std::mem::take(only);
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_document_is_current() {
        let checked_in: Value = serde_json::from_str(OPENAPI_JSON).expect("JSON");
        assert!(
            checked_in == document(),
            "rewrite it: cargo run -p privnet-api --example openapi > crates/privnet-api/openapi.json"
        );
    }

    #[test]
    fn nothing_may_be_null_and_everything_referred_to_is_there() {
        let document = document();
        let text = document.to_string();
        for null in ["\"null\"", ":null", "[null", ",null"] {
            assert!(!text.contains(null), "{text}");
        }
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
