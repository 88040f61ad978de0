//! The zone: all records in memory, and the decisions about them.

mod change;
mod command;
mod refusal;

pub use change::{Change, Row, Snapshot};
pub use command::{Command, CreateNetwork, RangeFields, UpdateNetwork};
pub use refusal::{Refusal, RefusalKind};
