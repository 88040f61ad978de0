//! Issue: retried identical requests do no harm.

use super::*;
use crate::{RequestId, SignedRequest};

const FIRST: RequestId = RequestId::from_bytes([1; RequestId::OCTETS]);

/// Has a request with this id come so many milliseconds after the beginning.
fn asks(world: &mut World, id: RequestId, ms: u64, command: &Command) -> Arc<Operation> {
    world.now = NOW.plus(Duration::from_millis(ms));
    world.request = Some(SignedRequest { id, at: world.now });
    world.operation(command)
}

#[test]
fn a_request_that_is_sent_again_is_answered_as_the_first_time() {
    let mut world = World::default();
    let create = create_network(RangeFields::default());
    let first = asks(&mut world, FIRST, 0, &create);
    for ms in [1000, 2000, 600_000] {
        assert_eq!(asks(&mut world, FIRST, ms, &create), first);
    }
    assert_eq!(world.zone.networks().len(), 1);
    let other = RequestId::from_bytes([2; RequestId::OCTETS]);
    assert_ne!(asks(&mut world, other, 1000, &create), first);
}

#[test]
fn what_would_be_refused_the_second_time_is_answered_as_the_first_time() {
    let mut world = World::default();
    let network = world.unmanaged();
    let delete = Command::DeleteNetwork(network);
    let first = asks(&mut world, FIRST, 0, &delete);
    assert_eq!(asks(&mut world, FIRST, 1000, &delete), first);
    world.request = None;
    assert_eq!(world.refused(&delete), Refusal::NetworkNotFound(network));
}

/// As Terraform's `count` makes them: their signatures are alike, as they expire in the same second.
#[test]
fn equal_wishes_that_are_signed_within_one_second_are_several() {
    let mut world = World::default();
    let create = create_network(RangeFields::default());
    let first = asks(&mut world, FIRST, 0, &create);
    assert_ne!(asks(&mut world, FIRST, 999, &create), first);
    assert_eq!(world.zone.networks().len(), 2);
    let later = asks(&mut world, FIRST, 5000, &create);
    assert!(later.subject != first.subject, "nobody can tell which of the two has lost its answer");
}

#[test]
fn an_operation_that_is_forgotten_answers_nothing() {
    let mut world = World::default();
    let create = create_network(RangeFields::default());
    let first = asks(&mut world, FIRST, 0, &create);
    world.zone.apply(&Change::Operation(super::super::Row::remove(Arc::clone(&first))));
    assert_ne!(asks(&mut world, FIRST, 1000, &create), first);
    assert_eq!(world.zone.snapshot().operations.len(), 1);
}

#[test]
fn a_key_that_is_good_for_nothing_any_more_is_answered_nothing() {
    let mut world = World::default();
    let create = create_network(RangeFields::default());
    asks(&mut world, FIRST, 0, &create);
    let scope = crate::Scope::Organization(crate::OrganizationId::DEFAULT, crate::Role::ReadOnly);
    world.caller = Caller::Client { key: None, scope };
    assert_eq!(world.refused(&create), Refusal::ReadOnly);
}
