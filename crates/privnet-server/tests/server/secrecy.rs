//! What organizations are told of the machines that carry their networks: nothing.

use std::time::Duration;

use privnet_api::Signer;
use privnet_model::Reason;
use privnet_sync::{FromAgent, FromServer, PortFailure};
use serde_json::json;

use crate::support::agent::{Held, acknowledge, hello, silent};
use crate::support::{Agent, Client, Setup, TestServer, managed, wait_until};

const WHY: &str = "cannot open /run/netns/host-netns at 192.0.2.1";

/// Says that no port it hears of can be plugged in.
fn fail(message: &FromServer) -> Option<FromAgent> {
    let FromServer::Full(state) = message else { return acknowledge(message) };
    let failure = |mac| PortFailure { mac, reason: Reason::Fault, message: WHY.to_owned() };
    let failures = state.members.keys().copied().map(failure).collect();
    Some(FromAgent::Applied { network: state.id, generation: state.generation, failures })
}

/// The names, addresses and paths of machines are an operator's to know.
#[test]
fn an_organization_is_told_nothing_of_hosts_by_what_fails() {
    let server = TestServer::start(Setup { operation_timeout: Duration::from_millis(200), ..Setup::WAITING });
    let _failing = Agent::connect(&server, "h1", fail);
    let own = Client::of(server.address, Signer::new(&server.first_credentials().default).expect("a key"));
    let mut told = Vec::new();

    // A host that cannot, and one that does not answer in time.
    let network = own.network(managed(9));
    let web = server.instance("web", "h1");
    let failed = own.operation(&own.attach(&network, &web));
    assert_eq!(failed["state"], "failure");
    let _silent = Agent::connect(&server, "h2", silent);
    let db = server.instance("db", "h2");
    let late = own.ended(&own.attach(&network, &db));
    assert_eq!(late["state"], "timeout");
    for (operation, machine) in [(&failed, WHY), (&late, "host h2 has not confirmed")] {
        let path = format!("/v2/operation/{}", operation["id"].as_str().expect("an id"));
        let full = server.get(&path);
        assert!(full["message"].as_str().is_some_and(|message| message.contains(machine)), "{full}");
        told.extend([operation.clone(), own.get(&path)]);
    }

    // A host that it names itself, whether there is one or not.
    let wish = |host: &str| {
        json!({
            "name": "x", "disk-size": 10, "labels": {"privnet/host": host},
            "instance-type": {"id": "70726976-6e65-4000-8000-000000000001"},
            "template": {"id": "70726976-6e65-4000-8000-000000000065"},
        })
    };
    let [known, unknown] = ["h1", "h9"].map(|host| own.ask("POST", "/v2/instance", wish(host)));
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
    assert_eq!(known.status, 403);
    told.extend([known.body, own.get("/v2/instance"), own.get(&network)]);

    // An operator is refused in its name, and reads why.
    let mut hello = hello("h3", Held::new());
    hello.facts.vtep = "2001:db8::7".parse().expect("an address");
    let _other = Agent::try_connect(&server, hello, "h3", acknowledge).expect("accepted");
    let far = server.instance("far", "h3");
    let mixed = server.ask("PUT", &format!("{network}:attach"), json!({"instance": {"id": far}}));
    assert_eq!(mixed.status, 409);
    assert!(mixed.body["message"].as_str().is_some_and(|message| message.contains("2001:db8::7")), "{}", mixed.body);
    wait_until("the refusals are in the log", || own.get("/v2/event").to_string().contains("cannot reach"));
    told.push(own.get("/v2/event"));

    for answer in told {
        let answer = answer.to_string();
        for machine in ["h1", "h2", "h3", "192.0.2.", "2001:db8", "/run/netns", "host-netns"] {
            assert!(!answer.contains(machine), "{machine}: {answer}");
        }
    }
}
