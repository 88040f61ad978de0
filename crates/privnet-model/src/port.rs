use std::fmt;

use crate::{Generation, InstanceId, Lease, MacAddr, NetworkId};

/// One instance's attachment to one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The network.
    pub network: NetworkId,
    /// The instance.
    pub instance: InstanceId,
    /// Unique in the zone, the port's for its life.
    pub mac: MacAddr,
    /// Its address; `None` in an unmanaged network.
    pub lease: Option<Lease>,
    /// The name of the network device: in the instance's namespace or, of a tap, on its host.
    pub device: DeviceName,
    /// Whether the host gives that device its address and routes.
    pub is_configured: bool,
    /// The network's generation at the port's last change.
    pub changed: Generation,
}

/// The name of a network device: 1 to 15 octets without `/`, `:`, white space or NUL (`IFNAMSIZ`, dev_valid_name in Linux).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName {
    /// Those after the text are zero, which is in no name.
    octets: [u8; DeviceName::OCTETS_MAX],
}

/// The text cannot name a network device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a network device name (1 to 15 octets without /, : or white space)")]
pub struct DeviceNameError(pub String);

impl DeviceName {
    const OCTETS_MAX: usize = 15;

    /// The name with this text, which has 15 octets at most.
    fn new(text: &str) -> Self {
        let mut octets = [0; Self::OCTETS_MAX];
        octets[..text.len()].copy_from_slice(text.as_bytes());
        Self { octets }
    }

    /// The name of an instance's port number `index`: `net0`, `net1` and so on.
    pub fn of_port(index: usize) -> Self {
        Self::new(&format!("net{index}"))
    }

    /// What a port's device is called on its host: `pn` and the last ten digits of its MAC address, of which the
    /// first octet is the same for all ports.
    pub fn on_host(mac: MacAddr) -> Self {
        let [_, a, b, c, d, e] = mac.octets();
        Self::new(&format!("pn{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let length = self.octets.iter().position(|octet| *octet == 0).unwrap_or(Self::OCTETS_MAX);
        str::from_utf8(&self.octets[..length]).expect("it was made of a text")
    }
}

impl TryFrom<&str> for DeviceName {
    type Error = DeviceNameError;

    fn try_from(text: &str) -> Result<Self, DeviceNameError> {
        let valid = (1..=Self::OCTETS_MAX).contains(&text.len())
            && !matches!(text, "." | "..")
            && !text.bytes().any(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b':' | 0x0b | 0));
        if valid { Ok(Self::new(text)) } else { Err(DeviceNameError(text.to_owned())) }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_is_what_linux_takes_as_one() {
        for good in ["e", "eth0", "pn0123456789", "exactly15octets", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            let name = DeviceName::try_from(good).expect("valid");
            assert_eq!((name.as_str(), format!("{name} {name:?}")), (good, format!("{good} {good:?}")));
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\u{b}b", "a\0b", "a\0", "16octetsarenot15"] {
            assert_eq!(DeviceName::try_from(bad), Err(DeviceNameError(bad.to_owned())));
        }
    }
}
