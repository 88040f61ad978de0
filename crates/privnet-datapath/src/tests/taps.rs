//! Ports that are taps.

use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, SockFlag, recv};
use privnet_model::{Account, DeviceName, Placement, Tap, Vni};
use privnet_plan::{KernelNetwork, NetOp};

use super::frames::{self, IPV4, checksum, ethernet, saying, udp, with_ip_checksum};
use super::lab::{Host, Instance, MTU_BYTES, UNDERLAY_MTU_BYTES, network};
use super::monitor::{Monitor, unfinished};
use crate::KernelDump;
use crate::names::port_device;
use crate::netlink::{self, Link};
use crate::programs::Hook;

/// A virtual machine and instance b on one host, c on another, all in one network.
struct Scene {
    one: Host,
    _two: Host,
    vm: Instance,
    b: Instance,
    c: Instance,
    wanted: KernelNetwork,
}

impl Scene {
    fn new() -> Self {
        Self::with(Tap::default())
    }

    fn with(tap: Tap) -> Self {
        let (mut one, mut two) = Host::pair(Hook::Tcx);
        let [vm, b, c] = [1, 2, 3].map(Instance::new);
        let mut wanted = network(&[&vm, &b], &[&c], two.vtep);
        let port = wanted.ports.get_mut(&vm.mac).expect("a port");
        (port.spec.placement, port.spec.device) = (Placement::Tap(tap), DeviceName::on_host(vm.mac));
        one.reach(vni(), &wanted);
        two.reach(vni(), &network(&[&c], &[&vm, &b], one.vtep));
        [&b, &c].into_iter().for_each(Instance::configure);
        Self { one, _two: two, vm, b, c, wanted }
    }

    fn device(&self) -> String {
        port_device(self.vm.mac)
    }

    fn monitor(&self) -> Monitor {
        Monitor::open(&self.one.namespace, &self.device())
    }

    fn spec_of_tap(&mut self) -> &mut privnet_plan::PortSpec {
        &mut self.wanted.ports.get_mut(&self.vm.mac).expect("a port").spec
    }

    #[track_caller]
    fn expect_as_wanted(&mut self) {
        let networks = [(vni(), self.wanted.clone())].into();
        let underlay_mtu_bytes = Some(UNDERLAY_MTU_BYTES);
        assert_eq!(self.one.dump(), KernelDump { networks, underlay_mtu_bytes, ..KernelDump::default() });
    }

    /// What the agent does when it looks.
    #[track_caller]
    fn repair(&mut self) {
        self.one.reach(vni(), &self.wanted);
        self.expect_as_wanted();
    }

    fn shown(&self) -> String {
        self.one.namespace.ip(&format!("-details link show dev {}", self.device()))
    }
}

