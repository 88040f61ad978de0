//! Bodies, as they come and as they go.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::IoSlice;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::Limits;

/// How much of a body that is too large is still read, to nothing: a client that is not heard out
/// does not hear the answer either.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// How much of each body takes no room: requests of the usual size find some whatever large ones others send.
const FREE_BYTES: usize = 16 << 10;

/// How much of an answer in parts is handed to the connection at a time, at least: it writes that with one call,
/// where a call for each part would cost more than the copying.
const SENT_TOGETHER_BYTES: usize = 256 << 10;

/// The octets that the bodies of all requests may have together. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }
}

/// A request's body, in its room.
#[derive(Debug, Default)]
pub(super) struct Octets {
    octets: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Octets {
    /// Adds octets if there is room for them.
    fn add(&mut self, data: &[u8], room: &Room) -> Result<(), BodyError> {
        let taken = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = (self.octets.len() + data.len()).saturating_sub(FREE_BYTES + taken);
        if needed > 0 {
            let needed = u32::try_from(needed).map_err(|_| BodyError::NoRoom)?;
            let more = Arc::clone(&room.0).try_acquire_many_owned(needed).map_err(|_| BodyError::NoRoom)?;
            match &mut self.room {
                Some(room) => room.merge(more),
                room => *room = Some(more),
            }
        }
        self.octets.extend_from_slice(data);
        Ok(())
    }
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets
    }
}

/// Why a body cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// 413
    #[error("the body has more than {bytes_max} octets, the most that is accepted")]
    TooLarge {
        /// How many it may have.
        bytes_max: usize,
    },
    /// 503: bodies of others take it.
    #[error("the server has as many octets of requests under way as it takes")]
    NoRoom,
    /// 408
    #[error("the body took longer than {} s", timeout.as_secs_f64())]
    TooSlow {
        /// How long it may take.
        timeout: Duration,
    },
    /// 400, if anybody still listens.
    #[error("the body broke off: {0}")]
    Broken(#[source] hyper::Error),
}

/// Reads a request's body whole.
pub(super) async fn read(
    body: Incoming,
    expects_continue: bool,
    limits: &Limits,
    room: &Room,
) -> Result<Octets, BodyError> {
    let (bytes_max, timeout) = (limits.body_bytes_max, limits.body_timeout);
    if expects_continue && body.size_hint().lower() > bytes_max as u64 {
        // The client asks before it sends; the refusal is its answer.
        return Err(BodyError::TooLarge { bytes_max });
    }
    tokio::time::timeout(timeout, collect(body, bytes_max, room)).await.map_err(|_| BodyError::TooSlow { timeout })?
}

async fn collect(mut body: Incoming, bytes_max: usize, room: &Room) -> Result<Octets, BodyError> {
    let mut octets = Octets::default();
    while let Some(data) = next(&mut body).await? {
        let added = match octets.len() + data.len() > bytes_max {
            true => Err(BodyError::TooLarge { bytes_max }),
            false => octets.add(&data, room),
        };
        if let Err(refused) = added {
            drop(octets);
            discard(body).await;
            return Err(refused);
        }
    }
    Ok(octets)
}

/// Reads the body of a request that is refused whatever it is, to nothing and no longer than it may take. A client
/// that asks before it sends need not send.
pub(super) async fn hear_out(body: Incoming, expects_continue: bool, limits: &Limits) {
    if !expects_continue {
        // Whether it was heard out makes no difference to what it is answered.
        let _ = tokio::time::timeout(limits.body_timeout, discard(body)).await;
    }
}

/// Reads a body to nothing.
pub(super) async fn discard(mut body: Incoming) {
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES_MAX
        && let Ok(Some(data)) = next(&mut body).await
    {
        discarded += data.len();
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    match body.frame().await {
        // Trailers count as no data.
        Some(frame) => Ok(Some(frame.map_err(BodyError::Broken)?.into_data().unwrap_or_default())),
        None => Ok(None),
    }
}

/// The body of an answer: as a whole, or in parts that are made when they are sent.
pub(super) enum Body {
    Whole(Bytes),
    Parts(Box<dyn Iterator<Item = Bytes> + Send>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Vec<u8>> for Body {
    fn from(octets: Vec<u8>) -> Self {
        Self::Whole(octets.into())
    }
}

impl From<&'static [u8]> for Body {
    fn from(octets: &'static [u8]) -> Self {
        Self::Whole(Bytes::from_static(octets))
    }
}

/// Parts that are sent together, none of them copied.
#[derive(Debug, Default)]
pub(super) struct Together {
    /// None is empty.
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Together {
    fn add(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.remaining += part.len();
            self.parts.push_back(part);
        }
    }

    /// As many of the coming parts as are sent together, unless there are none.
    fn of(parts: &mut dyn Iterator<Item = Bytes>) -> Option<Self> {
        let mut together = Self::default();
        while together.remaining < SENT_TOGETHER_BYTES
            && let Some(part) = parts.next()
        {
            together.add(part);
        }
        together.has_remaining().then_some(together)
    }
}

impl From<Bytes> for Together {
    fn from(whole: Bytes) -> Self {
        let mut together = Self::default();
        together.add(whole);
        together
    }
}

impl Buf for Together {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.parts).map(|(slice, part)| *slice = IoSlice::new(part));
        filled.count()
    }

    fn advance(&mut self, mut octets: usize) {
        self.remaining -= octets;
        while octets > 0 {
            let part = self.parts.front_mut().expect("no more than remains");
            if octets < part.len() {
                part.advance(octets);
                return;
            }
            octets -= part.len();
            self.parts.pop_front();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Together;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Together>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Whole(octets) => octets.has_remaining().then(|| std::mem::take(octets).into()),
            Self::Parts(parts) => Together::of(parts),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(octets) if octets.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(octets) => SizeHint::with_exact(octets.len() as u64),
            Self::Parts(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(parts: &[&'static [u8]]) -> Together {
        Together::of(&mut parts.iter().copied().map(Bytes::from_static)).expect("something")
    }

    #[test]
    fn parts_that_are_sent_together_are_their_octets_in_order_however_they_are_taken() {
        let parts: [&[u8]; 5] = [b"", b"ab", b"cde", b"", b"f"];
        for taken in 1..=6 {
            let (mut data, mut octets) = (together(&parts), Vec::new());
            while data.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = data.chunks_vectored(&mut slices);
                let seen: Vec<_> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                assert_eq!((seen.len(), data.chunk()[0]), (data.remaining(), seen[0]));
                let taken = taken.min(data.remaining());
                octets.extend_from_slice(&seen[..taken]);
                data.advance(taken);
            }
            assert_eq!(octets, b"abcdef");
        }
    }

    #[test]
    fn no_more_slices_are_filled_than_there_are() {
        assert_eq!(together(&[b"ab", b"cde", b"f"]).chunks_vectored(&mut [IoSlice::new(&[]); 2]), 2);
    }

    #[test]
    fn so_many_parts_are_sent_together_as_have_the_octets() {
        const PART: &[u8] = &[0; SENT_TOGETHER_BYTES / 2];
        let mut parts = std::iter::repeat_n(Bytes::from_static(PART), 3);
        let sizes: Vec<_> = std::iter::from_fn(|| Together::of(&mut parts)).map(|data| data.remaining()).collect();
        assert_eq!(sizes, [2 * PART.len(), PART.len()]);
    }
}
