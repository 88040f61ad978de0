//! For how long a flow stays in the offload lane, which the model does not know: there, it does or does not.

use std::net::Ipv4Addr;

use super::fast_lane::envelope;
use super::input::{Door, Input, Segments};
use super::model::Way;
use super::rig::{REDIRECT, Rig, Seen, UNDERLAY_MAC, UNSPEC};
use super::world::Underlay;
use super::{Namespace, read_case};

const WORLD: &str = "
port 0 100 open veth
network 100 1450 unmanaged 0 0
vtep 100 192.0.2.2
fdb 100 0a:00:00:00:00:00 port 0
fdb 100 02:00:00:00:00:02 vtep 192.0.2.2
";
/// A tick that is almost over, and two whole ones (FLOW_REST_TICKS in bpf/fast_lane.h).
const REST_TICKS: u64 = 3;
const PORT_MAC: [u8; 6] = [0x0a, 0, 0, 0, 0, 0];
const REMOTE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];

/// The frame that takes the offload lane and keeps its flow there, one that would not, and whether that one took
/// the fast lane.
struct Flow {
    slow: Input,
    fast: Input,
    is_fast: fn(&Seen) -> bool,
}

fn frame(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    [&to[..], &from, &[0x08, 0, 0x45], &[0; 99]].concat()
}

/// From port 0 to another host. What will be cut into segments takes the offload lane.
fn out() -> Flow {
    let fast = Input::plain(Door::Port(0), frame(REMOTE_MAC, PORT_MAC));
    let slow = Input { segments: Some(Segments { payload_octets: 50, count: 2 }), ..fast.clone() };
    Flow { slow, fast, is_fast: |seen| matches!(seen.ways[..], [Ok(Way::ToVtepDirectly { .. })]) }
}

/// What another host sends, with such a TOS outside.
fn outer(tos: u8, inner: &[u8]) -> Input {
    let [own, other] = [1, 2].map(|host| Ipv4Addr::new(192, 0, 2, host));
    let packet = envelope(other, own, tos, 50000, 100, inner);
    Input::plain(Door::Underlay, [&UNDERLAY_MAC.octets()[..], &REMOTE_MAC, &[0x08, 0], &packet].concat())
}

/// From another host to port 0.
fn in_(slow: Input) -> Flow {
    let is_fast = |seen: &Seen| {
        assert!([REDIRECT, UNSPEC].contains(&seen.verdict), "{seen:?}");
        seen.verdict == REDIRECT
    };
    Flow { slow, fast: outer(0, &frame(PORT_MAC, REMOTE_MAC)), is_fast }
}

#[test]
fn a_flow_stays_until_what_waits_in_the_offload_lane_has_gone() {
    let namespace = Namespace::new();
    namespace.within(|| {
        let (world, _) = read_case(WORLD);
        let mut rig = Rig::new(&namespace, Underlay::Ipv4);
        rig.set(&world);
        let inner = frame(PORT_MAC, REMOTE_MAC);
        let congested = in_(outer(3, &inner));
        // The kernel takes outer headers off from none but whole packets.
        let cut = in_(outer(0, &inner[..30]));
        for (way, Flow { slow, fast, is_fast }) in [("out", out()), ("in", congested), ("in, cut", cut)] {
            for ticks in 0..=REST_TICKS {
                assert!(is_fast(&rig.run(&fast)), "{way}");
                assert!(!is_fast(&rig.run(&slow)), "{way}");
                assert_eq!(is_fast(&rig.run_after(ticks, &fast)), ticks == REST_TICKS, "{way} after {ticks} ticks");
            }
        }
    });
}
