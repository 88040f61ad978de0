use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use privnet_crypto::{CryptoError, SigningKey};
use serde::{Deserialize, Serialize};

use crate::exo2::{self, Signable};

/// A key and its secret: what a client signs with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The key's id.
    pub key: String,
    /// Its secret, as text.
    pub secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a server makes at its first start and writes down for who has its data folder: JSON, in the file
/// [`FILE`](Self::FILE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstCredentials {
    /// Those of an operator.
    pub operator: Credentials,
    /// Those of an admin of the organization `default`.
    pub default: Credentials,
}

impl FirstCredentials {
    /// The name of the file in the server's data folder.
    pub const FILE: &str = "credentials.json";
}

/// Signs requests.
#[derive(Debug)]
pub struct Signer {
    credential: String,
    key: SigningKey,
}

impl Signer {
    /// Signs with these.
    ///
    /// # Errors
    /// [`CryptoError::Library`].
    pub fn new(credentials: &Credentials) -> Result<Self, CryptoError> {
        Ok(Self { credential: credentials.key.clone(), key: SigningKey::new(credentials.secret.as_bytes())? })
    }

    /// The value of the request's `Authorization` header, good from `now` for [`exo2::LIFETIME`].
    ///
    /// # Errors
    /// [`CryptoError::Library`].
    pub fn authorization(&self, request: &Signable<'_>, now: SystemTime) -> Result<String, CryptoError> {
        let expires = now.duration_since(UNIX_EPOCH).unwrap_or_default() + exo2::LIFETIME;
        exo2::authorization(&self.credential, &self.key, request, expires.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"operator":{"key":"EXO1","secret":"s1"},"default":{"key":"EXO2","secret":"s2"}}"#;

    #[test]
    fn first_credentials_are_read_as_they_were_written() {
        let first: FirstCredentials = serde_json::from_str(JSON).expect("valid");
        assert_eq!((&*first.operator.key, &*first.default.secret), ("EXO1", "s2"));
        assert_eq!(serde_json::to_string(&first).expect("JSON"), JSON);
    }

    #[test]
    fn a_secret_is_not_printed() {
        let first: FirstCredentials = serde_json::from_str(JSON).expect("valid");
        assert_eq!(format!("{:?}", first.operator), "Credentials { key: \"EXO1\", .. }");
        assert!(!format!("{:?}", Signer::new(&first.operator).expect("a key")).contains("s1"));
    }

    #[test]
    fn a_signature_is_good_for_ten_minutes() {
        let first: FirstCredentials = serde_json::from_str(JSON).expect("valid");
        let request = Signable { method: "GET", path: "/v2/instance", query: "", body: b"" };
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let header = Signer::new(&first.operator).and_then(|signer| signer.authorization(&request, now));
        assert!(header.expect("signed").starts_with("EXO2-HMAC-SHA256 credential=EXO1,expires=1000600,signature="));
    }
}
