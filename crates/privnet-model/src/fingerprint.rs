use std::fmt;
use std::str::FromStr;

/// The SHA-256 by which something is recognized that is not kept or not compared itself: a token, a public key, a
/// certificate. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; Self::OCTETS]);

/// The text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a fingerprint (64 digits from 0 to 9 and a to f)")]
pub struct ParseFingerprintError(pub String);

impl Fingerprint {
    /// The length of a SHA-256 (FIPS 180-4).
    pub const OCTETS: usize = 32;

    /// The fingerprint with these octets.
    pub const fn from_bytes(octets: [u8; Self::OCTETS]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub const fn as_bytes(&self) -> &[u8; Self::OCTETS] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        let refusal = || ParseFingerprintError(text.to_owned());
        if text.len() != 2 * Self::OCTETS || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(refusal());
        }
        let mut octets = [0; Self::OCTETS];
        for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
            *octet = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| refusal())?;
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_what_it_prints() {
        let fingerprint = Fingerprint::from_bytes(std::array::from_fn(|at| at as u8 * 8));
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string().to_uppercase().parse(), Ok(fingerprint));
        for bad in ["", "00", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32), &"0".repeat(66)] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(ParseFingerprintError(bad.to_owned())));
        }
    }
}
