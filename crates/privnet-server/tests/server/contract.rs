//! What the API's clients rely on (the contract's sections 1, 2, 5 and 6).

use serde_json::{Value, json};

use crate::support::agent::{acknowledge, silent};
use crate::support::{Agent, Setup, TestServer, listed, managed};

fn server() -> (TestServer, Agent) {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    (server, agent)
}

#[test]
fn an_empty_list_is_a_list() {
    let server = TestServer::start(Setup::WAITING);
    assert_eq!(server.get("/v2/private-network"), json!({"private-networks": []}));
    assert_eq!(server.get("/v2/instance"), json!({"instances": []}));
    assert_eq!(server.get("/privnet/v1/instances"), json!({"instances": []}));
    assert_eq!(server.get("/privnet/v1/hosts"), json!({"hosts": []}));
}

#[test]
fn the_one_zone_has_our_own_url() {
    let server = TestServer::start(Setup::WAITING);
    let zone = json!({"name": "ch-dk-2", "api-endpoint": "http://api.example.net:8080/v2"});
    assert_eq!(server.get("/v2/zone"), json!({"zones": [zone]}));
}

#[test]
fn the_url_is_that_of_the_address_unless_another_one_is_given() {
    let server = TestServer::start(Setup { public_url: None, ..Setup::WAITING });
    let endpoint = format!("http://{}/v2", server.address);
    assert_eq!(server.get("/v2/zone")["zones"][0]["api-endpoint"], endpoint);
    let server = TestServer::start(Setup { public_url: Some("https://api.example.net/"), ..Setup::WAITING });
    assert_eq!(server.get("/v2/zone")["zones"][0]["api-endpoint"], "https://api.example.net/v2");
}

#[test]
fn the_document_is_served() {
    let server = TestServer::start(Setup::WAITING);
    assert_eq!(server.get("/v2/openapi.json"), privnet_api::document());
    assert_eq!(server.get("/healthz"), json!({"status": "ok"}));
    assert_eq!(server.get("/readyz"), json!({"status": "ok"}));
}

#[test]
fn a_creation_answers_with_a_reference_to_the_network() {
    let server = TestServer::start(Setup::WAITING);
    // What the exo client sends for a network without anything.
    let operation = server.post("/v2/private-network", json!({"name": "demo-net", "options": {}}));
    let id = operation["reference"]["id"].as_str().expect("an id");
    let link = format!("/v2/private-network/{id}");
    let expected = json!({
        "id": operation["id"], "state": "success",
        "reference": {"id": id, "link": link, "command": "get-private-network"},
    });
    assert_eq!(operation, expected);
    assert_eq!(server.operation(&operation), expected);
    let network = server.get(&link);
    assert_eq!(network, json!({"id": id, "name": "demo-net", "vni": network["vni"]}));
    assert_eq!(server.get("/v2/private-network"), json!({"private-networks": [network]}));
}

/// As was recorded of create, update and delete: the read, and the path with its prefix (contract §6).
#[test]
fn every_change_of_a_network_refers_to_what_reads_it() {
    let (server, _agent) = server();
    let created = server.post("/v2/private-network", managed(9));
    let reference = created["reference"].clone();
    let network = reference["link"].as_str().expect("a link").to_owned();
    let id = network.strip_prefix("/v2/private-network/").expect("the path with its prefix");
    assert_eq!(reference, json!({"id": id, "link": network, "command": "get-private-network"}));
    let on_web = json!({"instance": {"id": server.instance("web", "h1")}});
    for (method, path, body) in [
        ("PUT", network.clone(), json!({"description": "d"})),
        ("DELETE", format!("{network}/labels"), json!({})),
        ("PUT", format!("{network}:attach"), on_web.clone()),
        ("PUT", format!("{network}:update-ip"), on_web.clone()),
        ("PUT", format!("{network}:detach"), on_web),
        ("DELETE", network.clone(), json!({})),
    ] {
        let operation = server.ask(method, &path, body).ok();
        assert_eq!((&operation["state"], &operation["reference"]), (&json!("success"), &reference), "{method} {path}");
        assert_eq!(server.operation(&operation), operation, "{method} {path}");
    }
}

#[test]
fn a_managed_network_shows_what_it_was_made_with() {
    let server = TestServer::start(Setup::WAITING);
    let mut wish = managed(100);
    wish["description"] = "for the demo".into();
    wish["labels"] = json!({"team": "db"});
    wish["options"] = json!({
        "routers": ["10.0.0.1"], "dns-servers": ["10.0.0.2", "10.0.0.3"], "ntp-servers": ["10.0.0.4"],
        "domain-search": ["lab.example.net"],
    });
    let mut network = server.get(&server.network(wish.clone()));
    for own in ["id", "vni"] {
        network.as_object_mut().expect("an object").remove(own).expect("the server's own");
    }
    assert_eq!(network, wish);
}

