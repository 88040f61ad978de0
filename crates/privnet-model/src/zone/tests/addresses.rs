//! Design §5, Addresses; invariant 1.

use std::net::Ipv4Addr;

use super::super::UpdateNetwork;
use super::*;
use crate::{AddressRange, MacAddr};

#[test]
fn a_mac_address_is_0a_and_40_random_bits() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance());
    world.scripted.push_back(u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(world.attach(network, instance).mac, MacAddr::new([0x0a, 1, 2, 3, 4, 5]));
}

#[test]
fn a_mac_address_that_a_port_of_the_zone_has_is_drawn_again() {
    let mut world = World::default();
    let (networks, instance) = ([world.unmanaged(), world.unmanaged()], world.instance());
    world.scripted.push_back(1);
    let taken = world.attach(networks[0], instance).mac;
    world.scripted.extend([1, 1, 2]);
    let mac = world.attach(networks[1], instance).mac;
    assert_eq!((taken, mac), (MacAddr::for_port([1, 0, 0, 0, 0]), MacAddr::for_port([2, 0, 0, 0, 0])));
    world.detach(networks[0], instance);
    world.scripted.push_back(1);
    assert_eq!(world.attach(networks[0], instance).mac, taken, "what is free may be drawn");
}

#[test]
fn a_port_keeps_its_mac_address_and_device_for_its_life() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    let before = world.port(network, instance);
    world.run(&Command::UpdateIp { network, instance, address: Some(ip(7)) });
    let after = world.port(network, instance);
    assert_eq!((after.mac, &after.device), (before.mac, &before.device));
}

#[test]
fn an_instance_names_its_devices_by_the_first_number_that_is_free() {
    let mut world = World::default();
    let (networks, instance) = ([world.unmanaged(), world.unmanaged(), world.unmanaged()], world.instance());
    let devices = networks.map(|network| world.attach(network, instance).device.to_string());
    assert_eq!(devices, ["net0", "net1", "net2"]);
    world.detach(networks[1], instance);
    assert_eq!(world.attach(networks[1], instance).device.as_str(), "net1");
}

#[test]
fn an_unmanaged_network_leases_nothing() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    assert_eq!(world.port(network, instance).lease, None);
}

#[test]
fn a_lease_is_the_next_free_address_of_the_range() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let leases = [(); 3].map(|()| {
        let instance = world.attached(network);
        world.port(network, instance).lease
    });
    assert_eq!(leases, [dynamic(50), dynamic(51), dynamic(52)]);
}

#[test]
fn an_address_just_released_is_the_last_to_come_back() {
    let mut world = World::default();
    let network = world.managed(50, 52);
    let instance = world.attached(network);
    let mut addresses = Vec::new();
    for _ in 0..4 {
        addresses.push(world.port(network, instance).lease);
        world.detach(network, instance);
        world.attach(network, instance);
    }
    assert_eq!(addresses, [dynamic(50), dynamic(51), dynamic(52), dynamic(50)]);
}

#[test]
fn an_address_goes_on_being_the_last_to_come_back_after_a_restart() {
    let mut world = World::default();
    let network = world.managed(50, 52);
    let instance = world.attached(network);
    world.detach(network, instance);
    world.zone = Zone::new(world.zone.snapshot());
    assert_eq!(world.attach(network, instance).lease, dynamic(51));
}

#[test]
fn a_static_address_may_lie_anywhere_in_the_subnet() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    for last in [1, 50, 253] {
        let instance = world.instance();
        assert_eq!(world.attach_static(network, instance, last).lease, fixed(last));
    }
}

#[test]
fn a_dynamic_address_passes_over_static_ones() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instances = [world.instance(), world.instance()];
    world.attach_static(network, instances[0], 50);
    assert_eq!(world.attach(network, instances[1]).lease, dynamic(51));
}

#[test]
fn two_networks_may_lease_the_same_address() {
    let mut world = World::default();
    let (networks, instance) = ([world.managed(50, 99), world.managed(50, 99)], world.instance());
    assert_eq!(networks.map(|network| world.attach(network, instance).lease), [dynamic(50), dynamic(50)]);
}

#[test]
fn a_lease_changes_on_request_and_the_old_address_is_free() {
    let mut world = World::default();
    let network = world.managed(50, 51);
    let (instance, other) = (world.attached(network), world.instance());
    let update = |address| Command::UpdateIp { network, instance, address };
    world.run(&update(Some(ip(7))));
    assert_eq!(world.port(network, instance).lease, fixed(7));
    world.run(&update(None));
    assert_eq!(world.port(network, instance).lease, dynamic(51), "a static address is given up for one of the range");
    assert_eq!(world.attach_static(network, other, 7).lease, fixed(7));
}

#[test]
fn the_address_that_is_held_becomes_static_and_a_dynamic_one_stays() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    let update = |address| Command::UpdateIp { network, instance, address };
    world.run(&update(None));
    assert_eq!(world.port(network, instance).lease, dynamic(50));
    world.run(&update(Some(ip(50))));
    assert_eq!(world.port(network, instance).lease, fixed(50));
}

#[test]
fn attaching_again_with_the_same_address_or_none_changes_nothing() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    for address in [None, Some(ip(50))] {
        let changes = world.changes(&Command::Attach { network, instance, address, device: DeviceWish::default() });
        assert_eq!(changes, [], "the first operation is pending");
    }
}

#[test]
fn the_three_address_fields_are_merged_with_what_is_set() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let wish = RangeFields { end: Some(ip(120)), ..RangeFields::default() };
    world.run(&update_range(network, wish));
    let range = AddressRange::new(ip(50), ip(120), Ipv4Addr::new(255, 255, 255, 0)).expect("valid");
    assert_eq!(world.record(network).range, Some(range));
}

#[test]
fn a_range_may_leave_its_leases_behind_within_the_subnet() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    world.run(&update_range(network, range(100, 120)));
    assert_eq!(world.port(network, instance).lease, dynamic(50));
    let next = world.attached(network);
    assert_eq!(world.port(network, next).lease, dynamic(100));
}

#[test]
fn a_network_that_becomes_managed_leases_an_address_to_each_port() {
    let mut world = World::default();
    let network = world.unmanaged();
    let mut instances = [world.attached(network), world.attached(network)];
    instances.sort();
    world.run(&update_range(network, range(50, 99)));
    assert_eq!(instances.map(|instance| world.port(network, instance).lease), [dynamic(50), dynamic(51)]);
    world.detach(network, instances[1]);
    assert_eq!(world.attach(network, instances[1]).lease, dynamic(52), "51 is the last to come back");
}

pub(super) fn update_range(network: NetworkId, range: RangeFields) -> Command {
    Command::UpdateNetwork(network, UpdateNetwork { range, ..UpdateNetwork::default() })
}
