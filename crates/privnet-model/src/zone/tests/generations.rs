//! Design §5, Change propagation: every network carries a generation, raised by any change to it or
//! its ports.

use super::super::UpdateNetwork;
use super::addresses::update_range;
use super::*;
use crate::Generation;

#[test]
fn a_new_network_has_the_first_generation() {
    let mut world = World::default();
    let network = world.unmanaged();
    assert_eq!(world.record(network).generation, Generation::FIRST);
}

#[test]
fn each_change_to_a_network_or_its_ports_raises_its_generation_by_one() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance());
    let labels = Labels::from([("key".to_owned(), "value".to_owned())]);
    let rename = UpdateNetwork { name: Some(name("other")), labels: Some(labels), ..UpdateNetwork::default() };
    let commands = [
        attach(network, instance),
        Command::UpdateNetwork(network, rename),
        update_range(network, range(50, 99)),
        Command::UpdateIp { network, instance, address: Some(ip(7)) },
        Command::ResetLabels(network),
        Command::Detach { network, instance },
    ];
    for (generation, command) in (2..).zip(commands) {
        world.run(&command);
        assert_eq!(world.record(network).generation, Generation(generation), "{command:?}");
    }
}

#[test]
fn what_changes_nothing_raises_nothing() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    let before = world.record(network);
    let commands = [
        attach(network, instance),
        Command::UpdateNetwork(network, UpdateNetwork::default()),
        update_range(network, range(50, 99)),
        Command::UpdateIp { network, instance, address: None },
        Command::ResetLabels(network),
    ];
    for command in commands {
        let changes = world.changes(&command);
        assert!(matches!(&changes[..], [] | [Change::Operation(_)]), "{command:?}: {changes:?}");
    }
    assert_eq!(world.record(network), before);
}

#[test]
fn a_port_knows_the_generation_of_its_last_change() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let (first, second) = (world.attached(network), world.attached(network));
    world.run(&Command::UpdateIp { network, instance: first, address: Some(ip(7)) });
    assert_eq!(world.port(network, first).changed, Generation(4));
    assert_eq!(world.port(network, second).changed, Generation(3));
}

#[test]
fn a_port_that_is_leased_its_first_address_has_changed() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    world.run(&update_range(network, range(50, 99)));
    assert_eq!(world.port(network, instance).changed, world.record(network).generation);
}

#[test]
fn a_host_that_moves_raises_every_network_in_which_it_has_ports_and_no_other() {
    let mut world = World::default();
    let networks = [world.unmanaged(), world.unmanaged(), world.unmanaged()];
    let (here, there) = (world.instance_on(1), world.instance_on(2));
    world.attach(networks[0], here);
    world.attach(networks[0], there);
    world.attach(networks[1], there);
    world.attach(networks[2], here);
    world.detach(networks[2], here);
    let before = networks.map(|network| world.record(network).generation);

    world.run(&report(1, |facts| facts.vtep = IpAddr::from([192, 0, 2, 99])));
    let after = networks.map(|network| world.record(network).generation);
    assert_eq!(after, [before[0].next(), before[1], before[2]]);
    assert_eq!(world.port(networks[0], here).changed, after[0]);
    assert!(world.port(networks[0], there).changed < after[0]);
}

#[test]
fn what_a_host_reports_beside_its_underlay_raises_nothing() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let before = world.record(network);
    let command = report(1, |facts| facts.version = "0.2.0".to_owned());
    assert!(matches!(&world.changes(&command)[..], [Change::Host(_)]));
    assert_eq!(world.zone.host(world.host_of(instance)).map(|host| &*host.facts.version), Some("0.2.0"));
    assert_eq!(world.changes(&command), [], "reported again it is no change");
    assert_eq!(world.record(network), before);
}

#[test]
fn a_host_with_another_mtu_raises_every_network_in_which_it_has_ports_and_no_port() {
    let mut world = World::default();
    let networks = [world.unmanaged(), world.unmanaged(), world.unmanaged()];
    let (here, there) = (world.instance_on(1), world.instance_on(2));
    world.attach(networks[0], here);
    world.attach(networks[1], there);
    world.attach(networks[2], here);
    world.detach(networks[2], here);
    let before = networks.map(|network| world.record(network).generation);
    let port = world.port(networks[0], here);

    world.run(&report(1, |facts| facts.underlay_mtu_bytes = 9000));
    let after = networks.map(|network| world.record(network).generation);
    assert_eq!(after, [before[0].next(), before[1], before[2]]);
    assert_eq!(world.port(networks[0], here), port);
}

pub(super) fn report(number: u8, change: impl FnOnce(&mut HostFacts)) -> Command {
    match register_host(number) {
        Command::RegisterHost { name, mut facts } => {
            change(&mut facts);
            Command::RegisterHost { name, facts }
        }
        other => other,
    }
}
