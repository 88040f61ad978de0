//! Both lanes (design §7): what they write is the same, what they take from each other's hands is safe,
//! and whoever is missing something for the fast one takes the other.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use privnet_model::{MacAddr, Vni};
use privnet_plan::NetOp;

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

mod on_the_wire {
    use super::*;

    /// All but the identification and what follows from it.
    fn comparable(mut frame: Vec<u8>) -> Vec<u8> {
        let packet = with_ip_checksum(frame[IP_AT..].to_vec());
        assert_eq!(packet, frame[IP_AT..], "the checksum is right");
        frame[IP_AT + 4..IP_AT + 6].fill(0);
        frame[IP_AT + 10..IP_AT + 12].fill(0);
        frame
    }

    /// Frames of all kinds of which there is one.
    fn singles(scene: &Scene) -> Vec<Vec<u8>> {
        let frame = |ethertype, payload: &[u8]| ethernet(scene.c.mac, scene.a.mac, ethertype, payload);
        let mut frames = Vec::new();
        // Each ECN, with a DSCP that stays inside.
        for tos in [0, 0b1011_1000, 0b1011_1001, 0b1011_1010, 0b1011_1011] {
            frames.push(frame(IPV4, &ipv4(tos, 40)));
            frames.push(frame(IPV6, &ipv6(tos, 40)));
        }
        let mut first_fragment = ipv4(0, 40);
        first_fragment[6] = 0x20;
        let mut last_fragment = ipv4(0, 40);
        last_fragment[7] = 9;
        for fragment in [first_fragment, last_fragment] {
            frames.push(frame(IPV4, &with_ip_checksum(fragment)));
        }
        frames.push(frame(IPV4, &ipv4(0, 0)));
        frames.push(frame(IPV4, &ipv4(0, MTU_BYTES as usize - 28)));
        // What only looks like packets.
        frames.push(frame(IPV4, &[0x45; 20]));
        frames.push(frame(IPV6, &[0x60; 40]));
        frames
    }

    #[test]
    fn both_lanes_write_the_same() {
        let mut scene = Scene::new(Hook::Tcx);
        let (a, wire) = (Tap::on(&scene.a.namespace, "net0"), Tap::on(&scene.wire, "under0"));
        let frames = singles(&scene);
        let send_all = || -> Vec<_> {
            let sent = frames.iter().map(|frame| {
                a.send(frame);
                let outer = comparable(next_vxlan(&wire));
                assert_eq!(outer[INNER_AT..], **frame);
                outer
            });
            sent.collect()
        };
        let before = scene.host.namespace.passed(OVERLAY_DEVICE);
        let fast = send_all();
        assert_eq!(scene.host.namespace.passed(OVERLAY_DEVICE), before, "by the fast lane alone");
        scene.switch_fast_lane_off();
        let offload = send_all();
        let [sent, _] = scene.host.namespace.passed(OVERLAY_DEVICE);
        assert_eq!(sent, before[0] + frames.len() as u64, "by the offload lane alone");
        for (number, (fast, offload)) in fast.iter().zip(&offload).enumerate() {
            assert_eq!(fast, offload, "frame {number}");
        }
        let counters = scene.host.counters(scene.a.mac);
        let octets: usize = frames.iter().map(Vec::len).sum();
        assert_eq!((counters.sent_frames, counters.sent_octets), (2 * frames.len() as u64, 2 * octets as u64));
    }

    /// What an instance's kernel leaves to the device, and a device that leaves it to the kernel.
    #[test]
    fn checksums_are_right_with_and_without_a_device_that_fills_them_in() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.a.configure();
        let neighbor = format!("neighbor add {} lladdr {} dev net0", scene.c.address, scene.c.mac);
        scene.a.namespace.ip(&neighbor);
        let wire = Tap::on(&scene.wire, "under0");
        let socket = scene.a.namespace.within(|| UdpSocket::bind((scene.a.address, 1000))).expect("bound");
        let inner = |scene: &Scene| {
            socket.send_to(&[7; 33], (scene.c.address, 2000)).expect("sent");
            next_vxlan(&wire).split_off(INNER_AT + 14)
        };
        let is_right = |packet: &[u8]| {
            let pseudo = [&packet[12..20], &[0, 17], &packet[24..26], &packet[20..], &[0][..packet.len() % 2]].concat();
            let sum: u32 = pseudo.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
            (sum & 0xffff) + (sum >> 16) == 0xffff
        };
        assert!(!is_right(&inner(&scene)), "left to the wire, as veth does");
        scene.host.namespace.without_tx_checksum("under0");
        let fast = inner(&scene);
        assert!(is_right(&fast), "{fast:?}");
        scene.switch_fast_lane_off();
        let offload = inner(&scene);
        // But for the inner packet's identification and checksum.
        assert_eq!(fast[20..], offload[20..]);
    }

    #[test]
    fn frames_wait_until_the_neighbour_is_known() {
        let scene = Scene::new(Hook::Tcx);
        let (a, wire) = (Tap::on(&scene.a.namespace, "net0"), Tap::on(&scene.wire, "under0"));
        let shown = scene.host.namespace.ip(&format!("neighbor show {OTHER_VTEP}"));
        assert!(!shown.contains("lladdr"), "{shown}");
        let frames: Vec<_> =
            (0..3).map(|number| ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40 + number))).collect();
        frames.iter().for_each(|frame| a.send(frame));
        for frame in &frames {
            assert_eq!(next_vxlan(&wire)[INNER_AT..], **frame);
        }
        assert_eq!(scene.host.namespace.passed(OVERLAY_DEVICE)[0], 0);
    }
}

