//! What is larger than a packet: fragments and streams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use privnet_lab::Lab;

use super::ipv6::link_local;
use super::on_segments;
use super::sockets::{index_of, next, udp};
use crate::support::{Guest, eventually};

/// The largest datagrams that people send are hardly larger.
const DATAGRAM_OCTETS: usize = 60_000;
/// More than twice of what the sockets of four streams may hold, 4 MiB at the one end and 6 at the other.
const STREAM_OCTETS: u64 = 128 << 20;

#[test]
fn fragments_come_together_again() {
    on_segments(|_, segment| {
        let (a, others) = (&segment.a, [&segment.b, &segment.c]);
        link_local(a)?;
        for other in others {
            let by_ipv6 = format!("{}%{}", link_local(other)?, a.device);
            for to in [other.address.to_string(), by_ipv6] {
                let pinged = a.instance.namespace.run("ping", &["-n", "-c", "1", "-W", "5", "-s", "8000", &to]);
                pinged.with_context(|| format!("8000 octets to {to}"))?;
            }
            for (from, to) in [(a, other), (other, a)] {
                datagram_crosses(from, to, Ipv4Addr::UNSPECIFIED, to.address.into())?;
                datagram_crosses(from, to, Ipv6Addr::UNSPECIFIED, link_local(to)?.into())?;
            }
        }
        Ok(())
    });
}

fn datagram_crosses(from: &Guest, to: &Guest, any: impl Into<IpAddr>, address: IpAddr) -> Result<()> {
    let any = any.into();
    let sent: Vec<u8> = (0..DATAGRAM_OCTETS).map(|number| (number % 251) as u8).collect();
    let receiver = udp(to, any, 0)?;
    let mut destination = receiver.local_addr()?;
    destination.set_ip(address);
    if let SocketAddr::V6(destination) = &mut destination {
        destination.set_scope_id(index_of(from)?);
    }
    udp(from, any, 0)?.send_to(&sent, destination)?;
    let received = next(&receiver).with_context(|| format!("{DATAGRAM_OCTETS} octets to {address}"))?;
    ensure!(received == sent, "what comes to {address} is not what was sent");
    Ok(())
}

#[test]
fn streams_flow_either_way() {
    on_segments(|lab, segment| {
        for other in [&segment.b, &segment.c] {
            stream_flows(lab, &segment.a, other, &[])?;
            stream_flows(lab, &segment.a, other, &["-R"])?;
            stream_flows(lab, &segment.a, other, &["-P", "4"])?;
        }
        Ok(())
    });
}

/// By iperf3, with these words more.
fn stream_flows(lab: &mut Lab, from: &Guest, to: &Guest, more: &[&str]) -> Result<()> {
    let mut command = to.instance.namespace.command("iperf3");
    let server = lab.daemon("iperf3", command.args(["-s", "-1", "--forceflush"]))?;
    eventually("iperf3 listens", || Ok(server.log().contains("Server listening")))?;
    let (address, octets) = (to.address.to_string(), STREAM_OCTETS.to_string());
    let words = [&["-J", "-c", &address, "-n", &octets][..], more].concat();
    let report = from.instance.namespace.run("iperf3", &words)?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let received = report["end"]["sum_received"]["bytes"].as_u64().with_context(|| report.to_string())?;
    // The receiver has counted what had come when the sender was done; the rest was in sockets.
    ensure!(received >= STREAM_OCTETS / 2, "{received} octets of {STREAM_OCTETS} have come, {more:?}");
    Ok(())
}
