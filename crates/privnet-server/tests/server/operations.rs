//! How operations end: when the hosts have applied them, when one cannot, and when one is away.

use std::time::Duration;

use privnet_model::{Generation, MacAddr, Reason};
use privnet_sync::{FromAgent, FromServer, PortFailure};
use serde_json::json;

use crate::support::agent::{acknowledge, fail, silent};
use crate::support::{Agent, PATIENCE, Setup, TestServer, id_of, managed, wait_until};

/// Waits until the server has heard all that an agent has said.
fn flush(agent: &Agent, network: &str) {
    agent.say(FromAgent::NeedFull { network: id_of(network) });
    while !matches!(agent.hear(), FromServer::Full(state) if state.generation == Generation(3)) {}
}

#[test]
fn an_attachment_succeeds_when_every_connected_host_has_applied_it() {
    let server = TestServer::start(Setup::AT_ONCE);
    let own = Agent::connect(&server, "h1", silent);
    let other = Agent::connect(&server, "h2", silent);
    let network = server.network(managed(9));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h2"));
    server.attach(&network, &db);
    let operation = server.attach(&network, &web);
    assert_eq!(operation["state"], "pending");
    let applied = |generation| FromAgent::Applied {
        network: id_of(&network),
        generation: Generation(generation),
        failures: Vec::new(),
    };
    own.say(applied(3));
    flush(&own, &network);
    assert_eq!(server.operation(&operation)["state"], "pending");
    // What it has applied is older than the attachment.
    other.say(applied(2));
    flush(&other, &network);
    assert_eq!(server.operation(&operation)["state"], "pending");
    other.say(applied(3));
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn the_first_answer_tells_the_end_when_it_comes_within_the_hold() {
    let server = TestServer::start(Setup::WAITING);
    let _agents = ["h1", "h2"].map(|name| Agent::connect(&server, name, acknowledge));
    let network = server.network(managed(9));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h2"));
    assert_eq!(server.attach(&network, &web)["state"], "success");
    assert_eq!(server.attach(&network, &db)["state"], "success");
    assert_eq!(server.put(&network, json!({"end-ip": "10.0.0.99"}))["state"], "success");
    let update_ip = json!({"instance": {"id": web}, "ip": "10.0.0.1"});
    assert_eq!(server.put(&format!("{network}:update-ip"), update_ip)["state"], "success");
    assert_eq!(server.delete(&format!("{network}/labels"))["state"], "success");
    assert_eq!(server.detach(&network, &web)["state"], "success");
    assert_eq!(server.detach(&network, &db)["state"], "success");
    assert_eq!(server.delete(&network)["state"], "success");
}

#[test]
fn an_answer_is_held_no_longer_than_said() {
    let server = TestServer::start(Setup { operation_hold: Duration::from_millis(20), ..Setup::WAITING });
    let _agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    assert_eq!(server.attach(&network, &web)["state"], "pending");
}

#[test]
fn a_host_that_is_away_keeps_the_operations_on_its_own_ports_pending() {
    let server = TestServer::start(Setup::AT_ONCE);
    Agent::connect(&server, "h1", silent).leave(&server);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let operation = server.attach(&network, &web);
    assert_eq!(operation["state"], "pending");
    let _back = Agent::connect(&server, "h1", acknowledge);
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn a_host_that_stays_away_ends_the_operations_on_its_own_ports_at_the_deadline() {
    let server = TestServer::start(Setup { operation_timeout: Duration::from_millis(20), ..Setup::WAITING });
    Agent::connect(&server, "h1", silent).leave(&server);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let operation = server.attach(&network, &web);
    let ended = server.operation(&operation);
    let message = "host h1 is not connected; the change stays wanted and is applied when it can be";
    assert_eq!(
        (&ended["state"], &ended["reason"], &ended["message"]),
        (&json!("timeout"), &json!("unavailable"), &json!(message))
    );
    let back = Agent::connect(&server, "h1", acknowledge);
    let lacked = back.hear_what_it_lacked();
    assert!(matches!(&lacked[..], [FromServer::Full(state)] if state.id == id_of(&network)), "{lacked:?}");
}

#[test]
fn a_connected_host_that_does_not_confirm_is_named_at_the_deadline() {
    let server = TestServer::start(Setup { operation_timeout: Duration::from_millis(20), ..Setup::WAITING });
    let _agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let message = "host h1 has not confirmed; the change stays wanted and is applied when it can be";
    assert_eq!(server.operation(&server.attach(&network, &web))["message"], message);
}

#[test]
fn another_host_that_is_away_blocks_nothing() {
    let server = TestServer::start(Setup::WAITING);
    let _own = Agent::connect(&server, "h1", acknowledge);
    let other = Agent::connect(&server, "h2", acknowledge);
    let network = server.network(managed(9));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h2"));
    server.attach(&network, &db);
    other.leave(&server);
    assert_eq!(server.attach(&network, &web)["state"], "success");
}

#[test]
fn another_host_that_goes_away_is_waited_for_no_more() {
    let server = TestServer::start(Setup::WAITING);
    let _own = Agent::connect(&server, "h1", acknowledge);
    let other = Agent::connect(&server, "h2", |message| {
        acknowledge(message).filter(|_| matches!(message, FromServer::Full(_)))
    });
    let network = server.network(managed(9));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h2"));
    server.attach(&network, &db);
    let operation = std::thread::scope(|scope| {
        let attaching = scope.spawn(|| server.attach(&network, &web));
        while !matches!(other.hear(), FromServer::Delta(_)) {}
        drop(other);
        attaching.join().expect("an answer")
    });
    assert_eq!(operation["state"], "success");
}

#[test]
fn a_port_that_cannot_be_plugged_in_fails_its_operation() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", fail);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let ended = server.operation(&server.attach(&network, &web));
    let message = "host h1: there is no network namespace web; the change stays wanted and is tried again";
    assert_eq!(
        (&ended["state"], &ended["reason"], &ended["message"]),
        (&json!("failure"), &json!("not-found"), &json!(message))
    );
    assert_eq!(ended["reference"]["link"], network.as_str());
    assert_eq!(server.get(&network)["leases"][0]["instance-id"], web.as_str());
    assert_eq!(server.detach(&network, &web)["state"], "success");
}

#[test]
fn the_failure_of_another_port_does_not_fail_an_operation() {
    let server = TestServer::start(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let [web, db] = ["web", "db"].map(|name| server.instance(name, "h1"));
    let [of_web, of_db] = [&web, &db].map(|instance| server.attach(&network, instance));
    let failures = vec![PortFailure { mac: mac_of(&server, &web), reason: Reason::Fault, message: "no".to_owned() }];
    agent.say(FromAgent::Applied { network: id_of(&network), generation: Generation(3), failures });
    assert_eq!(server.ended(&of_web)["state"], "failure");
    assert_eq!(server.ended(&of_db)["state"], "success");
}

/// The MAC address of an instance that is attached to one network.
fn mac_of(server: &TestServer, instance: &str) -> MacAddr {
    let shown = server.get(&format!("/v2/instance/{instance}"));
    shown["private-networks"][0]["mac-address"].as_str().expect("a text").parse().expect("a MAC address")
}

#[test]
fn another_host_that_cannot_reach_a_port_fails_its_operation() {
    let server = TestServer::start(Setup::AT_ONCE);
    let _own = Agent::connect(&server, "h1", acknowledge);
    let other = Agent::connect(&server, "h2", silent);
    let network = server.network(managed(9));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h2"));
    server.attach(&network, &db);
    let operation = server.attach(&network, &web);
    let failure =
        PortFailure { mac: mac_of(&server, &web), reason: Reason::Fault, message: "the map is full".to_owned() };
    other.say(FromAgent::Applied { network: id_of(&network), generation: Generation(3), failures: vec![failure] });
    let ended = server.ended(&operation);
    assert_eq!(ended["state"], "failure");
    assert_eq!(ended["message"], "host h2: the map is full; the change stays wanted and is tried again");
}

/// What was never in force is no success, though nobody waits for it any more.
#[test]
fn an_attachment_that_is_detached_before_it_was_in_force_fails() {
    let server = TestServer::start(Setup::AT_ONCE);
    let _silent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let attachment = server.attach(&network, &web);
    let update = server.put(&format!("{network}:update-ip"), json!({"instance": {"id": web}, "ip": "10.0.0.9"}));
    assert_eq!((&attachment["state"], &update["state"]), (&json!("pending"), &json!("pending")));
    server.detach(&network, &web);
    for operation in [&attachment, &update] {
        let ended = server.ended(operation);
        assert_eq!((&ended["state"], &ended["reason"]), (&json!("failure"), &json!("not-found")), "{ended}");
    }
}

#[test]
fn a_port_that_cannot_be_unplugged_fails_its_detachment() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", fail);
    let network = server.network(managed(9));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h1"));
    server.attach(&network, &web);
    server.attach(&network, &db);
    assert_eq!(server.operation(&server.detach(&network, &db))["state"], "failure");
}

/// egoscale's `Wait` takes whatever is not pending for a success, so that exo would say "attached" (contract §2.1). It
/// asks again, as every client does, for what is pending.
#[test]
fn the_first_answer_says_nothing_but_success_or_pending() {
    let late = Setup { operation_timeout: Duration::from_millis(20), ..Setup::WAITING };
    let ends: [(_, fn(&FromServer) -> _, _); 2] = [(Setup::WAITING, fail, "failure"), (late, silent, "timeout")];
    for (setup, agent, end) in ends {
        let server = TestServer::start(setup);
        let _agent = Agent::connect(&server, "h1", agent);
        let answer = server.attach(&server.network(managed(9)), &server.instance("web", "h1"));
        assert_eq!(answer, json!({"id": answer["id"], "state": "pending", "reference": answer["reference"]}));
        assert_eq!(server.operation(&answer)["state"], end, "it had ended before it was answered");
    }
}

#[test]
fn a_detachment_waits_until_the_host_has_confirmed_the_removal() {
    let server = TestServer::start(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    server.attach(&network, &web);
    let detachment = server.detach(&network, &web);
    let deletion = server.delete(&network);
    let network = id_of(&network);
    let next_removal = || loop {
        if let FromServer::Remove { network: removed, removal } = agent.hear() {
            assert_eq!(removed, network);
            return removal;
        }
    };
    let earlier = next_removal();
    agent.say(FromAgent::NeedFull { network });
    next_removal();
    // An answer to an earlier removal confirms nothing.
    agent.say(FromAgent::Removed { network, removal: earlier });
    agent.say(FromAgent::NeedFull { network });
    let removal = next_removal();
    assert_eq!(server.operation(&detachment)["state"], "pending");
    assert_eq!(server.operation(&deletion)["state"], "pending");
    agent.say(FromAgent::Removed { network, removal });
    assert_eq!(server.ended(&detachment)["state"], "success");
    assert_eq!(server.ended(&deletion)["state"], "success");
}

#[test]
fn changes_from_many_clients_at_once_all_end() {
    let server = TestServer::start(Setup::WAITING);
    let _agents = ["h1", "h2"].map(|name| Agent::connect(&server, name, acknowledge));
    let network = server.network(managed(99));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (server, network) = (&server, &network);
            scope.spawn(move || {
                let host = if client % 2 == 0 { "h1" } else { "h2" };
                let instance = server.instance(&format!("i{client}"), host);
                for _ in 0..5 {
                    assert_eq!(server.attach(network, &instance)["state"], "success");
                    assert_eq!(server.detach(network, &instance)["state"], "success");
                }
            });
        }
    });
    assert_eq!(server.get(&network).get("leases"), None);
}

#[test]
fn a_host_that_is_removed_is_waited_for_no_more() {
    let server = TestServer::start(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let attachment = server.attach(&network, &web);
    assert_eq!(server.ended(&attachment)["state"], "success");
    agent.leave(&server);
    let detachment = server.detach(&network, &web);
    assert_eq!(detachment["state"], "pending");
    assert_eq!(server.send("DELETE", &format!("/privnet/v1/instances/{web}"), b"").status, 204);
    let host = server.host("h1").expect("a host")["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.send("DELETE", &format!("/privnet/v1/hosts/{host}"), b"").status, 204);
    wait_until("the end", || server.operation(&detachment)["state"] == "success");
    assert!(PATIENCE < Setup::AT_ONCE.operation_timeout, "it was not the deadline that ended it");
}
