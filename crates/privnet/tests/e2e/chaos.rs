//! A short run of `make chaos`. Each step is a burst of requests with things that go wrong, and then all
//! invariants; the plans are those of these seeds, in both of which hosts are removed and invited anew, certificates
//! replaced, and the server restarted while agents connect.

use std::time::Duration;

use privnet_lab::chaos::{Chaos, run};

use crate::support::PRIVNET;

#[test]
fn all_is_right_again_whatever_went_wrong() {
    check(89, 12);
}

#[test]
fn all_is_right_again_whatever_else_went_wrong() {
    check(127, 12);
}

fn check(seed: u64, steps: usize) {
    let chaos = Chaos { seed, steps, duration: Duration::MAX, hosts: 3, is_kept: false, binary: Some(PRIVNET.into()) };
    run(&chaos).expect("every step holds");
}
