use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use privnet_api::Signer;
use privnet_api::exo2::Signable;
use privnet_model::{NetworkId, OrganizationId};
use serde_json::{Value, json};
use ureq::http::{HeaderMap, Request};

use super::schema::check_reply;
use super::{PATIENCE, wait_until};

/// A client of the API with one kept-alive connection, who signs each request. Each reply is held against
/// the OpenAPI document.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    signer: Arc<Signer>,
    pub(crate) address: SocketAddr,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Null where there is none.
    pub(crate) body: Value,
}

impl Client {
    pub(crate) fn of(address: SocketAddr, signer: Signer) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(2 * PATIENCE))
            .build();
        Self { agent: config.into(), signer: signer.into(), address }
    }

    /// Sends a signed request; without a content type, as some clients do where the body is empty.
    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.send_with(method, path, body, &[("authorization", &self.authorization(method, path, body))])
    }

    /// The header's value by which a request shows that it is this client's.
    pub(crate) fn authorization(&self, method: &str, path: &str, body: &[u8]) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Signable { method, path, query, body };
        self.signer.authorization(&request, SystemTime::now()).expect("signed")
    }

    /// Sends a request with these headers.
    pub(crate) fn send_with(&self, method: &str, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            [] if ["GET", "HEAD", "DELETE"].contains(&method) => self.agent.run(request.body(()).expect("a request")),
            _ => self.agent.run(request.body(body).expect("a request")),
        };
        let (head, mut body) = response.unwrap_or_else(|error| panic!("{method} {path}: {error}")).into_parts();
        let text = body.with_config().limit(1 << 30).read_to_vec().expect("a whole body");
        let body = match &text[..] {
            [] => Value::Null,
            text => serde_json::from_slice(text).unwrap_or_else(|error| panic!("{method} {path}: {error}")),
        };
        let reply = Reply { status: head.status.as_u16(), headers: head.headers, body };
        check_reply(method, path, &reply);
        reply
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Value) -> Reply {
        self.send(method, path, body.to_string().as_bytes())
    }

    /// Lets the organization that everything here belongs to have as much as it likes.
    pub(crate) fn lift_quotas(&self) {
        let quotas = json!({"networks": -1, "ports-per-network": -1, "instances": -1});
        self.put(&format!("/privnet/v1/organizations/{}", OrganizationId::DEFAULT), json!({"quotas": quotas}));
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.send("GET", path, b"").ok()
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path, body).ok()
    }

    pub(crate) fn put(&self, path: &str, body: Value) -> Value {
        self.ask("PUT", path, body).ok()
    }

    pub(crate) fn delete(&self, path: &str) -> Value {
        self.send("DELETE", path, b"").ok()
    }

    /// Makes a network and answers its path.
    pub(crate) fn network(&self, body: Value) -> String {
        text(&self.post("/v2/private-network", body)["reference"]["link"])
    }

    /// Registers an instance and answers its id.
    pub(crate) fn instance(&self, name: &str, host: &str) -> String {
        let body = json!({"name": name, "host": host, "kind": "netns", "netns": name});
        text(&self.post("/privnet/v1/instances", body)["id"])
    }

    /// Attaches an instance and answers the operation.
    pub(crate) fn attach(&self, network: &str, instance: &str) -> Value {
        self.put(&format!("{network}:attach"), json!({"instance": {"id": instance}}))
    }

    pub(crate) fn attach_with_ip(&self, network: &str, instance: &str, ip: &str) -> Value {
        self.put(&format!("{network}:attach"), json!({"instance": {"id": instance}, "ip": ip}))
    }

    pub(crate) fn detach(&self, network: &str, instance: &str) -> Value {
        self.put(&format!("{network}:detach"), json!({"instance": {"id": instance}}))
    }

    /// Places an instance on another host and answers the operation.
    pub(crate) fn move_to(&self, instance: &str, host: &str) -> Value {
        self.put(&format!("/privnet/v1/instances/{instance}:move"), json!({"host": host}))
    }

    /// Forgets a host with its instances, by name.
    pub(crate) fn remove_with_instances(&self, host: &str) {
        let id = text(&self.host(host).expect("a host")["id"]);
        assert_eq!(self.send("DELETE", &format!("/privnet/v1/hosts/{id}:with-instances"), b"").status, 204);
    }

    /// An operation as it is now.
    pub(crate) fn operation(&self, operation: &Value) -> Value {
        self.get(&format!("/v2/operation/{}", text(&operation["id"])))
    }

    /// Waits for the end of an operation and answers it.
    #[track_caller]
    pub(crate) fn ended(&self, operation: &Value) -> Value {
        wait_until("the operation's end", || self.operation(operation)["state"] != "pending");
        self.operation(operation)
    }

    /// A host, by name.
    pub(crate) fn host(&self, name: &str) -> Option<Value> {
        let hosts = self.get("/privnet/v1/hosts");
        hosts["hosts"].as_array().expect("a list").iter().find(|host| host["name"] == name).cloned()
    }

    /// Everything that can be read but operations.
    pub(crate) fn dump(&self) -> Value {
        let networks = self.get("/v2/private-network");
        let each = networks["private-networks"].as_array().expect("a list").iter();
        let each: Vec<_> =
            each.map(|network| self.get(&format!("/v2/private-network/{}", text(&network["id"])))).collect();
        json!([
            networks,
            each,
            self.get("/v2/instance"),
            self.get("/privnet/v1/instances"),
            self.get("/privnet/v1/hosts"),
        ])
    }

    /// Has a request refused: this status, this message, and nothing changed.
    #[track_caller]
    pub(crate) fn refused(&self, method: &str, path: &str, body: Value, status: u16, message: &str) {
        let before = self.dump();
        let reply = self.ask(method, path, body);
        assert_eq!((reply.status, &reply.body), (status, &json!({"message": message})), "{method} {path}");
        assert_eq!(self.dump(), before, "{method} {path}");
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// What a list tells of an instance that was read by its id.
pub(crate) fn listed(instance: &Value) -> Value {
    let mut listed = instance.clone();
    let properties = listed.as_object_mut().expect("an instance");
    properties.retain(|name, _| !["disk-size", "user-data", "secureboot-enabled", "tpm-enabled"].contains(&&**name));
    listed
}

/// The id in a network's path.
pub(crate) fn id_of(network: &str) -> NetworkId {
    network.rsplit('/').next().expect("a path").parse().expect("an id")
}