/// With the sum of its pseudo header (RFC 768) where its checksum goes, as a sender leaves it that does not fill it in.
fn pseudo_summed(mut packet: Vec<u8>) -> Vec<u8> {
    let sum = !checksum(&pseudo_header(&packet));
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Of a frame with a datagram in IPv4: zero if it is right.
fn udp_checksum(frame: &[u8]) -> u16 {
    checksum(&[&pseudo_header(&frame[14..])[..], &frame[34..]].concat())
}

fn pseudo_header(packet: &[u8]) -> Vec<u8> {
    [&packet[12..20], &[0, 17], &packet[24..26]].concat()
}

fn vni() -> Vni {
    Vni::from_random(100)
}

#[test]
fn a_tap_is_made_for_whom_it_is_for_and_stays_when_the_agent_goes() {
    let account = |text| Some(Account::try_from(text).expect("valid"));
    for (owner, group, is_multi_queue, shown) in [
        (None, None, false, "user root"),
        (account("4711"), None, true, "user 4711"),
        (None, account("0815"), false, "group 815"),
        (account("root"), account("root"), false, "user root group root"),
    ] {
        let mut scene = Scene::with(Tap { owner, group, is_multi_queue });
        scene.expect_as_wanted();
        let found = scene.shown();
        let queues = if is_multi_queue { "multi_queue" } else { "" };
        for word in ["tun type tap pi off vnet_hdr on", "persist on", shown, queues, &format!("mtu {MTU_BYTES} ")] {
            assert!(found.contains(word), "{word}: {found}");
        }
        assert_eq!(found.contains("user "), shown.contains("user "), "{found}");
        scene.one.reopen();
        scene.expect_as_wanted();
    }
}

#[test]
fn a_monitor_and_instances_reach_each_other() {
    let scene = Scene::new();
    let monitor = scene.monitor();
    for instance in [&scene.b, &scene.c] {
        let device = frames::Tap::on(&instance.namespace, "net0");
        let question = saying(instance.mac, scene.vm.mac, "there?");
        monitor.send(&question).expect("sent");
        assert_eq!(device.next(), question);
        let answer = saying(scene.vm.mac, instance.mac, "here");
        device.send(&answer);
        assert_eq!(monitor.next(), answer);
    }
}

/// What a monitor leaves to others is done where nobody else would: a reader that takes no offloads, and a wire.
#[test]
fn a_checksum_that_a_monitor_leaves_to_others_is_right_where_it_arrives() {
    const UDP_AT: u16 = 34;
    let scene = Scene::new();
    let monitor = scene.monitor();
    let device = frames::Tap::on(&scene.c.namespace, "net0");
    let packet = with_ip_checksum(pseudo_summed(udp(1000, 2000, 100)));
    let frame = ethernet(scene.c.mac, scene.vm.mac, IPV4, &packet);
    scene.one.namespace.without_tx_checksum("under0");
    monitor.send_with(unfinished(UDP_AT, 6), &frame).expect("sent");
    let arrived = device.next();
    assert_eq!(arrived[..34], frame[..34]);
    assert_ne!(arrived[40..42], [0, 0]);
    assert_eq!(udp_checksum(&arrived), 0, "{arrived:?}");
}

#[test]
fn a_tap_can_be_opened_again_and_again() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        let monitor = scene.monitor();
        let busy = Monitor::open_with(&scene.one.namespace, &scene.device(), 0).err().expect("one queue alone");
        assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
        let device = frames::Tap::on(&scene.b.namespace, "net0");
        monitor.send(&saying(scene.b.mac, scene.vm.mac, "there?")).expect("sent");
        device.next();
        scene.expect_as_wanted();
        drop(monitor);
        scene.expect_as_wanted();
        device.send(&saying(scene.vm.mac, scene.b.mac, "for nobody"));
    }
}

#[test]
fn a_tap_of_several_queues_is_opened_several_times() {
    let scene = Scene::with(Tap { is_multi_queue: true, ..Tap::default() });
    let queue = || Monitor::open_with(&scene.one.namespace, &scene.device(), libc::IFF_MULTI_QUEUE).expect("opened");
    let queues = [queue(), queue()];
    let device = frames::Tap::on(&scene.b.namespace, "net0");
    for monitor in &queues {
        let frame = saying(scene.b.mac, scene.vm.mac, "there?");
        monitor.send(&frame).expect("sent");
        assert_eq!(device.next(), frame);
    }
}

/// Whoever looks for new devices, as anybody may, finds none that is open to all. One of one queue is busy meanwhile.
#[test]
fn a_tap_of_several_queues_has_its_owner_from_the_first_moment() {
    const HEADER_OCTETS: usize = 16;
    let mut scene = Scene::with(Tap { is_multi_queue: true, ..Tap::default() });
    let (mac, spec) = (scene.vm.mac, scene.spec_of_tap().clone());
    scene.one.apply(&NetOp::Unplug { mac }).expect("unplugged");
    let open = || netlink::open(libc::NETLINK_ROUTE, SockFlag::SOCK_NONBLOCK, libc::RTMGRP_LINK as u32);
    let events = scene.one.namespace.within(open).expect("subscribed");
    scene.one.apply(&NetOp::Plug { vni: vni(), mac, spec }).expect("plugged in");
    let mut owners = Vec::new();
    let mut message = [0; 1 << 16];
    while let Ok(octets) = recv(events.as_raw_fd(), &mut message, MsgFlags::empty()) {
        let link = Link::read(&message[HEADER_OCTETS..octets]).expect("a device");
        owners.extend((link.name == scene.device()).then(|| link.tun.expect("a tap").openers.uid));
    }
    assert!(!owners.is_empty() && owners.iter().all(|uid| *uid == Some(0)), "{owners:?}");
}

/// A monitor that goes, and takes its tap along.
#[test]
fn a_tap_that_was_made_to_go_with_its_monitor_is_made_anew() {
    let mut scene = Scene::new();
    let monitor = scene.monitor();
    monitor.take_offloads(0);
    monitor.unpersist();
    scene.expect_as_wanted();
    drop(monitor);
    assert!(!scene.one.dump().networks[&vni()].ports.contains_key(&scene.vm.mac));
    scene.repair();
    scene.monitor();
}

