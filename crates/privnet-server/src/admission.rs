//! Who is served at a time: so many connections, and so many of them for one client.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bits of an IPv6 address tell clients apart: the rest is the client's own to choose
/// (RFC 4291 §2.5.1).
const IPV6_PREFIX_BITS: u32 = 64;

/// Whose limits a connection counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Client(IpAddr);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            // Whoever is on this machine can choose among sixteen million of them.
            own if own.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & u128::MAX << (128 - IPV6_PREFIX_BITS)).into()
            }
        })
    }
}

/// The connections that are served, by whose they are: a [`Client`], where nobody knows more.
pub(crate) struct Admissions<K>(Arc<Shared<K>>);

impl<K> Clone for Admissions<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<K> {
    connections_max: usize,
    per_client_max: usize,
    served: Mutex<Served<K>>,
}

struct Served<K> {
    connections: usize,
    by_client: HashMap<K, usize>,
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// By all clients together.
    Server,
    /// By this client.
    Client,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "there are as many at a time as there may be",
            Self::Client => "its address has as many at a time as one may",
        })
    }
}

/// The place of a connection, given back when this is dropped.
pub(crate) struct Admission<K: Eq + Hash> {
    client: K,
    admissions: Admissions<K>,
}

impl<K: Eq + Hash + Clone> Admissions<K> {
    pub(crate) fn new(connections_max: usize, per_client_max: usize) -> Self {
        let served = Served { connections: 0, by_client: HashMap::new() };
        Self(Arc::new(Shared { connections_max, per_client_max, served: Mutex::new(served) }))
    }

    /// Takes a place for a client's connection.
    ///
    /// # Errors
    /// [`Full`]: there is none.
    pub(crate) fn admit(&self, client: K) -> Result<Admission<K>, Full> {
        let mut served = self.served();
        if served.connections >= self.0.connections_max {
            return Err(Full::Server);
        }
        let of_client = served.by_client.entry(client.clone()).or_default();
        if *of_client >= self.0.per_client_max {
            return Err(Full::Client);
        }
        *of_client += 1;
        served.connections += 1;
        Ok(Admission { client, admissions: self.clone() })
    }
}

impl<K> Admissions<K> {
    fn served(&self) -> MutexGuard<'_, Served<K>> {
        self.0.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Admission<K> {
    fn drop(&mut self) {
        let mut served = self.admissions.served();
        served.connections -= 1;
        if let Some(of_client) = served.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                served.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::from(address.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_64_bits_of_an_ipv6_address() {
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
    }

    #[test]
    fn this_machine_is_one_client() {
        for own in ["127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.3"] {
            assert_eq!(client(own), client("127.0.0.1"), "{own}");
        }
        assert_ne!(client("128.0.0.1"), client("127.0.0.1"));
    }

    #[test]
    fn a_client_takes_no_more_than_its_share_and_all_take_no_more_than_there_is() {
        let admissions = Admissions::new(3, 2);
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        let held = [admissions.admit(one), admissions.admit(one)].map(|admitted| admitted.expect("a place"));
        assert_eq!(admissions.admit(one).err(), Some(Full::Client));
        let last = admissions.admit(other).expect("a place");
        assert_eq!(admissions.admit(other).err(), Some(Full::Server));
        drop(held);
        assert!(admissions.admit(one).is_ok() && admissions.admit(other).is_ok());
        drop(last);
        assert!(admissions.served().by_client.is_empty(), "clients without connections are forgotten");
    }
}
