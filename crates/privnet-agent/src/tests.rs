//! An agent with a kernel in memory, against a server that says what the test says.

mod server;
mod simulation;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;

use futures::stream;
use privnet_datapath::Simulated;
use privnet_model::{
    AddressRange, DeviceName, DhcpOptions, DhcpSettings, Generation, HostFacts, HostName, InstanceId, LocalPort,
    Location, MacAddr, Member, Name, Netns, NetworkDelta, NetworkId, NetworkState, Placement, Power, Reason, Vni,
};
use privnet_plan::{FdbTarget, KernelNetwork, NetOp, PortStage, wanted_kernel_network};
use privnet_sync::{FromAgent, FromServer, PortFailure, RunId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use self::server::{Connection, FakeServer, in_time};
use crate::agent::{Agent, Identity};
use crate::client::{Event, Server, keep_connected};
use crate::copies::{ChangeNumber, Copies, Survives};
use crate::declines::{DeclineReport, Declined};
use crate::follow::{Sources, follow};
use crate::leases::Leases;

const MTU: u32 = 1450;

#[tokio::test]
async fn a_change_is_applied_kept_and_acknowledged() {
    let mut host = Host::new();
    let (mut connection, hello) = host.start().await;
    assert_eq!(hello.held, BTreeMap::new());
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    host.carries(&[&network(1, 1, &[local(1)])]);
    connection.say(FromServer::Delta(delta(1, 1, 2, &[remote(2)], &[]))).await;
    assert_eq!(connection.hear().await, applied(1, 2));
    host.carries(&[&network(1, 2, &[local(1), remote(2)])]);
}

#[tokio::test]
async fn what_was_missed_comes_as_what_is_lacking() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    for number in [1, 2, 3] {
        connection.say(FromServer::Full(network(number, 1, &[local(number)]))).await;
        connection.hear().await;
    }
    drop(connection);
    let (mut connection, hello) = host.server.welcome().await;
    assert_eq!(hello.held, [1, 2, 3].map(|number| (id(number), Generation(1))).into());
    connection.say(FromServer::Delta(delta(1, 1, 1000, &[remote(9)], &[]))).await;
    connection.say(remove(2)).await;
    connection.say(FromServer::Current).await;
    // What was applied before is said again: the server may not have heard it.
    hear_all(&mut connection, &[applied(1, 1000), removed(2), applied(3, 1)]).await;
    host.carries(&[&network(1, 1000, &[local(1), remote(9)]), &network(3, 1, &[local(3)])]);
}

#[tokio::test]
async fn a_delta_that_does_not_fit_asks_once_for_the_full_state() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    connection.say(FromServer::Delta(delta(1, 4, 5, &[remote(2)], &[]))).await;
    assert_eq!(connection.hear().await, FromAgent::NeedFull { network: id(1) });
    connection.say(FromServer::Delta(delta(1, 5, 6, &[remote(3)], &[]))).await;
    host.carries(&[&network(1, 1, &[local(1)])]);
    connection.say(FromServer::Full(network(1, 6, &[local(1), remote(2), remote(3)]))).await;
    assert_eq!(connection.hear().await, applied(1, 6));
    connection.say(FromServer::Delta(delta(7, 1, 2, &[remote(2)], &[]))).await;
    assert_eq!(connection.hear().await, FromAgent::NeedFull { network: id(7) });
}

#[tokio::test]
async fn an_older_generation_is_never_applied_over_a_newer_one() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    let newer = network(1, 6, &[local(1), remote(2)]);
    connection.say(FromServer::Full(newer.clone())).await;
    assert_eq!(connection.hear().await, applied(1, 6));
    connection.say(FromServer::Full(network(1, 5, &[local(1)]))).await;
    connection.nothing_more_to_hear().await;
    host.carries(&[&newer]);
    connection.say(FromServer::Delta(delta(1, 6, 5, &[], &[mac(2)]))).await;
    assert_eq!(connection.hear().await, FromAgent::NeedFull { network: id(1) });
    host.carries(&[&newer]);
    connection.say(FromServer::Delta(delta(1, 6, 7, &[], &[mac(2)]))).await;
    assert_eq!(connection.hear().await, applied(1, 7));
}