#[test]
fn an_empty_body_needs_no_content_type() {
    let server = TestServer::start(Setup::WAITING);
    let network = server.network(managed(2));
    let before = server.get(&network);
    // What python-exoscale sends for calls without arguments.
    assert_eq!(server.send("PUT", &network, b"").ok()["state"], "success");
    assert_eq!(server.get(&network), before);
    let refusal = server.send("POST", "/v2/private-network", b"");
    assert_eq!((refusal.status, refusal.body), (400, json!({"message": "name: is required"})));
}

#[test]
fn arguments_that_nobody_asked_for_are_ignored() {
    let server = TestServer::start(Setup::WAITING);
    let network = server.network(json!({"name": "n", "vni": 7, "id": "x", "leases": null, "whatever": [1]}));
    assert_ne!(server.get(&network)["vni"], 7);
    assert_eq!(server.get(&format!("{network}?a=b&c")), server.get(&network));
    assert_eq!(server.get("/v2/private-network?zone=ch-gva-2"), server.get("/v2/private-network"));
}

#[test]
fn an_update_changes_what_it_gives() {
    let server = TestServer::start(Setup::WAITING);
    let mut wish = managed(100);
    wish["labels"] = json!({"team": "db", "tier": "1"});
    wish["options"] = json!({"routers": ["10.0.0.1"], "dns-servers": ["10.0.0.2"]});
    let network = server.network(wish);
    let mut expected = server.get(&network);
    let mut check = |change: Value, property: &str, value: Option<Value>| {
        assert_eq!(server.put(&network, change)["state"], "success");
        match value {
            Some(value) => expected[property] = value,
            None => drop(expected.as_object_mut().expect("an object").remove(property)),
        }
        assert_eq!(server.get(&network), expected);
    };
    check(json!({"description": "d"}), "description", Some("d".into()));
    check(json!({"description": ""}), "description", None);
    check(json!({"name": "other"}), "name", Some("other".into()));
    check(json!({"end-ip": "10.0.0.200"}), "end-ip", Some("10.0.0.200".into()));
    check(json!({"netmask": "255.255.0.0"}), "netmask", Some("255.255.0.0".into()));
    check(json!({"labels": {"team": "web"}}), "labels", Some(json!({"team": "web"})));
    check(json!({"labels": {}}), "labels", None);
    check(json!({"options": {"routers": ["10.0.0.3"]}}), "options", Some(json!({"routers": ["10.0.0.3"]})));
    check(json!({"options": {}}), "options", None);
}

#[test]
fn labels_are_reset_also_when_there_are_none() {
    let server = TestServer::start(Setup::WAITING);
    let network = server.network(json!({"name": "n", "labels": {"a": "b"}}));
    for _ in 0..2 {
        let operation = server.delete(&format!("{network}/labels"));
        assert_eq!((&operation["state"], &operation["reference"]["link"]), (&"success".into(), &json!(network)));
        assert_eq!(server.get(&network).get("labels"), None);
    }
}

#[test]
fn an_unmanaged_network_becomes_managed_and_leases_to_those_that_are_there() {
    let (server, _agent) = server();
    let network = server.network(json!({"name": "n"}));
    let web = server.instance("web", "h1");
    server.attach(&network, &web);
    assert_eq!(server.get(&network).get("leases"), None);
    let range = json!({"start-ip": "10.0.0.10", "end-ip": "10.0.0.20", "netmask": "255.255.255.0"});
    assert_eq!(server.put(&network, range)["state"], "success");
    assert_eq!(server.get(&network)["leases"], json!([{"ip": "10.0.0.10", "instance-id": web}]));
}

#[test]
fn an_attachment_shows_on_the_network_and_on_the_instance() {
    let (server, _agent) = server();
    let network = server.network(managed(2));
    let web = server.instance("web", "h1");
    let operation = server.attach(&network, &web);
    assert_eq!((&operation["state"], &operation["reference"]["link"]), (&"success".into(), &json!(network)));
    let shown = server.get(&network);
    assert_eq!(shown["leases"], json!([{"ip": "10.0.0.10", "instance-id": web}]));
    let instance = server.get(&format!("/v2/instance/{web}"));
    let mac = instance["private-networks"][0]["mac-address"].as_str().expect("a MAC address");
    assert!(mac.starts_with("0a:"), "{mac}");
    let networks = json!([{"id": shown["id"], "mac-address": mac}]);
    let expected = json!({
        "id": web, "name": "web", "state": "running", "created-at": instance["created-at"],
        "instance-type": instance["instance-type"], "template": instance["template"], "disk-size": 10,
        "public-ip-assignment": "none", "private-networks": networks, "secureboot-enabled": false, "tpm-enabled": false,
    });
    assert_eq!(instance, expected);
    assert_eq!(server.get("/v2/instance"), json!({"instances": [listed(&expected)]}));
}

