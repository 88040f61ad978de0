//! Connections to the server by TLS.

use std::io;
use std::time::Duration;

use privnet_sync::channel_over;
use privnet_tls::{CertificateFault, Connector, ServerName, TlsError, TlsStream, tls_error};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::RemoteAddress;

/// How long connecting, and then the handshake, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection by TLS.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing answers there.
    #[error("cannot reach the server at {server}: is it running, and is the way to it open?")]
    Unreachable {
        /// Where.
        server: RemoteAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What answers is not the server, or does not take this host.
    #[error("the server at {server} is not connected to{}", hint(.source))]
    Tls {
        /// Where.
        server: RemoteAddress,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The connection broke.
    #[error("the connection to the server at {server} broke while it began")]
    Broken {
        /// Where.
        server: RemoteAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing can be spoken over it.
    #[error("cannot speak with the server at {server}")]
    Http {
        /// Where.
        server: RemoteAddress,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// What may be wrong, where the certificate's times are.
fn hint(error: &TlsError) -> String {
    let is_about_time =
        matches!(error, TlsError::Certificate { fault: CertificateFault::Expired | CertificateFault::NotYetValid, .. });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    match is_about_time {
        true => format!(" (this host's clock says {now} seconds since 1970; compare with `date +%s` on the server)"),
        false => String::new(),
    }
}

/// Connects, and makes the handshake.
///
/// # Errors
/// [`DialError`] but for the last.
pub(crate) async fn dial(server: &RemoteAddress, connector: &Connector) -> Result<TlsStream<TcpStream>, DialError> {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(server.host_and_port())).await;
    let unreachable = |source| DialError::Unreachable { server: server.clone(), source };
    let stream = connected.unwrap_or_else(|_| Err(timed_out())).map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let name: ServerName = privnet_sync::SERVER_NAME.parse().expect("a name");
    let tls = |source| DialError::Tls { server: server.clone(), source };
    let stream = connector.stream(&name, stream).map_err(tls)?;
    match tokio::time::timeout(CONNECT_TIMEOUT, stream.handshake()).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match tls_error(&error.cause) {
            Some(source) => tls(source.clone()),
            None => DialError::Broken { server: server.clone(), source: error.cause },
        }),
        Err(_) => Err(DialError::Broken { server: server.clone(), source: timed_out() }),
    }
}

/// A channel over one connection; it does not connect again.
///
/// # Errors
/// [`DialError::Http`].
pub(crate) async fn channel(
    endpoint: Endpoint,
    server: &RemoteAddress,
    stream: TlsStream<TcpStream>,
) -> Result<Channel, DialError> {
    let connected = channel_over(&endpoint, stream).await;
    connected.map_err(|source| DialError::Http { server: server.clone(), source })
}
