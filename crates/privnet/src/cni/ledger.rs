//! Which attachments are being made: a file each under /run, locked while its ADD lives and gone when that has
//! succeeded. One that is there and not locked is what an ADD has left that was killed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::config::Config;
use super::error::{CniError, Code};

const FOLDER: &str = "/run/privnet/cni";

/// How long an attachment's other command is waited for. A runtime gives one at a time, unless it has given up.
const WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The one command that is at work on an attachment.
#[derive(Debug)]
pub(super) struct Entry {
    path: PathBuf,
    /// Whether an earlier ADD was interrupted.
    pub(super) is_leftover: bool,
    _lock: Flock<File>,
}

impl Entry {
    /// Waits until no other command is at work on the attachment.
    pub(super) fn take(config: &Config, container: &str, device: &str) -> Result<Self, CniError> {
        let path = path(config, container, device);
        let doing = format!("lock {}", path.display());
        let started = Instant::now();
        loop {
            match Self::try_take(&path) {
                Ok(Some(entry)) => return Ok(entry),
                Ok(None) if started.elapsed() < WAIT => std::thread::sleep(PAUSE),
                Ok(None) => {
                    return Err(CniError::say(Code::TryAgainLater, "another command is at work on this attachment"));
                }
                Err(error) => return Err(CniError::new(Code::Failed, format_args!("cannot {doing}"), error)),
            }
        }
    }

    /// `None`: another command has it.
    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let is_leftover = path.exists();
        fs::create_dir_all(FOLDER)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        // The one who had it before may have removed it meanwhile.
        match fs::metadata(path) {
            Ok(found) if found.ino() == lock.metadata()?.ino() => {
                Ok(Some(Self { path: path.to_owned(), is_leftover, _lock: lock }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The attachment is whole, or there is none.
    pub(super) fn close(self) -> Result<(), CniError> {
        let removed = fs::remove_file(&self.path);
        removed
            .map_err(|error| CniError::new(Code::Failed, format_args!("cannot remove {}", self.path.display()), error))
    }
}

/// Whether a command is at work on an attachment now.
pub(super) fn is_busy(config: &Config, container: &str, device: &str) -> bool {
    let Ok(file) = File::open(path(config, container, device)) else { return false };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

fn path(config: &Config, container: &str, device: &str) -> PathBuf {
    // None of the names has a slash.
    Path::new(FOLDER).join(format!("{}@{container}@{device}", config.name))
}

/// An interrupted ADD has left nothing any more.
pub(super) fn forget(config: &Config, container: &str, device: &str) {
    // The next command on the attachment, if there is one, does the same.
    let _ = fs::remove_file(path(config, container, device));
}
