//! Who a request is from: its signature, held against the keys of the zone.
//!
//! [`KeyRing`] has the secrets, [`files`] what of them is on disk; [`pages`] keeps web pages away where nothing is
//! signed. What a caller may do is the zone's to say.

mod authority;
mod files;
mod pages;
mod ring;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use privnet_api::exo2::{Authorization, ExpiryError, HeaderError, Signable};
use privnet_crypto::OpenError;
use privnet_model::zone::{Caller, Zone};
use privnet_model::{KeyId, RequestId, Timestamp};

pub use self::authority::AuthorityError;
pub(crate) use self::authority::{HostAuthority, ShownCertificate};
pub use self::files::KeyFileError;
pub(crate) use self::files::{first_keys, unlock, write as write_private};
use self::pages::PageError;
pub(crate) use self::pages::host_of;
pub(crate) use self::ring::{KeyRing, NewSecret};

/// Whether requests must be signed.
pub(crate) enum Gate {
    /// They must.
    Guarded {
        /// The secrets of the keys.
        keys: KeyRing,
        /// How long after its expiry a signature is still good.
        leeway: Duration,
    },
    /// Whoever reaches the server is an operator, but for web pages.
    Open {
        /// The host of the server's URL.
        own_host: Option<String>,
    },
}

/// Who a request says it is from.
pub(crate) enum Claim<'a> {
    /// Nobody has to say so.
    Anybody,
    /// The holder of a key.
    Signed {
        /// Not verified yet.
        authorization: Authorization<'a>,
        /// The secrets to verify it with.
        keys: &'a KeyRing,
    },
}

/// Why a request is nobody's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("requests are signed here (EXO2-HMAC-SHA256), and this one has no Authorization header")]
    NotSigned,
    #[error("the request has more than one Authorization header")]
    SignedTwice,
    #[error("the Authorization header {0}")]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Expiry(#[from] ExpiryError),
    /// The key is unknown, revoked or expired, or the signature is not its own: nobody is told which.
    #[error("Invalid request signature")]
    Signature,
    #[error(transparent)]
    Page(#[from] PageError),
    /// Nothing is known about the signature.
    #[error("the signature cannot be verified: {0}")]
    Fault(#[from] OpenError),
}

impl Gate {
    /// Who is said to have signed the request, by its headers alone.
    ///
    /// # Errors
    /// [`Denied`]: what can be told without the body and the key.
    pub(crate) fn claim<'a>(&'a self, headers: &'a HeaderMap, now: Timestamp) -> Result<Claim<'a>, Denied> {
        let (keys, leeway) = match self {
            Self::Guarded { keys, leeway } => (keys, leeway),
            Self::Open { own_host } => {
                pages::refuse(headers, own_host.as_deref())?;
                return Ok(Claim::Anybody);
            }
        };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Denied::NotSigned)?;
        if values.next().is_some() {
            return Err(Denied::SignedTwice);
        }
        let authorization = Authorization::parse(value.as_bytes())?;
        authorization.check_expiry(now, *leeway)?;
        Ok(Claim::Signed { authorization, keys })
    }
}

impl Claim<'_> {
    /// What tells the request from others, where it is signed.
    pub(crate) fn request_id(&self) -> Option<RequestId> {
        match self {
            Self::Anybody => None,
            Self::Signed { authorization, .. } => Some(authorization.request_id()),
        }
    }

    /// Whoever has signed the request.
    ///
    /// # Errors
    /// [`Denied::Signature`], or [`Denied::Fault`].
    pub(crate) fn verify<Z: Deref<Target = Zone>>(
        &self,
        request: &Signable<'_>,
        view: impl FnOnce() -> Z,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        let Self::Signed { authorization, keys } = self else { return Ok(Caller::OPERATOR) };
        let id: Option<KeyId> = authorization.credential().parse().ok();
        let (key, signing) = {
            let zone = view();
            let key = id.and_then(|id| zone.key(id)).filter(|key| !key.is_expired(now)).cloned();
            let signing = keys.signing_key(key.as_deref(), &zone)?;
            (key, signing)
        };
        // Where there is no such key, as much is computed as where there is.
        let is_signed = authorization.is_by(&signing, request).map_err(OpenError::Crypto)?;
        match key {
            Some(key) if is_signed => Ok(Caller::Client { key: Some(key.id), scope: key.scope }),
            _ => Err(Denied::Signature),
        }
    }
}
