//! What the kernel has otherwise than wanted: by somebody's hand, or because it could not be done yet.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::stream;
use privnet_datapath::Simulated;
use privnet_model::{Generation, Netns, Reason};
use privnet_plan::{FdbTarget, PortStage};
use privnet_sync::{FromAgent, FromServer, PortFailure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::host::{Host, hear_all, identity, read_all};
use super::values::{applied, by_vni, id, local, mac, network, remote, repaired, vni};
use crate::agent::Agent;
use crate::agent::reading::VERIFY_EVERY;
use crate::client::Event;
use crate::copies::Copies;
use crate::follow::{Sources, follow};

#[tokio::test]
async fn what_somebody_removes_by_hand_is_repaired_and_reported() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    let wanted = network(1, 1, &[local(1), remote(2)]);
    connection.say(FromServer::Full(wanted.clone())).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    host.kernel.by_hand(vni(1), |network| {
        network.fdb.insert(mac(2), FdbTarget::Stray);
    });
    host.until_carries(&[&wanted]).await;
    let repair = ["- fdb vni 1 0a:00:00:00:00:02", "+ fdb vni 1 0a:00:00:00:00:02 via 192.0.2.2"];
    assert_eq!(connection.hear().await, repaired(1, &repair));
    host.kernel.by_hand(vni(1), |network| network.ports.clear());
    host.link_event();
    host.until_carries(&[&wanted]).await;
    let FromAgent::Repaired { what, .. } = connection.hear().await else { panic!("not told") };
    assert!(what.contains(&"~ port vni 1 0a:00:00:00:00:01 open".to_owned()), "{what:?}");
}

#[tokio::test]
async fn a_port_that_fails_is_reported_and_holds_up_no_other_and_is_there_when_its_namespace_is() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    host.kernel.fail(mac(1), Netns::try_from("i1").expect("valid"));
    connection.say(FromServer::Full(network(1, 1, &[local(1), local(2)]))).await;
    connection.say(FromServer::Full(network(2, 1, &[local(3)]))).await;
    let failure = PortFailure {
        mac: mac(1),
        reason: Reason::NotFound,
        message: "network namespace i1 does not exist on this host".to_owned(),
    };
    let all_but_one = FromAgent::Applied { network: id(1), generation: Generation(1), failures: vec![failure] };
    hear_all(&mut connection, &[all_but_one, applied(2, 1)]).await;
    let stage = |number| Some(host.kernel.held().networks.get(&vni(1))?.ports.get(&mac(number))?.stage);
    assert_eq!((stage(1), stage(2)), (None, Some(PortStage::Open)));
    host.kernel.heal(mac(1));
    assert_eq!(connection.hear().await, applied(1, 1));
    host.carries(&[&network(1, 1, &[local(1), local(2)]), &network(2, 1, &[local(3)])]);
}

#[tokio::test]
async fn what_changes_while_the_kernel_is_read_is_nobody_elses_doing() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (copies, found, _saved) = Copies::open(dir.path()).expect("state folder");
    let kernel = Simulated::new();
    let mut agent = Agent::new(identity(), kernel.clone(), copies, found, Arc::default());
    for number in [1, 2] {
        agent.on_event(Event::Message(FromServer::Full(network(number, 1, &[local(number)])))).await;
        agent.pass().await;
    }
    agent.on_event(Event::Message(FromServer::Current)).await;
    kernel.by_hand(vni(2), |network| network.fdb.clear());
    kernel.add_stray(local(4).mac);
    assert!(!agent.verify().await.expect("read"), "there is more to read");
    agent.on_event(Event::Message(FromServer::Full(network(1, 2, &[local(1), local(3)])))).await;
    agent.on_event(Event::Message(FromServer::Full(network(3, 1, &[local(5)])))).await;
    while agent.has_passes() {
        agent.pass().await;
    }
    kernel.take_applied();
    assert!(agent.verify().await.expect("read"));
    while agent.has_passes() {
        agent.pass().await;
    }
    let repairs = kernel.take_applied();
    assert!(!repairs.is_empty() && repairs.iter().all(|op| op.to_string().contains("vni 2")), "{repairs:?}");
    read_all(&mut agent).await;
    let repairs: Vec<_> = kernel.take_applied().iter().map(ToString::to_string).collect();
    assert_eq!(repairs, ["- port 0a:00:00:00:00:04"], "now it is certain that it is a stray");
}

/// Link events that never end, until what somebody has changed is repaired.
#[tokio::test]
async fn the_kernel_is_read_however_much_else_there_is_to_do() {
    const EVENTS_MAX: u32 = 5_000_000;
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    connection.current().await;
    host.stop().await;
    let (copies, found, saved) = Copies::open(&host.dir.path().join("state")).expect("state folder");
    let agent = Agent::new(identity(), host.kernel.clone(), copies, found, Arc::default());
    let (_events, server) = mpsc::channel(1);
    let (repaired, is_repaired) = oneshot::channel::<()>();
    let (kernel, mut events, mut repaired) = (host.kernel.clone(), 0, Some(repaired));
    let link_events = stream::poll_fn(move |_| {
        events += 1;
        assert!(events < EVENTS_MAX, "not read once");
        match events {
            1 => kernel.by_hand(vni(1), |held| held.ports.clear()),
            _ if kernel.held().networks == by_vni(&[&network(1, 1, &[local(1)])]) => {
                drop(repaired.take());
                return Poll::Pending;
            }
            _ => {}
        }
        Poll::Ready(Some(()))
    });
    let stopped = async { drop(is_repaired.await) };
    let (_reports, declines) = mpsc::channel(1);
    follow(agent, Sources { server, saved, link_events, declines }, stopped).await.expect("starts");
}

/// A large host would read its whole kernel after each attach, while the next ones wait.
#[tokio::test(start_paused = true)]
async fn what_a_pass_did_itself_is_no_reason_to_read_the_kernel() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (copies, found, saved) = Copies::open(dir.path()).expect("state folder");
    let kernel = Simulated::new();
    let agent = Agent::new(identity(), kernel.clone(), copies, found, Arc::default());
    let (events, server) = mpsc::channel(1);
    let wanted = network(1, 1, &[local(1)]);
    events.try_send(Event::Message(FromServer::Full(wanted.clone()))).expect("room");
    let started = Instant::now();
    let (repaired, is_repaired) = oneshot::channel();
    let mut repaired = Some(repaired);
    let mut is_damaged = false;
    let link_events = stream::poll_fn(move |_| {
        let has_changed = !kernel.take_applied().is_empty();
        let is_as_wanted = kernel.held().networks == by_vni(&[&wanted]);
        if has_changed && !std::mem::replace(&mut is_damaged, true) {
            kernel.by_hand(vni(1), |held| held.ports.clear());
        } else if is_damaged
            && is_as_wanted
            && let Some(repaired) = repaired.take()
        {
            let _ = repaired.send(started.elapsed());
        }
        if has_changed { Poll::Ready(Some(())) } else { Poll::Pending }
    });
    let mut waited = Duration::ZERO;
    let stopped = async { waited = is_repaired.await.expect("repaired") };
    let (_reports, declines) = mpsc::channel(1);
    follow(agent, Sources { server, saved, link_events, declines }, stopped).await.expect("starts");
    assert!(waited >= VERIFY_EVERY, "read after {waited:?}");
}
