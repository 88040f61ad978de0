//! The server's own certificate authority, by which hosts know the server and the server knows its hosts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privnet_crypto::{CryptoError, OpenError};
use privnet_model::zone::Zone;
use privnet_model::{Fingerprint, HostCertificate, HostName, Timestamp};
use privnet_sync::{PROTOCOL, SERVER_NAME};
use privnet_tls::{
    Acceptor, AltName, Authority, Certificate, CertificateError, ClientCertificates, Identity, PrivateKey,
    SERIAL_OCTETS, SettingsError, SigningRequest, Subject, Use, Validity,
};
use serde::{Deserialize, Serialize};

use super::KeyRing;
use super::files::{self, KeyFileError};

/// The authority: its certificate, and its key, encrypted as the secrets of API keys are.
const AUTHORITY_FILE: &str = "authority.json";
/// Its certificate alone, for people. It is not read.
const CERTIFICATE_FILE: &str = "authority.pem";

/// What the certificate is called.
const COMMON_NAME: &str = "privnet hosts";
/// Holds the encrypted key to its place.
const PURPOSE: &[u8] = b"key of the hosts' authority";

/// For how long the authority is good: longer than the machines that know it. A host that outlives it joins again.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(30 * 365 * 86_400);

/// How long before its making a certificate begins: for hosts whose clocks are behind.
const BACKDATED_BY_MAX: Duration = Duration::from_secs(3600);
/// The part of its life by which that is less for a certificate that is made for tests.
const BACKDATED_BY_PART: u32 = 10;

/// Why the authority cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Without it no host knows the server.
    #[error(
        "{} is missing, and {hosts} hosts have certificates of the authority that was in it: put it back from a backup. If there is none, delete their certificates (sqlite3 {} 'UPDATE hosts SET certificate = NULL, certificate_expires_at_ms = NULL, next_certificate = NULL, next_certificate_expires_at_ms = NULL'), and have each host join again (privnet host invite NAME --rejoin)",
        file.display(), file.with_file_name("privnet.db").display()
    )]
    Missing {
        /// Where it should be.
        file: PathBuf,
        /// How many hosts have joined.
        hosts: usize,
    },
    /// Something else is in the file.
    #[error("{} is not the file of an authority: put it back from a backup", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is of another master key.
    #[error("the key in {} is not encrypted with the master key beside it: put both back from the same backup", file.display())]
    OtherMaster {
        /// The file.
        file: PathBuf,
        /// What opening said.
        #[source]
        source: OpenError,
    },
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Nothing can be made or encrypted.
    #[error("cannot make certificates")]
    Crypto(#[from] CryptoError),
    /// No certificate can be made.
    #[error("cannot make certificates")]
    Certificate(#[from] CertificateError),
    /// Nothing can be served with what was made.
    #[error("cannot serve hosts by TLS")]
    Settings(#[from] SettingsError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AuthorityFile {
    certificate: String,
    sealed_key: String,
}

/// Whose signature makes the certificates of hosts, and of the server to them.
pub(crate) struct HostAuthority {
    authority: Authority,
    /// For how long its certificates are good.
    lifetime: Duration,
}

/// The certificate that a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownCertificate {
    pub(crate) host: HostName,
    pub(crate) fingerprint: Fingerprint,
}

impl ShownCertificate {
    /// What a certificate says that the authority has signed; `None` where it is none of a host.
    pub(crate) fn of(certificate: &Certificate) -> Option<Self> {
        let host = HostName::try_from(certificate.common_name()?).ok()?;
        Some(Self { host, fingerprint: fingerprint(certificate) })
    }
}

impl HostAuthority {
    /// The authority in this folder, which is made where no host has a certificate yet.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn open(
        dir: &Path,
        keys: &KeyRing,
        zone: &Zone,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let file = dir.join(AUTHORITY_FILE);
        let authority = match files::read(&file)? {
            Some(found) => open(&file, found.text.as_bytes(), keys)?,
            None => {
                let hosts = zone.hosts().filter(|host| host.certificates.current.is_some()).count();
                if hosts > 0 {
                    return Err(AuthorityError::Missing { file, hosts });
                }
                create(&file, keys, now)?
            }
        };
        files::write_public(&dir.join(CERTIFICATE_FILE), authority.certificate().to_pem().as_bytes())?;
        Ok(Self { authority, lifetime })
    }

    /// Its certificate, which a host that has joined knows the server by.
    pub(crate) fn certificate(&self) -> &Certificate {
        self.authority.certificate()
    }

    /// For how long the certificates that it makes are good.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Makes a certificate for a host.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`], [`AuthorityError::Crypto`].
    pub(crate) fn certify(
        &self,
        host: &HostName,
        request: &SigningRequest,
        now: Timestamp,
    ) -> Result<(Certificate, HostCertificate), AuthorityError> {
        let certificate = self.sign(request, host.as_str(), &[], Use::Client, now)?;
        let expires_at = Timestamp::from_unix_ms(certificate.validity().not_after.unsigned_abs() * 1000);
        let record = HostCertificate { fingerprint: fingerprint(&certificate), expires_at };
        Ok((certificate, record))
    }

    /// What serves hosts from now on, with a certificate made now, and from when to when that is good: for as long as
    /// those of hosts.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn acceptor(&self, now: Timestamp) -> Result<(Acceptor, Validity), AuthorityError> {
        let key = PrivateKey::generate()?;
        let names = [AltName::Dns(SERVER_NAME.to_owned())];
        let own = self.sign(&SigningRequest::new(&key, SERVER_NAME)?, SERVER_NAME, &names, Use::Server, now)?;
        let validity = own.validity();
        // The authority is shown, too: a host that joins knows its fingerprint alone.
        let identity = Identity::new(vec![own, self.certificate().clone()], key)?;
        let hosts = ClientCertificates::Optional(vec![self.certificate().clone()]);
        Ok((Acceptor::new(&identity, &hosts, &[PROTOCOL])?, validity))
    }

    fn sign(
        &self,
        request: &SigningRequest,
        common_name: &str,
        names: &[AltName],
        uses: Use,
        now: Timestamp,
    ) -> Result<Certificate, AuthorityError> {
        let backdated_by = BACKDATED_BY_MAX.min(self.lifetime / BACKDATED_BY_PART);
        let validity = validity(now, backdated_by, self.lifetime);
        let subject = Subject { serial: serial()?, common_name, names, uses, validity };
        Ok(self.authority.sign(request, &subject)?)
    }
}

