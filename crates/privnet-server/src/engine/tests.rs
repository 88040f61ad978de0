mod claims;

use std::net::Ipv4Addr;
use std::sync::mpsc as blocking;

use privnet_api::ENDPOINTS;
use privnet_model::testing::founded;
use privnet_model::zone::Snapshot;
use privnet_model::{HostFacts, HostName};
use privnet_store::{EventQuery, EventReader, LoggedEvent, NewEvents, Store};

use super::*;

/// A store whose commits wait until the test lets them go on.
struct Slow {
    begun: blocking::Sender<()>,
    go_on: blocking::Receiver<()>,
}

struct NoEvents;

impl Store for Slow {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot::default())
    }

    fn commit_with_events(&mut self, _: &[Change], _: &NewEvents<'_>) -> Result<(), StoreError> {
        // A test that has ended waits for nothing.
        let _ = self.begun.send(());
        let _ = self.go_on.recv();
        Ok(())
    }

    fn event_reader(&self) -> Result<Box<dyn EventReader>, StoreError> {
        Ok(Box::new(NoEvents))
    }
}

impl EventReader for NoEvents {
    fn read(&mut self, _: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError> {
        Ok(Vec::new())
    }
}

/// An engine whose store takes everything.
fn engine() -> Engine {
    let ((begun, _), (_, go_on)) = (blocking::channel(), blocking::channel());
    let records = Records { store: Box::new(Slow { begun, go_on }), zone: founded() };
    Engine::start(records, EngineConfig::default(), AuditConfig::DEFAULT).expect("started")
}

impl Engine {
    /// Has the agent of a host hear of no change.
    pub(crate) fn lose_wakes(&self, host: HostId) {
        lock(&self.shared.hosts).lose_wakes(host);
    }
}

/// The registration of a host, which has something to commit.
fn register() -> Command {
    let facts = HostFacts { vtep: Ipv4Addr::LOCALHOST.into(), underlay_mtu_bytes: 1500, version: "0".to_owned() };
    Command::RegisterHost { name: HostName::try_from("h1").expect("a name"), facts }
}

/// Asks for what is refused as soon as the writer looks at it.
async fn ask(engine: Engine) -> Result<Outcome, SubmitError> {
    let origin = Origin::new(Ipv4Addr::LOCALHOST.into(), &ENDPOINTS[0], "/");
    let nothing = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50".parse().expect("an id");
    engine.submit_for(origin, Caller::OPERATOR, Command::DeleteNetwork(nothing)).await
}

#[tokio::test]
async fn requests_that_wait_are_limited_and_what_is_the_engines_own_is_not() {
    let ((begun, has_begun), (go_on, waiting)) = (blocking::channel(), blocking::channel());
    let records = Records { store: Box::new(Slow { begun, go_on: waiting }), zone: founded() };
    let engine = Engine::start(records, EngineConfig::default(), AuditConfig::DEFAULT).expect("started");
    let first = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(register()).await }
    });
    tokio::task::spawn_blocking(move || has_begun.recv()).await.expect("no panic").expect("a commit");
    let waiting: Vec<_> = (0..REQUESTED_COMMANDS_MAX).map(|_| tokio::spawn(ask(engine.clone()))).collect();
    for _ in &waiting {
        tokio::task::yield_now().await;
    }
    let at_once = tokio::time::timeout(Duration::ZERO, ask(engine.clone())).await;
    assert!(matches!(at_once, Ok(Err(SubmitError::Busy))), "{at_once:?}");
    let own = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(register()).await }
    });
    drop(go_on);
    for asked in waiting {
        assert!(matches!(asked.await.expect("no panic"), Err(SubmitError::Refused(Refusal::NetworkNotFound(_)))));
    }
    for registered in [first, own] {
        assert!(matches!(registered.await.expect("no panic"), Ok(Outcome::Host(_))));
    }
    assert_eq!(engine.shared.places.available_permits(), REQUESTED_COMMANDS_MAX);
}
