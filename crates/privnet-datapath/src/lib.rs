//! The only door to a host's kernel: devices, eBPF programs and their maps.
//!
//! [`Kernel`] is what the agent's loop needs of a host: read what is there, carry out one operation.
//! [`Datapath`] is the real one, [`Simulated`] one in memory. Neither knows where wanted state comes from.
//!
//! The programs (`bpf/`) judge each frame by their maps alone; devices, filters and maps stay when the
//! agent goes. Nothing is remembered here that the kernel knows: each operation looks at what is there,
//! so one that was cut short is completed by doing it again.

mod counters;
mod datapath;
mod dhcp;
mod dump;
mod ends;
mod error;
mod events;
mod fast_lane;
mod inspect;
mod kernel;
mod layout;
mod members;
mod names;
mod namespaces;
mod netlink;
mod netns;
mod overlay;
mod pins;
mod ports;
mod programs;
mod purge;
mod sender;
mod simulated;
mod sys;
mod tables;
mod tap;
#[cfg(test)]
mod tests;
mod underlay;

pub use counters::{CountedPort, CountersError, DeclineCounter, HostCounters, PortCounters, read_counters};
pub use datapath::{Datapath, DatapathConfig, Opened};
pub use dhcp::{DhcpRequest, DhcpRequests};
pub use error::{ApplyError, DumpError, KernelError, OpenError};
pub use events::LinkEvents;
pub use inspect::{DeviceState, inspect_device, inspect_port};
pub use kernel::{Kernel, KernelDump};
pub use netns::start_of as start_of_process;
pub use purge::purge;
pub use sender::FrameSender;
pub use simulated::Simulated;
pub use underlay::{default_vtep, underlay_mtu_bytes};