fn create(file: &Path, keys: &KeyRing, now: Timestamp) -> Result<Authority, AuthorityError> {
    let authority = Authority::create(COMMON_NAME, serial()?, validity(now, BACKDATED_BY_MAX, AUTHORITY_LIFETIME))?;
    let key = authority.key().to_pem()?;
    let written = AuthorityFile {
        certificate: authority.certificate().to_pem(),
        sealed_key: BASE64_STANDARD.encode(keys.master().seal(key.as_bytes(), PURPOSE)?),
    };
    let json = serde_json::to_string_pretty(&written).expect("texts alone");
    files::write(file, (json + "\n").as_bytes())?;
    Ok(authority)
}

fn open(file: &Path, text: &[u8], keys: &KeyRing) -> Result<Authority, AuthorityError> {
    let malformed =
        |source: Box<dyn std::error::Error + Send + Sync>| AuthorityError::Malformed { file: file.to_owned(), source };
    let read: AuthorityFile = serde_json::from_slice(text).map_err(|error| malformed(error.into()))?;
    let sealed = BASE64_STANDARD.decode(&read.sealed_key).map_err(|error| malformed(error.into()))?;
    let key = keys
        .master()
        .open(&sealed, PURPOSE)
        .map_err(|source| AuthorityError::OtherMaster { file: file.to_owned(), source })?;
    let key = key.text().map_err(|error| malformed(error.into()))?;
    Authority::from_pem(&read.certificate, key).map_err(|error| malformed(error.into()))
}

/// From a while before to a while after, in whole seconds: at its last one a certificate has expired already
/// (X509_cmp_time(3)), so that one that is made for a second would be good for less.
fn validity(now: Timestamp, before: Duration, after: Duration) -> Validity {
    let seconds = |unix_ms: u64| i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    let before_ms = u64::try_from(before.as_millis()).unwrap_or(u64::MAX);
    Validity {
        not_before: seconds(now.unix_ms.saturating_sub(before_ms)),
        not_after: seconds(now.plus(after).unix_ms.saturating_add(999)),
    }
}

fn serial() -> Result<[u8; SERIAL_OCTETS], CryptoError> {
    privnet_crypto::random()
}

fn fingerprint(certificate: &Certificate) -> Fingerprint {
    Fingerprint::from_bytes(*certificate.fingerprint().octets())
}
