//! Design §5, Change propagation: what a host is told about a network.

use std::collections::BTreeSet;

use super::super::state::REMOVALS_MAX;
use super::generations::report;
use super::*;
use crate::{DhcpSettings, Generation, LocalPort, Location, Member, NetworkState};

#[test]
fn a_host_wants_the_networks_in_which_it_has_ports() {
    let mut world = World::default();
    let (networks, instance) = ([world.unmanaged(), world.unmanaged()], world.instance_on(1));
    let (host, other) = (world.host_of(instance), world.host(2));
    world.attach(networks[0], instance);
    let wanted = |world: &World, network, host| {
        assert_eq!(world.zone.is_wanted(network, host), world.zone.wanted(network, host).is_some());
        world.zone.is_wanted(network, host)
    };
    assert!(wanted(&world, networks[0], host));
    assert!(!wanted(&world, networks[1], host));
    assert!(!wanted(&world, networks[0], other));
    world.detach(networks[0], instance);
    assert!(!wanted(&world, networks[0], host));
}

#[test]
fn a_host_is_told_every_port_of_a_network_its_own_as_local_and_others_by_their_vtep() {
    let mut world = World::default();
    let (network, here, there) = (world.managed(50, 99), world.instance_on(1), world.instance_on(2));
    let (local, remote) = (world.attach(network, here), world.attach(network, there));
    let record = world.record(network);
    let instance = world.zone.instance(here).expect("it is there");
    let local_port = LocalPort {
        instance: here,
        instance_name: instance.name.clone(),
        placement: instance.placement.clone(),
        device: local.device.clone(),
        is_configured: false,
        power: crate::Power::Running,
        reboots: 0,
    };
    let members = [
        Member { mac: local.mac, address: Some(ip(50)), location: Location::Local(local_port) },
        Member {
            mac: remote.mac,
            address: Some(ip(51)),
            location: Location::Remote { vtep: IpAddr::from([192, 0, 2, 2]) },
        },
    ];
    let state = NetworkState {
        id: network,
        vni: record.vni,
        generation: Generation(3),
        mtu_bytes: Some(1450),
        dhcp: Some(DhcpSettings { range: record.range.expect("managed"), options: record.options.clone() }),
        members: members.map(|member| (member.mac, member)).into(),
    };
    assert_eq!(world.zone.wanted(network, world.host_of(here)), Some(state));
}

#[test]
fn a_network_s_mtu_is_the_least_of_its_hosts_that_have_ports_in_it() {
    let mut world = World::default();
    let (network, other) = (world.unmanaged(), world.unmanaged());
    let [first, second, third] = [1, 2, 3].map(|host| world.instance_on(host));
    world.run(&report(1, |facts| facts.underlay_mtu_bytes = 9000));
    world.run(&report(2, |facts| {
        facts.vtep = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]);
        facts.underlay_mtu_bytes = 9000;
    }));
    world.attach(network, first);
    world.attach(other, third);
    let told = |world: &World, network, instance| {
        let (host, record) = (world.host_of(instance), world.record(network));
        let delta = world.zone.delta(network, host, record.generation).expect("nothing is forgotten");
        let full = world.zone.wanted(network, host).expect("wanted");
        assert_eq!(full.mtu_bytes, delta.mtu_bytes);
        full.mtu_bytes
    };
    assert_eq!(told(&world, network, first), Some(8950));
    assert_eq!(told(&world, other, third), Some(1450));
    world.attach(network, third);
    assert_eq!(told(&world, network, first), Some(1450));
    world.run(&report(3, |facts| facts.underlay_mtu_bytes = 1400));
    assert_eq!(told(&world, network, first), Some(1350));
    world.detach(network, third);
    assert_eq!(told(&world, network, first), Some(8950));
    world.run(&report(3, |facts| facts.underlay_mtu_bytes = 9000));
    assert_eq!(told(&world, other, third), Some(8950));
    let by_ipv6 = world.unmanaged();
    world.attach(by_ipv6, second);
    assert_eq!(told(&world, by_ipv6, second), Some(8930));
}

#[test]
fn an_unmanaged_network_has_no_dhcp_settings() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    assert_eq!(world.zone.wanted(network, world.host_of(instance)).expect("wanted").dhcp, None);
}

