//! The HTTP API, the operations, and the service that tells agents what is wanted.
//!
//! The engine holds the zone: the API and the sync service read it and submit commands to it, and it
//! alone knows the store. [`Server`] puts the three together on their sockets.

mod admission;
mod audit;
mod auth;
mod catalogue;
mod certificate;
mod engine;
mod handshakes;
mod http;
mod limits;
mod rate;
mod reload;
mod seldom;
mod server;
mod sync;
mod timed;
#[cfg(test)]
#[path = "../../privnet-crypto/tests/watching/mod.rs"]
mod watching;

pub use audit::AuditConfig;
pub use auth::{AuthorityError, KeyFileError};
pub use catalogue::{Catalogue, CatalogueError, ServedCatalogue};
pub use certificate::{Encryption, SELF_SIGNED_FILE, ServedCertificate, ServedCertificateError};
pub use engine::EngineConfig;
pub use limits::Limits;
pub use reload::Reloader;
pub use server::{Authentication, Server, ServerConfig, ServerError};
