//! Addresses and routes of one device, as far as they are ours: the kernel keeps who has set each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use nix::Error as Errno;
use privnet_plan::{InterfaceAddress, Route};

use super::message::u32_at;
use super::{Attributes, Message, NetlinkError, Socket};

/// Who has set an address (IFA_PROTO, since Linux 5.18) or a route (rtm_protocol): numbers above 4 mean nothing to
/// the kernel, and this one is nobody's (iproute2's etc/iproute2/rt_protos).
const OURS: u8 = 112;

const IFA_PROTO: u16 = 11;
const ADDRESS_HEADER_OCTETS: usize = 8;
const ROUTE_HEADER_OCTETS: usize = 12;
const AF_INET: u8 = libc::AF_INET as u8;

impl Socket {
    /// The IPv4 addresses of the device with this index, and whether each is ours.
    pub(crate) fn addresses(&mut self, index: u32) -> Result<BTreeMap<InterfaceAddress, bool>, NetlinkError> {
        let request = || {
            let header = address_header(0, index);
            Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[&header])
        };
        let found = self.dump(request, |body| {
            let attributes = Attributes::new(body.get(ADDRESS_HEADER_OCTETS..)?);
            let is_asked = body.first() == Some(&AF_INET) && u32_at(body, 4)? == index;
            let address = InterfaceAddress { address: ipv4(attributes.get(libc::IFA_LOCAL)?)?, prefix_len: body[1] };
            is_asked.then(|| (address, attributes.get(IFA_PROTO) == Some(&[OURS])))
        })?;
        Ok(found.into_iter().collect())
    }

    /// Gives a device an address that is ours. One that is there becomes ours.
    pub(crate) fn add_address(&mut self, index: u32, address: InterfaceAddress) -> Result<(), NetlinkError> {
        let InterfaceAddress { address, prefix_len } = address;
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let broadcast = address | Ipv4Addr::from_bits(u32::MAX.checked_shr(prefix_len.into()).unwrap_or_default());
        let request = Message::new(libc::RTM_NEWADDR, flags, &[&address_header(prefix_len, index)])
            .attribute(libc::IFA_LOCAL, &address.octets())
            .attribute(libc::IFA_ADDRESS, &address.octets())
            .attribute(libc::IFA_BROADCAST, &broadcast.octets())
            .attribute(IFA_PROTO, &[OURS]);
        self.request(request)
    }

    /// Takes an address from a device, if it is there.
    pub(crate) fn remove_address(&mut self, index: u32, address: InterfaceAddress) -> Result<(), NetlinkError> {
        let header = address_header(address.prefix_len, index);
        let request = Message::new(libc::RTM_DELADDR, libc::NLM_F_ACK, &[&header]);
        let address = address.address.octets();
        let request = request.attribute(libc::IFA_LOCAL, &address).attribute(libc::IFA_ADDRESS, &address);
        unless(self.request(request), Errno::EADDRNOTAVAIL)
    }

    /// The IPv4 routes by the device with this index that are ours.
    pub(crate) fn our_routes(&mut self, index: u32) -> Result<BTreeSet<Route>, NetlinkError> {
        Ok(self.routes(index)?.into_iter().filter(|(_, is_ours)| *is_ours).map(|(route, _)| route).collect())
    }

    /// The IPv4 routes by the device with this index, and whether each is ours.
    pub(crate) fn routes(&mut self, index: u32) -> Result<BTreeSet<(Route, bool)>, NetlinkError> {
        let request = || Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &[&route_header(0, 0, 0)]);
        let found = self.dump(request, |body| {
            let attributes = Attributes::new(body.get(ROUTE_HEADER_OCTETS..)?);
            let device = u32_at(attributes.get(libc::RTA_OIF)?, 0)?;
            let destination = attributes.get(libc::RTA_DST).map_or(Some(Ipv4Addr::UNSPECIFIED), ipv4)?;
            let gateway = attributes.get(libc::RTA_GATEWAY).and_then(ipv4);
            let is_asked = body[0] == AF_INET && device == index;
            is_asked.then(|| (Route::new(destination, body[1], gateway), body[5] == OURS))
        })?;
        Ok(found.into_iter().collect())
    }

    /// Adds a route by a device. It comes after those to the same destination that somebody else has set.
    pub(crate) fn add_route(&mut self, index: u32, route: Route) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        unless(self.request(route_message(libc::RTM_NEWROUTE, flags, index, route)), Errno::EEXIST)
    }

    /// Removes a route of ours, if it is there.
    pub(crate) fn remove_route(&mut self, index: u32, route: Route) -> Result<(), NetlinkError> {
        unless(self.request(route_message(libc::RTM_DELROUTE, libc::NLM_F_ACK, index, route)), Errno::ESRCH)
    }
}

/// A refusal that says that it is so already.
fn unless(done: Result<(), NetlinkError>, errno: Errno) -> Result<(), NetlinkError> {
    match done {
        Err(error) if error.errno == errno => Ok(()),
        other => other,
    }
}

fn ipv4(octets: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?))
}

/// struct ifaddrmsg (rtnetlink(7)).
fn address_header(prefix_len: u8, index: u32) -> [u8; ADDRESS_HEADER_OCTETS] {
    let [a, b, c, d] = index.to_ne_bytes();
    [AF_INET, prefix_len, 0, libc::RT_SCOPE_UNIVERSE, a, b, c, d]
}

/// struct rtmsg (rtnetlink(7)).
fn route_header(prefix_len: u8, scope: u8, kind: u8) -> [u8; ROUTE_HEADER_OCTETS] {
    [AF_INET, prefix_len, 0, 0, libc::RT_TABLE_MAIN, OURS, scope, kind, 0, 0, 0, 0]
}

fn route_message(kind: u16, flags: libc::c_int, index: u32, route: Route) -> Message {
    let scope = if route.gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let header = route_header(route.prefix_len, scope, libc::RTN_UNICAST);
    let message = Message::new(kind, flags, &[&header])
        .attribute(libc::RTA_DST, &route.destination.octets())
        .attribute(libc::RTA_OIF, &index.to_ne_bytes());
    match route.gateway {
        Some(gateway) => message.attribute(libc::RTA_GATEWAY, &gateway.octets()),
        None => message,
    }
}
