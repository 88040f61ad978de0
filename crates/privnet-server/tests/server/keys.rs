//! Keys by the API, and what their holders see (invariant 10).

use privnet_api::{Credentials, Signer};
use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::client::Client;
use crate::support::{Agent, Setup, TestServer, managed};

const PATH: &str = "/privnet/v1/keys";

fn create(client: &Client, body: Value) -> Value {
    let reply = client.ask("POST", PATH, body);
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.body
}

/// Whoever has this key.
fn holder(client: &Client, key: &Value) -> Client {
    let [key, secret] = ["id", "secret"].map(|name| key[name].as_str().expect("a text").to_owned());
    Client::of(client.address, Signer::new(&Credentials { key, secret }).expect("a signer"))
}

/// A new organization, with its first admin.
fn organization(server: &TestServer, name: &str) -> (String, Client) {
    let organization = server.ask("POST", "/privnet/v1/organizations", json!({"name": name})).body;
    let id = organization["id"].as_str().expect("an id").to_owned();
    let key = create(server, json!({"name": "first", "role": "admin", "organization": id}));
    (id, holder(server, &key))
}

fn text(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_else(|| panic!("no {name} in {object}")).to_owned()
}

#[track_caller]
fn refused(client: &Client, method: &str, path: &str, body: Value, status: u16, message: &str) {
    let reply = client.ask(method, path, body);
    assert_eq!((reply.status, reply.body), (status, json!({"message": message})));
}

#[test]
fn a_secret_is_told_once_and_signs() {
    let mut server = TestServer::start(Setup::WAITING);
    let key = create(&server, json!({"name": "deploy", "role": "admin"}));
    let secret = text(&key, "secret");
    assert_eq!(secret.len(), 43);
    assert!(secret.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet)), "{secret}");
    assert_ne!(text(&create(&server, json!({"name": "deploy", "role": "admin"})), "secret"), secret);
    let listed = server.get(PATH).to_string();
    assert!(listed.contains(&text(&key, "id")) && !listed.contains(&secret), "{listed}");
    assert_eq!(holder(&server, &key).get("/v2/private-network"), json!({"private-networks": []}));
    server.restart();
    assert_eq!(holder(&server, &key).get("/v2/private-network"), json!({"private-networks": []}));
}

#[test]
fn a_revoked_key_is_good_for_nothing_at_once() {
    let server = TestServer::start(Setup::WAITING);
    let key = create(&server, json!({"name": "deploy", "role": "admin"}));
    let holder = holder(&server, &key);
    holder.get("/v2/private-network");
    assert_eq!(server.ask("DELETE", &format!("{PATH}/{}", text(&key, "id")), json!({})).status, 204);
    refused(&holder, "GET", "/v2/private-network", json!({}), 403, "Invalid request signature");
}

#[test]
fn the_keys_of_an_organization_go_with_it() {
    let server = TestServer::start(Setup::WAITING);
    let (id, admin) = organization(&server, "acme");
    admin.get("/v2/private-network");
    assert_eq!(server.ask("DELETE", &format!("/privnet/v1/organizations/{id}"), json!({})).status, 204);
    refused(&admin, "GET", "/v2/private-network", json!({}), 403, "Invalid request signature");
}

#[test]
fn a_key_says_when_it_expires() {
    let server = TestServer::start(Setup::WAITING);
    let key = create(&server, json!({"name": "deploy", "role": "read-only", "expires-in-seconds": 60}));
    assert_eq!(text(&key, "expires-at").len(), "2026-09-21T14:13:20Z".len());
    assert_eq!(key["role"], "read-only");
    holder(&server, &key).get("/v2/private-network");
}

