//! DHCP for this host's ports: requests come from the data plane as whole frames, each answer goes to the
//! one port that asked. It runs beside the loop and shares the leases alone with it, so that a client never
//! waits for a pass, and goes on with the own copy when the server is away.

use std::error::Error;
use std::io;
use std::sync::Arc;

use privnet_datapath::{DeclineCounter, DhcpRequest, DhcpRequests, FrameSender};
use privnet_dhcp::{PortFacts, Reply, Silence, answer};
use privnet_model::{MacAddr, Vni};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::declines::{DeclineReport, Declined, Declines};
use crate::leases::{Leases, PortLease};

/// Why a request gets no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoAnswer {
    #[error("{0} is no port of this host in a managed network")]
    UnknownPort(MacAddr),
    #[error("port {port} asks from VNI {from}, and its lease is in VNI {lease}")]
    OtherNetwork { port: MacAddr, from: Vni, lease: Vni },
    #[error("the client declines the address of its port, which it found in use")]
    Declined(Declined),
    #[error(transparent)]
    Silence(#[from] Silence),
}

/// Answers until requests cannot be read any more, and returns why. Addresses that are found in use are counted, and
/// reported to `reports`, too, as far as there is room.
pub(crate) async fn serve(
    mut requests: DhcpRequests,
    sender: FrameSender,
    leases: Arc<Leases>,
    mut counter: DeclineCounter,
    reports: mpsc::Sender<DeclineReport>,
) -> io::Error {
    let mut declines = Declines::default();
    loop {
        let request = match requests.next().await {
            Ok(request) => request,
            Err(error) => return error,
        };
        let DhcpRequest { vni, port, .. } = request;
        match answer_to(&request, &leases) {
            Ok(Reply { frame, kind }) => match sender.send(port, &frame) {
                Ok(()) => debug!(%vni, %port, ?kind, "DHCP request answered"),
                Err(error) => warn!(%vni, %port, error = &error as &dyn Error, "cannot send a DHCP answer"),
            },
            Err(NoAnswer::Declined(declined)) => {
                if let Err(error) = counter.count(port) {
                    warn!(%vni, %port, error = &error as &dyn Error, "cannot count a declined address");
                }
                if let Some(report) = declines.count(declined, Instant::now()) {
                    warn!(%vni, %port, address = %declined.address, times = report.times,
                        "an instance finds its address in use by another machine of its network");
                    let _ = reports.try_send(report);
                }
            }
            Err(reason) => debug!(%vni, %port, reason = &reason as &dyn Error, "DHCP request not answered"),
        }
    }
}

