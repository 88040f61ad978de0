//! What holds after any life of a zone.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::testing::Life;
use crate::zone::Row;
use crate::{Generation, MacAddr, NetworkState, OrganizationId, Quotas, Role, Scope, Vni};

const COMMANDS_MAX: u64 = 200;

/// A step of a life: a command, and what it came to.
struct Step {
    before: Zone,
    caller: Caller,
    command: Command,
    decision: Result<Decision, Refusal>,
}

/// Lives, and calls `check` with each step and the zone after it.
fn live(seed: u64, commands: u64, mut check: impl FnMut(&Step, &Zone)) {
    let (mut zone, mut life) = (founded(), Life::new(seed));
    for _ in 0..commands {
        let command = life.command(&zone);
        let caller = life.caller(&zone, &command);
        let decision = life.decide_for(caller, &zone, &command);
        let before = zone.clone();
        decision.iter().flat_map(|decision| &decision.changes).for_each(|change| zone.apply(change));
        check(&Step { before, caller, command, decision }, &zone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_address_no_mac_and_no_vni_is_held_twice(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |_, zone| {
            let snapshot = zone.snapshot();
            assert_unique(snapshot.ports.iter().map(|port| port.mac));
            assert_unique(snapshot.ports.iter().filter_map(|port| port.lease.map(|lease| (port.network, lease.address))));
            assert_unique(snapshot.ports.iter().map(|port| (port.instance, port.device.clone())));
            assert_unique(snapshot.hosts.iter().map(|host| host.facts.vtep));
            assert_unique(snapshot.organizations.iter().map(|organization| organization.name.clone()));
            let of_networks = snapshot.networks.iter().map(|network| (network.vni, network.id));
            let of_carriages = snapshot.carriages.iter().map(|carriage| (carriage.vni, carriage.network));
            let holders: BTreeSet<_> = of_networks.chain(of_carriages).collect();
            assert_unique(holders.into_iter().map(|(vni, _)| vni));
        });
    }

    #[test]
    fn every_lease_lies_in_its_subnet_off_reserved_addresses(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |_, zone| {
            for port in zone.snapshot().ports {
                let network = zone.network(port.network).expect("a port has its network");
                match (network.range, port.lease) {
                    (Some(range), Some(lease)) => assert_eq!(range.check_static(lease.address), Ok(())),
                    (None, None) => {}
                    (range, lease) => panic!("{range:?} with {lease:?}"),
                }
            }
        });
    }

    #[test]
    fn a_host_with_a_port_in_a_network_counts_as_carrying_it(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |_, zone| {
            for port in zone.snapshot().ports {
                let host = zone.instance(port.instance).expect("a port has its instance").host;
                assert!(zone.carriers(port.network).any(|carrier| carrier == host));
            }
        });
    }

    #[test]
    fn every_port_is_found_by_its_instance(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |_, zone| {
            let ports = zone.snapshot().ports;
            for instance in zone.instances() {
                let own = ports.iter().filter(|port| port.instance == instance.id);
                assert!(zone.ports_of_instance(instance.id).map(AsRef::as_ref).eq(own), "{instance:?}");
            }
        });
    }

    #[test]
    fn a_port_joins_what_one_organization_has(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |_, zone| {
            for port in zone.snapshot().ports {
                let network = zone.network(port.network).expect("a port has its network");
                let instance = zone.instance(port.instance).expect("a port has its instance");
                assert_eq!(network.organization, instance.organization);
            }
        });
    }

    #[test]
    fn a_key_changes_nothing_but_what_its_organization_has(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |step, _| {
            let Caller::Client { scope: Scope::Organization(own, role), .. } = step.caller else { return };
            let changes = step.decision.iter().flat_map(|decision| &decision.changes);
            let owners: Vec<_> = changes.map(|change| owner(change, &step.before)).collect();
            assert!(owners.iter().all(|owner| *owner == Some(own)), "{:?}", step.command);
            assert!(role != Role::ReadOnly || owners.is_empty());
        });
    }

    /// Invariant 10, as strong as it can be said: others are not only hidden, they make no difference.
    #[test]
    fn what_a_key_is_answered_does_not_depend_on_other_organizations(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |step, zone| {
            // Which host has the fewest instances depends on everybody's, and is not told.
            let is_spread = matches!(&step.command, Command::LaunchInstance(wish) if wish.host.is_none());
            for organization in step.before.organizations().filter(|_| !is_spread) {
                let caller = Caller::Client { key: None, scope: Scope::Organization(organization.id, Role::Admin) };
                let alone = alone(&step.before, organization.id);
                let among = decide_with_unused_numbers(&step.before, &step.before, caller, &step.command);
                let decision = decide_with_unused_numbers(&alone, &step.before, caller, &step.command);
                assert_eq!(among, decision, "{:?}", step.command);
            }
            for organization in zone.organizations() {
                let caller = Caller::Client { key: None, scope: Scope::Organization(organization.id, Role::ReadOnly) };
                assert_eq!(seen(zone, zone, caller), seen(&alone(zone, organization.id), zone, caller));
            }
        });
    }

    #[test]
    fn nobody_gets_more_than_the_quotas_allow(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |step, zone| {
            for organization in zone.organizations() {
                let counts = |zone: &Zone| {
                    let own = zone.networks().filter(|network| network.organization == organization.id);
                    let ports = own.map(|network| zone.ports_of_network(network.id).count()).max().unwrap_or(0);
                    let usage = zone.usage(organization.id);
                    [usage.networks, usage.instances, ports]
                };
                let Quotas { networks, instances, ports_per_network } = organization.quotas;
                for ((quota, before), after) in
                    [networks, instances, ports_per_network].into_iter().zip(counts(&step.before)).zip(counts(zone))
                {
                    assert!(after <= before || quota.exceeded_by_one_more(before).is_none(), "{:?}", step.command);
                }
            }
        });
    }

    #[test]
    fn a_refused_command_is_no_change_and_an_accepted_one_answers_with_what_is_there(
        seed: u64,
        commands in 0..COMMANDS_MAX,
    ) {
        live(seed, commands, |step, zone| match &step.decision {
            Err(_) => assert!(&step.before == zone),
            Ok(decision) => match &decision.outcome {
                // One that ends when its organization is gone goes with it.
                Outcome::Operation(operation) => {
                    let is_kept = zone.organization(operation.organization).is_some();
                    assert_eq!(zone.operation(operation.id), is_kept.then_some(operation));
                }
                Outcome::Instance(instance) => assert_eq!(zone.instance(instance.id), Some(instance)),
                Outcome::Host(host) => assert_eq!(zone.host(host.id), Some(host)),
                Outcome::Organization(organization) => {
                    assert_eq!(zone.organization(organization.id), Some(organization));
                }
                Outcome::Key(key) => assert_eq!(zone.key(key.id), Some(key)),
                Outcome::Invitation(invitation) => {
                    assert!(zone.invitations().any(|other| other == invitation));
                }
                Outcome::Done => {}
            },
        });
    }

    #[test]
    fn a_generation_is_raised_by_exactly_one_where_a_network_its_ports_or_its_hosts_mtu_change(
        seed: u64,
        commands in 0..COMMANDS_MAX,
    ) {
        live(seed, commands, |step, zone| {
            for network in step.before.networks().filter_map(|network| zone.network(network.id)) {
                let before = step.before.network(network.id).expect("it was there");
                let is_same = before.name == network.name
                    && before.description == network.description
                    && before.range == network.range
                    && before.options == network.options
                    && before.labels == network.labels
                    && step.before.ports_of_network(network.id).eq(zone.ports_of_network(network.id));
                let is_raised = !is_same || has_host_of_another_mtu(&step.before, zone, network.id);
                let raised = Generation(before.generation.0 + u64::from(is_raised));
                assert_eq!(network.generation, raised, "{:?}", step.command);
            }
        });
    }

    #[test]
    fn every_operation_is_counted_for_its_organization_and_a_final_one_has_one(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |_, zone| {
            let mut counted: BTreeMap<_, [BTreeSet<_>; 2]> = BTreeMap::new();
            for operation in zone.snapshot().operations {
                assert!(!operation.is_final() || zone.organization(operation.organization).is_some());
                counted.entry(operation.organization).or_default()[usize::from(operation.is_final())].insert(operation.id);
            }
            let held = zone.holdings.iter().map(|(id, holdings)| (*id, [holdings.pending.clone(), holdings.finished.clone()]));
            let held = held.filter(|(_, operations)| operations.iter().any(|operations| !operations.is_empty()));
            assert_eq!(held.collect::<BTreeMap<_, _>>(), counted);
        });
    }

    #[test]
    fn a_zone_made_of_its_own_records_is_the_same(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |_, zone| {
            let again = Zone::new(zone.snapshot());
            assert!(forgetful(again) == forgetful(zone.clone()), "{:?}", zone.snapshot());
        });
    }

    #[test]
    fn undoing_a_decision_restores_the_zone(seed: u64, commands in 0..COMMANDS_MAX) {
        live(seed, commands, |step, zone| {
            let Ok(decision) = &step.decision else { return };
            let mut undone = zone.clone();
            decision.changes.iter().rev().for_each(|change| undone.apply(&change.clone().inverse()));
            if matches!(step.command, Command::DeleteNetwork(_)) {
                // What was removed from a network before is forgotten with it.
                assert!(forgetful(undone) == forgetful(step.before.clone()));
            } else {
                assert!(undone == step.before, "{:?}", step.command);
            }
        });
    }

    #[test]
    fn a_delta_leads_from_every_earlier_state_it_answers_for_to_the_present_one(
        seed: u64,
        commands in 0..COMMANDS_MAX,
    ) {
        let mut told: BTreeMap<(NetworkId, HostId), BTreeMap<Generation, NetworkState>> = BTreeMap::new();
        let mut answered = 0;
        live(seed, commands, |_, zone| {
            for (network, host) in pairs(zone) {
                let Some(present) = zone.wanted(network, host) else { continue };
                let earlier = told.entry((network, host)).or_default();
                let same = earlier.entry(present.generation).or_insert_with(|| present.clone());
                assert_eq!(*same, present, "a host that has this generation is told nothing");
                for (base, state) in earlier {
                    let Some(delta) = zone.delta(network, host, *base) else { continue };
                    answered += 1;
                    let mut state = state.clone();
                    state.apply(delta).expect("it builds on this generation");
                    assert_eq!(state, present, "from {base}");
                }
            }
        });
        prop_assert!(told.is_empty() || answered > 0);
    }
}

