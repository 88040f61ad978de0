use privnet_model::{Event, KeyId, OrganizationId, Timestamp};

use crate::StoreError;

/// What is added to the audit log, and what of it need not be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewEvents<'a> {
    /// In the order in which they have happened.
    pub events: &'a [Event],
    /// What is kept.
    pub keep: Keep,
}

/// Which events are kept: those that are both new enough and not too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Those from this moment on.
    pub since: Timestamp,
    /// So many in all. Where there are more, the oldest go of whoever has most: an organization, operators, or
    /// those who have signed nothing. So nobody loses an event while they have no more than an equal part.
    pub count_max: u64,
}

impl NewEvents<'_> {
    /// Nothing happens to the log.
    pub const NONE: Self = Self { events: &[], keep: Keep { since: Timestamp::from_unix_ms(0), count_max: u64::MAX } };
}

/// Reads the audit log.
pub trait EventReader: Send {
    /// The last events that a query is about, in the order in which they have happened.
    ///
    /// # Errors
    /// [`StoreError::Database`], or [`StoreError::Invalid`] for the first that breaks a rule.
    fn read(&mut self, query: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError>;
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Rises from event to event; begins anew when the log has been empty.
    pub number: u64,
    /// The event.
    pub event: Event,
}

/// Which events somebody looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Those from this moment on.
    pub from: Timestamp,
    /// Those before this moment.
    pub to: Timestamp,
    /// Those that an organization may read; `None`: all.
    pub organization: Option<OrganizationId>,
    /// Those of requests with a key.
    pub key: Option<KeyId>,
    /// Those before the one with this number: several events may have one time, and none have one number.
    pub before: Option<u64>,
    /// At most so many.
    pub count_max: usize,
}