fn answer_to(request: &DhcpRequest, leases: &Leases) -> Result<Reply, NoAnswer> {
    let DhcpRequest { vni, port, ref frame } = *request;
    let lease = leases.of_port(port).ok_or(NoAnswer::UnknownPort(port))?;
    if lease.vni != vni {
        return Err(NoAnswer::OtherNetwork { port, from: vni, lease: lease.vni });
    }
    let PortLease { network, ref instance_name, address, mtu_bytes, ref settings, .. } = lease;
    let instance_name = instance_name.as_str();
    let facts = PortFacts { mac: port, address, instance_name, settings, overlay_mtu_bytes: mtu_bytes };
    answer(frame, &facts).map_err(|silence| match silence {
        Silence::Declined(declined) if Some(declined) == address => {
            NoAnswer::Declined(Declined { network, port, address: declined })
        }
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use privnet_dhcp::ReplyKind;
    use privnet_model::{
        AddressRange, DeviceName, DhcpOptions, DhcpSettings, Generation, InstanceId, LocalPort, Location, Member, Name,
        Netns, NetworkId, NetworkState, Placement, Power,
    };

    use super::*;

    const PORT: MacAddr = MacAddr::for_port([0, 0, 0, 0, 1]);
    const OTHER_PORT: MacAddr = MacAddr::for_port([0, 0, 0, 0, 2]);
    const MTU: u32 = 1450;

    #[test]
    fn a_port_is_offered_its_own_lease() {
        let reply = ask(PORT, vni(1), &discover(PORT)).expect("answered");
        assert_eq!((reply.kind, yiaddr(&reply)), (ReplyKind::Offer, address_of(PORT)));
        let reply = ask(OTHER_PORT, vni(1), &discover(OTHER_PORT)).expect("answered");
        assert_eq!((reply.kind, yiaddr(&reply)), (ReplyKind::Offer, address_of(OTHER_PORT)));
    }

    /// Invariant 9.
    #[test]
    fn a_port_gets_nothing_of_another_ones_lease() {
        assert!(matches!(ask(PORT, vni(1), &discover(OTHER_PORT)), Err(NoAnswer::Silence(Silence::Stranger { .. }))));
    }

    #[test]
    fn a_port_of_another_host_gets_no_answer() {
        let elsewhere = MacAddr::for_port([0, 0, 0, 0, 3]);
        assert_eq!(ask(elsewhere, vni(1), &discover(elsewhere)), Err(NoAnswer::UnknownPort(elsewhere)));
    }

    #[test]
    fn a_request_from_another_network_than_the_leases_gets_no_answer() {
        let refusal = NoAnswer::OtherNetwork { port: PORT, from: vni(2), lease: vni(1) };
        assert_eq!(ask(PORT, vni(2), &discover(PORT)), Err(refusal));
    }

    #[test]
    fn a_port_of_a_network_that_is_gone_gets_no_answer() {
        let leases = leases();
        leases.remove(network());
        let request = DhcpRequest { vni: vni(1), port: PORT, frame: discover(PORT) };
        assert_eq!(answer_to(&request, &leases), Err(NoAnswer::UnknownPort(PORT)));
    }

    #[test]
    fn a_port_declines_its_own_address_and_no_other() {
        let decline = |address: Ipv4Addr| [&[50, 4][..], &address.octets()].concat();
        let own = address_of(PORT);
        let refusal = NoAnswer::Declined(Declined { network: network(), port: PORT, address: own });
        assert_eq!(ask(PORT, vni(1), &message(PORT, DECLINE, &decline(own))), Err(refusal));
        let others = address_of(OTHER_PORT);
        let refusal = NoAnswer::Silence(Silence::Declined(others));
        assert_eq!(ask(PORT, vni(1), &message(PORT, DECLINE, &decline(others))), Err(refusal));
    }

    fn ask(port: MacAddr, vni: Vni, frame: &[u8]) -> Result<Reply, NoAnswer> {
        answer_to(&DhcpRequest { vni, port, frame: frame.to_vec() }, &leases())
    }

    /// Two ports here, one elsewhere.
    fn leases() -> Leases {
        let [start, end, netmask] = [[10, 0, 0, 1], [10, 0, 0, 9], [255, 255, 255, 0]].map(Ipv4Addr::from);
        let range = AddressRange::new(start, end, netmask).expect("valid");
        let local = || {
            Location::Local(LocalPort {
                instance: InstanceId::from_bytes([1; 16]),
                instance_name: Name::try_from("web").expect("valid"),
                placement: Placement::Netns(Netns::try_from("web").expect("valid")),
                device: DeviceName::of_port(0),
                power: Power::Running,
                reboots: 0,
                is_configured: false,
            })
        };
        let remote = Location::Remote { vtep: [192, 0, 2, 2].into() };
        let elsewhere = MacAddr::for_port([0, 0, 0, 0, 3]);
        let members = [(PORT, local()), (OTHER_PORT, local()), (elsewhere, remote)];
        let members =
            members.map(|(mac, location)| (mac, Member { mac, address: Some(address_of(mac)), location })).into();
        let leases = Leases::default();
        let state = NetworkState {
            id: network(),
            vni: vni(1),
            generation: Generation(1),
            mtu_bytes: Some(MTU),
            dhcp: Some(DhcpSettings { range, options: DhcpOptions::default() }),
            members,
        };
        leases.set(&state, MTU);
        leases
    }

    fn network() -> NetworkId {
        NetworkId::from_bytes([1; 16])
    }

    fn vni(number: u32) -> Vni {
        Vni::try_from(number).expect("valid")
    }

    fn address_of(port: MacAddr) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, port.octets()[5])
    }

    /// Message types (RFC 2132 §9.6).
    const DISCOVER: u8 = 1;
    const DECLINE: u8 = 4;

    fn discover(client: MacAddr) -> Vec<u8> {
        message(client, DISCOVER, &[])
    }

    /// A message of this type from this client, without a UDP checksum.
    fn message(client: MacAddr, kind: u8, options: &[u8]) -> Vec<u8> {
        let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4];
        message.resize(28, 0);
        message.extend(client.octets());
        message.resize(236, 0);
        message.extend([99, 130, 83, 99, 53, 1, kind]);
        message.extend(options);
        message.push(255);
        let udp_octets = 8 + message.len() as u16;
        let mut header = [&[0x45, 0][..], &(20 + udp_octets).to_be_bytes(), &[0, 1, 0, 0, 64, 17, 0, 0]].concat();
        header.extend([0, 0, 0, 0, 255, 255, 255, 255]);
        let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        let udp = [&[0, 68, 0, 67][..], &udp_octets.to_be_bytes(), &[0, 0]].concat();
        [&[0xff; 6][..], &client.octets(), &[8, 0], &header, &udp, &message].concat()
    }

    fn yiaddr(reply: &Reply) -> Ipv4Addr {
        <[u8; 4]>::try_from(&reply.frame[58..62]).expect("that long").into()
    }
}
