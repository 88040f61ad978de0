//! An instance that is placed elsewhere, and a host that goes for good: what stays, what follows, and
//! that nothing stale is wanted of anybody.

use std::collections::BTreeSet;

use super::super::UpdateNetwork;
use super::*;
use crate::{Applied, Generation, Location, OperationKind, OperationState, Vni, Wait, WaitPort};

/// A network with an instance on each of the hosts 1, 2 and 3.
fn spread(world: &mut World) -> (NetworkId, [InstanceId; 3]) {
    let network = world.managed(50, 99);
    let instances = [1, 2, 3].map(|number| world.instance_on(number));
    instances.iter().for_each(|instance| drop(world.attach(network, *instance)));
    (network, instances)
}

fn netns(text: &str) -> Placement {
    Placement::Netns(Netns::try_from(text).expect("valid"))
}

/// Where a host is told that an instance's port is: here, by its placement, or behind the VTEP of a host.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Here(Placement),
    Behind(u8),
    NotAtAll,
}

fn told(world: &World, network: NetworkId, to: HostId, instance: InstanceId) -> Told {
    let Some(state) = world.zone.wanted(network, to) else { return Told::NotAtAll };
    let mac = world.port(network, instance).mac;
    match &state.members.get(&mac).expect("a member").location {
        Location::Local(port) => Told::Here(port.placement.clone()),
        Location::Remote { vtep: IpAddr::V4(vtep) } => Told::Behind(vtep.octets()[3]),
        Location::Remote { vtep } => panic!("a strange VTEP {vtep}"),
    }
}

#[test]
fn a_move_changes_the_place_and_nothing_else() {
    let mut world = World::default();
    let (network, [instance, ..]) = spread(&mut world);
    let (before, port) =
        (Arc::clone(world.zone.instance(instance).expect("it is there")), world.port(network, instance));
    let to = world.host(2);
    let placement = netns("/srv/netns/web2");
    world.run(&Command::MoveInstance { instance, host: host_name(2), placement: Some(placement.clone()) });

    let after = world.zone.instance(instance).expect("it is there");
    assert_eq!(**after, crate::Instance { host: to, placement, ..(*before).clone() });
    let generation = world.record(network).generation;
    assert_eq!(*world.port(network, instance), Port { changed: generation, ..(*port).clone() });
}

#[test]
fn a_move_raises_every_network_of_the_instance_by_one_and_no_other() {
    let mut world = World::default();
    let networks = [world.unmanaged(), world.unmanaged(), world.unmanaged()];
    let (moves, stays) = (world.instance_on(1), world.instance_on(1));
    world.attach(networks[0], moves);
    world.attach(networks[1], moves);
    [networks[0], networks[2]].iter().for_each(|network| drop(world.attach(*network, stays)));
    world.host(2);
    let before = networks.map(|network| world.record(network).generation);
    world.run(&move_to(moves, 2));
    let after = networks.map(|network| world.record(network).generation);
    assert_eq!(after, [before[0].next(), before[1].next(), before[2]]);
    assert!(world.port(networks[0], stays).changed < after[0]);
}

#[test]
fn every_host_is_told_where_the_port_is_now() {
    let mut world = World::default();
    let (network, [moves, here, there]) = spread(&mut world);
    let stays = world.attached(network);
    let [from, to, other] = [stays, here, there].map(|instance| world.host_of(instance));
    world.run(&move_to(moves, 2));
    assert_eq!(told(&world, network, from, moves), Told::Behind(2));
    assert_eq!(told(&world, network, to, moves), Told::Here(netns("web1")));
    assert_eq!(told(&world, network, other, moves), Told::Behind(2));
}

#[test]
fn the_delta_of_a_move_names_that_port_alone() {
    let mut world = World::default();
    let (network, [moves, _, there]) = spread(&mut world);
    let other = world.host_of(there);
    let mut state = world.zone.wanted(network, other).expect("wanted");
    world.run(&move_to(moves, 2));
    let delta = world.zone.delta(network, other, state.generation).expect("it is remembered");
    let set: Vec<_> = delta.set.iter().map(|member| member.mac).collect();
    assert_eq!((set, delta.removed.clone()), (vec![world.port(network, moves).mac], BTreeSet::new()));
    state.apply(delta).expect("it fits");
    assert_eq!(Some(state), world.zone.wanted(network, other));
}

