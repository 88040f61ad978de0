//! Durable state: one schema, its SQLite implementation, and the test suite every implementation passes.
//!
//! A [`Store`] keeps the records of a zone. It knows what must be unique and what refers to what, as
//! constraints of the database, and nothing else of the zone's rules: `privnet_model` decides, and
//! whoever holds the store reads the zone from memory. So a store has two calls for records: all of them
//! at start, and a list of changes that becomes durable together or not at all.
//!
//! Beside the records it keeps the audit log, whose [events](privnet_model::Event) become durable with the
//! changes that they tell of. Nobody holds all of them in memory: an [`EventReader`] looks for them.

mod effect;
mod error;
mod event;
mod sqlite;

use privnet_model::zone::{Change, Snapshot};

pub use self::error::{StoreError, Trouble};
pub use self::event::{EventQuery, EventReader, Keep, LoggedEvent, NewEvents};
pub use self::sqlite::SqliteStore;

/// Where the records of a zone survive.
pub trait Store: Send {
    /// Every record, each kind in the order of its key.
    ///
    /// # Errors
    /// [`StoreError::Database`], or [`StoreError::Invalid`] for the first record that breaks a rule.
    fn load(&mut self) -> Result<Snapshot, StoreError>;

    /// Makes all the changes durable, or none. They are one step: what holds before and after it need
    /// not hold between two of them, so that an address may be released by one and taken by another
    /// in any order.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where a record is not as a change found it, [`StoreError::Constraint`]
    /// where the changes break a constraint, and [`StoreError::Database`]. Nothing is changed then.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_with_events(changes, &NewEvents::NONE)
    }

    /// As [`commit`](Self::commit), together with events that come at the end of the log. Some of those that
    /// need not be kept are removed with them: so many that a log which is added to does not grow, and so few
    /// that nobody waits for it.
    ///
    /// # Errors
    /// As those of [`commit`](Self::commit).
    fn commit_with_events(&mut self, changes: &[Change], events: &NewEvents<'_>) -> Result<(), StoreError>;

    /// Reads the log beside the commits.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn event_reader(&self) -> Result<Box<dyn EventReader>, StoreError>;
}
