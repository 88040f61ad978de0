use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::Error as Errno;

use super::message::{u16_at, u32_at};
use super::{Attributes, Message, NetlinkError, REQUESTS_AT_ONCE, Socket};

const ROUTE_HEADER_OCTETS: usize = 12;
const NEXT_HOP_HEADER_OCTETS: usize = 8;
const RTN_UNICAST: u8 = 1;
/// The next hop object of a route, which is all that is said of its way with net.ipv4.nexthop_compat_mode=0.
const RTA_NH_ID: u16 = 30;
/// <linux/nexthop.h>.
const RTM_GETNEXTHOP: u16 = 106;
const NEXT_HOP_OBJECT_HEADER_OCTETS: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const GROUP_MEMBER_OCTETS: usize = 8;
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
        let mut ways = Ways::default();
        let routes = others.iter().map(|other| route(from, *other));
        self.ask_each(routes, is_no_route, |body| ways.add_route(body))?;
        // The members of a group, which are none themselves.
        while !ways.next_hops.is_empty() {
            let next_hops: Vec<_> = std::mem::take(&mut ways.next_hops).into_iter().map(next_hop).collect();
            self.ask_each(next_hops.into_iter(), |errno| errno == Errno::ENOENT, |body| ways.add_next_hop(body))?;
        }
        Ok(ways.devices)
    }

    /// Hands the answer to each request to `on_answer`, but for those that are refused so.
    fn ask_each(
        &mut self,
        mut requests: impl Iterator<Item = Message>,
        is_expected: impl Fn(Errno) -> bool,
        mut on_answer: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        loop {
            let some: Vec<_> = requests.by_ref().take(REQUESTS_AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            let mut refusal = Ok(());
            self.transact_each(some.into_iter(), |_, answer| match answer {
                Ok(body) => on_answer(body),
                Err(error) if is_expected(error.errno) => {}
                Err(error) => refusal = Err(error),
            })?;
            refusal?;
        }
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

fn next_hop(id: u32) -> Message {
    let request = Message::new(RTM_GETNEXTHOP, 0, &[&[0; NEXT_HOP_OBJECT_HEADER_OCTETS]]);
    request.attribute(NHA_ID, &id.to_ne_bytes())
}

/// Where routes lead, as far as the kernel has said.
#[derive(Default)]
struct Ways {
    devices: BTreeSet<u32>,
    /// Objects that are to be asked for.
    next_hops: BTreeSet<u32>,
}

impl Ways {
    fn add_route(&mut self, body: &[u8]) {
        if body.get(7) != Some(&RTN_UNICAST) {
            return;
        }
        let attributes = Attributes::new(body.get(ROUTE_HEADER_OCTETS..).unwrap_or_default());
        let number = |kind| attributes.get(kind).and_then(|number| u32_at(number, 0));
        let next_hops = attributes.get(libc::RTA_MULTIPATH).unwrap_or_default();
        let devices: Vec<_> = number(libc::RTA_OIF).into_iter().chain(NextHops(next_hops)).collect();
        if devices.is_empty() {
            self.next_hops.extend(number(RTA_NH_ID));
        }
        self.devices.extend(devices);
    }

    fn add_next_hop(&mut self, body: &[u8]) {
        let attributes = Attributes::new(body.get(NEXT_HOP_OBJECT_HEADER_OCTETS..).unwrap_or_default());
        self.devices.extend(attributes.get(NHA_OIF).and_then(|index| u32_at(index, 0)));
        let members = attributes.get(NHA_GROUP).unwrap_or_default().chunks(GROUP_MEMBER_OCTETS);
        self.next_hops.extend(members.filter_map(|member| u32_at(member, 0)));
    }
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
