//! What shall become of a frame: the rules of the data plane once more, from the design and the RFCs, as
//! plainly as possible. Whoever changes a rule changes it here, too, and not by looking at the programs.

use std::net::{IpAddr, Ipv6Addr};

use privnet_model::MacAddr;

use super::fast_lane::{self, Taken};
use super::input::{Door, Input, Tag, Tunnel};
use super::world::{Budget, Network, Port, Target, World, port_mac};
use crate::tests::frames::checksum;

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
/// IEEE 802.1Q's customer and service tags.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const TCP: u8 = 6;
const ETHERNET_OCTETS: usize = 14;
/// The largest request that finds a place in the agent's queue.
const DHCP_FRAME_OCTETS_MAX: usize = 1536;
const DHCP_SERVER_PORT: u16 = 67;
/// What the devices of the fuzzer's ports have.
pub(super) const DEVICE_MTU_BYTES: usize = 1500;

/// What a program shall do with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) outcome: Outcome,
    /// Where the frame goes, in the order of slots if these are several.
    pub(super) ways: Vec<Way>,
    /// What the frame is then, if it is another one than before; of one that goes directly to a VTEP, the
    /// next hop's addresses are still to come.
    pub(super) frame: Option<Vec<u8>>,
    pub(super) counted: Vec<(Row, Count)>,
}

