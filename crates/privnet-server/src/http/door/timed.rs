//! What hyper does not time: a request's head once it has begun.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::timed::Deadline;

/// A connection that breaks when the head of a request takes its client too long.
pub(super) struct HeadTimed<S> {
    stream: S,
    phase: Phase,
    head: Deadline,
    /// The phase in which `head` was started: in another one that head has been read whole.
    head_phase: u64,
}

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

impl<S> HeadTimed<S> {
    pub(super) fn new(stream: S, timeout: Duration, phase: Phase) -> Self {
        Self { stream, phase, head: Deadline::new(timeout), head_phase: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadTimed<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadTimed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
