//! On a clock that only waits move: nothing here waits for the writer.

use privnet_model::{Generation, HostName};
use privnet_sync::RunId;
use tokio::time::Instant;

use super::super::claims::ANSWER_TIMEOUT;
use super::*;

const HOST: HostId = HostId::from_bytes([1; 16]);
const NETWORK: NetworkId = NetworkId::from_bytes([2; 16]);

/// Somebody who asks to be the host, in this run of the agent.
fn newcomer(run: u8) -> Newcomer {
    let host = HostName::try_from("h1").expect("a name");
    Newcomer { host, run: Some(RunId([run; 16])), answers_rivals: true, who: format!("run {run}") }
}

async fn claim(engine: &Engine, run: u8) -> Claim {
    engine.claim(newcomer(run)).await.expect("granted")
}

fn connect(engine: &Engine, claim: Claim) -> Option<Link> {
    engine.connect(HOST, None, claim)
}

fn acknowledge(engine: &Engine, link: &Link, generation: u64) {
    let acknowledgement = Acknowledgement { generation: Generation(generation), failures: Vec::new() };
    lock(&engine.shared.hosts).acknowledge(link, NETWORK, acknowledgement);
}

/// The generation that the host is known to have.
fn acknowledged(engine: &Engine) -> Option<u64> {
    lock(&engine.shared.hosts).acknowledged(HOST, NETWORK).map(|acknowledged| acknowledged.generation.0)
}

/// Both have claimed the host before either is connected.
#[tokio::test(start_paused = true)]
async fn of_two_connections_of_one_run_the_newer_is_connected_whichever_comes_first() {
    for older_comes_first in [true, false] {
        let engine = engine();
        let (older, newer) = (claim(&engine, 1).await, claim(&engine, 1).await);
        let link = if older_comes_first {
            assert!(connect(&engine, older).is_none(), "another one has its place");
            assert!(!engine.is_connected(HOST));
            connect(&engine, newer).expect("connected")
        } else {
            let link = connect(&engine, newer).expect("connected");
            assert!(connect(&engine, older).is_none(), "another one has its place");
            link
        };
        assert!(engine.is_connected(HOST) && link.is_held());
        acknowledge(&engine, &link, 7);
        assert_eq!(acknowledged(&engine), Some(7), "what it says counts");
        drop(link);
        assert!(!engine.is_connected(HOST));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_on_a_connection_that_has_lost_its_place_counts_for_nothing() {
    let engine = engine();
    let older = connect(&engine, claim(&engine, 1).await).expect("connected");
    acknowledge(&engine, &older, 1);
    let newer = claim(&engine, 1).await;
    assert!(!older.is_held());
    older.lost().await;
    let newer = connect(&engine, newer).expect("connected");
    assert_eq!(acknowledged(&engine), None, "it has not said anything yet");
    let instance = InstanceId::from_bytes([3; 16]);
    acknowledge(&engine, &older, 2);
    engine.note_progress(&older, instance, Some(Progress::Made));
    assert_eq!(acknowledged(&engine), None);
    assert_eq!(lock(&engine.shared.hosts).progress(HOST, instance), None);
    acknowledge(&engine, &newer, 3);
    engine.note_progress(&newer, instance, Some(Progress::Made));
    drop(older);
    assert_eq!(acknowledged(&engine), Some(3));
    assert_eq!(lock(&engine.shared.hosts).progress(HOST, instance), Some(&Progress::Made));
}

#[tokio::test(start_paused = true)]
async fn an_agent_keeps_its_place_by_answering_what_it_was_asked() {
    let engine = engine();
    let link = connect(&engine, claim(&engine, 1).await).expect("connected");
    let mut standing = link.standing();
    let asking = tokio::spawn({
        let engine = engine.clone();
        async move { engine.claim(newcomer(2)).await.map(drop) }
    });
    standing.changed().await.expect("asked");
    let Standing::Asked { serial, .. } = standing.borrow_and_update().clone() else { panic!("it is not asked") };
    link.is_present(serial);
    assert_eq!(asking.await.expect("no panic"), Err(HostBusy { who: "run 1".to_owned() }));
    assert!(link.is_held());
}

/// As of one that says so all the time, and hears nothing.
#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_what_it_was_not_asked_loses_its_place() {
    let engine = engine();
    let link = connect(&engine, claim(&engine, 1).await).expect("connected");
    let mut standing = link.standing();
    let start = Instant::now();
    let asking = tokio::spawn({
        let engine = engine.clone();
        async move { engine.claim(newcomer(2)).await.map(drop) }
    });
    standing.changed().await.expect("asked");
    let Standing::Asked { serial, .. } = standing.borrow_and_update().clone() else { panic!("it is not asked") };
    [0, serial - 1, serial + 1, u64::MAX].into_iter().for_each(|other| link.is_present(other));
    assert_eq!(asking.await.expect("no panic"), Ok(()));
    assert_eq!(start.elapsed(), ANSWER_TIMEOUT);
    assert!(!link.is_held());
}
