//! How fast the disk makes small writes durable, when nothing else is in the way.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// One page, the least that SQLite writes.
const WRITE_BYTES: usize = 4 << 10;

/// The writes go round in a file of this size.
const FILE_BYTES: usize = 16 << 20;

/// A file that is written from one end to the other, again and again, as a database's log is: it has
/// its size already, so that a write costs no change to the file system's own records.
#[derive(Debug)]
pub(crate) struct SyncedFile {
    file: File,
    next: usize,
}

impl SyncedFile {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create_new(true).write(true).open(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        let in_memory = statfs(path)?.filesystem_type() == TMPFS_MAGIC;
        ensure!(!in_memory, "{} is in memory; set TMPDIR to a folder on a disk", path.display());
        file.write_all_at(&vec![1; FILE_BYTES], 0)?;
        file.sync_all()?;
        Ok(Self { file, next: 0 })
    }

    /// Writes a page and waits until it is durable, over and over; how often per second.
    pub(crate) fn syncs_per_second(&mut self, time: Duration) -> Result<f64> {
        let page = [2; WRITE_BYTES];
        let started = Instant::now();
        let mut syncs = 0.0;
        while started.elapsed() < time {
            self.file.write_all_at(&page, self.next as u64)?;
            self.file.sync_data()?;
            self.next = (self.next + WRITE_BYTES) % FILE_BYTES;
            syncs += 1.0;
        }
        Ok(syncs / started.elapsed().as_secs_f64())
    }
}
