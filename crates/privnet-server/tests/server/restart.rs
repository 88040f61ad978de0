//! What was acknowledged survives, and what was pending ends (invariants 5 and 6).

use std::time::Duration;

use serde_json::json;

use crate::support::agent::{acknowledge, silent};
use crate::support::{Agent, Setup, TestServer, managed};

#[test]
fn everything_is_there_after_a_restart() {
    let mut server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let mut wish = managed(9);
    wish["labels"] = json!({"team": "db"});
    wish["options"] = json!({"routers": ["10.0.0.1"], "domain-search": ["lab.example.net"]});
    let network = server.network(wish);
    server.network(json!({"name": "unmanaged", "description": "d"}));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h1"));
    server.attach_with_ip(&network, &db, "10.0.0.200");
    let operation = server.attach(&network, &web);
    agent.leave(&server);
    let before = server.dump();
    server.restart();
    assert_eq!(server.dump(), before);
    assert_eq!(server.operation(&operation), operation);
}

#[test]
fn an_operation_that_was_pending_ends_after_a_restart() {
    let mut server = TestServer::start(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let operation = server.attach(&network, &web);
    drop(agent);
    let shown = server.get(&network);
    server.restart();
    assert_eq!(server.operation(&operation)["state"], "pending");
    assert_eq!(server.get(&network), shown);
    let _back = Agent::connect(&server, "h1", acknowledge);
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn a_deadline_that_passes_while_the_server_is_down_ends_the_operation() {
    let operation_timeout = Duration::from_millis(100);
    let mut server = TestServer::start(Setup { operation_timeout, ..Setup::AT_ONCE });
    Agent::connect(&server, "h1", silent).leave(&server);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let operation = server.attach(&network, &web);
    server.restart();
    assert_eq!(server.ended(&operation)["state"], "timeout");
    assert_eq!(server.get(&network)["leases"][0]["instance-id"], web.as_str());
}

#[test]
fn a_server_that_stops_answers_what_it_has_accepted() {
    let mut server = TestServer::start(Setup { operation_hold: Duration::from_millis(300), ..Setup::WAITING });
    let agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    agent.hear_what_it_lacked();
    let client = (*server).clone();
    let attaching = std::thread::spawn({
        let (network, web) = (network.clone(), web.clone());
        move || client.attach(&network, &web)
    });
    // The agent is told what has been committed: the request is under way.
    agent.hear();
    server.stop();
    let operation = attaching.join().expect("an answer");
    assert_eq!(operation["state"], "pending");
    server.resume();
    assert_eq!(server.get(&network)["leases"][0]["instance-id"], web.as_str());
    assert_eq!(server.operation(&operation)["state"], "pending");
}