#[test]
fn a_life_meets_every_command_and_accepts_most() {
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..16 {
        live(seed, COMMANDS_MAX, |step, _| {
            let word = format!("{:?}", step.command);
            let word = word.split(['(', ' ']).next().unwrap_or_default().to_owned();
            let set = if step.decision.is_ok() { &mut accepted } else { &mut refused };
            set.insert(word);
        });
    }
    assert_eq!(accepted.len(), 33, "{accepted:?}");
    assert!(refused.len() >= 10, "{refused:?}");
}

/// Whose record a change is about. A carriage is that of its network's organization.
fn owner(change: &Change, before: &Zone) -> Option<OrganizationId> {
    fn record<T>(row: &Row<T>) -> Option<&T> {
        row.after.as_deref().or(row.before.as_deref())
    }
    let of_network = |id| before.network(id).map(|network| network.organization);
    match change {
        Change::Network(row) => record(row).map(|network| network.organization),
        Change::Instance(row) => record(row).map(|instance| instance.organization),
        Change::Operation(row) => record(row).map(|operation| operation.organization),
        Change::Port(row) => record(row).and_then(|port| of_network(port.network)),
        Change::Carriage(row) => record(row).and_then(|carriage| of_network(carriage.network)),
        Change::Key(row) => match record(row)?.scope {
            Scope::Organization(organization, _) => Some(organization),
            Scope::Operator => None,
        },
        Change::SshKey(row) => record(row).map(|key| key.organization),
        Change::Organization(_) | Change::Host(_) | Change::Invitation(_) => None,
    }
}