/// Which lane a frame takes on its way out.
mod from_port {
    use super::*;

    #[track_caller]
    fn takes_the_offload_lane(scene: &mut Scene, frame: &[u8]) {
        let before = scene.host.counters(scene.a.mac);
        assert_eq!(scene.sends(frame), (REDIRECT, frame.to_vec()));
        let after = scene.host.counters(scene.a.mac);
        assert_eq!(after.sent_octets - before.sent_octets, frame.len() as u64);
    }

    #[track_caller]
    fn takes_the_fast_lane(scene: &mut Scene, frame: &[u8]) {
        let before = scene.host.counters(scene.a.mac);
        let (verdict, outer) = scene.sends(frame);
        assert_eq!((verdict, outer.len()), (REDIRECT, frame.len() + OUTER_OCTETS));
        let after = scene.host.counters(scene.a.mac);
        assert_eq!(after.sent_octets - before.sent_octets, frame.len() as u64);
    }

    fn to_c(scene: &Scene, octets: usize) -> Vec<u8> {
        ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, octets))
    }

    #[test]
    fn what_is_no_ip_takes_the_offload_lane() {
        let mut scene = Scene::new(Hook::Tcx);
        let frame = saying(scene.c.mac, scene.a.mac, "hello");
        takes_the_offload_lane(&mut scene, &frame);
    }

    #[test]
    fn a_host_to_which_no_route_leads_is_left_to_the_offload_lane() {
        let mut scene = Scene::new(Hook::Tcx);
        let frame = to_c(&scene, 40);
        takes_the_fast_lane(&mut scene, &frame);
        scene.host.namespace.ip("route add unreachable 192.0.2.2");
        until_the_next_tick();
        takes_the_offload_lane(&mut scene, &frame);
    }

    #[test]
    fn what_the_path_does_not_take_in_one_piece_is_left_to_the_offload_lane() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.host.namespace.ip("route add 192.0.2.2 dev under0 mtu lock 1400");
        let (largest, larger) = (to_c(&scene, 1400 - 50 - 28), to_c(&scene, 1401 - 50 - 28));
        takes_the_fast_lane(&mut scene, &largest);
        takes_the_offload_lane(&mut scene, &larger);
    }

    /// Frames of one flow keep their order: what follows a frame of the offload lane does not overtake it.
    #[test]
    fn a_flow_is_not_torn() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.host.namespace.ip("route add 192.0.2.2 dev under0 mtu lock 1400");
        let (small, large) = (to_c(&scene, 40), to_c(&scene, 1400));
        takes_the_fast_lane(&mut scene, &small);
        let is_kept = (0..TRIES).any(|_| {
            takes_the_offload_lane(&mut scene, &large);
            scene.sends(&small) == (REDIRECT, small.clone())
        });
        assert!(is_kept);
        while scene.sends(&small).1 == small {
            std::thread::yield_now();
        }
        takes_the_fast_lane(&mut scene, &small);
    }
}

/// What is taken off on its way in.
mod from_underlay {
    use super::*;

    #[test]
    fn a_frame_of_another_host_reaches_its_port() {
        let mut scene = Scene::new(Hook::Tcx);
        for inner in [ipv4(0, 40), ipv4(0, 0)] {
            let inner = ethernet(scene.b.mac, scene.c.mac, IPV4, &inner);
            let before = scene.host.counters(scene.b.mac);
            assert_eq!(scene.receives(&scene.sent_by_c(50000, &inner)), (REDIRECT, inner.clone()));
            let after = scene.host.counters(scene.b.mac);
            assert_eq!(after.received_frames, before.received_frames + 1);
            assert_eq!(after.received_octets, before.received_octets + inner.len() as u64);
        }
    }

    /// A kernel before 6.3 cannot tell the new packet's protocol, and takes it itself.
    #[test]
    fn an_ipv6_packet_is_taken_off_where_the_kernel_can() {
        let mut scene = Scene::new(Hook::Tcx);
        let inner = ethernet(scene.b.mac, scene.c.mac, IPV6, &ipv6(0, 40));
        let outer = scene.sent_by_c(50000, &inner);
        let (verdict, result) = scene.receives(&outer);
        assert!((verdict, &result) == (REDIRECT, &inner) || (verdict, &result) == (UNSPEC, &outer), "{verdict}");
        let b = Tap::on(&scene.b.namespace, "net0");
        Tap::on(&scene.wire, "under0").send(&outer);
        assert_eq!(b.next(), inner);
    }

