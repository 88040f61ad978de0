//! The door: which connections are served, how long each may take, and how they end.

mod encrypted;
mod timed;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use privnet_tls::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use self::timed::{Answering, HeadTimed, Phase};
use super::body::{self, Body, Together};
use super::{BUSY_RETRY_AFTER, Refused};
use crate::admission::{Admissions, Client, Full};
use crate::handshakes::Handshakes;
use crate::limits::Limits;
use crate::seldom::Seldom;
use crate::timed::{SendTimed, TAKEN_BYTES};

/// How long to wait where a connection cannot be accepted, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections that find no place are told so at a time; further ones are closed without a word.
const TURNED_AWAY_MAX: usize = 256;

/// How long such a connection may take to hear it.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many TLS handshakes may be under way. Where a client has said Hello, one costs some 170 KB of libssl's memory
/// until the client goes on, so that all of them together cost 43 MB; and there are only this many at a time of 4,096
/// connections, since one takes a millisecond or two of which the most is the client's.
const HANDSHAKES_MAX: usize = 256;

/// How many headers hyper takes when it is told nothing.
const HYPER_HEADERS_MAX: usize = 100;

/// Serves clients until `shutdown` resolves, and then answers the requests under way.
pub(super) async fn serve<A, F>(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
    answer: A,
    shutdown: impl Future<Output = ()>,
) where
    A: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let door = Door::new(tls, limits, answer);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => door.open(prepared(stream), peer.ip().to_canonical()),
            Err(cause) => {
                warn!(%cause, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    door.close().await;
}

/// What connections begin with that are encrypted.
pub(crate) struct Tls {
    acceptor: Acceptor,
    handshakes: Handshakes,
}

impl Tls {
    /// `failed`: where handshakes are noted that come to nothing.
    pub(crate) fn new(acceptor: Acceptor, limits: &Limits, failed: Seldom) -> Self {
        Self { acceptor, handshakes: Handshakes::new("the API", HANDSHAKES_MAX, limits.head_timeout, failed) }
    }
}

struct Door<A> {
    tls: Option<Tls>,
    limits: Limits,
    answer: A,
    connections: GracefulShutdown,
    /// Never sent to: dropped when the door closes.
    closing: watch::Sender<()>,
    admissions: Admissions<Client>,
    turned_away: Arc<Semaphore>,
}

impl<A, F> Door<A>
where
    A: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    fn new(tls: Option<Tls>, limits: Limits, answer: A) -> Self {
        let admissions = Admissions::new(limits.connections_max, limits.connections_per_address_max);
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
        let (connections, closing) = (GracefulShutdown::new(), watch::Sender::new(()));
        Self { tls, limits, answer, connections, closing, admissions, turned_away }
    }

    /// Serves a connection, or tells it that there is no place. One that finds none for its handshake is closed.
    fn open<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, address: IpAddr) {
        match &self.tls {
            Some(Tls { acceptor, handshakes }) => {
                let Some(handshake) = handshakes.begin(address) else { return };
                self.open_when(encrypted::accept(acceptor.clone(), stream, handshake), address);
            }
            None => self.open_when(std::future::ready(Some(stream)), address),
        }
    }

    /// The same for a connection that must first become ready to be spoken on. It has its place meanwhile.
    fn open_when<S>(&self, ready: impl Future<Output = Option<S>> + Send + 'static, address: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = Client::from(address);
        match self.admissions.admit(client) {
            Ok(admission) => {
                let (answer, limits) = (self.answer.clone(), self.limits);
                let (watcher, mut closing) = (self.connections.watcher(), self.closing.subscribe());
                tokio::spawn(async move {
                    let stream = tokio::select! {
                        biased;
                        stream = ready => stream,
                        // Nothing has been asked on it.
                        _ = closing.changed() => None,
                    };
                    if let Some(stream) = stream {
                        let connection = connection(stream, &limits, true, move |request| answer(address, request));
                        if let Err(cause) = watcher.watch(connection).await {
                            debug!(%cause, "a connection broke");
                        }
                    }
                    drop(admission);
                });
            }
            Err(full) => {
                debug!(?full, ?client, "a connection is turned away");
                let Ok(permit) = Arc::clone(&self.turned_away).try_acquire_owned() else { return };
                let limits = self.limits;
                tokio::spawn(async move {
                    let turn_away = async {
                        if let Some(stream) = ready.await {
                            // Whether it has heard the answer makes no difference.
                            let _ = connection(stream, &limits, false, move |request| turn_away(full, request)).await;
                        }
                    };
                    let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, turn_away).await;
                    drop(permit);
                });
            }
        }
    }

    /// Has each connection end after the request under way.
    async fn close(self) {
        drop(self.closing);
        if tokio::time::timeout(self.limits.stop_timeout, self.connections.shutdown()).await.is_err() {
            warn!("requests under way are cut off: they have taken too long");
        }
    }
}

fn prepared(stream: TcpStream) -> TcpStream {
    // An answer that is sent in two parts would wait for the client's delayed acknowledgement.
    if let Err(cause) = stream.set_nodelay(true) {
        debug!(%cause, "cannot set TCP_NODELAY");
    }
    stream
}

async fn turn_away(full: Full, request: Request<Incoming>) -> Response<Body> {
    body::discard(request.into_body()).await;
    let refused = match full {
        Full::Server => Refused::busy("the server has as many connections as it takes"),
        Full::Client => Refused::new(StatusCode::TOO_MANY_REQUESTS, "this client has as many connections as one may")
            .retry_after(BUSY_RETRY_AFTER),
    };
    refused.into_response()
}

/// A connection as hyper serves it, within the limits. One that is not kept alive ends after one request.
fn connection<S, A, F>(
    stream: S,
    limits: &Limits,
    keep_alive: bool,
    answer: A,
) -> impl GracefulConnection<Output = Result<(), hyper::Error>> + Send + use<S, A, F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let phase = Phase::default();
    let stream = HeadTimed::new(SendTimed::new(stream, limits.send_timeout), limits.head_timeout, phase.clone());
    let service = service_fn(move |request| {
        let answering = phase.begin_to_answer();
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await.map(|body| Sending { body, _answering: answering })) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .keep_alive(keep_alive)
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(limits.head_bytes_max.max(TAKEN_BYTES));
    if limits.headers_max != HYPER_HEADERS_MAX {
        // Setting it costs an allocation per request.
        http.max_headers(limits.headers_max);
    }
    http.serve_connection(TokioIo::new(stream), service)
}

/// An answer's body on its way.
struct Sending {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Sending {
    type Data = Together;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Together>, Infallible>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
