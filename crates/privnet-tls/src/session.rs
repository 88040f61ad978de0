//! One end of a TLS connection that does no I/O: ciphertext and plaintext go in and out as octets.

use std::fmt;

use crate::certificate::Certificate;
use crate::error::{Role, TlsError};
use crate::libssl::{Connection, Progress};

/// How much ciphertext may wait to be sent before no more plaintext is taken, in octets.
pub const OUTGOING_OCTETS_MAX: usize = 64 << 10;

/// How much may wait before nothing is read either, in octets: only answers to the peer's own messages (key
/// updates, RFC 8446 §4.6.3) that the peer does not take can come to that.
const OUTGOING_OCTETS_MAX_TO_READ: usize = 4 * OUTGOING_OCTETS_MAX;

/// What a TLS record begins with, if it can be the first: a handshake or an alert (RFC 8446 §5.1).
const FIRST_RECORD_TYPES: [u8; 2] = [22, 21];

/// What reading has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many octets of plaintext, at least one.
    Octets(usize),
    /// More ciphertext has to come first ([`Session::receive`]).
    NeedsInput,
    /// Ciphertext has to be sent first ([`Session::outgoing`]).
    NeedsOutput,
    /// The peer sends no more, and has said so.
    End,
}

/// What writing has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// So many octets of plaintext were taken: none only where none were given.
    Octets(usize),
    /// More ciphertext has to come first ([`Session::receive`]): the handshake is not over, or the peer has begun a
    /// message of the handshake's kind, such as a key update (RFC 8446 §4.6.3), and not ended it.
    NeedsInput,
    /// Ciphertext has to be sent first ([`Session::outgoing`]).
    NeedsOutput,
}

/// Where the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// More ciphertext has to come first.
    NeedsInput,
    /// It is over, and [`Session::peer`] tells who the peer is.
    Done,
}

/// One end of a TLS connection, made by [`Acceptor::session`](crate::Acceptor::session) or
/// [`Connector::session`](crate::Connector::session).
///
/// After each call there may be ciphertext to be sent, an alert after an error as well.
pub struct Session {
    connection: Connection,
    state: State,
    /// How the first octets of the peer look, until enough have come to tell.
    first: Option<Vec<u8>>,
    /// Whether our direction is closed.
    closed: bool,
}

/// Beginning -> Established when the handshake is over; both -> Failed at the first error, which is then the
/// answer to everything.
enum State {
    Beginning,
    Established(Peer),
    Failed(TlsError),
}

