//! The per-host loop: follow the server, plan, apply, answer DHCP, report.
//!
//! [`run`] starts it. `follow` is the loop: it waits for whatever there is to do and has `agent` do it, one
//! short step at a time. `carried` is what the agent knows of one network: what is wanted of it, what the kernel
//! has, what the server was told; `instances` is that of what the host makes itself. `pass` carries out a plan; `copies` keeps what is wanted on disk; `client`
//! keeps the connection to the server; `join` makes a host of a machine, and `renewal` has it stay known. `dhcp` runs beside all that and reads `leases` alone.

mod agent;
mod backoff;
mod carried;
mod client;
mod config;
mod copies;
mod declines;
mod dhcp;
mod dial;
mod follow;
mod identity;
mod instances;
mod join;
mod leases;
mod pass;
mod renewal;
mod run;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../../privnet-crypto/tests/watching/mod.rs"]
mod watching;

pub use config::{AgentConfig, RemoteAddress, RemoteAddressError, ServerAddress, ServerAddressError};
pub use copies::StateDirError;
pub use dial::DialError;
pub use identity::IdentityError;
pub use join::{JoinConfig, JoinError, join};
pub use privnet_crypto::Secret;
pub use privnet_datapath::{
    ApplyError, CountedPort, CountersError, DeviceState, HostCounters, PortCounters, default_vtep, inspect_device,
    inspect_port, read_counters, start_of_process,
};
pub use privnet_tls::Fingerprint;
pub use run::{AgentError, purge, run};
