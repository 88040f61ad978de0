use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 subnet that has room for hosts: a prefix of 1 to 30 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    network: u32,
    prefix_len: u8,
}

/// A netmask does not make a subnet in which instances can have addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Its ones are not all before its zeros.
    #[error("{0} is not contiguous: a netmask is ones followed by zeros, such as 255.255.255.0")]
    NotContiguous(Ipv4Addr),
    /// No two addresses are left beside the network, broadcast and server addresses, or it covers everything.
    #[error("{0} is not between 128.0.0.0 (/1) and 255.255.255.252 (/30)")]
    Size(Ipv4Addr),
}

impl Subnet {
    /// The subnet of `address` under `netmask`.
    ///
    /// # Errors
    /// [`SubnetError::NotContiguous`], then [`SubnetError::Size`].
    pub fn new(address: Ipv4Addr, netmask: Ipv4Addr) -> Result<Self, SubnetError> {
        let mask = netmask.to_bits();
        if mask.leading_ones() + mask.trailing_zeros() != 32 && mask != 0 {
            return Err(SubnetError::NotContiguous(netmask));
        }
        match mask.leading_ones() {
            ones @ 1..=30 => Ok(Self { network: address.to_bits() & mask, prefix_len: ones as u8 }),
            _ => Err(SubnetError::Size(netmask)),
        }
    }

    /// The number of leading bits that all its addresses share, 1 to 30.
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The netmask, such as 255.255.255.0.
    pub const fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.mask())
    }

    /// The first address, which names the subnet.
    pub const fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }

    /// The last address, which means all hosts.
    pub const fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network | !self.mask())
    }

    /// The DHCP server's address: the last usable host address (contract §5).
    pub const fn server(self) -> Ipv4Addr {
        Ipv4Addr::from_bits((self.network | !self.mask()) - 1)
    }

    /// Whether `address` lies in the subnet.
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.network
    }

    /// Which part of the subnet's own addresses `address` is, if it is one that no instance may have.
    fn reserved_for(self, address: Ipv4Addr) -> Option<&'static str> {
        if address == self.network() {
            Some("the network address")
        } else if address == self.broadcast() {
            Some("the broadcast address")
        } else if address == self.server() {
            Some("the DHCP server's address")
        } else {
            None
        }
    }

    const fn mask(self) -> u32 {
        u32::MAX << (32 - self.prefix_len)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix_len)
    }
}

/// What makes a network managed: the addresses that it leases by itself, within one subnet.
///
/// Neither the network, the broadcast nor the DHCP server's address lies between its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    start: Ipv4Addr,
    end: Ipv4Addr,
    subnet: Subnet,
}

/// start-ip, end-ip and netmask do not make a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The netmask makes no subnet.
    #[error("netmask {0}")]
    Netmask(SubnetError),
    /// The range would be empty.
    #[error("start-ip {start} is after end-ip {end}")]
    StartAfterEnd {
        /// As given.
        start: Ipv4Addr,
        /// As given.
        end: Ipv4Addr,
    },
    /// The ends lie in different subnets.
    #[error("end-ip {end} is outside {subnet}, the subnet of start-ip {start}")]
    TwoSubnets {
        /// As given.
        start: Ipv4Addr,
        /// As given.
        end: Ipv4Addr,
        /// The subnet of `start`.
        subnet: Subnet,
    },
    /// An address that no instance may have lies in the range.
    #[error("{start} to {end} covers {address}, {what} of {subnet}")]
    Covers {
        /// As given.
        start: Ipv4Addr,
        /// As given.
        end: Ipv4Addr,
        /// The address that must stay free.
        address: Ipv4Addr,
        /// What it is for.
        what: &'static str,
        /// The subnet.
        subnet: Subnet,
    },
    /// The subnet's addresses are not unicast addresses of hosts.
    #[error("{subnet} is {what}, which instances cannot use")]
    NotUnicast {
        /// The subnet.
        subnet: Subnet,
        /// What its addresses are.
        what: &'static str,
    },
}

/// An address cannot be leased statically in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StaticAddressError {
    /// It is not in the network's subnet.
    #[error("{address} is outside the network's subnet {subnet}")]
    OutsideSubnet {
        /// As given.
        address: Ipv4Addr,
        /// The network's.
        subnet: Subnet,
    },
    /// It is one that no instance may have.
    #[error("{address} is {what} of {subnet}")]
    Reserved {
        /// As given.
        address: Ipv4Addr,
        /// What it is for.
        what: &'static str,
        /// The network's.
        subnet: Subnet,
    },
}

