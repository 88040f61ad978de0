//! Frames that no standard foresees, and those that a bridge does not forward.

use super::*;

#[test]
fn what_a_bridge_does_not_forward_is_dropped() {
    let mut scene = Scene::unmanaged();
    for last in 0..=0x0f {
        let group = MacAddr::new([0x01, 0x80, 0xc2, 0, 0, last]);
        scene.drops(&saying(group, scene.a.mac, "to the bridge"), "reserved-group");
    }
    let beyond = MacAddr::new([0x01, 0x80, 0xc2, 0, 0, 0x10]);
    assert_eq!(scene.judge(&saying(beyond, scene.a.mac, "to all")).0, SHOT);
    assert_eq!(scene.host.counters(scene.b.mac).received_frames, 1);
}

#[test]
fn a_segment_carries_what_it_does_not_know() {
    let llc = |header: [u8; 3]| [&header[..], &[1; 43]].concat();
    let strange: [(&str, u16, Vec<u8>); 9] = [
        ("nothing", EXPERIMENTAL, vec![]),
        ("one octet", EXPERIMENTAL, vec![1]),
        ("no length, no ethertype", 0, vec![1; 46]),
        ("the last ethertype", 0xffff, vec![1; 46]),
        ("IPX behind a length (IEEE 802.3)", 46, llc([0xe0, 0xe0, 3])),
        ("NetBEUI", 46, llc([0xf0, 0xf0, 3])),
        ("a length that lies", 1500, vec![1; 46]),
        ("IPv4 with a header that is none", IPV4, vec![0x40; 46]),
        ("IPv4 with lengths that lie", IPV4, [&[0x4f, 0, 0xff, 0xff][..], &[0; 42]].concat()),
    ];
    let mut scene = Scene::managed();
    for (what, ethertype, payload) in strange {
        eprintln!("{what}");
        for to in [scene.b.mac, scene.c.mac] {
            scene.passes(&ethernet(to, scene.a.mac, ethertype, &payload));
        }
    }
}

#[test]
fn what_hides_ip_and_arp_does_not_pass_a_managed_network() {
    let hiding = |scene: &Scene, ethertype: u16, payload: &[u8]| {
        let payload = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &ethertype.to_be_bytes(), payload].concat();
        ethernet(scene.b.mac, scene.a.mac, payload.len() as u16, &payload)
    };
    let stacked = |scene: &Scene, outer: u16| {
        let payload = [&[0, 5][..], &VLAN.to_be_bytes(), &[0, 6], &EXPERIMENTAL.to_be_bytes(), &[1; 46]].concat();
        ethernet(scene.b.mac, scene.a.mac, outer, &payload)
    };
    let frames = |scene: &Scene| {
        let spoofed = Arp::request((scene.b.mac, scene.b.address), scene.c.address).payload();
        let (offer, arp) = (hiding(scene, IPV4, &udp(67, 68, 300)), hiding(scene, ARP, &spoofed));
        [offer, arp, stacked(scene, VLAN), stacked(scene, 0x88a8)]
    };
    let mut scene = Scene::managed();
    for frame in frames(&scene) {
        scene.drops(&frame, "tagged");
    }
    let mut scene = Scene::unmanaged();
    for frame in frames(&scene) {
        scene.passes(&frame);
    }
}

/// A relay agent's requests and a server's answers to it go from port 67 to port 67.
#[test]
fn relays_are_heard_by_nobody_in_a_managed_network() {
    let mut scene = Scene::managed();
    for to in [BROADCAST, scene.b.mac, scene.c.mac] {
        let frame = ethernet(to, scene.a.mac, IPV4, &udp(67, 67, 300));
        assert_eq!(scene.judge(&frame).0, SHOT);
        assert_eq!(scene.host.next_dhcp_request().frame, frame);
    }
    assert_eq!(scene.host.counters(scene.b.mac).received_frames, 0);
}
