use std::error::Error;

use privnet_model::MacAddr;

/// A message breaks the protocol.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// As `sync.proto` names it.
        field: &'static str,
    },
    /// A field has the wrong number of octets.
    #[error("{field} has {octets} octets instead of {expected}")]
    Length {
        /// As `sync.proto` names it.
        field: &'static str,
        /// What it has.
        octets: usize,
        /// What it must have.
        expected: &'static str,
    },
    /// A repeated field has too many entries.
    #[error("{field} has {entries} entries, and at most {max} are taken")]
    TooMany {
        /// As `sync.proto` names it.
        field: &'static str,
        /// What it has.
        entries: usize,
        /// What it may have.
        max: usize,
    },
    /// A field's value breaks the rule of its type.
    #[error("{field} is not valid")]
    Rule {
        /// As `sync.proto` names it.
        field: &'static str,
        /// The rule.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Two ports of one network have the same MAC address.
    #[error("members has {0} twice")]
    MemberTwice(MacAddr),
    /// The octets are no message at all.
    #[error("cannot decode the message")]
    Decode(#[from] prost::DecodeError),
}
