//! Several hosts on one machine, made of network namespaces: for the demo, end-to-end tests and benchmarks.
//!
//! A [`Lab`] is a server and a number of hosts. Each host is a network namespace with an underlay
//! device and an agent of its own; the hosts' underlay devices meet in a bridge, in a namespace of
//! its own. Instances are namespaces as well. Everything carries the lab's id in its name, so that
//! labs run side by side, and all of it goes when the [`Lab`] is dropped. Should its process die
//! before that, a guard process that every lab starts removes what is left.
//!
//! The lab drives the `privnet` binary from outside, as a user would: it knows no other crate's types.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use privnet_lab::{DhcpClientKind, Lab};
//! use serde_json::json;
//!
//! let mut lab = Lab::builder().hosts(2).start()?;
//! let network = lab.api().create_network(&json!({
//!     "name": "n", "start-ip": "10.0.0.10", "end-ip": "10.0.0.99", "netmask": "255.255.255.0"
//! }))?;
//! let (a, b) = (lab.add_instance("a", 1)?, lab.add_instance("b", 2)?);
//! lab.api().attach(&network, &a.id, None)?;
//! lab.api().attach(&network, &b.id, None)?;
//! let _a = lab.dhcp_client(&a, "net0", DhcpClientKind::Udhcpc)?;
//! let b_client = lab.dhcp_client(&b, "net0", DhcpClientKind::Dhclient)?;
//! let b_address = b_client.wait_for_lease()?.address;
//! assert!(a.namespace.reaches(b_address)?);
//! # Ok(())
//! # }
//! ```

mod api;
pub mod bpf;
mod capture;
pub mod chaos;
mod cloud;
pub mod cni;
pub mod demo;
mod dhcp;
pub mod dhcp_message;
mod frame;
mod interrupt;
pub mod invariants;
pub mod json;
mod lab;
mod leftovers;
mod machine;
mod namespace;
mod note;
mod pinger;
mod process;
mod registration;

pub use api::{Api, Reply};
pub use capture::Capture;
pub use cloud::{Cloud, INSTANCES_MAX, NETWORK};
pub use dhcp::{DhcpClient, DhcpClientKind, DhcpEvent, DhcpLease};
pub use frame::{device_address, internet_checksum, octets, udp_packet};
pub use interrupt::{catch_interrupts, check_interrupts, wait_for_interrupt};
pub use lab::{Host, Instance, Lab, LabBuilder};
pub use leftovers::{guard, remove_leftovers};
pub use machine::{Machine, Plug, VNET_HEADER_OCTETS};
pub use namespace::Namespace;
pub use note::{Note, Place, start_detached};
pub use pinger::Pinger;
pub use process::Daemon;
