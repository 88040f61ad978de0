//! What the programs do with each kind of frame (design §7), one test for each rule.

mod limits;
mod strange;
mod too_big;

use std::net::Ipv4Addr;

use privnet_model::{MacAddr, SERVER_MAC, Vni};
use privnet_plan::{FdbTarget, KernelNetwork, NetOp, NetworkSettings};

use super::frames::{ARP, Arp, BROADCAST, EXPERIMENTAL, IPV4, Tap, VLAN, Vtep, ethernet, saying, udp};
use super::lab::{Host, Instance, MTU_BYTES, Namespace, network};
use crate::layout::DHCP_FRAME_OCTETS_MAX;
use crate::names::port_device;
use crate::programs::{Hook, Which};

const SHOT: u32 = 2;
const REDIRECT: u32 = 7;
const OTHER_VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const STRANGE_VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const STRANGER: MacAddr = MacAddr::for_port([9; 5]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

/// Instances a and b on a host, c on another one, all in one network; d has its port on the same host
/// in another network.
struct Scene {
    host: Host,
    wire: Namespace,
    a: Instance,
    b: Instance,
    c: Instance,
    d: Instance,
    vni: Vni,
    wanted: KernelNetwork,
}

impl Scene {
    fn managed() -> Self {
        Self::new(true)
    }

    fn unmanaged() -> Self {
        Self::new(false)
    }

    fn new(managed: bool) -> Self {
        let (mut host, wire) = Host::alone(Hook::Tcx);
        let [a, b, c, d] = [1, 2, 3, 4].map(Instance::new);
        let mut wanted = network(&[&a, &b], &[&c], OTHER_VTEP);
        if managed {
            wanted.settings = Some(NetworkSettings { managed, mtu_bytes: MTU_BYTES });
            wanted.neighbors = [&a, &b, &c].map(|instance| (instance.address, instance.mac)).into();
            wanted.neighbors.insert(SERVER, SERVER_MAC);
        }
        let vni = Vni::from_random(100);
        host.reach(vni, &wanted);
        host.reach(other_vni(), &network(&[&d], &[], OTHER_VTEP));
        Self { host, wire, a, b, c, d, vni, wanted }
    }

    /// The verdict on what a sends, and what became of it.
    fn judge(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let index = self.host.index_of(self.a.mac);
        self.host.judge(Which::FromPort, index, frame)
    }

    #[track_caller]
    fn drops(&mut self, frame: &[u8], reason: &str) {
        let before = self.host.counters(self.a.mac);
        assert_eq!(self.judge(frame).0, SHOT);
        let mut after = self.host.counters(self.a.mac);
        *after.drops.get_mut(reason).unwrap_or_else(|| panic!("not for being {reason}: {:?}", before.drops)) -= 1;
        after.drops.retain(|_, frames| *frames > 0);
        assert_eq!(after, before);
    }

    #[track_caller]
    fn passes(&mut self, frame: &[u8]) {
        let before = self.host.counters(self.a.mac);
        let (verdict, result) = self.judge(frame);
        // In the fast lane it has its outer headers before it.
        let own = result.len().saturating_sub(frame.len());
        assert_eq!((verdict, &result[own..]), (REDIRECT, frame));
        let after = self.host.counters(self.a.mac);
        assert_eq!(after.sent_frames, before.sent_frames + 1);
        assert_eq!(after.sent_octets, before.sent_octets + frame.len() as u64);
        assert_eq!(after.drops, before.drops);
    }

    fn arp(&self, wanted: Ipv4Addr) -> Arp {
        Arp::request((self.a.mac, self.a.address), wanted)
    }

    /// What a sees of the frame, as the sender of an ARP packet.
    fn asks(&self, arp: Arp) -> Vec<u8> {
        ethernet(BROADCAST, self.a.mac, ARP, &arp.payload())
    }

    fn dhcp(&self) -> Vec<u8> {
        ethernet(BROADCAST, self.a.mac, IPV4, &udp(68, 67, 300))
    }

    fn change(&mut self, change: impl FnOnce(&mut KernelNetwork)) {
        change(&mut self.wanted);
        self.host.reach(self.vni, &self.wanted);
    }
}

fn other_vni() -> Vni {
    Vni::from_random(200)
}

mod from_port {
    use super::*;

    #[test]
    fn a_frame_to_a_port_of_this_host_goes_there() {
        let mut scene = Scene::unmanaged();
        let frame = saying(scene.b.mac, scene.a.mac, "hello");
        scene.passes(&frame);
        assert_eq!(scene.host.counters(scene.b.mac).received_octets, frame.len() as u64);
    }

    #[test]
    fn a_frame_to_a_port_of_another_host_goes_to_the_overlay() {
        let mut scene = Scene::unmanaged();
        let frame = saying(scene.c.mac, scene.a.mac, "hello");
        scene.passes(&frame);
    }

    #[test]
    fn a_closed_port_passes_nothing() {
        let mut scene = Scene::unmanaged();
        let frame = saying(scene.b.mac, scene.a.mac, "hello");
        let (vni, mac) = (scene.vni, scene.a.mac);
        scene.host.apply(&NetOp::Close { vni, mac }).expect("closed");
        scene.drops(&frame, "closed");
        scene.host.apply(&NetOp::Open { vni, mac }).expect("opened");
        scene.passes(&frame);
    }

    #[test]
    fn a_port_of_a_network_without_settings_passes_nothing() {
        let mut scene = Scene::unmanaged();
        scene.host.apply(&NetOp::RemoveNetwork { vni: scene.vni }).expect("removed");
        scene.drops(&saying(scene.b.mac, scene.a.mac, "hello"), "closed");
    }

    #[test]
    fn a_source_that_is_not_the_ports_is_dropped() {
        let mut scene = Scene::unmanaged();
        for source in [scene.b.mac, STRANGER, BROADCAST, MacAddr::new([0; 6])] {
            scene.drops(&saying(scene.b.mac, source, "hello"), "spoofed-mac");
        }
    }

    #[test]
    fn an_arp_packet_of_another_sender_is_dropped() {
        let mut scene = Scene::unmanaged();
        let arp = Arp::request((scene.b.mac, scene.b.address), scene.c.address);
        scene.drops(&scene.asks(arp), "spoofed-arp");
        let mut odd = scene.arp(scene.b.address).payload();
        odd[4] = 8;
        scene.drops(&ethernet(BROADCAST, scene.a.mac, ARP, &odd), "spoofed-arp");
    }

    #[test]
    fn an_arp_packet_that_is_cut_short_is_dropped() {
        let mut scene = Scene::unmanaged();
        let payload = scene.arp(scene.b.address).payload();
        scene.drops(&ethernet(BROADCAST, scene.a.mac, ARP, &payload[..27]), "too-short");
    }

    #[test]
    fn unknown_unicast_is_dropped() {
        let mut scene = Scene::unmanaged();
        // d is known, but in another network; a's own address is no place to send to.
        for target in [STRANGER, scene.d.mac, scene.a.mac] {
            scene.drops(&saying(target, scene.a.mac, "hello"), "unknown-unicast");
        }
    }

    #[test]
    fn what_is_for_a_closed_port_is_dropped() {
        let mut scene = Scene::unmanaged();
        scene.host.apply(&NetOp::Close { vni: scene.vni, mac: scene.b.mac }).expect("closed");
        scene.drops(&saying(scene.b.mac, scene.a.mac, "hello"), "target-closed");
    }

    /// Invariant 3: an FDB entry alone lets nothing into another network.
    #[test]
    fn an_fdb_entry_that_leads_to_another_networks_port_leads_nowhere() {
        let mut scene = Scene::unmanaged();
        let astray = NetOp::SetFdb { vni: scene.vni, mac: scene.d.mac, target: FdbTarget::Local };
        scene.host.apply(&astray).expect("set");
        scene.drops(&saying(scene.d.mac, scene.a.mac, "hello"), "target-closed");
    }

    #[test]
    fn a_frame_of_the_mtu_passes_and_a_larger_one_is_dropped() {
        let mut scene = Scene::unmanaged();
        let frame = |octets: u32| ethernet(scene.b.mac, scene.a.mac, EXPERIMENTAL, &vec![1; octets as usize]);
        let (largest, too_big) = (frame(MTU_BYTES), frame(MTU_BYTES + 1));
        scene.passes(&largest);
        scene.drops(&too_big, "too-big");
    }

    #[test]
    fn broadcast_goes_to_every_other_open_port_of_the_network_and_to_every_vtep() {
        let mut scene = Scene::unmanaged();
        let (other, strange) = (Vtep::at(&scene.wire, OTHER_VTEP), Vtep::at(&scene.wire, STRANGE_VTEP));
        let [a, b, d] = [&scene.a, &scene.b, &scene.d].map(|instance| Tap::on(&instance.namespace, "net0"));
        for to in [BROADCAST, MacAddr::new([0x33, 0x33, 0, 0, 0, 1])] {
            let frame = saying(to, scene.a.mac, "hello");
            a.send(&frame);
            assert_eq!(b.next(), frame);
            assert_eq!(other.next(scene.host.vtep), (scene.vni, frame));
        }
        // Whoever should have heard nothing has heard nothing before this.
        let frame = saying(scene.a.mac, scene.b.mac, "only this");
        b.send(&frame);
        assert_eq!(a.next(), frame);
        assert_eq!(scene.host.counters(scene.d.mac).received_frames, 0);
        scene.host.apply(&NetOp::AddVtep { vni: other_vni(), vtep: STRANGE_VTEP.into() }).expect("added");
        let frame = saying(BROADCAST, scene.d.mac, "only this");
        d.send(&frame);
        assert_eq!(strange.next(scene.host.vtep), (other_vni(), frame));
    }

    #[test]
    fn broadcast_passes_closed_ports_by() {
        let mut scene = Scene::unmanaged();
        scene.host.apply(&NetOp::Close { vni: scene.vni, mac: scene.b.mac }).expect("closed");
        let frame = saying(BROADCAST, scene.a.mac, "hello");
        assert_eq!(scene.judge(&frame).0, SHOT);
        assert_eq!(scene.host.counters(scene.b.mac).received_frames, 0);
        assert_eq!(scene.host.counters(scene.a.mac).sent_frames, 1);
    }

    /// What the program does not redirect it drops, so the host's IP layer counts no packet.
    #[test]
    fn the_hosts_stack_sees_no_frame() {
        let mut scene = Scene::managed();
        // Takes what leaves the host, which nobody would answer with an ICMP error then.
        let _other = Vtep::at(&scene.wire, OTHER_VTEP);
        let (hosts_address, device) = (Ipv4Addr::new(10, 0, 0, 77), port_device(scene.a.mac));
        scene.host.namespace.ip(&format!("address add {hosts_address}/24 dev {device}"));
        let shown = scene.host.namespace.ip(&format!("link show dev {device}"));
        let hosts_mac = shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("shown");
        let hosts_mac = hosts_mac.parse().expect("a MAC address");
        let before = packets_received(&scene.host.namespace);
        let tap = Tap::on(&scene.a.namespace, "net0");
        let sent = [
            saying(scene.b.mac, scene.a.mac, "known"),
            saying(STRANGER, scene.a.mac, "unknown"),
            saying(BROADCAST, scene.a.mac, "all"),
            scene.asks(scene.arp(hosts_address)),
            ethernet(BROADCAST, scene.a.mac, IPV4, &udp(9, 9, 10)),
            ethernet(scene.b.mac, scene.a.mac, IPV4, &udp(9, 9, 10)),
            ethernet(hosts_mac, scene.a.mac, IPV4, &udp(9, 9, 10)),
            ethernet(BROADCAST, scene.a.mac, IPV4, &udp(67, 68, 300)),
            scene.dhcp(),
        ];
        sent.iter().for_each(|frame| tap.send(frame));
        assert_eq!(scene.host.next_dhcp_request().frame, scene.dhcp());
        assert_eq!(packets_received(&scene.host.namespace), before);
    }

    fn packets_received(namespace: &Namespace) -> String {
        let statistics = namespace.within(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).expect("read");
        let mut ip = statistics.lines().filter(|line| line.starts_with("Ip:")).map(|line| line.split_whitespace());
        let (names, values) = (ip.next().expect("names"), ip.next().expect("values"));
        names.zip(values).find(|(name, _)| *name == "InReceives").expect("counted").1.to_owned()
    }
}

mod dhcp {
    use super::*;

    #[test]
    fn a_request_in_a_managed_network_goes_to_the_agent_alone() {
        let mut scene = Scene::managed();
        let frame = scene.dhcp();
        assert_eq!(scene.judge(&frame).0, SHOT);
        let request = scene.host.next_dhcp_request();
        assert_eq!((request.vni, request.port, request.frame), (scene.vni, scene.a.mac, frame));
        let counters = scene.host.counters(scene.a.mac);
        assert_eq!((counters.dhcp_requests, counters.sent_frames), (1, 0));
        assert_eq!(scene.host.counters(scene.b.mac).received_frames, 0);
    }

    #[test]
    fn a_unicast_request_goes_there_too() {
        let mut scene = Scene::managed();
        let frame = ethernet(SERVER_MAC, scene.a.mac, IPV4, &udp(68, 67, 300));
        assert_eq!(scene.judge(&frame).0, SHOT);
        assert_eq!(scene.host.next_dhcp_request().frame, frame);
    }

    #[test]
    fn requests_come_in_their_order_and_wait_for_the_agent() {
        let mut scene = Scene::managed();
        let frames: Vec<_> =
            (200..210).map(|octets| ethernet(BROADCAST, scene.a.mac, IPV4, &udp(68, 67, octets))).collect();
        frames.iter().for_each(|frame| assert_eq!(scene.judge(frame).0, SHOT));
        scene.host.reopen();
        for frame in frames {
            assert_eq!(scene.host.next_dhcp_request().frame, frame);
        }
    }

    #[test]
    fn what_finds_no_place_is_dropped() {
        let mut scene = Scene::managed();
        let frame = scene.dhcp();
        while scene.host.counters(scene.a.mac).drops.is_empty() {
            // As if each came when the port may ask again.
            scene.host.forget_budgets();
            assert_eq!(scene.judge(&frame).0, SHOT);
        }
        scene.host.forget_budgets();
        scene.drops(&frame, "dhcp-queue-full");
        scene.host.next_dhcp_request();
        scene.host.forget_budgets();
        assert_eq!(scene.judge(&frame).0, SHOT);
        assert_eq!(scene.host.counters(scene.a.mac).drops, [("dhcp-queue-full", 2)].into());
    }

    #[test]
    fn a_request_of_another_source_is_dropped() {
        let mut scene = Scene::managed();
        scene.drops(&ethernet(BROADCAST, scene.b.mac, IPV4, &udp(68, 67, 300)), "spoofed-mac");
    }

    #[test]
    fn a_request_that_is_too_large_for_one_is_dropped() {
        let mut scene = Scene::managed();
        let octets = DHCP_FRAME_OCTETS_MAX + 1 - 14 - 28;
        scene.drops(&ethernet(BROADCAST, scene.a.mac, IPV4, &udp(68, 67, octets)), "too-big");
    }

    #[test]
    fn a_server_in_a_managed_network_is_silenced() {
        let mut scene = Scene::managed();
        scene.drops(&ethernet(scene.b.mac, scene.a.mac, IPV4, &udp(67, 68, 300)), "rogue-dhcp");
        scene.drops(&ethernet(BROADCAST, scene.a.mac, IPV4, &udp(67, 68, 300)), "rogue-dhcp");
    }

    #[test]
    fn an_unmanaged_network_has_its_own_dhcp() {
        let mut scene = Scene::unmanaged();
        let request = ethernet(scene.b.mac, scene.a.mac, IPV4, &udp(68, 67, 300));
        let answer = ethernet(scene.b.mac, scene.a.mac, IPV4, &udp(67, 68, 300));
        scene.passes(&request);
        scene.passes(&answer);
    }

    #[test]
    fn a_network_becomes_managed_and_unmanaged_again() {
        let mut scene = Scene::unmanaged();
        let answer = ethernet(scene.b.mac, scene.a.mac, IPV4, &udp(67, 68, 300));
        for managed in [true, false] {
            scene.change(|network| network.settings = Some(NetworkSettings { managed, mtu_bytes: MTU_BYTES }));
            if managed { scene.drops(&answer, "rogue-dhcp") } else { scene.passes(&answer) }
        }
    }

    #[test]
    fn tags_hide_nothing_in_a_managed_network() {
        let hidden = |scene: &Scene| {
            let tagged = [&[0, 0][..], &IPV4.to_be_bytes(), &udp(67, 68, 300)].concat();
            ethernet(scene.b.mac, scene.a.mac, VLAN, &tagged)
        };
        let mut scene = Scene::managed();
        scene.drops(&hidden(&scene), "tagged");
        let mut scene = Scene::unmanaged();
        scene.passes(&hidden(&scene));
    }

    #[test]
    fn fragments_have_no_ports_to_look_at() {
        let mut scene = Scene::managed();
        let mut packet = udp(67, 68, 300);
        packet[7] = 1;
        scene.passes(&ethernet(scene.b.mac, scene.a.mac, IPV4, &packet));
    }
}

mod arp {
    use super::*;

    #[test]
    fn a_request_for_a_known_address_is_answered_in_place() {
        let mut scene = Scene::managed();
        for (address, mac) in [(scene.b.address, scene.b.mac), (scene.c.address, scene.c.mac), (SERVER, SERVER_MAC)] {
            let before = scene.host.counters(scene.a.mac).arp_replies;
            let (verdict, answer) = scene.judge(&scene.asks(scene.arp(address)));
            assert_eq!(verdict, REDIRECT);
            let expected = Arp::reply((mac, address), (scene.a.mac, scene.a.address));
            assert_eq!(answer, ethernet(scene.a.mac, mac, ARP, &expected.payload()));
            assert_eq!(scene.host.counters(scene.a.mac).arp_replies, before + 1);
        }
        assert_eq!(scene.host.counters(scene.b.mac).received_frames, 0);
    }

    #[test]
    fn the_answer_reaches_the_one_who_asked() {
        let scene = Scene::managed();
        let tap = Tap::on(&scene.a.namespace, "net0");
        tap.send(&scene.asks(scene.arp(SERVER)));
        let expected = Arp::reply((SERVER_MAC, SERVER), (scene.a.mac, scene.a.address));
        assert_eq!(tap.next(), ethernet(scene.a.mac, SERVER_MAC, ARP, &expected.payload()));
    }

    #[test]
    fn what_is_no_question_about_somebody_known_goes_to_all() {
        let mut scene = Scene::managed();
        let nobody = Ipv4Addr::UNSPECIFIED;
        let gone_to_all = [
            ("an unknown address", scene.arp(Ipv4Addr::new(10, 0, 0, 99))),
            ("a probe (RFC 5227)", Arp::request((scene.a.mac, nobody), scene.b.address)),
            ("an announcement", scene.arp(scene.a.address)),
            ("a claim of somebody's address", Arp::request((scene.a.mac, scene.b.address), scene.b.address)),
            ("an address that is its own by the leases", Arp::request((scene.a.mac, scene.c.address), scene.a.address)),
            ("an answer", Arp::reply((scene.a.mac, scene.a.address), (scene.b.mac, scene.b.address))),
        ];
        for (what, arp) in gone_to_all {
            let before = scene.host.counters(scene.b.mac).received_frames;
            assert_eq!(scene.judge(&scene.asks(arp)).0, SHOT, "{what}");
            assert_eq!(scene.host.counters(scene.b.mac).received_frames, before + 1, "{what}");
        }
        assert_eq!(scene.host.counters(scene.a.mac).arp_replies, 0);
    }

    #[test]
    fn nobody_is_known_in_an_unmanaged_network() {
        let mut scene = Scene::unmanaged();
        assert_eq!(scene.judge(&scene.asks(scene.arp(scene.b.address))).0, SHOT);
        assert_eq!(scene.host.counters(scene.b.mac).received_frames, 1);
    }

    #[test]
    fn an_address_that_was_forgotten_is_not_answered_for() {
        let mut scene = Scene::managed();
        let address = scene.b.address;
        scene.change(|network| {
            network.neighbors.remove(&address);
        });
        assert_eq!(scene.judge(&scene.asks(scene.arp(address))).0, SHOT);
    }
}

mod from_overlay {
    use super::*;

    const THIRD_VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
    const E: MacAddr = MacAddr::for_port([0, 0, 0, 0, 5]);

    /// A frame that is delivered comes after everything that was sent before it, so a tap that sees it
    /// first has seen that nothing else was.
    struct Wire {
        scene: Scene,
        other: Vtep,
    }

    impl Wire {
        fn new() -> Self {
            Self::of(Scene::unmanaged())
        }

        fn of(scene: Scene) -> Self {
            let other = Vtep::at(&scene.wire, OTHER_VTEP);
            Self { scene, other }
        }

        /// A third host of the network, with c's neighbor e.
        fn third(&mut self) -> Vtep {
            let (vni, third) = (self.scene.vni, THIRD_VTEP.into());
            self.scene.host.apply(&NetOp::AddVtep { vni, vtep: third }).expect("added");
            let target = FdbTarget::Remote(third);
            self.scene.host.apply(&NetOp::SetFdb { vni, mac: E, target }).expect("set");
            Vtep::at(&self.scene.wire, THIRD_VTEP)
        }

        /// Sends b a frame of c's and waits until it has come.
        fn settle(&self, b: &Tap) {
            let frame = saying(self.scene.b.mac, self.scene.c.mac, "last");
            self.other.send(self.scene.host.vtep, self.scene.vni, &frame);
            assert_eq!(b.next(), frame);
        }

        fn drops(&mut self, from: &Vtep, vni: Vni, frame: &[u8], reason: &str) {
            let b = Tap::on(&self.scene.b.namespace, "net0");
            from.send(self.scene.host.vtep, vni, frame);
            self.settle(&b);
            let counters = self.scene.host.overlay_counters();
            assert_eq!(counters.drops, [(reason, 1)].into());
        }
    }

    #[test]
    fn a_frame_from_a_member_reaches_its_port() {
        let wire = Wire::new();
        let b = Tap::on(&wire.scene.b.namespace, "net0");
        wire.settle(&b);
    }

    #[test]
    fn a_frame_from_a_host_without_the_network_is_dropped() {
        let mut wire = Wire::new();
        let strange = Vtep::at(&wire.scene.wire, STRANGE_VTEP);
        let frame = saying(wire.scene.b.mac, wire.scene.c.mac, "hello");
        wire.drops(&strange, wire.scene.vni, &frame, "unknown-vtep");
    }

    #[test]
    fn a_frame_of_a_network_that_this_host_does_not_carry_is_dropped() {
        let mut wire = Wire::new();
        let other = Vtep::at(&wire.scene.wire, Ipv4Addr::new(192, 0, 2, 3));
        let frame = saying(wire.scene.b.mac, wire.scene.c.mac, "hello");
        wire.drops(&other, Vni::from_random(300), &frame, "unknown-vni");
    }

    #[test]
    fn a_member_of_one_network_is_none_of_another() {
        let mut wire = Wire::new();
        let frame = saying(wire.scene.d.mac, wire.scene.c.mac, "hello");
        let other = Vtep::at(&wire.scene.wire, Ipv4Addr::new(192, 0, 2, 3));
        wire.drops(&other, other_vni(), &frame, "unknown-vtep");
    }

    #[test]
    fn a_host_that_has_left_the_network_is_heard_no_more() {
        let mut wire = Wire::new();
        let third = Ipv4Addr::new(192, 0, 2, 3);
        let vni = wire.scene.vni;
        wire.scene.host.apply(&NetOp::AddVtep { vni, vtep: third.into() }).expect("added");
        wire.scene.host.apply(&NetOp::RemoveVtep { vni, vtep: third.into() }).expect("removed");
        let third = Vtep::at(&wire.scene.wire, third);
        let frame = saying(wire.scene.b.mac, wire.scene.c.mac, "hello");
        wire.drops(&third, vni, &frame, "unknown-vtep");
    }

    /// Never back to the overlay, where the frame came from.
    #[test]
    fn a_frame_for_another_host_is_dropped() {
        let mut wire = Wire::new();
        let third = wire.third();
        let frame = saying(wire.scene.c.mac, E, "hello");
        wire.drops(&third, wire.scene.vni, &frame, "unknown-unicast");
    }

    #[test]
    fn unknown_unicast_is_dropped() {
        let mut wire = Wire::new();
        let third = wire.third();
        let frame = saying(STRANGER, E, "hello");
        wire.drops(&third, wire.scene.vni, &frame, "unknown-unicast");
    }

    #[test]
    fn a_host_speaks_for_none_but_its_own_instances() {
        let mut wire = Wire::new();
        let third = wire.third();
        let b = Tap::on(&wire.scene.b.namespace, "net0");
        let Scene { a, c, d, .. } = &wire.scene;
        let foreign = [a.mac, c.mac, d.mac, STRANGER, SERVER_MAC, BROADCAST, MacAddr::new([0; 6])];
        for source in foreign {
            for to in [wire.scene.b.mac, BROADCAST] {
                third.send(wire.scene.host.vtep, wire.scene.vni, &saying(to, source, "spoofed"));
            }
        }
        let own = saying(wire.scene.b.mac, E, "its own");
        third.send(wire.scene.host.vtep, wire.scene.vni, &own);
        assert_eq!(b.next(), own);
        assert_eq!(wire.scene.host.overlay_counters().drops, [("spoofed-mac", 2 * foreign.len() as u64)].into());
    }

    /// What of it its own host's program cannot see, since the kernel writes it later: a checksum, wherever the
    /// sender says. Nothing of this has a way that is not a forger's.
    #[test]
    fn what_a_port_may_not_say_is_not_taken_from_another_host_either() {
        for (is_managed, scene) in [(true, Scene::managed()), (false, Scene::unmanaged())] {
            let wire = Wire::of(scene);
            let Scene { a, b, c, vni, host, .. } = &wire.scene;
            let tap = Tap::on(&b.namespace, "net0");
            let arp = |sender, target| Arp::reply((sender, a.address), (target, b.address)).payload();
            let with = |mut octets: Vec<u8>, at: usize, octet: u8| {
                octets[at] = octet;
                octets
            };
            let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &udp(67, 68, 300)].concat();
            let everywhere = [
                ("spoofed-arp", ARP, arp(a.mac, b.mac)),
                ("spoofed-arp", ARP, with(arp(c.mac, b.mac), 4, 8)),
                ("too-short", ARP, arp(c.mac, b.mac)[..27].to_vec()),
            ];
            let if_managed = [
                ("rogue-dhcp", IPV4, udp(67, 68, 300)),
                ("rogue-dhcp", IPV4, udp(67, 67, 300)),
                ("rogue-dhcp", IPV4, udp(68, 67, 300)),
                ("rogue-dhcp", IPV4, with([&udp(0, 0, 0)[..20], &[1; 4], &udp(67, 68, 300)[20..]].concat(), 0, 0x46)),
                ("tagged", snap.len() as u16, snap),
            ];
            let never = [
                ("", IPV4, udp(1000, 68, 300)),
                ("", IPV4, with(udp(67, 68, 300), 7, 1)),
                ("", IPV4, with(udp(67, 68, 300), 9, 6)),
                ("", IPV4, udp(67, 67, 300)[..22].to_vec()),
                ("", ARP, arp(c.mac, b.mac)),
            ];
            let mut drops = std::collections::BTreeMap::new();
            for to in [b.mac, BROADCAST] {
                let all =
                    everywhere.iter().map(|said| (true, said)).chain(if_managed.iter().map(|said| (is_managed, said)));
                for (is_refused, (reason, ethertype, payload)) in all.chain(never.iter().map(|said| (false, said))) {
                    let frame = ethernet(to, c.mac, *ethertype, payload);
                    wire.other.send(host.vtep, *vni, &frame);
                    if is_refused {
                        *drops.entry(*reason).or_default() += 1;
                    } else {
                        assert_eq!(tap.next(), frame, "managed: {is_managed}");
                    }
                }
            }
            wire.settle(&tap);
            let mut wire = wire;
            assert_eq!(wire.scene.host.overlay_counters().drops, drops, "managed: {is_managed}");
        }
    }

    /// As at the port: instances' own segments are their own.
    #[test]
    fn what_is_in_a_vlan_of_the_instances_may_be_a_server_of_it_but_no_other_station() {
        let mut wire = Wire::of(Scene::managed());
        let tagged = |tci: u8, ethertype: u16, payload: &[u8]| {
            let payload = [&[0, tci][..], &ethertype.to_be_bytes(), payload].concat();
            ethernet(wire.scene.b.mac, wire.scene.c.mac, VLAN, &payload)
        };
        let foreign = Arp::reply((wire.scene.a.mac, wire.scene.a.address), (wire.scene.b.mac, wire.scene.b.address));
        let frames = [
            tagged(0, IPV4, &udp(67, 68, 300)),
            tagged(0, VLAN, &[&[0, 5][..], &IPV4.to_be_bytes(), &udp(67, 68, 300)].concat()),
            tagged(5, ARP, &foreign.payload()),
            tagged(5, IPV4, &udp(67, 68, 300)),
        ];
        let vni = wire.scene.vni;
        frames.iter().for_each(|frame| wire.other.send(wire.scene.host.vtep, vni, frame));
        let tap = Tap::on(&wire.scene.b.namespace, "net0");
        wire.settle(&tap);
        assert_eq!(
            wire.scene.host.overlay_counters().drops,
            [("rogue-dhcp", 1), ("spoofed-arp", 1), ("tagged", 1)].into()
        );
        assert_eq!(wire.scene.host.counters(wire.scene.b.mac).received_frames, 2);
    }

    /// An instance that has moved is heard from where it is, and not from where it was.
    #[test]
    fn a_port_that_has_moved_speaks_from_its_new_host() {
        let mut wire = Wire::new();
        let (third, c, b_mac) = (wire.third(), wire.scene.c.mac, wire.scene.b.mac);
        let (vni, target) = (wire.scene.vni, FdbTarget::Remote(THIRD_VTEP.into()));
        wire.scene.host.apply(&NetOp::SetFdb { vni, mac: c, target }).expect("set");
        let b = Tap::on(&wire.scene.b.namespace, "net0");
        wire.other.send(wire.scene.host.vtep, vni, &saying(b_mac, c, "from there"));
        let moved = saying(b_mac, c, "from here");
        third.send(wire.scene.host.vtep, vni, &moved);
        assert_eq!(b.next(), moved);
        assert_eq!(wire.scene.host.overlay_counters().drops, [("spoofed-mac", 1)].into());
    }

    #[test]
    fn a_frame_for_a_closed_port_is_dropped() {
        let mut wire = Wire::new();
        let vni = wire.scene.vni;
        let frame = saying(wire.scene.a.mac, wire.scene.c.mac, "hello");
        wire.scene.host.apply(&NetOp::Close { vni, mac: wire.scene.a.mac }).expect("closed");
        let b = Tap::on(&wire.scene.b.namespace, "net0");
        wire.other.send(wire.scene.host.vtep, vni, &frame);
        wire.settle(&b);
        assert_eq!(wire.scene.host.overlay_counters().drops, [("target-closed", 1)].into());
        assert_eq!(wire.scene.host.counters(wire.scene.a.mac).received_frames, 0);
    }

    #[test]
    fn broadcast_goes_to_the_networks_open_ports_and_to_no_host() {
        let mut wire = Wire::new();
        let third = Ipv4Addr::new(192, 0, 2, 3);
        let vni = wire.scene.vni;
        wire.scene.host.apply(&NetOp::AddVtep { vni, vtep: third.into() }).expect("added");
        let third = Vtep::at(&wire.scene.wire, third);
        let [a, b] = [&wire.scene.a, &wire.scene.b].map(|instance| Tap::on(&instance.namespace, "net0"));
        let frame = saying(BROADCAST, wire.scene.c.mac, "hello");
        wire.other.send(wire.scene.host.vtep, vni, &frame);
        assert_eq!(a.next(), frame);
        assert_eq!(b.next(), frame);
        // Had it gone to the other host, it would have come there before this.
        let later = saying(BROADCAST, wire.scene.a.mac, "later");
        a.send(&later);
        assert_eq!(third.next(wire.scene.host.vtep), (vni, later.clone()));
        assert_eq!(wire.other.next(wire.scene.host.vtep), (vni, later));
        assert_eq!(wire.scene.host.counters(wire.scene.d.mac).received_frames, 0);
    }

    #[test]
    fn what_comes_by_no_tunnel_is_dropped() {
        let mut scene = Scene::unmanaged();
        let index = scene.host.with(|opened, _| opened.datapath.devices.overlay);
        let frame = saying(scene.b.mac, scene.c.mac, "hello");
        assert_eq!(scene.host.judge(Which::FromOverlay, index, &frame).0, SHOT);
        assert_eq!(scene.host.overlay_counters().drops, [("no-tunnel", 1)].into());
    }
}
