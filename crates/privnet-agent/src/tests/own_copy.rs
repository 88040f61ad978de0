//! What is kept on disk, and what an agent makes of it when it starts.

use std::fs;

use privnet_model::Generation;
use privnet_sync::FromServer;

use super::host::Host;
use super::server::FakeServer;
use super::values::{applied, id, local, network, remote, remove, removed, vni, wanted};

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
