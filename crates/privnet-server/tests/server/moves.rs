//! An instance that is placed on another host, and a host that is gone for good.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use privnet_model::{Generation, Location, MacAddr, Reason};
use privnet_sync::{FromAgent, FromServer, PortFailure};
use serde_json::{Value, json};

use crate::support::agent::{acknowledge, silent};
use crate::support::{Agent, Setup, TestServer, id_of, managed};

/// A network with one instance on each of the hosts; those of `acknowledge` have applied it.
fn spread(server: &TestServer, hosts: &[&'static str]) -> (String, Vec<String>) {
    let network = server.network(managed(99));
    let instances: Vec<_> = hosts.iter().map(|host| server.instance(host, host)).collect();
    instances.iter().for_each(|instance| drop(server.attach(&network, instance)));
    (network, instances)
}

fn mac_of(server: &TestServer, instance: &str) -> MacAddr {
    let shown = server.get(&format!("/v2/instance/{instance}"));
    shown["private-networks"][0]["mac-address"].as_str().expect("a text").parse().expect("a MAC address")
}

fn applied(network: &str, generation: u64, failures: Vec<PortFailure>) -> FromAgent {
    FromAgent::Applied { network: id_of(network), generation: Generation(generation), failures }
}

fn host_of(server: &TestServer, instance: &str) -> String {
    let placed = server.get("/privnet/v1/instances");
    let one = placed["instances"].as_array().expect("a list").iter().find(|one| one["id"] == instance);
    one.expect("it is there")["host"].as_str().expect("a text").to_owned()
}

/// The next message that satisfies `wanted`, all before it being passed over.
#[track_caller]
fn hear_until<T>(agent: &Agent, wanted: impl Fn(FromServer) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(agent.hear()) {
            return found;
        }
    }
}

#[track_caller]
fn hear_removal(agent: &Agent, network: &str) -> u64 {
    hear_until(agent, |message| match message {
        FromServer::Remove { network: removed, removal } if removed == id_of(network) => Some(removal),
        _ => None,
    })
}

