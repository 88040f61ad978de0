//! Requests made from our own OpenAPI document, valid ones and spoilt ones, by everybody who may send some: none is
//! a fault, each answer is one that the document has, and what breaks the document is not taken.

use std::cell::Cell;
use std::collections::BTreeMap;

use privnet_api::Signer;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::agent::acknowledge;
use crate::support::client::{Client, text};
use crate::support::schema::{DOCUMENT, resolve};
use crate::support::{Agent, Setup, TestServer, managed};

/// What a failed run adds is tried first by all that follow; commit it with what mends it.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/conformance.seeds");

/// Stands for an id of anything; which one is chosen when the request is sent.
const SOME_ID: &str = "{id}";
/// What the test stands on.
const GROUND: [&str; 2] = ["hosts", "organizations"];
/// What has ids, by the name of a property or a part of a path. `{instance}` stands for one of an instance, mostly.
const KINDS: [&str; 7] =
    ["private-network", "instance", "operation", "instance-type", "template", "hosts", "organizations"];

const NOBODYS: &str = "01a0c450-6c00-714d-8876-6b2ed10826c9";

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f key";

/// An operation of the document.
struct Operation {
    method: String,
    path: &'static str,
    described: &'static Value,
}

/// A request to one.
#[derive(Debug, Clone)]
struct Sent {
    /// By name, in the path.
    parameters: Vec<(String, Value)>,
    query: Vec<(String, Value)>,
    body: Option<Value>,
    /// Whether the document allows it.
    is_valid: bool,
}

fn operations() -> Vec<Operation> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let of_path = |(path, methods): (&'static String, &'static Value)| {
        let methods = methods.as_object().expect("methods").iter();
        methods.map(move |(method, described)| Operation { method: method.to_uppercase(), path, described })
    };
    paths.iter().flat_map(of_path).collect()
}

/// A value that a schema allows.
fn valid(schema: &Value) -> BoxedStrategy<Value> {
    let schema = resolve(schema, &DOCUMENT);
    if let Some(allowed) = schema["enum"].as_array() {
        return select(allowed.clone()).boxed();
    }
    match schema["type"].as_str().expect("a type") {
        "object" => object(schema).prop_map(Value::from).boxed(),
        "array" => {
            let most = schema["maxItems"].as_u64().map_or(3, |most| most.min(3) as usize);
            vec(valid(&schema["items"]), 0..=most).prop_map(Value::from).boxed()
        }
        "integer" => {
            let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
            let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
            prop_oneof![Just(least), Just(most), least..=most, least..=least.saturating_add(20).min(most)]
                .prop_map(Value::from)
                .boxed()
        }
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        _ => valid_text(schema).prop_map(Value::from).boxed(),
    }
}