impl AddressRange {
    /// The range `start`..=`end` in the subnet that `netmask` makes around `start`.
    ///
    /// # Errors
    /// In this order: [`RangeError::Netmask`], [`RangeError::StartAfterEnd`], [`RangeError::TwoSubnets`],
    /// [`RangeError::NotUnicast`], [`RangeError::Covers`].
    pub fn new(start: Ipv4Addr, end: Ipv4Addr, netmask: Ipv4Addr) -> Result<Self, RangeError> {
        let subnet = Subnet::new(start, netmask).map_err(RangeError::Netmask)?;
        if start > end {
            return Err(RangeError::StartAfterEnd { start, end });
        }
        if !subnet.contains(end) {
            return Err(RangeError::TwoSubnets { start, end, subnet });
        }
        if let Some(what) = not_unicast(subnet) {
            return Err(RangeError::NotUnicast { subnet, what });
        }
        for address in [subnet.network(), subnet.server(), subnet.broadcast()] {
            if let (true, Some(what)) = ((start..=end).contains(&address), subnet.reserved_for(address)) {
                return Err(RangeError::Covers { start, end, address, what, subnet });
            }
        }
        Ok(Self { start, end, subnet })
    }

    /// The first dynamic address.
    pub const fn start(&self) -> Ipv4Addr {
        self.start
    }

    /// The last dynamic address.
    pub const fn end(&self) -> Ipv4Addr {
        self.end
    }

    /// The subnet: where static addresses may lie.
    pub const fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Whether `address` is one of the dynamic addresses.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.start..=self.end).contains(&address)
    }

    /// How many dynamic addresses there are, at least 1.
    pub const fn count(&self) -> u64 {
        self.end.to_bits() as u64 - self.start.to_bits() as u64 + 1
    }

    /// Accepts `address` as a static one: anywhere in the subnet but on an address that is taken
    /// by the subnet itself.
    ///
    /// # Errors
    /// [`StaticAddressError::OutsideSubnet`], then [`StaticAddressError::Reserved`].
    pub fn check_static(&self, address: Ipv4Addr) -> Result<(), StaticAddressError> {
        let subnet = self.subnet;
        if !subnet.contains(address) {
            return Err(StaticAddressError::OutsideSubnet { address, subnet });
        }
        match subnet.reserved_for(address) {
            Some(what) => Err(StaticAddressError::Reserved { address, what, subnet }),
            None => Ok(()),
        }
    }
}

