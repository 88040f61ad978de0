//! What is measured, against what, and what is to be reached.

/// One number of the tables.
#[derive(Debug)]
pub(crate) struct Benchmark {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) what: &'static str,
    pub(crate) against: Against,
    /// None where another number of the same thing has it, or nobody has set one.
    pub(crate) target: Option<Target>,
}

/// What a number is held against in the same run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Against {
    Nothing,
    /// Traffic over a bridge and VXLAN, built by hand, and over a veth pair, no overlay: the target is
    /// about the former.
    HandBuilt,
    /// As [`HandBuilt`](Self::HandBuilt), past the packet filter.
    Unfiltered,
    /// Traffic over a veth pair, no overlay.
    Veth,
    Other(&'static str),
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

impl Benchmark {
    const fn new(name: &'static str, unit: &'static str, what: &'static str, against: Against) -> Self {
        Self { name, unit, what, against, target: None }
    }

    const fn reaching(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    /// Whether it is traffic, which is held against two references.
    pub(crate) fn is_traffic(&self) -> bool {
        matches!(self.against, Against::HandBuilt | Against::Unfiltered | Against::Veth)
    }
}

use Against::{HandBuilt, Nothing, Other, Unfiltered, Veth};
use Target::{AtLeast, AtMost};

const BRIDGE: &str = "a bridge to the same namespaces";
const CPU_PER_GB: &str = "CPU of that, per gigabyte";
const CPU_PER_MILLION: &str = "CPU of that, per million packets";

/// All of them, in the order in which they are shown.
pub(crate) const BENCHMARKS: [Benchmark; 41] = [
    Benchmark::new("tcp_stream", "Gbit/s", "one TCP stream", HandBuilt).reaching(AtLeast(1.0)),
    Benchmark::new("tcp_stream_cpu", "s/GB", CPU_PER_GB, HandBuilt).reaching(AtMost(0.95)),
    Benchmark::new("tcp_streams_4", "Gbit/s", "four TCP streams at a time", HandBuilt),
    Benchmark::new("tcp_streams_4_cpu", "s/GB", CPU_PER_GB, HandBuilt),
    Benchmark::new("udp_64", "1/s", "64-octet UDP messages received per second, one sender", HandBuilt)
        .reaching(AtLeast(1.6)),
    Benchmark::new("udp_64_cpu", "s/M", CPU_PER_MILLION, HandBuilt),
    Benchmark::new("rtt", "us", "round trip of a 64-octet UDP message, both ends on one core: median", HandBuilt)
        .reaching(AtMost(0.75)),
    Benchmark::new("rtt_veth", "us", "the same", Veth).reaching(AtMost(1.2)),
    Benchmark::new("rtt_cpu", "s/M", CPU_PER_MILLION, HandBuilt),
    Benchmark::new("tcp_connect_rate", "1/s", "TCP connections made and closed per second, one by one", HandBuilt),
    Benchmark::new("tcp_connect_rate_cpu", "s/M", CPU_PER_MILLION, HandBuilt),
    Benchmark::new("udp_64_unfiltered", "1/s", "as udp_64", Unfiltered),
    Benchmark::new("rtt_unfiltered", "us", "as rtt", Unfiltered),
    Benchmark::new(
        "attach_p50",
        "ms",
        "attach, request sent to final answer `success`, applied on two hosts with a port each: median",
        Nothing,
    ),
    Benchmark::new("attach_p99", "ms", "the same, 99th percentile", Nothing).reaching(AtMost(25.0)),
    Benchmark::new("attach_p99_100", "ms", "the same with 100 ports on each host", Nothing).reaching(AtMost(25.0)),
    Benchmark::new("attach_p99_1000", "ms", "the same with 1,000 ports on each host", Nothing).reaching(AtMost(25.0)),
    Benchmark::new(
        "move_blackhole_ms",
        "ms",
        "an instance moves to a host where its namespace is ready: time without answers for a third host, 99th percentile",
        Nothing,
    )
    .reaching(AtMost(100.0)),
    Benchmark::new("move_blackhole_p50", "ms", "the same, median", Nothing),
    Benchmark::new(
        "move_follow_ms",
        "ms",
        "move: request sent to first frame that a third host sends to the new one, 99th percentile",
        Nothing,
    )
    .reaching(AtMost(100.0)),
    Benchmark::new(
        "cni_add_ms",
        "ms",
        "`privnet cni` ADD, started to ended, for a new network namespace; applied on two hosts: 99th percentile",
        Other("a script of `ip` that plugs one into a bridge of its host"),
    ),
    Benchmark::new("cni_add_p50", "ms", "the same, median", Other("the same script")),
    Benchmark::new(
        "ports_1000_agent_rss",
        "MiB",
        "resident memory of an agent with 1,000 ports on 200 networks",
        Nothing,
    )
    .reaching(AtMost(64.0)),
    Benchmark::new("ports_1000_restart_s", "s", "that agent killed and started: until all of it is verified", Nothing)
        .reaching(AtMost(1.0)),
    Benchmark::new(
        "dhcp_storm_1000_s",
        "s",
        "1,000 instances of one host ask for their leases at once: first DISCOVER to last ACK",
        Nothing,
    ),
    Benchmark::new(
        "dhcp_exchanges_per_second",
        "1/s",
        "DHCP exchanges of four messages per second on one host, 32 clients at a time",
        Nothing,
    ),
    Benchmark::new("dhcp_p99_ms", "ms", "what one of these takes, 99th percentile", Nothing),
    Benchmark::new("broadcast_fanout_2", "us", "CPU of a broadcast per receiver, 2 ports on one host", Other(BRIDGE)),
    Benchmark::new("broadcast_fanout_100", "us", "the same, 100 ports", Other(BRIDGE)),
    Benchmark::new("broadcast_fanout_1000", "us", "the same, 1,000 ports", Other(BRIDGE)),
    Benchmark::new(
        "restart_lost_pings",
        "pings",
        "lost of 27,950 at 1 ms while agents and server die and return",
        Nothing,
    )
    .reaching(AtMost(0.0)),
    Benchmark::new("upgrade_lost_pings", "pings", "lost of 27,950 at 1 ms while agents are upgraded", Nothing)
        .reaching(AtMost(0.0)),
    Benchmark::new(
        "create_per_second",
        "1/s",
        "networks created per second over HTTP, durable, 32 clients",
        Other("fdatasync calls per second of the same disk"),
    )
    .reaching(AtLeast(1.5)),
    Benchmark::new(
        "signed_request_overhead",
        "1/s",
        "signed requests for a network answered per second, 32 clients",
        Other("unsigned ones, by a server without authentication"),
    )
    .reaching(AtLeast(0.8)),
    Benchmark::new(
        "foreign_id_timing",
        "us",
        "median wait for the refusal of a network that another organization has, one client",
        Other("of a network that nobody has"),
    )
    .reaching(AtMost(1.05)),
    Benchmark::new(
        "clients_1000",
        "1/s",
        "answers per second to 1,000 clients who create networks and read one by turns",
        Other("32 clients"),
    )
    .reaching(AtLeast(0.9)),
    Benchmark::new(
        "clients_1000_p99",
        "ms",
        "what they wait for an answer, with the machine to themselves and their server: 99th percentile",
        Nothing,
    ),
    Benchmark::new("clients_1000_errors", "errors", "answers to them that are no success", Nothing)
        .reaching(AtMost(0.0)),
    Benchmark::new(
        "create_at_100k",
        "1/s",
        "the same with 100,000 networks and 200,000 ports present",
        Other("a server with none"),
    )
    .reaching(AtLeast(0.9)),
    Benchmark::new(
        "list_100k",
        "ms",
        "the list of 100,000 networks with their leases, request sent to last octet read",
        Other("writing the same octets from memory"),
    )
    .reaching(AtMost(1.5)),
    Benchmark::new(
        "server_rss_100k",
        "MiB",
        "resident memory of the server with 100,000 networks and 200,000 ports",
        Nothing,
    )
    .reaching(AtMost(512.0)),
];

/// The benchmark of this name.
///
/// # Panics
/// There is none.
pub(crate) fn benchmark(name: &str) -> &'static Benchmark {
    find(name).unwrap_or_else(|| panic!("no benchmark {name}"))
}

/// The benchmark of this name, if there is one.
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
