//! The files stay as small as what they hold.

use std::fs;
use std::path::Path;

use privnet_model::testing::{Life, founded, founding};
use privnet_model::zone::{Caller, Change, Command, CreateNetwork, Zone};
use privnet_store::Store as _;

use crate::SqliteFile;
use crate::suite::Database as _;

const COMMITS: usize = 200;
const NETWORKS_PER_COMMIT: usize = 64;

#[test]
fn the_write_ahead_log_does_not_grow_with_the_number_of_commits() {
    let file = SqliteFile::new();
    let mut store = file.open();
    store.commit(&[founding()]).expect("commits");
    let (mut zone, mut life) = (founded(), Life::new(1));
    let mut largest = 0;
    for _ in 0..COMMITS {
        store.commit(&create_networks(&mut zone, &mut life)).expect("commits");
        largest = largest.max(octets_in(&file.path().with_extension("db-wal")));
    }
    assert!(largest > 0, "there is a log");
    assert!(largest < 34 << 20, "the log has had {largest} octets");
}

#[test]
fn room_that_is_freed_is_used_again() {
    let file = SqliteFile::new();
    let mut store = file.open();
    store.commit(&[founding()]).expect("commits");
    let mut sizes = Vec::new();
    for _ in 0..120 {
        let changes = create_networks(&mut founded(), &mut Life::new(1));
        store.commit(&changes).expect("commits");
        store.commit(&changes.into_iter().map(Change::inverse).collect::<Vec<_>>()).expect("commits");
        sizes.push(octets_in(&file.path()) + octets_in(&file.path().with_extension("db-wal")));
    }
    let (first, last) = (sizes[0], sizes[119]);
    assert!(last < first + (34 << 20), "from {first} to {last} octets");
}

fn create_networks(zone: &mut Zone, life: &mut Life) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..NETWORKS_PER_COMMIT {
        let wish = CreateNetwork {
            name: "network".try_into().expect("valid"),
            description: "d".repeat(200).as_str().try_into().expect("valid"),
            range: Default::default(),
            options: Default::default(),
            labels: Default::default(),
        };
        let decision = life.decide_for(Caller::OPERATOR, zone, &Command::CreateNetwork(wish)).expect("is accepted");
        decision.changes.iter().for_each(|change| zone.apply(change));
        changes.extend(decision.changes);
    }
    changes
}

fn octets_in(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").len()
}
