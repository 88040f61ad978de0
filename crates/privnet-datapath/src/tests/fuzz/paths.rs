//! How long what the kernel has said about a route holds, which the model does not know: there, a tick has
//! passed before each frame.

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use super::fast_lane::source_port;
use super::input::Input;
use super::model::Way;
use super::rig::{Rig, Seen};
use super::world::{Route, Underlay, World};
use super::{Namespace, read_case};

const WORLD: &str = "
port 0 100 open veth
network 100 1450 unmanaged 0 0
fdb 100 02:00:00:00:00:02 vtep 192.0.2.2
fdb 100 02:00:00:00:00:03 vtep 192.0.2.3
";
/// As many as the programs have slots for.
const PATHS: u16 = 1024;

/// A frame of so many octets from port 0, of the flow with this hash, to a host by its number.
fn to_host(number: u8, hash: u32, octets: usize) -> Input {
    let ethernet = format!("02000000000{number}0a00000000000800");
    let text = format!("{WORLD}frame port 0 flow {hash} goes octets {ethernet}45{}", "00".repeat(octets - 15));
    let (_, mut inputs) = read_case(&text);
    inputs.remove(0)
}

/// Whether the frame took the fast lane, and not the other one.
fn is_direct(seen: &Seen) -> bool {
    match seen.ways[..] {
        [Ok(Way::ToVtepDirectly { .. })] => true,
        [Ok(Way::ToVtep { .. })] => false,
        _ => panic!("{seen:?}"),
    }
}

/// With the programs on one processor: each has answers of its own.
fn with_rig(work: impl FnOnce(&mut Rig, World) + Send) {
    let namespace = Namespace::new();
    namespace.within(|| {
        let mut one = CpuSet::new();
        one.set(sched_getcpu().expect("a processor")).expect("set");
        sched_setaffinity(Pid::from_raw(0), &one).expect("chosen");
        let (world, _) = read_case(WORLD);
        work(&mut Rig::new(&namespace, Underlay::Ipv4), world);
    });
}

#[test]
fn an_answer_holds_for_its_tick_its_flow_its_host_and_no_larger_packet() {
    let first = to_host(2, 1, 100);
    let in_same_slot = (2..).find(|hash| source_port(*hash).abs_diff(source_port(1)) == PATHS).expect("some");
    with_rig(|rig, world| {
        for (what, frame, holds) in [
            ("the same", &first, true),
            ("a smaller one", &to_host(2, 1, 99), true),
            ("a larger one", &to_host(2, 1, 101), false),
            ("another flow of the same slot", &to_host(2, in_same_slot, 100), false),
            ("another host", &to_host(3, 1, 100), false),
        ] {
            rig.set(&world);
            assert!(is_direct(&rig.run(&first)));
            rig.set(&World { route: Route::Unreachable, ..world.clone() });
            assert_eq!(is_direct(&rig.run_after(0, frame)), holds, "{what}");
            assert!(!is_direct(&rig.run(&first)), "in the next tick");
        }
    });
}

/// A receiver tells fragments of one packet from those of another by it (RFC 791 3.2).
#[test]
fn packets_of_one_flow_have_numbers_of_their_own() {
    const ID: std::ops::Range<usize> = 18..20;
    let frame = to_host(2, 1, 100);
    with_rig(|rig, world| {
        rig.set(&world);
        let first = rig.run(&frame);
        let second = rig.run_after(0, &frame);
        assert!(is_direct(&first) && is_direct(&second));
        assert_ne!(first.frame[ID], second.frame[ID]);
    });
}
