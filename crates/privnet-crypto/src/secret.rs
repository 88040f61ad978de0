use std::fmt;
use std::io::{self, Read};

use crate::libcrypto;

/// Octets that are nobody else's to see, such as a private key's text.
///
/// They are made zero when this is dropped and where they grow out of their place, so that memory that is given back
/// has none of them, and `Debug` prints none. What is copied out of it is the copier's to wipe.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// How much is read at once.
    const READ_OCTETS: usize = 4096;

    /// Some parts, one after the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut secret = Self::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| secret.push(part));
        secret
    }

    /// What `fill` writes into `octets_max` octets, which are zero before; it tells how many it has written.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn filled<E>(octets_max: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Self, E> {
        let mut secret = Self(vec![0; octets_max]);
        let octets = fill(&mut secret.0)?;
        secret.0.truncate(octets);
        Ok(secret)
    }

    /// All that there is to read.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(mut from: impl Read) -> io::Result<Self> {
        let mut secret = Self::default();
        loop {
            let known = secret.0.len();
            secret.reserve(Self::READ_OCTETS);
            secret.0.resize(known + Self::READ_OCTETS, 0);
            let read = match from.read(&mut secret.0[known..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                read => Some(read?),
            };
            secret.0.truncate(known + read.unwrap_or_default());
            if read == Some(0) {
                return Ok(secret);
            }
        }
    }

    /// Adds octets at the end.
    pub fn push(&mut self, octets: &[u8]) {
        self.reserve(octets.len());
        self.0.extend_from_slice(octets);
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The octets as a text.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] where they are none.
    pub fn text(&self) -> io::Result<&str> {
        // As the standard library says it of files.
        let told = "stream did not contain valid UTF-8";
        std::str::from_utf8(&self.0).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, told))
    }

    fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    /// Makes place for more. A vector that makes it by itself leaves a copy where it was.
    fn reserve(&mut self, more: usize) {
        let needed = self.0.len() + more;
        if needed > self.0.capacity() {
            let mut larger = Self::with_capacity(needed.max(2 * self.0.capacity()));
            larger.0.extend_from_slice(&self.0);
            *self = larger;
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // What has been behind its end is wiped as well.
        self.0.resize(self.0.capacity(), 0);
        libcrypto::wipe(&mut self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