fn valid_text(schema: &Value) -> BoxedStrategy<String> {
    let of = |texts: &[&str]| select(texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).boxed();
    match schema["format"].as_str() {
        Some("uuid") => of(&[SOME_ID]),
        Some("ipv4") => of(&[
            "10.0.0.1",
            "10.0.0.10",
            "10.0.0.12",
            "10.0.0.200",
            "10.0.0.254",
            "10.0.1.1",
            "255.255.255.0",
            "255.0.255.0",
            "0.0.0.0",
            "255.255.255.255",
        ]),
        Some("date-time") => of(&["2026-11-24T15:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]),
        Some(other) => panic!("a request has a text of the format {other}"),
        None => {
            let least = schema["minLength"].as_u64().unwrap_or(0) as usize;
            let most = schema["maxLength"].as_u64().map_or(300, |most| most as usize);
            let fits = move |text: &String| (least..=most).contains(&text.chars().count());
            prop_oneof![
                3 => of(&["a", "web", "h1", "first", "netns", "lab.example.net", "/run/netns/a", "", KEY]),
                1 => Just("é".repeat(most)),
                1 => "[^\\PC]{1,20}",
                1 => "\\PC{0,30}",
            ]
            .prop_filter("as long as it may be", fits)
            .boxed()
        }
    }
}

/// The schema of a property whose `id` is one of what the property's name says.
fn with_ids_of(name: &str, schema: &Value) -> Value {
    let mut schema = resolve(schema, &DOCUMENT).clone();
    if let Some(id) = schema.pointer_mut("/properties/id").filter(|_| KINDS.contains(&name)) {
        *id = ids_of(name);
    }
    schema
}

fn ids_of(kind: &str) -> Value {
    json!({"type": "string", "enum": [format!("{{{kind}}}")]})
}

fn object(schema: &Value) -> BoxedStrategy<Map<String, Value>> {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let each: Vec<_> = properties
        .map(|(name, schema)| {
            let name = name.clone();
            let schema = &with_ids_of(&name, schema);
            let given = match required.contains(&name.as_str()) {
                true => valid(schema).prop_map(Some).boxed(),
                false => prop::option::of(valid(schema)).boxed(),
            };
            given.prop_map(move |value| Some((name.clone(), value?)))
        })
        .collect();
    let more = match &schema["additionalProperties"] {
        Value::Object(_) => btree_map("[a-z/]{1,12}", valid(&schema["additionalProperties"]), 0..3).boxed(),
        _ => Just(Default::default()).boxed(),
    };
    (each, more).prop_map(|(each, more)| each.into_iter().flatten().chain(more).collect()).boxed()
}

/// A value that a schema does not allow: of another kind, beyond a limit, with a required property missing or with
/// a property spoilt. `None` where everything is allowed.
fn spoilt(schema: &Value) -> Option<BoxedStrategy<Value>> {
    let schema = resolve(schema, &DOCUMENT);
    let kind = schema["type"].as_str().expect("a type");
    let others = [json!({"a": 1}), json!([[]]), json!("x y"), json!(1.5), json!(true)];
    let is_other = |value: &&Value| match kind {
        "object" => !value.is_object(),
        "array" => !value.is_array(),
        "string" => !value.is_string(),
        "boolean" => !value.is_boolean(),
        _ => true,
    };
    let mut ways = vec![select(others.iter().filter(is_other).cloned().collect::<Vec<_>>()).boxed()];
    if schema.get("enum").is_some() || schema.get("format").is_some_and(|format| format != "int64") {
        ways.push(select(vec![json!("nonsense"), json!(""), json!("10.0.0"), json!("é")]).boxed());
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        ways.push(Just(json!("a".repeat(most as usize + 1))).boxed());
    }
    if schema["minLength"].as_u64() == Some(1) {
        ways.push(Just(json!("")).boxed());
    }
    for (bound, beyond) in [("minimum", -1), ("maximum", 1)] {
        if let Some(bound) = schema[bound].as_i64() {
            ways.push(Just(json!(bound + beyond)).boxed());
        }
    }
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| *most > 0) {
        ways.push(vec(valid(&schema["items"]), most as usize + 1).prop_map(Value::from).boxed());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let name = name.clone();
        if let Some(property) = spoilt(property) {
            let put = |name: String, (mut object, value): (Map<String, Value>, Value)| {
                object.insert(name, value);
                Value::from(object)
            };
            let spoilt = name.clone();
            ways.push((object(schema), property).prop_map(move |parts| put(spoilt.clone(), parts)).boxed());
        }
        if schema["required"].as_array().is_some_and(|required| required.contains(&json!(name))) {
            let without = move |mut object: Map<String, Value>| {
                object.remove(&name);
                Value::from(object)
            };
            ways.push(object(schema).prop_map(without).boxed());
        }
    }
    Some(proptest::strategy::Union::new(ways).boxed())
}

/// One of what the path is about; but of the host and the organization that the test stands on, nothing is deleted.
fn path_id(operation: &Operation, schema: &Value) -> BoxedStrategy<Value> {
    let kind = operation.path.split(['/', ':']).find(|part| KINDS.contains(part));
    let stays = |kind: &&str| operation.method == "DELETE" && GROUND.contains(kind);
    kind.filter(|kind| !stays(kind)).map_or_else(|| valid(schema), |kind| valid(&ids_of(kind)))
}

/// Parameters in the path are valid: what is not in them leads elsewhere.
fn request(operation: &Operation) -> BoxedStrategy<Sent> {
    let described = operation.described;
    let parameters = described["parameters"].as_array().cloned().unwrap_or_default();
    let name = |one: &Value| one["name"].as_str().expect("a name").to_owned();
    let (in_path, in_query): (Vec<_>, Vec<_>) = parameters.into_iter().partition(|one| one["in"] == "path");
    let in_path: Vec<_> = in_path
        .iter()
        .map(|one| {
            let value = match name(one).as_str() {
                "key" => Just(json!("EXO000000000000000000000000")).boxed(),
                "name" => select(vec![json!("first"), json!("second")]).boxed(),
                "id" => path_id(operation, &one["schema"]),
                _ => valid(&one["schema"]),
            };
            (Just(name(one)), value)
        })
        .collect();
    let in_query: Vec<_> = in_query
        .iter()
        .map(|one| {
            prop::option::of((Just(name(one)), prop_oneof![valid(&one["schema"]), Just(json!("")), Just(json!("é&"))]))
        })
        .collect();
    let body = match described.pointer("/requestBody/content/application~1json/schema") {
        None => Just((None, true)).boxed(),
        Some(schema) => {
            let good = valid(schema).prop_map(|body| (Some(body), true));
            let bad = spoilt(schema).expect("a body that breaks it").prop_map(|body| (Some(body), false));
            prop_oneof![good, bad].boxed()
        }
    };
    (in_path, in_query, body)
        .prop_map(|(parameters, query, (body, is_valid))| Sent {
            parameters,
            query: query.into_iter().flatten().collect(),
            body,
            is_valid,
        })
        .boxed()
}

/// As a URL has it.
fn encoded(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(octet).collect()
}

/// Whoever has a new key of this role: of this organization, or of the caller's.
fn holder(server: &TestServer, role: &str, organization: Option<&str>) -> Client {
    let mut wish = json!({"name": role, "role": role});
    if let Some(organization) = organization {
        wish["organization"] = organization.into();
    }
    let key = server.ask("POST", "/privnet/v1/keys", wish).body;
    let (key, secret) = (text(&key["id"]), text(&key["secret"]));
    Client::of(server.address, Signer::new(&privnet_api::Credentials { key, secret }).expect("a signer"))
}

/// What everybody who is not of another organization sees.
fn seen_by_the_first(server: &TestServer) -> Value {
    ["/v2/private-network", "/v2/instance", "/v2/ssh-key", "/v2/quota"].map(|path| server.get(path)).into()
}

/// What there is, of the first organization and of another, by kind. What is used up is made anew.
fn furnish(server: &TestServer, foreign: &Client, acme: &str) -> BTreeMap<&'static str, Vec<String>> {
    let mut ids = BTreeMap::from([("organizations", vec![acme.to_owned()])]);
    let mut add = |kind, id: &Value| ids.entry(kind).or_insert_with(Vec::new).push(text(id));
    add("hosts", &server.host("h1").expect("a host")["id"]);
    for client in [server as &Client, foreign] {
        let [instance_type, template] = [("instance-type", "instance-types"), ("template", "templates")]
            .map(|(path, list)| client.get(&format!("/v2/{path}"))[list][0]["id"].clone());
        add("instance-type", &instance_type);
        add("template", &template);
        let wish = json!({"instance-type": {"id": instance_type}, "template": {"id": template}, "disk-size": 10});
        for (kind, list, wish) in [("private-network", "private-networks", managed(9)), ("instance", "instances", wish)]
        {
            let path = format!("/v2/{kind}");
            if client.get(&path)[list].as_array().is_some_and(Vec::is_empty) {
                add("operation", &client.post(&path, wish)["id"]);
            }
            for one in client.get(&path)[list].as_array().expect("a list") {
                add(kind, &one["id"]);
            }
        }
    }
    ids
}

