//! Design §5, Operations; invariant 6.

use super::super::{FINISHED_OPERATIONS_MAX, PENDING_OPERATIONS_MAX, RefusalKind, Row, Snapshot, UpdateNetwork};
use super::addresses::update_range;
use super::*;
use crate::{
    Applied, Generation, OperationId, OperationKind, OperationState, Organization, OrganizationId, Quotas, Reason,
    Role, Scope, Wait, WaitPort,
};

#[test]
fn every_mutation_is_an_operation_of_its_kind() {
    let mut world = World::default();
    let (network, instance) = (world.managed(50, 99), world.instance());
    let cases = [
        (create_network(RangeFields::default()), OperationKind::CreateNetwork),
        (Command::UpdateNetwork(network, UpdateNetwork::default()), OperationKind::UpdateNetwork),
        (update_range(network, range(50, 120)), OperationKind::UpdateNetwork),
        (Command::ResetLabels(network), OperationKind::ResetNetworkField),
        (attach(network, instance), OperationKind::Attach),
        (Command::UpdateIp { network, instance, address: Some(ip(7)) }, OperationKind::UpdateIp),
        (move_to(instance, 1), OperationKind::Move),
        (Command::Detach { network, instance }, OperationKind::Detach),
        (Command::DeleteNetwork(network), OperationKind::DeleteNetwork),
    ];
    for (command, kind) in cases {
        let operation = world.operation(&command);
        assert_eq!(operation.kind, kind);
        assert_eq!(operation.created_at, NOW);
        assert_eq!(world.zone.operation(operation.id), Some(&operation));
    }
}

#[test]
fn an_operation_that_no_host_has_to_carry_out_is_a_success_from_the_start() {
    let mut world = World::default();
    let network = world.unmanaged();
    let commands =
        [create_network(RangeFields::default()), update_range(network, range(50, 99)), Command::DeleteNetwork(network)];
    for command in commands {
        assert_eq!(world.operation(&command).state, OperationState::Success, "{command:?}");
    }
    assert_eq!(world.zone.pending_operations().count(), 0);
}

#[test]
fn an_operation_about_a_port_waits_for_the_ports_host_and_the_generation_that_contains_it() {
    let mut world = World::default();
    let (network, instance) = (world.managed(50, 99), world.instance());
    let commands = [
        attach(network, instance),
        Command::UpdateIp { network, instance, address: Some(ip(7)) },
        Command::Detach { network, instance },
    ];
    let mut mac = None;
    for command in commands {
        let operation = world.operation(&command);
        let mac = *mac.get_or_insert_with(|| world.port(network, instance).mac);
        let port = WaitPort { host: world.host_of(instance), mac };
        let wait = Wait::Applied(Applied { network, generation: world.record(network).generation, port: Some(port) });
        assert_eq!(operation.state, pending(wait), "{command:?}");
    }
}

#[test]
fn an_attach_that_is_there_already_is_the_operation_that_is_pending_or_else_a_new_one() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance());
    let first = world.operation(&attach(network, instance));
    let again = world.decide(&attach(network, instance)).expect("accepted");
    assert_eq!(again, Decision { changes: Vec::new(), outcome: Outcome::Operation(Arc::clone(&first)) });

    world.run(&Command::FinishOperation(first.id, OperationState::Success));
    let later = world.operation(&attach(network, instance));
    assert_eq!((&later.state, later.id == first.id), (&first.state, false), "it waits for what there is");
}

