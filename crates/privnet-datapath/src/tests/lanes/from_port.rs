//! Which lane a frame takes on its way out.

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
