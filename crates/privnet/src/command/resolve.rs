//! From the name or id that a user gave to the thing.

use serde_json::Value;

use crate::client::{Client, list, text};
use crate::exit::{Exit, Failure};

/// A kind of thing that has names and ids.
pub(crate) struct Kind {
    /// What messages call it.
    noun: &'static str,
    /// Where all of them are listed.
    path: &'static str,
    /// The property of the answer that is the list.
    key: &'static str,
}

pub(crate) const NETWORK: Kind = Kind { noun: "private network", path: "/v2/private-network", key: "private-networks" };
/// Those of one's organization.
pub(crate) const INSTANCE: Kind = Kind { noun: "instance", path: "/v2/instance", key: "instances" };
/// Those of all organizations, with where they run: for operators.
pub(crate) const PLACED_INSTANCE: Kind = Kind { path: "/privnet/v1/instances", ..INSTANCE };
pub(crate) const HOST: Kind = Kind { noun: "host", path: "/privnet/v1/hosts", key: "hosts" };

pub(crate) const ORGANIZATION: Kind =
    Kind { noun: "organization", path: "/privnet/v1/organizations", key: "organizations" };

impl Kind {
    /// The answer with all things of this kind.
    pub(crate) fn answer(&self, client: &Client) -> Result<Value, Failure> {
        client.get(self.path)
    }

    /// The things in such an answer.
    pub(crate) fn things<'a>(&self, answer: &'a Value) -> &'a [Value] {
        list(answer, self.key)
    }

    /// The id of the thing whose name or id this is.
    ///
    /// # Errors
    /// Nothing has it, or several things have this name: the message lists their ids.
    pub(crate) fn id(&self, client: &Client, name_or_id: &str) -> Result<String, Failure> {
        if is_uuid(name_or_id) {
            return Ok(name_or_id.to_owned());
        }
        let answer = self.answer(client)?;
        let ids: Vec<_> = self
            .things(&answer)
            .iter()
            .filter(|thing| text(thing, "name") == name_or_id)
            .map(|thing| text(thing, "id"))
            .collect();
        match ids[..] {
            [id] => Ok(id.to_owned()),
            [] => Err(Failure::say(Exit::NotFound, format_args!("{} \"{name_or_id}\" not found", self.noun))),
            _ => Err(Failure::say(
                Exit::Conflict,
                format_args!(
                    "{} {}s are named \"{name_or_id}\"; give one's id: {}",
                    ids.len(),
                    self.noun,
                    ids.join(", ")
                ),
            )),
        }
    }
}

/// Whether a text has the shape of an id, 8-4-4-4-12 hexadecimal digits. Then it is taken for one.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, octet)| match at {
            8 | 13 | 18 | 23 => octet == b'-',
            _ => octet.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_from_a_name_by_its_shape() {
        assert!(is_uuid("3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50"));
        for name in ["", "backend", "3f7d4c1e8f0a4b559a7e6a1c2d3e4f50", "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f5g"] {
            assert!(!is_uuid(name), "{name}");
        }
    }
}