#[tokio::test]
async fn a_server_whose_records_are_older_is_followed_from_the_next_connection_on() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 6, &[local(1), remote(2)]))).await;
    assert_eq!(connection.hear().await, applied(1, 6));
    drop(connection);
    let (mut connection, hello) = host.server.welcome().await;
    assert_eq!(hello.held, [(id(1), Generation(6))].into());
    let restored = network(1, 4, &[local(1)]);
    connection.say(FromServer::Full(restored.clone())).await;
    hear_all(&mut connection, &[applied(1, 4)]).await;
    host.carries(&[&restored]);
    connection.say(FromServer::Full(network(1, 3, &[]))).await;
    connection.nothing_more_to_hear().await;
    host.carries(&[&restored]);
    drop(connection);
    let (mut connection, _) = host.server.welcome().await;
    assert_eq!(connection.hear().await, applied(1, 4));
    connection.say(FromServer::Current).await;
    connection.say(FromServer::Full(network(1, 3, &[]))).await;
    connection.nothing_more_to_hear().await;
    host.carries(&[&restored]);
}

#[tokio::test]
async fn a_disk_that_fails_keeps_no_port_from_its_network() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    let folder = host.copy_of(1).parent().expect("folder").to_owned();
    fs::remove_dir(&folder).expect("removed");
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    connection.say(remove(1)).await;
    connection.nothing_more_to_hear().await;
    host.carries(&[]);
    fs::create_dir(&folder).expect("made");
    assert_eq!(connection.hear().await, removed(1), "only now it cannot come back");
}

#[tokio::test]
async fn a_rebooted_host_comes_back_from_its_own_copy_while_the_server_is_away() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 5, &[local(1), remote(2)]))).await;
    connection.hear().await;
    connection.current().await;
    host.stop().await;
    host.server.close();
    drop(connection);
    host.kernel.reboot();
    host.start_alone();
    host.until_carries(&[&network(1, 5, &[local(1), remote(2)])]).await;
    host.server = FakeServer::listen(&host.socket());
    let (mut connection, hello) = host.server.welcome().await;
    assert_eq!(hello.held, [(id(1), Generation(5))].into());
    assert_eq!(connection.hear().await, applied(1, 5));
}

#[tokio::test]
async fn a_restarted_agent_touches_nothing_that_is_as_wanted() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 5, &[local(1), remote(2)]))).await;
    connection.hear().await;
    host.stop().await;
    host.kernel.take_applied();
    let (mut connection, _) = host.start().await;
    assert_eq!(connection.hear().await, applied(1, 5));
    assert_eq!(host.kernel.take_applied(), []);
}

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
async fn a_stray_device_is_removed() {
    let mut host = Host::new();
    let (_connection, _) = host.start().await;
    host.kernel.add_stray(mac(9));
    host.link_event();
    in_time(host.kernel.until(|held| held.strays.is_empty())).await;
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
async fn a_network_is_not_acknowledged_while_something_that_is_no_port_fails() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    host.kernel.refuse("+ vtep vni 1 192.0.2.2");
    connection.say(FromServer::Full(network(1, 1, &[local(1), remote(2)]))).await;
    connection.say(FromServer::Full(network(2, 1, &[local(2)]))).await;
    assert_eq!(connection.hear().await, applied(2, 1));
    connection.nothing_more_to_hear().await;
    host.kernel.heal_all();
    assert_eq!(connection.hear().await, applied(1, 1));
}

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

/// Has the agent compare all that the kernel has.
async fn read_all(agent: &mut Agent<Simulated>) {
    while !agent.verify().await.expect("read") {}
}

#[tokio::test]
async fn a_damaged_copy_is_replaced_by_the_server() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    for number in [1, 2] {
        connection.say(FromServer::Full(network(number, 1, &[local(number)]))).await;
        connection.hear().await;
    }
    connection.current().await;
    host.stop().await;
    fs::write(host.copy_of(1), b"nonsense").expect("damage");
    let (mut connection, hello) = host.start().await;
    assert_eq!(hello.held, [(id(2), Generation(1))].into());
    assert!(host.copy_of(1).with_extension("corrupt").exists());
    assert_eq!(connection.hear().await, applied(2, 1));
    host.carries(&[&network(1, 1, &[local(1)]), &network(2, 1, &[local(2)])]);
    host.kernel.take_applied();
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    assert_eq!(host.kernel.take_applied(), [], "nothing was taken down for it");
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
async fn what_a_complete_own_copy_does_not_know_is_removed_without_the_server() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    connection.hear().await;
    connection.current().await;
    host.stop().await;
    host.server.close();
    host.kernel.by_hand(vni(7), |held| *held = wanted(&network(7, 1, &[local(7)])));
    host.start_alone();
    host.until_carries(&[&network(1, 1, &[local(1)])]).await;
}

