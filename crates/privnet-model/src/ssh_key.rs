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

    /// The key's own octets (RFC 4253 §6.6), without type and comment of the line.
    pub fn octets(&self) -> Vec<u8> {
        self.0.split_ascii_whitespace().nth(1).and_then(decode_base64).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_as_a_line_and_tells_its_octets() {
        let line =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody@somewhere\n";
        let key = SshPublicKey::try_from(line).expect("a key");
        assert_eq!(key.as_str(), line.trim());
        let parameters: Vec<u8> = (0..32).collect();
        assert_eq!(key.octets(), [b"\0\0\0\x0bssh-ed25519\0\0\0\x20", &*parameters].concat());
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