#[test]
fn an_organization_s_pending_operations_are_limited_and_an_operator_s_are_not() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance());
    world.run(&attach(network, instance));
    let wait = |generation| Wait::Applied(Applied { network, generation: Generation(generation), port: None });
    let missing = PENDING_OPERATIONS_MAX - world.zone.pending_operations().count();
    for number in 1..=missing as u64 {
        let id = OperationId::from_bytes(u128::from(number).to_be_bytes());
        world.zone.apply(&Change::Operation(Row::insert(numbered(id, OrganizationId::DEFAULT, pending(wait(number))))));
    }
    let admin = Caller::Client { key: None, scope: Scope::Organization(OrganizationId::DEFAULT, Role::Admin) };
    world.caller = admin;
    assert_eq!(world.refused(&Command::Detach { network, instance }), Refusal::TooManyPending);
    assert_eq!(Refusal::TooManyPending.kind(), RefusalKind::Conflict);
    world.unmanaged();

    world.caller = Caller::OPERATOR;
    world.run(&move_to(instance, 1));
    world.caller = admin;
    for number in 1..=2_u128 {
        let id = OperationId::from_bytes(number.to_be_bytes());
        world.zone.apply(&Change::Operation(Row::remove(Arc::clone(world.zone.operation(id).expect("there")))));
    }
    world.run(&Command::Detach { network, instance });
}

#[test]
fn a_change_of_a_network_waits_for_the_hosts_that_may_carry_it() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let operation = world.operation(&update_range(network, range(50, 99)));
    let wait = Wait::Applied(Applied { network, generation: Generation(3), port: None });
    assert_eq!(operation.state, pending(wait));

    world.detach(network, instance);
    let operation = world.operation(&Command::DeleteNetwork(network));
    let wait = Wait::Applied(Applied { network, generation: Generation(5), port: None });
    assert_eq!(operation.state, pending(wait), "the host has not confirmed that it carries it no more");
}

#[test]
fn a_pending_operation_has_one_end_and_keeps_it() {
    let (reason, message) = (Reason::NotFound, "no such network namespace".to_owned());
    let ends = [
        OperationState::Success,
        OperationState::Failure { reason, message: message.clone() },
        OperationState::Timeout { message },
    ];
    for end in &ends {
        let mut world = World::default();
        let (network, instance) = (world.unmanaged(), world.instance());
        let operation = world.operation(&attach(network, instance));
        assert_eq!(world.zone.pending_operations().collect::<Vec<_>>(), [&operation]);

        let ended = world.operation(&Command::FinishOperation(operation.id, end.clone()));
        assert_eq!(&ended.state, end);
        assert_eq!(world.zone.operation(operation.id), Some(&ended));
        assert_eq!(world.zone.pending_operations().count(), 0);
        for other in &ends {
            assert_eq!(world.operation(&Command::FinishOperation(operation.id, other.clone())), ended);
        }
    }
}

#[test]
fn operations_outlive_a_restart_and_pending_ones_are_pending_still() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance());
    let operation = world.operation(&attach(network, instance));
    let restarted = Zone::new(world.zone.snapshot());
    assert_eq!(restarted.pending_operations().collect::<Vec<_>>(), [&operation]);
}

#[test]
fn the_oldest_final_operation_is_forgotten_when_there_would_be_too_many() {
    let mut world = World { zone: Zone::new(full_of_operations()), ..World::default() };
    let oldest_final = OperationId::from_bytes(1_u128.to_be_bytes());
    let second = OperationId::from_bytes(2_u128.to_be_bytes());

    let network = world.unmanaged();
    assert_eq!(world.zone.operation(oldest_final), None);
    assert!(world.zone.operation(pending_id()).is_some(), "a pending one is never forgotten");

    let instance = world.instance();
    let attach = world.operation(&attach(network, instance));
    assert!(world.zone.operation(second).is_some(), "a pending one takes no place of a final one");
    world.run(&Command::FinishOperation(attach.id, OperationState::Success));
    assert_eq!(world.zone.operation(second), None);
    assert_eq!(world.zone.snapshot().operations.len(), FINISHED_OPERATIONS_MAX + 1);
}

