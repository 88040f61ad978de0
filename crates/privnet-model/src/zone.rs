//! The zone: every record in memory, and the decisions about them.
//!
//! [`Zone::decide`] is pure: it turns a [`Command`] into the [`Change`]s that carry it out, or refuses.
//! Whoever holds a zone makes the changes durable first and then calls [`Zone::apply`]. The changes
//! carry the records before and after, so that a failed commit can be undone.

mod caller;
mod change;
mod command;
mod decide;
mod hosts;
mod instances;
mod joining;
mod networks;
mod operations;
mod ports;
mod refusal;
mod seen;
mod ssh_keys;
mod state;
mod tenants;
#[cfg(test)]
mod tests;
mod view;

pub use caller::{Access, Caller};
pub use change::{Change, Row, Snapshot};
pub use command::{
    Command, CreateKey, CreateNetwork, DeviceWish, Grant, InviteHost, JoinHost, LaunchInstance, RangeFields,
    UpdateInstance, UpdateNetwork, UpdateOrganization,
};
pub use decide::{Circumstances, Decision, FINISHED_OPERATIONS_MAX, Outcome, PENDING_OPERATIONS_MAX};
pub use joining::INVITATIONS_MAX;
pub use refusal::{Refusal, RefusalKind};
pub use seen::{Seen, Usage};
pub use ssh_keys::SSH_KEYS_PER_ORGANIZATION_MAX;
pub use state::Zone;
pub use tenants::KEYS_PER_ORGANIZATION_MAX;

/// The label of a new instance that names its host.
pub const HOST_LABEL: &str = "privnet/host";