    #[test]
    fn what_is_not_plainly_for_this_vtep_goes_on_untouched() {
        let mut scene = Scene::new(Hook::Tcx);
        let (to_b, to_c) = (scene.to_b(), ethernet(scene.b.mac, scene.c.mac, ARP, &[0; 46]));
        let tagged =
            ethernet(scene.b.mac, scene.c.mac, VLAN, &[&[0, 5][..], &IPV4.to_be_bytes(), &ipv4(0, 40)].concat());
        let group = ethernet(MacAddr::new([1, 0, 0x5e, 0, 0, 1]), scene.c.mac, IPV4, &ipv4(0, 40));
        let mut port = 50000;
        let mut good = |scene: &Scene, inner: &[u8]| {
            // Each a flow of its own, since a flow that is left to the kernel stays there for a while.
            port += 1;
            scene.sent_by_c(port, inner)
        };
        type Change = fn(&mut Vec<u8>);
        let changes: &[(&str, Change)] = &[
            ("another protocol", |frame| frame[12..14].copy_from_slice(&EXPERIMENTAL.to_be_bytes())),
            ("for another device", |frame| frame[5] ^= 1),
            ("for everybody", |frame| frame[..6].fill(0xff)),
            ("another version", |frame| frame[IP_AT] = 0x55),
            ("options", |frame| frame[IP_AT] = 0x46),
            ("a congestion that was met", |frame| frame[IP_AT + 1] = 3),
            ("ECT(1)", |frame| frame[IP_AT + 1] = 1),
            ("longer than the packet says", |frame| frame.push(0)),
            ("shorter than the packet says", |frame| frame.truncate(frame.len() - 1)),
            ("the packet's length", |frame| frame[IP_AT + 3] += 1),
            ("the datagram's length", |frame| frame[UDP_AT + 5] -= 1),
            ("a first fragment", |frame| frame[IP_AT + 6] = 0x20),
            ("a later fragment", |frame| frame[IP_AT + 7] = 1),
            ("another transport", |frame| frame[IP_AT + 9] = 6),
            ("for another address", |frame| frame[IP_AT + 19] = 99),
            ("for another port", |frame| frame[UDP_AT + 3] ^= 1),
            ("a UDP checksum", |frame| frame[UDP_AT + 6] = 1),
            ("no VNI", |frame| frame[VXLAN_AT] = 0),
            ("another flag", |frame| frame[VXLAN_AT] = 0x88),
            ("a reserved flag", |frame| frame[VXLAN_AT + 3] = 1),
            ("a reserved octet", |frame| frame[VXLAN_AT + 7] = 1),
        ];
        for (what, change) in changes {
            let mut frame = good(&scene, &to_b);
            assert_eq!(scene.receives(&frame), (REDIRECT, to_b.clone()), "without {what}");
            change(&mut frame);
            let packet = with_ip_checksum(frame[IP_AT..].to_vec());
            frame[IP_AT..].copy_from_slice(&packet);
            assert_eq!(scene.receives(&frame), (UNSPEC, frame), "{what}");
        }
        let mut frame = good(&scene, &to_b);
        frame[IP_AT + 10] ^= 1;
        assert_eq!(scene.receives(&frame), (UNSPEC, frame), "a wrong checksum");
        let cut = good(&scene, &to_b)[..OUTER_OCTETS + 13].to_vec();
        assert_eq!(scene.receives(&cut), (UNSPEC, cut), "cut off");
        for (what, inner) in [("no IP", to_c), ("a tag inside", tagged), ("for a group", group)] {
            let frame = good(&scene, &inner);
            assert_eq!(scene.receives(&frame), (UNSPEC, frame), "{what}");
        }
        let counters = scene.host.overlay_counters();
        assert!(counters.drops.is_empty(), "{counters:?}");
    }

    /// The kernel left of a checksum over the whole frame what is one over the rest of it.
    #[test]
    fn a_checksum_of_the_whole_frame_is_right_for_what_is_left_of_it() {
        let mut scene = Scene::new(Hook::Tcx);
        let inner = scene.to_b();
        let (outer, index) = (scene.sent_by_c(50000, &inner), scene.host.namespace.index_of("under0"));
        let verdict = scene.host.judge_with_checksum(Which::FromUnderlay, index, &outer);
        assert_eq!(verdict.expect("the checksum is right"), REDIRECT);
    }

    /// A device that has verified the outermost checksum only, or the next one as well, has said nothing of the
    /// inner packet's, or all.
    #[test]
    fn what_a_device_has_verified_holds_for_no_more_than_that() {
        let scene = Scene::new(Hook::Tcx);
        scene.host.namespace.with_gro("under0");
        // Frames for which the sender would do more are not looked at.
        scene.wire.without_tx_checksum("under0");
        let (b, wire) = (Tap::on(&scene.b.namespace, "net0"), Tap::on(&scene.wire, "under0"));
        let mut packet = ipv4(0, 40);
        let pseudo_header = [&packet[12..20], &[0, 17], &packet[24..26]].concat();
        let right = checksum(&[&pseudo_header, &packet[20..]].concat());
        for (sum, is_verified) in [(right, true), (right ^ 1, false)] {
            packet[26..28].copy_from_slice(&sum.to_be_bytes());
            let inner = ethernet(scene.b.mac, scene.c.mac, IPV4, &packet);
            wire.send(&scene.sent_by_c(50000, &inner));
            let (frame, status) = b.next_with_status();
            assert_eq!((frame, status & libc::TP_STATUS_CSUM_VALID != 0), (inner, is_verified));
        }
        assert_eq!(scene.host.namespace.passed(OVERLAY_DEVICE)[1], 0, "by the fast lane");
    }

