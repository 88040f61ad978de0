//! What an earlier version has written is read as it was meant.

use privnet_model::{Applied, Generation, OperationState, Timestamp, Wait, WaitPort};
use privnet_store::Store as _;
use rusqlite::Connection;

use crate::SqliteFile;
use crate::suite::Database as _;
use crate::suite::records::{host, mac, network, operation};

const VERSION_1: &str = include_str!("../../src/sqlite/migrations/1.sql");

#[test]
fn operations_of_version_1_are_about_their_networks() {
    let file = SqliteFile::new();
    let port = Some(WaitPort { host: host(1).id, mac: mac(1) });
    let wait = Wait::Applied(Applied { network: network(1).id, generation: Generation(7), port });
    let deadline = Timestamp::from_unix_ms(1_790_000_060_000);
    let pending = operation(1, &network(1), OperationState::Pending { wait, deadline });
    let late = operation(2, &network(2), OperationState::Timeout { message: "h1 was away".to_owned() });

    let old = Connection::open(file.path()).expect("opens");
    old.execute_batch(VERSION_1).expect("the schema");
    old.pragma_update(None, "user_version", 1).expect("the version");
    // The ids of the suite's records, which all have this shape.
    let id = |number: u8| format!("X'010000000000000000000000000000{number:02x}'");
    let (one, two, kind) = (id(1), id(2), pending.kind.as_str());
    let rows = format!(
        "INSERT INTO operations VALUES
            ({one}, '{kind}', {one}, 1790000000000, 'pending', {one}, 7, {one}, 0x0a0000000001, 1790000060000, NULL, NULL),
            ({two}, '{kind}', {two}, 1790000000000, 'timeout', NULL, NULL, NULL, NULL, NULL, NULL, 'h1 was away')"
    );
    old.execute_batch(&rows).expect("the rows");
    drop(old);

    assert_eq!(file.open().load().expect("it is read").operations, [pending, late]);
}
