//! The protocol between server and agents, and its conversion to model types.
//!
//! `proto/sync.proto` describes what is on the wire; [`proto`] holds what is generated from it.
//! Everybody else speaks [`FromAgent`] and [`FromServer`], whose parts are model types: whatever
//! arrives passes through their `parse` and breaks no rule afterwards.
//!
//! A conversation: the agent says [`Hello`] with the generations it holds; the server answers
//! [`FromServer::Welcome`], sends a full state, a delta or a removal for each network in which the
//! agent differs from what is wanted, the instances that it shall make or has to lose, then
//! [`FromServer::Current`]; from then on it sends changes as
//! they come. The agent confirms with [`FromAgent::Applied`] and [`FromAgent::Removed`].

mod channel;
mod copy;
mod error;
mod field;
mod instance;
mod message;
mod network;

pub use channel::channel_over;
pub use copy::{decode_instances, decode_network_state, encode_instances, encode_network_state};
pub use error::MessageError;
pub use message::{FromAgent, FromServer, Hello, InstanceFailure, JoinRequest, PortFailure, RunId};

/// The version of the protocol that this crate speaks; both sides tell theirs. From 2 on an agent makes
/// instances, and a server says which; from 3 on it says of which run it is, and whether it is still there.
pub const PROTOCOL_VERSION: u32 = 3;

/// The first version in which instances are spoken of.
pub const INSTANCES_SINCE: u32 = 2;

/// The first version in which an agent answers [`FromServer::Rival`].
pub const RIVALS_SINCE: u32 = 3;

/// The largest message of the server that an agent accepts, in octets: a full state of some 500,000 ports.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How many networks a Hello may hold, and how many instances: four times what the data plane of a host takes.
pub const HELD_MAX: usize = 1 << 16;

/// The largest message of an agent that the server accepts, in octets: a Hello that holds all that it may, or the
/// failures of some 100,000 ports with short messages.
pub const AGENT_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The largest message of the membership service, in octets.
pub const MEMBERSHIP_BYTES_MAX: usize = 16 << 10;

/// The name in the server's certificate, whatever address it has.
pub const SERVER_NAME: &str = "sync.privnet.internal";

/// What is spoken over TLS (RFC 9113 §3.2).
pub const PROTOCOL: &str = "h2";

/// What is generated from `proto/sync.proto`.
pub mod proto {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("privnet.sync.v1");
}
