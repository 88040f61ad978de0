use rusqlite::{Connection, TransactionBehavior};

use super::trouble;
use crate::StoreError;

/// What leads from each version of the schema to the next; the first makes the tables. One that has
/// been released is never edited.
const MIGRATIONS: [&str; 13] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
    include_str!("migrations/8.sql"),
    include_str!("migrations/9.sql"),
    include_str!("migrations/10.sql"),
    include_str!("migrations/11.sql"),
    include_str!("migrations/12.sql"),
    include_str!("migrations/13.sql"),
];

/// Where SQLite keeps the version for us.
const VERSION: &str = "user_version";

/// Refuses a database that has tables and no version: it is not one of ours.
pub(super) fn refuse_foreign(connection: &Connection) -> Result<(), StoreError> {
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0));
    let found = version(connection).and_then(|version| Ok((version, tables?)));
    match found.map_err(|cause| trouble("open the database", cause))? {
        (0, 1..) => Err(StoreError::Foreign),
        _ => Ok(()),
    }
}

/// Brings the schema to the newest version, one migration at a time, each of them whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found = version(connection).map_err(|cause| trouble("read the schema version", cause))?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    let apply_all = |connection: &mut Connection| {
        let missing = (1..).zip(MIGRATIONS).skip(found as usize);
        missing.into_iter().try_for_each(|(version, migration)| apply(connection, version, migration))
    };
    without_foreign_keys(connection, apply_all).map_err(|cause| trouble("migrate the schema", cause))
}

/// A column that refers to another table is not added to one that has rows while references are checked
/// (sqlite.org/lang_altertable.html).
fn without_foreign_keys(
    connection: &mut Connection,
    act: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", false)?;
    act(connection)?;
    connection.pragma_update(None, "foreign_keys", true)
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
