//! A wire between an agent and the server that can be cut: a Unix socket whose connections lead to
//! another one.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// What is forwarded at once.
const CHUNK_BYTES: usize = 16 << 10;

/// A wire, until it is dropped.
pub(crate) struct Relay {
    path: PathBuf,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_held: bool,
    is_gone: bool,
    /// Both ends of each connection.
    streams: Vec<UnixStream>,
}

impl Relay {
    /// From a new socket at `from` to the one at `to`, which need not be there yet.
    pub(crate) fn start(from: PathBuf, to: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&from).with_context(|| format!("cannot listen on {}", from.display()))?;
        let wire = Arc::<Wire>::default();
        let accepting = Arc::clone(&wire);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_gone() {
                    return;
                }
                // A connection to a server that is away ends at once, as it would without the wire.
                let connected = stream.and_then(|near| Ok((near, UnixStream::connect(&to)?)));
                if let Ok((near, far)) = connected {
                    // Cannot fail but for want of descriptors; the agent connects again then.
                    let _ = accepting.join(near, far);
                }
            }
        });
        Ok(Self { path: from, wire })
    }

    /// Where the agent is to connect.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.wire.cut();
    }

    /// Nothing passes while it is held; nothing is lost, either.
    pub(crate) fn hold(&self, is_held: bool) {
        self.wire.lock().is_held = is_held;
        self.wire.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.wire.lock().is_gone = true;
        self.hold(false);
        self.cut();
        // Wakes the thread that accepts, which may be gone.
        let _ = UnixStream::connect(&self.path);
    }
}

impl Wire {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    fn cut(&self) {
        for stream in self.lock().streams.drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn join(self: &Arc<Self>, near: UnixStream, far: UnixStream) -> std::io::Result<()> {
        let ends = [near.try_clone()?, far.try_clone()?];
        let (back_from, back_to) = (far.try_clone()?, near.try_clone()?);
        self.lock().streams.extend(ends);
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || there.forward(near, far));
        thread::spawn(move || back.forward(back_from, back_to));
        Ok(())
    }

    fn forward(&self, mut from: UnixStream, mut to: UnixStream) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let octets = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(octets) => octets,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let state = self.changed.wait_while(self.lock(), |state| state.is_held);
            drop(state.unwrap_or_else(PoisonError::into_inner));
            if to.write_all(&chunk[..octets]).is_err() {
                break;
            }
        }
        // The other direction ends as well, and so does the connection.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
