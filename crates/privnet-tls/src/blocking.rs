//! A TLS connection over anything that is read and written in the calling thread.

use std::fmt;
use std::io::{self, Read, Write};

use crate::error::TlsError;
use crate::session::{Handshake, Peer, Session};
use crate::settings::{Connector, ServerName};
use crate::stream::to_io;
use crate::{session, settings};

/// How much is read from the connection, or given to it, at a time, in octets: a little more than a record.
const CHUNK_OCTETS: usize = 17 << 10;

/// A TLS connection over a stream that blocks. What is written is sent at once.
///
/// An end of the stream without the peer's close_notify is an error of kind `UnexpectedEof`.
pub struct BlockingStream<S> {
    session: Session,
    stream: S,
    chunk: Box<[u8]>,
}

impl<S: Read + Write> BlockingStream<S> {
    /// Makes the handshake with the server of this name.
    ///
    /// # Errors
    /// Of the stream, or with a [`TlsError`] inside ([`tls_error`](crate::tls_error)).
    pub fn connect(connector: &Connector, name: &ServerName, stream: S) -> io::Result<Self> {
        Self::handshake(connector.session(name).map_err(to_io)?, stream)
    }

    /// Makes the handshake with the client at the other end of this stream.
    ///
    /// # Errors
    /// Of the stream, or with a [`TlsError`] inside ([`tls_error`](crate::tls_error)).
    pub fn accept(acceptor: &settings::Acceptor, stream: S) -> io::Result<Self> {
        Self::handshake(acceptor.session().map_err(to_io)?, stream)
    }

    fn handshake(session: Session, stream: S) -> io::Result<Self> {
        let mut this = Self { session, stream, chunk: vec![0; CHUNK_OCTETS].into() };
        while this.ask(Session::handshake)? == Handshake::NeedsInput {
            this.input()?;
        }
        this.send()?;
        Ok(this)
    }

    /// Sends a close_notify: nothing can be written any more.
    ///
    /// # Errors
    /// Of the stream.
    pub fn close(&mut self) -> io::Result<()> {
        self.session.close();
        self.send()
    }

    /// Asks the session for something. Where that is an error, the alert for it is sent, if that can be done.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Session) -> Result<T, TlsError>) -> io::Result<T> {
        ask(&mut self.session).map_err(|error| {
            let _ = self.send();
            to_io(error)
        })
    }

    /// Sends what there is to be sent and brings the session ciphertext.
    fn input(&mut self) -> io::Result<()> {
        self.send()?;
        let octets = loop {
            match self.stream.read(&mut self.chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if octets == 0 {
            return Err(to_io(self.session.truncated()));
        }
        self.session.receive(&self.chunk[..octets]).map_err(to_io)
    }

    fn send(&mut self) -> io::Result<()> {
        loop {
            match self.session.take_outgoing(&mut self.chunk) {
                0 => return self.stream.flush(),
                octets => self.stream.write_all(&self.chunk[..octets])?,
            }
        }
    }
}

impl<S> BlockingStream<S> {
    /// Who the other end is.
    pub fn peer(&self) -> Option<&Peer> {
        self.session.peer()
    }

    /// The stream below.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: Read + Write> Read for BlockingStream<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.ask(|session| session.read(out))? {
                session::Read::Octets(octets) => return Ok(octets),
                session::Read::End => return Ok(0),
                session::Read::NeedsInput => self.input()?,
                session::Read::NeedsOutput => self.send()?,
            }
        }
    }
}

impl<S: Read + Write> Write for BlockingStream<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match self.ask(|session| session.write(data))? {
                session::Write::Octets(octets) => {
                    self.send()?;
                    return Ok(octets);
                }
                session::Write::NeedsInput => self.input()?,
                session::Write::NeedsOutput => self.send()?,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl<S> fmt::Debug for BlockingStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingStream").field(&self.session).finish()
    }
}
