//! The host's IPsec policies (xfrm), which only the kernel's own way asks.

use super::*;
use crate::layout::LAYOUT_VERSION;

const BLOCK_OUT: &str = "dir out dst 192.0.2.2/32 proto udp action block";
const BLOCK_IN: &str = "dir in src 192.0.2.2/32 proto udp action block";

/// What the agent finds when it looks the next time.
fn look(scene: &mut Scene) {
    scene.host.dump();
}

/// What an agent finds that comes back.
fn restart(scene: &mut Scene) {
    scene.host.reopen();
}

/// What an agent of another version finds, which fills its maps only then.
fn upgrade(scene: &mut Scene) {
    scene.host.layout = LAYOUT_VERSION + 1;
    scene.host.reopen();
}

type Notice = fn(&mut Scene);

/// How programs are attached, which version's agent runs when the policies are made (one of another version
/// has not filled its maps yet), and when they are seen.
const OCCASIONS: [(Hook, u32, Notice); 5] = [
    (Hook::Tcx, LAYOUT_VERSION, look),
    (Hook::Clsact, LAYOUT_VERSION, look),
    (Hook::Tcx, LAYOUT_VERSION, restart),
    (Hook::Tcx, LAYOUT_VERSION, upgrade),
    (Hook::Clsact, LAYOUT_VERSION + 1, look),
];

fn scene(hook: Hook, layout: u32) -> Scene {
    let mut scene = Scene::new(hook);
    if layout != scene.host.layout {
        upgrade(&mut scene);
    }
    scene
}

#[test]
fn nothing_leaves_past_them() {
    for (hook, layout, notice) in OCCASIONS {
        let mut scene = scene(hook, layout);
        let (a, wire) = (Tap::on(&scene.a.namespace, "net0"), Tap::on(&scene.wire, "under0"));
        let [first, blocked, last] =
            [0, 1, 2].map(|number| ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40 + number)));
        a.send(&first);
        assert_eq!(next_vxlan(&wire)[INNER_AT..], first);
        scene.host.namespace.ip(&format!("xfrm policy add {BLOCK_OUT}"));
        notice(&mut scene);
        until_the_next_tick();
        let [sent, _] = scene.host.namespace.passed(OVERLAY_DEVICE);
        assert_eq!(sent, 0, "by the fast lane");
        a.send(&blocked);
        scene.until_the_overlay_device_has_refused_one();
        scene.host.namespace.ip("xfrm policy flush");
        a.send(&last);
        assert_eq!(next_vxlan(&wire)[INNER_AT..], last);
    }
}

#[test]
fn nothing_comes_in_past_them() {
    for (hook, layout, notice) in OCCASIONS {
        let mut scene = scene(hook, layout);
        let (b, wire) = (Tap::on(&scene.b.namespace, "net0"), Tap::on(&scene.wire, "under0"));
        let [first, blocked, last] =
            [0, 1, 2].map(|number| ethernet(scene.b.mac, scene.c.mac, IPV4, &ipv4(0, 40 + number)));
        wire.send(&scene.sent_by_c(50000, &first));
        assert_eq!(b.next(), first);
        scene.host.namespace.ip(&format!("xfrm policy add {BLOCK_IN}"));
        notice(&mut scene);
        // The kernel detaches a link in the background.
        while is_attached(&scene.host, "under0") {
            std::thread::yield_now();
        }
        wire.send(&scene.sent_by_c(50000, &blocked));
        // What follows on the same wire has come in, too.
        let host = scene.host.namespace.mac_of("under0");
        let asker = (scene.wire.mac_of("under0"), OTHER_VTEP);
        wire.send(&ethernet(host, asker.0, ARP, &Arp::request(asker, OWN_VTEP).payload()));
        while wire.next()[12..14] != ARP.to_be_bytes() {}
        scene.host.namespace.ip("xfrm policy flush");
        wire.send(&scene.sent_by_c(50000, &last));
        assert_eq!(b.next(), last);
    }
}

#[test]
fn the_fast_lane_is_open_again_when_the_last_one_has_gone() {
    for hook in [Hook::Tcx, Hook::Clsact] {
        for (make, remove) in [
            ("policy add dir out dst 192.0.2.2/32 action block", "policy flush"),
            ("policy add dir in src 203.0.113.1/32 action allow", "policy flush"),
            ("policy setdefault out block", "policy setdefault out accept"),
            ("policy setdefault in block", "policy setdefault in accept"),
        ] {
            let mut scene = Scene::new(hook);
            let frame = ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40));
            scene.host.namespace.ip(&format!("xfrm {make}"));
            look(&mut scene);
            assert_eq!(scene.sends(&frame), (REDIRECT, frame.clone()), "{make}");
            while is_attached(&scene.host, "under0") {
                std::thread::yield_now();
            }
            scene.host.namespace.ip(&format!("xfrm {remove}"));
            look(&mut scene);
            assert_eq!(scene.sends(&frame).1.len(), frame.len() + OUTER_OCTETS, "{remove}");
            assert!(is_attached(&scene.host, "under0"), "{remove}");
        }
    }
}

#[test]
fn what_is_only_forwarded_is_not_concerned() {
    let mut scene = Scene::new(Hook::Tcx);
    let frame = ethernet(scene.c.mac, scene.a.mac, IPV4, &ipv4(0, 40));
    scene.host.namespace.ip("xfrm policy add dir fwd dst 192.0.2.2/32 action block");
    scene.host.namespace.ip("xfrm policy setdefault fwd block");
    look(&mut scene);
    assert_eq!(scene.sends(&frame).1.len(), frame.len() + OUTER_OCTETS);
    assert!(is_attached(&scene.host, "under0"));
}