#[test]
fn a_host_that_loses_its_last_port_is_to_carry_nothing_and_the_new_one_all() {
    let mut world = World::default();
    let network = world.unmanaged();
    let moves = world.attached(network);
    let (from, to) = (world.host_of(moves), world.host(2));
    world.run(&move_to(moves, 2));
    assert_eq!(told(&world, network, from, moves), Told::NotAtAll);
    assert_eq!(told(&world, network, to, moves), Told::Here(netns("web1")));
    // Back again before anybody has said a word.
    world.run(&move_to(moves, 1));
    assert_eq!(told(&world, network, from, moves), Told::Here(netns("web1")));
    assert_eq!(told(&world, network, to, moves), Told::NotAtAll);
}

/// Invariant 2.
#[test]
fn both_hosts_may_carry_the_network_until_the_old_one_has_confirmed() {
    let mut world = World::default();
    let network = world.unmanaged();
    let moves = world.attached(network);
    let (from, to) = (world.host_of(moves), world.host(2));
    world.run(&move_to(moves, 2));
    let carriers = |world: &World| world.zone.carriers(network).collect::<BTreeSet<_>>();
    assert_eq!(carriers(&world), BTreeSet::from([from, to]));
    world.run(&move_to(moves, 1));
    world.run(&move_to(moves, 2));
    assert_eq!(carriers(&world), BTreeSet::from([from, to]), "once each");
    world.run(&Command::ConfirmAbsent { host: from, network });
    assert_eq!(carriers(&world), BTreeSet::from([to]));
}

#[test]
fn another_placement_on_the_same_host_is_a_move() {
    let mut world = World::default();
    let (network, [moves, _, there]) = spread(&mut world);
    let (host, other, before) = (world.host_of(moves), world.host_of(there), world.record(network).generation);
    world.run(&Command::MoveInstance { instance: moves, host: host_name(1), placement: Some(netns("web2")) });
    assert_eq!(told(&world, network, host, moves), Told::Here(netns("web2")));
    assert_eq!(told(&world, network, other, moves), Told::Behind(1));
    assert_eq!(world.record(network).generation, before.next());
}

#[test]
fn a_move_waits_for_every_port_at_its_new_place() {
    let mut world = World::default();
    let (networks, moves) = ([world.unmanaged(), world.unmanaged()], world.instance_on(1));
    networks.iter().for_each(|network| drop(world.attach(*network, moves)));
    let to = world.host(2);
    let operation = world.operation(&move_to(moves, 2));
    assert_eq!((operation.kind, operation.subject), (OperationKind::Move, Subject::Instance(moves)));
    let OperationState::Pending { wait, .. } = operation.state else { panic!("not pending: {operation:?}") };
    assert_eq!(wait, Wait::Placed(moves));
    let expected = |world: &World, networks: &[NetworkId]| {
        let of = |network: &NetworkId| {
            let port = world.port(*network, moves);
            let own = Some(WaitPort { host: to, mac: port.mac });
            Applied { network: *network, generation: world.record(*network).generation, port: own }
        };
        networks.iter().map(of).collect::<BTreeSet<_>>()
    };
    let awaited = |world: &World| world.zone.awaited(&wait).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(awaited(&world), expected(&world, &networks));
    // What is detached meanwhile is no port of it any more.
    world.detach(networks[0], moves);
    assert_eq!(awaited(&world), expected(&world, &networks[1..]));
}

#[test]
fn what_was_pending_for_a_port_waits_for_it_where_it_is_now() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance_on(1));
    let attachment = world.operation(&attach(network, instance));
    let (from, to) = (world.host_of(instance), world.host(2));
    let own_host = |world: &World, operation: &Operation| {
        let OperationState::Pending { wait, .. } = operation.state else { panic!("not pending: {operation:?}") };
        world.zone.awaited(&wait).iter().map(|awaited| awaited.port.map(|port| port.host)).collect::<Vec<_>>()
    };
    assert_eq!(own_host(&world, &attachment), [Some(from)]);
    world.run(&move_to(instance, 2));
    assert_eq!(own_host(&world, &attachment), [Some(to)]);
    // A port that is gone has been where it was.
    let detachment = world.operation(&Command::Detach { network, instance });
    world.run(&move_to(instance, 1));
    assert_eq!(own_host(&world, &detachment), [Some(to)]);
}

