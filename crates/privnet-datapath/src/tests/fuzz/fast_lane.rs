//! The model of the fast lane: which frames take it, and their outer headers (design §7, RFC 7348 5).

use std::net::{IpAddr, Ipv4Addr};

use privnet_model::MacAddr;

use super::input::{Flow, Input};
use super::rig::UNDERLAY_MAC;
use super::world::{Route, Underlay, World};

const ETHERNET_OCTETS: usize = 14;
const IPV4_OCTETS: usize = 20;
const UDP_OCTETS: usize = 8;
const VXLAN_OCTETS: usize = 8;
const INNER_AT: usize = ETHERNET_OCTETS + IPV4_OCTETS + UDP_OCTETS + VXLAN_OCTETS;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const VXLAN_PORT: u16 = 4789;
const TTL: u8 = 64;
/// Every random number that the programs get.
pub(super) const RANDOM: u32 = 0x0102_0304;

/// Explicit congestion notification (RFC 3168 5).
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// What the host sends to a VTEP by the fast lane; `None` if the frame is for the offload lane.
pub(super) fn sent(world: &World, input: &Input, vni: u32, vtep: IpAddr) -> Option<Vec<u8>> {
    let (IpAddr::V4(own), IpAddr::V4(vtep)) = (world.underlay.own_vtep(), vtep) else { return None };
    let is_single = input.tag.is_none() && input.segments.is_none();
    let Flow { hash, rests } = input.flow;
    // Without a hash, a flow's frames would not stay in their order.
    let may = is_single && hash != 0 && !rests && world.route != Route::Unreachable;
    let ecn = ecn(&input.frame).filter(|_| may)?;
    // RFC 3168 9.1.1: what is congested within need not seem so without.
    let tos = if ecn == CE { ECT_0 } else { ecn };
    Some([&input.frame[..ETHERNET_OCTETS], &envelope(own, vtep, tos, source_port(hash), vni, &input.frame)].concat())
}

/// Outer headers from the IP header on, and the frame.
pub(super) fn envelope(from: Ipv4Addr, to: Ipv4Addr, tos: u8, source_port: u16, vni: u32, frame: &[u8]) -> Vec<u8> {
    let udp_octets = UDP_OCTETS + VXLAN_OCTETS + frame.len();
    let ip_octets = ((IPV4_OCTETS + udp_octets) as u16).to_be_bytes();
    let id = (RANDOM as u16).to_ne_bytes();
    let mut ip = [0x45, tos, ip_octets[0], ip_octets[1], id[0], id[1], 0, 0, TTL, UDP, 0, 0].to_vec();
    ip.extend([from.octets(), to.octets()].concat());
    mend_checksum(&mut ip);
    let udp = [source_port, VXLAN_PORT, udp_octets as u16, 0].map(u16::to_be_bytes).concat();
    let vxlan = [0x0800_0000, vni << 8].map(u32::to_be_bytes).concat();
    [&ip[..], &udp, &vxlan, frame].concat()
}

/// A frame of another host's that this one takes past its IP stack: what is whole, plain and for one port.
pub(super) struct Taken<'a> {
    pub(super) vni: u32,
    pub(super) source: Ipv4Addr,
    pub(super) frame: &'a [u8],
}

/// All others are for the host's own stack.
pub(super) fn taken<'a>(world: &World, input: &'a Input) -> Option<Taken<'a>> {
    let outer = &input.frame;
    if world.underlay != Underlay::Ipv4 || outer.len() < INNER_AT + ETHERNET_OCTETS {
        return None;
    }
    let (ip, rest) = outer[ETHERNET_OCTETS..].split_at(IPV4_OCTETS);
    let (udp, rest) = rest.split_at(UDP_OCTETS);
    let (vxlan, frame) = rest.split_at(VXLAN_OCTETS);
    let is_to_host = MacAddr::from(*outer.first_chunk()?) == UNDERLAY_MAC && number(outer, 12) == IPV4;
    let is_whole = input.tag.is_none() && input.segments.is_none() && number(ip, 6) & 0x3fff == 0;
    let is_to_vtep = ip[0] == 0x45 && ip[9] == UDP && IpAddr::from(address(ip, 16)) == world.underlay.own_vtep();
    let lengths_are_true = usize::from(number(ip, 2)) == outer.len() - ETHERNET_OCTETS
        && usize::from(number(udp, 4)) == outer.len() - ETHERNET_OCTETS - IPV4_OCTETS;
    // A UDP checksum is for the kernel to verify, and congestion for it to carry over (RFC 6040).
    let is_simple = sum(ip) == 0xffff && number(udp, 6) == 0 && ![CE, ECT_1].contains(&(ip[1] & CE));
    let is_vxlan = number(udp, 2) == VXLAN_PORT && vxlan[..4] == [8, 0, 0, 0] && vxlan[7] == 0;
    let is_for_one = !MacAddr::from(*frame.first_chunk()?).is_group() && [IPV4, IPV6].contains(&number(frame, 12));
    let is_taken = is_to_host && is_whole && is_to_vtep && lengths_are_true && is_simple && is_vxlan && is_for_one;
    (is_taken && !input.flow.rests).then(|| {
        let vni = u32::from_be_bytes([0, vxlan[4], vxlan[5], vxlan[6]]);
        Taken { vni, source: address(ip, 12), frame }
    })
}

/// Whether an IP packet in a frame has a whole header.
pub(super) fn has_ip_header(frame: &[u8]) -> bool {
    ecn(frame).is_some()
}

/// Linux's udp_flow_src_port, over the dynamic ports of RFC 6335 6.
pub(super) fn source_port(hash: u32) -> u16 {
    const MIN: u64 = 49152;
    const MAX: u64 = 65535;
    let mixed = u64::from(hash ^ hash << 16);
    ((mixed * (MAX - MIN)) >> 32) as u16 + MIN as u16
}

/// Where it would be in such a frame.
pub(super) fn source_port_of(outer: &[u8]) -> u16 {
    const AT: usize = ETHERNET_OCTETS + IPV4_OCTETS;
    if outer.len() < AT + 2 { 0 } else { number(outer, AT) }
}

/// Makes the checksum of an IPv4 header right.
pub(super) fn mend_checksum(ip: &mut [u8]) {
    ip[10..12].fill(0);
    let checksum = !sum(&ip[..IPV4_OCTETS]);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Of the IP packet in a frame; `None` if there is no whole header.
fn ecn(frame: &[u8]) -> Option<u8> {
    let packet = &frame[ETHERNET_OCTETS..];
    match number(frame, 12) {
        IPV4 if packet.len() >= IPV4_OCTETS => Some(packet[1] & CE),
        IPV6 if packet.len() >= 40 => Some(packet[1] >> 4 & CE),
        _ => None,
    }
}

/// RFC 1071, without the complement at its end.
fn sum(octets: &[u8]) -> u16 {
    let sum: u32 = octets.chunks(2).map(|word| u32::from(number(word, 0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

fn address(octets: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(*octets[at..].first_chunk::<4>().expect("a whole header"))
}

fn number(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}
