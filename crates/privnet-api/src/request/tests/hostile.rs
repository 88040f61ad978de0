//! Whatever JSON comes, it is read or refused clearly, by each endpoint that reads a body.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::sample::select;

use super::*;

/// Bodies that are worth trying each time, one a line.
const SEEDS: &str = include_str!("hostile.jsonl");

/// The longest refusal, in octets: short enough for a line of a log.
const REFUSAL_OCTETS_MAX: usize = 8192;

/// The name of every property that some body has.
static PROPERTIES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let document = crate::document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let properties = schemas.values().filter_map(|schema| schema["properties"].as_object());
    properties.flat_map(|properties| properties.keys().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
});

/// Texts that some property takes.
const GOOD: [&str; 7] = ["n", "h1", "netns", NETWORK, "10.0.0.10", "10.0.0.99", "255.255.255.0"];

fn key() -> impl Strategy<Value = String> {
    prop_oneof![6 => select(PROPERTIES.as_slice()), 1 => "\\PC{0,8}"]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        4 => select(&GOOD).prop_map(Value::from),
        2 => any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

fn check(body: &[u8]) {
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.request.is_some()) {
        let path = endpoint.path.replace("{id}", NETWORK);
        let read = || ask(endpoint.method.as_str(), &path, body);
        match read() {
            Ok(request) => assert_eq!(read().ok(), Some(request), "{}: it is read in two ways", endpoint.id),
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(!text.is_empty() && text.len() <= REFUSAL_OCTETS_MAX, "{}: {text}", endpoint.id);
                assert!(!text.contains(char::is_control), "{}: {text:?}", endpoint.id);
            }
        }
    }
}

#[test]
fn the_seeds_are_read_or_refused() {
    SEEDS.lines().for_each(|line| check(line.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_object_is_read_or_refused(body in prop::collection::btree_map(key(), json(), 0..8)) {
        check(json!(body).to_string().as_bytes());
    }

    #[test]
    fn a_body_that_breaks_off_is_refused(body in prop::collection::btree_map(key(), json(), 1..8), at in any::<prop::sample::Index>()) {
        let text = json!(body).to_string();
        let octets = &text.as_bytes()[..1 + at.index(text.len() - 1)];
        check(octets);
    }
}
