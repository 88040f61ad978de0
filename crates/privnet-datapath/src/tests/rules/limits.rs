//! What one port, or one network's other hosts, may cost this host.

use super::*;

/// Every copy costs a second, so that the second frame to all is one too many.
const ONE_COPY_PER_SECOND: u32 = 1;

/// What an agent does unless told otherwise.
const DEFAULT: u32 = 200_000;

fn to_all(from: MacAddr) -> Vec<u8> {
    saying(BROADCAST, from, "to all")
}

#[test]
fn a_port_that_floods_is_stopped_and_it_alone() {
    let mut scene = Scene::unmanaged();
    scene.host.reopen_with_limit(ONE_COPY_PER_SECOND);
    let frame = to_all(scene.a.mac);
    scene.judge(&frame);
    assert_eq!(scene.host.counters(scene.b.mac).received_frames, 1);
    scene.drops(&frame, "bum-limit");
    assert_eq!(scene.host.counters(scene.b.mac).received_frames, 1);
    // Others may still, in its network and elsewhere, and it may send to one.
    let (b, d) = (scene.host.index_of(scene.b.mac), scene.host.index_of(scene.d.mac));
    scene.host.judge(Which::FromPort, b, &to_all(scene.b.mac));
    scene.host.judge(Which::FromPort, d, &to_all(scene.d.mac));
    for mac in [scene.b.mac, scene.d.mac] {
        assert_eq!(scene.host.counters(mac).sent_frames, 1);
    }
    scene.passes(&saying(scene.b.mac, scene.a.mac, "to one"));
}

#[test]
fn a_burst_passes_by_default() {
    let mut scene = Scene::unmanaged();
    scene.host.reopen_with_limit(DEFAULT);
    let frame = to_all(scene.a.mac);
    (0..1000).for_each(|_| assert_eq!(scene.judge(&frame).0, SHOT));
    let counters = scene.host.counters(scene.a.mac);
    assert_eq!((counters.sent_frames, counters.drops), (1000, [].into()));
}

#[test]
fn without_a_limit_there_is_none() {
    let mut scene = Scene::unmanaged();
    let frame = to_all(scene.a.mac);
    scene.host.reopen_with_limit(ONE_COPY_PER_SECOND);
    scene.judge(&frame);
    scene.drops(&frame, "bum-limit");
    // Of a port that is there already, too.
    scene.host.reopen_with_limit(0);
    (0..1000).for_each(|_| assert_eq!(scene.judge(&frame).0, SHOT));
    assert_eq!(scene.host.counters(scene.a.mac).drops, [("bum-limit", 1)].into());
}

#[test]
fn what_the_overlay_brings_to_all_of_a_network_is_limited_too() {
    let mut scene = Scene::unmanaged();
    scene.host.reopen_with_limit(ONE_COPY_PER_SECOND);
    let other = Vtep::at(&scene.wire, OTHER_VTEP);
    let b = Tap::on(&scene.b.namespace, "net0");
    let (first, second) = (saying(BROADCAST, scene.c.mac, "first"), saying(BROADCAST, scene.c.mac, "second"));
    let last = saying(scene.b.mac, scene.c.mac, "last");
    for frame in [&first, &second, &last] {
        other.send(scene.host.vtep, scene.vni, frame);
    }
    assert_eq!([b.next(), b.next()], [first, last]);
    assert_eq!(scene.host.overlay_counters().drops, [("bum-limit", 1)].into());
    // The network's own ports have a budget of their own.
    scene.judge(&to_all(scene.a.mac));
    assert_eq!(scene.host.counters(scene.a.mac).sent_frames, 1);
}

#[test]
fn one_instance_cannot_keep_the_agent_from_the_others() {
    let mut scene = Scene::managed();
    let request = scene.dhcp();
    // Random client addresses make no difference.
    for number in 0..2000u16 {
        let mut asked = request.clone();
        asked[14 + 28 + 28..][..2].copy_from_slice(&number.to_be_bytes());
        assert_eq!(scene.judge(&asked).0, SHOT);
    }
    let counters = scene.host.counters(scene.a.mac);
    assert_eq!(counters.drops.keys().collect::<Vec<_>>(), [&"dhcp-limit"]);
    // What a client sends while it starts, several times over, finds its place.
    assert!(counters.dhcp_requests >= 20, "{}", counters.dhcp_requests);
    let b = scene.host.index_of(scene.b.mac);
    let of_b = ethernet(BROADCAST, scene.b.mac, IPV4, &udp(68, 67, 300));
    scene.host.judge(Which::FromPort, b, &of_b);
    assert_eq!(scene.host.counters(scene.b.mac).dhcp_requests, 1);
    (0..counters.dhcp_requests).for_each(|_| assert_eq!(scene.host.next_dhcp_request().port, scene.a.mac));
    assert_eq!(scene.host.next_dhcp_request().port, scene.b.mac);
}
