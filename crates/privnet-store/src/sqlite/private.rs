//! The database's files are their owner's alone, whoever else may enter the folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::beside;

/// Read and written by the owner.
pub(super) const MODE: u32 = 0o600;

/// What others may do.
const OF_OTHERS: u32 = 0o077;

/// Makes an empty database where there is none, since SQLite would let others read a new one, and takes from others
/// what they may do with an older one. SQLite gives new files beside the database the database's mode.
pub(super) fn make(database: &Path) -> io::Result<()> {
    match File::options().create_new(true).write(true).mode(MODE).open(database) {
        // Opening one that is there and closing it again would release the locks that this process has on it.
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
        _ => {}
    }
    ["", "-lock", "-wal", "-shm"].iter().try_for_each(|suffix| tighten(&beside(database, suffix)))
}

fn tighten(file: &Path) -> io::Result<()> {
    match fs::metadata(file) {
        Ok(found) if found.permissions().mode() & OF_OTHERS != 0 => {
            fs::set_permissions(file, Permissions::from_mode(MODE))
        }
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
}
