//! How Exoscale's clients send: their headers, and the way that each of them signs.

use std::time::{SystemTime, UNIX_EPOCH};

use privnet_api::exo2::{self, Signable};
use privnet_crypto::SigningKey;
use serde_json::Value;

use super::TestServer;

/// How a client sends.
pub(crate) struct Manner {
    headers: &'static [(&'static str, &'static str)],
    /// Whether what has no body has a content type as well.
    always_has_content_type: bool,
    signs_queries: bool,
    /// How long its signatures are good.
    lifetime_s: u64,
}

/// The exo command, 1.97.0, on egoscale.
pub(crate) const EXO: Manner = Manner {
    headers: &[
        ("user-agent", "exocli/1.97.0/dafc1130 egoscale/v3.1.42 (go1.26.5; linux/amd64)"),
        ("accept-encoding", "gzip"),
    ],
    always_has_content_type: false,
    signs_queries: true,
    lifetime_s: 600,
};

/// Terraform's provider, 0.70.0.
pub(crate) const TERRAFORM: Manner = Manner {
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
pub(crate) const PYTHON: Manner = Manner {
    headers: &[
        ("user-agent", "python-requests/2.32.5"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
    ],
    ..EXO
};

/// The Java SDK: what it signs expires at once, and its queries are not signed.
pub(crate) const JAVA: Manner = Manner {
    headers: &[("user-agent", "Java-http-client/21.0.4"), ("accept", "application/json")],
    always_has_content_type: true,
    signs_queries: false,
    lifetime_s: 0,
};

/// The TypeScript SDK, by the fetch of Node.js.
pub(crate) const TYPESCRIPT: Manner = Manner {
    headers: &[
        ("user-agent", "exoscale-sdk-ts/0.1.0"),
        ("accept", "*/*"),
        ("accept-language", "*"),
        ("sec-fetch-mode", "cors"),
        ("accept-encoding", "gzip, deflate"),
    ],
    ..EXO
};

/// A client that sends in a manner, with the key of an organization's admin.
pub(crate) struct Replay<'s> {
    pub(crate) server: &'s TestServer,
    pub(crate) manner: Manner,
}

impl Replay<'_> {
    /// Asks for the zones, which nobody signs any more, and checks that this one's URL is told.
    pub(crate) fn zone(&self) {
        let reply = self.server.send_with("GET", "/v2/zone", b"", &self.headers(false));
        assert_eq!(reply.ok()["zones"][0]["api-endpoint"], "http://api.example.net:8080/v2");
    }

    pub(crate) fn status(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let authorization = self.authorization(method, path, body);
        let mut headers = self.headers(!body.is_empty());
        headers.push(("authorization", &authorization));
        let reply = self.server.send_with(method, path, body.as_bytes(), &headers);
        (reply.status, reply.body)
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, reply) = self.status(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {reply}");
        reply
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "")
    }

    /// An operation that is final at once, and names what it is about: else exo panics.
    #[track_caller]
    pub(crate) fn change(&self, method: &str, path: &str, body: &str) -> String {
        let operation = self.ask(method, path, body);
        assert_eq!(operation["state"], "success", "{operation}");
        operation["reference"]["id"].as_str().expect("a reference").to_owned()
    }

    fn headers(&self, has_body: bool) -> Vec<(&'static str, &str)> {
        let content_type = (has_body || self.manner.always_has_content_type).then_some("application/json");
        let content_type = content_type.map(|json| ("content-type", json));
        self.manner.headers.iter().copied().chain(content_type).collect()
    }

    pub(crate) fn authorization(&self, method: &str, path: &str, body: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = if self.manner.signs_queries { query } else { "" };
        let request = Signable { method, path, query, body: body.as_bytes() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let own = self.server.first_credentials().default;
        let key = SigningKey::new(own.secret.as_bytes()).expect("a key");
        exo2::authorization(&own.key, &key, &request, now + self.manner.lifetime_s).expect("signed")
    }
}
