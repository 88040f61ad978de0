//! What people run on a segment, and on what it runs: each works as on a switch of one's own.
//!
//! Instances speak by their own kernels' stacks and by real sockets. Where a daemon would speak, such as a
//! router's or keepalived, a socket sends what the daemon sends, so that either can stand in for the other.

mod ethernet;
mod ipv6;
mod multicast;
mod sockets;
mod transport;
mod underlay;
mod vrrp;

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use privnet_lab::{Lab, invariants};
use serde_json::json;

use crate::support::{Guest, hosts, in_lab, managed};

/// Instances a and b on one host, and c on another, in one network.
struct Segment {
    is_managed: bool,
    a: Guest,
    b: Guest,
    c: Guest,
}

impl Segment {
    fn new(lab: &mut Lab, is_managed: bool) -> Result<Self> {
        let body = if is_managed { managed("managed") } else { json!({"name": "unmanaged"}) };
        let network = lab.api().create_network(&body)?;
        let mut join = |name: &str, host, last| {
            let instance = lab.add_instance(name, host)?;
            match is_managed {
                true => Guest::attach(lab, &network, instance),
                false => Guest::attach_unmanaged(lab, &network, instance, Ipv4Addr::new(10, 0, 0, last)),
            }
        };
        Ok(Self { is_managed, a: join("a", 1, 10)?, b: join("b", 1, 11)?, c: join("c", 2, 12)? })
    }

    fn guests(&self) -> [&Guest; 3] {
        [&self.a, &self.b, &self.c]
    }
}

/// Runs a test in a managed network, and in an unmanaged one beside it, which has the same addresses.
fn on_segments(test: impl Fn(&mut Lab, &Segment) -> Result<()>) {
    in_lab(hosts(2), |lab| {
        let segments = [true, false].map(|is_managed| Segment::new(lab, is_managed));
        for segment in segments {
            let segment = segment?;
            let kind = if segment.is_managed { "a managed" } else { "an unmanaged" };
            test(lab, &segment).with_context(|| format!("in {kind} network"))?;
        }
        invariants::hold(lab)
    });
}