/// The requests of `exo compute instance show`, in its order (contract §2.0 and 2.2).
#[test]
fn what_a_client_looks_up_on_its_way_to_an_instances_networks_is_there() {
    let (server, _agent) = server();
    let web = server.instance("web", "h1");
    server.attach(&server.network(managed(2)), &web);
    let instance = server.get(&format!("/v2/instance/{web}"));
    for (property, list, key) in
        [("instance-type", "/v2/instance-type", "instance-types"), ("template", "/v2/template", "templates")]
    {
        let id = instance[property]["id"].as_str().expect("an id");
        let one = server.get(&format!("{list}/{id}"));
        assert_eq!(one["id"], id);
        assert!(server.get(list)[key].as_array().expect("a list").contains(&one), "{one}");
        server.refused(
            "GET",
            &format!("{list}/{web}"),
            json!({}),
            404,
            &format!("{} {web} not found", property.replace('-', " ")),
        );
        assert_eq!(server.send("GET", &format!("{list}/nonsense"), b"").status, 400);
    }
    // No instance has a reverse DNS record; a client that deletes one is told the same.
    for method in ["GET", "DELETE"] {
        assert_eq!(server.send(method, &format!("/v2/reverse-dns/instance/{web}"), b"").status, 404);
    }
}

#[test]
fn every_instance_type_has_a_name_and_a_size() {
    let server = TestServer::start(Setup::WAITING);
    let types = server.get("/v2/instance-type")["instance-types"].as_array().expect("a list").clone();
    let name =
        |one: &Value| format!("{}.{}", one["family"].as_str().expect("text"), one["size"].as_str().expect("text"));
    assert!(types.iter().any(|one| name(one) == "standard.medium" && one["cpus"] == 2), "{types:?}");
    for one in types {
        assert_eq!(server.get(&format!("/v2/instance-type/{}", one["id"].as_str().expect("an id"))), one);
    }
}

#[test]
fn quotas_tell_how_many_there_are_and_how_many_there_may_be() {
    let (server, _agent) = server();
    let network = server.network(managed(2));
    server.network(managed(2));
    server.instance("web", "h1");
    let quota = |resource: &str, usage: u64, limit: i64| json!({"resource": resource, "usage": usage, "limit": limit});
    let all = json!({"quotas": [quota("instance", 1, 256), quota("private-network", 2, 32)]});
    assert_eq!(server.get("/v2/quota"), all);
    server.delete(&network);
    assert_eq!(server.get("/v2/quota/private-network"), quota("private-network", 1, 32));
    server.lift_quotas();
    assert_eq!(server.get("/v2/quota/instance"), quota("instance", 1, -1));
    server.refused("GET", "/v2/quota/bucket", json!({}), 404, "quota \"bucket\" not found");
}

#[test]
fn a_static_address_lies_anywhere_in_the_subnet() {
    let (server, _agent) = server();
    let network = server.network(managed(2));
    let web = server.instance("web", "h1");
    assert_eq!(server.attach_with_ip(&network, &web, "10.0.0.1")["state"], "success");
    assert_eq!(server.get(&network)["leases"], json!([{"ip": "10.0.0.1", "instance-id": web}]));
}

#[test]
fn an_address_moves_and_comes_back_to_the_range() {
    let (server, _agent) = server();
    let network = server.network(managed(2));
    let web = server.instance("web", "h1");
    server.attach(&network, &web);
    let update = format!("{network}:update-ip");
    let ip = |body: Value| {
        assert_eq!(server.put(&update, body)["state"], "success");
        server.get(&network)["leases"][0]["ip"].clone()
    };
    assert_eq!(ip(json!({"instance": {"id": web}, "ip": "10.0.0.200"})), "10.0.0.200");
    // An address just released is the last to come back.
    assert_eq!(ip(json!({"instance": {"id": web}})), "10.0.0.11");
}

