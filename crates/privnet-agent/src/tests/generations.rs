//! What the server wants, generation by generation, and what of it is acknowledged.

use std::collections::BTreeMap;

use privnet_model::{Generation, NetworkState};
use privnet_sync::{FromAgent, FromServer};

use super::host::{Host, hear_all};
use super::values::{applied, delta, id, local, mac, network, remote, remove, removed, vni};

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
