//! What HTTP/1.1 leaves to servers, and what clients do with it (RFC 9110, RFC 9112).

use serde_json::json;

use crate::support::connection::claim;
use crate::support::{Connection, Setup, TestServer};

const NETWORK: &str = r#"{"name":"n"}"#;

/// A request to create the network, whose body is on the wire as the headers say.
fn create(server: &TestServer, headers: &str, body: &str) -> String {
    let authorization = server.authorization("POST", "/v2/private-network", NETWORK.as_bytes());
    format!("POST /v2/private-network HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n{headers}\r\n{body}")
}

/// A request without a body.
fn ask(server: &TestServer, method: &str, target: &str) -> String {
    let authorization = server.authorization(method, target, b"");
    format!("{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n")
}

/// How many networks there are.
fn count(server: &TestServer) -> usize {
    server.get("/v2/private-network")["private-networks"].as_array().expect("a list").len()
}

#[test]
fn a_client_that_asks_before_it_sends_too_much_is_told_at_once() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    let claim = claim(&server);
    let head = format!(
        "POST /v2/private-network HTTP/1.1\r\nhost: x\r\n{claim}expect: 100-continue\r\ncontent-length: 1048577\r\n\r\n"
    );
    connection.send(head.as_bytes());
    assert_eq!(connection.answer().0, "HTTP/1.1 413 Payload Too Large");
}

#[test]
fn requests_on_one_connection_are_answered_one_after_the_other() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    connection.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /v2/nothing HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(connection.answer().0, "HTTP/1.1 200 OK");
    assert_eq!(connection.answer().0, "HTTP/1.1 404 Not Found");
}

#[test]
fn a_head_is_that_of_the_answer_to_a_get() {
    let server = TestServer::start(Setup::WAITING);
    let head = server.send("HEAD", "/v2/zone", b"");
    let get = server.send("GET", "/v2/zone", b"");
    assert_eq!((head.status, &head.headers["content-length"]), (200, &get.headers["content-length"]));
    assert_eq!(head.body, json!(null));
}

#[test]
fn what_is_no_request_ends_only_its_own_connection() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    connection.send(b"nonsense\r\n\r\n");
    assert_eq!(connection.answer().0, "HTTP/1.1 400 Bad Request");
    assert_eq!(server.get("/healthz"), json!({"status": "ok"}));
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    connection.send(create(&server, "expect: 100-continue\r\ncontent-length: 12\r\n", "").as_bytes());
    assert_eq!(connection.answer(), ("HTTP/1.1 100 Continue".to_owned(), String::new()));
    connection.send(NETWORK.as_bytes());
    assert_eq!(connection.answer().0, "HTTP/1.1 200 OK");
    assert_eq!(count(&server), 1);
}

#[test]
fn changes_on_one_connection_are_made_in_their_order() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    let list = ask(&server, "GET", "/v2/quota/private-network");
    let create = create(&server, "content-length: 12\r\n", NETWORK);
    connection.send(format!("{list}{create}{list}{create}{list}").as_bytes());
    let usage =
        |answer: (String, String)| serde_json::from_str::<serde_json::Value>(&answer.1).expect("JSON")["usage"].clone();
    for expected in 0..3 {
        if expected > 0 {
            assert_eq!(connection.answer().0, "HTTP/1.1 200 OK");
        }
        assert_eq!(usage(connection.answer()), json!(expected));
    }
}

/// RFC 9112 §6.3: a message whose length is said in two ways is an error, or an attempt at one.
#[test]
fn a_body_of_two_lengths_is_refused_and_ends_the_connection() {
    let server = TestServer::start(Setup::WAITING);
    let chunked = "c\r\n{\"name\":\"n\"}\r\n0\r\n\r\n";
    for (headers, body) in [
        ("content-length: 12\r\ncontent-length: 13\r\n", NETWORK),
        ("content-length: 12, 13\r\n", NETWORK),
        ("content-length: +12\r\n", NETWORK),
        ("content-length: -1\r\n", NETWORK),
        ("content-length: 99999999999999999999\r\n", NETWORK),
        ("transfer-encoding: chunked, identity\r\n", chunked),
        ("transfer-encoding: x\r\n", chunked),
    ] {
        let mut connection = Connection::open(&server);
        connection.send(create(&server, headers, body).as_bytes());
        assert_eq!(connection.answer().0, "HTTP/1.1 400 Bad Request", "{headers}");
        assert!(connection.is_at_its_end(), "{headers}");
    }
    assert_eq!(count(&server), 0);
}