#[test]
fn a_detachment_takes_whatever_a_client_calls_an_instance() {
    let (server, _agent) = server();
    let network = server.network(managed(2));
    let web = server.instance("web", "h1");
    let detach = format!("{network}:detach");
    server.attach(&network, &web);
    // The Go clients do not leave a zero time out.
    let body = json!({"instance": {"created-at": "0001-01-01T00:00:00Z", "id": web}});
    assert_eq!(server.put(&detach, body)["state"], "success");
    assert_eq!(server.get(&network).get("leases"), None);
    server.attach(&network, &web);
    // The Java client sends what get-instance has answered.
    let body = json!({"instance": server.get(&format!("/v2/instance/{web}"))});
    assert_eq!(server.put(&detach, body)["state"], "success");
    assert_eq!(server.get(&format!("/v2/instance/{web}")).get("private-networks"), None);
}

#[test]
fn a_deleted_network_is_gone_at_once_and_its_operation_still_names_it() {
    let server = TestServer::start(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(2));
    let web = server.instance("web", "h1");
    server.attach(&network, &web);
    server.detach(&network, &web);
    let operation = server.delete(&network);
    assert_eq!(operation["state"], "pending");
    assert_eq!(server.get("/v2/private-network"), json!({"private-networks": []}));
    assert_eq!(server.send("GET", &network, b"").status, 404);
    agent.leave(&server);
    let ended = server.ended(&operation);
    assert_eq!((&ended["state"], &ended["reference"]), (&"success".into(), &operation["reference"]));
}

#[test]
fn the_colon_of_an_action_may_be_encoded() {
    let (server, _agent) = server();
    let network = server.network(managed(2));
    let web = server.instance("web", "h1");
    let body = json!({"instance": {"id": web}});
    assert_eq!(server.put(&format!("{network}%3Aattach"), body)["state"], "success");
}

#[test]
fn instances_are_registered_listed_and_forgotten() {
    let (server, _agent) = server();
    let wish = json!({"name": "web", "host": "h1", "kind": "netns", "netns": "/run/netns/web"});
    let reply = server.ask("POST", "/privnet/v1/instances", wish.clone());
    assert_eq!(reply.status, 201);
    let mut shown = reply.body.clone();
    for own in ["id", "created-at"] {
        shown.as_object_mut().expect("an object").remove(own).expect("the server's own");
    }
    let [driver, state] = ["driver", "state"].map(|own| shown.as_object_mut().expect("an object").remove(own));
    assert_eq!((driver, state), (Some(json!("external")), Some(json!("running"))));
    assert_eq!(shown, wish);
    assert_eq!(server.get("/privnet/v1/instances"), json!({"instances": [reply.body]}));
    let id = reply.body["id"].as_str().expect("an id");
    assert_eq!(server.send("DELETE", &format!("/privnet/v1/instances/{id}"), b"").status, 204);
    assert_eq!(server.get("/privnet/v1/instances"), json!({"instances": []}));
    assert_eq!(server.send("GET", &format!("/v2/instance/{id}"), b"").status, 404);
}

#[test]
fn hosts_are_listed_shown_and_forgotten() {
    let (server, agent) = server();
    let host = server.host("h1").expect("a host");
    let expected = json!({
        "id": host["id"], "name": "h1", "vtep": "192.0.2.1", "underlay-mtu-bytes": 1500, "version": "0.1.0",
        "connected": true, "instances": 0, "created-at": host["created-at"],
    });
    assert_eq!(host, expected);
    let path = format!("/privnet/v1/hosts/{}", host["id"].as_str().expect("an id"));
    assert_eq!(server.get(&path), expected);
    agent.leave(&server);
    assert_eq!(server.get(&path)["connected"], false);
    assert_eq!(server.send("DELETE", &path, b"").status, 204);
    assert_eq!(server.get("/privnet/v1/hosts"), json!({"hosts": []}));
}

#[test]
fn a_long_list_has_everything_once_and_in_the_order_of_creation() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    server.lift_quotas();
    let names: Vec<_> = (0..600).map(|number| format!("n{number}")).collect();
    for name in &names {
        server.network(json!({"name": name}));
        server.instance(name, "h1");
    }
    let listed = |path: &str, property: &str| {
        let list = server.get(path);
        let items = list[property].as_array().expect("a list");
        items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    // What is made within one millisecond has no order.
    assert_eq!(sorted(listed("/v2/private-network", "private-networks")), sorted(names.clone()));
    assert_eq!(sorted(listed("/v2/instance", "instances")), sorted(names.clone()));
    assert_eq!(sorted(listed("/privnet/v1/instances", "instances")), sorted(names));
}
