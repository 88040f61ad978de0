use crate::{Name, OrganizationId, Timestamp};

/// A public SSH key that an organization has registered under a name. Instances are created with names of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// Whose it is.
    pub organization: OrganizationId,
    /// Unique in the organization.
    pub name: Name,
    /// The key itself.
    pub public_key: SshPublicKey,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A public key as a line of an authorized_keys file has it (sshd(8)): its type, its octets in base64, and
/// perhaps a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPublicKey(Box<str>);

/// The text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a public SSH key, such as \"ssh-ed25519 AAAA...\"")]
pub struct SshPublicKeyError;

/// More than the longest key that anybody has: an RSA key of 16384 bits takes 2,800 octets.
const PUBLIC_KEY_OCTETS_MAX: usize = 8192;

impl SshPublicKey {
    /// The line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The MD5 of the key's octets in hexadecimal with colons, as Exoscale shows it (RFC 4716 §4). It is for people
    /// to compare, and nothing relies on it.
    pub fn fingerprint(&self) -> String {
        let octets = self.0.split_ascii_whitespace().nth(1).and_then(decode_base64).unwrap_or_default();
        md5(&octets).map(|octet| format!("{octet:02x}")).join(":")
    }
}

impl TryFrom<&str> for SshPublicKey {
    type Error = SshPublicKeyError;

    fn try_from(text: &str) -> Result<Self, SshPublicKeyError> {
        let line = text.trim_ascii();
        let is_line = line.len() <= PUBLIC_KEY_OCTETS_MAX && !line.chars().any(char::is_control);
        let mut words = line.split_ascii_whitespace();
        let (Some(kind), Some(octets), true) = (words.next(), words.next(), is_line) else {
            return Err(SshPublicKeyError);
        };
        // The octets begin with the type, as a string with its length before it (RFC 4253 §6.6).
        let octets = decode_base64(octets).ok_or(SshPublicKeyError)?;
        let (length, rest) = octets.split_first_chunk().ok_or(SshPublicKeyError)?;
        let named = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(SshPublicKeyError)?;
        match named {
            (name, parameters) if name == kind.as_bytes() && !parameters.is_empty() => Ok(Self(line.into())),
            _ => Err(SshPublicKeyError),
        }
    }
}

/// RFC 4648 §4, with its padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut octets, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, held) = ((bits << 6) | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held) as u8);
        }
    }
    Some(octets)
}

/// RFC 1321. Where it tells nothing but keys apart, its weakness does no harm.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64) + if padded.len() % 64 > 56 { 64 } else { 0 }, 0);
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(message.len() as u64 * 8).to_le_bytes());
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let word =
            |at: usize| u32::from_le_bytes([block[4 * at], block[4 * at + 1], block[4 * at + 2], block[4 * at + 3]]);
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64 {
            let (mixed, at) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            let sine = (f64::from(step as u32 + 1).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mixed).wrapping_add(sine).wrapping_add(word(at));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[step / 16][step % 4]));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut digest = [0; 16];
    for (octets, word) in digest.chunks_exact_mut(4).zip(state) {
        octets.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_is_that_of_rfc_1321_appendix_a_5() {
        let hex = |text: &str| md5(text.as_bytes()).map(|octet| format!("{octet:02x}")).concat();
        let digits = "1234567890".repeat(8);
        for (text, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
            (&*digits, "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            assert_eq!(hex(text), digest, "{text}");
        }
    }

    /// Key and fingerprint as `ssh-keygen -lE md5` shows them.
    #[test]
    fn a_key_has_the_fingerprint_that_openssh_shows() {
        let line =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody@somewhere\n";
        let key = SshPublicKey::try_from(line).expect("a key");
        assert_eq!(key.as_str(), line.trim());
        assert_eq!(key.fingerprint(), "0f:a2:0a:d7:38:3e:65:45:08:6b:63:84:1c:ff:dc:ba");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "ssh-ed25519",
            "not a key",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=A",
            "ssh-ed25519 AAAA\nC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
        ] {
            assert_eq!(SshPublicKey::try_from(text), Err(SshPublicKeyError), "{text}");
        }
    }
}
