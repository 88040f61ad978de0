//! The HTTP API, described once: its endpoints, what they read and what they answer.
//!
//! [`ENDPOINTS`] is the table of them all. [`route`] finds the one that a request is for, [`read`]
//! turns its path and body into a [`Request`] of checked values or tells everything that is wrong
//! with them at once, and the types in [`reply`] are what is answered. The OpenAPI document is made
//! from the same table and types; [`OPENAPI_JSON`] is its checked-in form, so that a change of the
//! API shows as a change of that file.
//!
//! [`exo2`] is how requests are signed. Nothing here does I/O. Bodies are read by hand rather than by derived deserialisers because those
//! stop at the first fault and cannot say which value broke which rule.

mod credentials;
mod endpoint;
pub mod exo2;
mod openapi;
mod percent;
mod query;
pub mod reply;
mod request;
mod route;

pub use credentials::{Credentials, FirstCredentials, Signer};
pub use endpoint::{Call, ENDPOINTS, Endpoint, Method};
pub use openapi::{OPENAPI_JSON, document};
pub use request::{BadRequest, EventFilter, InstanceFilter, InviteHost, Request, body, read};
pub use route::{Route, RouteError, route};
