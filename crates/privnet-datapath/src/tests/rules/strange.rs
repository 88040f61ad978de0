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