#[test]
fn a_delta_names_the_ports_that_are_new_changed_or_gone_since_its_base() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let [stays, changes, goes] = [(); 3].map(|()| world.attached(network));
    let gone = world.port(network, goes).mac;
    let base = world.record(network).generation;
    world.run(&Command::UpdateIp { network, instance: changes, address: Some(ip(7)) });
    world.detach(network, goes);
    let new = world.attached(network);

    let delta = world.zone.delta(network, world.host_of(stays), base).expect("it is remembered");
    assert_eq!((delta.base, delta.generation), (base, Generation(base.0 + 3)));
    let set: BTreeSet<_> = delta.set.iter().map(|member| member.mac).collect();
    assert_eq!(set, BTreeSet::from([changes, new].map(|instance| world.port(network, instance).mac)));
    assert_eq!(delta.removed, BTreeSet::from([gone]));
}

#[test]
fn a_delta_from_the_present_generation_names_nothing() {
    let mut world = World::default();
    let network = world.unmanaged();
    let (stays, goes) = (world.attached(network), world.attached(network));
    world.detach(network, goes);
    let generation = world.record(network).generation;
    let delta = world.zone.delta(network, world.host_of(stays), generation).expect("it is known");
    assert_eq!((delta.set, delta.removed), (Vec::new(), BTreeSet::new()));
}

#[test]
fn a_port_that_is_gone_and_one_that_is_new_may_have_the_same_mac_address() {
    let mut world = World::default();
    let network = world.unmanaged();
    let (here, goes) = (world.instance_on(1), world.instance_on(2));
    world.attach(network, here);
    world.scripted.push_back(7);
    world.attach(network, goes);
    let host = world.host_of(here);
    let mut state = world.zone.wanted(network, host).expect("wanted");
    world.detach(network, goes);
    let comes = world.instance_on(3);
    world.scripted.push_back(7);
    world.attach(network, comes);
    let delta = world.zone.delta(network, host, state.generation).expect("it is remembered");
    state.apply(delta).expect("it fits");
    assert_eq!(Some(state), world.zone.wanted(network, host));
}

#[test]
fn there_is_no_delta_from_a_generation_that_is_not_known() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let (host, present) = (world.host_of(instance), world.record(network).generation);
    assert_eq!(world.zone.delta(network, host, present.next()), None, "it is still to come");
    world.zone = Zone::new(world.zone.snapshot());
    assert_eq!(world.zone.delta(network, host, Generation::FIRST), None, "a restart has forgotten what was removed");
    assert!(world.zone.delta(network, host, present).is_some());
}

#[test]
fn there_is_no_delta_over_more_removals_than_are_remembered() {
    let mut world = World::default();
    let network = world.unmanaged();
    let (stays, comes_and_goes) = (world.attached(network), world.instance());
    let (host, base) = (world.host_of(stays), world.record(network).generation);
    for _ in 0..REMOVALS_MAX {
        world.attach(network, comes_and_goes);
        world.detach(network, comes_and_goes);
    }
    let removed = world.zone.delta(network, host, base).map(|delta| delta.removed.len());
    assert_eq!(removed, Some(REMOVALS_MAX));
    world.attach(network, comes_and_goes);
    world.detach(network, comes_and_goes);
    assert_eq!(world.zone.delta(network, host, base), None);
    assert!(world.zone.delta(network, host, Generation(base.0 + 2)).is_some(), "from the first removal on");
}

#[test]
fn there_is_no_delta_of_a_network_that_is_gone() {
    let mut world = World::default();
    let (network, host) = (world.unmanaged(), world.host(1));
    world.run(&Command::DeleteNetwork(network));
    assert_eq!(world.zone.delta(network, host, Generation::FIRST), None);
}

#[test]
fn lists_start_at_any_id() {
    let mut world = World::default();
    let instances = [world.instance(), world.instance()];
    let networks = [world.unmanaged(), world.unmanaged()];
    let (first, last) = (networks[0].min(networks[1]), networks[0].max(networks[1]));
    let from = |world: &World, id| world.zone.networks_from(id).map(|record| record.id).collect::<Vec<_>>();
    assert_eq!((from(&world, first), from(&world, last)), (vec![first, last], vec![last]));
    let (first, last) = (instances[0].min(instances[1]), instances[0].max(instances[1]));
    let from = |world: &World, id| world.zone.instances_from(id).map(|record| record.id).collect::<Vec<_>>();
    assert_eq!((from(&world, first), from(&world, last)), (vec![first, last], vec![last]));
}
