//! Invariant 2: a VNI is not reused while any host may still carry its old network.

use super::*;
use crate::Vni;

/// The random number that selects this VNI.
fn selecting(vni: u32) -> u64 {
    u64::from(vni) - 1
}

/// A network that is drawn these VNIs, one after the other, until one is free.
fn network_drawing(world: &mut World, vnis: &[u32]) -> NetworkId {
    // The first two random numbers make the network's id.
    world.scripted.extend([0, world.drawn]);
    world.scripted.extend(vnis.iter().map(|vni| selecting(*vni)));
    let network = world.unmanaged();
    world.scripted.clear();
    network
}

fn vni(world: &World, network: NetworkId) -> u32 {
    world.record(network).vni.get()
}

fn delete(world: &mut World, network: NetworkId) {
    world.run(&Command::DeleteNetwork(network));
}

#[test]
fn a_vni_is_drawn_at_random() {
    let mut world = World::default();
    let drawn = [1, 77, Vni::MAX].map(|number| {
        let network = network_drawing(&mut world, &[number]);
        vni(&world, network)
    });
    assert_eq!(drawn, [1, 77, Vni::MAX]);
}

#[test]
fn a_vni_that_a_network_has_is_drawn_again() {
    let mut world = World::default();
    network_drawing(&mut world, &[5]);
    let second = network_drawing(&mut world, &[5, 5, 6]);
    assert_eq!(vni(&world, second), 6);
}

#[test]
fn a_vni_that_no_host_carries_is_free_as_soon_as_its_network_is_deleted() {
    let mut world = World::default();
    let network = network_drawing(&mut world, &[5]);
    delete(&mut world, network);
    let next = network_drawing(&mut world, &[5]);
    assert_eq!(vni(&world, next), 5);
}

#[test]
fn a_vni_is_quarantined_until_every_host_that_had_it_has_confirmed_removal() {
    let mut world = World::default();
    let network = network_drawing(&mut world, &[5]);
    let instances = [world.instance_on(1), world.instance_on(2)];
    for instance in instances {
        world.attach(network, instance);
    }
    for instance in instances {
        world.detach(network, instance);
    }
    delete(&mut world, network);

    let hosts = instances.map(|instance| world.host_of(instance));
    for host in hosts {
        let other = network_drawing(&mut world, &[5, 6]);
        assert_eq!(vni(&world, other), 6, "{host} may still carry it");
        delete(&mut world, other);
        world.run(&Command::ConfirmAbsent { host, network });
    }
    let next = network_drawing(&mut world, &[5, 6]);
    assert_eq!(vni(&world, next), 5);
}

#[test]
fn a_quarantine_survives_a_restart() {
    let mut world = World::default();
    let network = network_drawing(&mut world, &[5]);
    let instance = world.attached(network);
    world.detach(network, instance);
    delete(&mut world, network);
    world.zone = Zone::new(world.zone.snapshot());
    let next = network_drawing(&mut world, &[5, 6]);
    assert_eq!(vni(&world, next), 6);
}

#[test]
fn a_host_that_is_removed_carries_nothing_any_more() {
    let mut world = World::default();
    let network = network_drawing(&mut world, &[5]);
    let instance = world.attached(network);
    let host = world.host_of(instance);
    world.detach(network, instance);
    delete(&mut world, network);
    world.run(&Command::DeleteInstance(instance));
    world.run(&Command::RemoveHost { host, with_instances: false });
    assert_eq!(world.zone.carriers(network).count(), 0);
    let next = network_drawing(&mut world, &[5, 6]);
    assert_eq!(vni(&world, next), 5);
}

#[test]
fn a_host_may_carry_a_network_from_its_first_port_until_it_has_confirmed() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instances = [world.attached(network), world.attached(network)];
    let host = world.host_of(instances[0]);
    let carriers = |world: &World| world.zone.carriers(network).collect::<Vec<_>>();
    assert_eq!(carriers(&world), [host], "once for all its ports");
    assert_eq!(world.zone.carried_by(host).collect::<Vec<_>>(), [network]);
    for instance in instances {
        world.detach(network, instance);
    }
    assert_eq!(carriers(&world), [host], "until it says so");
    world.run(&Command::ConfirmAbsent { host, network });
    assert_eq!(carriers(&world), []);
    assert_eq!(world.zone.carried_by(host).count(), 0);
}

#[test]
fn a_confirmation_that_comes_too_late_means_nothing() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let host = world.host_of(instance);
    world.detach(network, instance);
    world.attach(network, instance);
    assert_eq!(world.changes(&Command::ConfirmAbsent { host, network }), []);
    assert_eq!(world.zone.carriers(network).collect::<Vec<_>>(), [host]);
}

#[test]
fn a_confirmation_of_what_nobody_carries_means_nothing() {
    let mut world = World::default();
    let (network, host) = (world.unmanaged(), world.host(1));
    assert_eq!(world.changes(&Command::ConfirmAbsent { host, network }), []);
}
