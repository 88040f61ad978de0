//! The only door to cryptography: HMAC-SHA-256 (RFC 2104), secrets sealed at rest by AES-256-GCM
//! (NIST SP 800-38D), and wiped in memory, comparison in constant time, random octets, and digests: SHA-256, and MD5
//! for fingerprints that people compare.
//!
//! Nothing is computed here. The system's libcrypto (OpenSSL 3.0 or newer) does it, and `libcrypto.rs`
//! is the one file that knows so; this one is what the rest of the tree sees.

mod libcrypto;
mod secret;

use std::fmt;

pub use secret::Secret;

/// The length of an HMAC-SHA-256 (SHA-256 yields 256 bits, FIPS 180-4).
pub const SIGNATURE_OCTETS: usize = 32;
/// The length of a [`SealingKey`].
pub const SEALING_KEY_OCTETS: usize = 32;
/// The length of a SHA-256 (FIPS 180-4).
pub const SHA256_OCTETS: usize = 32;
/// The length of an MD5 (RFC 1321 §3.5).
pub const MD5_OCTETS: usize = 16;
/// What [`SealingKey::seal`] adds to the length of a secret.
pub const SEAL_OVERHEAD_OCTETS: usize = NONCE_OCTETS + TAG_OCTETS;

/// The nonce length for which GCM needs no further hashing (SP 800-38D §5.2.1.1).
const NONCE_OCTETS: usize = 12;
/// The longest tag that GCM has.
const TAG_OCTETS: usize = 16;

/// Why something could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The library refused, or has no memory: `cause` is its own text.
    #[error("libcrypto cannot {doing}: {cause}")]
    Library {
        /// What was asked of it.
        doing: &'static str,
        /// The library's words for the first error it noted.
        cause: String,
    },
    /// The kernel gave no random octets.
    #[error("cannot get random octets from the kernel")]
    Random(#[source] getrandom::Error),
}

/// Why a sealed secret stays closed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was sealed with another key or for another purpose, or was damaged; these cannot be told apart.
    #[error("not sealed with this key for this purpose, or damaged since")]
    Refused,
    /// Nothing is known about the sealed secret.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// A secret, ready to sign with: the work that depends on the secret alone is done once.
pub struct SigningKey(libcrypto::KeyedHmac);

impl SigningKey {
    /// Prepares an HMAC-SHA-256 key of any length, also none.
    ///
    /// # Errors
    /// [`CryptoError::Library`].
    pub fn new(secret: &[u8]) -> Result<Self, CryptoError> {
        libcrypto::KeyedHmac::new(secret).map(Self)
    }

    /// HMAC-SHA-256 of the parts, one after the other, with nothing between them.
    ///
    /// # Errors
    /// [`CryptoError::Library`].
    pub fn sign(&self, parts: &[&[u8]]) -> Result<[u8; SIGNATURE_OCTETS], CryptoError> {
        self.0.sign(parts)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

/// A key for secrets at rest.
///
/// Each seal draws a nonce at random: 2^32 seals with one key keep the chance that two are equal
/// below 2^-32 (SP 800-38D §8.3).
#[derive(Clone)]
pub struct SealingKey(Secret);

impl SealingKey {
    /// The key of these octets, which are expected to be random; `None` unless they are [`SEALING_KEY_OCTETS`].
    pub fn new(octets: Secret) -> Option<Self> {
        (octets.as_bytes().len() == SEALING_KEY_OCTETS).then_some(Self(octets))
    }

    /// Encrypts and authenticates a secret: nonce (12 octets), ciphertext (as long as the secret), tag (16
    /// octets). `purpose` is not in there, but opening takes the same one; it holds the secret to its place
    /// (such as the id of the record it is kept in).
    ///
    /// # Errors
    /// [`CryptoError::Random`], then [`CryptoError::Library`], also for what is longer than 2 GiB.
    pub fn seal(&self, secret: &[u8], purpose: &[u8]) -> Result<Vec<u8>, CryptoError> {
        libcrypto::seal(self.octets(), random()?, secret, purpose)
    }

    /// The secret that [`seal`](Self::seal) made this of.
    ///
    /// # Errors
    /// [`OpenError::Refused`] if key or purpose are others, or an octet has changed; [`CryptoError::Library`].
    pub fn open(&self, sealed: &[u8], purpose: &[u8]) -> Result<Secret, OpenError> {
        let (nonce, rest) = sealed.split_first_chunk().ok_or(OpenError::Refused)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(OpenError::Refused)?;
        libcrypto::open(self.octets(), nonce, ciphertext, tag, purpose)?.ok_or(OpenError::Refused)
    }

    fn octets(&self) -> &[u8; SEALING_KEY_OCTETS] {
        self.0.as_bytes().try_into().expect("it was made of as many")
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(secret)")
    }
}

/// Whether these are the same octets, in a time that depends on their lengths alone.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    libcrypto::equal(one, other)
}

/// The SHA-256 of some octets (FIPS 180-4).
///
/// # Errors
/// [`CryptoError::Library`].
pub fn sha256(octets: &[u8]) -> Result<[u8; SHA256_OCTETS], CryptoError> {
    libcrypto::digest(c"SHA256", octets)
}

/// The MD5 of some octets (RFC 1321): to show what other programs show, such as the fingerprint of an SSH key.
/// Nothing may rely on it (RFC 6151).
///
/// # Errors
/// [`CryptoError::Library`], always where the library is restricted to algorithms that are approved (FIPS 140).
pub fn md5(octets: &[u8]) -> Result<[u8; MD5_OCTETS], CryptoError> {
    libcrypto::digest(c"MD5", octets)
}

/// Makes octets that were secret all zero, in a way that no compiler leaves out.
pub fn wipe(secret: &mut [u8]) {
    libcrypto::wipe(secret);
}

/// Octets that nobody can guess, from the kernel's generator.
///
/// # Errors
/// [`CryptoError::Random`].
pub fn random<const OCTETS: usize>() -> Result<[u8; OCTETS], CryptoError> {
    let mut octets = [0; OCTETS];
    getrandom::fill(&mut octets).map_err(CryptoError::Random)?;
    Ok(octets)
}
