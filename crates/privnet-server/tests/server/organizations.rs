//! Organizations and keys, as operators see them.

use privnet_model::OrganizationId;
use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::{Agent, Setup, TestServer, managed};

const PATH: &str = "/privnet/v1/organizations";

fn default_path() -> String {
    format!("{PATH}/{}", OrganizationId::DEFAULT)
}

fn create(server: &TestServer, body: Value) -> Value {
    let reply = server.ask("POST", PATH, body);
    assert_eq!(reply.status, 201);
    reply.body
}

#[test]
fn a_new_server_has_one_organization() {
    let mut server = TestServer::start(Setup::WAITING);
    let of_new_server = server.get(PATH);
    let [organization] = &of_new_server["organizations"].as_array().expect("a list")[..] else {
        panic!("{of_new_server}")
    };
    assert_eq!(
        (&organization["name"], &organization["id"]),
        (&json!("default"), &json!(OrganizationId::DEFAULT.to_string()))
    );
    assert_eq!(organization["quotas"], json!({"networks": 32, "ports-per-network": 256, "instances": 256}));
    server.restart();
    assert_eq!(server.get(PATH), of_new_server);
}

#[test]
fn an_organization_shows_what_it_has() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    server.network(managed(2));
    server.network(managed(2));
    server.instance("web", "h1");
    assert_eq!(server.get(&default_path())["usage"], json!({"networks": 2, "instances": 1, "keys": 1}));
}

#[test]
fn an_organization_is_created_changed_and_deleted() {
    let mut server = TestServer::start(Setup::WAITING);
    let acme = create(&server, json!({"name": "acme", "quotas": {"networks": 2}}));
    assert_eq!(acme["quotas"], json!({"networks": 2, "ports-per-network": 256, "instances": 256}));
    assert_eq!(acme["usage"], json!({"networks": 0, "instances": 0, "keys": 0}));
    server.refused("POST", PATH, json!({"name": "acme"}), 409, "there is an organization acme already");

    let path = format!("{PATH}/{}", acme["id"].as_str().expect("an id"));
    let changed = server.put(&path, json!({"name": "acme-2", "quotas": {"instances": -1}}));
    assert_eq!(changed["name"], "acme-2");
    assert_eq!(changed["quotas"], json!({"networks": 2, "ports-per-network": 256, "instances": -1}));
    server.restart();
    assert_eq!(server.get(&path), changed);

    assert_eq!(server.ask("DELETE", &path, json!({})).status, 204);
    let message = format!("organization {} not found", acme["id"].as_str().expect("an id"));
    server.refused("GET", &path, json!({}), 404, &message);
    let message = "organization default stays: it is the one within which operators act";
    server.refused("DELETE", &default_path(), json!({}), 409, message);
}

#[test]
fn an_instance_that_is_registered_for_another_organization_is_that_ones() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let acme = create(&server, json!({"name": "acme"}));
    let acme = acme["id"].as_str().expect("an id");
    let body = json!({"name": "web", "host": "h1", "kind": "netns", "netns": "web", "organization": acme});
    let instance = server.ask("POST", "/privnet/v1/instances", body).body;
    let id = instance["id"].as_str().expect("an id");
    server.refused("GET", &format!("/v2/instance/{id}"), json!({}), 404, &format!("instance {id} not found"));
    assert_eq!(server.get("/v2/instance"), json!({"instances": []}));
    let network = server.network(managed(2));
    let attach = json!({"instance": {"id": id}});
    server.refused("PUT", &format!("{network}:attach"), attach, 404, &format!("instance {id} not found"));
    let message = "organization acme has 0 private networks and 1 instance; delete them first";
    server.refused("DELETE", &format!("{PATH}/{acme}"), json!({}), 409, message);

    assert_eq!(server.get("/privnet/v1/instances")["instances"], json!([instance]));
    let operation = server.put(&format!("/privnet/v1/instances/{id}:move"), json!({"host": "h1", "netns": "other"}));
    assert_eq!(server.get(&format!("/v2/operation/{}", operation["id"].as_str().expect("an id")))["state"], "success");
    assert_eq!(server.ask("DELETE", &format!("/privnet/v1/instances/{id}"), json!({})).status, 204);
    assert_eq!(server.ask("DELETE", &format!("{PATH}/{acme}"), json!({})).status, 204);
}

#[test]
fn nothing_comes_beyond_a_quota() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(2));
    let (web, spare) = (server.instance("web", "h1"), server.instance("spare", "h1"));
    server.attach(&network, &web);
    server.put(&default_path(), json!({"quotas": {"networks": 1, "ports-per-network": 1, "instances": 2}}));
    let attach = json!({"instance": {"id": spare}});
    let create = json!({"name": "n", "host": "h1", "kind": "netns", "netns": "n"});
    for (method, path, body, excess) in [
        ("POST", "/v2/private-network", json!({"name": "n"}), "the organization may have 1 private network, and has 1"),
        ("POST", "/privnet/v1/instances", create, "the organization may have 2 instances, and has 2"),
        ("PUT", &format!("{network}:attach"), attach, "the private network may have 1 attached instance, and has 1"),
    ] {
        let message = format!("quota exceeded: {excess}; make room, or ask an operator for more");
        server.refused(method, path, body, 409, &message);
    }
}

#[test]
fn a_key_that_is_not_there_is_not_revoked() {
    let server = TestServer::start(Setup::WAITING);
    let keys = server.get("/privnet/v1/keys");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2), "the first operator's and the first admin's: {keys}");
    let message = "key EXO000000000000000000000000 not found";
    server.refused("DELETE", "/privnet/v1/keys/EXO000000000000000000000000", json!({}), 404, message);
}
