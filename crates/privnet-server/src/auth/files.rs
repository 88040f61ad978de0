//! The two files about keys in the data folder: the master key, and the first keys with their secrets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privnet_api::{Credentials, FirstCredentials};
use privnet_crypto::{CryptoError, OpenError, SEALING_KEY_OCTETS, SealingKey, Secret};
use privnet_model::zone::Zone;
use privnet_model::{Key, Name, OrganizationId, Role, Scope, Timestamp};

use super::{KeyRing, NewSecret};

/// The master key: the octets of a [`SealingKey`] in Base64. Beside the database and not in it, so that a copy
/// of the database has no secrets that anybody could read.
const MASTER_KEY_FILE: &str = "master.key";

/// Why the files about keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Without it no secret can be read again.
    #[error(
        "{} is missing, and the secrets of {keys} keys are encrypted with what was in it: put it back from a backup. If there is none, the secrets are lost: delete the keys (sqlite3 {} 'DELETE FROM keys'), and the next start makes first ones again",
        file.display(), file.with_file_name("privnet.db").display()
    )]
    MasterKeyMissing {
        /// Where it should be.
        file: PathBuf,
        /// How many keys there are.
        keys: usize,
    },
    /// Something else is in the file.
    #[error("{} does not have {SEALING_KEY_OCTETS} octets in Base64: put it back from a backup", .0.display())]
    MasterKeyMalformed(PathBuf),
    /// With it and the database, others have every secret.
    #[error(
        "{} can be read by others than its owner (mode {mode:04o}), and with it the secret of every key: chmod 600 it. Where somebody may have read it, make new keys and revoke the old ones",
        file.display()
    )]
    MasterKeyNotPrivate {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is of another database.
    #[error(
        "{} is not what the secrets in the database are encrypted with: put both back from the same backup",
        file.display()
    )]
    MasterKeyWrong {
        /// The file.
        file: PathBuf,
        /// What opening said.
        #[source]
        source: OpenError,
    },
    /// The file system refuses.
    #[error("cannot {doing} {}", file.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing can be encrypted.
    #[error("cannot make keys")]
    Crypto(#[from] CryptoError),
}

/// Opens the secrets of a zone with the master key in this folder, which is made where nothing is encrypted yet.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn unlock(dir: &Path, zone: &Zone) -> Result<KeyRing, KeyFileError> {
    let file = dir.join(MASTER_KEY_FILE);
    let master = match read(&file)? {
        Some(Found { mode, .. }) if mode & 0o077 != 0 => return Err(KeyFileError::MasterKeyNotPrivate { file, mode }),
        Some(Found { text, .. }) => {
            decode(&text).and_then(SealingKey::new).ok_or_else(|| KeyFileError::MasterKeyMalformed(file.clone()))?
        }
        None if zone.keys().len() > 0 => {
            return Err(KeyFileError::MasterKeyMissing { file, keys: zone.keys().len() });
        }
        None => {
            let octets = Secret::of(&[&privnet_crypto::random::<SEALING_KEY_OCTETS>()?]);
            write(&file, encode(&octets).as_bytes())?;
            SealingKey::new(octets).expect("as many octets as it has")
        }
    };
    KeyRing::new(master, zone).map_err(|source| KeyFileError::MasterKeyWrong { file, source })
}

/// Makes the keys of a zone that has none, an operator's and an admin's, and writes them down for who has this
/// folder. Returns them, and the file.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn first_keys(dir: &Path, keys: &KeyRing, now: Timestamp) -> Result<([Key; 2], PathBuf), KeyFileError> {
    let admin = Scope::Organization(OrganizationId::DEFAULT, Role::Admin);
    let (operators, operator) = new_key(keys, "first operator", Scope::Operator, now)?;
    let (admins, default) = new_key(keys, "first admin", admin, now)?;
    let file = dir.join(FirstCredentials::FILE);
    let json = serde_json::to_string_pretty(&FirstCredentials { operator, default }).expect("texts alone");
    write(&file, (json + "\n").as_bytes())?;
    Ok(([operators, admins], file))
}