/// The zone with one organization and the hosts.
fn alone(zone: &Zone, own: OrganizationId) -> Zone {
    let mut snapshot = zone.snapshot();
    snapshot.organizations.retain(|organization| organization.id == own);
    snapshot.keys.retain(|key| matches!(key.scope, Scope::Organization(organization, _) if organization == own));
    snapshot.ssh_keys.retain(|key| key.organization == own);
    snapshot.networks.retain(|network| network.organization == own);
    snapshot.instances.retain(|instance| instance.organization == own);
    snapshot.operations.retain(|operation| operation.organization == own);
    snapshot.ports.retain(|port| zone.network(port.network).is_some_and(|network| network.organization == own));
    Zone::new(snapshot)
}

/// Decides with the same numbers each time, none of which makes a VNI or a MAC address that `zone` has: what is drawn
/// again because it is taken looks like any other.
fn decide_with_unused_numbers(
    zone: &Zone,
    full: &Zone,
    caller: Caller,
    command: &Command,
) -> Result<Decision, Refusal> {
    let is_used = |number: u64| {
        let [a, b, c, d, e, ..] = number.to_le_bytes();
        full.vni_holders.contains_key(&Vni::from_random(number))
            || full.macs.contains_key(&MacAddr::for_port([a, b, c, d, e]))
    };
    let mut numbers = (1_u64..).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).filter(|number| !is_used(*number));
    let random = &mut || numbers.next().expect("there is always one more");
    let operation_timeout = OPERATION_TIMEOUT;
    let makes_instances = &|_| true;
    zone.decide(
        command,
        &mut Circumstances { caller, request: None, now: NOW, operation_timeout, random, makes_instances },
    )
}