#[test]
fn an_organization_s_operations_push_out_no_other_s() {
    let mut snapshot = full_of_operations();
    let (other, other_s) = (OrganizationId::MAX, OperationId::from_bytes([0xff; 16]));
    let older = OperationId::from_bytes([0; 16]);
    snapshot.operations.retain(|operation| operation.is_final());
    snapshot.operations.extend([older, other_s].map(|id| numbered(id, other, OperationState::Success)));
    let mut world = World { zone: Zone::new(snapshot), ..World::default() };

    world.unmanaged();
    assert_eq!(world.zone.operation(OperationId::from_bytes(1_u128.to_be_bytes())), None);
    assert!([older, other_s].iter().all(|id| world.zone.operation(*id).is_some()));
}

#[test]
fn a_zone_that_has_more_than_are_kept_comes_down_to_it() {
    let mut snapshot = full_of_operations();
    let more = (0..3).map(|number| OperationId::from_bytes([0xff - number; 16]));
    let more = more.map(|id| numbered(id, OrganizationId::DEFAULT, OperationState::Success));
    snapshot.operations.extend(more);
    let mut world = World { zone: Zone::new(snapshot), ..World::default() };
    let counts = [(); 5].map(|()| {
        world.unmanaged();
        world.zone.snapshot().operations.iter().filter(|operation| operation.is_final()).count()
    });
    let max = FINISHED_OPERATIONS_MAX;
    assert_eq!(counts, [max + 2, max + 1, max, max, max]);
}

#[test]
fn a_deleted_organization_takes_its_operations_along_and_pending_ones_when_they_end() {
    let mut world = World::default();
    let name = "other".try_into().expect("valid");
    let Outcome::Organization(other) = world.run(&Command::CreateOrganization { name, quotas: Quotas::default() })
    else {
        panic!("no organization")
    };
    let [kept, pending_one, final_one] = [1, 2, 3].map(|number| OperationId::from_bytes([number; 16]));
    let wait = Wait::Removed { instance: world.instance(), host: HostId::MIN };
    for operation in [
        numbered(kept, OrganizationId::DEFAULT, OperationState::Success),
        numbered(pending_one, other.id, pending(wait)),
        numbered(final_one, other.id, OperationState::Success),
    ] {
        world.zone.apply(&Change::Operation(Row::insert(operation)));
    }
    world.run(&Command::DeleteOrganization(other.id));
    let is_there = |world: &World| [kept, pending_one, final_one].map(|id| world.zone.operation(id).is_some());
    assert_eq!(is_there(&world), [true, true, false]);
    world.run(&Command::FinishOperation(pending_one, OperationState::Success));
    assert_eq!(is_there(&world), [true, false, false]);
    assert!(!world.zone.holdings.contains_key(&other.id));
}

/// As many final operations as are kept, numbered from 1, and a pending one before them.
fn full_of_operations() -> Snapshot {
    let network = NetworkId::new(0, [0; 10]);
    let wait = Wait::Applied(Applied { network, generation: Generation::FIRST, port: None });
    let organization = OrganizationId::DEFAULT;
    let final_ones = (1..=FINISHED_OPERATIONS_MAX as u128).map(|number| OperationId::from_bytes(number.to_be_bytes()));
    let mut operations = vec![numbered(pending_id(), organization, pending(wait))];
    operations.extend(final_ones.map(|id| numbered(id, organization, OperationState::Success)));
    Snapshot { organizations: vec![Organization::default_at(NOW)], operations, ..Snapshot::default() }
}

fn numbered(id: OperationId, organization: OrganizationId, state: OperationState) -> Operation {
    let subject = Subject::Network(NetworkId::new(0, [0; 10]));
    Operation { id, organization, kind: OperationKind::CreateNetwork, subject, created_at: NOW, request: None, state }
}

fn pending_id() -> OperationId {
    OperationId::from_bytes([0; 16])
}

fn pending(wait: Wait) -> OperationState {
    OperationState::Pending { wait, deadline: NOW.plus(OPERATION_TIMEOUT) }
}
