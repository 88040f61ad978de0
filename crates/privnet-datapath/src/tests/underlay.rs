//! What is between the hosts: which address and device it is, by IPv4 and by IPv6.

use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{MacAddr, Vni, with_causes};
use privnet_plan::{FdbTarget, NetOp};

use super::frames::{Tap, Vtep, saying};
use super::lab::{Host, Instance, Namespace, PinDir, config, ipv6_vtep, network};
use crate::Datapath;
use crate::names::OVERLAY_DEVICE;
use crate::programs::Hook;

const IPV6_HEADERS_OCTETS: usize = 14 + 40;
const UDP_CHECKSUM_OFFSET: usize = IPV6_HEADERS_OCTETS + 6;

fn vni() -> Vni {
    Vni::from_random(100)
}

#[test]
fn instances_reach_each_other_by_ipv6_vteps() {
    let (mut one, mut two) = Host::pair_by_ipv6();
    let [a, b] = [1, 2].map(Instance::new);
    let (on_one, on_two) = (network(&[&a], &[&b], two.vtep), network(&[&b], &[&a], one.vtep));
    one.reach(vni(), &on_one);
    two.reach(vni(), &on_two);
    [&a, &b].into_iter().for_each(Instance::configure);
    assert!(a.namespace.can_ping(b.address));
    assert_eq!(one.dump().networks, [(vni(), on_one)].into());
    assert_eq!(two.overlay_counters().drops, [].into());
}

/// RFC 7348 §5 wants none, and RFC 6935 has tunnels do without by IPv6, too; whoever sends one is understood.
#[test]
fn by_ipv6_frames_leave_without_a_udp_checksum_and_come_with_or_without() {
    let (mut host, wire) = Host::alone_by_ipv6();
    let [a, b] = [1, 2].map(Instance::new);
    host.reach(vni(), &network(&[&a], &[&b], ipv6_vtep(2)));
    let (port, on_wire) = (Tap::on(&a.namespace, "net0"), Tap::on(&wire, "under0"));
    let frame = saying(a.mac, b.mac, "with");
    let other = Vtep::at(&wire, ipv6_vtep(2));
    other.send(host.vtep, vni(), &frame);
    assert_eq!(port.next(), frame);
    // The kernel would rather send from another address.
    host.namespace.ip(&format!("address change {}/64 dev under0 preferred_lft 0", host.vtep));
    let other = other.without_checksums();
    let frame = saying(a.mac, b.mac, "without");
    other.send(host.vtep, vni(), &frame);
    assert_eq!(port.next(), frame);

    let answer = saying(b.mac, a.mac, "answer");
    port.send(&answer);
    assert_eq!(other.next(host.vtep), (vni(), answer.clone()));
    let packet = std::iter::repeat_with(|| on_wire.next()).find(|packet| packet.ends_with(&answer)).expect("endless");
    assert_eq!(packet[UDP_CHECKSUM_OFFSET..][..2], [0, 0]);
}

/// Of the other IP version is as strange as any.
#[test]
fn a_frame_from_a_strange_host_is_dropped_by_either_ip_version() {
    let (mut host, wire) = Host::alone_by_ipv6();
    let [a, b] = [1, 2].map(Instance::new);
    host.reach(vni(), &network(&[&a], &[&b], ipv6_vtep(2)));
    let port = Tap::on(&a.namespace, "net0");
    let strange = saying(a.mac, b.mac, "strange");
    Vtep::at(&wire, ipv6_vtep(9)).send(host.vtep, vni(), &strange);
    Vtep::at(&wire, Ipv4Addr::new(192, 0, 2, 2)).send(Ipv4Addr::new(192, 0, 2, 1), vni(), &strange);
    let last = saying(a.mac, b.mac, "last");
    Vtep::at(&wire, ipv6_vtep(2)).send(host.vtep, vni(), &last);
    assert_eq!(port.next(), last);
    assert_eq!(host.overlay_counters().drops, [("unknown-vtep", 2)].into());
}

