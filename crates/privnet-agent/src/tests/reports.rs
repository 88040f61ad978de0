//! Who the agent is to its server, what it tells beside acknowledgements, and what DHCP answers with.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use privnet_model::{NetworkDelta, NetworkState};
use privnet_plan::wanted_kernel_network;
use privnet_sync::{FromAgent, FromServer};
use tonic::Status;

use super::host::{Host, hear_all};
use super::server::in_time;
use super::values::{MTU, applied, delta, dhcp, id, local, mac, network, remote, remove, vni};
use crate::declines::{DeclineReport, Declined};

#[tokio::test]
async fn a_declined_address_is_told_to_the_server() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    let (network, port, address, times) = (id(1), mac(1), Ipv4Addr::new(10, 0, 0, 1), 3);
    let report = DeclineReport { declined: Declined { network, port, address }, times };
    host.agent.as_ref().expect("runs").reports.try_send(report).expect("room");
    assert_eq!(connection.hear().await, FromAgent::AddressDeclined { network, port, address, times });
}

#[tokio::test]
async fn a_refused_agent_tries_again() {
    let mut host = Host::new();
    host.start_alone();
    let mut refused = host.server.accept().await;
    refused.hello().await;
    tokio::time::pause();
    refused.refuse(Status::already_exists("host h1 is connected already")).await;
    let mut connection = host.server.accept().await;
    tokio::time::resume();
    let hello = connection.hello().await;
    assert_eq!(hello.host.as_str(), "h1");
}

#[tokio::test]
async fn an_agent_says_that_it_is_still_there_and_is_the_same_run_on_every_connection() {
    let mut host = Host::new();
    let (mut connection, hello) = host.start().await;
    connection.say(FromServer::Rival { who: "at 192.0.2.9".into(), serial: 7 }).await;
    assert_eq!(connection.hear().await, FromAgent::Present { serial: 7 });
    drop(connection);
    let (_connection, again) = host.server.welcome().await;
    assert!(hello.run.is_some());
    assert_eq!(again.run, hello.run);
}

#[tokio::test]
async fn dhcp_knows_the_leases_of_this_hosts_ports_only() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    let state = NetworkState { dhcp: Some(dhcp()), ..network(1, 1, &[local(1), remote(2)]) };
    connection.say(FromServer::Full(state)).await;
    connection.hear().await;
    let lease = host.leases.of_port(mac(1)).expect("a lease");
    assert_eq!((lease.vni, lease.address), (vni(1), Some(Ipv4Addr::new(10, 0, 0, 1))));
    assert_eq!(host.leases.of_port(mac(2)), None);
    connection.say(remove(1)).await;
    connection.hear().await;
    assert_eq!(host.leases.of_port(mac(1)), None);
}

#[tokio::test]
async fn another_mtu_of_the_underlay_is_followed_and_told_and_no_port_is_plugged_in_anew() {
    let mut host = Host::new();
    host.kernel.set_underlay_mtu(1500);
    let (mut connection, _) = host.start().await;
    let mut state = NetworkState { dhcp: Some(dhcp()), ..network(1, 1, &[local(1)]) };
    connection.say(FromServer::Full(state.clone())).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    host.kernel.take_applied();

    // Less is a fact; more has to wait for the other hosts.
    for (underlay, overlay) in [(1400, 1350), (9000, MTU)] {
        host.kernel.set_underlay_mtu(underlay);
        host.link_event();
        assert_eq!(connection.hear().await, FromAgent::UnderlayMtu { bytes: underlay });
        let wanted: BTreeMap<_, _> = [(vni(1), wanted_kernel_network(&state, overlay))].into();
        in_time(host.kernel.until(|held| held.networks == wanted)).await;
        assert_eq!(host.leases.of_port(mac(1)).expect("a lease").mtu_bytes, overlay);
        let applied: Vec<_> = host.kernel.take_applied().iter().map(ToString::to_string).collect();
        let expected =
            [format!("~ network vni 1 managed mtu {overlay}"), format!("~ port vni 1 0a:00:00:00:00:01 mtu {overlay}")];
        assert_eq!(applied, expected);
    }
    let grown = NetworkDelta { mtu_bytes: Some(8950), dhcp: state.dhcp.clone(), ..delta(1, 1, 2, &[], &[]) };
    state.apply(grown.clone()).expect("builds on it");
    connection.say(FromServer::Delta(grown)).await;
    assert_eq!(connection.hear().await, applied(1, 2));
    assert_eq!(host.kernel.held().networks, [(vni(1), wanted_kernel_network(&state, 8950))].into());

    // A device that is away says nothing; who connects anew says what was last.
    host.kernel.set_underlay_mtu(None);
    host.link_event();
    drop(connection);
    let (mut connection, hello) = host.server.welcome().await;
    assert_eq!(hello.facts.underlay_mtu_bytes, 9000);
    hear_all(&mut connection, &[applied(1, 2)]).await;
    connection.nothing_more_to_hear().await;
}
