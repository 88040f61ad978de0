//! One network's wanted and actual state on one host, and the operations that lead from one to the other.
//!
//! [`plan`] is pure: the operations it returns leave no choice to whoever carries them out, in the
//! order in which they must be carried out. It opens no socket and reads no clock.

mod apply;
mod configuration;
mod operation;
mod plan;
mod state;

pub use configuration::{Configuration, InterfaceAddress, Route};
pub use operation::NetOp;
pub use plan::plan;
pub use state::{
    FdbTarget, KernelNetwork, KernelNetworks, KernelPort, NetworkSettings, PortSpec, PortStage, wanted_kernel_network,
};