#[test]
fn an_instance_without_ports_is_moved_at_once() {
    let mut world = World::default();
    let (instance, to) = (world.instance_on(1), world.host(2));
    assert_eq!(world.operation(&move_to(instance, 2)).state, OperationState::Success);
    assert_eq!(world.host_of(instance), to);
    assert_eq!(world.zone.carriages.len(), 0);
}

#[test]
fn a_move_to_where_it_is_changes_nothing_and_waits_for_what_there_is() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let changes = world.changes(&move_to(instance, 1));
    assert!(matches!(&changes[..], [Change::Operation(_)]), "{changes:?}");
    let operation = world.operation(&move_to(instance, 1));
    assert!(matches!(operation.state, OperationState::Pending { wait: Wait::Placed(id), .. } if id == instance));
}

#[test]
fn what_is_attached_after_a_move_is_at_the_new_place() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance_on(1));
    let (from, to) = (world.host_of(instance), world.host(2));
    world.run(&move_to(instance, 2));
    world.attach(network, instance);
    assert!(world.zone.is_wanted(network, to) && !world.zone.is_wanted(network, from));
    assert_eq!(world.zone.carriers(network).collect::<Vec<_>>(), [to]);
}

#[test]
fn a_detach_after_a_move_leaves_no_host_that_wants_the_network() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let hosts = [world.host_of(instance), world.host(2)];
    world.run(&move_to(instance, 2));
    world.detach(network, instance);
    assert!(hosts.iter().all(|host| !world.zone.is_wanted(network, *host)));
    assert_eq!(world.zone.carriers(network).collect::<BTreeSet<_>>(), hosts.into(), "until they have confirmed");
    hosts.iter().for_each(|host| drop(world.run(&Command::ConfirmAbsent { host: *host, network })));
    world.run(&Command::DeleteNetwork(network));
    world.run(&Command::DeleteInstance(instance));
    assert_eq!(world.zone.vni_holders.len(), 0);
}

#[test]
fn a_host_that_is_left_empty_can_be_removed_before_it_has_confirmed() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let from = world.host_of(instance);
    let to = world.host(2);
    world.run(&move_to(instance, 2));
    world.run(&Command::RemoveHost { host: from, with_instances: false });
    assert_eq!(world.zone.host(from), None);
    assert_eq!(world.zone.carriers(network).collect::<Vec<_>>(), [to]);
}

#[test]
fn a_host_that_is_removed_with_its_instances_takes_their_ports_and_leases_along() {
    let mut world = World::default();
    let (network, [goes, stays, _]) = spread(&mut world);
    let also_goes = world.attached(network);
    let elsewhere = world.unmanaged();
    world.attach(elsewhere, stays);
    let (host, other) = (world.host_of(goes), world.host_of(stays));
    let gone = [goes, also_goes].map(|instance| world.port(network, instance).mac);
    let mut state = world.zone.wanted(network, other).expect("wanted");
    let untouched = world.record(elsewhere);

    let changes = world.changes(&Command::RemoveHost { host, with_instances: true });
    assert_eq!(changes.iter().filter(|change| matches!(change, Change::Network(_))).count(), 1);
    assert_eq!((world.zone.host(host), world.zone.instance(goes), world.zone.instance(also_goes)), (None, None, None));
    assert_eq!(world.zone.carried_by(host).count(), 0);
    assert_eq!(world.record(elsewhere), untouched);
    let delta = world.zone.delta(network, other, state.generation).expect("it is remembered");
    assert_eq!((delta.set.len(), delta.removed.clone()), (0, gone.into()));
    state.apply(delta).expect("it fits");
    assert_eq!(Some(&state), world.zone.wanted(network, other).as_ref());
    let left: BTreeSet<_> = state.remote_vteps();
    assert_eq!(left, BTreeSet::from([IpAddr::from([192, 0, 2, 3])]));
    // Its addresses are free for others.
    let heir = world.instance_on(2);
    world.attach_static(network, heir, 50);
}

#[test]
fn a_network_that_only_a_removed_host_carried_can_be_deleted_and_its_vni_is_free() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    world.run(&Command::RemoveHost { host: world.host_of(instance), with_instances: true });
    assert_eq!(world.record(network).generation, Generation(3));
    let operation = world.operation(&Command::UpdateNetwork(network, UpdateNetwork::default()));
    assert_eq!(operation.state, OperationState::Success, "nobody carries it");
    world.run(&Command::DeleteNetwork(network));
    assert_eq!(world.zone.vni_holders.keys().copied().collect::<Vec<Vni>>(), []);
}
