use std::fmt;
use std::net::IpAddr;

use crate::{Fingerprint, HostId, Timestamp, overlay_mtu_bytes};

/// A machine that runs an agent and is one VTEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Given when it joined or its agent first reported.
    pub id: HostId,
    /// The agent's own name for it, unique in the zone.
    pub name: HostName,
    /// What its agent last reported.
    pub facts: HostFacts,
    /// What it proves by who it is.
    pub certificates: HostCertificates,
    /// When it joined or its agent first reported.
    pub created_at: Timestamp,
}

/// The certificates with which an agent is a host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCertificates {
    /// `None`: it has not joined, and its agent uses the server's socket.
    pub current: Option<HostCertificate>,
    /// Issued and not used yet. `current` is good until it is.
    pub next: Option<HostCertificate>,
}

/// A certificate that the server has issued to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCertificate {
    /// Of the whole certificate (DER).
    pub fingerprint: Fingerprint,
    /// From when on it is good for nothing.
    pub expires_at: Timestamp,
}

impl HostCertificates {
    /// What a host has that has just joined with this one.
    pub const fn joined(current: HostCertificate) -> Self {
        Self { current: Some(current), next: None }
    }

    /// What the host has once it has shown this one; `None` if it is none of its own.
    pub fn shown(self, fingerprint: Fingerprint) -> Option<Self> {
        let is_shown = |certificate: &HostCertificate| certificate.fingerprint == fingerprint;
        if self.current.as_ref().is_some_and(is_shown) {
            return Some(self);
        }
        self.next.filter(is_shown).map(Self::joined)
    }
}

/// What an agent reports about its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The underlay address that other hosts send VXLAN to.
    pub vtep: IpAddr,
    /// The MTU of the underlay device that has `vtep`, in octets.
    pub underlay_mtu_bytes: u32,
    /// The agent's version.
    pub version: String,
}

impl HostFacts {
    /// The largest IP packet that this host can send to another in one piece.
    pub const fn overlay_mtu_bytes(&self) -> u32 {
        overlay_mtu_bytes(self.underlay_mtu_bytes, self.vtep)
    }
}

/// A host's name: 1 to 64 letters, digits, `-`, `_` or `.` (as Linux limits host names, hostname(7)).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

/// The text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a host name (1 to 64 letters, digits, -, _ or .)")]
pub struct HostNameError(pub String);

impl HostName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for HostName {
    type Error = HostNameError;

    fn try_from(text: &str) -> Result<Self, HostNameError> {
        let valid = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if valid { Ok(Self(text.into())) } else { Err(HostNameError(text.to_owned())) }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
