//! Both lanes (design §7): what they write is the same, what they take from each other's hands is safe,
//! and whoever is missing something for the fast one takes the other.

mod from_port;
mod from_underlay;
mod on_the_wire;
mod policies;
mod underlay;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use privnet_model::{MacAddr, Vni};
use privnet_plan::{NetOp, NetworkSettings};

use super::frames::{
    ARP, Arp, EXPERIMENTAL, IPV4, PATIENCE, Tap, VLAN, checksum, ethernet, saying, udp, with_ip_checksum,
};
use super::lab::{Host, Instance, MTU_BYTES, Namespace, VXLAN_PORT, network, until_the_next_tick};
use crate::names::OVERLAY_DEVICE;
use crate::programs::{Devices, Hook, Which};

const SHOT: u32 = 2;
const REDIRECT: u32 = 7;
/// On to whoever comes next.
const UNSPEC: u32 = u32::MAX;
const IPV6: u16 = 0x86dd;
const OWN_VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER_VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const STRANGE_VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// A flow stays in a lane for a few ticks of the kernel's clock, in which the test may not be at work.
const TRIES: u32 = 100;
/// Ethernet, IPv4, UDP, VXLAN, Ethernet.
const OUTER_OCTETS: usize = 14 + 20 + 8 + 8;
const IP_AT: usize = 14;
const UDP_AT: usize = IP_AT + 20;
const VXLAN_AT: usize = UDP_AT + 8;
const INNER_AT: usize = VXLAN_AT + 8;

fn vni() -> Vni {
    Vni::from_random(100)
}

/// Instances a and b on a host, c on another one that is a wire's end.
struct Scene {
    host: Host,
    wire: Namespace,
    a: Instance,
    b: Instance,
    c: Instance,
}

impl Scene {
    fn new(hook: Hook) -> Self {
        let (mut host, wire) = Host::alone(hook);
        let [a, b, c] = [1, 2, 3].map(Instance::new);
        let wanted = network(&[&a, &b], &[&c], OTHER_VTEP);
        host.reach(vni(), &wanted);
        // When the agent looks the next time, it sees that there is another host.
        host.dump();
        Self { host, wire, a, b, c }
    }

    /// What becomes of a frame that a sends to c.
    fn sends(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let index = self.host.index_of(self.a.mac);
        self.host.judge(Which::FromPort, index, frame)
    }

    /// What becomes of a frame that comes in by the underlay.
    fn receives(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let index = self.host.namespace.index_of("under0");
        self.host.judge(Which::FromUnderlay, index, frame)
    }

    fn switch_fast_lane_off(&mut self) {
        self.host.with(|opened, _| {
            let datapath = &mut opened.datapath;
            datapath.programs.set_devices(Devices { route: 0, ..datapath.devices }).expect("set");
        });
    }

    fn until_the_overlay_device_has_refused_one(&self) {
        let shown = || self.host.namespace.ip(&format!("-statistics link show dev {OVERLAY_DEVICE}"));
        loop {
            let shown = shown();
            let (_, sent) = shown.split_once("TX:").expect("counters");
            let numbers = sent.lines().nth(1).expect("in a line").split_whitespace();
            // Octets and packets that have left, errors, drops.
            if numbers.skip(2).take(4).any(|number| number != "0") {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// A frame from c's host, as the underlay brings it.
    fn sent_by_c(&self, source_port: u16, inner: &[u8]) -> Vec<u8> {
        let [to, from] = [&self.host.namespace, &self.wire].map(|namespace| namespace.mac_of("under0"));
        let mut packet = udp(source_port, VXLAN_PORT, 8 + inner.len());
        packet.truncate(28);
        packet[12..16].copy_from_slice(&OTHER_VTEP.octets());
        packet[16..20].copy_from_slice(&OWN_VTEP.octets());
        packet.extend([8, 0, 0, 0]);
        packet.extend((vni().get() << 8).to_be_bytes());
        packet.extend(inner);
        ethernet(to, from, IPV4, &with_ip_checksum(packet))
    }

    fn to_b(&self) -> Vec<u8> {
        ethernet(self.b.mac, self.c.mac, IPV4, &ipv4(0, 40))
    }
}

/// A whole IPv4 packet of UDP.
fn ipv4(tos: u8, octets: usize) -> Vec<u8> {
    let mut packet = udp(1000, 2000, octets);
    packet[1] = tos;
    packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
    packet[16..20].copy_from_slice(&[10, 0, 0, 3]);
    with_ip_checksum(packet)
}

fn ipv6(traffic_class: u8, octets: usize) -> Vec<u8> {
    let payload = udp(1000, 2000, octets).split_off(20);
    let mut packet = vec![0x60 | traffic_class >> 4, traffic_class << 4, 0, 7];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([17, 64]);
    packet.extend([[0xfd; 16], [0xfe; 16]].concat());
    packet.extend(payload);
    packet
}

/// The next frame of VXLAN.
fn next_vxlan(wire: &Tap) -> Vec<u8> {
    loop {
        let frame = wire.next();
        let is_udp = frame.len() > OUTER_OCTETS && frame[12..14] == IPV4.to_be_bytes() && frame[IP_AT + 9] == 17;
        if is_udp && frame[UDP_AT + 2..UDP_AT + 4] == VXLAN_PORT.to_be_bytes() {
            return frame;
        }
    }
}

/// Whether a device of the host's has a program or filter of ours.
fn is_attached(host: &Host, device: &str) -> bool {
    let index = host.namespace.index_of(device);
    let by_link = host.namespace.within(|| crate::sys::tcx_programs(index)).expect("asked");
    let (_, filters) = host.namespace.run(&format!("tc filter show dev {device} ingress"));
    !by_link.is_empty() || filters.contains("privnet")
}