    /// The same reasons in the same order as in the other lane (design §7).
    #[test]
    fn what_nobody_may_send_or_nobody_wants_is_dropped() {
        let mut scene = Scene::new(Hook::Tcx);
        let to = |mac: MacAddr| ethernet(mac, scene.c.mac, IPV4, &ipv4(0, 40));
        let to_b = scene.sent_by_c(50000, &to(scene.b.mac));
        let mut strange = to_b.clone();
        strange[IP_AT + 12..IP_AT + 16].copy_from_slice(&STRANGE_VTEP.octets());
        let packet = with_ip_checksum(strange[IP_AT..].to_vec());
        strange[IP_AT..].copy_from_slice(&packet);
        let mut other_network = to_b.clone();
        other_network[VXLAN_AT + 6] ^= 1;
        let cases = [
            ("unknown-vtep", strange),
            ("unknown-vni", other_network),
            ("unknown-unicast", scene.sent_by_c(50000, &to(MacAddr::for_port([9; 5])))),
            ("spoofed-mac", scene.sent_by_c(50000, &ethernet(scene.b.mac, scene.a.mac, IPV4, &ipv4(0, 40)))),
            // Never back to the overlay, where the frame came from.
            ("unknown-unicast", scene.sent_by_c(50000, &to(scene.c.mac))),
        ];
        for (reason, frame) in cases {
            let before = scene.host.overlay_counters().drops.get(reason).copied().unwrap_or_default();
            assert_eq!(scene.receives(&frame), (SHOT, frame), "{reason}");
            assert_eq!(scene.host.overlay_counters().drops.get(reason), Some(&(before + 1)), "{reason}");
        }
        scene.host.apply(&NetOp::Close { vni: vni(), mac: scene.b.mac }).expect("closed");
        assert_eq!(scene.receives(&to_b).0, SHOT);
        assert_eq!(scene.host.overlay_counters().drops.get("target-closed"), Some(&1));
    }

    #[test]
    fn a_flow_is_not_torn() {
        let mut scene = Scene::new(Hook::Tcx);
        let inner = scene.to_b();
        let [plain, other] = [50000, 50001].map(|port| scene.sent_by_c(port, &inner));
        let mut congested = plain.clone();
        congested[IP_AT + 1] = 3;
        let packet = with_ip_checksum(congested[IP_AT..].to_vec());
        congested[IP_AT..].copy_from_slice(&packet);
        assert_eq!(scene.receives(&plain).0, REDIRECT);
        let is_kept = (0..TRIES).any(|_| {
            assert_eq!(scene.receives(&congested).0, UNSPEC);
            scene.receives(&plain) == (UNSPEC, plain.clone())
        });
        assert!(is_kept);
        assert_eq!(scene.receives(&other).0, REDIRECT, "another flow");
        while scene.receives(&plain).0 == UNSPEC {
            std::thread::yield_now();
        }
        assert_eq!(scene.receives(&plain).0, REDIRECT);
    }

    /// RFC 6040: what congestion has left in the outer header gets to the receiver.
    #[test]
    fn congestion_is_told_to_the_receiver() {
        let scene = Scene::new(Hook::Tcx);
        let (b, wire) = (Tap::on(&scene.b.namespace, "net0"), Tap::on(&scene.wire, "under0"));
        let capable = ethernet(scene.b.mac, scene.c.mac, IPV4, &ipv4(2, 40));
        let mut outer = scene.sent_by_c(50000, &capable);
        outer[IP_AT + 1] = 3;
        let packet = with_ip_checksum(outer[IP_AT..].to_vec());
        outer[IP_AT..].copy_from_slice(&packet);
        wire.send(&outer);
        assert_eq!(b.next(), ethernet(scene.b.mac, scene.c.mac, IPV4, &ipv4(3, 40)));
    }

    /// A tagged frame is another network's, which only its VLAN device knows.
    #[test]
    fn a_tagged_frame_is_not_for_the_device_without_the_tag() {
        let scene = Scene::new(Hook::Tcx);
        let (b, wire) = (Tap::on(&scene.b.namespace, "net0"), Tap::on(&scene.wire, "under0"));
        let plain = scene.sent_by_c(50000, &scene.to_b());
        let tag = [&VLAN.to_be_bytes()[..], &[0, 7]].concat();
        wire.send(&[&plain[..12], &tag, &plain[12..]].concat());
        let last = ethernet(scene.b.mac, scene.c.mac, IPV4, &ipv4(0, 41));
        wire.send(&scene.sent_by_c(50000, &last));
        assert_eq!(b.next(), last);
    }
}

/// The host's IPsec policies (xfrm), which only the kernel's own way asks.
mod policies {
    use super::*;
    use crate::layout::LAYOUT_VERSION;

    const BLOCK_OUT: &str = "dir out dst 192.0.2.2/32 proto udp action block";
    const BLOCK_IN: &str = "dir in src 192.0.2.2/32 proto udp action block";

    /// What the agent finds when it looks the next time.
    fn look(scene: &mut Scene) {
        scene.host.dump();
    }

    /// What an agent finds that comes back.
    fn restart(scene: &mut Scene) {
        scene.host.reopen();
    }

    /// What an agent of another version finds, which fills its maps only then.
    fn upgrade(scene: &mut Scene) {
        scene.host.layout = LAYOUT_VERSION + 1;
        scene.host.reopen();
    }

    type Notice = fn(&mut Scene);

    /// How programs are attached, which version's agent runs when the policies are made (one of another version
    /// has not filled its maps yet), and when they are seen.
    const OCCASIONS: [(Hook, u32, Notice); 5] = [
        (Hook::Tcx, LAYOUT_VERSION, look),
        (Hook::Clsact, LAYOUT_VERSION, look),
        (Hook::Tcx, LAYOUT_VERSION, restart),
        (Hook::Tcx, LAYOUT_VERSION, upgrade),
        (Hook::Clsact, LAYOUT_VERSION + 1, look),
    ];

