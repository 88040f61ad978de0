//! What the database itself holds, whoever writes to it (design: invariants 1 and 2).

use privnet_model::{
    Carriage, DeviceName, Host, HostFacts, Instance, Key, Lease, LeaseKind, Network, OperationState, Organization,
    Port, Role, Scope, SshKey,
};
use privnet_store::Store as _;

use super::records::{carriage, host, instance, ip, key, mac, network, operation, organization, port, ssh_key};
use super::{Database, holding, insert, load, refuse_for_constraint, remove};

pub fn no_two_organizations_have_one_name<D: Database>() {
    let (_database, mut store) = holding::<D>(&[]);
    refuse_for_constraint(&mut store, &[insert(&Organization { name: organization(1).name, ..organization(2) })]);
}

pub fn no_two_networks_have_one_vni<D: Database>() {
    let (_database, mut store) = holding::<D>(&[insert(&network(1))]);
    refuse_for_constraint(&mut store, &[insert(&Network { vni: network(1).vni, ..network(2) })]);
}

pub fn a_vni_is_not_given_to_a_network_while_a_host_may_carry_another_with_it<D: Database>() {
    let gone = network(1);
    let (_database, mut store) = holding::<D>(&[insert(&host(1)), insert(&carriage(&host(1), &gone))]);
    let next = Network { vni: gone.vni, ..network(2) };
    refuse_for_constraint(&mut store, &[insert(&next)]);
    store.commit(&[remove(&carriage(&host(1), &gone))]).expect("the host has confirmed");
    store.commit(&[insert(&next)]).expect("the VNI is free");
}

pub fn a_carriage_has_no_vni_of_another_network<D: Database>() {
    let (_database, mut store) = holding::<D>(&[insert(&host(1)), insert(&host(2)), insert(&network(1))]);
    let wrong = Carriage { vni: network(1).vni, ..carriage(&host(1), &network(2)) };
    refuse_for_constraint(&mut store, &[insert(&wrong)]);
    store.commit(&[remove(&network(1)), insert(&carriage(&host(1), &network(1)))]).expect("commits");
    let wrong = Carriage { vni: network(1).vni, ..carriage(&host(2), &network(2)) };
    refuse_for_constraint(&mut store, &[insert(&wrong)]);
}

pub fn no_two_ports_have_one_mac_address<D: Database>() {
    let (_database, mut store) = attached::<D>();
    let other = Port { mac: mac(1), ..port(&network(2), 2) };
    refuse_for_constraint(&mut store, &[insert(&other)]);
}

pub fn no_two_ports_of_a_network_hold_one_address<D: Database>() {
    let (_database, mut store) = attached::<D>();
    let second = Port { lease: lease(50), ..port(&network(1), 2) };
    refuse_for_constraint(&mut store, &[insert(&second)]);
    let elsewhere = Port { network: network(2).id, ..second };
    store.commit(&[insert(&elsewhere)]).expect("in another network it is another address");
    store.commit(&[insert(&unleased(3)), insert(&unleased(4))]).expect("no address is not an address");
}

pub fn an_instance_has_one_port_in_a_network<D: Database>() {
    let (_database, mut store) = attached::<D>();
    let again = Port { mac: mac(9), device: DeviceName::of_port(9), lease: None, ..port(&network(1), 1) };
    refuse_for_constraint(&mut store, &[insert(&again)]);
}

pub fn an_instance_has_one_device_of_a_name<D: Database>() {
    let (_database, mut store) = attached::<D>();
    let second = Port { mac: mac(9), ..port(&network(2), 1) };
    refuse_for_constraint(&mut store, &[insert(&second)]);
    store.commit(&[insert(&Port { device: DeviceName::of_port(1), ..second })]).expect("another name");
}

pub fn no_two_hosts_have_one_name<D: Database>() {
    let (_database, mut store) = holding::<D>(&[insert(&host(1))]);
    refuse_for_constraint(&mut store, &[insert(&Host { name: host(1).name, ..host(2) })]);
}

pub fn no_two_hosts_are_one_vtep<D: Database>() {
    let (_database, mut store) = holding::<D>(&[insert(&host(1))]);
    let facts = HostFacts { vtep: host(1).facts.vtep, ..host(2).facts };
    refuse_for_constraint(&mut store, &[insert(&Host { facts, ..host(2) })]);
}

pub fn a_host_carries_a_network_once<D: Database>() {
    let carriage = insert(&carriage(&host(1), &network(1)));
    let (_database, mut store) = holding::<D>(&[insert(&host(1)), carriage.clone()]);
    refuse_for_constraint(&mut store, &[carriage]);
}

pub fn a_record_refers_to_what_is_there<D: Database>() {
    let (_database, mut store) = attached::<D>();
    refuse_for_constraint(&mut store, &[insert(&instance(9, &host(9)))]);
    refuse_for_constraint(&mut store, &[insert(&port(&network(9), 2))]);
    refuse_for_constraint(&mut store, &[insert(&port(&network(1), 9))]);
    refuse_for_constraint(&mut store, &[insert(&carriage(&host(9), &network(1)))]);
    let stranger = organization(9).id;
    refuse_for_constraint(&mut store, &[insert(&Network { organization: stranger, ..network(9) })]);
    refuse_for_constraint(&mut store, &[insert(&Instance { organization: stranger, ..instance(9, &host(1)) })]);
    refuse_for_constraint(&mut store, &[insert(&Key { scope: Scope::Organization(stranger, Role::Admin), ..key(9) })]);
    refuse_for_constraint(&mut store, &[insert(&SshKey { organization: stranger, ..ssh_key() })]);
}

pub fn what_others_refer_to_is_not_removed<D: Database>() {
    let (_database, mut store) = attached::<D>();
    refuse_for_constraint(&mut store, &[remove(&network(1))]);
    refuse_for_constraint(&mut store, &[remove(&instance(1, &host(1)))]);
    refuse_for_constraint(&mut store, &[remove(&host(1))]);
    refuse_for_constraint(&mut store, &[remove(&organization(1))]);
}

pub fn operations_and_carriages_outlive_their_network<D: Database>() {
    let operation = operation(1, &network(1), OperationState::Success);
    let records = [insert(&network(1)), insert(&host(1)), insert(&carriage(&host(1), &network(1))), insert(&operation)];
    let (_database, mut store) = holding::<D>(&records);
    store.commit(&[remove(&network(1))]).expect("nothing refers to it");
    let left = load(&mut store);
    assert_eq!((left.networks.len(), left.carriages.len(), left.operations.len()), (0, 1, 1));
}

/// Two networks, a host and four instances, the first of which holds an address in the first network.
fn attached<D: Database>() -> (D, D::Store) {
    let mut records = vec![insert(&host(1)), insert(&network(1)), insert(&network(2))];
    records.extend((1..=4).map(|number| insert(&instance(number, &host(1)))));
    records.push(insert(&Port { lease: lease(50), ..port(&network(1), 1) }));
    holding::<D>(&records)
}

fn unleased(number: u8) -> Port {
    port(&network(1), number)
}

fn lease(last: u8) -> Option<Lease> {
    Some(Lease { address: ip(last), kind: LeaseKind::Dynamic })
}
