//! What Go's clients do when an answer is lost: they send the same octets again, with the same signature.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::{Agent, Setup, TestServer, managed};

/// What a client has signed, and sends as often as it takes.
struct Signed {
    method: &'static str,
    path: String,
    body: String,
    authorization: String,
}

impl Signed {
    fn new(server: &TestServer, method: &'static str, path: &str, body: &Value) -> Self {
        let body = body.to_string();
        let authorization = server.authorization(method, path, body.as_bytes());
        Self { method, path: path.to_owned(), body, authorization }
    }

    fn send(&self, server: &TestServer) -> Value {
        let headers = [("authorization", self.authorization.as_str())];
        server.send_with(self.method, &self.path, self.body.as_bytes(), &headers).ok()
    }
}

/// Clients wait for a second before they send a request again (go-retryablehttp's `RetryWaitMin`).
fn wait_as_clients_do() {
    std::thread::sleep(Duration::from_secs(1));
}

fn new_instance() -> Value {
    json!({
        "name": "web", "disk-size": 10,
        "instance-type": {"id": "70726976-6e65-4000-8000-000000000001"},
        "template": {"id": "70726976-6e65-4000-8000-000000000065"},
    })
}

fn link(operation: &Value) -> String {
    operation["reference"]["link"].as_str().expect("a link").to_owned()
}

#[test]
fn each_mutation_that_is_sent_again_is_answered_with_its_first_operation() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let mut sent = Vec::new();
    let mut send = |method, path: &str, body: Value| {
        let signed = Signed::new(&server, method, path, &body);
        let operation = signed.send(&server);
        assert_eq!(operation["state"], "success", "{operation}");
        sent.push((signed, operation.clone()));
        operation
    };
    let instance = link(&send("POST", "/v2/instance", new_instance()));
    let network = link(&send("POST", "/v2/private-network", managed(9)));
    let port = json!({"instance": {"id": instance.rsplit('/').next()}});
    send("PUT", &format!("{network}:attach"), port.clone());
    send("PUT", &format!("{instance}:reboot"), json!({}));
    send("PUT", &format!("{network}:detach"), port);
    send("DELETE", &network, json!({}));
    send("DELETE", &instance, json!({}));
    wait_as_clients_do();
    for (signed, operation) in &sent {
        assert_eq!(signed.send(&server), *operation, "{} {}", signed.method, signed.path);
    }
    assert_eq!(server.get("/v2/instance"), json!({"instances": []}));
    assert_eq!(server.get("/v2/private-network"), json!({"private-networks": []}));
}

#[test]
fn a_request_that_is_sent_again_to_a_server_that_was_started_anew_is_not_carried_out_twice() {
    let mut server = TestServer::start(Setup::WAITING);
    let create = Signed::new(&server, "POST", "/v2/private-network", &json!({"name": "n"}));
    let first = create.send(&server);
    server.restart();
    wait_as_clients_do();
    assert_eq!(create.send(&server), first);
    assert_eq!(server.get("/v2/private-network")["private-networks"].as_array().expect("a list").len(), 1);
}

#[test]
fn what_was_refused_is_carried_out_when_it_can_be() {
    let server = TestServer::start(Setup::WAITING);
    let create = Signed::new(&server, "POST", "/v2/instance", &new_instance());
    let headers = [("authorization", create.authorization.as_str())];
    let refused = server.send_with("POST", "/v2/instance", create.body.as_bytes(), &headers);
    assert_eq!(refused.status, 409, "there is no host");
    let _agent = Agent::connect(&server, "h1", acknowledge);
    wait_as_clients_do();
    assert_eq!(create.send(&server)["state"], "success");
}