#[tokio::test]
async fn what_could_not_be_copied_is_left_alone_until_the_server_has_sent_all() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    connection.current().await;
    let in_the_way = host.copy_of(2).with_extension("tmp");
    fs::create_dir(&in_the_way).expect("made");
    connection.say(FromServer::Full(network(2, 1, &[local(2)]))).await;
    assert_eq!(connection.hear().await, applied(2, 1));
    host.stop().await;
    fs::remove_dir(&in_the_way).expect("removed");
    host.kernel.take_applied();
    let (mut connection, _) = host.start().await;
    assert_eq!(connection.hear().await, applied(1, 1));
    connection.say(FromServer::Full(network(2, 1, &[local(2)]))).await;
    assert_eq!(connection.hear().await, applied(2, 1));
    assert_eq!(host.kernel.take_applied(), []);
    connection.current().await;
    host.stop().await;
    host.kernel.by_hand(vni(7), |held| *held = wanted(&network(7, 1, &[local(7)])));
    host.start_alone();
    host.until_carries(&[&network(1, 1, &[local(1)]), &network(2, 1, &[local(2)])]).await;
}

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
async fn a_vni_that_belongs_to_another_network_now_carries_nothing_of_the_old_one() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    connection.say(FromServer::Full(network(1, 1, &[local(1), remote(2)]))).await;
    assert_eq!(connection.hear().await, applied(1, 1));
    let heir = NetworkState { vni: vni(1), ..network(3, 1, &[local(3)]) };
    connection.say(FromServer::Full(heir.clone())).await;
    assert_eq!(connection.hear().await, applied(3, 1));
    host.carries(&[&heir]);
    connection.say(remove(1)).await;
    assert_eq!(connection.hear().await, removed(1));
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

#[tokio::test]
async fn what_an_older_server_has_not_said_is_asked_for_anew() {
    let mut host = Host::new();
    let (mut connection, _) = host.start().await;
    let old = NetworkState { mtu_bytes: None, ..network(1, 4, &[local(1)]) };
    connection.say(FromServer::Full(old.clone())).await;
    assert_eq!(connection.hear().await, applied(1, 4));
    host.carries(&[&old]);
    drop(connection);
    let (mut connection, hello) = host.server.welcome().await;
    assert_eq!(hello.held, [(id(1), Generation(0))].into());
    let new = NetworkState { mtu_bytes: Some(1400), ..old };
    connection.say(FromServer::Full(new.clone())).await;
    hear_all(&mut connection, &[applied(1, 4)]).await;
    host.until_carries(&[&new]).await;
}

/// A host whose kernel and state folder outlive its agent.
struct Host {
    /// Shared with the agent, which writes to it until its last moment.
    dir: Arc<tempfile::TempDir>,
    kernel: Simulated,
    server: FakeServer,
    leases: Arc<Leases>,
    agent: Option<RunningAgent>,
}

struct RunningAgent {
    shutdown: oneshot::Sender<()>,
    link_events: mpsc::Sender<()>,
    reports: mpsc::Sender<DeclineReport>,
    running: JoinHandle<()>,
    connecting: JoinHandle<()>,
}

impl Host {
    fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("temporary folder"));
        let server = FakeServer::listen(&socket_in(dir.path()));
        Self { dir, kernel: Simulated::new(), server, leases: Arc::default(), agent: None }
    }

    fn socket(&self) -> PathBuf {
        socket_in(self.dir.path())
    }

    fn copy_of(&self, number: u8) -> PathBuf {
        self.dir.path().join("state/networks").join(id(number).to_string())
    }

    /// Starts an agent and welcomes it.
    async fn start(&mut self) -> (Connection, privnet_sync::Hello) {
        self.start_alone();
        self.server.welcome().await
    }

    fn start_alone(&mut self) {
        let (copies, found, saved) = Copies::open(&self.dir.path().join("state")).expect("state folder");
        let agent = Agent::new(identity(), self.kernel.clone(), copies, found, Arc::clone(&self.leases));
        let (events, server) = mpsc::channel(16);
        let (link_events, links) = mpsc::channel(16);
        let (shutdown, stopped) = oneshot::channel::<()>();
        let (reports, declines) = mpsc::channel(1);
        let sources = Sources { server, saved, link_events: ReceiverStream::new(links), declines };
        let dir = Arc::clone(&self.dir);
        let running = tokio::spawn(async move {
            // Dropped after the agent.
            let _dir = dir;
            let stopped = async { drop(stopped.await) };
            follow(agent, sources, stopped).await.expect("starts");
        });
        let connecting = tokio::spawn(keep_connected(Server::Socket(self.socket()), events));
        self.agent = Some(RunningAgent { shutdown, link_events, reports, running, connecting });
    }

    async fn stop(&mut self) {
        let agent = self.agent.take().expect("running");
        drop(agent.shutdown);
        agent.running.await.expect("no panic");
        agent.connecting.abort();
    }

    fn link_event(&self) {
        let agent = self.agent.as_ref().expect("running");
        agent.link_events.try_send(()).expect("room");
    }

    /// The kernel holds exactly what these states want.
    fn carries(&self, states: &[&NetworkState]) {
        assert_eq!(self.kernel.held().networks, by_vni(states));
    }

    async fn until_carries(&self, states: &[&NetworkState]) {
        let wanted = by_vni(states);
        in_time(self.kernel.until(|held| held.networks == wanted)).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            agent.running.abort();
            agent.connecting.abort();
        }
    }
}

