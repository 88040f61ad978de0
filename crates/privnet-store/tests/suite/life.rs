//! Whatever a zone goes through, the store follows.

use privnet_model::testing::{Life, founding};
use privnet_model::zone::{Change, Zone};
use privnet_store::Store as _;
use proptest::prelude::*;

use super::{Database, load};

const COMMANDS_MAX: usize = 120;

pub fn a_zone_is_the_same_after_reopening<D: Database>() {
    let batches = prop::collection::vec(1usize..8, 1..COMMANDS_MAX / 4);
    proptest!(ProptestConfig::with_cases(24), |(seed: u64, batches in batches)| {
        let database = D::new();
        let mut life = Life::new(seed);
        let mut store = database.open();
        store.commit(&[founding()]).expect("it fits");
        let mut zone = Zone::new(load(&mut store));
        for commands in batches {
            let changes = live(&mut life, &mut zone, commands);
            store.commit(&changes).expect("what the zone decides fits the store");
        }
        drop(store);
        prop_assert_eq!(load(&mut database.open()), zone.snapshot());
    });
}

/// Carries out commands and returns their changes, as a writer does that commits them together.
pub fn live(life: &mut Life, zone: &mut Zone, commands: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..commands {
        let command = life.command(zone);
        if let Ok(decision) = life.decide(zone, &command) {
            decision.changes.iter().for_each(|change| zone.apply(change));
            changes.extend(decision.changes);
        }
    }
    changes
}