/// Who the other end of a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it has shown and we have verified, its own certificate first. Empty if it has shown none. At a server,
    /// and where it is accepted by a pin, the others are only what it has shown.
    pub certificates: Vec<Certificate>,
    /// The application protocol that both have chosen (ALPN).
    pub protocol: Option<String>,
    /// Such as "TLSv1.3".
    pub version: &'static str,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, state: State::Beginning, first: Some(Vec::new()), closed: false }
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.connection.role()
    }

    /// Who the other end is, once the handshake is over.
    pub fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::Established(peer) => Some(peer),
            State::Beginning | State::Failed(_) => None,
        }
    }

    /// Takes ciphertext that has come from the peer.
    ///
    /// # Errors
    /// [`TlsError::PlainHttpRequest`], [`TlsError::PlainHttpAnswer`], [`TlsError::NotTls`] as soon as the first octets
    /// tell; [`TlsError::Library`].
    pub fn receive(&mut self, ciphertext: &[u8]) -> Result<(), TlsError> {
        self.alive()?;
        let taken = self.look_at_first(ciphertext).and_then(|()| self.connection.receive(ciphertext));
        self.noted(taken)
    }

    /// Tells that no ciphertext will come any more: the error for it. After [`Read::End`] it is none.
    pub fn truncated(&mut self) -> TlsError {
        let peer = self.role().peer();
        match &self.state {
            State::Beginning => TlsError::EndedEarly(peer),
            State::Established(_) => TlsError::Truncated(peer),
            State::Failed(error) => error.clone(),
        }
    }

    /// Carries the handshake on.
    ///
    /// # Errors
    /// [`TlsError`], for this and every later call.
    pub fn handshake(&mut self) -> Result<Handshake, TlsError> {
        match &self.state {
            State::Established(_) => return Ok(Handshake::Done),
            State::Failed(error) => return Err(error.clone()),
            State::Beginning => {}
        }
        let progress = self.connection.handshake().and_then(|progress| match progress {
            Progress::Done(_) => Ok(Some(self.established()?)),
            Progress::NeedsInput => Ok(None),
            Progress::Closed => Err(TlsError::EndedEarly(self.role().peer())),
        });
        match self.noted(progress)? {
            Some(peer) => {
                self.state = State::Established(peer);
                Ok(Handshake::Done)
            }
            None => Ok(Handshake::NeedsInput),
        }
    }

    /// Gives plaintext that has come; carries the handshake on, if it is not over. `out` must not be empty.
    ///
    /// # Errors
    /// [`TlsError`], for this and every later call.
    pub fn read(&mut self, out: &mut [u8]) -> Result<Read, TlsError> {
        if self.handshake()? == Handshake::NeedsInput {
            return Ok(Read::NeedsInput);
        }
        if self.outgoing() > OUTGOING_OCTETS_MAX_TO_READ {
            return Ok(Read::NeedsOutput);
        }
        let read = self.connection.read(out);
        Ok(match self.noted(read)? {
            Progress::Done(octets) => Read::Octets(octets),
            Progress::NeedsInput => Read::NeedsInput,
            Progress::Closed => Read::End,
        })
    }

    /// Takes plaintext to be sent: nothing as long as the handshake is not over or [`OUTGOING_OCTETS_MAX`] octets of
    /// ciphertext wait, and never more than a record (16 KiB).
    ///
    /// # Errors
    /// [`TlsError::Closed`] after [`close`](Self::close); [`TlsError`], for this and every later call.
    pub fn write(&mut self, plaintext: &[u8]) -> Result<Write, TlsError> {
        if self.closed {
            return Err(TlsError::Closed);
        }
        if self.handshake()? == Handshake::NeedsInput {
            return Ok(Write::NeedsInput);
        }
        if self.outgoing() >= OUTGOING_OCTETS_MAX {
            return Ok(Write::NeedsOutput);
        }
        if plaintext.is_empty() {
            return Ok(Write::Octets(0));
        }
        let written = self.connection.write(plaintext).and_then(|progress| match progress {
            Progress::Done(octets) => Ok(Write::Octets(octets)),
            Progress::NeedsInput => Ok(Write::NeedsInput),
            // Nothing can be sent before the message is whole, and it never will be.
            Progress::Closed => Err(TlsError::EndedInMessage(self.role().peer())),
        });
        self.noted(written)
    }

    /// Ends our direction: what was written goes first, then a close_notify. What the peer sends can still be
    /// read.
    pub fn close(&mut self) {
        if !self.closed && self.peer().is_some() {
            self.connection.close();
        }
        self.closed = true;
    }

    /// How many octets of ciphertext wait to be sent.
    pub fn outgoing(&mut self) -> usize {
        self.connection.outgoing()
    }

    /// Gives ciphertext to be sent: as much as there is and `out` has room for; 0 if there is none.
    pub fn take_outgoing(&mut self, out: &mut [u8]) -> usize {
        self.connection.take_outgoing(out)
    }

    fn alive(&self) -> Result<(), TlsError> {
        match &self.state {
            State::Failed(error) => Err(error.clone()),
            State::Beginning | State::Established(_) => Ok(()),
        }
    }

    /// Remembers an error.
    fn noted<T>(&mut self, result: Result<T, TlsError>) -> Result<T, TlsError> {
        result.inspect_err(|error| self.state = State::Failed(error.clone()))
    }

    fn established(&mut self) -> Result<Peer, TlsError> {
        let unreadable = |error| TlsError::Library { doing: "read the peer's certificate", cause: format!("{error}") };
        let shown = self.connection.peer_certificates()?;
        let certificates = shown.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>();
        Ok(Peer {
            certificates: certificates.map_err(unreadable)?,
            protocol: self.connection.alpn().map(|id| String::from_utf8_lossy(&id).into_owned()),
            version: self.connection.version(),
        })
    }

    /// Tells what is no TLS by how it begins.
    fn look_at_first(&mut self, ciphertext: &[u8]) -> Result<(), TlsError> {
        /// Enough to know a method of HTTP, or its answer.
        const TELLING_OCTETS: usize = 5;
        let Some(first) = &mut self.first else { return Ok(()) };
        let missing = TELLING_OCTETS - first.len();
        first.extend(ciphertext.iter().take(missing));
        match first[..] {
            [] => Ok(()),
            [kind, ..] if FIRST_RECORD_TYPES.contains(&kind) => {
                self.first = None;
                Ok(())
            }
            _ => {
                let is_http = looks_like_http(first, self.connection.role());
                Err(match (is_http, self.role()) {
                    (true, Role::Server) => TlsError::PlainHttpRequest,
                    (true, Role::Client) => TlsError::PlainHttpAnswer,
                    (false, role) => TlsError::NotTls(role.peer()),
                })
            }
        }
    }
}

/// Whether these octets begin a request that a server gets, or an answer that a client gets (RFC 9112 §3, §4).
fn looks_like_http(octets: &[u8], role: Role) -> bool {
    const METHODS: [&[u8]; 9] =
        [b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT "];
    let begins = |known: &[u8]| octets.starts_with(known) || known.starts_with(octets);
    match role {
        Role::Server => METHODS.iter().any(|method| begins(method)),
        Role::Client => begins(b"HTTP/"),
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("role", &self.role()).field("peer", &self.peer()).finish_non_exhaustive()
    }
}