fn new_key(keys: &KeyRing, name: &str, scope: Scope, now: Timestamp) -> Result<(Key, Credentials), CryptoError> {
    let NewSecret { id, secret, sealed_secret } = keys.new_secret()?;
    let key = Key {
        id,
        name: Name::try_from(name).expect("short enough"),
        scope,
        sealed_secret,
        created_at: now,
        expires_at: None,
    };
    Ok((key, Credentials { key: id.to_string(), secret }))
}

/// In Base64, on a line.
fn encode(octets: &Secret) -> Secret {
    let chars = base64::encoded_len(octets.as_bytes().len(), true).expect("few");
    let mut text = Secret::filled(chars, |text| BASE64_STANDARD.encode_slice(octets.as_bytes(), text)).expect("room");
    text.push(b"\n");
    text
}

fn decode(text: &Secret) -> Option<Secret> {
    let text = text.as_bytes().trim_ascii();
    Secret::filled(base64::decoded_len_estimate(text.len()), |octets| BASE64_STANDARD.decode_slice(text, octets)).ok()
}

pub(super) struct Found {
    pub(super) text: Secret,
    /// Who may do what with it.
    mode: u32,
}

pub(super) fn read(file: &Path) -> Result<Option<Found>, KeyFileError> {
    let read = || -> io::Result<Found> {
        let opened = File::open(file)?;
        let mode = opened.metadata()?.permissions().mode() & 0o7777;
        Ok(Found { text: Secret::read(opened)?, mode })
    };
    match read() {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyFileError::Io { doing: "read", file: file.to_owned(), source }),
    }
}

/// Writes a file that only its owner reads, whole or not at all.
pub(crate) fn write(file: &Path, text: &[u8]) -> Result<(), KeyFileError> {
    write_with_mode(file, text, 0o600)
}

/// Writes a file that everybody may read, whole or not at all.
pub(super) fn write_public(file: &Path, text: &[u8]) -> Result<(), KeyFileError> {
    write_with_mode(file, text, 0o644)
}

