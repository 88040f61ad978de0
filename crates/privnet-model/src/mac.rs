use std::fmt;
use std::str::FromStr;

/// The DHCP server's MAC address on every managed network (contract §5: seen on the real service).
pub const SERVER_MAC: MacAddr = MacAddr([0x0e, 0, 0, 0, 0, 0]);

/// An Ethernet MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

/// The text is not six hexadecimal octets joined by colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address such as 0a:1b:2c:3d:4e:5f")]
pub struct ParseMacError(pub String);

impl MacAddr {
    /// The address with these octets.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// A port's address: `0a:` (locally administered, unicast) and 40 random bits.
    pub const fn for_port(random: [u8; 5]) -> Self {
        let [a, b, c, d, e] = random;
        Self([0x0a, a, b, c, d, e])
    }

    /// The octets in the order of the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether the group bit is set: broadcast or multicast (IEEE 802-2014 §8.2.2).
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let refusal = || ParseMacError(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(refusal)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(refusal());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refusal())?;
        }
        if parts.next().is_some() { Err(refusal()) } else { Ok(Self(octets)) }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_address_is_local_and_unicast() {
        let mac = MacAddr::for_port([0xff; 5]);
        assert_eq!(mac.to_string(), "0a:ff:ff:ff:ff:ff");
        assert!(!mac.is_group());
        assert_ne!(mac, SERVER_MAC);
    }

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        let mac = MacAddr::new([0x0a, 1, 2, 0xfe, 4, 5]);
        assert_eq!("0a:01:02:fe:04:05".parse(), Ok(mac));
        for bad in
            ["", "0a:01:02:fe:04", "0a:01:02:fe:04:05:06", "0a-01-02-fe-04-05", "a:1:2:3:4:5", "+a:01:02:03:04:05"]
        {
            assert_eq!(bad.parse::<MacAddr>(), Err(ParseMacError(bad.to_owned())), "{bad}");
        }
    }
}