#[test]
fn a_move_is_about_the_instance_and_succeeds_when_all_hosts_have_applied_it() {
    let server = TestServer::start(Setup::WAITING);
    let _agents = ["h1", "h2", "h3"].map(|name| Agent::connect(&server, name, acknowledge));
    let (network, instances) = spread(&server, &["h1", "h3"]);
    let (mac, leases) = (mac_of(&server, &instances[0]), server.get(&network)["leases"].clone());
    let operation = server.move_to(&instances[0], "h2");
    let link = format!("/v2/instance/{}", instances[0]);
    let reference = json!({"id": instances[0], "link": link, "command": "get-instance"});
    assert_eq!((&operation["state"], &operation["reference"]), (&json!("success"), &reference));
    assert_eq!(host_of(&server, &instances[0]), "h2");
    assert_eq!((mac_of(&server, &instances[0]), &server.get(&network)["leases"]), (mac, &leases));
    // The one that it has left is empty.
    let host = server.host("h1").expect("a host")["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.send("DELETE", &format!("/privnet/v1/hosts/{host}"), b"").status, 204);
}

#[test]
fn a_move_may_give_another_placement() {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let (_, instances) = spread(&server, &["h1"]);
    let body = json!({"host": "h1", "kind": "netns", "netns": "/run/netns/web2"});
    let operation = server.put(&format!("/privnet/v1/instances/{}:move", instances[0]), body);
    assert_eq!(operation["state"], "success");
    let placement = hear_until(&agent, |message| match message {
        FromServer::Delta(delta) => match &delta.set[..] {
            [only] => Some(only.location.clone()),
            _ => None,
        },
        _ => None,
    });
    let Location::Local(port) = placement else { panic!("not here: {placement:?}") };
    let privnet_model::Placement::Netns(netns) = port.placement else { panic!("{:?}", port.placement) };
    assert_eq!(netns.as_str(), "/run/netns/web2");
}

#[test]
fn a_move_waits_for_the_new_host_the_old_one_and_the_others() {
    for late in ["h1", "h2", "h3"] {
        let server = TestServer::start(Setup::AT_ONCE);
        let answers = |name| if name == late { silent } else { acknowledge };
        let agents = ["h1", "h2", "h3"].map(|name| Agent::connect(&server, name, answers(name)));
        let (network, instances) = spread(&server, &["h1", "h3"]);
        let operation = server.move_to(&instances[0], "h2");
        let agent = agents.iter().find(|agent| agent.name() == late).expect("one of them");
        let removal = (late == "h1").then(|| hear_removal(agent, &network));
        // It hears this after whatever the others have said.
        agents.iter().filter(|agent| agent.name() != late).for_each(|agent| flush(&server, agent));
        assert_eq!(server.operation(&operation)["state"], "pending", "{late} has said nothing");
        agent.say(match removal {
            Some(removal) => FromAgent::Removed { network: id_of(&network), removal },
            None => applied(&network, 4, Vec::new()),
        });
        assert_eq!(server.ended(&operation)["state"], "success", "{late}");
    }
}

/// Waits until the server has heard all that an agent which acknowledges has said so far.
fn flush(server: &TestServer, agent: &Agent) {
    let probe = server.network(json!({"name": "probe"}));
    let instance = server.instance("probe", agent.name());
    assert_eq!(server.ended(&server.attach(&probe, &instance))["state"], "success");
}

#[test]
fn a_move_away_from_a_dead_host_does_not_wait_for_it_and_it_lets_go_when_it_returns() {
    let server = TestServer::start(Setup::WAITING);
    let dead = Agent::connect(&server, "h1", acknowledge);
    let _others = ["h2", "h3"].map(|name| Agent::connect(&server, name, acknowledge));
    let (network, instances) = spread(&server, &["h1", "h3"]);
    dead.leave(&server);
    assert_eq!(server.move_to(&instances[0], "h2")["state"], "success");
    let held = [(id_of(&network), Generation(3))].into();
    let back = Agent::connect_holding(&server, "h1", held, acknowledge);
    let lacked = back.hear_what_it_lacked();
    assert!(matches!(lacked[..], [FromServer::Remove { network: removed, .. }] if removed == id_of(&network)));
}

#[test]
fn a_move_to_a_host_that_is_away_is_realized_when_it_returns() {
    let server = TestServer::start(Setup { operation_timeout: Duration::from_millis(20), ..Setup::WAITING });
    for name in ["h1", "h2"] {
        Agent::connect(&server, name, acknowledge).leave(&server);
    }
    let (network, instances) = spread(&server, &["h1"]);
    let ended = server.operation(&server.move_to(&instances[0], "h2"));
    let message = "host h2 is not connected; the change stays wanted and is applied when it can be";
    assert_eq!((&ended["state"], &ended["message"]), (&json!("timeout"), &json!(message)));
    let back = Agent::connect(&server, "h2", acknowledge);
    let lacked = back.hear_what_it_lacked();
    assert!(matches!(&lacked[..], [FromServer::Full(state)] if state.id == id_of(&network)), "{lacked:?}");
}

fn not_there(server: &TestServer, instance: &str) -> Vec<PortFailure> {
    let message = "there is no network namespace web".to_owned();
    vec![PortFailure { mac: mac_of(server, instance), reason: Reason::NotFound, message }]
}

#[test]
fn a_workload_that_has_not_arrived_is_waited_for() {
    let server = TestServer::start(Setup::AT_ONCE);
    let old = Agent::connect(&server, "h1", acknowledge);
    let new = Agent::connect(&server, "h2", silent);
    let (network, instances) = spread(&server, &["h1"]);
    let operation = server.move_to(&instances[0], "h2");
    new.say(applied(&network, 3, not_there(&server, &instances[0])));
    flush(&server, &old);
    new.say(FromAgent::NeedFull { network: id_of(&network) });
    (0..2).for_each(|_| hear_until(&new, |message| matches!(message, FromServer::Full(_)).then_some(())));
    assert_eq!(server.operation(&operation)["state"], "pending");
    new.say(applied(&network, 3, Vec::new()));
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn a_workload_that_never_arrives_is_named_at_the_deadline() {
    let server = TestServer::start(Setup { operation_timeout: Duration::from_millis(20), ..Setup::AT_ONCE });
    Agent::connect(&server, "h1", acknowledge).leave(&server);
    let new = Agent::connect(&server, "h2", silent);
    let (network, instances) = spread(&server, &["h1"]);
    server.ended(&server.move_to(&instances[0], "h2"));
    new.say(applied(&network, 3, not_there(&server, &instances[0])));
    new.say(FromAgent::NeedFull { network: id_of(&network) });
    (0..2).for_each(|_| hear_until(&new, |message| matches!(message, FromServer::Full(_)).then_some(())));
    // By now the server knows, however late that was for the first.
    let ended = server.ended(&server.move_to(&instances[0], "h2"));
    let message = "host h2: there is no network namespace web; the change stays wanted and is applied when it can be";
    assert_eq!((&ended["state"], &ended["message"]), (&json!("timeout"), &json!(message)));
    assert_eq!(host_of(&server, &instances[0]), "h2");
}

#[test]
fn a_port_that_cannot_be_made_at_the_new_place_fails_the_move() {
    let server = TestServer::start(Setup::AT_ONCE);
    let _old = Agent::connect(&server, "h1", acknowledge);
    let new = Agent::connect(&server, "h2", silent);
    let (network, instances) = spread(&server, &["h1"]);
    let operation = server.move_to(&instances[0], "h2");
    let (mac, message) = (mac_of(&server, &instances[0]), "the map is full".to_owned());
    new.say(applied(&network, 3, vec![PortFailure { mac, reason: Reason::Fault, message }]));
    let ended = server.ended(&operation);
    let message = "host h2: the map is full; the change stays wanted and is tried again";
    assert_eq!((&ended["state"], &ended["message"]), (&json!("failure"), &json!(message)));
}

#[test]
fn a_move_waits_for_every_network_of_the_instance() {
    let server = TestServer::start(Setup::AT_ONCE);
    let _old = Agent::connect(&server, "h1", acknowledge);
    let new = Agent::connect(&server, "h2", silent);
    let (network, instances) = spread(&server, &["h1"]);
    let second = server.network(json!({"name": "second"}));
    server.ended(&server.attach(&second, &instances[0]));
    let operation = server.move_to(&instances[0], "h2");
    new.say(applied(&network, 3, Vec::new()));
    new.say(FromAgent::NeedFull { network: id_of(&network) });
    (0..2).for_each(|_| {
        hear_until(&new, |message| {
            matches!(message, FromServer::Full(state) if state.id == id_of(&network)).then_some(())
        });
    });
    assert_eq!(server.operation(&operation)["state"], "pending");
    new.say(applied(&second, 3, Vec::new()));
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn a_network_that_is_detached_during_a_move_is_waited_for_by_the_detachment_alone() {
    let server = TestServer::start(Setup::AT_ONCE);
    let _old = Agent::connect(&server, "h1", acknowledge);
    let new = Agent::connect(&server, "h2", acknowledge);
    let (network, instances) = spread(&server, &["h1"]);
    new.leave(&server);
    let move_ = server.move_to(&instances[0], "h2");
    assert_eq!(move_["state"], "pending");
    let detachment = server.detach(&network, &instances[0]);
    assert_eq!(server.ended(&move_)["state"], "success");
    assert_eq!(server.operation(&detachment)["state"], "pending");
    let _back = Agent::connect(&server, "h2", acknowledge);
    assert_eq!(server.ended(&detachment)["state"], "success");
}

#[test]
fn an_attachment_that_waits_for_a_dead_host_succeeds_where_the_instance_is_moved_to() {
    let server = TestServer::start(Setup::AT_ONCE);
    Agent::connect(&server, "h1", acknowledge).leave(&server);
    let _new = Agent::connect(&server, "h2", acknowledge);
    let (network, web) = (server.network(managed(9)), server.instance("web", "h1"));
    let attachment = server.attach(&network, &web);
    assert_eq!(attachment["state"], "pending");
    assert_eq!(server.ended(&server.move_to(&web, "h2"))["state"], "success");
    assert_eq!(server.ended(&attachment)["state"], "success");
}

#[test]
fn an_attachment_fails_with_the_host_that_the_instance_was_moved_to() {
    let server = TestServer::start(Setup::AT_ONCE);
    let _old = Agent::connect(&server, "h1", silent);
    Agent::connect(&server, "h2", acknowledge).leave(&server);
    let (network, web) = (server.network(managed(9)), server.instance("web", "h1"));
    let attachment = server.attach(&network, &web);
    server.move_to(&web, "h2");
    server.remove_with_instances("h2");
    let ended = server.ended(&attachment);
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("failure"), &json!("not-found")), "{ended}");
}

#[test]
fn a_move_that_is_overtaken_by_another_ends_with_it() {
    let server = TestServer::start(Setup::AT_ONCE);
    let _old = Agent::connect(&server, "h1", acknowledge);
    Agent::connect(&server, "h2", acknowledge).leave(&server);
    let _other = Agent::connect(&server, "h3", acknowledge);
    let (_, instances) = spread(&server, &["h1"]);
    let overtaken = server.move_to(&instances[0], "h2");
    assert_eq!(overtaken["state"], "pending");
    assert_eq!(server.ended(&server.move_to(&instances[0], "h3"))["state"], "success");
    assert_eq!(server.ended(&overtaken)["state"], "success");
}

#[test]
fn a_pending_move_goes_on_after_a_restart() {
    let mut server = TestServer::start(Setup { return_grace: Duration::from_secs(60), ..Setup::AT_ONCE });
    let agents = ["h1", "h2"].map(|name| Agent::connect(&server, name, silent));
    let (network, instances) = spread(&server, &["h1"]);
    let operation = server.move_to(&instances[0], "h2");
    drop(agents);
    server.restart();
    assert_eq!(server.operation(&operation)["state"], "pending");
    let _back = ["h1", "h2"]
        .map(|name| Agent::connect_holding(&server, name, [(id_of(&network), Generation(2))].into(), acknowledge));
    assert_eq!(server.ended(&operation)["state"], "success");
    assert_eq!(host_of(&server, &instances[0]), "h2");
}

#[test]
fn moves_attachments_and_detachments_of_many_clients_all_end() {
    let server = TestServer::start(Setup::WAITING);
    let _agents = ["h1", "h2", "h3"].map(|name| Agent::connect(&server, name, acknowledge));
    let (network, instances) = spread(&server, &["h1", "h2", "h3"]);
    let second = server.network(json!({"name": "second"}));
    let ended = |operation: Value| assert_eq!(operation["state"], "success", "{operation}");
    std::thread::scope(|scope| {
        for (client, instance) in instances.iter().cycle().take(6).enumerate() {
            let (server, second) = (&server, &second);
            scope.spawn(move || {
                for round in 0..5 {
                    ended(server.move_to(instance, ["h1", "h2", "h3"][(client + round) % 3]));
                    // Another client may be faster.
                    let attachment = server.attach(second, instance);
                    let attachment = server.ended(&attachment);
                    assert_ne!(attachment["state"], "timeout", "{attachment}");
                    let detachment = json!({"instance": {"id": instance}});
                    let reply = server.ask("PUT", &format!("{second}:detach"), detachment);
                    assert!(matches!(reply.status, 200 | 404), "{reply:?}");
                }
            });
        }
    });
    assert_eq!(server.get(&network)["leases"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_host_that_is_removed_with_its_instances_takes_its_entries_along() {
    let server = TestServer::start(Setup::WAITING);
    let gone = Agent::connect(&server, "h1", acknowledge);
    let other = Agent::connect(&server, "h2", acknowledge);
    let (network, instances) = spread(&server, &["h1", "h2"]);
    let mac = mac_of(&server, &instances[0]);
    gone.leave(&server);
    server.remove_with_instances("h1");
    let removed = hear_until(&other, |message| match message {
        FromServer::Delta(delta) if !delta.removed.is_empty() => Some(delta.removed),
        _ => None,
    });
    assert_eq!(removed, BTreeSet::from([mac]));
    assert_eq!(server.host("h1"), None);
    assert_eq!(server.send("GET", &format!("/v2/instance/{}", instances[0]), b"").status, 404);
    assert_eq!(server.get(&network)["leases"].as_array().map(Vec::len), Some(1));
    // Who is told all from now on hears nothing of it either.
    other.say(FromAgent::NeedFull { network: id_of(&network) });
    let vteps = hear_until(&other, |message| match message {
        FromServer::Full(state) if state.generation == Generation(4) => Some(state.remote_vteps()),
        _ => None,
    });
    assert_eq!(vteps, BTreeSet::<IpAddr>::new());
}

#[test]
fn the_agent_of_a_removed_host_is_cut_off_at_once_and_returns_as_a_new_host_that_carries_nothing() {
    let server = TestServer::start(Setup::WAITING);
    let removed = Agent::connect(&server, "h1", acknowledge);
    let (network, _) = spread(&server, &["h1"]);
    let before = server.host("h1").expect("a host");
    server.remove_with_instances("h1");
    removed.hear_the_end();
    let held = [(id_of(&network), Generation(2))].into();
    let back = Agent::connect_holding(&server, "h1", held, acknowledge);
    let lacked = back.hear_what_it_lacked();
    assert!(matches!(lacked[..], [FromServer::Remove { network: unwanted, .. }] if unwanted == id_of(&network)));
    assert_ne!(server.host("h1").expect("a host")["id"], before["id"]);
    // It may carry instances again.
    let again = server.instance("again", "h1");
    assert_eq!(server.attach(&network, &again)["state"], "success");
}

#[test]
fn what_waits_for_a_host_that_is_removed_with_its_instances_fails_but_for_detachments() {
    let server = TestServer::start(Setup::AT_ONCE);
    Agent::connect(&server, "h1", acknowledge).leave(&server);
    let (network, web) = (server.network(managed(9)), server.instance("web", "h1"));
    let attachment = server.attach(&network, &web);
    let move_ = server.move_to(&web, "h1");
    let detached = server.instance("detached", "h1");
    server.attach(&network, &detached);
    let detachment = server.detach(&network, &detached);
    for operation in [&attachment, &move_, &detachment] {
        assert_eq!(operation["state"], "pending");
    }
    server.remove_with_instances("h1");
    for operation in [&attachment, &move_] {
        let ended = server.ended(operation);
        assert_eq!((&ended["state"], &ended["reason"]), (&json!("failure"), &json!("not-found")), "{ended}");
    }
    assert_eq!(server.ended(&detachment)["state"], "success");
}