/// What the subnet's addresses are, where they are not unicast addresses of hosts (RFC 6890 §2.2.2).
fn not_unicast(subnet: Subnet) -> Option<&'static str> {
    let touches = |address: Ipv4Addr, prefix_len: u8| {
        let shared = u32::MAX << (32 - u32::from(prefix_len.min(subnet.prefix_len)));
        address.to_bits() & shared == subnet.network & shared
    };
    if touches(Ipv4Addr::new(224, 0, 0, 0), 4) {
        Some("multicast")
    } else if touches(Ipv4Addr::new(240, 0, 0, 0), 4) {
        Some("reserved (240.0.0.0/4)")
    } else if touches(Ipv4Addr::new(127, 0, 0, 0), 8) {
        Some("loopback")
    } else if touches(Ipv4Addr::UNSPECIFIED, 8) {
        Some("\"this network\" (0.0.0.0/8)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: &str, end: &str, netmask: &str) -> Result<AddressRange, RangeError> {
        AddressRange::new(ip(start), ip(end), ip(netmask))
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().expect("test address")
    }

    #[test]
    fn the_server_has_the_last_usable_host_address() {
        assert_eq!(
            range("10.0.0.50", "10.0.0.250", "255.255.255.0").map(|r| r.subnet().server()),
            Ok(ip("10.0.0.254"))
        );
        assert_eq!(range("10.0.0.1", "10.0.0.1", "255.255.255.252").map(|r| r.subnet().server()), Ok(ip("10.0.0.2")));
    }

    #[test]
    fn a_range_may_be_one_address_and_may_end_far_from_the_subnets_end() {
        assert!(range("10.0.0.1", "10.0.0.1", "255.255.255.248").is_ok());
        assert!(range("10.0.0.1", "10.0.0.254", "255.255.0.0").is_ok());
        assert!(range("10.0.0.1", "10.0.0.254", "255.0.0.0").is_ok());
    }

    #[test]
    fn each_broken_rule_is_named_with_its_values() {
        let cases = [
            ("10.0.0.9", "10.0.0.5", "255.255.255.0", "start-ip 10.0.0.9 is after end-ip 10.0.0.5"),
            (
                "10.0.0.9",
                "10.0.1.5",
                "255.255.255.0",
                "end-ip 10.0.1.5 is outside 10.0.0.0/24, the subnet of start-ip 10.0.0.9",
            ),
            (
                "10.0.0.0",
                "10.0.0.5",
                "255.255.255.0",
                "10.0.0.0 to 10.0.0.5 covers 10.0.0.0, the network address of 10.0.0.0/24",
            ),
            (
                "10.0.0.9",
                "10.0.0.255",
                "255.255.255.0",
                "10.0.0.9 to 10.0.0.255 covers 10.0.0.254, the DHCP server's address of 10.0.0.0/24",
            ),
            (
                "10.0.0.255",
                "10.0.0.255",
                "255.255.255.0",
                "10.0.0.255 to 10.0.0.255 covers 10.0.0.255, the broadcast address of 10.0.0.0/24",
            ),
            (
                "10.0.0.9",
                "10.0.0.254",
                "255.255.255.0",
                "10.0.0.9 to 10.0.0.254 covers 10.0.0.254, the DHCP server's address of 10.0.0.0/24",
            ),
            ("224.0.0.9", "224.0.0.20", "255.255.255.0", "224.0.0.0/24 is multicast, which instances cannot use"),
            ("127.0.0.9", "127.0.0.20", "255.255.255.0", "127.0.0.0/24 is loopback, which instances cannot use"),
        ];
        for (start, end, netmask, message) in cases {
            assert_eq!(range(start, end, netmask).map_err(|e| e.to_string()), Err(message.to_owned()));
        }
        for mask in ["255.0.255.0", "0.0.0.255", "255.255.255.1"] {
            assert_eq!(
                range("10.0.0.1", "10.0.0.2", mask),
                Err(RangeError::Netmask(SubnetError::NotContiguous(ip(mask))))
            );
        }
        for mask in ["0.0.0.0", "255.255.255.254", "255.255.255.255"] {
            assert_eq!(range("10.0.0.1", "10.0.0.2", mask), Err(RangeError::Netmask(SubnetError::Size(ip(mask)))));
        }
    }

    #[test]
    fn a_static_address_may_lie_outside_the_range_but_not_on_a_reserved_address() {
        let range = range("10.0.0.50", "10.0.0.250", "255.255.255.0").expect("valid");
        assert_eq!(range.check_static(ip("10.0.0.1")), Ok(()));
        assert_eq!(range.check_static(ip("10.0.0.60")), Ok(()));
        let message = |address| range.check_static(ip(address)).map_err(|e| e.to_string());
        assert_eq!(message("10.0.1.1"), Err("10.0.1.1 is outside the network's subnet 10.0.0.0/24".to_owned()));
        assert_eq!(message("10.0.0.254"), Err("10.0.0.254 is the DHCP server's address of 10.0.0.0/24".to_owned()));
        assert!(message("10.0.0.0").is_err());
        assert!(message("10.0.0.255").is_err());
    }

    proptest! {
        #[test]
        fn an_accepted_range_holds_no_address_that_an_instance_must_not_have(start: u32, length in 0u32..2000, ones in 0u32..33) {
            let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - ones).unwrap_or(0));
            let (start, end) = (Ipv4Addr::from_bits(start), Ipv4Addr::from_bits(start.saturating_add(length)));
            if let Ok(range) = AddressRange::new(start, end, mask) {
                for bits in start.to_bits()..=end.to_bits() {
                    let address = Ipv4Addr::from_bits(bits);
                    prop_assert!(range.contains(address));
                    prop_assert_eq!(range.check_static(address), Ok(()));
                    prop_assert!(!address.is_multicast() && !address.is_loopback() && !address.is_unspecified());
                }
                prop_assert_eq!(range.count(), u64::from(length.min(u32::MAX - start.to_bits())) + 1);
            }
        }
    }
}
