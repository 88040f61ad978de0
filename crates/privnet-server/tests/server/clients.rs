//! What Exoscale's clients send, in their order, signed as each of them signs, with the key of an
//! organization's admin. What they need of the answers is what is asserted.

use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::replay::{EXO, JAVA, PYTHON, Replay, TERRAFORM};
use crate::support::{Agent, Setup, TestServer};

/// A server with an agent and an instance, which it names.
fn server() -> (TestServer, Agent, String) {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let instance = server.instance("web1", "h1");
    (server, agent, instance)
}

#[test]
fn exo_creates_shows_updates_and_deletes_a_network() {
    let (server, _agent, _) = server();
    let exo = Replay::new(&server, EXO);
    exo.zone();
    let id = exo.change("POST", "/v2/private-network", r#"{"name":"demo","options":{}}"#);
    exo.zone();
    assert_eq!(exo.get("/v2/private-network")["private-networks"][0]["id"], id.as_str());
    let path = format!("/v2/private-network/{id}");
    assert_eq!(exo.get(&path)["name"], "demo");
    exo.zone();
    exo.get("/v2/private-network");
    let update = r#"{"end-ip":"10.0.0.99","name":"demo","netmask":"255.255.255.0","options":{"routers":["10.0.0.1"]},"start-ip":"10.0.0.10"}"#;
    assert_eq!(exo.change("PUT", &path, update), id);
    assert_eq!(exo.get(&path)["start-ip"], "10.0.0.10");
    exo.zone();
    exo.change("DELETE", &path, "");
    exo.zone();
    let quotas = exo.get("/v2/quota");
    let resources: Vec<_> = quotas["quotas"].as_array().expect("a list").iter().map(|one| &one["resource"]).collect();
    assert!(resources.contains(&&json!("private-network")), "{quotas}");
}

#[test]
fn exo_attaches_an_instance_changes_its_address_and_detaches_it() {
    let (server, _agent, instance) = server();
    let exo = Replay::new(&server, EXO);
    let managed = r#"{"end-ip":"10.0.0.99","name":"n","netmask":"255.255.255.0","options":{},"start-ip":"10.0.0.10"}"#;
    let network = format!("/v2/private-network/{}", exo.change("POST", "/v2/private-network", managed));
    let shown = || {
        exo.zone();
        assert_eq!(exo.get("/v2/instance")["instances"][0]["id"], instance.as_str());
        let one = exo.get(&format!("/v2/instance/{instance}"));
        for id in [&one["instance-type"]["id"], &one["template"]["id"]] {
            assert!(id.is_string(), "{one}");
        }
        exo.get(&format!("/v2/instance-type/{}", one["instance-type"]["id"].as_str().expect("an id")));
        exo.get(&format!("/v2/template/{}", one["template"]["id"].as_str().expect("an id")));
        assert_eq!(exo.status("GET", &format!("/v2/reverse-dns/instance/{instance}"), "").0, 404);
        let known = exo.get("/v2/private-network");
        for attached in one["private-networks"].as_array().into_iter().flatten() {
            let networks = known["private-networks"].as_array().expect("a list");
            assert!(networks.iter().any(|network| network["id"] == attached["id"]), "{known}");
        }
        exo.get(&network)["leases"][0]["ip"].clone()
    };
    let with_address = |ip: &str| format!(r#"{{"instance":{{"id":"{instance}"}},"ip":"{ip}"}}"#);
    exo.change("PUT", &format!("{network}:attach"), &with_address("10.0.0.60"));
    assert_eq!(shown(), "10.0.0.60");
    exo.change("PUT", &format!("{network}:update-ip"), &with_address("10.0.0.61"));
    assert_eq!(shown(), "10.0.0.61");
    let detach = format!(r#"{{"instance":{{"created-at":"0001-01-01T00:00:00Z","id":"{instance}"}}}}"#);
    exo.change("PUT", &format!("{network}:detach"), &detach);
    assert_eq!(shown(), Value::Null);
}

/// exo 1.95.1 signs its request for the zones.
#[test]
fn an_older_exo_signs_its_request_for_the_zones() {
    let (server, ..) = server();
    let exo = Replay::new(&server, EXO);
    assert_eq!(exo.get("/v2/zone")["zones"].as_array().expect("a list").len(), 1);
}

#[test]
fn terraform_creates_refreshes_updates_and_destroys() {
    let (server, _agent, instance) = server();
    let terraform = Replay::new(&server, TERRAFORM);
    terraform.zone();
    let create =
        r#"{"end-ip":"10.0.0.99","labels":{"team":"db"},"name":"tf","netmask":"255.255.255.0","start-ip":"10.0.0.10"}"#;
    let network = format!("/v2/private-network/{}", terraform.change("POST", "/v2/private-network", create));
    terraform.zone();
    let before = terraform.get(&network);
    assert_eq!(before["labels"], json!({"team": "db"}));
    let attach = format!(r#"{{"instance":{{"id":"{instance}"}},"ip":"10.0.0.20"}}"#);
    terraform.change("PUT", &format!("{network}:attach"), &attach);
    let read = terraform.get(&format!("/v2/instance/{instance}"));
    assert!(read["created-at"].is_string() && read["state"].is_string() && read["disk-size"].is_u64(), "{read}");
    terraform.zone();
    // Labels that were taken out of the configuration, by the provider's next version.
    terraform.change("DELETE", &format!("{network}/labels"), "");
    terraform.change(
        "PUT",
        &network,
        r#"{"description":"d","end-ip":"10.0.0.99","name":"tf","netmask":"255.255.255.0","start-ip":"10.0.0.10"}"#,
    );
    let after = terraform.get(&network);
    // "labels": {} would be a difference for ever.
    assert!(after.get("labels").is_none() && after["description"] == "d", "{after}");
    terraform.change("PUT", &format!("{network}:detach"), &format!(r#"{{"instance":{{"id":"{instance}"}}}}"#));
    terraform.zone();
    terraform.change("DELETE", &network, "");
    assert_eq!(terraform.status("GET", &network, "").0, 404);
}

#[test]
fn python_sends_spaces_and_sometimes_nothing() {
    let (server, _agent, instance) = server();
    let python = Replay::new(&server, PYTHON);
    let create = r#"{"name": "demo-net", "description": "", "start-ip": "10.0.0.50", "end-ip": "10.0.0.250", "netmask": "255.255.255.0"}"#;
    let operation = python.ask("POST", "/v2/private-network", create);
    let id = operation["id"].as_str().expect("an id");
    assert_eq!(python.get(&format!("/v2/operation/{id}"))["state"], "success");
    let network = format!("/v2/private-network/{}", operation["reference"]["id"].as_str().expect("an id"));
    python.change(
        "PUT",
        &format!("{network}:attach"),
        &format!(r#"{{"instance": {{"id": "{instance}"}}, "ip": "10.0.0.10"}}"#),
    );
    assert_eq!(python.get(&network)["leases"], json!([{"ip": "10.0.0.10", "instance-id": instance}]));
    // A call without arguments has no body and no content type.
    python.change("PUT", &network, "");
    python.change("DELETE", &format!("{network}/labels"), "");
    assert_eq!(python.status("POST", "/v2/private-network", "").0, 400);
    python.get("/v2/instance?manager-type=instance-pool&labels=a+b");
}

#[test]
fn java_signs_for_now_and_sends_empty_labels() {
    let (server, _agent, instance) = server();
    let java = Replay::new(&server, JAVA);
    java.zone();
    let create = r#"{"name":"n","netmask":"255.255.255.0","start-ip":"10.0.0.10","end-ip":"10.0.0.99","labels":{}}"#;
    let network = format!("/v2/private-network/{}", java.change("POST", "/v2/private-network", create));
    java.change("PUT", &format!("{network}:attach"), &format!(r#"{{"instance":{{"id":"{instance}"}}}}"#));
    java.change("PUT", &network, r#"{"description":"d","labels":{}}"#);
    let whole = java.get(&format!("/v2/instance/{instance}"));
    java.change("PUT", &format!("{network}:detach"), &json!({"instance": whole}).to_string());
    assert!(java.get(&network).get("leases").is_none());
    java.get("/v2/instance?manager-type=instance-pool");
    let events = java.get("/v2/event?from=2020-01-01T00%3A00%3A00%2B01%3A00");
    assert_eq!(events.as_array().map(Vec::len), Some(4), "each change so far");
    java.change("DELETE", &network, "");
}
