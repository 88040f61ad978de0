//! Invariant 10: what an organization has is there for that organization alone.

use super::super::{RefusalKind, Row, UpdateNetwork, UpdateOrganization};
use super::*;
use crate::{Organization, OrganizationId, Quotas, Role, Scope};

const OTHER: OrganizationId = OrganizationId::MAX;

/// A world with a second organization, in whose place commands are given.
fn world_of_two() -> World {
    let name = "other".try_into().expect("valid");
    let other = Organization { id: OTHER, name, quotas: Quotas::default(), created_at: NOW };
    let mut world = World::default();
    world.zone.apply(&Change::Organization(Row::insert(other)));
    world
}

fn member(organization: OrganizationId, role: Role) -> Caller {
    Caller::Client { key: None, scope: Scope::Organization(organization, role) }
}

/// Every command that names a network or an instance and may be given by an organization's admin.
fn commands(network: NetworkId, instance: InstanceId) -> Vec<Command> {
    vec![
        Command::UpdateNetwork(network, UpdateNetwork::default()),
        Command::DeleteNetwork(network),
        Command::ResetLabels(network),
        attach(network, instance),
        Command::Attach { network, instance, address: Some(ip(7)), device: DeviceWish::default() },
        Command::Detach { network, instance },
        Command::UpdateIp { network, instance, address: None },
        Command::UpdateIp { network, instance, address: Some(ip(7)) },
    ]
}

#[test]
fn what_another_organization_has_is_refused_as_what_nobody_has() {
    let mut world = world_of_two();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    world.caller = member(OTHER, Role::Admin);
    let own = world.managed(50, 99);
    let unknown = (NetworkId::from_bytes([7; 16]), InstanceId::from_bytes([8; 16]));
    let nobodys = |text: String| {
        text.replace(&unknown.0.to_string(), &network.to_string())
            .replace(&unknown.1.to_string(), &instance.to_string())
    };
    let pairs = [((network, instance), unknown), ((own, instance), (own, unknown.1))];
    for (anothers, unknown) in pairs {
        for (anothers, unknown) in commands(anothers.0, anothers.1).iter().zip(commands(unknown.0, unknown.1)) {
            let (Err(refusal), Err(unknown)) = (world.decide(anothers), world.decide(&unknown)) else {
                assert!(!format!("{anothers:?}").contains(&instance.to_string()), "{anothers:?}");
                continue;
            };
            assert_eq!(refusal.kind(), RefusalKind::NotFound, "{anothers:?}");
            assert_eq!(refusal.to_string(), nobodys(unknown.to_string()), "{anothers:?}");
        }
    }
    assert_eq!(world.port(network, instance).lease, dynamic(50));
}

#[test]
fn what_another_organization_has_is_not_seen() {
    let mut world = world_of_two();
    let (network, instance) = (world.managed(50, 99), world.instance());
    let operation = world.operation(&attach(network, instance)).id;
    let sees = |world: &World, caller| {
        let seen = world.zone.seen_by(caller);
        let listed = [seen.networks_from(NetworkId::MIN).count(), seen.instances_from(InstanceId::MIN).count()];
        let usage = world.zone.usage(caller.organization());
        assert_eq!(listed, [usage.networks, usage.instances]);
        let found = seen.network(network).is_some() && seen.instance(instance).is_some();
        assert_eq!(listed == [1, 1], found);
        (found, seen.operation(operation).is_some())
    };
    for role in Role::ALL {
        assert_eq!(sees(&world, member(OrganizationId::DEFAULT, role)), (true, true));
        assert_eq!(sees(&world, member(OTHER, role)), (false, false));
    }
    assert_eq!(sees(&world, Caller::OPERATOR), (true, true));
}

#[test]
fn what_is_made_belongs_to_who_makes_it() {
    let mut world = world_of_two();
    world.caller = member(OTHER, Role::Admin);
    let operation = world.operation(&create_network(RangeFields::default()));
    let Subject::Network(network) = operation.subject else { panic!("a network") };
    assert_eq!((operation.organization, world.record(network).organization), (OTHER, OTHER));
}

#[test]
fn an_operator_moves_what_anybody_has_and_follows_the_operation() {
    let mut world = world_of_two();
    let instance = world.instance_on(1);
    world.host(2);
    let before = world.zone.instance(instance).cloned().expect("it is there");
    let of_another = Instance { organization: OTHER, ..Instance::clone(&before) };
    world.zone.apply(&Change::Instance(Row::replace(before, of_another)));
    world.caller = Caller::OPERATOR;
    let operation = world.operation(&move_to(instance, 2));
    assert_eq!(operation.organization, OTHER);
    assert!(world.zone.seen_by(Caller::OPERATOR).operation(operation.id).is_some());
    assert!(world.zone.seen_by(member(OTHER, Role::ReadOnly)).operation(operation.id).is_some());
    world.run(&Command::DeleteInstance(instance));
}

#[test]
fn an_organization_that_is_gone_gets_nothing_more() {
    let mut world = World { caller: member(OTHER, Role::Admin), ..World::default() };
    let refusal = world.refused(&create_network(RangeFields::default()));
    assert_eq!(refusal, Refusal::OrganizationNotFound(OTHER));
}

#[test]
fn a_read_only_key_changes_nothing() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    world.caller = member(OrganizationId::DEFAULT, Role::ReadOnly);
    for command in commands(network, instance).into_iter().chain([create_network(RangeFields::default())]) {
        let refusal = world.refused(&command);
        assert_eq!((&refusal, refusal.kind()), (&Refusal::ReadOnly, RefusalKind::Forbidden), "{command:?}");
    }
}

#[test]
fn what_organizations_share_is_an_operators() {
    let mut world = World::default();
    let (instance, host) = (world.instance_on(1), world.host(2));
    let commands = [
        create_instance(1),
        move_to(instance, 2),
        Command::DeleteInstance(instance),
        Command::RemoveHost { host, with_instances: true },
        Command::CreateOrganization { name: "acme".try_into().expect("valid"), quotas: Quotas::default() },
        Command::UpdateOrganization(OrganizationId::DEFAULT, UpdateOrganization::default()),
        Command::DeleteOrganization(OTHER),
        register_host(1),
        Command::ConfirmAbsent { host, network: NetworkId::MIN },
    ];
    for role in Role::ALL {
        world.caller = member(OrganizationId::DEFAULT, role);
        for command in &commands {
            let refusal = world.refused(command);
            assert_eq!((&refusal, refusal.kind()), (&Refusal::NotOperator, RefusalKind::Forbidden), "{command:?}");
        }
    }
    world.caller = Caller::OPERATOR;
    assert_eq!(world.refused(&register_host(1)), Refusal::NotOperator, "hosts speak for themselves");
    world.run(&create_instance(1));
    world.run(&move_to(instance, 2));
}
