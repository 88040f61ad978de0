//! The TLS handshakes that are under way at a port. Whoever reaches it can begin one, and has proved nothing until it
//! is over; so there are few at a time, for a short time.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use privnet_tls::tls_error;

use crate::admission::{Admission, Admissions, Client};
use crate::seldom::Seldom;

/// How many handshakes of one client may be under way at a time: so many machines behind one address can come at
/// once, and so many connections of a program; and it takes four addresses at the API, and more at the sync port, to
/// leave others no place.
pub(crate) const HANDSHAKES_PER_CLIENT_MAX: usize = 64;

/// The handshakes of one port. Clones share the places.
#[derive(Clone)]
pub(crate) struct Handshakes {
    /// What is there, for the log.
    port: &'static str,
    places: Admissions<Client>,
    timeout: Duration,
    failed: Seldom,
}

/// A handshake that has its place.
pub(crate) struct Handshake {
    all: Handshakes,
    address: IpAddr,
    _place: Admission<Client>,
}

impl Handshakes {
    /// What the doors of a server tell of the handshakes that come to nothing.
    pub(crate) fn failed() -> Seldom {
        Seldom::new("a TLS handshake comes to nothing")
    }

    /// So many at once, of which [`HANDSHAKES_PER_CLIENT_MAX`] may be one client's, and none for longer than this.
    pub(crate) fn new(port: &'static str, places_max: usize, timeout: Duration, failed: Seldom) -> Self {
        Self { port, places: Admissions::new(places_max, HANDSHAKES_PER_CLIENT_MAX), timeout, failed }
    }

    /// Takes a place; `None` where there is none, and the connection is to be closed: who waited would keep memory,
    /// too, and honest clients connect again.
    pub(crate) fn begin(&self, address: IpAddr) -> Option<Handshake> {
        match self.places.admit(Client::from(address)) {
            Ok(place) => Some(Handshake { all: self.clone(), address, _place: place }),
            Err(full) => {
                self.note(address, format_args!("{full}"));
                None
            }
        }
    }

    fn note(&self, address: IpAddr, why: impl std::fmt::Display) {
        self.failed.note(format_args!("{} at {}: {why}", address.to_canonical(), self.port));
    }
}

impl Handshake {
    /// Makes it, and gives the place back; `None` where it comes to nothing or takes longer than it may.
    pub(crate) async fn make<T>(self, handshake: impl Future<Output = io::Result<T>>) -> Option<T> {
        match tokio::time::timeout(self.all.timeout, handshake).await {
            Ok(Ok(made)) => Some(made),
            Ok(Err(error)) => {
                match tls_error(&error) {
                    Some(cause) => self.all.note(self.address, cause),
                    None => self.all.note(self.address, error),
                }
                None
            }
            Err(_) => {
                self.all.note(self.address, "it takes longer than it may");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn handshakes(places_max: usize) -> (Handshakes, Seldom) {
        let failed = Handshakes::failed();
        (Handshakes::new("the port", places_max, TIMEOUT, failed.clone()), failed)
    }

    fn client(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[tokio::test]
    async fn a_client_has_its_share_and_all_have_what_there_is() {
        let (handshakes, failed) = handshakes(HANDSHAKES_PER_CLIENT_MAX + 1);
        // Its first is in the log already.
        failed.note("one before");
        let mut own: Vec<_> = (0..HANDSHAKES_PER_CLIENT_MAX).filter_map(|_| handshakes.begin(client(1))).collect();
        assert_eq!(own.len(), HANDSHAKES_PER_CLIENT_MAX);
        assert!(handshakes.begin(client(1)).is_none());
        let other = handshakes.begin(client(2));
        assert!(other.is_some() && handshakes.begin(client(3)).is_none());
        assert_eq!(failed.untold(), 2, "whoever finds no place is counted");
        drop(own.pop());
        assert!(handshakes.begin(client(1)).is_some());
    }

    #[tokio::test]
    async fn of_an_ipv6_client_64_bits_count() {
        let (handshakes, _) = handshakes(usize::MAX);
        let address = |network: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
        let own: Vec<_> = (0..100).filter_map(|host| handshakes.begin(address(1, host))).collect();
        assert_eq!(own.len(), HANDSHAKES_PER_CLIENT_MAX);
        assert!(handshakes.begin(address(2, 0)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_gives_its_place_back_however_it_ends_and_is_counted_where_it_fails() {
        let (handshakes, failed) = handshakes(1);
        failed.note("one before");
        let begin = || handshakes.begin(client(1)).expect("a place");
        assert_eq!(begin().make(ready(Ok(7))).await, Some(7));
        assert_eq!(failed.untold(), 0);
        assert_eq!(begin().make(ready(Err::<(), _>(io::ErrorKind::ConnectionReset.into()))).await, None);
        assert_eq!(failed.untold(), 1);
        let start = tokio::time::Instant::now();
        assert_eq!(begin().make(pending::<io::Result<()>>()).await, None);
        assert_eq!((start.elapsed(), failed.untold()), (TIMEOUT, 2));
        drop(begin().make(pending::<io::Result<()>>()));
        begin();
    }
}
