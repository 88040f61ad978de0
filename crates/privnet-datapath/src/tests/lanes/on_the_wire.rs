//! What both lanes put on the wire is the same.

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
    let frames: Vec<_> = (0..3).map(|number| ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40 + number))).collect();
    frames.iter().for_each(|frame| a.send(frame));
    for frame in &frames {
        assert_eq!(next_vxlan(&wire)[INNER_AT..], **frame);
    }
    assert_eq!(scene.host.namespace.passed(OVERLAY_DEVICE)[0], 0);
}
