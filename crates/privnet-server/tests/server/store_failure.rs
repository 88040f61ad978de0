//! A store that takes nothing for a while: nothing is lost, and all goes on when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use privnet_model::zone::{Change, Snapshot};
use privnet_server::ServerError;
use privnet_store::{EventReader, NewEvents, SqliteStore, Store, StoreError, Trouble};
use privnet_sync::FromAgent;
use serde_json::{Value, json};

use crate::support::agent::{acknowledge, silent};
use crate::support::{Agent, Setup, TestServer, id_of, managed, wait_until};

/// A store on a disk that is sometimes full.
struct Flaky {
    store: SqliteStore,
    is_full: Arc<AtomicBool>,
}

impl Store for Flaky {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.store.load()
    }

    fn commit_with_events(&mut self, changes: &[Change], events: &NewEvents<'_>) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::Relaxed) {
            let source = "no space left on device".into();
            return Err(StoreError::Database { doing: "commit", trouble: Trouble::Full, source });
        }
        self.store.commit_with_events(changes, events)
    }

    fn event_reader(&self) -> Result<Box<dyn EventReader>, StoreError> {
        self.store.event_reader()
    }
}

/// A store that refuses every commit with a network of this name.
struct Picky(SqliteStore);

const REFUSED: &str = "refused";

impl Store for Picky {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.0.load()
    }

    fn commit_with_events(&mut self, changes: &[Change], events: &NewEvents<'_>) -> Result<(), StoreError> {
        let is_refused = |change: &Change| match change {
            Change::Network(row) => row.after.as_ref().is_some_and(|network| network.name.as_str() == REFUSED),
            _ => false,
        };
        if changes.iter().any(is_refused) {
            return Err(StoreError::Constraint { record: "the network".to_owned(), source: "by its name".into() });
        }
        self.0.commit_with_events(changes, events)
    }

    fn event_reader(&self) -> Result<Box<dyn EventReader>, StoreError> {
        self.0.event_reader()
    }
}

/// A store with a fault, which networks bring to light, that nobody has foreseen.
struct Faulty(SqliteStore);

impl Store for Faulty {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.0.load()
    }

    fn commit_with_events(&mut self, changes: &[Change], events: &NewEvents<'_>) -> Result<(), StoreError> {
        let is_network = |change: &Change| matches!(change, Change::Network(_));
        assert!(!changes.iter().any(is_network), "as the test wants it");
        self.0.commit_with_events(changes, events)
    }

    fn event_reader(&self) -> Result<Box<dyn EventReader>, StoreError> {
        self.0.event_reader()
    }
}

fn server(setup: Setup) -> (TestServer, Arc<AtomicBool>) {
    let is_full = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_full);
    (TestServer::start_on(|store| Box::new(Flaky { store, is_full: flag }), setup), is_full)
}

#[test]
fn a_change_that_cannot_be_kept_is_refused_and_has_not_happened() {
    let (server, is_full) = server(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(9));
    let (web, spare) = (server.instance("web", "h1"), server.instance("spare", "h1"));
    server.attach(&network, &web);
    is_full.store(true, Ordering::Relaxed);
    let message = "cannot commit: the database or its disk is full: no space left on device";
    let instance = json!({"instance": {"id": web}});
    let attach = json!({"instance": {"id": spare}, "ip": "10.0.0.200"});
    let create = json!({"name": "n", "host": "h1", "kind": "netns", "netns": "n"});
    for (method, path, body) in [
        ("POST", "/v2/private-network".to_owned(), json!({"name": "n"})),
        ("PUT", network.clone(), json!({"name": "n"})),
        ("PUT", format!("{network}:attach"), attach.clone()),
        ("PUT", format!("{network}:detach"), instance.clone()),
        ("PUT", format!("{network}:update-ip"), json!({"instance": {"id": web}, "ip": "10.0.0.201"})),
        ("POST", "/privnet/v1/instances".to_owned(), create),
        ("DELETE", format!("/privnet/v1/instances/{spare}"), json!({})),
    ] {
        server.refused(method, &path, body, 503, message);
    }
    assert_eq!(server.send("GET", "/readyz", b"").status, 503);
    assert_eq!(server.send("GET", "/healthz", b"").status, 200);
    is_full.store(false, Ordering::Relaxed);
    assert_eq!(server.put(&format!("{network}:attach"), attach)["state"], "success");
    assert_eq!(server.send("GET", "/readyz", b"").status, 200);
}