    fn scene(hook: Hook, layout: u32) -> Scene {
        let mut scene = Scene::new(hook);
        if layout != scene.host.layout {
            upgrade(&mut scene);
        }
        scene
    }

    #[test]
    fn nothing_leaves_past_them() {
        for (hook, layout, notice) in OCCASIONS {
            let mut scene = scene(hook, layout);
            let (a, wire) = (Tap::on(&scene.a.namespace, "net0"), Tap::on(&scene.wire, "under0"));
            let [first, blocked, last] =
                [0, 1, 2].map(|number| ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40 + number)));
            a.send(&first);
            assert_eq!(next_vxlan(&wire)[INNER_AT..], first);
            scene.host.namespace.ip(&format!("xfrm policy add {BLOCK_OUT}"));
            notice(&mut scene);
            until_the_next_tick();
            let [sent, _] = scene.host.namespace.passed(OVERLAY_DEVICE);
            assert_eq!(sent, 0, "by the fast lane");
            a.send(&blocked);
            scene.until_the_overlay_device_has_refused_one();
            scene.host.namespace.ip("xfrm policy flush");
            a.send(&last);
            assert_eq!(next_vxlan(&wire)[INNER_AT..], last);
        }
    }

    #[test]
    fn nothing_comes_in_past_them() {
        for (hook, layout, notice) in OCCASIONS {
            let mut scene = scene(hook, layout);
            let (b, wire) = (Tap::on(&scene.b.namespace, "net0"), Tap::on(&scene.wire, "under0"));
            let [first, blocked, last] =
                [0, 1, 2].map(|number| ethernet(scene.b.mac, scene.c.mac, IPV4, &ipv4(0, 40 + number)));
            wire.send(&scene.sent_by_c(50000, &first));
            assert_eq!(b.next(), first);
            scene.host.namespace.ip(&format!("xfrm policy add {BLOCK_IN}"));
            notice(&mut scene);
            // The kernel detaches a link in the background.
            while is_attached(&scene.host, "under0") {
                std::thread::yield_now();
            }
            wire.send(&scene.sent_by_c(50000, &blocked));
            // What follows on the same wire has come in, too.
            let host = scene.host.namespace.mac_of("under0");
            let asker = (scene.wire.mac_of("under0"), OTHER_VTEP);
            wire.send(&ethernet(host, asker.0, ARP, &Arp::request(asker, OWN_VTEP).payload()));
            while wire.next()[12..14] != ARP.to_be_bytes() {}
            scene.host.namespace.ip("xfrm policy flush");
            wire.send(&scene.sent_by_c(50000, &last));
            assert_eq!(b.next(), last);
        }
    }

    #[test]
    fn the_fast_lane_is_open_again_when_the_last_one_has_gone() {
        for hook in [Hook::Tcx, Hook::Clsact] {
            for (make, remove) in [
                ("policy add dir out dst 192.0.2.2/32 action block", "policy flush"),
                ("policy add dir in src 203.0.113.1/32 action allow", "policy flush"),
                ("policy setdefault out block", "policy setdefault out accept"),
                ("policy setdefault in block", "policy setdefault in accept"),
            ] {
                let mut scene = Scene::new(hook);
                let frame = ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40));
                scene.host.namespace.ip(&format!("xfrm {make}"));
                look(&mut scene);
                assert_eq!(scene.sends(&frame), (REDIRECT, frame.clone()), "{make}");
                while is_attached(&scene.host, "under0") {
                    std::thread::yield_now();
                }
                scene.host.namespace.ip(&format!("xfrm {remove}"));
                look(&mut scene);
                assert_eq!(scene.sends(&frame).1.len(), frame.len() + OUTER_OCTETS, "{remove}");
                assert!(is_attached(&scene.host, "under0"), "{remove}");
            }
        }
    }

    #[test]
    fn what_is_only_forwarded_is_not_concerned() {
        let mut scene = Scene::new(Hook::Tcx);
        let frame = ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40));
        scene.host.namespace.ip("xfrm policy add dir fwd dst 192.0.2.2/32 action block");
        scene.host.namespace.ip("xfrm policy setdefault fwd block");
        look(&mut scene);
        assert_eq!(scene.sends(&frame).1.len(), frame.len() + OUTER_OCTETS);
        assert!(is_attached(&scene.host, "under0"));
    }
}

/// Underlays of all kinds, and what is attached to their devices.
mod underlay {
    use super::*;
    use crate::purge;

    /// Instances a and c on two hosts.
    struct Pair {
        one: Host,
        two: Host,
        a: Instance,
        c: Instance,
    }

    impl Pair {
        fn on(one: Host, two: Host) -> Self {
            let [a, c] = [1, 3].map(Instance::new);
            let mut pair = Self { one, two, a, c };
            pair.one.reach(vni(), &network(&[&pair.a], &[&pair.c], pair.two.vtep));
            pair.two.reach(vni(), &network(&[&pair.c], &[&pair.a], pair.one.vtep));
            [&pair.a, &pair.c].into_iter().for_each(Instance::configure);
            pair.look();
            // From now on they know each other's MAC addresses.
            assert!(pair.a.namespace.can_ping(pair.c.address));
            pair
        }

        /// What the agents do now and then.
        fn look(&mut self) {
            self.one.dump();
            self.two.dump();
        }

