//! What was acknowledged survives, and what was pending ends (invariants 5 and 6).

use std::time::Duration;

use privnet_model::{Generation, NetworkId};
use privnet_sync::{FromAgent, FromServer};
use serde_json::json;

use crate::support::agent::{acknowledge, silent};
use crate::support::{Agent, PATIENCE, Setup, TestServer, id_of, managed};

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
fn hosts_that_a_restart_cuts_off_are_waited_for() {
    let mut server = TestServer::start(Setup { return_grace: PATIENCE, ..Setup::AT_ONCE });
    let agents = ["h1", "h2"].map(|host| Agent::connect(&server, host, silent));
    let networks = [(); 2].map(|()| server.network(managed(9)));
    let instances = ["h1", "h2"].map(|host| server.instance(host, host));
    let applied = |network: &str, generation| {
        let (network, generation) = (id_of(network), Generation(generation));
        FromAgent::Applied { network, generation, failures: Vec::new() }
    };
    // Each network waits for one host alone, and each host is waited for by one network.
    let operations = [0, 1].map(|own| {
        server.attach(&networks[own], &instances[1 - own]);
        let operation = server.attach(&networks[own], &instances[own]);
        agents[own].say(applied(&networks[own], 3));
        be_heard(&agents[own]);
        operation
    });
    server.restart();
    operations.iter().for_each(|operation| assert_eq!(server.operation(operation)["state"], "pending"));
    // What it says of a network that it was not told of yet would not count.
    let again = |host| {
        let agent = Agent::connect(&server, host, silent);
        assert!(!agent.hear_what_it_lacked().is_empty());
        agent
    };
    let h1 = again("h1");
    h1.say(applied(&networks[0], 3));
    be_heard(&h1);
    assert_eq!(server.operation(&operations[0])["state"], "pending");
    let h2 = again("h2");
    h2.say(applied(&networks[0], 3));
    assert_eq!(server.ended(&operations[0])["state"], "success");
}

/// Waits until the server has heard what the agent has said so far.
fn be_heard(agent: &Agent) {
    let unknown = NetworkId::from_bytes([7; 16]);
    agent.say(FromAgent::NeedFull { network: unknown });
    while !matches!(agent.hear(), FromServer::Remove { network, .. } if network == unknown) {}
}

#[test]
fn a_host_that_does_not_return_is_waited_for_no_more_after_a_while() {
    let mut server = TestServer::start(Setup { return_grace: Duration::from_millis(50), ..Setup::AT_ONCE });
    Agent::connect(&server, "h2", acknowledge).leave(&server);
    let own = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    server.attach(&network, &server.instance("db", "h2"));
    let operation = server.attach(&network, &server.instance("web", "h1"));
    drop(own);
    server.restart();
    let _own = Agent::connect(&server, "h1", acknowledge);
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
fn a_server_that_stops_answers_what_it_has_accepted_at_once() {
    // Answers are held for longer than it waits when it stops.
    let mut server = TestServer::start(Setup::WAITING);
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
