//! A TLS connection over anything that Tokio reads and writes.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::TlsError;
use crate::session::{Handshake, Peer, Read, Session, Write};

/// How much is read from the connection, or given to it, at a time, in octets: a little more than a record.
const CHUNK_OCTETS: usize = 17 << 10;

/// A TLS connection over a stream.
///
/// What was written is on its way when `poll_flush` or a read has returned, as with other buffered streams.
/// `poll_shutdown` sends a close_notify and closes the sending direction of the stream; what the peer sends can
/// still be read. An end of the stream without the peer's close_notify is an error of kind `UnexpectedEof`.
/// Everything may be dropped while it is pending, and asked for again, also from another task; reader and writer
/// may be two tasks.
pub struct TlsStream<S> {
    session: Session,
    stream: S,
    /// Ciphertext on its way out of the session, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    /// Whether a write waits for what the peer sends.
    writer_needs_input: bool,
    wakers: Arc<Wakers>,
    both: Waker,
}

/// Why a handshake came to nothing, with the stream, on which the alert that tells the peer has been sent.
#[derive(Debug, thiserror::Error)]
#[error("the TLS handshake has failed")]
pub struct HandshakeError<S> {
    /// What went wrong: a [`TlsError`] inside, where it was not the connection itself.
    #[source]
    pub cause: io::Error,
    /// The stream.
    pub stream: S,
}

impl<S> HandshakeError<S> {
    /// What went wrong in TLS, if it was that.
    pub fn tls(&self) -> Option<&TlsError> {
        tls_error(&self.cause)
    }
}

/// The [`TlsError`] inside an error of a [`TlsStream`] or a [`BlockingStream`](crate::BlockingStream).
pub fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

impl<S> TlsStream<S> {
    pub(crate) fn new(session: Session, stream: S) -> Self {
        let wakers = Arc::new(Wakers::default());
        let both = Waker::from(Arc::clone(&wakers));
        Self { session, stream, outgoing: Vec::new(), sent: 0, writer_needs_input: false, wakers, both }
    }

    /// Who the other end is, once the handshake is over.
    pub fn peer(&self) -> Option<&Peer> {
        self.session.peer()
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Makes the handshake, and returns the stream with a [`peer`](Self::peer).
    ///
    /// # Errors
    /// [`HandshakeError`], which gives the stream below back.
    pub async fn handshake(mut self) -> Result<Self, HandshakeError<S>> {
        match std::future::poll_fn(|cx| self.poll_handshake(cx)).await {
            Ok(()) => Ok(self),
            Err(cause) => Err(HandshakeError { cause, stream: self.stream }),
        }
    }

    /// Carries the handshake on, and has its last part sent.
    ///
    /// # Errors
    /// Of the stream, or with a [`TlsError`] inside.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wakers.reader.set(cx);
        let waker = self.both.clone();
        let cx = &mut Context::from_waker(&waker);
        while self.poll_session(cx, Session::handshake)? == Handshake::NeedsInput {
            ready!(self.poll_input(cx))?;
        }
        self.poll_send(cx)
    }

    /// Asks the session for something. Where that is an error, the alert for it is on its way.
    fn poll_session<T>(
        &mut self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Session) -> Result<T, TlsError>,
    ) -> io::Result<T> {
        ask(&mut self.session).map_err(|error| {
            // There is one attempt: whoever does not take an alert has no use for it.
            let _ = self.poll_send(cx);
            to_io(error)
        })
    }

    /// Sends what there is to be sent and brings the session ciphertext.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Where the peer takes nothing now, it may still have sent something.
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        let mut space = [MaybeUninit::uninit(); CHUNK_OCTETS];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Err(to_io(self.session.truncated())));
        }
        let taken = self.session.receive(buf.filled());
        Poll::Ready(taken.map_err(to_io))
    }

    /// Gives the stream all ciphertext that there is.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sent == self.outgoing.len() {
                // A connection with nothing to send keeps no memory for it.
                self.outgoing = vec![0; self.session.outgoing().min(CHUNK_OCTETS)];
                self.sent = 0;
                if self.outgoing.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let octets = self.session.take_outgoing(&mut self.outgoing);
                self.outgoing.truncate(octets);
            }
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outgoing[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        this.wakers.reader.set(cx);
        let waker = this.both.clone();
        let cx = &mut Context::from_waker(&waker);
        loop {
            match this.poll_session(cx, |session| session.read(buf.initialize_unfilled()))? {
                Read::Octets(octets) => {
                    buf.advance(octets);
                    break;
                }
                Read::End => break,
                Read::NeedsInput => {
                    let brought = ready!(this.poll_input(cx));
                    if std::mem::take(&mut this.writer_needs_input) {
                        this.wakers.writer.wake();
                    }
                    brought?;
                }
                Read::NeedsOutput => ready!(this.poll_send(cx))?,
            }
        }
        // What was read may want an answer of the session's own, and what was written may wait.
        // An error of that comes back at the next call; what has come is given first.
        let _ = this.poll_send(cx);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.wakers.writer.set(cx);
        let waker = this.both.clone();
        let cx = &mut Context::from_waker(&waker);
        loop {
            match this.poll_session(cx, |session| session.write(data))? {
                Write::Octets(octets) => {
                    // What does not go now goes when the stream is flushed.
                    if let Poll::Ready(Err(error)) = this.poll_send(cx) {
                        return Poll::Ready(Err(error));
                    }
                    return Poll::Ready(Ok(octets));
                }
                Write::NeedsInput => {
                    this.writer_needs_input = true;
                    let brought = ready!(this.poll_input(cx));
                    this.writer_needs_input = false;
                    // What came may be for the reader as well.
                    this.wakers.reader.wake();
                    brought?;
                }
                Write::NeedsOutput => ready!(this.poll_send(cx))?,
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wakers.writer.set(cx);
        let waker = this.both.clone();
        let cx = &mut Context::from_waker(&waker);
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wakers.writer.set(cx);
        let waker = this.both.clone();
        let cx = &mut Context::from_waker(&waker);
        this.session.close();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl<S> std::fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TlsStream").field(&self.session).finish()
    }
}

/// Reading may have to send, and sending to read, and a stream wakes only the last task that asked for a
/// direction. So it is asked on behalf of both tasks, and both are woken.
#[derive(Default)]
struct Wakers {
    reader: Slot,
    writer: Slot,
}

#[derive(Default)]
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    fn set(&self, cx: &Context<'_>) {
        let mut waker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// The error of a stream for an error of TLS.
pub(crate) fn to_io(error: TlsError) -> io::Error {
    let kind = match error {
        TlsError::Truncated(_) | TlsError::EndedEarly(_) | TlsError::EndedInMessage(_) => io::ErrorKind::UnexpectedEof,
        TlsError::Closed => io::ErrorKind::BrokenPipe,
        TlsError::Alert { .. } => io::ErrorKind::ConnectionAborted,
        TlsError::PlainHttpRequest
        | TlsError::PlainHttpAnswer
        | TlsError::NotTls(_)
        | TlsError::Certificate { .. }
        | TlsError::Library { .. } => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
