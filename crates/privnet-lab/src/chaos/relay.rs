//! A wire between an agent and the server that can be cut. What the agent takes for the server is on the host itself;
//! each connection to it leads to the server, from the host's own address.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::sys::socket;

use crate::namespace::Namespace;

/// Where the host finds its end.
const NEAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 4443);

/// What is forwarded at once.
const CHUNK_BYTES: usize = 16 << 10;

/// A wire, until it is dropped.
pub(crate) struct Relay {
    wire: Arc<Wire>,
    listener: TcpListener,
    accepting: Option<JoinHandle<Result<()>>>,
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
    streams: Vec<TcpStream>,
}

impl Relay {
    /// From the namespace of a host to the server at `to`, which need not be there yet.
    pub(crate) fn start(host: &Namespace, to: SocketAddr) -> Result<Self> {
        let listen = || TcpListener::bind(NEAR).with_context(|| format!("cannot listen on {NEAR}"));
        let listener = host.within(listen)?;
        let wire = Arc::<Wire>::default();
        let (accepting, incoming, host) = (Arc::clone(&wire), listener.try_clone()?, host.clone());
        let accept = move || {
            host.within(|| {
                accepting.accept(&incoming, to);
                Ok(())
            })
        };
        Ok(Self { wire, listener, accepting: Some(thread::spawn(accept)) })
    }

    /// Where the agent is to connect.
    pub(crate) const fn address(&self) -> SocketAddr {
        NEAR
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
        // Wakes the thread that accepts, which keeps the host's namespace in being.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.cut();
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    /// Until the wire is gone.
    fn accept(self: &Arc<Self>, listener: &TcpListener, to: SocketAddr) {
        for stream in listener.incoming() {
            if self.is_gone() {
                return;
            }
            // A connection to a server that is away ends at once, as it would without the wire.
            let connected = stream.and_then(|near| Ok((near, TcpStream::connect(to)?)));
            if let Ok((near, far)) = connected {
                // Cannot fail but for want of descriptors; the agent connects again then.
                let _ = self.join(near, far);
            }
        }
    }

    fn cut(&self) {
        for stream in self.lock().streams.drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn join(self: &Arc<Self>, near: TcpStream, far: TcpStream) -> io::Result<()> {
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ends = [near.try_clone()?, far.try_clone()?];
        let (back_from, back_to) = (far.try_clone()?, near.try_clone()?);
        self.lock().streams.extend(ends);
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || there.forward(near, far));
        thread::spawn(move || back.forward(back_from, back_to));
        Ok(())
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
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
