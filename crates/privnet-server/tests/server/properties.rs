//! Whatever a mutation is sent: no fault of ours, and no change by what is refused.

use privnet_api::{ENDPOINTS, Method};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::agent::acknowledge;
use crate::support::{Agent, Setup, TestServer, managed};

/// Stands for the id of an instance that there is.
const INSTANCE: &str = "{instance}";

/// A text that some property may have, or none may.
fn any_text() -> impl Strategy<Value = String> {
    let plausible = prop::sample::select(vec![
        "",
        "a",
        "h1",
        "netns",
        "/run/netns/a",
        "10.0.0.1",
        "10.0.0.10",
        "10.0.0.12",
        "10.0.0.254",
        "10.0.1.1",
        "255.255.255.0",
        "255.255.255.252",
        "255.0.255.0",
        "0.0.0.0",
        "255.255.255.255",
        "lab.example.net",
        "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50",
    ]);
    prop_oneof![4 => plausible.prop_map(str::to_owned), 1 => "\\PC{0,300}", 1 => "(?s).{0,8}"]
}

/// Any JSON at all.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..6)
                .prop_map(|pairs| Value::from(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object with properties that requests have, most of them of the right kind.
fn near_valid() -> impl Strategy<Value = Value> {
    let text = || any_text().prop_map(Value::from).boxed();
    let texts = || prop::collection::vec(text(), 0..3).prop_map(Value::from).boxed();
    let labels = prop::collection::btree_map(any_text(), text(), 0..3);
    let labels = labels.prop_map(|labels| Value::from(labels.into_iter().collect::<Map<_, _>>())).boxed();
    let options = ["routers", "dns-servers", "ntp-servers", "domain-search"].map(|name| (name, texts()));
    let instance = object(vec![("id", Just(Value::from(INSTANCE)).boxed())]);
    let properties = ["name", "description", "start-ip", "end-ip", "netmask", "ip", "host", "kind", "netns"];
    let properties = properties.map(|name| (name, text())).into_iter().chain([
        ("labels", labels),
        ("options", object(options.into())),
        ("instance", instance),
    ]);
    let properties = properties.map(|(name, value)| (name, prop_oneof![8 => value, 1 => any_json()].boxed()));
    object(properties.collect())
}

/// An object that has each of these properties or not.
fn object(properties: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let each: Vec<_> = properties
        .into_iter()
        .map(|(name, value)| prop::option::weighted(0.7, value).prop_map(move |value| Some((name.to_owned(), value?))))
        .collect();
    each.prop_map(|each| Value::from(each.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

/// The body of a request.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => near_valid().prop_map(|body| body.to_string().into_bytes()),
        1 => any_json().prop_map(|body| body.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

#[test]
fn nothing_that_is_sent_is_a_fault_or_changes_what_it_is_refused_for() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    for name in ["a", "b"] {
        server.network(managed(3));
        server.network(json!({"name": name}));
        server.instance(name, "h1");
    }
    let mutations: Vec<_> = ENDPOINTS.iter().filter(|endpoint| endpoint.method != Method::Get).collect();
    let field = prop_oneof![Just("labels".to_owned()), "[a-z%]{1,8}"];
    let request = (prop::sample::select(mutations), any::<[Index; 2]>(), field, any_body());
    let config = Config { failure_persistence: None, ..Config::with_cases(300) };
    let held = TestRunner::new(config).run(&request, |(endpoint, [network, instance], field, body)| {
        let network = one_of(&server.get("/v2/private-network")["private-networks"], network);
        let instance = one_of(&server.get("/v2/instance")["instances"], instance);
        let id = if endpoint.path.contains("/instances/") { &instance } else { &network };
        let path = endpoint.path.replace("{id}", id).replace("{field}", &field);
        let body = match String::from_utf8(body) {
            Ok(text) => text.replace(INSTANCE, &instance).into_bytes(),
            Err(other) => other.into_bytes(),
        };
        let before = server.dump();
        let reply = server.send(endpoint.method.as_str(), &path, &body);
        prop_assert!(reply.status < 500, "{path}: {reply:?}");
        if reply.status >= 400 {
            prop_assert!(reply.body["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}");
            prop_assert_eq!(server.dump(), before, "{}", path);
        }
        Ok(())
    });
    held.expect("every request");
}

/// The id of one of those that there are, if there are some.
fn one_of(list: &Value, index: Index) -> String {
    let items = list.as_array().expect("a list");
    let chosen = (!items.is_empty()).then(|| index.get(items));
    chosen.and_then(|item| item["id"].as_str()).unwrap_or("none").to_owned()
}