#[test]
fn every_answer_is_one_that_the_document_has() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let acme = server.ask("POST", "/privnet/v1/organizations", json!({"name": "acme"})).body;
    let acme = text(&acme["id"]);
    let foreign = holder(&server, "admin", Some(&acme));
    let (admin, reader) = (holder(&server, "admin", None), holder(&server, "read-only", None));
    let callers: [(&str, &Client); 4] =
        [("operator", &server), ("admin", &admin), ("read-only", &reader), ("foreign", &foreign)];

    let operations = operations();
    // What reads a body can go wrong in the most ways.
    let weight = |one: &Operation| if one.described.get("requestBody").is_some() { 8 } else { 1 };
    let of_each = |(index, one)| (weight(one), (Just(index), request(one)).boxed());
    let requests: Vec<_> = operations.iter().enumerate().map(of_each).collect();
    let request = (proptest::strategy::Union::new_weighted(requests), 0..callers.len(), vec(any::<Index>(), 16));
    // What there is, until something has changed.
    let known = Cell::new(None);
    let persistence = FileFailurePersistence::Direct(SEEDS);
    let config = Config { failure_persistence: Some(Box::new(persistence)), ..Config::with_cases(600) };
    let held = TestRunner::new(config).run(&request, |((index, sent), caller, chosen)| {
        let (operation, (role, caller)) = (&operations[index], callers[caller]);
        let mut chosen = chosen.iter().cycle();
        let is_change = operation.method != "GET";
        let ids = known.take().unwrap_or_else(|| furnish(&server, &foreign, &acme));
        let others = ids.iter().filter(|(kind, _)| !GROUND.contains(kind)).flat_map(|(_, ids)| ids);
        let any: Vec<_> = others.cloned().chain([NOBODYS.to_owned()]).collect();
        let mut filled = |text: &str| {
            let mut choose = |ids: &[String]| chosen.next().expect("an index").get(ids).clone();
            let text = text.replace(SOME_ID, &choose(&any));
            KINDS.iter().fold(text, |text, kind| {
                let own = ids
                    .get(kind)
                    .filter(|_| choose(&["own", "own", "own", "own", "own", "any"].map(str::to_owned)) == "own");
                text.replace(&format!("{{{kind}}}"), &choose(own.unwrap_or(&any)))
            })
        };
        let mut path = operation.path.to_owned();
        for (name, value) in &sent.parameters {
            path = path.replace(&format!("{{{name}}}"), &encoded(&filled(value.as_str().expect("a text"))));
        }
        for (index, (name, value)) in sent.query.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            path = format!("{path}{separator}{name}={}", encoded(&filled(value.as_str().expect("a text"))));
        }
        let body = sent.body.as_ref().map(|body| filled(&body.to_string())).unwrap_or_default();
        let before = is_change.then(|| seen_by_the_first(&server));
        // The client holds what is answered against the document.
        let reply = caller.send(&operation.method, &path, body.as_bytes());
        let what = format!("{} {path} {body} by {role}: {reply:?}", operation.method);
        prop_assert!(reply.status < 500, "{what}");
        prop_assert!(sent.is_valid || reply.status >= 400, "{what}");
        prop_assert!(reply.status < 400 || !text(&reply.body["message"]).is_empty(), "{what}");
        let has_changed = is_change && reply.status < 400;
        if let Some(before) = before.filter(|_| !has_changed || ["foreign", "read-only"].contains(&role)) {
            prop_assert_eq!(seen_by_the_first(&server), before, "{}", what);
        }
        known.set(Some(ids).filter(|_| !has_changed));
        Ok(())
    });
    held.expect("every request");
}
