//! Design §5, Operations; invariant 6.

use super::super::{FINISHED_OPERATIONS_MAX, Snapshot, UpdateNetwork};
use super::addresses::update_range;
use super::*;
use crate::{
    Applied, Generation, OperationId, OperationKind, OperationState, Organization, OrganizationId, Reason, Wait,
    WaitPort,
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
fn an_attach_that_is_there_already_waits_for_what_there_is() {
    let mut world = World::default();
    let (network, instance) = (world.unmanaged(), world.instance());
    let first = world.operation(&attach(network, instance));
    let again = world.operation(&attach(network, instance));
    assert_eq!(again.state, first.state);
    assert_ne!(again.id, first.id);
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

/// As many final operations as are kept, numbered from 1, and a pending one before them.
fn full_of_operations() -> Snapshot {
    let network = NetworkId::new(0, [0; 10]);
    let subject = Subject::Network(network);
    let wait = Wait::Applied(Applied { network, generation: Generation::FIRST, port: None });
    let (organization, kind) = (OrganizationId::DEFAULT, OperationKind::CreateNetwork);
    let operation = |id, state| Operation { id, organization, kind, subject, created_at: NOW, state };
    let final_ones = (1..=FINISHED_OPERATIONS_MAX as u128).map(|number| OperationId::from_bytes(number.to_be_bytes()));
    let mut operations = vec![operation(pending_id(), pending(wait))];
    operations.extend(final_ones.map(|id| operation(id, OperationState::Success)));
    Snapshot { organizations: vec![Organization::default_at(NOW)], operations, ..Snapshot::default() }
}

fn pending_id() -> OperationId {
    OperationId::from_bytes([0; 16])
}

fn pending(wait: Wait) -> OperationState {
    OperationState::Pending { wait, deadline: NOW.plus(OPERATION_TIMEOUT) }
}
