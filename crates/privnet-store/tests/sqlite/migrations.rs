//! What an earlier version has written is read as it was meant.

use privnet_model::{
    Applied, Generation, Instance, Network, Operation, OperationState, OrganizationId, Quotas, Timestamp, Wait,
    WaitPort,
};
use privnet_store::Store as _;
use rusqlite::Connection;

use crate::SqliteFile;
use crate::suite::Database as _;
use crate::suite::records::{host, instance, mac, network, operation, port, ssh_key};
use crate::suite::{insert, refuse_for_constraint};

const VERSION_1: &str = include_str!("../../src/sqlite/migrations/1.sql");

#[test]
fn operations_of_version_1_are_about_their_networks() {
    let file = SqliteFile::new();
    let port = Some(WaitPort { host: host(1).id, mac: mac(1) });
    let wait = Wait::Applied(Applied { network: network(1).id, generation: Generation(7), port });
    let deadline = Timestamp::from_unix_ms(1_790_000_060_000);
    let pending = operation(1, &network(1), OperationState::Pending { wait, deadline });
    let late = operation(2, &network(2), OperationState::Timeout { message: "h1 was away".to_owned() });

    let (one, two, kind) = (id(1), id(2), pending.kind.as_str());
    let rows = format!(
        "INSERT INTO operations VALUES
            ({one}, '{kind}', {one}, 1790000000000, 'pending', {one}, 7, {one}, 0x0a0000000001, 1790000060000, NULL, NULL),
            ({two}, '{kind}', {two}, 1790000000000, 'timeout', NULL, NULL, NULL, NULL, NULL, NULL, 'h1 was away')"
    );
    version_1(&file, &rows);

    let organization = OrganizationId::DEFAULT;
    let expected = [pending, late].map(|operation| Operation { organization, ..operation });
    assert_eq!(file.open().load().expect("it is read").operations, expected);
}

#[test]
fn what_was_there_before_organizations_belongs_to_one_without_limits() {
    let file = SqliteFile::new();
    let one = id(1);
    version_1(
        &file,
        &format!(
            "INSERT INTO hosts VALUES ({one}, 'host-1', '192.0.2.1', 1500, '0.1.0', 1790000000000);
            INSERT INTO networks VALUES
                ({one}, 'network', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 1, NULL, 1790000000000);
            INSERT INTO instances VALUES ({one}, 'instance', {one}, 'netns', 'web1', 1790000000000);
            INSERT INTO ports VALUES ({one}, {one}, 0x0a0000000001, NULL, NULL, 'net0', 1);"
        ),
    );

    let mut store = file.open();
    let found = store.load().expect("it is read");
    let [organization] = &found.organizations[..] else { panic!("{:?}", found.organizations) };
    assert_eq!((organization.id, organization.name.as_str()), (OrganizationId::DEFAULT, "default"));
    assert_eq!(organization.quotas, Quotas::UNLIMITED);
    assert_eq!(found.networks, [Network { organization: organization.id, ..network(1) }]);
    assert_eq!(found.instances, [Instance { organization: organization.id, ..instance(1, &host(1)) }]);
    assert_eq!(found.ports, [port(&network(1), 1)]);
    let stranger = Network { organization: OrganizationId::MAX, ..network(2) };
    refuse_for_constraint(&mut store, &[insert(&stranger)]);
}

#[test]
fn a_database_without_networks_and_instances_gets_no_organization() {
    let file = SqliteFile::new();
    version_1(&file, &format!("INSERT INTO hosts VALUES ({}, 'host-1', '192.0.2.1', 1500, '0.1.0', 0)", id(1)));
    assert_eq!(file.open().load().expect("it is read").organizations, []);
}

#[test]
fn ssh_keys_are_kept_but_those_of_an_organization_that_is_gone() {
    let file = SqliteFile::new();
    let old = Connection::open(file.path()).expect("opens");
    for migration in [
        VERSION_1,
        include_str!("../../src/sqlite/migrations/2.sql"),
        include_str!("../../src/sqlite/migrations/3.sql"),
        include_str!("../../src/sqlite/migrations/4.sql"),
        include_str!("../../src/sqlite/migrations/5.sql"),
        include_str!("../../src/sqlite/migrations/6.sql"),
    ] {
        old.execute_batch(migration).expect("the schema");
    }
    old.pragma_update(None, "user_version", 6).expect("the version");
    let (one, two, kept) = (id(1), id(2), ssh_key());
    let (name, line) = (kept.name.as_str().replace('\'', "''"), kept.public_key.as_str());
    old.execute_batch(&format!(
        "INSERT INTO organizations VALUES ({one}, 'organization-1', NULL, NULL, NULL, 0);
        INSERT INTO ssh_keys VALUES ({one}, '{name}', '{line}', 1790000000000), ({two}, 'k', '{line}', 0);"
    ))
    .expect("the rows");
    drop(old);

    assert_eq!(file.open().load().expect("it is read").ssh_keys, [kept]);
}

/// A database that the first version has left, with these rows.
fn version_1(file: &SqliteFile, rows: &str) {
    let old = Connection::open(file.path()).expect("opens");
    old.execute_batch(VERSION_1).expect("the schema");
    old.pragma_update(None, "user_version", 1).expect("the version");
    old.execute_batch(rows).expect("the rows");
}

/// The ids of the suite's records, which all have this shape.
fn id(number: u8) -> String {
    format!("X'010000000000000000000000000000{number:02x}'")
}
