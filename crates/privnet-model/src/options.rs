use std::fmt;
use std::net::Ipv4Addr;

/// The most octets the domain search list takes on the wire (official OpenAPI document:
/// "limited to 255 octets"), counted uncompressed as RFC 1035 §3.1 encodes it.
pub const DOMAIN_SEARCH_OCTETS_MAX: usize = 255;

/// The most octets of addresses in one DHCP option (RFC 2132 §2: the length is one octet).
const ADDRESSES_MAX: usize = 63;

/// What a managed network's DHCP server tells its clients beside their address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DhcpOptions {
    routers: Box<[Ipv4Addr]>,
    dns_servers: Box<[Ipv4Addr]>,
    ntp_servers: Box<[Ipv4Addr]>,
    domain_search: Box<[DomainName]>,
}

/// A list does not fit in its DHCP option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// More addresses than one option holds.
    #[error("{list} has {count} addresses, at most {max} fit in one DHCP option", max = ADDRESSES_MAX)]
    TooManyAddresses {
        /// Which list, as the API names it.
        list: &'static str,
        /// How many it has.
        count: usize,
    },
    /// The domain search list is too long.
    #[error("domain-search takes {0} octets, at most {max} are allowed", max = DOMAIN_SEARCH_OCTETS_MAX)]
    DomainSearchTooLong(usize),
}

impl DhcpOptions {
    /// Options with these lists, each of which may be empty.
    ///
    /// # Errors
    /// [`OptionsError::TooManyAddresses`] for the first list that is too long, then [`OptionsError::DomainSearchTooLong`].
    pub fn new(
        routers: Vec<Ipv4Addr>,
        dns_servers: Vec<Ipv4Addr>,
        ntp_servers: Vec<Ipv4Addr>,
        domain_search: Vec<DomainName>,
    ) -> Result<Self, OptionsError> {
        for (list, addresses) in [("routers", &routers), ("dns-servers", &dns_servers), ("ntp-servers", &ntp_servers)] {
            if addresses.len() > ADDRESSES_MAX {
                return Err(OptionsError::TooManyAddresses { list, count: addresses.len() });
            }
        }
        let octets = domain_search.iter().map(DomainName::wire_octets).sum();
        if octets > DOMAIN_SEARCH_OCTETS_MAX {
            return Err(OptionsError::DomainSearchTooLong(octets));
        }
        // Without the room to spare that lists have which were read one by one: networks are very many.
        Ok(Self {
            routers: routers.into(),
            dns_servers: dns_servers.into(),
            ntp_servers: ntp_servers.into(),
            domain_search: domain_search.into(),
        })
    }

    /// DHCP option 3.
    pub fn routers(&self) -> &[Ipv4Addr] {
        &self.routers
    }

    /// DHCP option 6.
    pub fn dns_servers(&self) -> &[Ipv4Addr] {
        &self.dns_servers
    }

    /// DHCP option 42.
    pub fn ntp_servers(&self) -> &[Ipv4Addr] {
        &self.ntp_servers
    }

    /// DHCP option 119; its first name is also option 15.
    pub fn domain_search(&self) -> &[DomainName] {
        &self.domain_search
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A domain name that DNS can carry: labels of 1 to 63 octets, 255 octets in all (RFC 1035 §2.3.4).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DomainName(Box<str>);

/// The text is not a domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a domain name such as example.net (labels of 1 to 63 letters, digits, - or _, joined by dots)")]
pub struct DomainNameError(pub String);

impl DomainName {
    /// The name without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The octets it takes on the wire: a length before each label and a zero at the end.
    pub fn wire_octets(&self) -> usize {
        self.0.len() + 2
    }
}

impl TryFrom<&str> for DomainName {
    type Error = DomainNameError;

    fn try_from(text: &str) -> Result<Self, DomainNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let label_is_valid = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= 253 && name.split('.').all(label_is_valid) {
            Ok(Self(name.into()))
        } else {
            Err(DomainNameError(text.to_owned()))
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> DomainName {
        DomainName::try_from(text).expect("test domain")
    }

    #[test]
    fn a_domain_name_obeys_rfc_1035() {
        assert_eq!(domain("lab.example.net.").as_str(), "lab.example.net");
        for bad in ["", ".", "a..b", "-a.net", "a-.net", "a b.net", "é.net", &"x".repeat(64), &"a.".repeat(130)] {
            assert!(DomainName::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_search_list_is_limited_to_255_octets_on_the_wire() {
        let fits =
            vec![domain(&"x".repeat(63)), domain(&"y".repeat(63)), domain(&"z".repeat(61)), domain(&"w".repeat(60))];
        assert_eq!(fits.iter().map(DomainName::wire_octets).sum::<usize>(), 255);
        assert!(DhcpOptions::new(vec![], vec![], vec![], fits.clone()).is_ok());
        let over = [fits, vec![domain("a")]].concat();
        assert_eq!(DhcpOptions::new(vec![], vec![], vec![], over), Err(OptionsError::DomainSearchTooLong(258)));
    }

    #[test]
    fn an_address_list_fits_in_one_option() {
        let many = vec![Ipv4Addr::LOCALHOST; 64];
        let refusal = OptionsError::TooManyAddresses { list: "dns-servers", count: 64 };
        assert_eq!(DhcpOptions::new(vec![], many, vec![], vec![]), Err(refusal));
    }
}
