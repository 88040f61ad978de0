//! An agent that finds another version's programs in force.

use std::sync::Arc;

use privnet_plan::{NetOp, PortStage};
use privnet_sync::FromServer;
use tokio::sync::mpsc;

use super::host::{Host, identity, read_all};
use super::server::in_time;
use super::values::{applied, delta, local, mac, network, remote, vni, wanted};
use crate::agent::Agent;
use crate::client::Event;
use crate::copies::Copies;

#[tokio::test]
async fn another_version_goes_on_until_every_network_has_what_it_needs() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    let states = [network(1, 1, &[local(1), remote(2)]), network(2, 1, &[local(3)])];
    for state in &states {
        connection.say(FromServer::Full(state.clone())).await;
        connection.hear().await;
    }
    connection.current().await;
    host.stop().await;
    host.kernel.outdate();
    host.kernel.take_applied();
    let (copies, found, _saved) = Copies::open(&host.dir.path().join("state")).expect("state folder");
    let mut agent = Agent::new(identity(), host.kernel.clone(), copies, found, Arc::default());
    let (outbox, _server) = mpsc::channel(1);
    agent.on_event(Event::Connected(outbox)).await;
    read_all(&mut agent).await;
    for _ in &states {
        assert!(host.kernel.held().is_outdated && agent.outbox().is_none(), "nothing to acknowledge yet");
        agent.pass().await;
    }
    assert!(!host.kernel.held().is_outdated && agent.outbox().is_some());
    host.carries(&[&states[0], &states[1]]);
    let interrupts = |op: &NetOp| matches!(op, NetOp::Close { .. } | NetOp::Unplug { .. } | NetOp::Plug { .. });
    assert!(!host.kernel.take_applied().iter().any(interrupts));
}

#[tokio::test]
async fn an_upgrade_while_the_kernel_is_read_is_the_last() {
    let host = Host::new();
    let state = network(1, 1, &[local(1)]);
    host.kernel.by_hand(state.vni, |held| *held = wanted(&state));
    host.kernel.outdate();
    let (copies, found, _saved) = Copies::open(&host.dir.path().join("state")).expect("state folder");
    let mut agent = Agent::new(identity(), host.kernel.clone(), copies, found, Arc::default());
    let (outbox, _server) = mpsc::channel(1);
    agent.on_event(Event::Connected(outbox)).await;
    read_all(&mut agent).await;
    agent.on_event(Event::Message(FromServer::Full(state))).await;
    agent.on_event(Event::Message(FromServer::Current)).await;
    assert!(!agent.verify().await.expect("begun"));
    agent.pass().await;
    assert!(!host.kernel.held().is_outdated);
    agent.on_event(Event::Message(FromServer::Delta(delta(1, 1, 2, &[remote(2)], &[])))).await;
    assert!(agent.verify().await.expect("read"));
    assert!(agent.outbox().is_some(), "nothing of another version has a say any more");
}

#[tokio::test]
async fn another_version_goes_on_until_the_server_has_sent_all_that_is_lacking() {
    let mut host = Host::new();
    let mine = network(1, 1, &[local(1)]);
    for state in [&mine, &network(7, 1, &[local(7)])] {
        host.kernel.by_hand(state.vni, |held| *held = wanted(state));
    }
    host.kernel.outdate();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(mine.clone())).await;
    in_time(host.kernel.until(|held| held.networks.get(&vni(1)) == Some(&wanted(&mine)))).await;
    let held = host.kernel.held();
    assert!(held.is_outdated && held.networks[&vni(7)].ports[&mac(7)].stage == PortStage::Outdated);
    connection.say(FromServer::Current).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    host.carries(&[&mine]);
    assert!(!host.kernel.held().is_outdated);
}
