use std::collections::BTreeSet;
use std::future::Future;

use privnet_model::{InstanceState, MacAddr};
use privnet_plan::{KernelNetworks, NetOp};

use crate::{ApplyError, DumpError};

/// What a host's kernel holds of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelDump {
    /// Networks with any entry, device or setting on this host.
    pub networks: KernelNetworks,
    /// Ports' devices that do not say to which network they belong; [`NetOp::Unplug`] removes one.
    pub strays: BTreeSet<MacAddr>,
    /// The MTU of the device with the VTEP's address; `None` while no device has it.
    pub underlay_mtu_bytes: Option<u32>,
    /// Whether programs of another version, by maps of their own, still judge what comes from other hosts;
    /// [`Kernel::upgrade`] puts ours in their place.
    pub is_outdated: bool,
}

/// A host's kernel, as the agent's loop sees it.
pub trait Kernel: Send + 'static {
    /// Reads all that is there, a part at each call, so that no operation waits for long: `None` until the
    /// last part is read. Of a network that an operation was about between the calls, the result may have
    /// what was before, what is now, or some of both; and what is a stray for it may be none.
    ///
    /// # Errors
    /// Devices or maps cannot be read; the message says which. The next call starts anew.
    fn dump(&mut self) -> impl Future<Output = Result<Option<KernelDump>, DumpError>> + Send;

    /// Carries out one operation. Done twice, it leaves what it leaves when done once.
    ///
    /// # Errors
    /// What the operation needs is not there, or the kernel refuses a step; the message says which.
    fn apply(&mut self, op: &NetOp) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Makes an instance. One that is there, and the agent's, is left as it is.
    ///
    /// # Errors
    /// Something else has its name, or the kernel refuses a step; the message says which.
    fn make_instance(&mut self, state: &InstanceState) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Removes an instance that the agent has made. One that is not there, or not the agent's, is left as it is.
    ///
    /// # Errors
    /// The kernel refuses a step; the message says which.
    fn remove_instance(&mut self, state: &InstanceState) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// The instances that the agent has made, or an earlier agent in its place.
    ///
    /// # Errors
    /// They cannot be read; the message says which.
    fn instances(&mut self) -> impl Future<Output = Result<Vec<InstanceState>, DumpError>> + Send;

    /// Puts what judges the frames of all networks together in the place of another version's, which is
    /// forgotten. What the maps do not hold then does not pass any more.
    ///
    /// # Errors
    /// The kernel refuses a step; the message says which.
    fn upgrade(&mut self) -> impl Future<Output = Result<(), ApplyError>> + Send;
}
