//! What is measured, against what, and what is to be reached.

/// One number of the table.
#[derive(Debug)]
pub(crate) struct Benchmark {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) what: &'static str,
    /// What it is held against in the same run; empty if against nothing.
    pub(crate) against: &'static str,
    /// None where another number of the same thing has it.
    pub(crate) target: Option<Target>,
}

/// What the ratio is to be; where there is none, the value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub(crate) fn reached_by(self, number: f64) -> bool {
        match self {
            Self::AtMost(limit) => number <= limit,
            Self::AtLeast(limit) => number >= limit,
        }
    }
}

use Target::{AtLeast, AtMost};

/// All of them, in the order in which they are measured and shown.
///
/// The targets of `rtt` and `udp_64` are those of the offload lane alone; that of `rtt_veth` needs the
/// fast lane.
pub(crate) const BENCHMARKS: [Benchmark; 13] = [
    Benchmark {
        name: "attach_p50",
        unit: "ms",
        what: "attach, request sent to final answer `success`, applied on two hosts: median",
        against: "",
        target: None,
    },
    Benchmark {
        name: "attach_p99",
        unit: "ms",
        what: "the same, 99th percentile",
        against: "",
        target: Some(AtMost(25.0)),
    },
    Benchmark {
        name: "tcp_stream",
        unit: "Gbit/s",
        what: "one TCP stream between instances on two hosts",
        against: "bridge and VXLAN, hand-built",
        target: Some(AtLeast(1.0)),
    },
    Benchmark {
        name: "tcp_stream_cpu",
        unit: "s/GB",
        what: "CPU seconds of the whole machine per gigabyte of that stream",
        against: "bridge and VXLAN, hand-built",
        target: Some(AtMost(0.95)),
    },
    Benchmark {
        name: "rtt",
        unit: "us",
        what: "round trip of a 64-octet UDP message between two hosts, both ends on one core: median",
        against: "bridge and VXLAN, hand-built",
        target: Some(AtMost(0.92)),
    },
    Benchmark {
        name: "rtt_veth",
        unit: "us",
        what: "the same",
        against: "a veth pair, no overlay",
        target: Some(AtMost(1.2)),
    },
    Benchmark {
        name: "udp_64",
        unit: "1/s",
        what: "64-octet UDP messages received per second, one sender as fast as it can",
        against: "bridge and VXLAN, hand-built",
        target: Some(AtLeast(1.0)),
    },
    Benchmark {
        name: "rtt_unfiltered",
        unit: "us",
        what: "as rtt",
        against: "bridge and VXLAN, hand-built, past the packet filter",
        target: None,
    },
    Benchmark {
        name: "udp_64_unfiltered",
        unit: "1/s",
        what: "as udp_64",
        against: "bridge and VXLAN, hand-built, past the packet filter",
        target: None,
    },
    Benchmark {
        name: "create_per_second",
        unit: "1/s",
        what: "networks created per second over HTTP, durable, 32 clients",
        against: "fdatasync calls per second of the same disk",
        target: Some(AtLeast(1.5)),
    },
    Benchmark {
        name: "create_at_100k",
        unit: "1/s",
        what: "the same with 100,000 networks and 200,000 ports present",
        against: "a server with none",
        target: Some(AtLeast(0.9)),
    },
    Benchmark {
        name: "list_100k",
        unit: "ms",
        what: "the list of 100,000 networks with their leases, request sent to last octet read",
        against: "writing the same octets from memory",
        target: Some(AtMost(1.5)),
    },
    Benchmark {
        name: "server_rss_100k",
        unit: "MiB",
        what: "resident memory of the server with 100,000 networks and 200,000 ports",
        against: "",
        target: Some(AtMost(512.0)),
    },
];

/// The benchmark of this name.
pub(crate) fn find(name: &str) -> Option<&'static Benchmark> {
    BENCHMARKS.iter().find(|benchmark| benchmark.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_reached_on_its_own_side_and_on_the_spot() {
        assert!(AtMost(0.9).reached_by(0.9) && AtMost(0.9).reached_by(0.1) && !AtMost(0.9).reached_by(0.91));
        assert!(AtLeast(1.5).reached_by(1.5) && AtLeast(1.5).reached_by(9.0) && !AtLeast(1.5).reached_by(1.49));
    }
}
