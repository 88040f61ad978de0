//! What privnet's data plane makes of traffic, held against networks built by hand.

use anyhow::{Context, Result, ensure};
use privnet_lab::Lab;
use serde_json::json;

use crate::ports::configure;
use crate::reference::Reference;
use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::Pairs;
use crate::traffic::{End, Flow, round_trip, tcp_connects_per_second, tcp_stream, tcp_streams_4, udp_per_second};
use crate::wire::two_wired_hosts;

/// What is measured here.
pub(crate) static STEPS: [Step; 5] = [
    Step { what: "one TCP stream", names: &["tcp_stream", "tcp_stream_cpu"], seconds: 40 },
    Step { what: "four TCP streams", names: &["tcp_streams_4", "tcp_streams_4_cpu"], seconds: 40 },
    Step { what: "small UDP messages", names: &["udp_64", "udp_64_cpu", "udp_64_unfiltered"], seconds: 55 },
    Step { what: "round trips", names: &["rtt", "rtt_cpu", "rtt_veth", "rtt_unfiltered"], seconds: 25 },
    Step { what: "TCP connections", names: &["tcp_connect_rate", "tcp_connect_rate_cpu"], seconds: 40 },
];

/// Measures the benchmarks of traffic.
pub(crate) fn measure(session: &mut Session) -> Result<()> {
    let bench = Bench::build()?;
    let [stream, streams, messages, round_trips, connections] = &STEPS;
    session.measure(stream, || Ok(of_three("tcp_stream", &bench.runs(tcp_stream)?)))?;
    session.measure(streams, || Ok(of_three("tcp_streams_4", &bench.runs(tcp_streams_4)?)))?;
    session.measure(messages, || Ok(of_four("udp_64", &bench.runs_with_unfiltered(udp_per_second)?)))?;
    session.measure(round_trips, || {
        let runs = bench.runs_with_unfiltered(round_trip)?;
        let [ours, _, veth, _] = &runs;
        let mut measured = of_four("rtt", &runs);
        measured.push(Measurement::of_pairs("rtt_veth", &Pairs { ours: values(ours), reference: values(veth) }));
        Ok(measured)
    })?;
    session.measure(connections, || Ok(of_three("tcp_connect_rate", &bench.runs(tcp_connects_per_second)?)))
}

/// Some traffic from the first end to the second.
type Flowing = fn(&[End; 2]) -> Result<Flow>;

/// Ours and the references, side by side.
struct Bench {
    ours: [End; 2],
    reference: Reference,
    _lab: Lab,
}

impl Bench {
    fn build() -> Result<Self> {
        let mut lab = two_wired_hosts()?;
        lab.start_server()?;
        lab.start_agent(1)?;
        lab.start_agent(2)?;
        lab.wait_for_agents()?;
        let ours = privnet_ends(&mut lab)?;
        let reference = Reference::build()?;
        for ends in [&ours, &reference.bridge_vxlan, &reference.veth] {
            ensure!(ends[0].namespace.reaches(ends[1].address)?, "{} is not reached", ends[1].address);
        }
        Ok(Self { ours, reference, _lab: lab })
    }

    /// The runs over ours, the overlay built by hand, and the veth pair.
    fn runs(&self, flow: Flowing) -> Result<[Vec<Flow>; 3]> {
        in_turn([&mut || self.over_ours(flow), &mut || self.over_hand_built(flow), &mut || self.over_veth(flow)])
    }

    /// As [`runs`](Self::runs), and over the overlay built by hand a second time, past the packet filter,
    /// which streams feel little of.
    fn runs_with_unfiltered(&self, flow: Flowing) -> Result<[Vec<Flow>; 4]> {
        let over_unfiltered = || {
            self.reference.set_packet_filter(false)?;
            let flowed = self.over_hand_built(flow);
            self.reference.set_packet_filter(true)?;
            flowed
        };
        in_turn([
            &mut || self.over_ours(flow),
            &mut || self.over_hand_built(flow),
            &mut || self.over_veth(flow),
            &mut || over_unfiltered(),
        ])
    }

    fn over_ours(&self, flow: Flowing) -> Result<Flow> {
        flow(&self.ours).context("over privnet")
    }

    fn over_hand_built(&self, flow: Flowing) -> Result<Flow> {
        flow(&self.reference.bridge_vxlan).context("over the overlay built by hand")
    }

    fn over_veth(&self, flow: Flowing) -> Result<Flow> {
        flow(&self.reference.veth).context("over the veth pair")
    }
}

/// What the runs of ours, of the overlay built by hand and of the veth pair come to, and their CPU time.
fn of_three(name: &str, runs: &[Vec<Flow>; 3]) -> Vec<Measurement> {
    let measured = |name: &str, number: fn(&Flow) -> f64| {
        let [ours, hand_built, veth] = runs.each_ref().map(|flows| flows.iter().map(number).collect::<Vec<_>>());
        Measurement::of_traffic(name, &ours, &hand_built, &veth)
    };
    vec![measured(name, |flow| flow.value), measured(&format!("{name}_cpu"), |flow| flow.cpu)]
}

/// As [`of_three`], and what ours comes to against the overlay past the packet filter.
fn of_four(name: &str, [ours, hand_built, veth, unfiltered]: &[Vec<Flow>; 4]) -> Vec<Measurement> {
    let mut measured = of_three(name, &[ours, hand_built, veth].map(Clone::clone));
    let name = format!("{name}_unfiltered");
    measured.push(Measurement::of_traffic(&name, &values(ours), &values(unfiltered), &values(veth)));
    measured
}

fn values(flows: &[Flow]) -> Vec<f64> {
    flows.iter().map(|flow| flow.value).collect()
}

/// Two instances on two hosts in a managed network, whose ports have all filters there are.
fn privnet_ends(lab: &mut Lab) -> Result<[End; 2]> {
    let api = lab.api().clone();
    let network = api.create_network(&json!({
        "name": "traffic",
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.99", "netmask": "255.255.255.0",
    }))?;
    let (one, two) = (lab.add_instance("one", 1)?, lab.add_instance("two", 2)?);
    let ends = [one, two].map(|instance| {
        api.attach(&network, &instance.id, None)?;
        configure(lab, &network, &instance)
    });
    let [one, two] = ends;
    Ok([one?, two?])
}