#[test]
fn chunks_are_a_body_and_their_trailers_are_not() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    let chunks = "4;x=y\r\n{\"na\r\n8\r\nme\":\"n\"}\r\n0\r\ncontent-length: 7\r\nx: y\r\n\r\n";
    for _ in 0..2 {
        connection.send(create(&server, "transfer-encoding: chunked\r\n", chunks).as_bytes());
        assert_eq!(connection.answer().0, "HTTP/1.1 200 OK");
    }
    assert_eq!(count(&server), 2);
}

#[test]
fn chunks_that_are_none_are_refused() {
    let server = TestServer::start(Setup::WAITING);
    for chunks in ["x\r\n{}\r\n0\r\n\r\n", "fffffffffffffffff\r\n", "2\r\n{}xx0\r\n\r\n"] {
        let mut connection = Connection::open(&server);
        connection.send(create(&server, "transfer-encoding: chunked\r\n", chunks).as_bytes());
        assert_eq!(connection.answer().0, "HTTP/1.1 400 Bad Request", "{chunks}");
        assert!(connection.is_at_its_end(), "{chunks}");
    }
    assert_eq!(count(&server), 0);
}

#[test]
fn absurd_methods_and_paths_are_answered() {
    let server = TestServer::start(Setup::WAITING);
    let long = format!("/v2/{}", "x".repeat(60_000));
    for (line, expected) in [
        ("BREW /v2/private-network", "405 Method Not Allowed"),
        ("get /healthz", "405 Method Not Allowed"),
        ("OPTIONS *", "404 Not Found"),
        ("CONNECT example.net:443", "404 Not Found"),
        ("GET http://example.net/healthz", "200 OK"),
        ("GET /%68ealthz", "200 OK"),
        ("GET /v2/private-network/%00", "400 Bad Request"),
        ("GET /v2/private-network/%", "400 Bad Request"),
        ("GET /v2/private-network/%ff%fe", "400 Bad Request"),
        ("GET /v2/private-network/..%2f..%2fzone", "400 Bad Request"),
        ("GET /v2/../healthz", "404 Not Found"),
        ("GET //healthz", "404 Not Found"),
        ("GET /healthz?a=%zz&&=&%00", "200 OK"),
        ("GET healthz", "404 Not Found"),
        ("GET /healthz\x01", "400 Bad Request"),
        (&format!("GET {long}"), "404 Not Found"),
        (&format!("GET {long}{}", "x".repeat(10_000)), "431 Request Header Fields Too Large"),
    ] {
        let mut connection = Connection::open(&server);
        let (method, target) = line.split_once(' ').expect("a method and a target");
        connection.send(ask(&server, method, target).as_bytes());
        let line: String = line.chars().take(80).collect();
        assert_eq!(connection.answer().0, format!("HTTP/1.1 {expected}"), "{line}");
    }
    assert_eq!(server.get("/healthz"), json!({"status": "ok"}));
}

#[test]
fn a_head_of_a_list_has_no_body() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    let [list, health] = [("HEAD", "/v2/private-network"), ("GET", "/healthz")];
    connection.send((ask(&server, list.0, list.1) + &ask(&server, health.0, health.1)).as_bytes());
    assert_eq!(connection.answer(), ("HTTP/1.1 200 OK".to_owned(), String::new()));
    assert_eq!(connection.answer(), ("HTTP/1.1 200 OK".to_owned(), r#"{"status":"ok"}"#.to_owned()));
}
