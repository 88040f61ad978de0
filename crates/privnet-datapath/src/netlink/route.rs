use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::Error as Errno;

use super::message::{u16_at, u32_at};
use super::{Attributes, Message, NetlinkError, REQUESTS_AT_ONCE, Socket};

const ROUTE_HEADER_OCTETS: usize = 12;
const NEXT_HOP_HEADER_OCTETS: usize = 8;
const RTN_UNICAST: u8 = 1;
/// The route itself, with all its next hops, not the way that one packet would take.
const RTM_F_FIB_MATCH: u32 = 0x2000;

impl Socket {
    /// The indexes of the devices by which packets from one of this host's addresses leave to others, of the same
    /// IP version.
    pub(crate) fn devices_towards(
        &mut self,
        from: IpAddr,
        others: &BTreeSet<IpAddr>,
    ) -> Result<BTreeSet<u32>, NetlinkError> {
        let others: Vec<_> = others.iter().copied().collect();
        let mut devices = BTreeSet::new();
        for others in others.chunks(REQUESTS_AT_ONCE) {
            let mut refusal = Ok(());
            let requests = others.iter().map(|other| route(from, *other));
            self.transact_each(requests, |_, answer| match answer {
                Ok(body) => devices.extend(read_devices(body)),
                Err(error) if is_no_route(error.errno) => {}
                Err(error) => refusal = Err(error),
            })?;
            refusal?;
        }
        Ok(devices)
    }
}

fn route(from: IpAddr, to: IpAddr) -> Message {
    let (family, all_bits) = if to.is_ipv4() { (libc::AF_INET, 32) } else { (libc::AF_INET6, 128) };
    // struct rtmsg (rtnetlink(7)).
    let mut header = [0; ROUTE_HEADER_OCTETS];
    header[..3].copy_from_slice(&[family as u8, all_bits, all_bits]);
    header[8..].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    let request = Message::new(libc::RTM_GETROUTE, 0, &[&header]);
    request.attribute(libc::RTA_DST, &octets(to)).attribute(libc::RTA_SRC, &octets(from))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What the kernel says of a destination without a route, or with one that leads nowhere.
fn is_no_route(errno: Errno) -> bool {
    matches!(errno, Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL | Errno::EAGAIN)
}

fn read_devices(body: &[u8]) -> Vec<u32> {
    if body.get(7) != Some(&RTN_UNICAST) {
        return Vec::new();
    }
    let attributes = Attributes::new(body.get(ROUTE_HEADER_OCTETS..).unwrap_or_default());
    let device = attributes.get(libc::RTA_OIF).and_then(|index| u32_at(index, 0));
    let next_hops = attributes.get(libc::RTA_MULTIPATH).unwrap_or_default();
    device.into_iter().chain(NextHops(next_hops)).collect()
}

/// The devices of a route's next hops: struct rtnexthop (rtnetlink(7)), one after the other.
struct NextHops<'a>(&'a [u8]);

impl Iterator for NextHops<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let octets = usize::from(u16_at(self.0, 0)?).max(NEXT_HOP_HEADER_OCTETS);
        let device = u32_at(self.0, 4)?;
        self.0 = self.0.get(octets..).unwrap_or_default();
        Some(device)
    }
}