fn write_with_mode(file: &Path, text: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let write = || {
        let new = PathBuf::from(format!("{}.new", file.display()));
        // What a crash has left may be somebody else's to read.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        written.write_all(text)?;
        written.sync_all()?;
        fs::rename(&new, file)?;
        File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| KeyFileError::Io { doing: "write", file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privnet_model::SealedSecret;
    use privnet_model::zone::{Change, Row};

    use super::*;
    use crate::watching::left_behind;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    /// A zone with its first keys, of this folder.
    fn founded(dir: &Path) -> Zone {
        let mut zone = privnet_model::testing::founded();
        let keys = unlock(dir, &zone).expect("made");
        let (first, _) = first_keys(dir, &keys, Timestamp::from_unix_ms(0)).expect("made");
        first.into_iter().for_each(|key| zone.apply(&Change::Key(Row::insert(key))));
        zone
    }

    fn refusal(dir: &Path, zone: &Zone) -> String {
        unlock(dir, zone).map(drop).expect_err("refused").to_string()
    }

    #[test]
    fn only_the_owner_reads_them() {
        let dir = folder();
        // As a crash may leave it.
        fs::write(dir.path().join("credentials.json.new"), "x").expect("written");
        founded(dir.path());
        for file in ["master.key", "credentials.json"] {
            let mode = fs::metadata(dir.path().join(file)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn what_was_written_is_what_the_keys_sign_with() {
        let dir = folder();
        let zone = founded(dir.path());
        let keys = unlock(dir.path(), &zone).expect("unlocked again");
        let json = fs::read(dir.path().join("credentials.json")).expect("there");
        let FirstCredentials { operator, default } = serde_json::from_slice(&json).expect("credentials");
        for (credentials, scope) in
            [(operator, Scope::Operator), (default, Scope::Organization(OrganizationId::DEFAULT, Role::Admin))]
        {
            let key = zone.key(credentials.key.parse().expect("an id")).expect("a key");
            assert_eq!((key.scope, credentials.secret.len()), (scope, 43));
            let own = privnet_crypto::SigningKey::new(credentials.secret.as_bytes()).expect("a key");
            let opened = keys.signing_key(Some(key), &zone).expect("opened");
            assert_eq!(opened.sign(&[b"x"]).expect("signed"), own.sign(&[b"x"]).expect("signed"));
        }
    }

    #[test]
    fn nothing_of_the_master_key_s_file_is_left_in_memory() {
        let dir = folder();
        let zone = founded(dir.path());
        let text = fs::read(dir.path().join("master.key")).expect("readable");
        assert_eq!(left_behind(&text[..16], || drop(unlock(dir.path(), &zone).expect("unlocked"))), 0);
    }

    #[test]
    fn a_missing_master_key_is_not_replaced() {
        let dir = folder();
        let zone = founded(dir.path());
        let file = dir.path().join("master.key");
        fs::remove_file(&file).expect("removed");
        let refusal = refusal(dir.path(), &zone);
        assert!(refusal.starts_with(&format!("{} is missing, and the secrets of 2 keys", file.display())), "{refusal}");
        assert!(refusal.contains("put it back from a backup"), "{refusal}");
        assert!(!file.exists());
    }

    #[test]
    fn a_master_key_that_others_read_is_refused() {
        let dir = folder();
        let zone = founded(dir.path());
        let file = dir.path().join("master.key");
        for (mode, is_refused) in [(0o640, true), (0o604, true), (0o400, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("set");
            let refusal = unlock(dir.path(), &zone).map(drop).err().map(|error| error.to_string());
            let expected =
                format!("{} can be read by others than its owner (mode {mode:04o}), and with it", file.display());
            assert_eq!(refusal.is_some(), is_refused, "{mode:o}");
            assert!(refusal.is_none_or(|refusal| refusal.starts_with(&expected)), "{mode:o}");
        }
    }

    #[test]
    fn another_database_s_master_key_is_refused() {
        let (dir, other) = (folder(), folder());
        let zone = founded(dir.path());
        founded(other.path());
        let file = dir.path().join("master.key");
        fs::copy(other.path().join("master.key"), &file).expect("copied");
        let expected = "is not what the secrets in the database are encrypted with: put both back from the same backup";
        assert_eq!(refusal(dir.path(), &zone), format!("{} {expected}", file.display()));
    }

    #[test]
    fn a_master_key_that_is_none_is_refused() {
        let dir = folder();
        let zone = founded(dir.path());
        for text in ["", "x", &"A".repeat(42)] {
            fs::write(dir.path().join("master.key"), text).expect("written");
            assert!(refusal(dir.path(), &zone).contains("does not have 32 octets in Base64"), "{text}");
        }
    }

    #[test]
    fn one_damaged_secret_leaves_the_other_keys_good() {
        let dir = folder();
        let mut zone = founded(dir.path());
        let [one, other] = [0, 1].map(|at| zone.keys().nth(at).cloned().expect("two keys"));
        let before = unlock(dir.path(), &zone).expect("unlocked");
        // In another key's record a secret does not open.
        let moved = Arc::new(Key { sealed_secret: one.sealed_secret.clone(), ..Key::clone(&other) });
        zone.apply(&Change::Key(Row { before: Some(Arc::clone(&other)), after: Some(Arc::clone(&moved)) }));
        let keys = unlock(dir.path(), &zone).expect("unlocked");
        let sign = |keys: &KeyRing, key: Option<&Key>| {
            keys.signing_key(key, &zone).expect("opened").sign(&[b"x"]).expect("signed")
        };
        assert_eq!(sign(&keys, Some(&one)), sign(&before, Some(&one)));
        assert_eq!(sign(&keys, Some(&moved)), sign(&keys, None), "what nobody has");
    }

    #[test]
    fn secrets_none_of_which_opens_are_refused() {
        let dir = folder();
        let mut zone = founded(dir.path());
        for key in zone.keys().cloned().collect::<Vec<_>>() {
            let damaged = Key { sealed_secret: SealedSecret::new(vec![0; 60]), ..Key::clone(&key) };
            zone.apply(&Change::Key(Row { before: Some(key), after: Some(damaged.into()) }));
        }
        assert!(refusal(dir.path(), &zone).contains("is not what the secrets"));
    }
}
