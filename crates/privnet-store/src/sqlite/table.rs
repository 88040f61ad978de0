//! What all tables have in common: the statements, and when which of them is run.

use rusqlite::types::ToSqlOutput;
use rusqlite::{CachedStatement, Connection, params_from_iter};

use super::fields::Fields;
use super::{is_constraint, trouble};
use crate::StoreError;
use crate::effect::{Pair, Record, Records};

/// One value of a row, on its way to SQLite.
pub(super) type Value<'a> = ToSqlOutput<'a>;

/// A kind of record as a table.
pub(super) trait Table: Record + Sized {
    const NAME: &'static str;

    /// The columns, the key first.
    const COLUMNS: &'static [Column];

    /// A record's row, in the order of the columns.
    fn values(&self) -> Vec<Value<'_>>;

    /// The record of a row, whose fields come in the order of the columns.
    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError>;
}

pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) role: Role,
}

impl Column {
    pub(super) const fn new(name: &'static str, role: Role) -> Self {
        Self { name, role }
    }
}

/// What a column means to a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It identifies the row.
    Key,
    /// It has a constraint of uniqueness. A row whose value changes is removed and made anew, so
    /// that rows may exchange their values.
    Unique,
    /// It tells whether the row is as a change found it.
    Version,
    /// Nothing of these.
    Plain,
}

/// A part of a commit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Remove,
    Update,
    Insert,
}

impl Phase {
    /// Runs this part of a commit for one table.
    pub(super) fn run<T: Table>(self, connection: &Connection, records: &Records<'_, T>) -> Result<(), StoreError> {
        let mut concerned = records.values().filter(|pair| self.concerns(pair)).peekable();
        if concerned.peek().is_none() {
            return Ok(());
        }
        let mut statement =
            connection.prepare_cached(&self.sql::<T>()).map_err(|cause| trouble("prepare a statement", cause))?;
        concerned.try_for_each(|pair| self.write(&mut statement, pair))
    }

    fn concerns<T: Table>(self, pair: &Pair<'_, T>) -> bool {
        match (self, pair.before, pair.after) {
            (Self::Remove, Some(_), None) | (Self::Insert, None, Some(_)) => true,
            (Self::Remove | Self::Insert, Some(before), Some(after)) => is_moved(before, after),
            (Self::Update, Some(before), Some(after)) => before != after && !is_moved(before, after),
            _ => false,
        }
    }

    fn sql<T: Table>(self) -> String {
        let found =
            || names::<T>(Role::is_found_by).map(|name| format!("{name} IS ?")).collect::<Vec<_>>().join(" AND ");
        match self {
            Self::Remove => format!("DELETE FROM {} WHERE {}", T::NAME, found()),
            Self::Update => {
                let set: Vec<_> = names::<T>(Role::is_updated).map(|name| format!("{name} = ?")).collect();
                format!("UPDATE {} SET {} WHERE {}", T::NAME, set.join(", "), found())
            }
            Self::Insert => {
                let columns: Vec<_> = names::<T>(|_| true).collect();
                let marks = vec!["?"; columns.len()];
                format!("INSERT INTO {} ({}) VALUES ({})", T::NAME, columns.join(", "), marks.join(", "))
            }
        }
    }

    fn write<T: Table>(self, statement: &mut CachedStatement<'_>, pair: &Pair<'_, T>) -> Result<(), StoreError> {
        let row = match self {
            Self::Remove => values(pair.before, Role::is_found_by),
            Self::Update => {
                let mut row = values(pair.after, Role::is_updated);
                row.extend(values(pair.before, Role::is_found_by));
                row
            }
            Self::Insert => values(pair.after, |_| true),
        };
        let title = || pair.before.or(pair.after).map(T::title).unwrap_or_default();
        match statement.execute(params_from_iter(row)) {
            Ok(1) => Ok(()),
            Ok(_) => Err(StoreError::Changed { record: title() }),
            Err(cause) if is_constraint(&cause) => {
                Err(StoreError::Constraint { record: title(), source: cause.into() })
            }
            Err(cause) => Err(trouble("write a record", cause)),
        }
    }
}

impl Role {
    /// Whether a row is changed only where this column is as before.
    fn is_found_by(self) -> bool {
        self != Self::Plain
    }

    /// Whether a row that stays in its place gets a new value here.
    fn is_updated(self) -> bool {
        matches!(self, Self::Version | Self::Plain)
    }
}

/// All records of a table, in the order of their keys.
pub(super) fn read_all<T: Table>(connection: &Connection) -> Result<Vec<T>, StoreError> {
    let failed = |cause| trouble("read the records", cause);
    let columns: Vec<_> = names::<T>(|_| true).collect();
    let keys: Vec<_> = names::<T>(|role| role == Role::Key).collect();
    let select = format!("SELECT {} FROM {} ORDER BY {}", columns.join(", "), T::NAME, keys.join(", "));
    let mut records = Vec::with_capacity(count::<T>(connection).map_err(failed)?);
    let mut statement = connection.prepare(&select).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        records.push(T::read(&mut Fields::new::<T>(row))?);
    }
    Ok(records)
}

fn count<T: Table>(connection: &Connection) -> rusqlite::Result<usize> {
    let count: u32 = connection.query_one(&format!("SELECT count(*) FROM {}", T::NAME), [], |row| row.get(0))?;
    Ok(count as usize)
}

fn is_moved<T: Table>(before: &T, after: &T) -> bool {
    values(Some(before), |role| role == Role::Unique) != values(Some(after), |role| role == Role::Unique)
}

fn names<T: Table>(is_wanted: impl Fn(Role) -> bool) -> impl Iterator<Item = &'static str> {
    T::COLUMNS.iter().filter(move |column| is_wanted(column.role)).map(|column| column.name)
}

fn values<T: Table>(record: Option<&T>, is_wanted: impl Fn(Role) -> bool) -> Vec<Value<'_>> {
    let all = record.map(T::values).unwrap_or_default();
    all.into_iter().zip(T::COLUMNS).filter(|(_, column)| is_wanted(column.role)).map(|(value, _)| value).collect()
}
