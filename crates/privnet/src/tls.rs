//! `https://` for the client of the API: whom it trusts, and TLS as a part of ureq's connections.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::PathBuf;

use anyhow::Context;
use privnet_server::SELF_SIGNED_FILE;
use privnet_tls::{BlockingStream, Certificate, Connector, ServerName, Trust};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::exit::Failure;
use crate::identity::is_here;
use crate::settings::Settings;

/// The one application protocol (RFC 7301 §6).
const HTTP: &str = "http/1.1";

/// The file with the authorities of the API at `url`, if they are other ones than the system's: the setting, else
/// what the server on this machine has made for itself.
///
/// # Errors
/// The setting is no path.
pub(crate) fn ca_file(settings: &Settings, url: &str) -> Result<Option<PathBuf>, Failure> {
    if !url.starts_with("https://") {
        return Ok(None);
    }
    let named: Option<PathBuf> = settings.parse("ca-file")?;
    let file = match named {
        None if is_here(url) => Some(settings.require::<PathBuf>("data")?.join(SELF_SIGNED_FILE)),
        named => return absolute(named),
    };
    // Whoever may not look into the folder has not started that server.
    absolute(file.filter(|file| file.exists()))
}

fn absolute(file: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    Ok(file.map(std::path::absolute).transpose().context("cannot tell the working directory")?)
}

/// Puts TLS on connections to `https://` URLs.
#[derive(Debug)]
pub(crate) struct TlsConnector(Connector);

impl TlsConnector {
    /// Trusts the certificate of the API at `url` as the settings say.
    ///
    /// # Errors
    /// The file of authorities cannot be read, or has none.
    pub(crate) fn of(settings: &Settings, url: &str) -> Result<Self, Failure> {
        let trust = match ca_file(settings, url)? {
            None => Trust::SystemRoots,
            Some(file) => {
                let text = match fs::read_to_string(&file) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return Err(settings.refuse("ca-file", "there is no such file"));
                    }
                    read => read.with_context(|| format!("cannot read {}", file.display()))?,
                };
                let all = Certificate::all_from_pem(&text).with_context(|| format!("cannot use {}", file.display()))?;
                match settings.get("ca-file").text {
                    Some(_) => Trust::Authorities(all),
                    // A server on this machine may as well have a certificate that everybody trusts.
                    None => Trust::SystemRootsAnd(all),
                }
            }
        };
        Ok(Self(Connector::new(&trust, None, &[HTTP]).context("cannot speak TLS")?))
    }
}

impl<In: Transport> ureq::unversioned::transport::Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let name: ServerName = host.parse().map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut adapter = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        adapter.set_timeout(details.timeout);
        let stream = BlockingStream::connect(&self.0, &name, adapter)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

/// One connection with TLS.
#[derive(Debug)]
pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: BlockingStream<TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let octets = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(octets);
        Ok(octets > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
