use std::collections::HashMap;

use crate::query::decode;

/// The arguments of a query: by name, the values that are not empty. Both are decoded.
pub(super) struct Arguments(HashMap<Vec<u8>, Vec<Vec<u8>>>);

impl Arguments {
    pub(super) fn of(query: &str) -> Self {
        let mut arguments: HashMap<_, Vec<_>> = HashMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let values = arguments.entry(decode(name)).or_default();
            // Python knows nothing of empty values, and for others it does not matter that they are signed.
            if !value.is_empty() {
                values.push(decode(value));
            }
        }
        Self(arguments)
    }

    /// The sorted names of what has one value at most, where the header can hold them.
    pub(super) fn signable_names(&self) -> Vec<&str> {
        let single = self.0.iter().filter(|(_, values)| values.len() <= 1);
        let mut names: Vec<_> = single.filter_map(|(name, _)| std::str::from_utf8(name).ok()).collect();
        let fits =
            |name: &str| !name.is_empty() && !name.contains(|c: char| matches!(c, ';' | ',') || !c.is_ascii_graphic());
        names.retain(|name| fits(name));
        names.sort_unstable();
        names
    }

    /// What is signed of the arguments with these names: of several values, none.
    pub(super) fn values(&self, names: &[&str]) -> Vec<&[u8]> {
        let value = |name: &&str| match self.0.get(name.as_bytes()).map(Vec::as_slice) {
            Some([only]) => Some(only.as_slice()),
            _ => None,
        };
        names.iter().filter_map(value).collect()
    }
}
