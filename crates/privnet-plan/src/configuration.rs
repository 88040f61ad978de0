use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use privnet_model::{Member, NetworkState};

use crate::PortSpec;

/// What a host gives the device of a port in its instance, where it shall: what a DHCP client would set. Of what
/// is there, it is what the host has set; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Whether the device is up.
    pub is_up: bool,
    /// At most one is wanted.
    pub addresses: BTreeSet<InterfaceAddress>,
    /// By that device.
    pub routes: BTreeSet<Route>,
}

/// An address with the subnet that it makes reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// How many bits of it name the subnet.
    pub prefix_len: u8,
}

/// A way to some destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The first address of the destination; 0.0.0.0 for the default route.
    pub destination: Ipv4Addr,
    /// How many bits name the destination; 0 for the default route.
    pub prefix_len: u8,
    /// `None`: on the link itself.
    pub gateway: Option<Ipv4Addr>,
}

impl Configuration {
    /// What is set on a port's device when it has been plugged in: it is up.
    pub(crate) fn of_new_port(spec: &PortSpec) -> Self {
        Self { is_up: spec.is_configured, ..Self::default() }
    }

    /// What the host shall set on the device of one of its ports that it configures.
    ///
    /// The default route leads by the network's first router, as DHCP clients have it (RFC 2132 §3.5: in order of
    /// preference). One outside of the subnet is on the link all the same (RFC 3442 calls such routes local), and an
    /// instance that is the router itself has no use for it.
    pub(crate) fn wanted(state: &NetworkState, member: &Member) -> Self {
        let Some((dhcp, address)) = state.dhcp.as_ref().zip(member.address) else {
            return Self { is_up: true, ..Self::default() };
        };
        let subnet = dhcp.range.subnet();
        let router = dhcp.options.routers().first().copied().filter(|router| *router != address);
        let default = router.map(|router| Route::new(Ipv4Addr::UNSPECIFIED, 0, Some(router)));
        let on_link = router.filter(|router| !subnet.contains(*router)).map(|router| Route::new(router, 32, None));
        Self {
            is_up: true,
            addresses: [InterfaceAddress { address, prefix_len: subnet.prefix_len() }].into(),
            routes: on_link.into_iter().chain(default).collect(),
        }
    }
}

impl Route {
    /// One to the addresses that begin with so many bits of `destination`.
    pub const fn new(destination: Ipv4Addr, prefix_len: u8, gateway: Option<Ipv4Addr>) -> Self {
        Self { destination, prefix_len, gateway }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("by the instance alone");
        }
        let addresses = self.addresses.iter().map(ToString::to_string);
        let routes = self.routes.iter().map(|route| format!("route {route}"));
        let all: Vec<_> = addresses.chain(routes).collect();
        if all.is_empty() { f.write_str("without an address") } else { f.write_str(&all.join(", ")) }
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.prefix_len)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, " via {gateway}"))
    }
}