/// Hears messages until these have all come, in whatever order; no others may come between.
async fn hear_all(connection: &mut Connection, expected: &[FromAgent]) {
    let mut missing = expected.to_vec();
    while !missing.is_empty() {
        let heard = connection.hear().await;
        match missing.iter().position(|message| *message == heard) {
            Some(at) => drop(missing.remove(at)),
            // What is applied may be told before the last change of it has arrived.
            None => assert!(matches!(heard, FromAgent::Applied { .. }), "{heard:?}"),
        }
    }
}

fn identity() -> Identity {
    let facts = HostFacts { vtep: vtep(1), underlay_mtu_bytes: 1500, version: "0".to_owned() };
    Identity { host: HostName::try_from("h1").expect("valid"), facts, run: RunId([7; 16]) }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("server.sock")
}

fn by_vni(states: &[&NetworkState]) -> BTreeMap<Vni, KernelNetwork> {
    states.iter().map(|state| (state.vni, wanted(state))).collect()
}

fn wanted(state: &NetworkState) -> KernelNetwork {
    wanted_kernel_network(state, MTU)
}

fn network(number: u8, generation: u64, members: &[Member]) -> NetworkState {
    NetworkState {
        id: id(number),
        vni: vni(number),
        generation: Generation(generation),
        mtu_bytes: Some(MTU),
        dhcp: None,
        members: members.iter().map(|member| (member.mac, member.clone())).collect(),
    }
}

fn delta(number: u8, base: u64, generation: u64, set: &[Member], removed: &[MacAddr]) -> NetworkDelta {
    NetworkDelta {
        id: id(number),
        base: Generation(base),
        generation: Generation(generation),
        mtu_bytes: Some(MTU),
        dhcp: None,
        set: set.to_vec(),
        removed: removed.iter().copied().collect(),
    }
}

fn local(number: u8) -> Member {
    let port = LocalPort {
        instance: InstanceId::from_bytes([number; 16]),
        instance_name: Name::try_from("web").expect("valid"),
        placement: Placement::Netns(Netns::try_from(format!("i{number}").as_str()).expect("valid")),
        device: DeviceName::of_port(0),
        is_configured: false,
        power: Power::Running,
        reboots: 0,
    };
    member(number, Location::Local(port))
}

fn remote(number: u8) -> Member {
    member(number, Location::Remote { vtep: vtep(number) })
}

fn member(number: u8, location: Location) -> Member {
    Member { mac: mac(number), address: Some(Ipv4Addr::new(10, 0, 0, number)), location }
}

fn dhcp() -> DhcpSettings {
    let [start, end, netmask] = [[10, 0, 0, 1], [10, 0, 0, 9], [255, 255, 255, 0]].map(Ipv4Addr::from);
    DhcpSettings { range: AddressRange::new(start, end, netmask).expect("valid"), options: DhcpOptions::default() }
}

fn applied(number: u8, generation: u64) -> FromAgent {
    FromAgent::Applied { network: id(number), generation: Generation(generation), failures: vec![] }
}

fn remove(number: u8) -> FromServer {
    FromServer::Remove { network: id(number), removal: u64::from(number) }
}

fn removed(number: u8) -> FromAgent {
    FromAgent::Removed { network: id(number), removal: u64::from(number) }
}

fn repaired(number: u8, what: &[&str]) -> FromAgent {
    FromAgent::Repaired { network: id(number), what: what.iter().map(ToString::to_string).collect() }
}

fn id(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

fn vni(number: u8) -> Vni {
    Vni::try_from(u32::from(number)).expect("valid")
}

fn mac(number: u8) -> MacAddr {
    MacAddr::for_port([0, 0, 0, 0, number])
}

fn vtep(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}
