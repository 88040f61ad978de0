//! What a host proves by who it is: its key, its certificate, and the authority by which it knows the server, in one
//! file that its owner alone reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use privnet_crypto::Secret;
use privnet_model::HostName;
use privnet_tls::{Certificate, CertificateError, Connector, Identity, PrivateKey, SettingsError, Trust};

/// The identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The host has not joined.
    #[error(
        "this host has not joined: {} is missing. An operator invites it (privnet host invite NAME), which prints the command to run here",
        .0.display()
    )]
    Missing(PathBuf),
    /// It cannot be read, written or removed.
    #[error("cannot {doing} {}", file.display())]
    Io {
        /// `read`, `write` or `remove`.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else is in it.
    #[error("{} is not the identity of a host: put it back from a backup, or let the host join again", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CertificateError,
    },
    /// It is another host's.
    #[error("{} is the identity of host {found}, and this one is named {expected}", file.display())]
    OtherHost {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: HostName,
    },
}

/// A host that has joined.
#[derive(Debug, Clone)]
pub(crate) struct HostIdentity {
    identity: Identity,
    authority: Certificate,
    /// The digest of the token that it has joined with, in hexadecimal digits.
    joined_with: Option<String>,
}

/// What a line of the file begins with that tells the digest of the token.
const JOINED_WITH: &str = "joined-with: ";

impl HostIdentity {
    /// # Errors
    /// [`CertificateError::KeyMismatch`].
    pub(crate) fn new(
        key: PrivateKey,
        certificate: Certificate,
        authority: Certificate,
        joined_with: Option<String>,
    ) -> Result<Self, CertificateError> {
        Ok(Self { identity: Identity::new(vec![certificate], key)?, authority, joined_with })
    }

    /// Reads it; `None` where there is no file.
    ///
    /// # Errors
    /// [`IdentityError::Io`], [`IdentityError::Malformed`].
    pub(crate) fn read(file: &Path) -> Result<Option<Self>, IdentityError> {
        let Some(read) = read(file)? else { return Ok(None) };
        let unreadable = |source| IdentityError::Io { doing: "read", file: file.to_owned(), source };
        let text = read.text().map_err(unreadable)?;
        let parse = || {
            let key = PrivateKey::from_pem(text)?;
            let mut certificates = Certificate::all_from_pem(text)?.into_iter();
            let missing = || CertificateError::Missing("certificate of the authority");
            let own = certificates.next().ok_or_else(missing)?;
            let authority = certificates.next().ok_or_else(missing)?;
            let joined_with = text.lines().find_map(|line| line.strip_prefix(JOINED_WITH)).map(str::to_owned);
            Self::new(key, own, authority, joined_with)
        };
        parse().map(Some).map_err(|source| IdentityError::Malformed { file: file.to_owned(), source })
    }

    /// Reads that of this host.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub(crate) fn of(host: &HostName, file: &Path) -> Result<Self, IdentityError> {
        let identity = Self::read(file)?.ok_or_else(|| IdentityError::Missing(file.to_owned()))?;
        match identity.name() {
            name if name == host.as_str() => Ok(identity),
            found => {
                Err(IdentityError::OtherHost { file: file.to_owned(), found: found.to_owned(), expected: host.clone() })
            }
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub(crate) fn write(&self, file: &Path) -> Result<(), IdentityError> {
        let key = self.identity.key().to_pem();
        let key = key.map_err(|source| IdentityError::Malformed { file: file.to_owned(), source })?;
        let joined = self.joined_with.as_ref().map(|digest| format!("{JOINED_WITH}{digest}\n")).unwrap_or_default();
        let (own, authority) = (self.certificate().to_pem(), self.authority.to_pem());
        write_private(file, &Secret::of(&[joined.as_bytes(), key.as_bytes(), own.as_bytes(), authority.as_bytes()]))
    }

    /// The name in the certificate.
    pub(crate) fn name(&self) -> &str {
        self.certificate().common_name().unwrap_or_default()
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        self.identity.certificate()
    }

    /// Its authority's certificate.
    pub(crate) fn authority(&self) -> &Certificate {
        &self.authority
    }

    /// The digest of the token that it has joined with.
    pub(crate) fn joined_with(&self) -> Option<&str> {
        self.joined_with.as_deref()
    }

    /// The same host with its next certificate.
    ///
    /// # Errors
    /// [`CertificateError::KeyMismatch`].
    pub(crate) fn renewed(&self, key: PrivateKey, certificate: Certificate) -> Result<Self, CertificateError> {
        Self::new(key, certificate, self.authority.clone(), self.joined_with.clone())
    }

    /// What connects as this host, to servers that its authority knows.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub(crate) fn connector(&self) -> Result<Connector, SettingsError> {
        let trust = Trust::Authorities(vec![self.authority.clone()]);
        Connector::new(&trust, Some(&self.identity), &[privnet_sync::PROTOCOL])
    }

    /// How long until two thirds of its certificate's life are over; zero if they are.
    pub(crate) fn due_in(&self, now: SystemTime) -> Duration {
        let validity = self.certificate().validity();
        let lifetime = validity.not_after - validity.not_before;
        let due = UNIX_EPOCH + Duration::from_secs((validity.not_after - lifetime / 3).unsigned_abs());
        due.duration_since(now).unwrap_or_default()
    }

    /// How long its certificate is still good.
    pub(crate) fn expires_in(&self, now: SystemTime) -> Duration {
        let end = UNIX_EPOCH + Duration::from_secs(self.certificate().validity().not_after.unsigned_abs());
        end.duration_since(now).unwrap_or_default()
    }
}

/// Reads a file; `None` where there is none.
pub(crate) fn read(file: &Path) -> Result<Option<Secret>, IdentityError> {
    match File::open(file).and_then(Secret::read) {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Io { doing: "read", file: file.to_owned(), source }),
    }
}

/// Writes a file that its owner alone reads, whole or not at all.
pub(crate) fn write_private(file: &Path, content: &Secret) -> Result<(), IdentityError> {
    let write = || -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let new = with_suffix(file, "new");
        // What a crash has left may be somebody else's to read.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        written.write_all(content.as_bytes())?;
        written.sync_all()?;
        fs::rename(&new, file)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| IdentityError::Io { doing: "write", file: file.to_owned(), source })
}

/// Where the key of an identity waits for its certificate.
pub(crate) fn pending(identity_file: &Path) -> PathBuf {
    with_suffix(identity_file, "joining")
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", file.display()))
}

/// Removes a file; `false` where there is none.
pub(crate) fn remove(file: &Path) -> Result<bool, IdentityError> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(IdentityError::Io { doing: "remove", file: file.to_owned(), source }),
    }
}

/// Removes an identity, and the keys that joining or renewing may have left when it ended early; `false` where there
/// is none of all that.
pub(crate) fn remove_all(identity_file: &Path) -> Result<bool, IdentityError> {
    let mut found = false;
    for file in [identity_file.to_owned(), pending(identity_file)] {
        found |= remove(&with_suffix(&file, "new"))?;
        found |= remove(&file)?;
    }
    Ok(found)
}
