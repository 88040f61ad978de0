//! Instances that talk to each other, by their own kernels, through two hosts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use privnet_model::Vni;
use privnet_plan::KernelNetwork;

use super::frames::{ARP, Arp, BROADCAST, IPV4, PATIENCE, Tap, VLAN, checksum, ethernet, udp};
use super::lab::{Host, Instance, MTU_BYTES, network};
use crate::programs::Hook;

/// Instances a and b on one host, c on another, all in one network and with their addresses.
struct Scene {
    one: Host,
    two: Host,
    a: Instance,
    b: Instance,
    c: Instance,
}

impl Scene {
    fn new(hook: Hook) -> Self {
        let (one, two) = Host::pair(hook);
        let [a, b, c] = [1, 2, 3].map(Instance::new);
        let mut scene = Self { one, two, a, b, c };
        let (on_one, on_two) = scene.wanted();
        scene.one.reach(vni(), &on_one);
        scene.two.reach(vni(), &on_two);
        [&scene.a, &scene.b, &scene.c].into_iter().for_each(Instance::configure);
        scene
    }

    fn wanted(&self) -> (KernelNetwork, KernelNetwork) {
        let on_one = network(&[&self.a, &self.b], &[&self.c], self.two.vtep);
        (on_one, network(&[&self.c], &[&self.a, &self.b], self.one.vtep))
    }
}

fn vni() -> Vni {
    Vni::from_random(100)
}

fn reach_each_other(hook: Hook) {
    let mut scene = Scene::new(hook);
    let (on_one, on_two) = scene.wanted();
    assert_eq!(scene.one.dump().networks, [(vni(), on_one)].into());
    assert_eq!(scene.two.dump().networks, [(vni(), on_two)].into());
    let Scene { a, b, c, .. } = &scene;
    for (from, to) in [(a, b), (b, a), (a, c), (c, a), (c, b)] {
        assert!(from.namespace.can_ping(to.address), "{} from {}", to.address, from.address);
    }
}

#[test]
fn instances_of_one_network_reach_each_other() {
    reach_each_other(Hook::Tcx);
}

#[test]
fn instances_of_one_network_reach_each_other_on_a_kernel_without_tcx() {
    reach_each_other(Hook::Clsact);
}

#[test]
fn this_kernel_is_asked_for_what_it_has() {
    assert_eq!(Hook::of_this_kernel().expect("asked"), Hook::Tcx);
}

/// Two networks with the same addresses on the same hosts.
#[test]
fn networks_do_not_reach_each_other() {
    let mut scene = Scene::new(Hook::Tcx);
    let [x, y] = [11, 12].map(|number| Instance { address: scene.a.address, ..Instance::new(number) });
    let y = Instance { address: scene.c.address, ..y };
    let other = Vni::from_random(200);
    scene.one.reach(other, &network(&[&x], &[&y], scene.two.vtep));
    scene.two.reach(other, &network(&[&y], &[&x], scene.one.vtep));
    [&x, &y].into_iter().for_each(Instance::configure);
    assert!(x.namespace.can_ping(y.address));
    assert!(scene.a.namespace.can_ping(scene.c.address));
    let macs_known = |instance: &Instance| instance.namespace.ip("neighbor show dev net0");
    assert!(macs_known(&x).contains(&y.mac.to_string()), "{}", macs_known(&x));
    assert!(macs_known(&scene.a).contains(&scene.c.mac.to_string()), "{}", macs_known(&scene.a));
    // b is in the first network alone.
    assert!(x.namespace.cannot_ping(scene.b.address));
}

/// Segmentation and checksums are left to the devices all the way, and nothing gets lost in that.
#[test]
fn a_stream_arrives_as_it_was_sent() {
    let scene = Scene::new(Hook::Tcx);
    for to in [&scene.b, &scene.c] {
        stream(&scene.a, to);
    }
}

fn stream(from: &Instance, to: &Instance) {
    let sent: Vec<u8> = (0..4_000_000u32).map(|number| (number % 251) as u8).collect();
    let listener = to.namespace.within(|| TcpListener::bind((to.address, 5000))).expect("bound");
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut received = Vec::new();
            let mut stream = listener.accept().expect("connected").0;
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            stream.read_to_end(&mut received).expect("received");
            received
        });
        let stream = from.namespace.within(|| TcpStream::connect((to.address, 5000)));
        let mut stream = stream.expect("connected");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(&sent).expect("sent");
        drop(stream);
        receiver.join().expect("no panic")
    });
    assert_eq!(received.len(), sent.len());
    assert!(received == sent);
}

/// Both ends take larger segments than the network carries, so that they need to be told. The answers are
/// complete: what the segments left to devices is not left to them in the quotes.
#[test]
fn connections_whose_ends_have_a_larger_mtu_learn_the_networks() {
    const ICMP: u8 = 1;
    let mut scene = Scene::new(Hook::Tcx);
    for instance in [&scene.a, &scene.b, &scene.c] {
        instance.namespace.ip("link set net0 mtu 9000");
    }
    for to in [&scene.b, &scene.c] {
        let tap = Tap::on(&scene.a.namespace, "net0");
        stream(&scene.a, to);
        let route = scene.a.namespace.ip(&format!("route get {}", to.address));
        assert!(route.contains(&format!(" mtu {MTU_BYTES}")), "{route}");
        let received = || tap.next_with_status();
        let answer = std::iter::repeat_with(received).find(|(frame, _)| frame[23] == ICMP);
        let (answer, status) = answer.expect("endless");
        assert_eq!(status & libc::TP_STATUS_CSUMNOTREADY, 0, "not left to a device");
        assert_eq!(answer[26..30], to.address.octets());
        assert_eq!((checksum(&answer[14..34]), checksum(&answer[34..])), (0, 0));
    }
    assert!(scene.one.counters(scene.a.mac).icmp_replies >= 2);
}

