//! The arguments of a query (application/x-www-form-urlencoded).

use serde_json::{Map, Value};

use crate::percent;

/// The first value of each argument that has one, as texts. What does not decode to UTF-8 gets replacement
/// characters, which are part of no valid value.
pub(crate) fn object(query: &str) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(_, value)| !value.is_empty())
    {
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        object.entry(text(decode(name))).or_insert_with(|| Value::String(text(decode(value))));
    }
    object
}

/// Undoes the encoding of a name or a value.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    percent::decode(&text.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_argument_has_its_first_value() {
        let check = |query, expected: Value| assert_eq!(Value::Object(object(query)), expected, "{query}");
        check("", json!({}));
        check("from=2026-11-24T12%3A00%3A00%2B01:00&to=a+b", json!({"from": "2026-11-24T12:00:00+01:00", "to": "a b"}));
        check("a=1&a=2&&b&c=&%64=%ff", json!({"a": "1", "d": "\u{fffd}"}));
    }
}
