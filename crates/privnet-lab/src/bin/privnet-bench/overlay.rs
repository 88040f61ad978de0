//! What privnet's data plane makes of traffic, held against networks built by hand.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use privnet_lab::{Api, Instance, Lab};
use serde_json::json;

use crate::reference::Reference;
use crate::report::Measurement;
use crate::runs::alternate;
use crate::stats::Pairs;
use crate::traffic::{End, Stream, round_trip, tcp_stream, udp_per_second};
use crate::wire::two_wired_hosts;

/// What is measured here.
pub(crate) const NAMES: [&str; 7] =
    ["tcp_stream", "tcp_stream_cpu", "rtt", "rtt_veth", "udp_64", "rtt_unfiltered", "udp_64_unfiltered"];

/// Measures those of the benchmarks of traffic that are wanted.
pub(crate) fn measure(wants: impl Fn(&str) -> bool) -> Result<Vec<Measurement>> {
    let mut lab = two_wired_hosts()?;
    lab.start_server()?;
    lab.start_agent(1)?;
    lab.start_agent(2)?;
    lab.wait_for_agents()?;
    let ours = privnet_ends(&mut lab)?;
    let reference = Reference::build()?;
    let bridge_vxlan = &reference.bridge_vxlan;
    for ends in [&ours, bridge_vxlan, &reference.veth] {
        ensure!(ends[0].namespace.reaches(ends[1].address)?, "{} is not reached", ends[1].address);
    }
    let mut measured = Vec::new();
    if wants("tcp_stream") || wants("tcp_stream_cpu") {
        let runs = alternate(|| tcp_stream(&ours), || tcp_stream(bridge_vxlan))?;
        let of = |number: fn(&Stream) -> f64| {
            Pairs::of(runs.iter().map(|(ours, reference)| (number(ours), number(reference))))
        };
        measured.push(Measurement::of_pairs("tcp_stream", &of(|stream| stream.gbit_per_second))?);
        measured.push(Measurement::of_pairs("tcp_stream_cpu", &of(|stream| stream.cpu_seconds_per_gb))?);
    }
    let compared = |name: &str, run: fn(&[End; 2]) -> Result<f64>, reference: &[End; 2]| {
        let runs = alternate(|| run(&ours), || run(reference))?;
        Measurement::of_pairs(name, &Pairs::of(runs))
    };
    if wants("rtt") {
        measured.push(compared("rtt", round_trip, bridge_vxlan)?);
    }
    if wants("rtt_veth") {
        measured.push(compared("rtt_veth", round_trip, &reference.veth)?);
    }
    if wants("udp_64") {
        measured.push(compared("udp_64", udp_per_second, bridge_vxlan)?);
    }
    reference.bypass_packet_filter()?;
    if wants("rtt_unfiltered") {
        measured.push(compared("rtt_unfiltered", round_trip, bridge_vxlan)?);
    }
    if wants("udp_64_unfiltered") {
        measured.push(compared("udp_64_unfiltered", udp_per_second, bridge_vxlan)?);
    }
    Ok(measured)
}

/// Two instances on two hosts in a managed network, whose ports have all filters there are.
fn privnet_ends(lab: &mut Lab) -> Result<[End; 2]> {
    let api = lab.api().clone();
    let network = api.create_network(&json!({
        "name": "traffic",
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.99", "netmask": "255.255.255.0",
    }))?;
    let (one, two) = (lab.add_instance("one", 1)?, lab.add_instance("two", 2)?);
    Ok([attach_and_configure(&api, &network, &one)?, attach_and_configure(&api, &network, &two)?])
}

/// Attaches an instance and gives its device the address leased, as its DHCP client would.
pub(crate) fn attach_and_configure(api: &Api, network: &str, instance: &Instance) -> Result<End> {
    let address = api.attach(network, &instance.id, None)?.context("a managed network leases an address")?;
    instance.namespace.ip(&format!("address add {address}/24 dev net0"))?;
    Ok(End { namespace: instance.namespace.clone(), address: address.parse::<Ipv4Addr>()? })
}
