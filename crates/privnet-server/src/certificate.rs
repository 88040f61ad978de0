//! The certificate that the API is served with: an operator's, from files that are read again when told so, or one
//! that is made here and signs itself.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use privnet_crypto::{CryptoError, Secret};
use privnet_tls::{
    Acceptor, AltName, Certificate, CertificateError, ClientCertificates, Fingerprint, Identity, PrivateKey,
    SettingsError, Subject, Use, Validity, self_signed,
};
use tracing::{error, info, warn};

use crate::auth::{KeyFileError, host_of, write_private};
use crate::engine::now;

/// The self-signed certificate, in the data folder: for clients to trust.
pub const SELF_SIGNED_FILE: &str = "tls-self-signed.pem";
/// Its key, beside it.
const SELF_SIGNED_KEY_FILE: &str = "tls-self-signed.key";

/// For how long a self-signed certificate is good. Whoever trusts it has to be told of the next one.
const SELF_SIGNED_SECONDS: i64 = 10 * 365 * 24 * 3600;
/// How many names it has at most, the latest first.
const SELF_SIGNED_NAMES_MAX: usize = 32;
/// How far the clocks of clients may be behind when it is made.
const CLOCK_SECONDS: i64 = 24 * 3600;

/// The one application protocol (RFC 7301 §6).
const HTTP: &str = "http/1.1";

/// How the API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// By plain HTTP: on loopback addresses, on others only where that is allowed, since something in front of
    /// it encrypts.
    None {
        /// Whether other addresses than loopback are allowed.
        anywhere: bool,
    },
    /// By TLS, as these files say, in PEM: a certificate with those above it, and its key.
    Files {
        /// The certificates.
        certificate: PathBuf,
        /// The key of the first.
        key: PathBuf,
    },
    /// By TLS, with a certificate that is made at the first start, kept in the data folder, and signs itself. It is made
    /// anew where it does not have the listen address or the public URL's host.
    SelfSigned,
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum ServedCertificateError {
    /// A file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in the files is no certificate with its key.
    #[error("cannot use the certificate {} with the key {}", certificate.display(), key.display())]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// The library takes it for no server's.
    #[error("cannot serve TLS with the certificate {}", certificate.display())]
    Refused {
        /// The file of the certificate.
        certificate: PathBuf,
        /// Why.
        #[source]
        source: SettingsError,
    },
    /// No certificate can be made.
    #[error("cannot make a self-signed certificate")]
    Make(#[source] CertificateError),
    /// There are no random octets for its number.
    #[error("cannot make a self-signed certificate")]
    Random(#[from] CryptoError),
    /// What was made cannot be kept.
    #[error("cannot keep the self-signed certificate")]
    Keep(#[source] KeyFileError),
}

/// The certificate with which the API is served. Clones are the same one.
#[derive(Debug, Clone)]
pub struct ServedCertificate {
    acceptor: Acceptor,
    certificate: PathBuf,
    key: PathBuf,
    fingerprint: Fingerprint,
}

impl ServedCertificate {
    /// What `encryption` says; `None` if that is plain HTTP. `listen` and `public_url` are what a self-signed one is
    /// made for.
    pub(crate) fn of(
        encryption: &Encryption,
        data_dir: &Path,
        listen: SocketAddr,
        public_url: Option<&str>,
    ) -> Result<Option<Self>, ServedCertificateError> {
        match encryption {
            Encryption::None { .. } => Ok(None),
            Encryption::Files { certificate, key } => Self::load(certificate.clone(), key.clone()).map(Some),
            Encryption::SelfSigned => {
                let (certificate, key) = (data_dir.join(SELF_SIGNED_FILE), data_dir.join(SELF_SIGNED_KEY_FILE));
                keep_self_signed(&certificate, &key, &Names::of(listen, public_url))?;
                Self::load(certificate, key).map(Some)
            }
        }
    }

    fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, ServedCertificateError> {
        let (acceptor, own) = read(&certificate, &key)?;
        Ok(Self { acceptor, fingerprint: own.fingerprint(), certificate, key })
    }

    /// Reads the files again: connections from now on are served with what is in them. If that is no good, the log
    /// says so, and all stays as it is.
    ///
    /// # Errors
    /// [`ServedCertificateError`], which the log has.
    pub fn reload(&self) -> Result<(), ServedCertificateError> {
        match read(&self.certificate, &self.key) {
            Ok((newer, _)) => {
                self.acceptor.replace(&newer);
                Ok(())
            }
            Err(cause) => {
                let why = std::error::Error::source(&cause).map(ToString::to_string);
                error!(%cause, why, "the certificate of the API stays what it was");
                Err(cause)
            }
        }
    }

    /// Of the certificate that was there at the start.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }
}

/// Reads both files, and says what somebody should know about them.
fn read(certificate: &Path, key: &Path) -> Result<(Acceptor, Certificate), ServedCertificateError> {
    let certificates = read_file(certificate)?.0;
    let (secret, mode) = read_file(key)?;
    if mode & 0o007 != 0 {
        warn!(file = %key.display(), mode = format_args!("{mode:04o}"), "everybody on this machine can read the private key of the API: chmod 600 it");
    }
    let identity = Identity::from_pem(text_of(&certificates, certificate)?, text_of(&secret, key)?);
    let identity = identity.map_err(|source| ServedCertificateError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })?;
    let refused = |source| ServedCertificateError::Refused { certificate: certificate.to_owned(), source };
    let acceptor = Acceptor::new(&identity, &ClientCertificates::None, &[HTTP]).map_err(refused)?;
    let own = identity.certificate();
    let names = own.names().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    info!(file = %certificate.display(), names, fingerprint = %own.fingerprint(), "the API is served with this certificate");
    if own.validity().not_after < unix_seconds() {
        warn!(file = %certificate.display(), "the certificate of the API has expired: clients refuse it");
    }
    Ok((acceptor, own.clone()))
}

/// What is in a file, and who may do what with it.
fn read_file(file: &Path) -> Result<(Secret, u32), ServedCertificateError> {
    let read = || {
        let opened = File::open(file)?;
        let mode = opened.metadata()?.permissions().mode() & 0o7777;
        Ok((Secret::read(opened)?, mode))
    };
    read().map_err(|source| ServedCertificateError::Read { file: file.to_owned(), source })
}

fn text_of<'a>(read: &'a Secret, file: &Path) -> Result<&'a str, ServedCertificateError> {
    read.text().map_err(|source| ServedCertificateError::Read { file: file.to_owned(), source })
}