/// A frame that is still to be cut into segments is judged by those: one octet more than the MTU each.
#[test]
fn segments_that_would_be_too_big_are_dropped() {
    let mut scene = Scene::new(Hook::Tcx);
    scene.a.namespace.ip(&format!("link set net0 mtu {}", MTU_BYTES + 50));
    let largest = MTU_BYTES - 28;
    only_the_first_passes(&mut scene, Ipv4Addr::new(10, 0, 0, 2), [largest, largest + 1]);
}

/// What an instance's own tunnel adds is in each segment.
#[test]
fn segments_that_would_be_too_big_with_a_tunnels_headers_are_dropped() {
    let mut scene = Scene::new(Hook::Tcx);
    scene.a.namespace.ip("link set net0 mtu 9000");
    for (number, own, other) in [(1, &scene.a, &scene.b), (2, &scene.b, &scene.a)] {
        let way = format!("remote {} dstport 4789", other.address);
        own.namespace.ip(&format!("link add tunnel mtu {MTU_BYTES} type vxlan id 7 {way}"));
        own.namespace.ip(&format!("address add 172.16.0.{number}/24 dev tunnel"));
        own.namespace.ip("link set tunnel up");
    }
    let largest = MTU_BYTES - 28;
    only_the_first_passes(&mut scene, Ipv4Addr::new(172, 16, 0, 2), [largest - 50, largest]);
}

/// Sends datagrams of these sizes from a to an address of b's, three of a size in one frame.
fn only_the_first_passes(scene: &mut Scene, to: Ipv4Addr, payloads_octets: [u32; 2]) {
    const UDP_SEGMENT: libc::c_int = 103;
    let receiver = scene.b.namespace.within(|| UdpSocket::bind((to, 5000))).expect("bound");
    receiver.set_read_timeout(Some(PATIENCE)).expect("set");
    assert!(scene.a.namespace.can_ping(to));
    for payload_octets in payloads_octets {
        let socket = scene.a.namespace.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("bound");
        let octets = payload_octets as libc::c_int;
        // SAFETY: the pointer and length are those of `octets`.
        let set = unsafe {
            let value = (&raw const octets).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, UDP_SEGMENT, value, size_of_val(&octets) as u32)
        };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        socket.send_to(&vec![7; 3 * payload_octets as usize], (to, 5000)).expect("sent");
    }
    assert!(scene.a.namespace.can_ping(to), "after all before it has been judged");
    assert_eq!(scene.one.counters(scene.a.mac).drops, [("too-big", 1)].into());
    for _ in 0..3 {
        assert_eq!(receiver.recv(&mut [0; 9000]).expect("received") as u32, payloads_octets[0]);
    }
}

/// VLANs are the instances' own matter, in a managed network, too; ID 0 makes none.
#[test]
fn vlans_within_a_network_are_left_alone() {
    let mut scene = Scene::new(Hook::Tcx);
    let (mut on_one, _) = scene.wanted();
    on_one.settings.as_mut().expect("some").managed = true;
    on_one.neighbors = [(scene.b.address, scene.b.mac)].into();
    scene.one.reach(vni(), &on_one);
    let [a, b] = [&scene.a, &scene.b].map(|instance| Tap::on(&instance.namespace, "net0"));
    let tagged = |id: u16, ethertype: u16, to, payload: &[u8]| {
        let payload = [&id.to_be_bytes()[..], &ethertype.to_be_bytes(), payload].concat();
        ethernet(to, scene.a.mac, VLAN, &payload)
    };
    let question = Arp::request((scene.a.mac, scene.a.address), scene.b.address).payload();
    a.send(&tagged(0, IPV4, scene.b.mac, &udp(67, 68, 300)));
    a.send(&tagged(5, IPV4, scene.b.mac, &udp(67, 68, 300)));
    a.send(&tagged(5, IPV4, scene.b.mac, &udp(68, 67, 300)));
    a.send(&tagged(5, ARP, BROADCAST, &question));
    // The tag itself is taken off before a tap sees the frame.
    assert_eq!(b.next(), ethernet(scene.b.mac, scene.a.mac, IPV4, &udp(67, 68, 300)));
    assert_eq!(b.next(), ethernet(scene.b.mac, scene.a.mac, IPV4, &udp(68, 67, 300)));
    assert_eq!(b.next(), ethernet(BROADCAST, scene.a.mac, ARP, &question));
    let counters = scene.one.counters(scene.a.mac);
    assert_eq!(counters.drops, [("rogue-dhcp", 1)].into());
    assert_eq!((counters.dhcp_requests, counters.arp_replies), (0, 0));
}

#[test]
fn the_agent_can_send_to_a_port() {
    let mut scene = Scene::new(Hook::Tcx);
    let tap = Tap::on(&scene.a.namespace, "net0");
    let frame = ethernet(scene.a.mac, privnet_model::SERVER_MAC, IPV4, &udp(67, 68, 300));
    let (mac, sent) = (scene.a.mac, frame.clone());
    // From another namespace and thread, as a task of the agent's may be.
    let sender = scene.one.with(|opened, _| opened.sender.clone());
    sender.send(mac, &sent).expect("sent");
    assert_eq!(tap.next(), frame);
    let refusal = sender.send(privnet_model::SERVER_MAC, &frame).expect_err("no such port");
    assert_eq!(refusal.to_string(), "cannot send a frame by device pn0000000000");
}
