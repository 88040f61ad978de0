//! The store in one file: SQLite with a write-ahead log, each commit synced to the disk.
//!
//! How records become rows:
//!
//! - Ids are blobs of 16 octets, IPv4 and MAC addresses integers: as small as they can be, since most
//!   of the file is keys. A VTEP, which may have an IPv6 address, is text.
//! - Labels and DHCP options are JSON, NULL where there are none: they are read and replaced whole
//!   and nothing searches in them, so a table of their own would only be more rows to keep in step.
//! - A 64-bit number that SQLite has no room for keeps its bits: the largest become negative ones.
//! - Tables are STRICT and WITHOUT ROWID: a record is one row of one tree. Ids grow with time, so new
//!   rows fill the same last page, and a commit of many costs little more than one of a few.
//!
//! A row that was read has passed the constructors of the model's types. A row that is written must
//! be as its change found it, which some columns of each table tell.

mod events;
mod fields;
mod private;
mod schema;
mod table;
mod tables;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use privnet_model::zone::{Change, Snapshot};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi};

use self::events::{Log, SqliteEventReader};
use self::table::{Phase, read_all};
use crate::effect::Effect;
use crate::error::Cause;
use crate::{EventReader, NewEvents, Store, StoreError, Trouble};

/// How long a call waits for another program that reads or copies the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// How many pages the write-ahead log gathers before they go into the database. A page of an index
/// whose values are random is written there once, however many commits have changed it.
const LOG_PAGES_MAX: i64 = 8192;

/// What the log is cut back to after a commit that was larger.
const LOG_BYTES_MAX: i64 = LOG_PAGES_MAX * 4096;

/// How much of the database the writer keeps in memory: the indexes of 100,000 networks' VNIs, of which each new
/// network needs a random page.
const CACHE_KIB: i64 = 16 << 10;

/// Room for every statement that writes: three for each of nine tables.
const STATEMENTS_MAX: usize = 32;

/// The records of a zone in an SQLite database. One process has it at a time; others may read it.
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    log: Log,
    /// Dropped after the connection.
    _lock: Lock,
}

/// Held while a store is open: a second server on the same file would decide on a zone that the
/// first one changes. It is on a file beside the database, since SQLite's own locks are on the
/// database itself and closing that elsewhere in the process would release them.
struct Lock(File);

impl SqliteStore {
    /// Opens the database, making it where there is none and bringing its schema up to date. From then on its
    /// owner alone reads it and the files beside it.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Foreign`], [`StoreError::NewerSchema`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = Lock::take(path).map_err(|cause| trouble_with_file("lock the database", cause))?;
        private::make(path).map_err(|cause| trouble_with_file("keep the database from other users", cause))?;
        let mut connection = connect(path).map_err(|cause| trouble("open the database", cause))?;
        schema::refuse_foreign(&connection)?;
        configure(&connection).map_err(|cause| trouble("open the database", cause))?;
        schema::migrate(&mut connection)?;
        let log = Log::read(&connection)?;
        Ok(Self { connection, path: path.to_owned(), log, _lock: lock })
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        let transaction = self.connection.transaction().map_err(|cause| trouble("begin to read", cause))?;
        Ok(Snapshot {
            organizations: read_all(&transaction)?,
            keys: read_all(&transaction)?,
            networks: read_all(&transaction)?,
            instances: read_all(&transaction)?,
            ports: read_all(&transaction)?,
            hosts: read_all(&transaction)?,
            operations: read_all(&transaction)?,
            carriages: read_all(&transaction)?,
            ssh_keys: read_all(&transaction)?,
            invitations: read_all(&transaction)?,
        })
    }

    fn commit_with_events(&mut self, changes: &[Change], events: &NewEvents<'_>) -> Result<(), StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|cause| trouble("begin to write", cause))?;
        write(&transaction, &Effect::of(changes))?;
        let log = self.log.write(&transaction, events)?;
        transaction.commit().map_err(|cause| match is_constraint(&cause) {
            // References are checked at the end, when nobody knows any more which record has one.
            true => StoreError::Constraint { record: "the changes".to_owned(), source: cause.into() },
            false => trouble("commit", cause),
        })?;
        if let Some(log) = log {
            self.log = log;
        }
        Ok(())
    }

    fn event_reader(&self) -> Result<Box<dyn EventReader>, StoreError> {
        let reader = SqliteEventReader::open(&self.path).map_err(|cause| trouble("open the log", cause))?;
        Ok(Box::new(reader))
    }
}

impl Lock {
    fn take(database: &Path) -> io::Result<Self> {
        let path = beside(database, "-lock");
        let file = File::options().create(true).truncate(false).write(true).mode(private::MODE).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a process that was forked meanwhile has it open too, until it
    /// runs a program of its own.
    fn drop(&mut self) {
        // What could not be unlocked is unlocked when that process has closed it.
        let _ = self.0.unlock();
    }
}

/// What frees a unique value goes before what takes it.
fn write(connection: &Connection, effect: &Effect<'_>) -> Result<(), StoreError> {
    for phase in [Phase::Remove, Phase::Update, Phase::Insert] {
        phase.run(connection, &effect.organizations)?;
        phase.run(connection, &effect.keys)?;
        phase.run(connection, &effect.hosts)?;
        phase.run(connection, &effect.networks)?;
        phase.run(connection, &effect.instances)?;
        phase.run(connection, &effect.ports)?;
        phase.run(connection, &effect.operations)?;
        phase.run(connection, &effect.carriages)?;
        phase.run(connection, &effect.ssh_keys)?;
        phase.run(connection, &effect.invitations)?;
    }
    Ok(())
}

/// A file whose name is the database's and something more.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    // In KiB where it is negative (sqlite.org/pragma.html).
    connection.pragma_update(None, "cache_size", -CACHE_KIB)
}

fn trouble(doing: &'static str, cause: rusqlite::Error) -> StoreError {
    StoreError::Database { doing, trouble: trouble_of(&cause), source: Cause::from(cause) }
}

fn trouble_with_file(doing: &'static str, cause: io::Error) -> StoreError {
    let trouble = match cause.kind() {
        io::ErrorKind::WouldBlock => Trouble::Busy,
        io::ErrorKind::StorageFull => Trouble::Full,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Trouble::ReadOnly,
        _ => Trouble::Failed,
    };
    StoreError::Database { doing, trouble, source: Cause::from(cause) }
}

fn is_constraint(cause: &rusqlite::Error) -> bool {
    cause.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn trouble_of(cause: &rusqlite::Error) -> Trouble {
    let Some(error) = cause.sqlite_error() else { return Trouble::Failed };
    match error.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Trouble::Busy,
        ErrorCode::DiskFull => Trouble::Full,
        // The index of the write-ahead log could not grow.
        ErrorCode::SystemIoFailure if error.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Trouble::Full,
        ErrorCode::ReadOnly => Trouble::ReadOnly,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Trouble::Corrupt,
        _ => Trouble::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_on_the_disk_when_it_returns() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let connection = connect(&folder.path().join("privnet.db")).expect("opens");
        configure(&connection).expect("configured");
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).expect("a number");
        assert_eq!(pragma("synchronous"), 2, "FULL: the log is synced by each commit (sqlite.org/pragma.html)");
        let mode = connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        assert_eq!(mode.as_deref(), Ok("wal"));
    }
}
