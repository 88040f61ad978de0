//! What is answered. Property names are in kebab-case; what is empty is absent, never null.

mod catalogue;
mod event;
mod host;
mod instance;
mod invitation;
mod network;
mod nothing;
mod operation;
mod organization;
mod quota;
mod ssh_key;
mod zone;

use privnet_model::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use catalogue::{InstanceType, InstanceTypeRef, InstanceTypes, Template, TemplateRef, Templates};
pub use event::{Event, EventKey, LogEntries, LogEntry};
pub use host::{Host, Hosts};
pub use instance::{Instance, InstanceNetwork, Instances, ListedInstance, PlacedInstance, PlacedInstances};
pub use invitation::{Invitation, Invitations, NewInvitation};
pub use network::{Lease, Options, PrivateNetwork, PrivateNetworks};
pub use nothing::{AntiAffinityGroups, DeployTargets, ElasticIps, SecurityGroups};
pub use operation::{Operation, Reference};
pub use organization::{Key, Keys, NewKey, Organization, OrganizationQuotas, OrganizationUsage, Organizations};
pub use quota::{Quota, Quotas};
pub use ssh_key::{SshKey, SshKeys};
pub use zone::{Zone, Zones};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "error")]
pub struct Error {
    /// What is wrong, with the property, the value and the rule; for people.
    pub message: String,
}

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "health")]
pub struct Health {
    /// Always `ok`: what is not is an error.
    #[schemars(extend("enum" = ["ok"]))]
    pub status: &'static str,
}

impl Health {
    /// All is well.
    pub const OK: Self = Self { status: "ok" };
}

/// A quota as the API writes it: -1 is any number.
fn limit(quota: privnet_model::Quota) -> i64 {
    match quota {
        privnet_model::Quota::Unlimited => -1,
        privnet_model::Quota::AtMost(limit) => limit.into(),
    }
}

/// RFC 3339 in UTC with whole seconds, as the real service writes it.
fn rfc3339<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let seconds = i64::try_from(moment.unix_ms / 1000).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    serializer.collect_str(&moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
}
