//! The audit log as a table: written at its end, cut at its beginning, and read beside that.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use privnet_model::{Event, EventText, KeyId, OperationId, OrganizationId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::{BUSY_TIMEOUT, trouble};
use crate::error::Cause;
use crate::{EventQuery, EventReader, Keep, LoggedEvent, NewEvents, StoreError};

/// How many events one commit removes at most; more than a commit adds, and a matter of a millisecond.
const REMOVED_MAX: u64 = 512;

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
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self { oldest: place(connection, "id")?, newest: place(connection, "id DESC")? })
    }
}

/// Whose events make room for whose when there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Share {
    Organization(OrganizationId),
    /// What concerns no organization, by somebody with a key.
    Operators,
    /// Refusals of requests that nobody has signed.
    Nobody,
}

impl Share {
    fn of(organization: Option<OrganizationId>, has_key: bool) -> Self {
        match (organization, has_key) {
            (Some(organization), _) => Self::Organization(organization),
            (None, true) => Self::Operators,
            (None, false) => Self::Nobody,
        }
    }
}

/// What the writer knows of the log.
#[derive(Clone, Default)]
pub(super) struct Log {
    ends: Ends,
    /// How many events there are of each.
    counts: HashMap<Share, u64>,
}

impl Log {
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let counts = count(connection).map_err(|cause| trouble("count the events", cause))?;
        Ok(Self { ends: Ends::read(connection)?, counts })
    }

    /// Adds events and removes some that need not be kept. What the log is then, or `None` where it is as it was.
    pub(super) fn write(&self, connection: &Connection, new: &NewEvents<'_>) -> Result<Option<Self>, StoreError> {
        let Keep { since, count_max } = new.keep;
        let mut log = self.clone();
        for event in new.events {
            log.add(connection, event).map_err(|cause| trouble("write an event", cause))?;
        }
        let has_old = log.ends.oldest.is_some_and(|oldest| oldest.at < since);
        let surplus = log.count().saturating_sub(count_max);
        if has_old {
            log.remove_old(connection, since).map_err(|cause| trouble("remove old events", cause))?;
        } else if surplus > 0 {
            log.remove_surplus(connection, count_max).map_err(|cause| trouble("remove events", cause))?;
        } else {
            return Ok((!new.events.is_empty()).then_some(log));
        }
        log.ends = Ends::read(connection)?;
        Ok(Some(log))
    }

    fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    fn add(&mut self, connection: &Connection, event: &Event) -> rusqlite::Result<()> {
        let before = self.ends.newest.unwrap_or(Place { id: 0, at: event.at });
        let place = Place { id: before.id + 1, at: event.at.max(before.at) };
        insert(connection, place, event)?;
        self.ends = Ends { oldest: self.ends.oldest.or(Some(place)), newest: Some(place) };
        *self.counts.entry(Share::of(event.organization, event.key.is_some())).or_default() += 1;
        Ok(())
    }

    fn remove_old(&mut self, connection: &Connection, since: Timestamp) -> rusqlite::Result<()> {
        let mut delete = connection.prepare_cached(
            "DELETE FROM events WHERE id IN \
             (SELECT id FROM (SELECT id, at_ms FROM events ORDER BY id LIMIT ?1) WHERE at_ms < ?2) \
             RETURNING organization, key IS NOT NULL",
        )?;
        let removed = delete.query_map(params![REMOVED_MAX as i64, milliseconds(since)], share)?;
        removed.into_iter().try_for_each(|share| {
            self.take_from(share?, 1);
            Ok(())
        })
    }

    /// Takes what is too much from those who have most, and from none more than leaves it an equal part.
    fn remove_surplus(&mut self, connection: &Connection, count_max: u64) -> rusqlite::Result<()> {
        let mut left = REMOVED_MAX.min(self.count().saturating_sub(count_max));
        while left > 0 {
            let Some((share, most)) = self.counts.iter().map(|(share, count)| (*share, *count)).max_by_key(|(_, n)| *n)
            else {
                return Ok(());
            };
            let part = count_max / self.counts.len() as u64;
            let removed = remove_oldest(connection, share, left.min(most - part))?;
            if removed == 0 {
                return Ok(());
            }
            self.take_from(share, removed);
            left -= removed;
        }
        Ok(())
    }

    fn take_from(&mut self, share: Share, removed: u64) {
        let count = self.counts.entry(share).or_default();
        *count = count.saturating_sub(removed);
        if *count == 0 {
            self.counts.remove(&share);
        }
    }
}

fn remove_oldest(connection: &Connection, share: Share, count: u64) -> rusqlite::Result<u64> {
    // Each of these has an index.
    let (which, value): (_, Value) = match share {
        Share::Organization(organization) => ("organization = ?1", organization.as_bytes().to_vec().into()),
        Share::Operators => ("organization IS NULL AND (key IS NOT NULL) = ?1", 1.into()),
        Share::Nobody => ("organization IS NULL AND (key IS NOT NULL) = ?1", 0.into()),
    };
    connection
        .prepare_cached(&format!(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE {which} ORDER BY id LIMIT ?2)"
        ))?
        .execute(params![value, count as i64])
        .map(|removed| removed as u64)
}

/// How many events there are of each, by the indexes alone.
fn count(connection: &Connection) -> rusqlite::Result<HashMap<Share, u64>> {
    let mut select = connection.prepare(
        "SELECT organization, 1, count(*) FROM events WHERE organization IS NOT NULL GROUP BY organization \
         UNION ALL \
         SELECT NULL, key IS NOT NULL, count(*) FROM events WHERE organization IS NULL GROUP BY key IS NOT NULL",
    )?;
    select.query_map([], |row| Ok((share(row)?, row.get::<_, i64>(2)?.unsigned_abs())))?.collect()
}

/// Of an organization, and whether there was a key.
fn share(row: &Row<'_>) -> rusqlite::Result<Share> {
    Ok(Share::of(row.get::<_, Option<_>>(0)?.map(OrganizationId::from_bytes), row.get(1)?))
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
    fn read(&mut self, query: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError> {
        let failed = |cause| trouble("read the log", cause);
        // Both ends and what lies between them are those of one moment.
        let transaction = self.0.transaction().map_err(failed)?;
        let ends = Ends::read(&transaction)?;
        let from = first_since(&transaction, ends, query.from).map_err(failed)?;
        let to = first_since(&transaction, ends, query.to).map_err(failed)?;
        let before = query.before.map_or(to, |before| to.min(i64::try_from(before).unwrap_or(i64::MAX)));
        let mut select = transaction.prepare_cached(&select(query)).map_err(failed)?;
        let organization = query.organization.as_ref().map(OrganizationId::as_bytes);
        let key = query.key.as_ref().map(KeyId::as_bytes);
        let mut rows =
            select.query(params![from, before, organization, key, query.count_max as i64]).map_err(failed)?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            events.push(logged(row)?);
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
    // Ids that are gone have the time of the next that is there.
    let mut select = connection.prepare_cached("SELECT at_ms FROM events WHERE id >= ? ORDER BY id LIMIT 1")?;
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

fn logged(row: &Row<'_>) -> Result<LoggedEvent, StoreError> {
    let field = Fields(row);
    let number = field.get::<i64>(0, "id")?.unsigned_abs();
    let event = Event {
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
    };
    Ok(LoggedEvent { number, event })
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