        /// A flow that was in the offload lane a moment ago stays there for some ticks, and no longer.
        #[track_caller]
        fn ping_by_the_fast_lane(&self) {
            let passed = || [&self.one, &self.two].map(|host| host.namespace.passed(OVERLAY_DEVICE));
            let is_fast = || {
                let before = passed();
                assert!(self.a.namespace.can_ping(self.c.address));
                passed() == before
            };
            assert!((0..TRIES).any(|_| is_fast()), "always by the overlay devices: {:?}", passed());
        }
    }

    /// Two namespaces with wires of these names between them.
    fn wired<const N: usize>(devices: [&str; N]) -> [Namespace; 2] {
        let [one, two] = [(); 2].map(|()| Namespace::new());
        for device in devices {
            one.ip(&format!("link add {device} type veth peer name {device} netns {}", two.netns()));
            one.ip(&format!("link set {device} up"));
            two.ip(&format!("link set {device} up"));
        }
        [one, two]
    }

    fn vtep(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, number)
    }

    /// Both namespaces as hosts with the addresses 203.0.113.1 and 203.0.113.2 on loopback, which they
    /// reach by these routes over the wires' addresses 192.0.2.1 and 192.0.2.2, 198.51.100.1 and 198.51.100.2.
    fn routed(namespaces: [Namespace; 2], route: impl Fn(u8) -> String, hook: Hook) -> Pair {
        let mut number = 0;
        let [one, two] = namespaces.map(|namespace| {
            number += 1;
            namespace.ip(&format!("address add {}/32 dev lo", vtep(number)));
            for (device, prefix) in [("under0", "192.0.2"), ("under1", "198.51.100")] {
                namespace.run(&format!("ip address add {prefix}.{number}/24 dev {device}"));
            }
            namespace.ip(&format!("route add {} {}", vtep(3 - number), route(3 - number)));
            Host::at(namespace, vtep(number).into(), hook)
        });
        Pair::on(one, two)
    }

    #[test]
    fn a_wire() {
        for hook in [Hook::Tcx, Hook::Clsact] {
            let (one, two) = Host::pair(hook);
            Pair::on(one, two).ping_by_the_fast_lane();
        }
    }

    /// However small it is: what will be cut into segments takes the offload lane.
    #[test]
    fn a_stream_of_small_segments() {
        let (one, two) = Host::pair(Hook::Tcx);
        let pair = Pair::on(one, two);
        pair.c.namespace.ip("route change 10.0.0.0/24 dev net0 advmss 100");
        let listener = pair.c.namespace.within(|| TcpListener::bind((pair.c.address, 5000))).expect("bound");
        let mut stream = pair.a.namespace.within(|| TcpStream::connect((pair.c.address, 5000))).expect("connected");
        let before = pair.one.namespace.passed(OVERLAY_DEVICE);
        stream.write_all(&[7; 1000]).expect("sent");
        let (mut receiver, _) = listener.accept().expect("accepted");
        receiver.set_read_timeout(Some(PATIENCE)).expect("set");
        receiver.read_exact(&mut [0; 1000]).expect("received");
        assert!(pair.one.namespace.passed(OVERLAY_DEVICE)[0] > before[0]);
    }

    /// The VTEP's address is not on the device that has the wire, as with bonds, VLANs and bridges.
    #[test]
    fn a_device_upon_another_one_with_a_name_that_no_pin_may_have() {
        let mut number = 0;
        let [one, two] = wired(["under0"]).map(|namespace| {
            number += 1;
            namespace.ip("link add under0.7 type bridge");
            namespace.ip("link set under0 master under0.7");
            namespace.ip("link set under0.7 up");
            namespace.ip(&format!("address add {}/24 dev under0.7", vtep(number)));
            Host::at(namespace, vtep(number).into(), Hook::Tcx)
        });
        Pair::on(one, two).ping_by_the_fast_lane();
    }

    #[test]
    fn next_hops_and_a_vtep_on_loopback() {
        routed(wired(["under0"]), |to| format!("via 192.0.2.{to}"), Hook::Tcx).ping_by_the_fast_lane();
    }

    #[test]
    fn two_uplinks_at_once() {
        let namespaces = wired(["under0", "under1"]);
        for namespace in &namespaces {
            let by_ports = namespace.run("sysctl -q net.ipv4.fib_multipath_hash_policy=1");
            assert!(by_ports.0, "{}", by_ports.1);
        }
        let route = |to| format!("nexthop via 192.0.2.{to} nexthop via 198.51.100.{to}");
        let pair = routed(namespaces, route, Hook::Tcx);
        let sent = || ["under0", "under1"].map(|device| pair.one.namespace.passed(device)[0]);
        let before = sent();
        // Of a hundred flows some take each way.
        let socket = |number: u16| pair.a.namespace.within(|| UdpSocket::bind((pair.a.address, 1000 + number)));
        for number in 0..100 {
            socket(number).expect("bound").send_to(b"hello", (pair.c.address, 2000)).expect("sent");
        }
        pair.ping_by_the_fast_lane();
        let after = sent();
        for uplink in [0, 1] {
            assert!(after[uplink] > before[uplink], "{before:?} {after:?}");
        }
    }

    /// The kernel may name such a route's object alone, and not the devices that it leads to.
    #[test]
    fn next_hop_objects() {
        for (object, leads_to) in [(1, [true, false]), (3, [true, true])] {
            let namespaces = wired(["under0", "under1"]);
            for (namespace, to) in namespaces.iter().zip([2, 1]) {
                let by_object = namespace.run("sysctl -q net.ipv4.nexthop_compat_mode=0");
                assert!(by_object.0, "{}", by_object.1);
                namespace.ip(&format!("nexthop add id 1 via 192.0.2.{to} dev under0 onlink"));
                namespace.ip(&format!("nexthop add id 2 via 198.51.100.{to} dev under1 onlink"));
                namespace.ip("nexthop add id 3 group 1/2");
            }
            let pair = routed(namespaces, |_| format!("nhid {object}"), Hook::Tcx);
            assert_eq!(["under0", "under1"].map(|device| is_attached(&pair.one, device)), leads_to);
            pair.ping_by_the_fast_lane();
        }
    }

    /// For so many next hops the kernel's answer has no room. It knows the way all the same.
    #[test]
    fn routes_that_the_kernel_does_not_tell() {
        for hook in [Hook::Tcx, Hook::Clsact] {
            let by_many = |to| format!("nexthop via 192.0.2.{to} dev under0 ").repeat(240);
            let mut pair = routed(wired(["under0"]), by_many, hook);
            assert!(!is_attached(&pair.one, "under0"));
            let route = |pair: &Pair, way: &str| {
                pair.one.namespace.ip(&format!("route replace {} {way}", vtep(2)));
            };
            route(&pair, "via 192.0.2.2");
            pair.look();
            assert!(is_attached(&pair.one, "under0"));
            route(&pair, &by_many(2));
            pair.one.reopen();
            assert!(pair.a.namespace.can_ping(pair.c.address));
            // The kernel detaches a link in the background.
            while is_attached(&pair.one, "under0") {
                std::thread::yield_now();
            }
        }
    }

    /// The kernel is asked in each tick, so nobody has to tell.
    #[test]
    fn a_route_that_moves_while_no_agent_runs() {
        let namespaces = wired(["under0", "under1"]);
        let mut pair = routed(namespaces, |to| format!("via 192.0.2.{to}"), Hook::Tcx);
        pair.one.close();
        pair.two.close();
        pair.one.namespace.ip(&format!("route replace {} via 198.51.100.2", vtep(2)));
        pair.two.namespace.ip(&format!("route replace {} via 198.51.100.1", vtep(1)));
        pair.one.namespace.ip("link set under0 down");
        let [sent, _] = pair.one.namespace.passed(OVERLAY_DEVICE);
        assert!(pair.a.namespace.can_ping(pair.c.address));
        assert_eq!(pair.one.namespace.passed(OVERLAY_DEVICE)[0], sent, "by the fast lane");
        // Agents that come back let the frames in by the new way, too.
        pair.one.reopen();
        pair.two.reopen();
        assert!(pair.a.namespace.can_ping(pair.c.address));
        pair.ping_by_the_fast_lane();
    }

    #[test]
    fn a_jumbo_underlay() {
        let [one, two] = wired(["under0"]);
        let mut number = 0;
        let [one, two] = [one, two].map(|namespace| {
            number += 1;
            namespace.ip("link set under0 mtu 9000");
            namespace.ip(&format!("address add {}/24 dev under0", vtep(number)));
            Host::at(namespace, vtep(number).into(), Hook::Tcx)
        });
        let mut pair = Pair::on(one, two);
        for (host, here, there, vtep) in
            [(&mut pair.one, &pair.a, &pair.c, vtep(2)), (&mut pair.two, &pair.c, &pair.a, vtep(1))]
        {
            let mut wanted = network(&[here], &[there], vtep);
            wanted.settings.as_mut().expect("some").mtu_bytes = 8950;
            wanted.ports.get_mut(&here.mac).expect("its port").spec.mtu_bytes = 8950;
            host.reach(vni(), &wanted);
            here.namespace.ip(&format!("address replace {}/24 dev net0", here.address));
        }
        assert!(pair.a.namespace.can_ping(pair.c.address));
        let before = pair.one.namespace.passed(OVERLAY_DEVICE);
        // A packet of 8950 octets, which may not be cut.
        let (reached, said) = pair.a.namespace.run(&format!("ping -n -c 1 -W 2 -M do -s 8922 {}", pair.c.address));
        assert!(reached, "{said}");
        assert_eq!(pair.one.namespace.passed(OVERLAY_DEVICE), before, "past the overlay device");
    }

    #[test]
    fn a_device_that_is_made_anew() {
        for hook in [Hook::Tcx, Hook::Clsact] {
            let (one, two) = Host::pair(hook);
            let mut pair = Pair::on(one, two);
            pair.one.namespace.ip("link delete under0");
            let [one, two] = [&pair.one.namespace, &pair.two.namespace];
            one.ip(&format!("link add under0 type veth peer name under0 netns {}", two.netns()));
            for host in [&pair.one, &pair.two] {
                host.namespace.ip(&format!("address add {}/24 dev under0", host.vtep));
                host.namespace.ip("link set under0 up");
            }
            pair.look();
            assert!(pair.a.namespace.can_ping(pair.c.address));
            pair.ping_by_the_fast_lane();
            let links = std::fs::read_dir(pair.one.pins.0.join("links")).expect("read").count();
            assert_eq!(links, if hook == Hook::Tcx { 2 } else { 1 }, "of the earlier device nothing is left");
        }
    }

    #[test]
    fn what_somebody_has_taken_away_is_put_back() {
        let damages: [(Hook, &[&str]); 2] = [
            (Hook::Tcx, &["ip link delete pnroute", "ip link set pnroute up", FORWARD_NOTHING]),
            (Hook::Clsact, &["tc filter delete dev under0 ingress", "tc qdisc delete dev under0 clsact"]),
        ];
        for (hook, damages) in damages {
            let (one, two) = Host::pair(hook);
            let mut pair = Pair::on(one, two);
            for damage in damages {
                let done = pair.one.namespace.run(damage);
                assert!(done.0, "{damage}: {}", done.1);
                assert!(pair.a.namespace.can_ping(pair.c.address), "by the offload lane after {damage}");
                pair.look();
                pair.ping_by_the_fast_lane();
            }
            if hook == Hook::Tcx {
                let index = pair.one.namespace.index_of("under0");
                std::fs::remove_file(pair.one.pins.0.join(format!("links/underlay-{index}"))).expect("it was there");
                let gone = || crate::sys::tcx_programs(index).expect("asked").is_empty();
                // The kernel detaches the program in the background.
                pair.one.namespace.within(|| {
                    while !gone() {
                        std::thread::yield_now()
                    }
                });
                pair.look();
                pair.ping_by_the_fast_lane();
            }
        }
    }

    const FORWARD_NOTHING: &str = "sysctl -q net.ipv4.conf.all.forwarding=0";

    #[test]
    fn only_devices_that_lead_to_other_hosts_are_touched() {
        for hook in [Hook::Tcx, Hook::Clsact] {
            let namespaces = wired(["under0", "under1"]);
            let mut pair = routed(namespaces, |to| format!("via 192.0.2.{to}"), hook);
            let attached = |pair: &Pair| ["under0", "under1"].map(|device| is_attached(&pair.one, device));
            assert_eq!(attached(&pair), [true, false]);
            pair.one.namespace.ip(&format!("route replace {} via 198.51.100.2", vtep(2)));
            pair.look();
            // The kernel detaches a link in the background.
            while attached(&pair) != [false, true] {
                std::thread::yield_now();
            }
            pair.one.reach(vni(), &network(&[&pair.a], &[], vtep(2)));
            pair.look();
            while attached(&pair) != [false, false] {
                std::thread::yield_now();
            }
            let (_, shown) = pair.one.namespace.run("tc qdisc show dev under1");
            assert!(!shown.contains("clsact"), "{shown}");
        }
    }

    /// Somebody's filter drops all it sees. A link of ours sees frames before any filter, a filter of ours after
    /// those that ask for an earlier place.
    #[test]
    fn the_filters_of_others_stay_and_see_what_is_not_ours() {
        for (hook, priority) in [(Hook::Tcx, 1), (Hook::Clsact, 0xc001)] {
            let mut pair = routed(wired(["under0"]), |to| format!("via 192.0.2.{to}"), hook);
            let next_hop = Ipv4Addr::new(192, 0, 2, 2);
            let known = pair.two.namespace.mac_of("under0");
            pair.one.namespace.ip(&format!("neighbor replace {next_hop} lladdr {known} dev under0 nud permanent"));
            let route = |pair: &mut Pair, way: &str| {
                pair.one.namespace.ip(&format!("route replace {way}"));
                pair.look();
            };
            route(&mut pair, &format!("unreachable {}", vtep(2)));
            let program = pair.one.pins.0.join("theirs");
            pair.one.with(|opened, _| opened.datapath.programs.pin(Which::FromOverlay, &program));
            pair.one.namespace.run("tc qdisc add dev under0 clsact");
            let theirs = format!(
                "tc filter add dev under0 ingress prio {priority} handle 1 bpf direct-action pinned {}",
                program.display()
            );
            let added = pair.one.namespace.run(&theirs);
            assert!(added.0, "{}", added.1);
            pair.one.namespace.ip(&format!("route delete unreachable {}", vtep(2)));
            route(&mut pair, &format!("{} via {next_hop}", vtep(2)));
            pair.ping_by_the_fast_lane();
            assert!(pair.one.namespace.cannot_ping(next_hop));
            let counters = pair.one.overlay_counters();
            assert!(counters.drops.contains_key("no-tunnel"), "what is not ours has come to theirs: {counters:?}");
            pair.one.close();
            pair.one.namespace.within(|| purge(&pair.one.pins.0)).expect("purged");
            let (_, shown) = pair.one.namespace.run("tc filter show dev under0 ingress");
            assert!(shown.contains("theirs") && !shown.contains("privnet"), "{shown}");
            std::fs::remove_file(program).expect("removed");
        }
    }

    #[test]
    fn purging_leaves_the_devices_of_others_as_they_were() {
        for hook in [Hook::Tcx, Hook::Clsact] {
            let (one, two) = Host::pair(hook);
            let mut pair = Pair::on(one, two);
            assert!(is_attached(&pair.one, "under0"));
            pair.one.close();
            pair.one.namespace.within(|| purge(&pair.one.pins.0)).expect("purged");
            while is_attached(&pair.one, "under0") {
                std::thread::yield_now();
            }
            let (_, shown) = pair.one.namespace.run("tc qdisc show dev under0");
            assert!(!shown.contains("clsact"), "{shown}");
            assert!(pair.one.namespace.can_ping(OTHER_VTEP));
        }
    }
}
