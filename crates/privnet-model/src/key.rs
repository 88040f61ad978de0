use std::fmt;
use std::str::FromStr;

use crate::{HostId, Name, OrganizationId, Timestamp};

/// An API key: what a request is signed with, and what whoever has it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Public; clients send it with each request.
    pub id: KeyId,
    /// For people; not unique.
    pub name: Name,
    /// What it is good for.
    pub scope: Scope,
    /// The secret, which requests are signed with.
    pub sealed_secret: SealedSecret,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is good for nothing; `None`: never.
    pub expires_at: Option<Timestamp>,
}

impl Key {
    /// Whether it is good for nothing any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Hosts, placements, organizations and keys; beside that all that an admin of the organization
    /// [`OrganizationId::DEFAULT`] may do.
    Operator,
    /// What one organization has.
    Organization(OrganizationId, Role),
}

/// What a key of an organization is good for within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything, the organization's keys included.
    Admin,
    /// Reading all but the keys.
    ReadOnly,
    /// What the container runtime of this host needs: reading as above, and on that host alone registering workloads
    /// and attaching, detaching and deleting what is registered.
    Runtime(HostId),
}

impl Role {
    /// Those that are about no host.
    pub const ALL: [Self; 2] = [Self::Admin, Self::ReadOnly];

    /// The word for the roles of container runtimes.
    pub const RUNTIME: &str = "runtime";

    /// The host that it is about, if it is about one.
    pub const fn host(self) -> Option<HostId> {
        match self {
            Self::Admin | Self::ReadOnly => None,
            Self::Runtime(host) => Some(host),
        }
    }

    /// The word that the API and the database use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ReadOnly => "read-only",
            Self::Runtime(_) => Self::RUNTIME,
        }
    }

    /// The role whose [`as_str`](Self::as_str) is `text` and whose host is this one.
    pub fn parse(text: &str, host: Option<HostId>) -> Option<Self> {
        let all = Self::ALL.into_iter().chain(host.map(Self::Runtime));
        all.into_iter().find(|role| role.as_str() == text && role.host() == host)
    }
}

/// A key's id: `EXO` and 24 lowercase hexadecimal digits, the shape of Exoscale's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; Self::OCTETS]);

/// The text is not a key's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not the id of a key (EXO and 24 digits from 0 to 9 and a to f)")]
pub struct ParseKeyIdError(pub String);

impl KeyId {
    /// How many octets the digits stand for.
    pub const OCTETS: usize = 12;

    const PREFIX: &str = "EXO";

    /// The id with these octets; a new one has random ones.
    pub const fn from_bytes(octets: [u8; Self::OCTETS]) -> Self {
        Self(octets)
    }

    /// The octets, for stores.
    pub const fn as_bytes(&self) -> &[u8; Self::OCTETS] {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, ParseKeyIdError> {
        let octets = text.strip_prefix(Self::PREFIX).and_then(octets_of);
        octets.map(Self).ok_or_else(|| ParseKeyIdError(text.to_owned()))
    }
}

fn octets_of(digits: &str) -> Option<[u8; KeyId::OCTETS]> {
    let is_digit = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 2 * KeyId::OCTETS || !digits.bytes().all(is_digit) {
        return None;
    }
    let mut octets = [0; KeyId::OCTETS];
    for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(octets)
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A secret as it is stored: encrypted with a key that is not in the database.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(Box<[u8]>);

impl SealedSecret {
    /// The secret that somebody has encrypted to these octets.
    pub fn new(octets: impl Into<Box<[u8]>>) -> Self {
        Self(octets.into())
    }

    /// What is decrypted and stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_reads_back_what_it_prints() {
        let id = KeyId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xab, 0xff]);
        assert_eq!(id.to_string(), "EXO00010203040506070809abff");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn only_that_form_is_read() {
        let long = "EXO00010203040506070809abff00";
        for bad in
            ["", "EXO", "EXO00010203040506070809abf", long, "EXO00010203040506070809ABFF", "00010203040506070809abff"]
        {
            assert_eq!(bad.parse::<KeyId>(), Err(ParseKeyIdError(bad.to_owned())));
        }
        assert!("EXO00010203040506070809ab+f".parse::<KeyId>().is_err());
        assert!("EXO00010203040506070809aé1".parse::<KeyId>().is_err());
    }

    #[test]
    fn a_key_is_expired_from_its_end_on() {
        let at = Timestamp::from_unix_ms;
        let mut key = Key {
            id: KeyId::from_bytes([0; KeyId::OCTETS]),
            name: Name::try_from("deploy").expect("valid"),
            scope: Scope::Operator,
            sealed_secret: SealedSecret::new([1, 2, 3]),
            created_at: at(0),
            expires_at: Some(at(100)),
        };
        assert_eq!([99, 100, 101].map(|now| key.is_expired(at(now))), [false, true, true]);
        key.expires_at = None;
        assert!(!key.is_expired(at(u64::MAX)));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", SealedSecret::new([1, 2, 3])), "SealedSecret(3 octets)");
    }
}
