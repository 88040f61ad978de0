//! Whoever may enter the folder reads nothing in it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use privnet_store::{SqliteStore, Store as _};

fn modes(folder: &Path) -> BTreeMap<String, u32> {
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file"));
    let mode = |file: &fs::DirEntry| file.metadata().expect("there").permissions().mode() & 0o777;
    files.map(|file| (file.file_name().into_string().expect("a name"), mode(&file))).collect()
}

fn all_private() -> BTreeMap<String, u32> {
    ["", "-lock", "-shm", "-wal"].map(|suffix| (format!("privnet.db{suffix}"), 0o600)).into()
}

#[test]
fn the_files_of_a_new_database_are_its_owner_s_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("set");
    let _store = SqliteStore::open(&folder.path().join("privnet.db")).expect("opens");
    assert_eq!(modes(folder.path()), all_private());
}

#[test]
fn those_of_an_older_one_become_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("privnet.db");
    let mut reader = None;
    {
        let store = SqliteStore::open(&path).expect("opens");
        // As long as somebody reads it, the files beside it stay.
        reader.replace(store.event_reader().expect("a reader"));
    }
    for file in modes(folder.path()).keys() {
        fs::set_permissions(folder.path().join(file), Permissions::from_mode(0o644)).expect("set");
    }
    let _store = SqliteStore::open(&path).expect("opens again");
    assert_eq!(modes(folder.path()), all_private());
}
