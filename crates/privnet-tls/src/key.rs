//! Private keys, and the certificates that belong to them.

use std::fmt;
use std::sync::Arc;

use privnet_crypto::Secret;

use crate::certificate::Certificate;
use crate::error::CertificateError;
use crate::pem;
use crate::x509::{Key, X509};

const LABEL: &str = "PRIVATE KEY";
const WHAT: &str = "private key";

/// A private key. Clones share it; it is never part of what `Debug` prints.
#[derive(Clone)]
pub struct PrivateKey(Arc<Key>);

impl PrivateKey {
    /// Makes a P-256 key, by the library's own random numbers.
    ///
    /// # Errors
    /// [`CertificateError::Library`].
    pub fn generate() -> Result<Self, CertificateError> {
        Ok(Self(Arc::new(Key::generate_p256()?)))
    }

    /// Reads the first private key of a PEM text: of any kind that the library knows, and not encrypted.
    ///
    /// # Errors
    /// [`CertificateError::Missing`], [`CertificateError::EncryptedKey`], [`CertificateError::Damaged`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let mut parts = pem::parts(text, |label| label.ends_with(LABEL));
        let part = parts.next().ok_or(CertificateError::Missing(WHAT))?;
        if part.is_encrypted() {
            return Err(CertificateError::EncryptedKey);
        }
        Ok(Self(Arc::new(Key::from_der(part.der(WHAT)?.as_bytes())?)))
    }

    /// In PEM (PKCS#8), not encrypted: for a file that only its owner can read.
    ///
    /// # Errors
    /// [`CertificateError::Library`].
    pub fn to_pem(&self) -> Result<Secret, CertificateError> {
        Ok(pem::write(LABEL, self.0.private_der()?.as_bytes()))
    }

    pub(crate) fn raw(&self) -> &Key {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}

/// Who one end of a connection says that it is, and can prove.
#[derive(Debug, Clone)]
pub struct Identity {
    chain: Vec<Certificate>,
    key: PrivateKey,
}

impl Identity {
    /// A certificate, those of the authorities above it (which are shown with it), and the key of the first.
    ///
    /// # Errors
    /// [`CertificateError::Missing`] without any certificate, [`CertificateError::KeyMismatch`].
    pub fn new(chain: Vec<Certificate>, key: PrivateKey) -> Result<Self, CertificateError> {
        let own = chain.first().ok_or(CertificateError::Missing("certificate"))?;
        if !own.to_x509()?.has_key(key.raw()) {
            return Err(CertificateError::KeyMismatch);
        }
        Ok(Self { chain, key })
    }

    /// Reads both from PEM texts, which may be the same.
    ///
    /// # Errors
    /// Those of [`Certificate::all_from_pem`], [`PrivateKey::from_pem`] and [`new`](Self::new), in this order.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, CertificateError> {
        Self::new(Certificate::all_from_pem(certificates)?, PrivateKey::from_pem(key)?)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// Its own certificate, and those of the authorities above it.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The key of its certificate.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// For the library.
    pub(crate) fn to_x509(&self) -> Result<Vec<X509>, CertificateError> {
        self.chain.iter().map(Certificate::to_x509).collect()
    }
}
