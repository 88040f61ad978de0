//! What is not wanted any more, and when the server is told that nothing of it is left.

use std::sync::Arc;

use privnet_datapath::Simulated;
use privnet_sync::FromServer;
use tokio::sync::mpsc;

use super::host::{Host, identity, read_all};
use super::server::in_time;
use super::values::{applied, local, mac, network, remote, remove, removed, repaired, vni, wanted};
use crate::agent::Agent;
use crate::client::Event;
use crate::copies::{ChangeNumber, Copies, Survives};

#[tokio::test]
async fn a_removed_network_is_confirmed_when_nothing_is_left() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1), remote(2)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    connection.say(remove(1)).await;
    assert_eq!(connection.hear().await, removed(1));
    host.carries(&[]);
    assert!(!host.copy_of(1).exists());
    connection.say(remove(1)).await;
    assert_eq!(connection.hear().await, removed(1), "it is gone already");
}

#[tokio::test]
async fn a_removal_is_not_confirmed_while_a_port_cannot_be_unplugged() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    connection.hear().await;
    host.kernel.refuse("- port 0a:00:00:00:00:01");
    connection.say(remove(1)).await;
    connection.say(FromServer::Full(network(2, 1, &[]))).await;
    assert_eq!(connection.hear().await, applied(2, 1));
    connection.nothing_more_to_hear().await;
    host.kernel.heal_all();
    assert_eq!(connection.hear().await, removed(1));
}

#[tokio::test]
async fn a_removal_is_confirmed_after_a_repair_that_nobody_was_told_of() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (copies, found, mut saved) = Copies::open(dir.path()).expect("state folder");
    let kernel = Simulated::new();
    let mut agent = Agent::new(identity(), kernel.clone(), copies, found, Arc::default());
    agent.on_event(Event::Message(FromServer::Full(network(1, 1, &[])))).await;
    agent.pass().await;
    kernel.by_hand(vni(1), |network| network.settings = None);
    read_all(&mut agent).await;
    agent.pass().await;
    let (outbox, _server) = mpsc::channel(1);
    agent.on_event(Event::Connected(outbox)).await;
    agent.on_event(Event::Message(remove(1))).await;
    agent.pass().await;
    let mut is_durable = false;
    while !is_durable {
        let step = saved.recv().await.expect("the writer goes on");
        is_durable = step.change == ChangeNumber(2) && matches!(step.outcome, Ok(Survives::PowerCut));
        agent.on_saved(step);
    }
    read_all(&mut agent).await;
    assert_eq!(agent.tell(), Some(repaired(1, &["~ network vni 1 unmanaged mtu 1450"])));
    assert_eq!(agent.tell(), Some(removed(1)));
    assert_eq!(agent.tell(), None);
}

#[tokio::test]
async fn what_nobody_knows_is_removed_once_the_server_has_sent_all() {
    let mut host = Host::new();
    host.kernel.by_hand(vni(7), |held| *held = wanted(&network(7, 1, &[local(7)])));
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    connection.say(remove(7)).await;
    host.carries(&[&network(1, 1, &[local(1)]), &network(7, 1, &[local(7)])]);
    connection.say(FromServer::Current).await;
    assert_eq!(connection.hear().await, removed(7), "only now it is certain");
    host.carries(&[&network(1, 1, &[local(1)])]);
}

#[tokio::test]
async fn a_stray_device_is_removed() {
    let mut host = Host::new();
    let (_connection, _) = host.start().await;
    host.kernel.add_stray(mac(9));
    host.link_event();
    in_time(host.kernel.until(|held| held.strays.is_empty())).await;
}