#[test]
fn an_admin_manages_the_keys_of_the_own_organization_alone() {
    let server = TestServer::start(Setup::WAITING);
    let (id, admin) = organization(&server, "acme");
    let operators = create(&server, json!({"name": "second", "role": "operator"}));
    let own = create(&admin, json!({"name": "reader", "role": "read-only"}));
    assert_eq!(own["organization"], json!(id));
    assert_eq!(admin.get(PATH)["keys"].as_array().map(Vec::len), Some(2));

    let key = text(&operators, "id");
    refused(&admin, "DELETE", &format!("{PATH}/{key}"), json!({}), 404, &format!("key {key} not found"));
    let wider = "hosts, placements and organizations are managed with an operator's key, and this is an organization's";
    refused(&admin, "POST", PATH, json!({"name": "n", "role": "operator"}), 403, wider);
    let reader = holder(&server, &own);
    let narrower = "this key is read-only; what changes something, or is about keys, needs a key with the role admin";
    refused(&reader, "GET", PATH, json!({}), 403, narrower);
    refused(&reader, "POST", "/v2/private-network", json!({"name": "n"}), 403, narrower);
    for client in [&admin, &reader] {
        for path in ["/privnet/v1/hosts", "/privnet/v1/instances", "/privnet/v1/organizations"] {
            refused(client, "GET", path, json!({}), 403, wider);
        }
    }
    assert_eq!(admin.ask("DELETE", &format!("{PATH}/{}", text(&own, "id")), json!({})).status, 204);
}

/// With status, words and headers, of what another organization has and of what nobody has.
#[test]
fn what_another_organization_has_is_answered_as_what_nobody_has() {
    const NOBODYS: &str = "01a0c450-6c00-714d-8876-6b2ed10826c9";
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let (_, acme) = organization(&server, "acme");
    let operation = server.ask("POST", "/v2/private-network", managed(9)).body;
    let network = text(&operation["reference"], "id");
    let instance = server.instance("web", "h1");
    server.attach(&format!("/v2/private-network/{network}"), &instance);
    let own = text(&acme.ask("POST", "/v2/private-network", managed(9)).body["reference"], "id");

    for endpoint in privnet_api::ENDPOINTS.iter().filter(|endpoint| endpoint.path.starts_with("/v2/")) {
        let ask = |id: &str, instance: &str| {
            let path = endpoint.path.replace("{id}", id).replace("{field}", "labels");
            let body =
                if endpoint.request.is_some() { json!({"name": "n", "instance": {"id": instance}}) } else { json!({}) };
            let reply = acme.ask(endpoint.method.as_str(), &path, body);
            let mut headers: Vec<_> = reply.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            headers.retain(|(name, _)| name != "date");
            (reply.status, reply.body.to_string().replace(id, "ID").replace(instance, "ID"), headers)
        };
        if endpoint.path.contains("{id}") {
            for id in [&network, &instance, &text(&operation, "id")] {
                assert_eq!(ask(id, &instance), ask(NOBODYS, NOBODYS), "{}", endpoint.id);
            }
        }
        if endpoint.path.contains("{id}:") && endpoint.path.contains("private-network") {
            assert_eq!(ask(&own, &instance), ask(&own, NOBODYS), "{}", endpoint.id);
        }
    }
    // What has a name for an id: an SSH key, and a key by which requests are signed.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    server.post("/v2/ssh-key", json!({"name": "theirs", "public-key": KEY}));
    let of_others = server.first_credentials().default.key;
    for (method, path, theirs, nobodys) in [
        ("GET", "/v2/ssh-key", "theirs", "nobody"),
        ("DELETE", "/v2/ssh-key", "theirs", "nobody"),
        ("DELETE", PATH, &*of_others, "EXO000000000000000000000000"),
    ] {
        let ask = |name: &str| {
            let reply = acme.ask(method, &format!("{path}/{name}"), json!({}));
            (reply.status, reply.body.to_string().replace(name, "NAME"))
        };
        assert_eq!(ask(theirs), ask(nobodys), "{method} {path}");
    }
    assert_eq!(acme.post("/v2/ssh-key", json!({"name": "theirs", "public-key": KEY}))["state"], "success");
    assert_eq!(acme.get("/v2/instance"), json!({"instances": []}));
    assert_eq!(acme.get("/v2/private-network")["private-networks"].as_array().map(Vec::len), Some(1));
    assert_eq!(acme.get("/v2/quota/private-network")["usage"], 1);
}
