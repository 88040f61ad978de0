//! The network between the hosts.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crate::OpenError;
use crate::error::Step;
use crate::netlink::{Link, Socket};

/// The address that this host sends from when it follows its default route: what to use as its VTEP
/// when nobody says otherwise.
///
/// # Errors
/// There is no default route.
pub fn default_vtep() -> Result<IpAddr, OpenError> {
    // Connecting a UDP socket chooses a route and sends nothing. The address is documentation's
    // (RFC 5737), so that no route but the default one leads there.
    const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 1), 9);
    let chosen = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(ANYWHERE)?;
        socket.local_addr()
    });
    Ok(chosen.step(format_args!("find out by which address the default route leaves"))?.ip())
}

/// The device that has the VTEP's address.
pub(crate) fn device(netlink: &mut Socket, vtep: Ipv4Addr) -> Result<Link, OpenError> {
    let index = netlink.device_with(vtep).step(format_args!("read this host's addresses"))?;
    let index = index.ok_or(OpenError::NoUnderlay(vtep.into()))?;
    let link = netlink.link_at(index).step(format_args!("read device {index}"))?;
    link.ok_or(OpenError::NoUnderlay(vtep.into()))
}
