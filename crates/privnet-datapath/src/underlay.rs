//! The network between the hosts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use crate::OpenError;
use crate::error::Step;
use crate::netlink::{Link, Socket};

/// The address that this host sends from when it follows its default route: what to use as its VTEP
/// when nobody says otherwise. A host without a default route of IPv4 has its VTEP by that of IPv6.
///
/// # Errors
/// There is no default route.
pub fn default_vtep() -> Result<IpAddr, OpenError> {
    // Addresses of documentation (RFC 5737, RFC 3849), so that no route but the default one leads there.
    let ipv4 = source_to(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(198, 51, 100, 1).into());
    let chosen = ipv4.or_else(|error| {
        let ipv6 = source_to(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into());
        ipv6.map_err(|_| error)
    });
    Ok(chosen.step(format_args!("find out by which address the default route leaves"))?)
}

/// The address from which this host would send there.
fn source_to(any: IpAddr, destination: IpAddr) -> io::Result<IpAddr> {
    // Connecting a UDP socket chooses a route and sends nothing.
    const DISCARD_PORT: u16 = 9;
    let socket = UdpSocket::bind((any, 0))?;
    if any.is_ipv6() {
        refuse_temporary(&socket)?;
    }
    socket.connect((destination, DISCARD_PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// Has the kernel choose no address that it will replace soon (RFC 8981): the other hosts are to keep it.
fn refuse_temporary(socket: &UdpSocket) -> io::Result<()> {
    const IPV6_ADDR_PREFERENCES: libc::c_int = 72;
    const IPV6_PREFER_SRC_PUBLIC: libc::c_int = 2;
    let wanted = IPV6_PREFER_SRC_PUBLIC;
    // SAFETY: the pointer and the length are those of `wanted`.
    let done = unsafe {
        let octets = size_of_val(&wanted) as libc::socklen_t;
        let (level, option) = (libc::IPPROTO_IPV6, IPV6_ADDR_PREFERENCES);
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const wanted).cast(), octets)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The MTU of the device that has the VTEP's address, in octets.
///
/// # Errors
/// No device has it, or it is a link-local one.
pub fn underlay_mtu_bytes(vtep: IpAddr) -> Result<u32, OpenError> {
    let mut netlink = Socket::open().step(format_args!("open a netlink socket"))?;
    Ok(device(&mut netlink, vtep)?.mtu_bytes)
}

/// The device that has the VTEP's address.
pub(crate) fn device(netlink: &mut Socket, vtep: IpAddr) -> Result<Link, OpenError> {
    if let IpAddr::V6(address) = vtep
        && address.is_unicast_link_local()
    {
        return Err(OpenError::LinkLocal(vtep));
    }
    let index = netlink.device_with(vtep).step(format_args!("read this host's addresses"))?;
    let index = index.ok_or(OpenError::NoUnderlay(vtep))?;
    let link = netlink.link_at(index).step(format_args!("read device {index}"))?;
    link.ok_or(OpenError::NoUnderlay(vtep))
}