#[test]
fn what_is_refused_because_of_its_values_is_refused_also_then() {
    let (server, is_full) = server(Setup::WAITING);
    is_full.store(true, Ordering::Relaxed);
    server.refused("POST", "/v2/private-network", json!({}), 400, "name: is required");
}

/// An attachment that is in force, on a server that cannot keep its end. The agent stays.
fn attached_in_vain(server: &TestServer, is_full: &AtomicBool) -> (Agent, Value) {
    let agent = Agent::connect(server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let operation = server.attach(&network, &web);
    is_full.store(true, Ordering::Relaxed);
    let generation = privnet_model::Generation(2);
    agent.say(FromAgent::Applied { network: id_of(&network), generation, failures: Vec::new() });
    // The engine has tried to keep the end.
    wait_until("the failure", || server.send("GET", "/readyz", b"").status == 503);
    (agent, operation)
}

#[test]
fn an_end_that_cannot_be_kept_is_kept_when_the_store_is_back() {
    let (server, is_full) = server(Setup::AT_ONCE);
    let (_agent, operation) = attached_in_vain(&server, &is_full);
    assert_eq!(server.operation(&operation)["state"], "pending");
    is_full.store(false, Ordering::Relaxed);
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn an_end_that_could_not_be_kept_is_not_forgotten_when_something_else_is_kept_first() {
    let (server, is_full) = server(Setup::AT_ONCE);
    let (_agent, operation) = attached_in_vain(&server, &is_full);
    is_full.store(false, Ordering::Relaxed);
    server.instance("other", "h1");
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn a_confirmation_that_cannot_be_kept_is_asked_for_again() {
    let (server, is_full) = server(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    server.ended(&server.attach(&network, &web));
    agent.leave(&server);
    let detachment = server.detach(&network, &web);
    is_full.store(true, Ordering::Relaxed);
    let _back = Agent::connect(&server, "h1", acknowledge);
    wait_until("the failure", || server.send("GET", "/readyz", b"").status == 503);
    is_full.store(false, Ordering::Relaxed);
    assert_eq!(server.ended(&detachment)["state"], "success");
}

#[test]
fn a_server_whose_store_has_a_fault_ends_rather_than_going_on_without_it() {
    let mut server = TestServer::start_on(|store| Box::new(Faulty(store)), Setup::WAITING);
    let reply = server.ask("POST", "/v2/private-network", json!({"name": "n"}));
    assert_eq!(reply.status, 503);
    assert!(matches!(server.ended_by_itself(), ServerError::Writer));
}

#[test]
fn one_command_that_the_store_refuses_does_not_harm_the_others() {
    let server = TestServer::start_on(|store| Box::new(Picky(store)), Setup::WAITING);
    server.lift_quotas();
    // Commands that come at the same time are committed together.
    std::thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let (name, expected) = if client == 0 { (REFUSED, 503) } else { ("kept", 200) };
                for _ in 0..50 {
                    assert_eq!(server.ask("POST", "/v2/private-network", json!({"name": name})).status, expected);
                }
            });
        }
    });
    assert_eq!(count_networks(&server), 7 * 50);
}

#[test]
fn what_was_answered_while_the_disk_filled_up_and_emptied_is_what_there_is() {
    let (mut server, is_full) = server(Setup::WAITING);
    let created: usize = std::thread::scope(|scope| {
        let create = |_| {
            let server = &server;
            let statuses =
                move || (0..20).map(|_| server.ask("POST", "/v2/private-network", json!({"name": "n"})).status);
            scope.spawn(move || statuses().filter(|status| *status == 200).count())
        };
        let clients: Vec<_> = (0..8).map(create).collect();
        for round in 0..20 {
            is_full.store(round % 2 == 0, Ordering::Relaxed);
            server.send("GET", "/readyz", b"");
        }
        is_full.store(false, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("answers")).sum()
    });
    assert_eq!(count_networks(&server), created);
    server.restart();
    assert_eq!(count_networks(&server), created);
}

fn count_networks(server: &TestServer) -> usize {
    server.get("/v2/private-network")["private-networks"].as_array().expect("a list").len()
}
