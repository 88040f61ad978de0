//! What hyper does not time: a request's head once it has begun, and a client that does not take its answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection that breaks when its client is too slow.
pub(super) struct Timed<S> {
    stream: S,
    phase: Phase,
    head: Deadline,
    /// The phase in which `head` was started: in another one that head has been read whole.
    head_phase: u64,
    /// Runs while the client takes nothing, and on until it has taken [`TAKEN_BYTES`] or all there is.
    send: Deadline,
    /// How much it has taken since `send` was started.
    taken_bytes: usize,
}

/// How much of an answer a client must take before it is given its time anew.
pub(super) const TAKEN_BYTES: usize = 64 << 10;

/// How often a request's head was whole or its answer sent: an odd number while one is being answered.
/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Phase(Arc<AtomicU64>);

/// A request is being answered until this is dropped.
pub(super) struct Answering(Phase);

impl Phase {
    pub(super) fn begin_to_answer(&self) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Since when something is waited for, and how long it may be. Its timer is made when the wait begins,
/// which for most requests it never does.
struct Deadline {
    after: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(after: Duration) -> Self {
        Self { after, since: None, timer: None }
    }

    fn start(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn stop(&mut self) {
        (self.since, self.timer) = (None, None);
    }

    /// Waits on, or breaks the connection when the time is over.
    fn wait<T>(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<io::Result<T>> {
        let Some(since) = self.since else { return Poll::Pending };
        let after = self.after;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + after)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, head_timeout: Duration, send_timeout: Duration, phase: Phase) -> Self {
        let (head, send) = (Deadline::new(head_timeout), Deadline::new(send_timeout));
        Self { stream, phase, head, head_phase: 0, send, taken_bytes: 0 }
    }

    fn not_taken<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.send.start();
        self.send.wait(cx, "the client does not take its answer")
    }

    fn written(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Pending => self.not_taken(cx),
            Poll::Ready(Ok(octets)) => {
                self.taken_bytes += octets;
                if self.taken_bytes >= TAKEN_BYTES {
                    self.all_is_taken();
                }
                wrote
            }
            Poll::Ready(Err(_)) => wrote,
        }
    }

    fn all_is_taken(&mut self) {
        self.taken_bytes = 0;
        self.send.stop();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let phase = self.phase.get();
        if self.head_phase != phase {
            self.head_phase = phase;
            self.head.stop();
        }
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.head.wait(cx, "the head of a request takes too long"),
            read => {
                if phase.is_multiple_of(2) {
                    self.head.start();
                }
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.written(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when nothing is ready to be sent any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            // An encrypted stream has taken a part that the client has not.
            Poll::Pending => self.not_taken(cx),
            Poll::Ready(flushed) => {
                self.all_is_taken();
                Poll::Ready(flushed)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.not_taken(cx),
            shut => shut,
        }
    }
}