/// What is there keeps its name, and the port is not plugged in until that is free.
#[test]
fn a_name_that_another_device_has_is_left_to_it() {
    let mut scene = Scene::new();
    scene.one.namespace.ip("link add tap0 type veth");
    scene.spec_of_tap().device = DeviceName::try_from("tap0").expect("valid");
    let (mac, spec) = (scene.vm.mac, scene.spec_of_tap().clone());
    scene.one.apply(&NetOp::Unplug { mac }).expect("unplugged");
    let refusal = scene.one.apply(&NetOp::Plug { vni: vni(), mac, spec }).expect_err("it is taken");
    assert_eq!(refusal.to_string(), "this host has another device named tap0");
    assert!(!scene.one.namespace.run(&format!("ip link show dev {}", scene.device())).0, "nothing half-done is left");
    assert!(scene.one.namespace.ip("-details link show dev tap0").contains("veth"));
    scene.one.namespace.ip("link delete tap0");
    scene.repair();
    Monitor::open(&scene.one.namespace, "tap0");
}

/// The monitor has nothing in its hands then.
#[test]
fn a_port_is_unplugged_while_its_tap_is_open() {
    let mut scene = Scene::new();
    let monitor = scene.monitor();
    let mac = scene.vm.mac;
    scene.one.apply(&NetOp::Unplug { mac }).expect("unplugged");
    assert!(!scene.one.namespace.run(&format!("ip link show dev {}", scene.device())).0);
    let refusal = monitor.send(&saying(scene.b.mac, mac, "there?")).expect_err("no device any more");
    assert_eq!(refusal.raw_os_error(), Some(libc::EBADFD));
    scene.repair();
    scene.monitor();
}

#[test]
fn a_user_that_the_host_does_not_have_opens_nothing() {
    let account = |text| Some(Account::try_from(text).expect("valid"));
    let mut scene = Scene::new();
    let (mac, mut spec) = (scene.vm.mac, scene.spec_of_tap().clone());
    for (tap, refused) in [
        (Tap { owner: account("pn-nobody-1"), ..Tap::default() }, "this host has no user pn-nobody-1"),
        (Tap { group: account("pn-nobody-2"), ..Tap::default() }, "this host has no group pn-nobody-2"),
    ] {
        spec.placement = Placement::Tap(tap);
        let refusal = scene.one.apply(&NetOp::Plug { vni: vni(), mac, spec: spec.clone() }).expect_err("refused");
        assert_eq!(refusal.to_string(), refused);
        assert!(refusal.is_not_found());
    }
    scene.expect_as_wanted();
}

#[test]
fn a_tap_that_was_given_to_somebody_else_is_made_anew() {
    let mut scene = Scene::new();
    scene.monitor().give_to(4711);
    assert!(scene.shown().contains("user 4711"));
    scene.repair();
    assert!(scene.shown().contains("user root"));
}

/// Whoever has it open keeps it.
#[test]
fn a_taps_mtu_is_its_networks() {
    let mut scene = Scene::new();
    let monitor = scene.monitor();
    scene.one.namespace.ip(&format!("link set dev {} mtu 9000", scene.device()));
    scene.repair();
    let mtu_bytes = MTU_BYTES - 50;
    scene.spec_of_tap().mtu_bytes = mtu_bytes;
    scene.wanted.ports.get_mut(&scene.b.mac).expect("a port").spec.mtu_bytes = mtu_bytes;
    scene.repair();
    assert!(scene.shown().contains(&format!("mtu {mtu_bytes} ")));
    let device = frames::Tap::on(&scene.b.namespace, "net0");
    let frame = saying(scene.b.mac, scene.vm.mac, "still there");
    monitor.send(&frame).expect("sent");
    assert_eq!(device.next(), frame);
}

/// A port that is closed, or whose device is not filtered yet, passes nothing either way.
#[test]
fn a_tap_passes_nothing_before_it_is_open() {
    let mut scene = Scene::new();
    let monitor = scene.monitor();
    let device = frames::Tap::on(&scene.b.namespace, "net0");
    scene.one.apply(&NetOp::Close { vni: vni(), mac: scene.vm.mac }).expect("closed");
    monitor.send(&saying(scene.b.mac, scene.vm.mac, "too early")).expect("taken");
    device.send(&saying(scene.vm.mac, scene.b.mac, "too early"));
    scene.repair();
    let [question, answer] = [saying(scene.b.mac, scene.vm.mac, "there?"), saying(scene.vm.mac, scene.b.mac, "here")];
    monitor.send(&question).expect("sent");
    assert_eq!(device.next(), question);
    device.send(&answer);
    assert_eq!(monitor.next(), answer);
    assert_eq!(scene.one.counters(scene.vm.mac).drops, [("closed", 1)].into());
}
