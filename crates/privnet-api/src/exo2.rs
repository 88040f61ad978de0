//! EXO2-HMAC-SHA256: how a request shows who sends it.
//!
//! The scheme is Exoscale's ("API Request Signature" in its API documentation). The header is
//! `Authorization: EXO2-HMAC-SHA256 credential=KEY[,signed-query-args=NAME;NAME],expires=UNIX_SECONDS,signature=BASE64`.
//! The signature is the HMAC-SHA-256, by the key's secret as text, of five segments, joined by line feeds:
//!
//! 1. the method, a space, and the path as it is on the wire, without the query;
//! 2. the octets of the body;
//! 3. the values of the query arguments that the header names, decoded, one after the other;
//! 4. nothing: values of headers, of which no client signs any;
//! 5. `expires`, in decimal.
//!
//! Clients differ, and a verifier lives with it. Go names each query argument that has one value.
//! Python names those with several as well, and signs none of their values. Java names none and lets its
//! signatures expire at once, so that a verifier needs some leeway. Go sends the same signature again when it
//! retries, so one is good until it expires; how far ahead that may be has a limit, which is ours.
//!
//! What the scheme does not sign is not protected by it: which arguments are named, where in the third segment
//! a value ends, and arguments that are not named. Against whoever can change requests on their way, TLS helps.

mod header;
mod query;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privnet_crypto::{CryptoError, SIGNATURE_OCTETS, SigningKey};
use privnet_model::{RequestId, Timestamp};

pub use header::{CREDENTIAL_OCTETS_MAX, HEADER_OCTETS_MAX, HeaderError, SIGNED_QUERY_ARGS_MAX};

/// The scheme's name in the header. Its letters may be of either case (RFC 9110 §11.1).
pub const SCHEME: &str = "EXO2-HMAC-SHA256";

/// How long a signature of ours is good for, as with Exoscale's own clients.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// How long a signature may be good for. Clients sign for ten minutes; the rest is for clocks that are ahead, and
/// for scripts that sign what they send later.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// What of a request can be signed.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// In capitals.
    pub method: &'a str,
    /// As on the wire: percent-encoded, from the first slash on, without a query.
    pub path: &'a str,
    /// As on the wire, without the question mark; empty where there is none.
    pub query: &'a str,
    /// As on the wire.
    pub body: &'a [u8],
}

/// The header's value, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    credential: &'a str,
    signed_query_args: Vec<&'a str>,
    expires_unix_s: u64,
    signature: [u8; SIGNATURE_OCTETS],
}

/// The signature is not good at this time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpiryError {
    /// It was, before.
    #[error(
        "the signature has expired: it was good until {until_unix_s}, and the server's clock says {now_unix_s} (Unix seconds); sign the request again, and look at the clocks of both if this happens with new signatures"
    )]
    Expired {
        /// Its expiry.
        until_unix_s: u64,
        /// By the server's clock.
        now_unix_s: u64,
    },
    /// It would be for more than [`LIFETIME_MAX`]: whoever gets hold of it could use it for as long.
    #[error(
        "the signature expires too late: it would be good until {until_unix_s}, {} hours at most are accepted, and the server's clock says {now_unix_s} (Unix seconds); sign with an earlier expiry, such as ten minutes ahead, and look at the clocks of both if it is", LIFETIME_MAX.as_secs() / 3600
    )]
    TooFarAhead {
        /// Its expiry.
        until_unix_s: u64,
        /// By the server's clock.
        now_unix_s: u64,
    },
}

impl<'a> Authorization<'a> {
    /// Takes a header's value apart. The parts may come in any order.
    ///
    /// # Errors
    /// [`HeaderError`] for the first thing that is wrong.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        header::parse(value)
    }

    /// The id of the key that it is said to be signed with.
    pub fn credential(&self) -> &'a str {
        self.credential
    }

    /// What tells the request from others, as far as it was signed with the key that it names.
    pub fn request_id(&self) -> RequestId {
        let (half, _) = self.signature.split_first_chunk().expect("a signature has twice as many octets");
        RequestId::from_bytes(*half)
    }

    /// Whether it is still good at `now`, or was `leeway` before, and not for longer than [`LIFETIME_MAX`].
    ///
    /// # Errors
    /// It is not.
    pub fn check_expiry(&self, now: Timestamp, leeway: Duration) -> Result<(), ExpiryError> {
        let (until_unix_s, now_unix_s) = (self.expires_unix_s, now.unix_ms / 1000);
        if until_unix_s.saturating_add(leeway.as_secs()) < now_unix_s {
            return Err(ExpiryError::Expired { until_unix_s, now_unix_s });
        }
        if until_unix_s.saturating_sub(now_unix_s) > LIFETIME_MAX.as_secs() {
            return Err(ExpiryError::TooFarAhead { until_unix_s, now_unix_s });
        }
        Ok(())
    }

    /// Whether the request was signed with this key. How long this takes tells nothing of the key.
    ///
    /// # Errors
    /// It cannot be computed.
    pub fn is_by(&self, key: &SigningKey, request: &Signable<'_>) -> Result<bool, CryptoError> {
        let expected = sign(key, request, &self.signed_query_args, self.expires_unix_s)?;
        Ok(privnet_crypto::equal(&self.signature, &expected))
    }
}

/// The header's value for a request: signs all that can be, as Exoscale's Go client does.
///
/// # Errors
/// It cannot be computed.
pub fn authorization(
    credential: &str,
    key: &SigningKey,
    request: &Signable<'_>,
    expires_unix_s: u64,
) -> Result<String, CryptoError> {
    let names = query::signable_names(request.query);
    let signature = sign(key, request, &names, expires_unix_s)?;
    let signature = BASE64_STANDARD.encode(signature);
    let named = if names.is_empty() { String::new() } else { format!("signed-query-args={},", names.join(";")) };
    Ok(format!("{SCHEME} credential={credential},{named}expires={expires_unix_s},signature={signature}"))
}

fn sign(
    key: &SigningKey,
    request: &Signable<'_>,
    signed_query_args: &[impl AsRef<str>],
    expires_unix_s: u64,
) -> Result<[u8; SIGNATURE_OCTETS], CryptoError> {
    let expires = expires_unix_s.to_string();
    let values = query::signed_values(request.query, signed_query_args);
    let (method, path) = (request.method.as_bytes(), request.path.as_bytes());
    key.sign(&[method, b" ", path, b"\n", request.body, b"\n", &values, b"\n\n", expires.as_bytes()])
}
