//! Agents come by TLS: handshakes are made beside each other and take no longer than they may, and a connection
//! without a certificate, which may only join, does not last.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use privnet_tls::{Acceptor, TlsStream, tls_error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::peer::Remote;
use crate::auth::{HostAuthority, ShownCertificate};
use crate::engine::now;

/// How many connections may be in their handshake, or have shown no certificate, at a time.
const STRANGERS_MAX: usize = 256;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection without a certificate lasts.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many connections may wait to be served.
const READY_MAX: usize = 64;

/// How long nothing is accepted after accepting has failed: most likely there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long to wait where the server's next certificate could not be made.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// The server's certificate is renewed when this part of its life is over.
const RENEWED_AFTER: (u32, u32) = (2, 3);

/// An agent's connection.
pub(super) struct HostStream {
    stream: TlsStream<TcpStream>,
    remote: Remote,
    /// Of a connection without a certificate: when it ends, and its place among them.
    limit: Option<(Pin<Box<Sleep>>, OwnedSemaphorePermit)>,
}

/// The connections that have made their handshake, for as long as somebody receives them. The acceptor shows a
/// certificate that does not expire.
pub(super) fn accept(
    listener: TcpListener,
    acceptor: Acceptor,
    authority: Arc<HostAuthority>,
) -> mpsc::Receiver<io::Result<HostStream>> {
    let (ready, connections) = mpsc::channel(READY_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = accept_all(&listener, &acceptor, &ready) => {}
            () = renew(&acceptor, &authority) => {}
            () = ready.closed() => {}
        }
    });
    connections
}

/// Has the server show a new certificate before the one it shows expires.
async fn renew(acceptor: &Acceptor, authority: &HostAuthority) {
    let (part, of) = RENEWED_AFTER;
    let mut wait = authority.lifetime() * part / of;
    loop {
        tokio::time::sleep(wait).await;
        wait = match authority.acceptor(now()) {
            Ok(newer) => {
                acceptor.replace(&newer);
                debug!("the server has a new certificate for its hosts");
                authority.lifetime() * part / of
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot make the server's next certificate");
                RENEWAL_RETRY
            }
        };
    }
}

async fn accept_all(listener: &TcpListener, acceptor: &Acceptor, ready: &mpsc::Sender<io::Result<HostStream>>) {
    let places = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an agent's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(&acceptor, stream, place)).await {
                // Who receives them has gone when the server stops.
                Ok(Ok(stream)) => drop(ready.send(Ok(stream)).await),
                Ok(Err(error)) => {
                    let cause = tls_error(&error).map_or_else(|| error.to_string(), ToString::to_string);
                    warn!(%address, cause, "an agent's connection is refused");
                }
                Err(_) => debug!(%address, "an agent's connection makes no handshake in time"),
            }
        });
    }
}

async fn shake_hands(acceptor: &Acceptor, stream: TcpStream, place: OwnedSemaphorePermit) -> io::Result<HostStream> {
    let address = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    let stream = acceptor.stream(stream).map_err(io::Error::other)?;
    let stream = stream.handshake().await.map_err(|error| error.cause)?;
    let shown = stream.peer().and_then(|peer| peer.certificates.first());
    let certificate = match shown {
        None => None,
        Some(shown) => match ShownCertificate::of(shown) {
            Some(certificate) => Some(certificate),
            None => return Err(io::Error::other("its certificate is none of a host")),
        },
    };
    let limit = certificate.is_none().then(|| (Box::pin(tokio::time::sleep(STRANGER_TIMEOUT)), place));
    Ok(HostStream { stream, remote: Remote { address, certificate }, limit })
}

impl Connected for HostStream {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl AsyncRead for HostStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some((end, _)) = &mut self.limit
            && end.as_mut().poll(cx).is_ready()
        {
            let message = "a connection without a certificate lasts long enough to join, and no longer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for HostStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