/// All that a caller sees of a zone, asked for every id that another has.
fn seen(zone: &Zone, full: &Zone, caller: Caller) -> impl PartialEq + std::fmt::Debug + use<> {
    let seen = zone.seen_by(caller);
    let operations = full.operations.keys().filter_map(|id| seen.operation(*id)).cloned().collect::<Vec<_>>();
    let networks = full.networks().filter_map(|network| seen.network(network.id)).cloned().collect::<Vec<_>>();
    let instances = full.instances().filter_map(|instance| seen.instance(instance.id)).cloned().collect::<Vec<_>>();
    assert!(seen.networks_from(NetworkId::MIN).eq(&networks));
    assert!(seen.instances_from(InstanceId::MIN).eq(&instances));
    let keys = full.keys().filter_map(|key| seen.key(key.id)).cloned().collect::<Vec<_>>();
    assert!(seen.keys().eq(&keys));
    (networks, instances, operations, keys, zone.usage(caller.organization()))
}

/// Whether a host that has ports in a network can carry packets of another size than before.
fn has_host_of_another_mtu(before: &Zone, after: &Zone, network: NetworkId) -> bool {
    let mtu_bytes = |zone: &Zone, host| zone.host(host).map(|host| host.facts.overlay_mtu_bytes());
    let mut hosts = before.hosts().map(|host| host.id).filter(|host| after.is_wanted(network, *host));
    hosts.any(|host| mtu_bytes(before, host) != mtu_bytes(after, host))
}

fn pairs(zone: &Zone) -> Vec<(NetworkId, HostId)> {
    zone.networks().flat_map(|network| zone.hosts().map(|host| (network.id, host.id))).collect()
}

/// The zone without its memory of removed ports, which no record holds.
fn forgetful(mut zone: Zone) -> Zone {
    for segment in zone.segments.values_mut() {
        segment.removals.clear();
        segment.removals_from = segment.network.generation;
    }
    zone
}

fn assert_unique<T: Ord + std::fmt::Debug>(items: impl Iterator<Item = T>) {
    let mut seen = BTreeSet::new();
    for item in items {
        assert!(!seen.contains(&item), "{item:?} is there twice");
        seen.insert(item);
    }
}