#[test]
fn a_host_sends_to_none_of_the_other_ip_version() {
    let (by_ipv4, _wire) = Host::alone(Hook::Tcx);
    let (by_ipv6, _wire) = Host::alone_by_ipv6();
    for (mut host, other) in [(by_ipv4, IpAddr::from(ipv6_vtep(2))), (by_ipv6, Ipv4Addr::new(192, 0, 2, 2).into())] {
        let why = format!(
            "VTEP {other} is of another IP version than this host's own, {}; the hosts of a network need the same",
            host.vtep
        );
        let (mac, target) = (MacAddr::for_port([1; 5]), FdbTarget::Remote(other));
        for op in [NetOp::AddVtep { vni: vni(), vtep: other }, NetOp::SetFdb { vni: vni(), mac, target }] {
            assert_eq!(host.apply(&op).expect_err("refused").to_string(), why);
        }
    }
}

#[test]
fn an_address_that_is_valid_on_its_own_link_only_is_no_vtep() {
    let why = "VTEP address fe80::1 is valid on its own link only; choose one that all hosts of the zone reach";
    assert_eq!(refusal(&Namespace::new(), "fe80::1"), why);
}

#[test]
fn an_address_that_is_not_the_hosts_is_no_vtep() {
    for other in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"] {
        let namespace = Namespace::new();
        namespace.ip("address add 192.0.2.2/24 dev lo");
        assert_eq!(refusal(&namespace, other), format!("VTEP address {other} is on none of this host's devices"));
    }
}

#[test]
fn a_udp_port_that_another_device_has_is_refused_with_its_name() {
    for (link, by) in [
        ("link add theirs type vxlan id 5 dstport 4789 dev under0", "vxlan device theirs"),
        ("link add theirs type vxlan external dstport 4789", "vxlan device theirs"),
    ] {
        let namespace = Namespace::new();
        namespace.ip("link add under0 type veth peer name other0");
        namespace.ip("address add 192.0.2.1/24 dev under0");
        namespace.ip("link set under0 up");
        namespace.ip(link);
        namespace.ip("link set theirs up");
        let refusal = refusal(&namespace, "192.0.2.1");
        let why = format!(
            "UDP port 4789 is in use by {by} of this host; remove that, or set vxlan-port to another port on all hosts of the zone"
        );
        assert!(refusal.ends_with(&why), "{refusal}");
        assert!(refusal.contains("device pnvxlan"), "{refusal}");
    }
}

#[test]
fn the_default_route_says_which_address_to_use() {
    let (host, _wire) = Host::alone_by_ipv6();
    host.namespace.within(crate::default_vtep).expect_err("no default route");
    host.namespace.ip(&format!("-6 route add default via {} src {}", ipv6_vtep(2), host.vtep));
    assert_eq!(host.namespace.within(crate::default_vtep).expect("chosen"), host.vtep);
    host.namespace.ip("route add default via 192.0.2.2");
    assert_eq!(host.namespace.within(crate::default_vtep).expect("chosen"), IpAddr::from([192, 0, 2, 1]));
}

#[test]
fn the_underlay_s_mtu_is_followed_by_the_overlay_device_that_is_there() {
    let (mut host, _wire) = Host::alone(Hook::Tcx);
    let overlay = |host: &mut Host| {
        let found = host.with(|opened, _| opened.datapath.netlink.link(OVERLAY_DEVICE)).expect("read").expect("there");
        (found.index, found.mtu_bytes)
    };
    let (index, _) = overlay(&mut host);
    for (underlay, left) in [(9000, 8950), (1400, 1350)] {
        host.namespace.ip(&format!("link set under0 mtu {underlay}"));
        assert_eq!(host.dump().underlay_mtu_bytes, Some(underlay));
        assert_eq!(overlay(&mut host), (index, left));
    }
    host.namespace.ip("address delete 192.0.2.1/24 dev under0");
    assert_eq!(host.dump().underlay_mtu_bytes, None);
    host.namespace.ip("link add other0 mtu 2000 type veth");
    host.namespace.ip("address add 192.0.2.1/24 dev other0");
    assert_eq!(host.dump().underlay_mtu_bytes, Some(2000));
    assert_eq!(overlay(&mut host), (index, 1950));
}

