//! What is taken off on its way in.

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
    let tagged = ethernet(scene.b.mac, scene.c.mac, VLAN, &[&[0, 5][..], &IPV4.to_be_bytes(), &ipv4(0, 40)].concat());
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

/// As in the other lane, and where the outer headers still are.
#[test]
fn no_dhcp_comes_from_another_host_in_a_managed_network() {
    let mut scene = Scene::new(Hook::Tcx);
    let dhcp = |from_port: u16, to_port: u16| with_ip_checksum(udp(from_port, to_port, 300));
    let options = [&[0x46][..], &dhcp(67, 68)[1..20], &[1; 4], &dhcp(67, 68)[20..]].concat();
    let mut fragment = dhcp(67, 68);
    fragment[7] = 1;
    let said = [
        (true, IPV4, dhcp(67, 68)),
        (true, IPV4, dhcp(67, 67)),
        (true, IPV4, dhcp(68, 67)),
        (true, IPV4, options),
        (false, IPV4, fragment),
        (false, IPV4, dhcp(1000, 68)),
        (false, IPV4, dhcp(67, 68)[..22].to_vec()),
        (false, IPV6, ipv6(0, 40)),
    ];
    let mut wanted = network(&[&scene.a, &scene.b], &[&scene.c], OTHER_VTEP);
    let mut port = 50000;
    for managed in [true, false] {
        wanted.settings = Some(NetworkSettings { managed, mtu_bytes: MTU_BYTES });
        scene.host.reach(vni(), &wanted);
        for (is_dhcp, ethertype, packet) in &said {
            port += 1;
            let outer = scene.sent_by_c(port, &ethernet(scene.b.mac, scene.c.mac, *ethertype, packet));
            let before = scene.host.overlay_counters().drops;
            let verdict = scene.receives(&outer).0;
            let mut after = scene.host.overlay_counters().drops;
            if *is_dhcp && managed {
                assert_eq!(verdict, SHOT, "{packet:?}");
                *after.get_mut("rogue-dhcp").expect("counted") -= 1;
                after.retain(|_, frames| *frames > 0);
            } else {
                // A kernel before 6.3 takes IPv6 itself.
                assert!(
                    verdict == REDIRECT || *ethertype == IPV6 && verdict == UNSPEC,
                    "managed: {managed}, {packet:?}"
                );
            }
            assert_eq!(after, before, "managed: {managed}, {packet:?}");
        }
        let drops = scene.host.overlay_counters().drops;
        assert_eq!(drops, [("rogue-dhcp", 4)].into());
    }
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
