use std::error::Error;
use std::net::IpAddr;

use privnet_model::{DeviceName, MacAddr, Netns, Reason, Vni};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// What this host's kernel holds cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}")]
pub struct DumpError {
    pub(crate) what: String,
    #[source]
    pub(crate) source: BoxError,
}

/// An operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The instance's network namespace is not there.
    #[error("network namespace {0} does not exist on this host")]
    NetnsNotFound(Netns),
    /// The instance has another device of that name.
    #[error("network namespace {netns} has another device named {device}")]
    DeviceTaken {
        /// Where.
        netns: Netns,
        /// Its name.
        device: DeviceName,
    },
    /// The port's device is not there.
    #[error("port {0} has no device on this host")]
    NotPlugged(MacAddr),
    /// The network's own entry is not there.
    #[error("the network with VNI {0} has no settings on this host")]
    NoSettings(Vni),
    /// The network has as many ports or VTEPs on this host as the programs can send BUM frames to.
    #[error("the network with VNI {vni} has {max} {what} on this host already, and cannot have more")]
    TooMany {
        /// The network.
        vni: Vni,
        /// Of what.
        what: &'static str,
        /// How many.
        max: u32,
    },
    /// The underlay is IPv4.
    #[error("VTEP {0} has no IPv4 address, as this host's own has")]
    OtherFamily(IpAddr),
    /// The kernel refuses a step.
    #[error("cannot {step}")]
    Refused {
        /// What we were doing.
        step: String,
        /// What it says.
        #[source]
        source: BoxError,
    },
}

impl ApplyError {
    /// Whether something that the operation names does not exist on this host.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NetnsNotFound(_))
    }

    /// The same in the API's word.
    pub fn reason(&self) -> Reason {
        if self.is_not_found() { Reason::NotFound } else { Reason::Fault }
    }
}