/// The kinds of ends, each of which a run is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Outcome {
    Dropped(&'static str),
    ToAgent,
    ArpAnswered,
    TooBigAnswered,
    ToVeth,
    ToTap,
    /// By the offload lane.
    ToVtep,
    /// By the fast lane.
    ToVtepDirectly,
    /// To the host's own stack, as it came.
    Left,
    /// To so many ports, and whether to any VTEP.
    ToAll(u8, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Way {
    /// Handed over to the port's device in its instance's namespace.
    IntoVeth(u8),
    /// Sent by the port's device.
    ByPort(u8),
    ToVtep {
        vni: u32,
        vtep: IpAddr,
    },
    ToVtepDirectly {
        vni: u32,
        vtep: IpAddr,
    },
    CopyByPort(u8),
    CopyToVtep {
        vni: u32,
        vtep: IpAddr,
    },
}

/// Which row of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Overlay,
    Port(u8),
}

/// What a frame adds to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Sent,
    Received,
    DhcpRequest,
    ArpReply,
    IcmpReply,
    Drop(&'static str),
}

pub(super) fn judge(world: &World, input: &Input) -> Expected {
    match input.door {
        Door::Port(port) => from_port(world, input, port),
        Door::Overlay(None) => Expected::drop(Row::Overlay, "no-tunnel"),
        Door::Overlay(Some(tunnel)) => from_overlay(world, tunnel, input.tag, &input.frame),
        Door::Underlay => from_underlay(world, input),
    }
}

impl Expected {
    fn new(outcome: Outcome) -> Self {
        Self { outcome, ways: Vec::new(), frame: None, counted: Vec::new() }
    }

    fn drop(row: Row, reason: &'static str) -> Self {
        Self::new(Outcome::Dropped(reason)).counting(row, Count::Drop(reason))
    }

    fn counting(mut self, row: Row, count: Count) -> Self {
        self.counted.push((row, count));
        self
    }

    fn by(mut self, way: Way) -> Self {
        self.ways.push(way);
        self
    }
}

/// Design §7, in its order: open, source, DHCP, ARP, size, destination.
fn from_port(world: &World, input: &Input, number: u8) -> Expected {
    let row = Row::Port(number);
    let drop = |reason| Expected::drop(row, reason);
    let Some(port) = world.ports.get(&number).filter(|port| port.open) else { return drop("closed") };
    let Some(network) = world.networks.get(&port.vni) else { return drop("closed") };
    let frame = Frame(&input.frame);

    // Invariant 4.
    if frame.source() != port_mac(number) {
        return drop("spoofed-mac");
    }
    if network.managed && !in_vlan(input.tag) {
        if frame.is_hidden() {
            return drop("tagged");
        }
        match frame.dhcp_role() {
            Some(DhcpRole::Client) => return to_agent(world, input, number),
            Some(DhcpRole::Server) => return drop("rogue-dhcp"),
            None => {}
        }
    }
    if frame.ethertype() == ARP {
        let arp = match frame.own_arp() {
            Ok(arp) => arp,
            Err(reason) => return drop(reason),
        };
        if let Some(mac) = answer_for(world, *port, number, arp).filter(|_| !in_vlan(input.tag)) {
            return Expected { frame: Some(answer(&input.frame, arp, mac)), ..Expected::new(Outcome::ArpAnswered) }
                .by(Way::ByPort(number))
                .counting(row, Count::Sent)
                .counting(row, Count::Received)
                .counting(row, Count::ArpReply);
        }
    }
    if is_too_big(input, *network) {
        return refuse_too_big(world, input, number, *network);
    }
    if frame.destination().is_group() {
        if is_reserved(frame.destination()) {
            return drop("reserved-group");
        }
        if world.spent.contains(&Budget::PortBum(number)) {
            return drop("bum-limit");
        }
        return to_all(world, port.vni, *network, Some(number));
    }
    match world.fdb.get(&(port.vni, frame.destination())) {
        None => drop("unknown-unicast"),
        // Back to where it came from is no way.
        Some(Target::Port(target)) if *target == number => drop("unknown-unicast"),
        Some(Target::Port(target)) => {
            let expected = to_port(world, *target, port.vni, row);
            if let Outcome::Dropped(_) = expected.outcome { expected } else { expected.counting(row, Count::Sent) }
        }
        Some(Target::Vtep(vtep)) => to_vtep(world, input, port.vni, *vtep).counting(row, Count::Sent),
    }
}

fn to_vtep(world: &World, input: &Input, vni: u32, vtep: IpAddr) -> Expected {
    match fast_lane::sent(world, input, vni, vtep) {
        Some(frame) => Expected { frame: Some(frame), ..Expected::new(Outcome::ToVtepDirectly) }
            .by(Way::ToVtepDirectly { vni, vtep }),
        None => Expected::new(Outcome::ToVtep).by(Way::ToVtep { vni, vtep }),
    }
}

/// A frame that is taken past the host's stack ends as one that has been through that and came by the
/// overlay's device; all others are left alone.
fn from_underlay(world: &World, input: &Input) -> Expected {
    let Some(Taken { vni, source, frame }) = fast_lane::taken(world, input) else {
        return Expected::new(Outcome::Left);
    };
    let expected = from_overlay(world, Tunnel { vni, source: source.into() }, None, frame);
    match expected.outcome {
        Outcome::Dropped("unknown-vtep" | "unknown-vni" | "spoofed-mac" | "unknown-unicast") => expected,
        // The kernel takes outer headers off from none but whole ones.
        _ if !fast_lane::has_ip_header(frame) => Expected::new(Outcome::Left),
        _ => Expected { frame: Some(frame.to_vec()), ..expected },
    }
}

/// Design §7: from a VTEP of that VNI, of a port that is behind it, nothing that the port may not say, then local
/// ports only.
fn from_overlay(world: &World, tunnel: Tunnel, tag: Option<Tag>, frame: &[u8]) -> Expected {
    let drop = |reason| Expected::drop(Row::Overlay, reason);
    if !world.vteps.contains(&(tunnel.vni, tunnel.source)) {
        let is_known = world.networks.contains_key(&tunnel.vni);
        return drop(if is_known { "unknown-vtep" } else { "unknown-vni" });
    }
    let source = Frame(frame).source();
    if world.fdb.get(&(tunnel.vni, source)) != Some(&Target::Vtep(tunnel.source)) {
        return drop("spoofed-mac");
    }
    if let Some(reason) = refused_on_arrival(world, tunnel.vni, tag, Frame(frame)) {
        return drop(reason);
    }
    let destination = Frame(frame).destination();
    if destination.is_group() {
        return match world.networks.get(&tunnel.vni) {
            Some(_) if world.spent.contains(&Budget::NetworkBum(tunnel.vni)) => drop("bum-limit"),
            Some(network) => to_all(world, tunnel.vni, Network { remote_members: 0, ..*network }, None),
            None => drop("closed"),
        };
    }
    match world.fdb.get(&(tunnel.vni, destination)) {
        Some(Target::Port(port)) => to_port(world, *port, tunnel.vni, Row::Overlay),
        Some(Target::Vtep(_)) | None => drop("unknown-unicast"),
    }
}

/// What no port may send to another host, but may have had written into a frame after it was judged.
fn refused_on_arrival(world: &World, vni: u32, tag: Option<Tag>, frame: Frame<'_>) -> Option<&'static str> {
    if frame.ethertype() == ARP {
        return frame.own_arp().err();
    }
    let is_managed = world.networks.get(&vni).is_none_or(|network| network.managed);
    if in_vlan(tag) || !is_managed {
        None
    } else if frame.is_hidden() {
        Some("tagged")
    } else {
        // The agents of a managed network have all of its DHCP, so that none crosses.
        frame.dhcp_role().map(|_| "rogue-dhcp")
    }
}

fn to_port(world: &World, number: u8, vni: u32, from: Row) -> Expected {
    let Some(port) = open_port(world, number, vni) else { return Expected::drop(from, "target-closed") };
    let expected = if port.tap {
        Expected::new(Outcome::ToTap).by(Way::ByPort(number))
    } else {
        Expected::new(Outcome::ToVeth).by(Way::IntoVeth(number))
    };
    expected.counting(Row::Port(number), Count::Received)
}

/// Invariant 3: whatever else the maps say, only an open port of this network.
fn open_port(world: &World, number: u8, vni: u32) -> Option<Port> {
    world.ports.get(&number).copied().filter(|port| port.open && port.vni == vni)
}

/// BUM frames: to each member but the one that sent it.
fn to_all(world: &World, vni: u32, network: Network, from: Option<u8>) -> Expected {
    let ports = (0..network.local_members).filter_map(|slot| world.local_members.get(&(vni, slot)));
    let ports = ports.copied().filter(|port| Some(*port) != from && open_port(world, *port, vni).is_some());
    let vteps = (0..network.remote_members).filter_map(|slot| world.remote_members.get(&(vni, slot)));
    let ways: Vec<_> = ports.clone().map(Way::CopyByPort).collect();
    let to_ports = ways.len() as u8;
    let vteps = vteps.map(|vtep| Way::CopyToVtep { vni, vtep: *vtep });
    let ways: Vec<_> = ways.into_iter().chain(vteps).collect();
    let outcome = Outcome::ToAll(to_ports, ways.len() > usize::from(to_ports));
    let counted = from.map(|from| (Row::Port(from), Count::Sent)).into_iter();
    let counted = counted.chain(ports.map(|port| (Row::Port(port), Count::Received))).collect();
    Expected { outcome, ways, frame: None, counted }
}

fn to_agent(world: &World, input: &Input, number: u8) -> Expected {
    let row = Row::Port(number);
    if input.frame.len() > DHCP_FRAME_OCTETS_MAX {
        return Expected::drop(row, "too-big");
    }
    if world.spent.contains(&Budget::PortDhcp(number)) {
        return Expected::drop(row, "dhcp-limit");
    }
    if world.queue_full {
        return Expected::drop(row, "dhcp-queue-full");
    }
    Expected::new(Outcome::ToAgent).counting(row, Count::DhcpRequest)
}

/// ID 0 is only a priority (IEEE 802.1Q-2022 9.6), and whoever receives it takes the frame as untagged.
fn in_vlan(tag: Option<Tag>) -> bool {
    tag.is_some_and(|tag| tag.tci & 0x0fff != 0)
}

/// What bridges do not forward (IEEE 802.1Q-2022 8.6.3, table 8-1).
fn is_reserved(mac: MacAddr) -> bool {
    (0..=0x0f).any(|last| mac == MacAddr::new([0x01, 0x80, 0xc2, 0, 0, last]))
}

/// The outermost tag does not count: IEEE 802.3 allows for it beyond the largest frame.
fn is_too_big(input: &Input, network: Network) -> bool {
    let mtu_bytes = network.mtu_bytes as usize;
    if input.frame.len() <= mtu_bytes + ETHERNET_OCTETS {
        return false;
    }
    let Some(segments) = input.segments else { return true };
    // Only the kernel knows what else each segment has, and a test run does not tell it: it takes what exceeds
    // the device's MTU for too big. `tests::traffic` has real ones.
    let may_be = input.frame.len() > DEVICE_MTU_BYTES + ETHERNET_OCTETS;
    match headers_octets(Frame(&input.frame)) {
        Some((TCP, octets)) => octets + segments.payload_octets as usize > mtu_bytes,
        Some((_, octets)) => may_be || octets + segments.payload_octets as usize > mtu_bytes,
        None => may_be,
    }
}

/// What every segment has: the IP header and TCP's or UDP's, if these are the frame's first ones.
fn headers_octets(frame: Frame<'_>) -> Option<(u8, usize)> {
    let packet = &frame.0[ETHERNET_OCTETS..];
    let (octets, next) = match frame.ethertype() {
        IPV4 if packet.len() >= 20 => (usize::from(packet[0] & 0x0f) * 4, packet[9]),
        IPV6 if packet.len() >= 40 => (40, packet[6]),
        _ => return None,
    };
    match next {
        UDP => Some((UDP, octets + 8)),
        TCP => Some((TCP, octets + usize::from(packet.get(octets + 12)? >> 4) * 4)),
        _ => None,
    }
}

/// Dropped, and answered if IP has an answer: from the address that it was for, to the port alone.
fn refuse_too_big(world: &World, input: &Input, number: u8, network: Network) -> Expected {
    let row = Row::Port(number);
    let frame = Frame(&input.frame);
    let packet = &input.frame[ETHERNET_OCTETS..];
    let answer = match frame.ethertype() {
        IPV4 => fragmentation_needed(packet, network.mtu_bytes),
        IPV6 => packet_too_big(packet, network.mtu_bytes),
        _ => None,
    };
    let dropped = Expected::drop(row, "too-big");
    let may_be_answered = !frame.destination().is_group() && !world.spent.contains(&Budget::PortIcmp(number));
    let Some(answer) = answer.filter(|_| may_be_answered) else { return dropped };
    let ethernet = [&frame.source().octets()[..], &frame.destination().octets(), &input.frame[12..14]].concat();
    let frame = Some([ethernet, answer].concat());
    Expected { outcome: Outcome::TooBigAnswered, frame, ..dropped }
        .by(Way::ByPort(number))
        .counting(row, Count::Received)
        .counting(row, Count::IcmpReply)
}

/// RFC 1191 4, to DF alone; what is never answered is in RFC 1122 3.2.2. The quote has 528 octets.
fn fragmentation_needed(packet: &[u8], mtu_bytes: u32) -> Option<Vec<u8>> {
    const ICMP: u8 = 1;
    const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
    let quote = packet.get(..528)?;
    let (source, destination) = (&packet[12..16], &packet[16..20]);
    let is_one_host = |address: &[u8]| ![0, 127].contains(&address[0]) && address[0] < 224;
    let after_header = usize::from(packet[0] & 0x0f) * 4;
    let is_answered = packet[0] >> 4 == 4
        && after_header >= 20
        && number(packet, 6) & 0x4000 != 0
        && number(packet, 6) & 0x1fff == 0
        && is_one_host(source)
        && is_one_host(destination)
        && (packet[9] != ICMP || !ERRORS.contains(&packet[after_header]));
    if !is_answered {
        return None;
    }
    let mut icmp = [&[3, 4, 0, 0, 0, 0][..], &(mtu_bytes as u16).to_be_bytes(), quote].concat();
    let sum = checksum(&icmp);
    put(&mut icmp, 2, sum);
    let mut header = vec![0x45, 0xc0, 0, 0, 0, 0, 0x40, 0, 64, ICMP, 0, 0];
    header.extend([destination, source].concat());
    put(&mut header, 2, (20 + icmp.len()) as u16);
    let sum = checksum(&header);
    put(&mut header, 10, sum);
    Some([header, icmp].concat())
}

/// RFC 4443 3.2, in 1280 octets.
fn packet_too_big(packet: &[u8], mtu_bytes: u32) -> Option<Vec<u8>> {
    const ICMPV6: u8 = 58;
    let quote = packet.get(..1280 - 48).filter(|_| mtu_bytes >= 1280)?;
    let (source, destination) = (&packet[8..24], &packet[24..40]);
    let is_one_host = |address: &[u8]| address[0] != 0xff && address > &Ipv6Addr::LOCALHOST.octets()[..];
    let (next, at) = after_extensions(packet)?;
    let is_error = next == ICMPV6 && *packet.get(at)? < 128;
    if packet[0] >> 4 != 6 || !is_one_host(source) || !is_one_host(destination) || is_error {
        return None;
    }
    let mut icmp = [&[2, 0, 0, 0][..], &mtu_bytes.to_be_bytes(), quote].concat();
    let pseudo_header = [destination, source, &(icmp.len() as u32).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[&pseudo_header, &*icmp].concat());
    put(&mut icmp, 2, sum);
    let header = [&[0x60, 0, 0, 0][..], &(icmp.len() as u16).to_be_bytes(), &[ICMPV6, 64], destination, source];
    Some([&header.concat(), &*icmp].concat())
}

/// The protocol behind an IPv6 packet's extension headers, six at most, and where that begins; `None` for a
/// fragment but the first.
fn after_extensions(packet: &[u8]) -> Option<(u8, usize)> {
    const FRAGMENT: u8 = 44;
    const OTHERS: [u8; 3] = [0, 43, 60];
    let (mut next, mut at) = (packet[6], 40);
    for _ in 0..6 {
        let octets = match next {
            FRAGMENT => 8,
            next if OTHERS.contains(&next) => (usize::from(*packet.get(at + 1)?) + 1) * 8,
            _ => break,
        };
        let header = packet.get(at..at + 4)?;
        if next == FRAGMENT && number(header, 2) >> 3 != 0 {
            return None;
        }
        next = header[0];
        at += octets;
    }
    Some((next, at))
}

fn put(octets: &mut [u8], at: usize, number: u16) {
    octets[at..at + 2].copy_from_slice(&number.to_be_bytes());
}

/// Whether one asks for somebody whom the network knows. Probes, announcements and whoever asks for its
/// own address want to know who else has it (RFC 5227 1.1), and everybody is to hear that.
fn answer_for(world: &World, port: Port, number: u8, arp: Arp<'_>) -> Option<MacAddr> {
    const REQUEST: u16 = 1;
    let asks = arp.operation() == REQUEST && arp.protocol() == IPV4 && arp.address_octets() == 4;
    let conflicts = arp.sender_address() == [0; 4] || arp.sender_address() == arp.target_address();
    let known = world.neighbors.get(&(port.vni, arp.target_address().into())).copied();
    known.filter(|mac| asks && !conflicts && *mac != port_mac(number))
}

/// RFC 826: the fields change places, the operation becomes a reply. What follows the packet stays.
fn answer(request: &[u8], arp: Arp<'_>, mac: MacAddr) -> Vec<u8> {
    let asker = arp.sender_mac().octets();
    let packet = [
        &asker[..],
        &mac.octets(),
        &ARP.to_be_bytes(),
        &arp.0[..6],
        &2u16.to_be_bytes(),
        &mac.octets(),
        &arp.target_address(),
        &asker,
        &arp.sender_address(),
    ]
    .concat();
    [&packet[..], &request[packet.len()..]].concat()
}

enum DhcpRole {
    Client,
    Server,
}

/// A frame of 14 octets or more, without its outermost tag. The kernel takes no others.
struct Frame<'a>(&'a [u8]);

impl<'a> Frame<'a> {
    fn destination(&self) -> MacAddr {
        MacAddr::from(*self.0.first_chunk().expect("a header"))
    }

    fn source(&self) -> MacAddr {
        MacAddr::from(*self.0[6..].first_chunk().expect("a header"))
    }

    fn ethertype(&self) -> u16 {
        number(self.0, 12)
    }

    /// Ethernet II within 802.3 (RFC 1042): a length, LLC and SNAP without an organization.
    fn is_snap(&self) -> bool {
        self.ethertype() < 0x600 && self.0[ETHERNET_OCTETS..].starts_with(&[0xaa, 0xaa, 3, 0, 0, 0])
    }

    /// Behind a second tag or SNAP, where nobody looks.
    fn is_hidden(&self) -> bool {
        TAGS.contains(&self.ethertype()) || self.is_snap()
    }

    /// What an ARP frame says of its own sender, or why it is dropped.
    fn own_arp(&self) -> Result<Arp<'a>, &'static str> {
        let arp = self.0.get(ETHERNET_OCTETS..ETHERNET_OCTETS + 28).map(Arp).ok_or("too-short")?;
        let is_own = arp.mac_octets() == 6 && arp.sender_mac() == self.source();
        is_own.then_some(arp).ok_or("spoofed-arp")
    }

    /// By the UDP ports of an IPv4 packet, if these are in it: only the first fragment has them (RFC 791 3.2).
    fn dhcp_role(&self) -> Option<DhcpRole> {
        let packet = self.0.get(ETHERNET_OCTETS..).filter(|packet| packet.len() >= 20)?;
        if self.ethertype() != IPV4 || packet[9] != UDP || number(packet, 6) & 0x1fff != 0 {
            return None;
        }
        let header_octets = usize::from(packet[0] & 0x0f) * 4;
        let ports = packet.get(header_octets..header_octets + 4)?;
        if number(ports, 2) == DHCP_SERVER_PORT {
            Some(DhcpRole::Client)
        } else if number(ports, 0) == DHCP_SERVER_PORT {
            Some(DhcpRole::Server)
        } else {
            None
        }
    }
}

/// A packet of RFC 826, as long as one for IPv4 and Ethernet.
#[derive(Clone, Copy)]
struct Arp<'a>(&'a [u8]);

impl Arp<'_> {
    fn protocol(self) -> u16 {
        number(self.0, 2)
    }

    fn mac_octets(self) -> u8 {
        self.0[4]
    }

    fn address_octets(self) -> u8 {
        self.0[5]
    }

    fn operation(self) -> u16 {
        number(self.0, 6)
    }

    fn sender_mac(self) -> MacAddr {
        MacAddr::from(*self.0[8..].first_chunk().expect("checked"))
    }

    fn sender_address(self) -> [u8; 4] {
        *self.0[14..].first_chunk().expect("checked")
    }

    fn target_address(self) -> [u8; 4] {
        *self.0[24..].first_chunk().expect("checked")
    }
}

fn number(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}
