//! Only those who may: requests are verified before anything is told (EXO2-HMAC-SHA256).

use std::time::{SystemTime, UNIX_EPOCH};

use privnet_api::exo2::{self, Signable};
use privnet_api::{Credentials, ENDPOINTS};
use privnet_crypto::SigningKey;
use privnet_server::Authentication;
use serde_json::json;

use crate::support::{Connection, Setup, TestServer};

const ID: &str = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50";

fn server() -> TestServer {
    TestServer::start(Setup::WAITING)
}

/// The header of a request without a body, as these sign it.
fn authorization(credentials: &Credentials, method: &str, path: &str, expires: u64) -> String {
    let key = SigningKey::new(credentials.secret.as_bytes()).expect("a key");
    let request = Signable { method, path, query: "", body: b"" };
    exo2::authorization(&credentials.key, &key, &request, expires).expect("signed")
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn nothing_that_needs_a_key_is_answered_without_one() {
    let server = server();
    let message = "requests are signed here (EXO2-HMAC-SHA256), and this one has no Authorization header";
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.access.is_some()) {
        let path = endpoint.path.replace("{id}", ID).replace("{field}", "labels").replace("{entity}", "instance");
        let reply = server.send_with(endpoint.method.as_str(), &path, b"", &[]);
        assert_eq!((reply.status, reply.body), (403, json!({"message": message})), "{}", endpoint.id);
    }
}

#[test]
fn what_clients_ask_first_needs_no_signature_and_takes_any() {
    let server = server();
    for path in ["/v2/zone", "/v2/openapi.json", "/healthz", "/readyz"] {
        for headers in [&[][..], &[("authorization", "EXO2-HMAC-SHA256 credential=foo")]] {
            assert_eq!(server.send_with("GET", path, b"", headers).status, 200, "{path}");
        }
        assert_eq!(server.send("GET", path, b"").status, 200, "{path}");
    }
}

#[test]
fn the_signature_is_verified_before_the_request_is_looked_at() {
    let server = server();
    let path = "/v2/private-network/nonsense";
    for (method, path, body) in [("GET", path, ""), ("PUT", path, "no JSON"), ("POST", "/v2/private-network", "{")] {
        let header = server.authorization(method, path, b"something else");
        let reply = server.send_with(method, path, body.as_bytes(), &[("authorization", &header)]);
        assert_eq!((reply.status, reply.body), (403, json!({"message": "Invalid request signature"})), "{method}");
        assert_eq!(server.send(method, path, body.as_bytes()).status, 400, "{method}");
    }
}

#[test]
fn a_request_that_is_nobodys_is_refused_before_its_body_is_read() {
    let server = server();
    let expired = authorization(&server.first_credentials().operator, "POST", "/v2/private-network", 0);
    for header in [String::new(), "authorization: foo\r\n".to_owned(), format!("authorization: {expired}\r\n")] {
        let head = |more: &str| format!("POST /v2/private-network HTTP/1.1\r\nhost: x\r\n{header}{more}\r\n");
        let mut asking = Connection::open(&server);
        asking.send(head("expect: 100-continue\r\ncontent-length: 5\r\n").as_bytes());
        assert_eq!(asking.answer().0, "HTTP/1.1 403 Forbidden", "{header}");
        let mut sending = Connection::open(&server);
        let octets = (1 << 20) + 1;
        sending.send(head(&format!("content-length: {octets}\r\n")).as_bytes());
        sending.send(&vec![b' '; octets]);
        assert_eq!(sending.answer().0, "HTTP/1.1 403 Forbidden", "not because of its size: {header}");
    }
}

#[test]
fn the_signature_holds_for_the_octets_that_were_sent() {
    let server = server();
    let path = "/v2/private-network";
    let sent = b"{\n  \"name\" : \"n\"  }  ";
    let header = server.authorization("POST", path, sent);
    let with = |body: &[u8]| server.send_with("POST", path, body, &[("authorization", &header)]);
    assert_eq!(with(b"{\"name\":\"n\"}").status, 403);
    assert_eq!(with(sent).status, 200);
    // A client that has lost the answer sends the same again.
    assert_eq!(with(sent).status, 200);
    let body_of_a_get = server.authorization("GET", path, b"ignored");
    let get = |body: &[u8]| server.send_with("GET", path, body, &[("authorization", &body_of_a_get)]);
    assert_eq!([get(b"ignored").status, get(b"ignore").status], [200, 403]);
}

#[test]
fn an_unknown_key_and_a_wrong_secret_are_answered_alike() {
    let server = server();
    let own = server.first_credentials().default;
    let unknown = Credentials { key: "EXO000000000000000000000000".to_owned(), secret: own.secret.clone() };
    let malformed = Credentials { key: "foo".to_owned(), secret: own.secret.clone() };
    let wrong = Credentials { key: own.key.clone(), secret: "bar".to_owned() };
    let ask = |credentials: &Credentials| {
        let header = authorization(credentials, "GET", "/v2/instance", unix_now());
        let reply = server.send_with("GET", "/v2/instance", b"", &[("authorization", &header)]);
        let mut headers = reply.headers;
        headers.remove("date");
        (reply.status, reply.body, headers)
    };
    assert_eq!(ask(&own).0, 200);
    let refused = ask(&wrong);
    assert_eq!((refused.0, &refused.1), (403, &json!({"message": "Invalid request signature"})));
    assert_eq!(ask(&unknown), refused);
    assert_eq!(ask(&malformed), refused);
}

