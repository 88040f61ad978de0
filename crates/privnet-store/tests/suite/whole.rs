//! A commit is one step: whole or not at all, and in no order that could be seen.

use privnet_model::zone::Change;
use privnet_model::{
    Applied, Carriage, Generation, Host, HostFacts, HostName, Instance, Lease, LeaseKind, Network, OperationState,
    Port, Timestamp, Vni, Wait,
};
use privnet_store::{Store as _, StoreError};

use super::records::{carriage, host, instance, ip, mac, network, operation, port};
use super::{Database, holding, insert, load, refuse_for_constraint, remove, replace};

pub fn a_commit_that_breaks_a_constraint_changes_nothing<D: Database>() {
    let (_database, mut store) = two_ports::<D>();
    let changes = [
        insert(&network(2)),
        replace(&network(1), &next_generation(&network(1))),
        remove(&leased(1, 50)),
        insert(&Network { vni: network(2).vni, ..network(3) }),
    ];
    refuse_for_constraint(&mut store, &changes);
    store.commit(&changes[..3]).expect("the others are as good as before");
}

pub fn a_record_that_somebody_else_has_changed_is_not_written<D: Database>() {
    let pending = pending();
    let (_database, mut store) = two_ports::<D>();
    store.commit(&[insert(&pending), insert(&carriage(&host(1), &network(1)))]).expect("commits");
    let found_otherwise = [
        replace(&next_generation(&network(1)), &network(1)),
        remove(&next_generation(&network(1))),
        replace(&Network { vni: Vni::try_from(99).expect("valid"), ..network(1) }, &next_generation(&network(1))),
        replace(&Port { changed: Generation(9), ..leased(1, 50) }, &Port { changed: Generation(10), ..leased(1, 50) }),
        replace(&leased(1, 60), &leased(1, 61)),
        remove(&Port { mac: mac(9), ..leased(1, 50) }),
        remove(&Instance { host: host(2).id, ..instance(1, &host(1)) }),
        replace(&with_vtep(&host(1), 77), &with_vtep(&host(1), 78)),
        remove(&Host { name: HostName::try_from("other").expect("valid"), ..host(2) }),
        remove(&operation(1, &network(1), OperationState::Success)),
        remove(&Carriage { vni: Vni::try_from(99).expect("valid"), ..carriage(&host(1), &network(1)) }),
        remove(&network(3)),
        replace(&operation(3, &network(1), OperationState::Success), &pending_with_id(3)),
    ];
    for change in found_otherwise {
        let before = load(&mut store);
        let refusal = store.commit(&[insert(&network(7)), change.clone()]).expect_err("it is not as expected");
        assert!(matches!(refusal, StoreError::Changed { .. }), "{change:?}: {refusal:?}");
        assert_eq!(load(&mut store), before);
    }
}

pub fn ports_exchange_their_addresses_in_one_commit<D: Database>() {
    let (_database, mut store) = two_ports::<D>();
    store.commit(&[replace(&leased(1, 50), &leased(1, 51)), replace(&leased(2, 51), &leased(2, 50))]).expect("commits");
    assert_eq!(load(&mut store).ports, [leased(1, 51), leased(2, 50)]);
}

pub fn hosts_exchange_their_vteps_in_one_commit<D: Database>() {
    let (_database, mut store) = two_ports::<D>();
    let (first, second) = (with_vtep(&host(1), 2), with_vtep(&host(2), 1));
    store.commit(&[replace(&host(1), &first), replace(&host(2), &second)]).expect("commits");
    let after = load(&mut store);
    assert_eq!(after.hosts, [first.clone(), second]);
    assert_eq!(after.instances[0].host, first.id, "what refers to a host stays");
}

pub fn what_one_change_frees_another_takes_in_any_order<D: Database>() {
    in_any_order::<D>(&[remove(&leased(1, 50)), insert(&Port { mac: mac(1), ..leased(3, 50) })]);
    in_any_order::<D>(&[
        replace(&leased(1, 50), &leased(1, 60)),
        replace(&leased(2, 51), &leased(2, 50)),
        insert(&leased(3, 51)),
    ]);
    let third = Host { facts: host(1).facts, ..host(3) };
    in_any_order::<D>(&[replace(&host(1), &with_vtep(&host(1), 9)), insert(&third)]);
}