/// Where a host has several uplinks, its VTEP's address is often on loopback.
#[test]
fn the_underlay_s_mtu_is_the_least_on_the_way_to_other_hosts() {
    for (own, prefix, uplinks, other, next_hops) in [
        ("203.0.113.1", 32, ["192.0.2.1/24", "198.51.100.1/24"], "203.0.113.2", ["192.0.2.2", "198.51.100.2"]),
        (
            "2001:db8::1",
            128,
            ["2001:db8:1::1/64", "2001:db8:2::1/64"],
            "2001:db8::2",
            ["2001:db8:1::2", "2001:db8:2::2"],
        ),
    ] {
        let namespace = Namespace::new();
        namespace.ip(&format!("address add {own}/{prefix} dev lo"));
        for (number, uplink) in uplinks.into_iter().enumerate() {
            namespace.ip(&format!("link add under{number} mtu {} type veth peer name far{number}", 9000 - number));
            namespace.ip(&format!("link set far{number} up"));
            namespace.ip(&format!("link set under{number} up"));
            namespace.ip(&format!("address add {uplink} dev under{number}"));
        }
        let [one, two] = next_hops;
        namespace.ip(&format!("route add {other} nexthop via {one} nexthop via {two}"));
        let [vtep, other] = [own, other].map(|address| address.parse::<IpAddr>().expect("an address"));
        let mut host = Host::at(namespace, vtep, Hook::Tcx);
        let [a, b] = [1, 2].map(Instance::new);
        host.reach(vni(), &network(&[&a], &[&b], other));
        assert_eq!(host.dump().underlay_mtu_bytes, Some(8999));
        host.namespace.ip(&format!("route del {other}"));
        host.namespace.ip(&format!("route add {other} via {one}"));
        assert_eq!(host.dump().underlay_mtu_bytes, Some(9000));
    }
}

#[test]
fn a_port_s_mtu_is_set_on_the_device_that_is_there() {
    let (mut host, _wire) = Host::alone(Hook::Tcx);
    let a = Instance::new(1);
    let mut wanted = network(&[&a], &[], host.vtep);
    host.reach(vni(), &wanted);
    let index = host.index_of(a.mac);
    for (mtu_bytes, own, then) in [
        (8950, None, 8950),
        (1450, None, 1450),
        // What the instance has chosen is kept where it is less, and not where it is more.
        (8950, Some(1300), 1300),
        (1350, Some(9000), 1350),
    ] {
        if let Some(own) = own {
            a.namespace.ip(&format!("link set net0 mtu {own}"));
        }
        wanted.settings.as_mut().expect("some").mtu_bytes = mtu_bytes;
        wanted.ports.get_mut(&a.mac).expect("a's").spec.mtu_bytes = mtu_bytes;
        host.reach(vni(), &wanted);
        assert_eq!(host.dump().networks, [(vni(), wanted.clone())].into());
        assert_eq!(host.index_of(a.mac), index);
        let shown = a.namespace.ip("link show dev net0");
        assert!(shown.contains(&format!("mtu {then} ")), "{then}: {shown}");
    }
}

/// An instance may take its device elsewhere. What has the same index where it was is none of ours.
#[test]
fn a_port_s_mtu_is_set_on_no_other_device() {
    let (mut host, _wire) = Host::alone(Hook::Tcx);
    let a = Instance::new(1);
    let mut wanted = network(&[&a], &[], host.vtep);
    host.reach(vni(), &wanted);
    let shown = a.namespace.ip("-o link show dev net0");
    let (index, _) = shown.split_once(':').expect("an index");
    let elsewhere = Namespace::new();
    a.namespace.ip(&format!("link set net0 netns {}", elsewhere.path()));
    a.namespace.ip(&format!("link add other0 index {index} mtu 9000 type veth peer name other1"));
    wanted.settings.as_mut().expect("some").mtu_bytes = 1350;
    wanted.ports.get_mut(&a.mac).expect("a's").spec.mtu_bytes = 1350;
    host.reach(vni(), &wanted);
    let shown = a.namespace.ip("link show dev other0");
    assert!(shown.contains("mtu 9000 "), "{shown}");
}

/// Why a data plane with this VTEP is not opened, with all causes. Nothing is left behind.
fn refusal(namespace: &Namespace, vtep: &str) -> String {
    let pins = PinDir::new();
    let vtep = vtep.parse().expect("an address");
    let config = config(vtep, &pins.0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let refusal = namespace.within(|| {
        let _guard = runtime.enter();
        Datapath::open(&config).err()
    });
    with_causes(&refusal.expect("refused"))
}
