use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use privnet_model::{Account, DeviceName, MacAddr, Netns, Reason, Vni};

/// The kernel refuses a step.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct KernelError {
    step: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// Adds to an error what we were doing.
pub(crate) trait Step<T> {
    fn step(self, step: fmt::Arguments<'_>) -> Result<T, KernelError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Step<T> for Result<T, E> {
    fn step(self, step: fmt::Arguments<'_>) -> Result<T, KernelError> {
        self.map_err(|source| KernelError { step: step.to_string(), source: source.into() })
    }
}

/// The data plane cannot be set up on this host.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refuses a step.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No device has the VTEP's address.
    #[error("VTEP address {0} is on none of this host's devices")]
    NoUnderlay(IpAddr),
    /// Every link has such addresses, and nothing routes them.
    #[error("VTEP address {0} is valid on its own link only; choose one that all hosts of the zone reach")]
    LinkLocal(IpAddr),
}

/// What this host's kernel holds cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DumpError(#[from] KernelError);

/// An operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The instance's network namespace is not there.
    #[error("network namespace {0} does not exist on this host")]
    NetnsNotFound(Netns),
    /// Something else has that name or path.
    #[error("{0} is no network namespace but a file of another kind, which is left alone")]
    NotNetns(Netns),
    /// It is by the number of a process, which another one may have by now.
    #[error(
        "network namespace {0} is whichever process has that number now; register the instance anew by the process, as \
         `privnet instance create --pid` does"
    )]
    NetnsByNumber(Netns),
    /// The process whose network namespace it is has ended.
    #[error("the process of {0} is gone; if there is one with its number, it is another")]
    ProcessGone(Netns),
    /// The process is in a network namespace that the agent has made, which goes by its own name.
    #[error("the process of {0} is in the network namespace that this host has made for an instance")]
    OthersNetns(Netns),
    /// The instance's network namespace is this agent's.
    #[error("network namespace {0} is the host's own, where no instance is")]
    OwnNetns(Netns),
    /// Somebody else has a network namespace of that name.
    #[error("network namespace {0} exists on this host and is not one that this agent has made for the instance")]
    NetnsTaken(Netns),
    /// The instance has another device of that name.
    #[error("network namespace {netns} has another device named {device}")]
    DeviceTaken {
        /// Where.
        netns: Netns,
        /// Its name.
        device: DeviceName,
    },
    /// The host has another device of that name.
    #[error("this host has another device named {0}")]
    NameTaken(DeviceName),
    /// Nobody is called so.
    #[error("this host has no user {0}")]
    UserNotFound(Account),
    /// No group is called so.
    #[error("this host has no group {0}")]
    GroupNotFound(Account),
    /// The port's device is not there.
    #[error("port {0} has no device on this host")]
    NotPlugged(MacAddr),
    /// The port's programs are not there.
    #[error("port {0} is not filtered, and must not be opened")]
    NotFiltered(MacAddr),
    /// The network's own entry is not there.
    #[error("the network with VNI {0} has no settings on this host")]
    NoSettings(Vni),
    /// One end of a tunnel cannot be IPv4 and the other IPv6.
    #[error("VTEP {other} is of another IP version than this host's own, {own}; the hosts of a network need the same")]
    OtherFamily {
        /// This host's.
        own: IpAddr,
        /// The other host's.
        other: IpAddr,
    },
    /// The kernel refuses a step.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl ApplyError {
    /// Whether something that the operation names does not exist on this host.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NetnsNotFound(_) | Self::ProcessGone(_) | Self::UserNotFound(_) | Self::GroupNotFound(_))
    }

    /// The same in the API's word.
    pub fn reason(&self) -> Reason {
        match self {
            Self::DeviceTaken { .. } => Reason::Conflict,
            _ if self.is_not_found() => Reason::NotFound,
            _ => Reason::Fault,
        }
    }
}
