//! A connection whose other end takes nothing of what it is sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How much the other end must take before it is given its time anew.
pub(crate) const TAKEN_BYTES: usize = 64 << 10;

/// A connection that breaks when its other end is too slow to take what it is sent.
pub(crate) struct SendTimed<S> {
    stream: S,
    /// Runs while the other end takes nothing, and on until it has taken [`TAKEN_BYTES`] or all there is.
    send: Deadline,
    /// How much it has taken since `send` was started.
    taken_bytes: usize,
}

/// Since when something is waited for, and how long it may be. Its timer is made when the wait begins,
/// which most often it never does.
pub(crate) struct Deadline {
    after: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, since: None, timer: None }
    }

    pub(crate) fn start(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    pub(crate) fn stop(&mut self) {
        (self.since, self.timer) = (None, None);
    }

    /// Waits on, or breaks the connection when the time is over.
    pub(crate) fn wait<T>(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<io::Result<T>> {
        let Some(since) = self.since else { return Poll::Pending };
        let after = self.after;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + after)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }
}

impl<S> SendTimed<S> {
    pub(crate) fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, send: Deadline::new(timeout), taken_bytes: 0 }
    }

    fn not_taken<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.send.start();
        self.send.wait(cx, "the other end does not take what it is sent")
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

impl<S: AsyncRead + Unpin> AsyncRead for SendTimed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SendTimed<S> {
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
