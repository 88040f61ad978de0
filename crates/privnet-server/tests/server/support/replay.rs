//! How Exoscale's clients send: octet by octet what each of them writes, and the way that each of them signs.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use privnet_api::exo2::{self, Signable};
use privnet_crypto::SigningKey;
use serde_json::{Value, json};

use super::schema::check_reply;
use super::{Connection, TestServer, wait_until};

/// How a client sends.
pub(crate) struct Manner {
    /// What it writes before the body.
    head: fn(&Message<'_>) -> String,
    signs_queries: bool,
    /// How long its signatures are good.
    lifetime_s: u64,
}

/// The exo command, 1.97.0, on egoscale.
pub(crate) const EXO: Manner = Manner {
    head: |message| message.of_go("exocli/1.97.0/dafc1130 egoscale/v3.1.42 (go1.26.5; linux/amd64)"),
    signs_queries: true,
    lifetime_s: 600,
};

/// `exo api`, which calls any operation that there is.
pub(crate) const EXO_API: Manner = Manner {
    head: |message| message.of_go("Exoscale-CLI-X/1.97.0 (dafc1130) egoscale/v3.1.42 (go1.26.5; linux/amd64)"),
    ..EXO
};

/// Terraform's provider, 0.70.0.
pub(crate) const TERRAFORM: Manner = Manner {
    head: |message| {
        message.of_go(
            "Exoscale-Terraform-Provider/0.70.0 (b692022e) Terraform-SDK/2.38.1 Terraform-framework/1.16.1 \
             egoscale/0.102.3 (go1.26.5; linux/amd64) egoscale/v3.1.42 (go1.26.5; linux/amd64)",
        )
    },
    ..EXO
};

/// python-exoscale, 0.16.4, on requests: a length and no type where a call has no arguments.
pub(crate) const PYTHON: Manner = Manner {
    head: |message| {
        message.head(&[
            ("Host", Some(&message.host.to_string())),
            ("User-Agent", Some("python-requests/2.32.5")),
            ("Accept-Encoding", Some("gzip, deflate")),
            ("Accept", Some("*/*")),
            ("Connection", Some("keep-alive")),
            ("Content-Length", message.length_unless_read().as_deref()),
            ("Content-Type", message.content_type()),
            ("Authorization", message.authorization),
        ])
    },
    ..EXO
};

/// The Java SDK: its signatures expire at once, its queries are not signed, and Java asks for HTTP/2 on the way.
pub(crate) const JAVA: Manner = Manner {
    head: |message| {
        message.head(&[
            ("Connection", Some("Upgrade, HTTP2-Settings")),
            ("Content-Length", message.length_of_change().as_deref()),
            ("Host", Some(&message.host.to_string())),
            ("HTTP2-Settings", Some("AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")),
            ("Upgrade", Some("h2c")),
            ("User-Agent", Some("Java-http-client/21.0.4")),
            ("Accept", Some("application/json")),
            ("Authorization", message.authorization),
            ("Content-Type", Some("application/json")),
        ])
    },
    signs_queries: false,
    lifetime_s: 0,
};

/// The TypeScript SDK, by the fetch of Node.js.
pub(crate) const TYPESCRIPT: Manner = Manner {
    head: |message| {
        message.head(&[
            ("host", Some(&message.host.to_string())),
            ("connection", Some("keep-alive")),
            ("User-Agent", Some("exoscale-sdk-ts/0.1.0")),
            ("Content-Type", message.content_type()),
            ("Authorization", message.authorization),
            ("accept", Some("*/*")),
            ("accept-language", Some("*")),
            ("sec-fetch-mode", Some("cors")),
            ("accept-encoding", Some("gzip, deflate")),
            ("content-length", message.length_of_change().as_deref()),
        ])
    },
    ..EXO
};

/// All of them.
pub(crate) const EVERYBODY: [Manner; 6] = [EXO, EXO_API, TERRAFORM, PYTHON, JAVA, TYPESCRIPT];

/// What a head is written for.
struct Message<'m> {
    method: &'m str,
    /// The path and the query.
    target: &'m str,
    host: SocketAddr,
    authorization: Option<&'m str>,
    body: &'m str,
}

impl Message<'_> {
    /// net/http: a length where there is a body or might be one, then the headers by name, then what the transport
    /// adds; no `Accept`.
    fn of_go(&self, user_agent: &str) -> String {
        self.head(&[
            ("Host", Some(&self.host.to_string())),
            ("User-Agent", Some(user_agent)),
            ("Content-Length", self.length_of_change().as_deref()),
            ("Authorization", self.authorization),
            ("Content-Type", self.content_type()),
            ("Accept-Encoding", Some("gzip")),
        ])
    }

    /// The headers that have a value, in their order.
    fn head(&self, headers: &[(&str, Option<&str>)]) -> String {
        let given = headers.iter().filter_map(|(name, value)| Some(format!("{name}: {}\r\n", (*value)?)));
        format!("{} {} HTTP/1.1\r\n{}\r\n", self.method, self.target, given.collect::<String>())
    }

    fn content_type(&self) -> Option<&'static str> {
        (!self.body.is_empty()).then_some("application/json")
    }

    fn length_of_change(&self) -> Option<String> {
        (!self.body.is_empty() || ["POST", "PUT"].contains(&self.method)).then(|| self.body.len().to_string())
    }

    fn length_unless_read(&self) -> Option<String> {
        (self.method != "GET").then(|| self.body.len().to_string())
    }
}

