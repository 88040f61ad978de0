//! The audit log as a table: written at its end, cut at its beginning, and read beside that.

use std::borrow::Cow;
use std::path::Path;

use privnet_model::{Event, EventText, KeyId, OperationId, OrganizationId, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::{BUSY_TIMEOUT, trouble};
use crate::error::Cause;
use crate::{EventQuery, EventReader, NewEvents, StoreError};

/// How many events one commit removes at most; more than a commit adds, and a matter of a millisecond.
const REMOVED_MAX: i64 = 512;

/// The columns of an event, in the order in which they are written and read.
const COLUMNS: &str = "at_ms, source, key, organization, call, path, status, operation, message, times";

/// Where the log begins and ends; `None` while it is empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    oldest: Option<Place>,
    newest: Option<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    id: i64,
    at: Timestamp,
}

impl Ends {
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self { oldest: place(connection, "id")?, newest: place(connection, "id DESC")? })
    }

    /// Adds events and removes some that need not be kept; where the log begins and ends then.
    pub(super) fn write(mut self, connection: &Connection, new: &NewEvents<'_>) -> Result<Self, StoreError> {
        for event in new.events {
            let before = self.newest.unwrap_or(Place { id: 0, at: event.at });
            let place = Place { id: before.id + 1, at: event.at.max(before.at) };
            insert(connection, place, event).map_err(|cause| trouble("write an event", cause))?;
            self = Self { oldest: self.oldest.or(Some(place)), newest: Some(place) };
        }
        let (Some(oldest), Some(newest)) = (self.oldest, self.newest) else { return Ok(self) };
        let surplus_id = newest.id.saturating_sub_unsigned(new.keep.count_max);
        if oldest.at >= new.keep.since && oldest.id > surplus_id {
            return Ok(self);
        }
        let since = milliseconds(new.keep.since);
        connection
            .prepare_cached("DELETE FROM events WHERE id < ? AND (at_ms < ? OR id <= ?)")
            .and_then(|mut delete| delete.execute(params![oldest.id + REMOVED_MAX, since, surplus_id]))
            .map_err(|cause| trouble("remove old events", cause))?;
        Self::read(connection)
    }
}

/// The first event in this order.
fn place(connection: &Connection, order: &str) -> Result<Option<Place>, StoreError> {
    let place = |row: &Row<'_>| Ok(Place { id: row.get(0)?, at: timestamp(row.get(1)?) });
    connection
        .prepare_cached(&format!("SELECT id, at_ms FROM events ORDER BY {order} LIMIT 1"))
        .and_then(|mut select| select.query_row([], place).optional())
        .map_err(|cause| trouble("read the log", cause))
}

fn insert(connection: &Connection, place: Place, event: &Event) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached(&format!("INSERT INTO events (id, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"))?;
    insert.execute(params![
        place.id,
        milliseconds(place.at),
        event.source.to_string(),
        event.key.as_ref().map(KeyId::as_bytes),
        event.organization.as_ref().map(OrganizationId::as_bytes),
        event.call,
        event.path.as_str(),
        event.status,
        event.operation.as_ref().map(OperationId::as_bytes),
        event.message.as_ref().map(EventText::as_str),
        event.times,
    ])?;
    Ok(())
}

/// A second connection, which sees what is committed.
pub(super) struct SqliteEventReader(Connection);

impl SqliteEventReader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(Self(connection))
    }
}

impl EventReader for SqliteEventReader {
    fn read(&mut self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let failed = |cause| trouble("read the log", cause);
        // Both ends and what lies between them are those of one moment.
        let transaction = self.0.transaction().map_err(failed)?;
        let ends = Ends::read(&transaction)?;
        let from = first_since(&transaction, ends, query.from).map_err(failed)?;
        let to = first_since(&transaction, ends, query.to).map_err(failed)?;
        let mut select = transaction.prepare_cached(&select(query)).map_err(failed)?;
        let organization = query.organization.as_ref().map(OrganizationId::as_bytes);
        let key = query.key.as_ref().map(KeyId::as_bytes);
        let mut rows = select.query(params![from, to, organization, key, query.count_max as i64]).map_err(failed)?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            events.push(event(row)?);
        }
        events.reverse();
        Ok(events)
    }
}

fn select(query: &EventQuery) -> String {
    // The index of organizations is used for those alone that are named.
    let organization = if query.organization.is_some() { "organization = ?3" } else { "?3 IS NULL" };
    format!(
        "SELECT id, {COLUMNS} FROM events WHERE id >= ?1 AND id < ?2 AND {organization} AND (?4 IS NULL OR key = ?4) \
         ORDER BY id DESC LIMIT ?5"
    )
}

/// The id of the first event from a moment on: times rise with ids, so it is found by halving.
fn first_since(connection: &Connection, ends: Ends, moment: Timestamp) -> rusqlite::Result<i64> {
    let (Some(oldest), Some(newest)) = (ends.oldest, ends.newest) else { return Ok(0) };
    let mut select = connection.prepare_cached("SELECT at_ms FROM events WHERE id = ?")?;
    let (mut low, mut high) = (oldest.id, newest.id + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match timestamp(select.query_row([middle], |row| row.get(0))?) < moment {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}

fn event(row: &Row<'_>) -> Result<Event, StoreError> {
    let field = Fields(row);
    Ok(Event {
        at: timestamp(field.get(1, "at_ms")?),
        source: field.get::<String>(2, "source")?.parse().map_err(|cause| field.invalid("source", cause))?,
        key: field.get::<Option<_>>(3, "key")?.map(KeyId::from_bytes),
        organization: field.get::<Option<_>>(4, "organization")?.map(OrganizationId::from_bytes),
        call: Cow::Owned(field.get(5, "call")?),
        path: EventText::cut(&field.get::<String>(6, "path")?),
        status: field.get(7, "status")?,
        operation: field.get::<Option<_>>(8, "operation")?.map(OperationId::from_bytes),
        message: field.get::<Option<String>>(9, "message")?.map(|text| EventText::cut(&text)),
        times: field.get(10, "times")?,
    })
}

struct Fields<'r>(&'r Row<'r>);

impl Fields<'_> {
    fn get<V: rusqlite::types::FromSql>(&self, index: usize, column: &'static str) -> Result<V, StoreError> {
        self.0.get(index).map_err(|cause| self.invalid(column, cause))
    }

    fn invalid(&self, column: &'static str, cause: impl Into<Cause>) -> StoreError {
        let id: i64 = self.0.get(0).unwrap_or_default();
        StoreError::Invalid { record: format!("events id = {id}"), column, source: cause.into() }
    }
}

/// A time that SQLite has room for: later ones, some 292 million years ahead, are that one.
fn milliseconds(moment: Timestamp) -> i64 {
    i64::try_from(moment.unix_ms).unwrap_or(i64::MAX)
}

fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(u64::try_from(milliseconds).unwrap_or_default())
}
