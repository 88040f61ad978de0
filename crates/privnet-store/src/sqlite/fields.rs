use rusqlite::Row;
use rusqlite::types::{FromSql, ValueRef};

use super::table::{Column, Role, Table};
use crate::StoreError;
use crate::error::Cause;

/// The fields of a row, taken one after the other in the order of the table's columns.
pub(super) struct Fields<'r> {
    row: &'r Row<'r>,
    table: &'static str,
    columns: &'static [Column],
    taken: usize,
}

impl<'r> Fields<'r> {
    pub(super) fn new<T: Table>(row: &'r Row<'r>) -> Self {
        Self { row, table: T::NAME, columns: T::COLUMNS, taken: 0 }
    }

    /// The next field as it is.
    pub(super) fn get<V: FromSql>(&mut self) -> Result<V, StoreError> {
        self.taken += 1;
        self.row.get(self.taken - 1).map_err(|cause| self.invalid(cause))
    }

    /// The next field, a number, as `make` turns it into a value that has passed its rules.
    pub(super) fn number<V, E: Into<Cause>>(
        &mut self,
        make: impl FnOnce(u32) -> Result<V, E>,
    ) -> Result<V, StoreError> {
        let number = self.get()?;
        make(number).map_err(|cause| self.invalid(cause))
    }

    /// The next field, a text, as `make` turns it into a value that has passed its rules.
    pub(super) fn text<V, E: Into<Cause>>(
        &mut self,
        make: impl FnOnce(&'r str) -> Result<V, E>,
    ) -> Result<V, StoreError> {
        let value = self.optional_text(make)?;
        value.ok_or_else(|| self.invalid("it is missing"))
    }

    /// The next field, a text that may be missing.
    pub(super) fn optional_text<V, E: Into<Cause>>(
        &mut self,
        make: impl FnOnce(&'r str) -> Result<V, E>,
    ) -> Result<Option<V>, StoreError> {
        self.taken += 1;
        let text = self.row.get_ref(self.taken - 1).map_err(|cause| self.invalid(cause))?;
        let text = text.as_str_or_null().map_err(|cause| self.invalid(cause))?;
        text.map(make).transpose().map_err(|cause| self.invalid(cause))
    }

    /// Says what is wrong with the field taken last, or with those that end there and belong together.
    pub(super) fn invalid(&self, cause: impl Into<Cause>) -> StoreError {
        let column = self.columns[self.taken - 1].name;
        StoreError::Invalid { record: format!("{} {}", self.table, self.key()), column, source: cause.into() }
    }

    /// The key as SQLite's shell would be given it.
    fn key(&self) -> String {
        let keys = self.columns.iter().enumerate().filter(|(_, column)| column.role == Role::Key);
        let key = |index| match self.row.get_ref(index) {
            Ok(ValueRef::Blob(octets)) => octets.iter().map(|octet| format!("{octet:02x}")).collect(),
            other => format!("{other:?}"),
        };
        keys.map(|(index, column)| format!("{} = x'{}'", column.name, key(index))).collect::<Vec<_>>().join(", ")
    }
}