/// A client that sends in a manner on one connection, with the key of an organization's admin.
pub(crate) struct Replay<'s> {
    pub(crate) server: &'s TestServer,
    manner: Manner,
    connection: RefCell<Connection>,
}

impl<'s> Replay<'s> {
    pub(crate) fn new(server: &'s TestServer, manner: Manner) -> Self {
        Self { server, manner, connection: RefCell::new(Connection::open(server)) }
    }

    /// Asks for the zones, which nobody signs any more, and checks that this one's URL is told.
    pub(crate) fn zone(&self) {
        let (status, zones) = self.send("GET", "/v2/zone", "", None);
        assert_eq!((status, &zones["zones"][0]["api-endpoint"]), (200, &"http://api.example.net:8080/v2".into()));
    }

    pub(crate) fn status(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        self.send(method, target, body, Some(&self.authorization(method, target, body)))
    }

    /// Sends exactly this, and holds the answer against the documents.
    pub(crate) fn send(&self, method: &str, target: &str, body: &str, authorization: Option<&str>) -> (u16, Value) {
        let head = (self.manner.head)(&Message { method, target, host: self.server.address, authorization, body });
        let mut connection = self.connection.borrow_mut();
        connection.send(head.as_bytes());
        connection.send(body.as_bytes());
        let reply = connection.reply();
        check_reply(method, target, &reply);
        (reply.status, reply.body)
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> Value {
        let (status, reply) = self.status(method, target, body);
        assert_eq!(status, 200, "{method} {target}: {reply}");
        reply
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Value {
        self.ask("GET", target, "")
    }

    /// An operation that is final at once, and names what it is about: else exo panics.
    #[track_caller]
    pub(crate) fn change(&self, method: &str, target: &str, body: &str) -> String {
        let operation = self.ask(method, target, body);
        assert_eq!(operation["state"], "success", "{operation}");
        operation["reference"]["id"].as_str().expect("a reference").to_owned()
    }

    /// Asks for an operation until it has ended. Until then it says no more than its first answer.
    #[track_caller]
    pub(crate) fn wait(&self, first: &Value) -> Value {
        let path = format!("/v2/operation/{}", first["id"].as_str().expect("an id"));
        let mut now = first.clone();
        wait_until("the operation's end", || {
            assert!(now["state"] != "pending" || now == *first, "{now}");
            now = self.get(&path);
            now["state"] != "pending"
        });
        assert_eq!(now["reference"], first["reference"], "{now}");
        now
    }

    /// Makes a managed network and answers its path.
    pub(crate) fn network(&self) -> String {
        let body = r#"{"end-ip":"10.0.0.99","name":"n","netmask":"255.255.255.0","start-ip":"10.0.0.10"}"#;
        format!("/v2/private-network/{}", self.change("POST", "/v2/private-network", body))
    }

    /// The body of what creates an instance, by Go's clients: the whole type as it was listed, and a template's date
    /// that nobody has set.
    pub(crate) fn wish(&self, more: Value) -> Value {
        self.zone();
        let instance_type = self.get("/v2/instance-type")["instance-types"][1].clone();
        let id = instance_type["id"].as_str().expect("an id");
        assert_eq!(self.get(&format!("/v2/instance-type/{id}")), instance_type);
        let template = self.get("/v2/template?visibility=public")["templates"][0]["id"].clone();
        let mut wish = json!({
            "disk-size": 10, "instance-type": instance_type, "public-ip-assignment": "inet4",
            "template": {"created-at": "0001-01-01T00:00:00Z", "id": template},
        });
        let more = more.as_object().expect("an object").clone();
        wish.as_object_mut().expect("an object").extend(more);
        wish
    }

    /// Creates an instance and answers its path.
    pub(crate) fn instance_with(&self, more: Value) -> String {
        format!("/v2/instance/{}", self.change("POST", "/v2/instance", &self.wish(more).to_string()))
    }

    pub(crate) fn instance(&self, name: &str) -> String {
        self.instance_with(json!({"name": name}))
    }

    /// Attaches, with an address if there is one.
    #[track_caller]
    pub(crate) fn attach(&self, network: &str, instance: &str, ip: Option<&str>) {
        let mut body = json!({"instance": {"id": id_in(instance)}});
        if let Some(ip) = ip {
            body["ip"] = ip.into();
        }
        self.change("PUT", &format!("{network}:attach"), &body.to_string());
    }

    pub(crate) fn authorization(&self, method: &str, target: &str, body: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = if self.manner.signs_queries { query } else { "" };
        let request = Signable { method, path, query, body: body.as_bytes() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let own = self.server.first_credentials().default;
        let key = SigningKey::new(own.secret.as_bytes()).expect("a key");
        exo2::authorization(&own.key, &key, &request, now + self.manner.lifetime_s).expect("signed")
    }
}

/// The id at the end of a path.
pub(crate) fn id_in(path: &str) -> &str {
    path.rsplit('/').next().expect("an id")
}
