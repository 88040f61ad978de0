//! What Exoscale's clients send, in their order, signed as each of them signs, with the key of an
//! organization's admin. What they need of the answers is what is asserted.

use std::time::{SystemTime, UNIX_EPOCH};

use privnet_api::exo2::{self, Signable};
use privnet_crypto::SigningKey;
use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::{Agent, Setup, TestServer};

/// How a client sends.
struct Manner {
    headers: &'static [(&'static str, &'static str)],
    /// Whether what has no body has a content type as well.
    always_has_content_type: bool,
    signs_queries: bool,
    /// How long its signatures are good.
    lifetime_s: u64,
}

/// The exo command, 1.97.0, on egoscale.
const EXO: Manner = Manner {
    headers: &[
        ("user-agent", "exocli/1.97.0/dafc1130 egoscale/v3.1.42 (go1.26.5; linux/amd64)"),
        ("accept-encoding", "gzip"),
    ],
    always_has_content_type: false,
    signs_queries: true,
    lifetime_s: 600,
};

/// Terraform's provider, 0.70.0.
const TERRAFORM: Manner = Manner {
    headers: &[
        (
            "user-agent",
            "Exoscale-Terraform-Provider/0.70.0 (b692022e) Terraform-SDK/2.37.0 egoscale/v3.1.42 (go1.26.5; linux/amd64)",
        ),
        ("accept-encoding", "gzip"),
    ],
    ..EXO
};

/// python-exoscale, 0.16.4.
const PYTHON: Manner = Manner {
    headers: &[
        ("user-agent", "python-requests/2.32.5"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
    ],
    ..EXO
};

/// The Java SDK: what it signs expires at once, and its queries are not signed.
const JAVA: Manner = Manner {
    headers: &[("user-agent", "Java-http-client/21.0.4"), ("accept", "application/json")],
    always_has_content_type: true,
    signs_queries: false,
    lifetime_s: 0,
};

struct Client<'s> {
    server: &'s TestServer,
    manner: Manner,
}

impl Client<'_> {
    /// Asks for the zones, which nobody signs any more, and checks that this one's URL is told.
    fn zone(&self) {
        let reply = self.server.send_with("GET", "/v2/zone", b"", &self.headers(false));
        assert_eq!(reply.ok()["zones"][0]["api-endpoint"], "http://api.example.net:8080/v2");
    }

    fn status(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let authorization = self.authorization(method, path, body);
        let mut headers = self.headers(!body.is_empty());
        headers.push(("authorization", &authorization));
        let reply = self.server.send_with(method, path, body.as_bytes(), &headers);
        (reply.status, reply.body)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, reply) = self.status(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {reply}");
        reply
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "")
    }

    /// An operation that is final at once, and names what it is about: else exo panics.
    #[track_caller]
    fn change(&self, method: &str, path: &str, body: &str) -> String {
        let operation = self.ask(method, path, body);
        assert_eq!(operation["state"], "success", "{operation}");
        operation["reference"]["id"].as_str().expect("a reference").to_owned()
    }

    fn headers(&self, has_body: bool) -> Vec<(&'static str, &str)> {
        let content_type = (has_body || self.manner.always_has_content_type).then_some("application/json");
        let content_type = content_type.map(|json| ("content-type", json));
        self.manner.headers.iter().copied().chain(content_type).collect()
    }

    fn authorization(&self, method: &str, path: &str, body: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = if self.manner.signs_queries { query } else { "" };
        let request = Signable { method, path, query, body: body.as_bytes() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let own = self.server.first_credentials().default;
        let key = SigningKey::new(own.secret.as_bytes()).expect("a key");
        exo2::authorization(&own.key, &key, &request, now + self.manner.lifetime_s).expect("signed")
    }
}

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
    let exo = Client { server: &server, manner: EXO };
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
    let exo = Client { server: &server, manner: EXO };
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
    let exo = Client { server: &server, manner: EXO };
    assert_eq!(exo.get("/v2/zone")["zones"].as_array().expect("a list").len(), 1);
}

#[test]
fn terraform_creates_refreshes_updates_and_destroys() {
    let (server, _agent, instance) = server();
    let terraform = Client { server: &server, manner: TERRAFORM };
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
    let python = Client { server: &server, manner: PYTHON };
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
    let java = Client { server: &server, manner: JAVA };
    java.zone();
    let create = r#"{"name":"n","netmask":"255.255.255.0","start-ip":"10.0.0.10","end-ip":"10.0.0.99","labels":{}}"#;
    let network = format!("/v2/private-network/{}", java.change("POST", "/v2/private-network", create));
    java.change("PUT", &format!("{network}:attach"), &format!(r#"{{"instance":{{"id":"{instance}"}}}}"#));
    java.change("PUT", &network, r#"{"description":"d","labels":{}}"#);
    let whole = java.get(&format!("/v2/instance/{instance}"));
    java.change("PUT", &format!("{network}:detach"), &json!({"instance": whole}).to_string());
    assert!(java.get(&network).get("leases").is_none());
    java.get("/v2/instance?manager-type=instance-pool");
    java.change("DELETE", &network, "");
}
