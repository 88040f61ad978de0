//! The suite on SQLite, and what only a file can suffer.

#[path = "../suite/mod.rs"]
mod suite;

mod crash;
mod damage;
mod disk;
mod migrations;
mod private;
mod size;

use std::path::PathBuf;

use privnet_store::SqliteStore;
use tempfile::TempDir;

use self::suite::Database;

/// A file in a folder of its own.
struct SqliteFile {
    folder: TempDir,
}

impl SqliteFile {
    fn path(&self) -> PathBuf {
        self.folder.path().join("privnet.db")
    }
}

impl Database for SqliteFile {
    type Store = SqliteStore;

    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).expect("opens")
    }
}

suite::suite! { crate::SqliteFile }
