//! A disk that is full, read-only or in use: nothing is half done, and it works again afterwards.

use std::fs;
use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use privnet_model::Network;
use privnet_store::{SqliteStore, Store as _, StoreError, Trouble};
use rusqlite::Connection;

use crate::SqliteFile;
use crate::suite::records::{network, organization};
use crate::suite::{Database as _, insert, load};

#[test]
fn a_full_disk_is_reported_and_the_store_goes_on_when_there_is_room() {
    on_a_small_disk(|disk| {
        let path = disk.join("privnet.db");
        let mut store = SqliteStore::open(&path).expect("opens");
        store.commit(&[insert(&organization(1)), insert(&network(1))]).expect("there is room");
        fill(&disk.join("filler"));

        let refused = commit_until_refused(&mut store, 2);
        assert_eq!(trouble(&refused.cause), Trouble::Full, "{:?}", refused.cause);
        assert_eq!(load(&mut store).networks, numbers(1..refused.number), "nothing is half done");
        let again = store.commit(&[insert(&network(refused.number))]).expect_err("it is still full");
        assert_eq!(trouble(&again), Trouble::Full);

        fs::remove_file(disk.join("filler")).expect("there is a filler");
        store.commit(&[insert(&network(refused.number))]).expect("there is room again");
        drop(store);
        let mut store = SqliteStore::open(&path).expect("opens");
        assert_eq!(load(&mut store).networks, numbers(1..refused.number + 1));
    });
}

#[test]
fn a_full_disk_refuses_a_new_database_and_takes_it_when_there_is_room() {
    on_a_small_disk(|disk| {
        let path = disk.join("privnet.db");
        fill(&disk.join("filler"));
        let refusal = SqliteStore::open(&path).err().expect("there is no room");
        assert_eq!(trouble(&refusal), Trouble::Full, "{refusal:?}");
        fs::remove_file(disk.join("filler")).expect("there is a filler");
        let mut store = SqliteStore::open(&path).expect("opens");
        store.commit(&[insert(&organization(1)), insert(&network(1))]).expect("commits");
    });
}

#[test]
fn a_read_only_disk_is_reported_and_the_database_opens_when_it_is_writable() {
    on_a_small_disk(|disk| {
        let path = disk.join("privnet.db");
        let mut store = SqliteStore::open(&path).expect("opens");
        store.commit(&[insert(&organization(1)), insert(&network(1))]).expect("commits");
        drop(store);

        remount(disk, MsFlags::MS_RDONLY);
        let refusal = SqliteStore::open(&path).err().expect("nothing can be written");
        assert_eq!(trouble(&refusal), Trouble::ReadOnly, "{refusal:?}");

        remount(disk, MsFlags::empty());
        let mut store = SqliteStore::open(&path).expect("opens");
        assert_eq!(load(&mut store).networks, [network(1)]);
    });
}

#[test]
fn a_database_that_somebody_writes_to_is_busy_until_they_have_finished() {
    let file = SqliteFile::new();
    let mut store = file.open();
    let other = Connection::open(file.path()).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("begins");
    let refusal = store.commit(&[insert(&organization(1)), insert(&network(1))]).expect_err("it is locked");
    assert_eq!(trouble(&refusal), Trouble::Busy, "{refusal:?}");
    other.execute_batch("ROLLBACK").expect("ends");
    store.commit(&[insert(&organization(1)), insert(&network(1))]).expect("it is free again");
}

#[test]
fn a_database_has_one_store_at_a_time_and_may_be_read_beside_it() {
    let file = SqliteFile::new();
    let mut store = file.open();
    let refusal = SqliteStore::open(&file.path()).err().expect("it is taken");
    assert_eq!(trouble(&refusal), Trouble::Busy, "{refusal:?}");
    store.commit(&[insert(&organization(1)), insert(&network(1))]).expect("the first store is not disturbed");
    let reader = Connection::open(file.path()).expect("opens");
    let count: u32 = reader.query_one("SELECT count(*) FROM networks", [], |row| row.get(0)).expect("reads");
    assert_eq!(count, 1);
    drop(store);
    file.open();
}

struct Refused {
    number: u8,
    cause: StoreError,
}

/// Commits one network after the other, from `first` on, until one is refused.
fn commit_until_refused(store: &mut SqliteStore, first: u8) -> Refused {
    (first..=u8::MAX)
        .find_map(|number| store.commit(&[insert(&network(number))]).err().map(|cause| Refused { number, cause }))
        .expect("the disk is small")
}

fn numbers(numbers: std::ops::Range<u8>) -> Vec<Network> {
    numbers.map(network).collect()
}

fn trouble(error: &StoreError) -> Trouble {
    match error {
        StoreError::Database { trouble, .. } => *trouble,
        other => panic!("no trouble with the database: {other:?}"),
    }
}

/// Runs a test where it alone sees a disk of one mebibyte.
fn on_a_small_disk(test: impl FnOnce(&Path) + Send) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own, which takes root");
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("private mounts");
        mount(nothing, folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1m")).expect("a small disk");
        test(folder.path());
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn remount(disk: &Path, flags: MsFlags) {
    mount(None::<&str>, disk, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).expect("remounts");
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let full = fs::write(path, vec![0; 2 << 20]).expect_err("the disk is smaller");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}
