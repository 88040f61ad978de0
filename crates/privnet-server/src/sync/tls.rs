//! Agents come by TLS: handshakes are made beside each other and take no longer than they may, and a connection
//! without a certificate, which may only join, does not last.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use privnet_model::Fingerprint;
use privnet_tls::{Acceptor, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::certificate::OwnCertificate;
use super::peer::Remote;
use super::{LOOK_EVERY, SEND_TIMEOUT};
use crate::admission::{Admission, Admissions, Client};
use crate::auth::ShownCertificate;
use crate::engine::Engine;
use crate::handshakes::Handshakes;
use crate::seldom::Seldom;
use crate::timed::SendTimed;

/// How many connections may be in their handshake at a time: more than at the API, since all hosts of a zone return at
/// once when the server does.
const HANDSHAKES_MAX: usize = 512;

/// How many there may be, and how many of one client, of those that have shown no certificate of a host.
const STRANGERS_MAX: usize = 256;
pub(super) const STRANGERS_PER_CLIENT_MAX: usize = 32;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection lasts without a certificate that is a host's now.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many connections may be made with one certificate at a time: an agent has one, and may have lost some others
/// without anybody knowing it yet.
const CONNECTIONS_PER_CERTIFICATE_MAX: usize = 4;

/// How many connections may wait to be served.
const READY_MAX: usize = 64;

/// How long nothing is accepted after accepting has failed: most likely there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An agent's connection.
pub(super) struct HostStream<S = TcpStream> {
    stream: SendTimed<TlsStream<S>>,
    remote: Remote,
    hung_up: mpsc::Receiver<()>,
    kind: Kind,
}

/// For the connections whose handshake is made.
#[derive(Clone)]
struct Places {
    strangers: Admissions<Client>,
    hosts: Admissions<Fingerprint>,
}

impl Places {
    fn new() -> Self {
        Self {
            strangers: Admissions::new(STRANGERS_MAX, STRANGERS_PER_CLIENT_MAX),
            hosts: Admissions::new(usize::MAX, CONNECTIONS_PER_CERTIFICATE_MAX),
        }
    }
}

enum Kind {
    /// Of a host. Its certificate may be replaced.
    Host { look: Pin<Box<Sleep>>, shown: ShownCertificate, engine: Engine, _place: Admission<Fingerprint> },
    /// Of somebody who may join, and hears why nothing else is possible: when it ends.
    Stranger { end: Pin<Box<Sleep>>, _place: Option<Admission<Client>> },
}

/// The connections that have made their handshake, for as long as somebody receives them.
pub(super) fn accept(
    listener: TcpListener,
    mut certificate: OwnCertificate,
    engine: Engine,
    failed_handshakes: Seldom,
) -> mpsc::Receiver<io::Result<HostStream>> {
    let (ready, connections) = mpsc::channel(READY_MAX);
    let acceptor = certificate.acceptor().clone();
    let handshakes = Handshakes::new("the sync port", HANDSHAKES_MAX, HANDSHAKE_TIMEOUT, failed_handshakes);
    tokio::spawn(async move {
        tokio::select! {
            () = accept_all(&listener, &acceptor, &handshakes, &engine, &ready) => {}
            () = certificate.keep_renewed() => {}
            () = ready.closed() => {}
        }
    });
    connections
}

async fn accept_all(
    listener: &TcpListener,
    acceptor: &Acceptor,
    handshakes: &Handshakes,
    engine: &Engine,
    ready: &mpsc::Sender<io::Result<HostStream>>,
) {
    let places = Places::new();
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an agent's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(handshake) = handshakes.begin(address.ip()) else { continue };
        let (acceptor, engine, places, ready) = (acceptor.clone(), engine.clone(), places.clone(), ready.clone());
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "cannot set TCP_NODELAY");
        }
        tokio::spawn(async move {
            let accepted = shake_hands(&acceptor, stream, address, &engine, &places);
            if let Some(stream) = handshake.make(accepted).await {
                // Who receives them has gone when the server stops.
                drop(ready.send(Ok(stream)).await);
            }
        });
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: &Acceptor,
    stream: S,
    address: SocketAddr,
    engine: &Engine,
    places: &Places,
) -> io::Result<HostStream<S>> {
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
    let kind = match certificate.clone().filter(|shown| is_registered(engine, shown)) {
        Some(shown) => {
            let place = places.hosts.admit(shown.fingerprint);
            let place =
                place.map_err(|_| io::Error::other("there are as many connections as one certificate may have"))?;
            Kind::Host { look: Box::pin(tokio::time::sleep(LOOK_EVERY)), shown, engine: engine.clone(), _place: place }
        }
        None => {
            let place = places.strangers.admit(Client::from(address.ip()));
            let place =
                place.map_err(|_| io::Error::other("there are as many connections without a certificate as may be"))?;
            Kind::Stranger { end: Box::pin(tokio::time::sleep(STRANGER_TIMEOUT)), _place: Some(place) }
        }
    };
    let (hang_up, hung_up) = mpsc::channel(1);
    let stream = SendTimed::new(stream, SEND_TIMEOUT);
    let remote = Remote { address, certificate, hang_up, has_followed: Arc::default() };
    Ok(HostStream { stream, remote, hung_up, kind })
}

fn is_registered(engine: &Engine, shown: &ShownCertificate) -> bool {
    engine.view().host_that_shows(&shown.host, shown.fingerprint).is_ok()
}

impl<S> HostStream<S> {
    /// Breaks the connection when its time is over, or the server hangs up. Called whatever is waited for, so that
    /// nothing keeps it.
    fn expect_time_left(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.hung_up.poll_recv(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has hung up"));
        }
        loop {
            match &mut self.kind {
                Kind::Host { look, shown, engine, .. } => {
                    if look.as_mut().poll(cx).is_pending() {
                        return Ok(());
                    }
                    if is_registered(engine, shown) {
                        look.as_mut().reset(Instant::now() + LOOK_EVERY);
                    } else {
                        let end = Box::pin(tokio::time::sleep(STRANGER_TIMEOUT));
                        self.kind = Kind::Stranger { end, _place: None };
                    }
                }
                Kind::Stranger { end, .. } => {
                    if end.as_mut().poll(cx).is_pending() {
                        return Ok(());
                    }
                    let message = "a connection without a host's certificate lasts long enough to join, and no longer";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
            }
        }
    }
}

impl<S> Connected for HostStream<S> {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for HostStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.expect_time_left(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HostStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.expect_time_left(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.expect_time_left(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.expect_time_left(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