/// Makes a self-signed certificate where there is none that is good for what the operator has said.
///
/// One that lacks a name of those is made anew. Whoever trusts the one before by a copy of it needs the new file, but
/// whoever comes by the new name is refused until there is one, and who has said the name sees the log of this start.
/// It keeps the names of the one before, so that nobody who has the file needs another name, and going back and forth
/// between two settings changes it once. The machine's own name alone is no reason: a network may give it another one
/// at any start, which nobody has asked for.
fn keep_self_signed(certificate: &Path, key: &Path, names: &Names) -> Result<(), ServedCertificateError> {
    let there = fs::read_to_string(certificate).ok().and_then(|text| Certificate::all_from_pem(&text).ok());
    let there = there.and_then(|all| all.into_iter().next());
    let file = certificate.display();
    let of_before = match &there {
        None => &[],
        Some(own) if own.validity().not_after <= unix_seconds() => &[],
        Some(own) => own.names(),
    };
    let missing = names.missing_in(of_before);
    if !of_before.is_empty() && !is_of_another_key(certificate, key) {
        if missing.iter().all(|name| !names.said.contains(name)) {
            for name in missing {
                info!(%name, %file, "the self-signed certificate does not have this machine's name: remove the file to have one made that does, and give clients that");
            }
            return Ok(());
        }
        let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        warn!(%file, names, "the self-signed certificate is made anew, since it does not have these names: give the file to all clients that trust the one before");
    }
    let mut names: Vec<_> = names.all().chain(of_before).cloned().collect();
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names.truncate(SELF_SIGNED_NAMES_MAX);
    make_self_signed(certificate, key, &names)?;
    info!(%file, "a self-signed certificate is made for the API: give clients this file to trust");
    Ok(())
}

fn make_self_signed(certificate: &Path, key: &Path, names: &[AltName]) -> Result<(), ServedCertificateError> {
    let fresh = PrivateKey::generate().map_err(ServedCertificateError::Make)?;
    let begin = unix_seconds() - CLOCK_SECONDS;
    let subject = Subject {
        serial: privnet_crypto::random()?,
        common_name: "privnet",
        names,
        uses: Use::Server,
        validity: Validity { not_before: begin, not_after: begin + SELF_SIGNED_SECONDS },
    };
    let own = self_signed(&fresh, &subject).map_err(ServedCertificateError::Make)?;
    let secret = fresh.to_pem().map_err(ServedCertificateError::Make)?;
    // The certificate comes last: where it is the first, its key is there.
    write_private(key, secret.as_bytes()).map_err(ServedCertificateError::Keep)?;
    write_private(certificate, own.to_pem().as_bytes()).map_err(ServedCertificateError::Keep)
}

/// Whether making them anew was cut short between the two.
fn is_of_another_key(certificate: &Path, key: &Path) -> bool {
    let identity = || {
        let (own, secret) = (read_file(certificate)?.0, read_file(key)?.0);
        Ok::<_, ServedCertificateError>(Identity::from_pem(text_of(&own, certificate)?, text_of(&secret, key)?))
    };
    matches!(identity(), Ok(Err(CertificateError::KeyMismatch)))
}

/// What a server may be called by its clients.
struct Names {
    /// As its operator says.
    said: Vec<AltName>,
    /// On this machine, and what that is called.
    found: Vec<AltName>,
}

impl Names {
    fn of(listen: SocketAddr, public_url: Option<&str>) -> Self {
        const KERNEL_HOST_NAME: &str = "/proc/sys/kernel/hostname";
        let host_name = fs::read_to_string(KERNEL_HOST_NAME).ok().and_then(|name| name_of(name.trim()));
        let public_name = public_url.and_then(host_of).and_then(|host| name_of(&host));
        let own_address = Some(listen.ip()).filter(|address| !address.is_unspecified());
        let on_this_machine = [
            AltName::Dns("localhost".into()),
            AltName::Ip(Ipv4Addr::LOCALHOST.into()),
            AltName::Ip(Ipv6Addr::LOCALHOST.into()),
        ];
        Self {
            said: own_address.map(AltName::Ip).into_iter().chain(public_name).collect(),
            found: on_this_machine.into_iter().chain(host_name).collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &AltName> {
        self.said.iter().chain(&self.found)
    }

    fn missing_in(&self, names: &[AltName]) -> Vec<&AltName> {
        self.all().filter(|name| !names.contains(name)).collect()
    }
}

/// A host as a name for a certificate, if it can be one.
fn name_of(host: &str) -> Option<AltName> {
    match host.parse().ok()? {
        privnet_tls::ServerName::Dns(name) => Some(AltName::Dns(name.as_str().to_ascii_lowercase())),
        privnet_tls::ServerName::Ip(address) => Some(AltName::Ip(IpAddr::to_canonical(&address))),
    }
}

fn unix_seconds() -> i64 {
    i64::try_from(now().unix_ms / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
