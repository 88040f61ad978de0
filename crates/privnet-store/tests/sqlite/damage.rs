//! A file that is not ours to read says so, and is left as it is.

use std::error::Error as _;
use std::fs;

use privnet_model::{Key, Lease, LeaseKind, OperationState, Port, Role, Scope};
use privnet_store::{SqliteStore, Store as _, StoreError, Trouble};
use rusqlite::Connection;

use crate::SqliteFile;
use crate::suite::records::{carriage, host, instance, ip, key, network, operation, organization, port};
use crate::suite::{Database as _, insert};

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let file = SqliteFile::new();
    let garbage = b"garbage ".repeat(1024);
    fs::write(file.path(), &garbage).expect("writes");
    let refusal = SqliteStore::open(&file.path()).err().expect("it is garbage");
    assert_eq!(refusal.to_string(), "cannot open the database: the file is not a database or is damaged");
    assert!(matches!(refusal, StoreError::Database { trouble: Trouble::Corrupt, .. }), "{refusal:?}");
    assert_eq!(fs::read(file.path()).expect("reads"), garbage);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let file = SqliteFile::new();
    Connection::open(file.path()).and_then(|other| other.execute_batch("CREATE TABLE notes (text)")).expect("makes");
    let octets = fs::read(file.path()).expect("reads");
    let refusal = SqliteStore::open(&file.path()).err().expect("it is another program's");
    assert!(matches!(refusal, StoreError::Foreign), "{refusal:?}");
    assert_eq!(fs::read(file.path()).expect("reads"), octets);
}

#[test]
fn a_damaged_database_is_reported_when_it_is_read() {
    let file = SqliteFile::new();
    let mut store = file.open();
    store.commit(&[insert(&organization(1)), insert(&network(1)), insert(&host(1))]).expect("commits");
    drop(store);
    let page = Connection::open(file.path()).expect("opens").query_one(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'networks'",
        [],
        |row| row.get::<_, u32>(0),
    );
    let start = 4096 * (page.expect("a page") as usize - 1);
    let mut octets = fs::read(file.path()).expect("reads");
    octets[start..start + 64].fill(0xff);
    fs::write(file.path(), octets).expect("writes");
    let refusal = file.open().load().expect_err("it is damaged");
    assert!(matches!(refusal, StoreError::Database { trouble: Trouble::Corrupt, .. }), "{refusal:?}");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let file = SqliteFile::new();
    drop(file.open());
    let newer = Connection::open(file.path()).expect("opens");
    let version = || newer.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).expect("a number");
    let present = version();
    newer.pragma_update(None, "user_version", present + 1).expect("a newer version");
    let refusal = SqliteStore::open(&file.path()).err().expect("it is newer");
    let StoreError::NewerSchema { found, known } = refusal else { panic!("{refusal:?}") };
    assert_eq!((found, known, version()), (present + 1, present, present + 1));
}

#[test]
fn every_value_that_breaks_a_rule_is_named() {
    let long = "x".repeat(256);
    let cases = [
        ("organizations", "name", "'a b'", "\"a b\" is not an organization name"),
        ("organizations", "networks_max", "-1", "Integer -1 out of range"),
        ("keys", "id", "x'00'", "Cannot read 12 byte value"),
        ("keys", "role", "'other'", "\"other\" does not go with the organization"),
        ("networks", "name", "''", "must not be empty"),
        ("networks", "description", &format!("'{long}'"), "has 256 characters, at most 255 are allowed"),
        ("networks", "netmask", "1", "only some of start_ip, end_ip and netmask are there"),
        ("networks", "routers", "'[\"10.0.0\"]'", "invalid IPv4 address syntax"),
        ("networks", "domain_search", "'[\"a..b\"]'", "\"a..b\" is not a domain name"),
        ("networks", "labels", "'[]'", "invalid type: sequence, expected a map"),
        ("networks", "vni", "16777216", "16777216 is not a VNI (1 to 16777215)"),
        ("networks", "last_address", "-1", "Integer -1 out of range"),
        ("hosts", "id", "x'00'", "Cannot read 16 byte value"),
        ("hosts", "name", "'a b'", "\"a b\" is not a host name"),
        ("hosts", "vtep", "'192.0.2'", "invalid IP address syntax"),
        ("instances", "port_kind", "'qemu'", "it is not a kind of port we know"),
        ("instances", "netns", "'a/b'", "\"a/b\" is neither a network namespace's name"),
        ("instances", "netns", "NULL", "it is missing"),
        ("ports", "mac", "281474976710656", "it does not fit in 48 bits"),
        ("ports", "lease_kind", "'other'", "it is none of ours"),
        ("ports", "lease_kind", "NULL", "only one of address and lease_kind is there"),
        ("ports", "device", "'0123456789abcdef'", "is not a network device name"),
        ("operations", "kind", "'other'", "it is none of ours"),
        ("operations", "wait_mac", "1", "only some of what a pending operation waits for is there"),
        ("operations", "wait_generation", "1", "only some of what a pending operation waits for is there"),
        ("operations", "reason", "'other'", "it is none of ours"),
        ("operations", "message", "'x'", "the columns since state do not make a state \"success\""),
        ("carriages", "vni", "0", "0 is not a VNI (1 to 16777215)"),
    ];
    for (table, column, value, rule) in cases {
        let (named, cause) = refusal_of(table, column, value);
        assert!(cause.contains(rule), "{table}.{column} = {value}: {cause}");
        let shown = if (table, column) == ("operations", "wait_generation") { "wait_mac" } else { column };
        assert!(named.starts_with(&format!("cannot read {shown} of {table} ")), "{named}");
    }
}

/// What reading says, and its cause, where a record has this value.
fn refusal_of(table: &str, column: &str, value: &str) -> (String, String) {
    let file = SqliteFile::new();
    let lease = Some(Lease { address: ip(50), kind: LeaseKind::Static });
    let scope = Scope::Organization(organization(1).id, Role::ReadOnly);
    let records = [
        insert(&organization(1)),
        insert(&Key { scope, ..key(1) }),
        insert(&network(1)),
        insert(&host(1)),
        insert(&instance(1, &host(1))),
        insert(&Port { lease, ..port(&network(1), 1) }),
        insert(&operation(1, &network(1), OperationState::Success)),
        insert(&carriage(&host(1), &network(1))),
    ];
    let mut store = file.open();
    store.commit(&records).expect("commits");
    let editor = Connection::open(file.path()).expect("opens");
    editor.execute_batch("PRAGMA foreign_keys = off").expect("turns them off");
    editor.execute(&format!("UPDATE {table} SET {column} = {value}"), []).expect("updates");
    let refusal = store.load().expect_err("a rule is broken");
    assert!(matches!(refusal, StoreError::Invalid { .. }), "{table}.{column} = {value}: {refusal:?}");
    (refusal.to_string(), refusal.source().expect("a cause").to_string())
}
