//! That a lab exists, told to other processes: a folder under /run with a lock that its process holds.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

/// Where labs are registered.
pub(crate) const REGISTRY: &str = "/run/privnet-lab";

/// A lab's registration, held by the lab's process.
#[derive(Debug)]
pub(crate) struct Registration {
    /// Six hexadecimal digits, unique among the labs there are.
    pub(crate) id: String,
    /// For what must be found by everybody: the lock, the server's socket.
    pub(crate) run_dir: PathBuf,
    /// For what lies on disk.
    pub(crate) data_dir: PathBuf,
    _lock: Flock<File>,
}

impl Registration {
    /// Registers a new lab and makes its folders.
    pub(crate) fn new() -> Result<Self> {
        fs::create_dir_all(REGISTRY).with_context(|| format!("cannot make {REGISTRY}; labs need root"))?;
        let _exclusive = lock_registry()?;
        let (id, run_dir) = new_run_dir()?;
        let lock = open_lock(&run_dir)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let data_dir = std::env::temp_dir().join(format!("pnlab-{id}"));
        fs::write(run_dir.join("data-dir"), data_dir.as_os_str().as_encoded_bytes())?;
        fs::create_dir(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
        Ok(Self { id, run_dir, data_dir, _lock: lock })
    }
}

/// Held while labs are registered and while leftovers are looked for, so that a lab that is just
/// about to take its lock is not taken for a leftover.
pub(crate) fn lock_registry() -> Result<Flock<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(format!("{REGISTRY}/.lock"))?;
    Ok(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?)
}

/// The lock that the process of the lab with this folder holds.
pub(crate) fn open_lock(run_dir: &Path) -> Result<File> {
    let path = run_dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// Whether the process of a lab is still there.
pub(crate) fn is_alive(id: &str) -> bool {
    let path = Path::new(REGISTRY).join(id).join("lock");
    match File::open(path) {
        Ok(file) => Flock::lock(file, FlockArg::LockSharedNonblock).is_err(),
        Err(_) => false,
    }
}

fn new_run_dir() -> Result<(String, PathBuf)> {
    loop {
        let mut random = [0; 3];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        // The id is the end of the server's loopback address as well, and 127.0.0.0/16 is other people's.
        random[0] = random[0] & 0x7f | 1;
        let id = random.map(|octet| format!("{octet:02x}")).concat();
        let run_dir = Path::new(REGISTRY).join(&id);
        match fs::create_dir(&run_dir) {
            Ok(()) => return Ok((id, run_dir)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", run_dir.display())),
        }
    }
}
