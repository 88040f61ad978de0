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

/// The name of a network device: 1 to 15 octets without `/`, `:` or white space (`IFNAMSIZ`, dev_valid_name in Linux).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(Box<str>);

/// The text cannot name a network device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a network device name (1 to 15 octets without /, : or white space)")]
pub struct DeviceNameError(pub String);

impl DeviceName {
    /// The name of an instance's port number `index`: `net0`, `net1` and so on.
    pub fn of_port(index: usize) -> Self {
        Self(format!("net{index}").into())
    }

    /// What a port's device is called on its host: `pn` and the last ten digits of its MAC address, of which the
    /// first octet is the same for all ports.
    pub fn on_host(mac: MacAddr) -> Self {
        let [_, a, b, c, d, e] = mac.octets();
        Self(format!("pn{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}").into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for DeviceName {
    type Error = DeviceNameError;

    fn try_from(text: &str) -> Result<Self, DeviceNameError> {
        let valid = (1..=15).contains(&text.len())
            && !matches!(text, "." | "..")
            && !text.bytes().any(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b':' | 0x0b));
        if valid { Ok(Self(text.into())) } else { Err(DeviceNameError(text.to_owned())) }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
