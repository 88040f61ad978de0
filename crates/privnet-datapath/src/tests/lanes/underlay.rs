//! Underlays of all kinds, and what is attached to their devices.

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
        one.ip(&format!("link add {device} type veth peer name {device} netns {}", two.path()));
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
        one.ip(&format!("link add under0 type veth peer name under0 netns {}", two.path()));
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
