use std::collections::BTreeMap;
use std::path::PathBuf;

use privnet_agent::{CountedPort, CountersError, HostCounters, PortCounters, read_counters};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::output::{Output, table};
use crate::privilege;
use crate::settings::Settings;

const HEADER: [&str; 8] = ["VNI", "INSTANCE", "DEVICE", "MAC", "SENT", "RECEIVED", "ANSWERED", "DROPPED"];

/// Shows what this host's agent's programs have counted.
pub(super) fn run(settings: &Settings) -> Result<(), Failure> {
    let output = Output::of(settings)?;
    let pin_dir: PathBuf = settings.require("bpf-dir")?;
    privilege::require("privnet counters")?;
    let counters = read_counters(&pin_dir).map_err(|error| match error {
        CountersError::NoAgent(_) => Failure::new(Exit::NotFound, error),
        CountersError::OtherVersion(_) => Failure::new(Exit::Conflict, error),
        CountersError::Kernel(_) => Failure::new(Exit::Failure, error),
    })?;
    output.print(&as_json(&counters), || describe(&counters))
}

fn as_json(HostCounters { ports, overlay }: &HostCounters) -> Value {
    json!({
        "ports": ports.iter().map(port_as_json).collect::<Vec<_>>(),
        "overlay": {"drops": overlay.drops},
    })
}

fn port_as_json(CountedPort { vni, device, mac, instance, counters }: &CountedPort) -> Value {
    json!({
        "vni": vni,
        "instance-id": instance.map(|instance| instance.to_string()),
        "device": device,
        "mac-address": mac.to_string(),
        "sent-frames": counters.sent_frames,
        "sent-octets": counters.sent_octets,
        "received-frames": counters.received_frames,
        "received-octets": counters.received_octets,
        "dhcp-requests": counters.dhcp_requests,
        "dhcp-declines": counters.dhcp_declines,
        "arp-replies": counters.arp_replies,
        "icmp-replies": counters.icmp_replies,
        "drops": counters.drops,
    })
}

fn describe(HostCounters { ports, overlay }: &HostCounters) -> String {
    let overlay = ["", "", "overlay", "", "", "", "", &drops(&overlay.drops)].map(str::to_owned);
    table(HEADER, ports.iter().map(port_row).chain([overlay]))
}

fn port_row(CountedPort { vni, device, mac, instance, counters }: &CountedPort) -> [String; 8] {
    [
        vni.to_string(),
        instance.map(|instance| instance.to_string()).unwrap_or_default(),
        device.clone(),
        mac.to_string(),
        traffic(counters.sent_frames, counters.sent_octets),
        traffic(counters.received_frames, counters.received_octets),
        answered(counters),
        drops(&counters.drops),
    ]
}

fn traffic(frames: u64, octets: u64) -> String {
    format!("{frames} ({octets} B)")
}

fn answered(counters: &PortCounters) -> String {
    let kinds = [
        ("dhcp", counters.dhcp_requests),
        ("dhcp-declined", counters.dhcp_declines),
        ("arp", counters.arp_replies),
        ("icmp", counters.icmp_replies),
    ];
    listed(kinds.into_iter().filter(|(_, count)| *count > 0))
}

fn drops(drops: &BTreeMap<&'static str, u64>) -> String {
    listed(drops.iter().map(|(reason, frames)| (*reason, *frames)))
}

fn listed(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    counts.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}
