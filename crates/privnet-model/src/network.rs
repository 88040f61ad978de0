use std::fmt;
use std::net::Ipv4Addr;

use crate::{AddressRange, Description, DhcpOptions, HostId, Labels, Name, NetworkId, OrganizationId, Timestamp, Vni};

/// The version of one network's wanted state: raised by every change to the network or its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// What a new network has.
    pub const FIRST: Self = Self(1);

    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A private network: one Ethernet segment, one VNI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Given at creation.
    pub id: NetworkId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Not unique.
    pub name: Name,
    /// Empty unless set.
    pub description: Description,
    /// The addresses it leases; `None` makes it unmanaged.
    pub range: Option<AddressRange>,
    /// What its DHCP server tells beside addresses; without effect while it is unmanaged.
    pub options: DhcpOptions,
    /// The user's own.
    pub labels: Labels,
    /// Drawn at random at creation, the network's for its life.
    pub vni: Vni,
    /// Raised by every change.
    pub generation: Generation,
    /// The dynamic address most recently given out, from which the next search goes on.
    pub last_address: Option<Ipv4Addr>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The record that a host may carry a network: made with the host's first port in it, gone when the
/// host has confirmed that it carries the network no more. It outlives the network, and its VNI is
/// not given out again before (invariant 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Carriage {
    /// The host.
    pub host: HostId,
    /// The network, which may have been deleted since.
    pub network: NetworkId,
    /// The network's VNI.
    pub vni: Vni,
}
