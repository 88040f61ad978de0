use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tonic::{Request, Status};

use crate::auth::ShownCertificate;

/// What somebody hears who must show a certificate and has not.
const NO_CERTIFICATE: &str =
    "a host shows its certificate here, and this agent has none: join first (privnet agent join)";

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    /// Whoever may open the server's socket.
    Socket,
    /// Somebody who has come by TLS.
    Remote(Remote),
}

/// Somebody who has come by TLS.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    /// `None`: it has shown no certificate.
    pub(super) certificate: Option<ShownCertificate>,
    /// Has the connection break.
    pub(super) hang_up: mpsc::Sender<()>,
    /// Whether an agent's stream was asked for on it.
    pub(super) has_followed: Arc<AtomicBool>,
}

impl Peer {
    /// Who makes a request at a door that `is_tls`.
    ///
    /// # Errors
    /// Nobody knows, which a fault of ours alone can come to.
    pub(super) fn of<T>(request: &Request<T>, is_tls: bool) -> Result<Self, Status> {
        match (is_tls, request.extensions().get::<Remote>()) {
            (false, _) => Ok(Self::Socket),
            (true, Some(remote)) => Ok(Self::Remote(remote.clone())),
            (true, None) => Err(Status::internal("the server does not know who asks")),
        }
    }

    /// Has the connection break, with all that is under way on it. That of an agent on this machine stays: whoever has
    /// it can read the database.
    pub(super) fn hang_up(&self) {
        if let Self::Remote(remote) = self {
            // Where there is no room, that has been said; where nobody hears it, the connection is gone.
            let _ = remote.hang_up.try_send(());
        }
    }

    /// Whether an agent's stream was asked for on this connection before; from now on it was. One is all that an agent
    /// needs, and what is left of others would be kept for as long as the connection. On this machine it makes no odds.
    pub(super) fn has_followed(&self) -> bool {
        match self {
            Self::Socket => false,
            Self::Remote(remote) => remote.has_followed.swap(true, Ordering::Relaxed),
        }
    }

    pub(super) fn ip(&self) -> IpAddr {
        match self {
            Self::Socket => Ipv4Addr::LOCALHOST.into(),
            Self::Remote(remote) => remote.address.ip(),
        }
    }

    /// The certificate that it shows; `None` where nothing needs to be shown.
    ///
    /// # Errors
    /// It has shown none.
    pub(super) fn shown(&self) -> Result<Option<&ShownCertificate>, Status> {
        let Self::Remote(remote) = self else { return Ok(None) };
        remote.certificate.as_ref().map(Some).ok_or_else(|| Status::unauthenticated(NO_CERTIFICATE))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("on the server's socket"),
            Self::Remote(remote) => write!(f, "at {}", remote.address),
        }
    }
}