pub fn a_freed_vni_is_given_again_in_the_same_commit<D: Database>() {
    let gone = network(2);
    let taker = Network { vni: gone.vni, ..network(3) };
    let changes = [
        remove(&gone),
        remove(&carriage(&host(1), &gone)),
        insert(&taker),
        insert(&carriage(&host(2), &taker)),
        insert(&carriage(&host(1), &taker)),
    ];
    for changes in [changes.to_vec(), changes.into_iter().rev().collect()] {
        let (_database, mut store) = two_ports::<D>();
        store.commit(&[insert(&gone), insert(&carriage(&host(1), &gone))]).expect("commits");
        store.commit(&changes).expect("commits");
    }
}

pub fn an_instance_is_detached_and_attached_again_in_one_commit<D: Database>() {
    let (_database, mut store) = two_ports::<D>();
    let again = Port { mac: mac(99), changed: Generation(3), ..leased(1, 50) };
    let networks = [network(1), next_generation(&network(1)), next_generation(&next_generation(&network(1)))];
    let changes = [
        replace(&networks[0], &networks[1]),
        remove(&leased(1, 50)),
        replace(&networks[1], &networks[2]),
        insert(&again),
    ];
    store.commit(&changes).expect("commits");
    let after = load(&mut store);
    assert_eq!(after.networks, networks[2..]);
    assert_eq!(after.ports, [again, leased(2, 51)]);
}

pub fn a_record_made_and_removed_in_one_commit_leaves_nothing<D: Database>() {
    let (_database, mut store) = two_ports::<D>();
    let before = load(&mut store);
    let brief = Network { vni: network(1).vni, ..network(5) };
    let longer = Network { vni: network(6).vni, ..brief.clone() };
    let changes =
        [insert(&brief), replace(&brief, &longer), remove(&longer), remove(&leased(1, 50)), insert(&leased(1, 50))];
    store.commit(&changes).expect("what is true in between does not matter");
    assert_eq!(load(&mut store), before);
}

pub fn a_record_may_come_before_what_it_refers_to<D: Database>() {
    let changes = [insert(&leased(1, 50)), insert(&instance(1, &host(1))), insert(&host(1)), insert(&network(1))];
    let (_database, mut store) = holding::<D>(&changes);
    store.commit(&changes.map(Change::inverse)).expect("and go after it");
}

fn in_any_order<D: Database>(changes: &[Change]) {
    for changes in [changes.to_vec(), changes.iter().rev().cloned().collect()] {
        let (_database, mut store) = two_ports::<D>();
        store.commit(&changes).expect("commits");
    }
}

/// Two hosts, three instances on the first, two of which have ports in one network.
fn two_ports<D: Database>() -> (D, D::Store) {
    let mut records = vec![insert(&host(1)), insert(&host(2)), insert(&network(1))];
    records.extend((1..=3).map(|number| insert(&instance(number, &host(1)))));
    records.extend([insert(&leased(1, 50)), insert(&leased(2, 51))]);
    holding::<D>(&records)
}

fn leased(number: u8, last: u8) -> Port {
    Port { lease: Some(Lease { address: ip(last), kind: LeaseKind::Dynamic }), ..port(&network(1), number) }
}

fn next_generation(network: &Network) -> Network {
    Network { generation: network.generation.next(), ..network.clone() }
}

fn with_vtep(host: &Host, last: u8) -> Host {
    let facts = HostFacts { vtep: std::net::IpAddr::from([192, 0, 2, last]), ..host.facts.clone() };
    Host { facts, ..host.clone() }
}

fn pending() -> privnet_model::Operation {
    pending_with_id(1)
}

fn pending_with_id(number: u8) -> privnet_model::Operation {
    let wait = Wait::Applied(Applied { network: network(1).id, generation: Generation(1), port: None });
    let deadline = Timestamp::from_unix_ms(1_790_000_060_000);
    operation(number, &network(1), OperationState::Pending { wait, deadline })
}