#[test]
fn the_leeway_is_for_signatures_that_have_just_expired() {
    let ask = |server: &TestServer, expires| {
        let header = authorization(&server.first_credentials().operator, "GET", "/v2/instance", expires);
        server.send_with("GET", "/v2/instance", b"", &[("authorization", &header)])
    };
    let leeway = |seconds| Setup {
        authentication: Authentication::Signatures { leeway: std::time::Duration::from_secs(seconds) },
        ..Setup::WAITING
    };
    let hour = TestServer::start(leeway(3600));
    assert_eq!(ask(&hour, unix_now() - 1800).status, 200);
    let none = TestServer::start(leeway(0));
    let reply = ask(&none, unix_now() - 1800);
    assert_eq!(reply.status, 403);
    let message = reply.body["message"].as_str().expect("a message").to_owned();
    assert!(message.starts_with("the signature has expired: it was good until "), "{message}");
    assert_eq!(ask(&none, unix_now() + 600).status, 200);
}

#[test]
fn a_signature_that_would_be_good_for_longer_than_a_day_is_refused() {
    let server = server();
    let ask = |expires| {
        let header = authorization(&server.first_credentials().operator, "GET", "/v2/instance", expires);
        server.send_with("GET", "/v2/instance", b"", &[("authorization", &header)])
    };
    assert_eq!(ask(unix_now() + 86_000).status, 200);
    let reply = ask(unix_now() + 90_000);
    assert_eq!(reply.status, 403);
    let message = reply.body["message"].as_str().expect("a message");
    assert!(message.starts_with("the signature expires too late: it would be good until "), "{message}");
}

#[test]
fn a_query_is_signed_as_far_as_it_is_named() {
    let server = server();
    let signed = server.authorization("GET", "/v2/instance?manager-type=instance-pool", b"");
    let ask = |query: &str| {
        server.send_with("GET", &format!("/v2/instance{query}"), b"", &[("authorization", &signed)]).status
    };
    assert_eq!(ask("?manager-type=instance-pool"), 200);
    assert_eq!(ask("?unnamed=1&manager-type=instance-pool&unnamed=2"), 200);
    assert_eq!(ask("?manager-type=instance-poo"), 403);
    assert_eq!(ask(""), 403);
}

#[test]
fn keys_outlive_the_server() {
    let mut server = server();
    let before = server.first_credentials();
    server.network(json!({"name": "n"}));
    server.restart();
    assert_eq!(server.first_credentials(), before);
    assert_eq!(server.get("/v2/private-network")["private-networks"].as_array().expect("a list").len(), 1);
}

#[test]
fn the_first_admin_is_no_operator() {
    let server = server();
    let admin = server.first_credentials().default;
    let ask = |path: &str| {
        let header = authorization(&admin, "GET", path, unix_now());
        server.send_with("GET", path, b"", &[("authorization", &header)])
    };
    assert_eq!(ask("/v2/private-network").status, 200);
    let refused = ask("/privnet/v1/hosts");
    assert_eq!(refused.status, 403);
    assert!(refused.body["message"].as_str().is_some_and(|message| message.contains("operator")), "{}", refused.body);
}

#[test]
fn without_authentication_nothing_needs_to_be_signed() {
    let server = TestServer::start(Setup { authentication: Authentication::None, ..Setup::WAITING });
    assert_eq!(server.send_with("GET", "/privnet/v1/hosts", b"", &[]).status, 200);
    assert_eq!(server.send_with("GET", "/v2/instance", b"", &[("authorization", "Basic Zm9v")]).status, 200);
}

/// A browser on the same machine sends what any page wants, and the page may have a name for 127.0.0.1.
#[test]
fn without_authentication_no_web_page_is_taken_for_an_operator() {
    let server = TestServer::start(Setup { authentication: Authentication::None, ..Setup::WAITING });
    let asks: [(_, &str); 3] = [
        (("host", "evil.example"), "the Host header must be a loopback address, localhost or the host of public-url"),
        (("origin", "http://evil.example"), "no request is taken from a web page"),
        (("sec-fetch-site", "cross-site"), "no request is taken from a web page"),
    ];
    for (header, why) in asks {
        let headers = [header, ("content-type", "text/plain")];
        let reply = server.send_with("POST", "/v2/private-network", br#"{"name":"n"}"#, &headers);
        assert_eq!(reply.status, 403, "{header:?}");
        assert!(reply.body["message"].as_str().is_some_and(|message| message.contains(why)), "{}", reply.body);
    }
    assert_eq!(server.send_with("GET", "/v2/private-network", b"", &[]).body, json!({"private-networks": []}));
}
