//! What holds after any life of a zone.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::testing::Life;
use crate::{Generation, NetworkState};

const COMMANDS_MAX: u64 = 200;

/// A step of a life: a command, and what it came to.
struct Step {
    before: Zone,
    command: Command,
    decision: Result<Decision, Refusal>,
}

/// Lives, and calls `check` with each step and the zone after it.
fn live(seed: u64, commands: u64, mut check: impl FnMut(&Step, &Zone)) {
    let (mut zone, mut life) = (founded(), Life::new(seed));
    for _ in 0..commands {
        let command = life.command(&zone);
        let decision = life.decide(&zone, &command);
        let before = zone.clone();
        decision.iter().flat_map(|decision| &decision.changes).for_each(|change| zone.apply(change));
        check(&Step { before, command, decision }, &zone);
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
    fn a_refused_command_is_no_change_and_an_accepted_one_answers_with_what_is_there(
        seed: u64,
        commands in 0..COMMANDS_MAX,
    ) {
        live(seed, commands, |step, zone| match &step.decision {
            Err(_) => assert!(&step.before == zone),
            Ok(decision) => match &decision.outcome {
                Outcome::Operation(operation) => assert_eq!(zone.operation(operation.id), Some(operation)),
                Outcome::Instance(instance) => assert_eq!(zone.instance(instance.id), Some(instance)),
                Outcome::Host(host) => assert_eq!(zone.host(host.id), Some(host)),
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
    assert_eq!(accepted.len(), 21, "{accepted:?}");
    assert!(refused.len() >= 10, "{refused:?}");
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
