use rusqlite::{Connection, TransactionBehavior};

use super::trouble;
use crate::StoreError;

/// What leads from each version of the schema to the next; the first makes the tables. One that has
/// been released is never edited.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// Where SQLite keeps the version for us.
const VERSION: &str = "user_version";

/// Brings the schema to the newest version, one migration at a time, each of them whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found = version(connection).map_err(|cause| trouble("read the schema version", cause))?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
        apply(connection, version, migration).map_err(|cause| trouble("migrate the schema", cause))?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, VERSION, |row| row.get(0))
}

fn apply(connection: &mut Connection, version: u32, migration: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, VERSION, version)?;
    transaction.commit()
}
