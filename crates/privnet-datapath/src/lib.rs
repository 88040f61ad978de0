//! The only door to a host's kernel: devices, eBPF programs and their maps.
//!
//! [`Kernel`] is what the agent's loop needs of a host: read what is there, carry out one operation.
//! `Datapath` is the real one, [`Simulated`] one in memory. Neither knows where wanted state comes from.

mod error;
mod kernel;
mod simulated;

pub use error::{ApplyError, DumpError};
pub use kernel::{Kernel, KernelDump};
pub use simulated::Simulated;
