use std::fmt;

use crate::{OrganizationId, Timestamp};

/// A tenant: networks, instances and keys belong to one, and it sees no others' (invariant 10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Given at creation.
    pub id: OrganizationId,
    /// Unique in the zone.
    pub name: OrganizationName,
    /// How much it may have.
    pub quotas: Quotas,
    /// When it was created.
    pub created_at: Timestamp,
}

impl OrganizationId {
    /// The organization that is there from the first start, within which operators act.
    pub const DEFAULT: Self =
        Self::from_bytes([0x70, 0x72, 0x69, 0x76, 0x6e, 0x65, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xc9]);
}

impl Organization {
    /// The organization `default`, with the quotas of a new one.
    pub fn default_at(created_at: Timestamp) -> Self {
        let name = OrganizationName("default".into());
        Self { id: OrganizationId::DEFAULT, name, quotas: Quotas::default(), created_at }
    }
}

/// How much an organization may have at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Networks; 32 by default, as on Exoscale.
    pub networks: Quota,
    /// Ports of each of its networks; 256 by default.
    pub ports_per_network: Quota,
    /// Instances; 256 by default.
    pub instances: Quota,
}

impl Quotas {
    /// No quotas.
    pub const UNLIMITED: Self =
        Self { networks: Quota::Unlimited, ports_per_network: Quota::Unlimited, instances: Quota::Unlimited };
}

impl Default for Quotas {
    fn default() -> Self {
        Self { networks: Quota::AtMost(32), ports_per_network: Quota::AtMost(256), instances: Quota::AtMost(256) }
    }
}

/// How many there may be of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Any number.
    Unlimited,
    /// This many. Where a quota is lowered below what there is, nothing goes and nothing more comes.
    AtMost(u32),
}

impl Quota {
    /// The limit that one more, beside `usage` that there are, would exceed.
    pub fn exceeded_by_one_more(self, usage: usize) -> Option<u32> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(limit) => (usage >= limit as usize).then_some(limit),
        }
    }
}

/// An organization's name: 1 to 64 letters, digits, `-`, `_` or `.`, so that it needs no quotes in a shell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationName(Box<str>);

/// The text is not an organization's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an organization name (1 to 64 letters, digits, -, _ or .)")]
pub struct OrganizationNameError(pub String);

impl OrganizationName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for OrganizationName {
    type Error = OrganizationNameError;

    fn try_from(text: &str) -> Result<Self, OrganizationNameError> {
        let valid = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if valid { Ok(Self(text.into())) } else { Err(OrganizationNameError(text.to_owned())) }
    }
}

impl fmt::Display for OrganizationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for OrganizationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_quotes() {
        for good in ["default", "a", "ACME-2.eu_west", &"x".repeat(64)] {
            assert_eq!(OrganizationName::try_from(good).map(|name| name.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "é", "a/b", "a\n", &"x".repeat(65)] {
            assert_eq!(OrganizationName::try_from(bad), Err(OrganizationNameError(bad.to_owned())));
        }
    }

    #[test]
    fn a_quota_is_exceeded_by_one_more_than_it_allows() {
        let exceeded = |quota: Quota| [31, 32, 33].map(|usage| quota.exceeded_by_one_more(usage));
        assert_eq!(exceeded(Quota::AtMost(32)), [None, Some(32), Some(32)]);
        assert_eq!(exceeded(Quota::Unlimited), [None; 3]);
    }
}
