//! What was acknowledged survives `kill -9` (design: invariant 5).

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use privnet_model::testing::{Life, founded, founding};
use privnet_model::zone::Zone;
use privnet_store::{SqliteStore, Store as _};

use crate::SqliteFile;
use crate::suite::Database as _;
use crate::suite::life::live;

const ROUNDS: u64 = 12;

/// Tells the victim which database to use, and which life to live.
const DATABASE: &str = "PRIVNET_STORE_TEST_DATABASE";
const SEED: &str = "PRIVNET_STORE_TEST_SEED";

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let file = SqliteFile::new();
    let mut zone = founded();
    file.open().commit(&[founding()]).expect("commits");
    for round in 0..ROUNDS {
        let acknowledged = kill_after(5 * round + 1, victim_on(&file.path(), round));
        let found = file.open().load().expect("loads after a crash");

        let mut life = Life::new(round);
        for _ in 0..acknowledged {
            live(&mut life, &mut zone, 1);
        }
        if found != zone.snapshot() {
            live(&mut life, &mut zone, 1);
            assert_eq!(found, zone.snapshot(), "neither the last commit acknowledged nor the one in flight");
        }
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn victim() {
    let (Ok(database), Ok(seed)) = (env::var(DATABASE), env::var(SEED)) else { return };
    let mut life = Life::new(seed.parse().expect("a number"));
    let mut store = SqliteStore::open(Path::new(&database)).expect("opens");
    let mut zone = Zone::new(store.load().expect("loads"));
    loop {
        store.commit(&live(&mut life, &mut zone, 1)).expect("commits");
        writeln!(std::io::stderr(), "acknowledged").expect("the parent listens");
    }
}

fn victim_on(database: &Path, seed: u64) -> Child {
    Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(DATABASE, database)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// Kills the victim once it has acknowledged that many commits, and returns how many it has by then.
fn kill_after(enough: u64, mut victim: Child) -> u64 {
    let mut acknowledged = 0;
    let lines = BufReader::new(victim.stderr.take().expect("piped")).lines();
    for line in lines {
        assert_eq!(line.expect("a line"), "acknowledged");
        acknowledged += 1;
        if acknowledged == enough {
            victim.kill().expect("SIGKILL is sent");
        }
    }
    victim.wait().expect("it is dead");
    assert!(acknowledged >= enough, "the victim died by itself");
    acknowledged
}
