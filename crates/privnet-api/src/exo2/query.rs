use std::collections::HashMap;

use super::SIGNED_QUERY_ARGS_MAX;
use crate::query::decode;

/// Values as they are in a query, of which only one, and not an empty one, is signed.
#[derive(Clone, Copy)]
enum Values<'a> {
    None,
    One(&'a str),
    Several,
}

impl<'a> Values<'a> {
    fn add(&mut self, value: &'a str) {
        // Python knows nothing of empty values, and for others it does not matter that they are signed.
        if !value.is_empty() {
            *self = if matches!(self, Self::None) { Self::One(value) } else { Self::Several };
        }
    }
}

/// The sorted names of what has one value at most, where the header can hold them and as many as it may.
pub(super) fn signable_names(query: &str) -> Vec<String> {
    let mut arguments: HashMap<_, Values<'_>> = HashMap::new();
    for (name, value) in pairs(query) {
        arguments.entry(decode(name)).or_insert(Values::None).add(value);
    }
    let single = arguments.into_iter().filter(|(_, values)| !matches!(values, Values::Several));
    let mut names: Vec<_> = single.filter_map(|(name, _)| String::from_utf8(name).ok()).collect();
    let fits =
        |name: &str| !name.is_empty() && !name.contains(|c: char| matches!(c, ';' | ',') || !c.is_ascii_graphic());
    names.retain(|name| fits(name));
    names.sort_unstable();
    names.truncate(SIGNED_QUERY_ARGS_MAX);
    names
}

/// What is signed of the arguments with these names: each one's value, decoded; of several values, none. A name
/// that comes again has nothing more, so this is never longer than the query.
pub(super) fn signed_values(query: &str, names: &[impl AsRef<str>]) -> Vec<u8> {
    let mut named: HashMap<_, _> = names.iter().map(|name| (name.as_ref().as_bytes(), Values::None)).collect();
    for (name, value) in pairs(query) {
        if let Some(values) = named.get_mut(decode(name).as_slice()) {
            values.add(value);
        }
    }
    let mut signed = Vec::new();
    for name in names {
        if let Some(Values::One(value)) = named.remove(name.as_ref().as_bytes()) {
            signed.append(&mut decode(value));
        }
    }
    signed
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
