//! What the API takes from its clients, as settings say it. What takes time is tested beside the door.

use std::num::NonZeroU32;
use std::time::Duration;

use privnet_api::Signer;
use privnet_server::Limits;
use serde_json::{Value, json};

use crate::support::agent::{acknowledge, silent};
use crate::support::connection::claim;
use crate::support::{Agent, Client, Connection, Setup, TestServer, managed, wait_until};

fn server(change: impl FnOnce(&mut Limits)) -> TestServer {
    let mut limits = Limits::DEFAULT;
    change(&mut limits);
    TestServer::start(Setup { limits, ..Setup::WAITING })
}

fn with_headers(headers: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = server(|limits| limits.head_bytes_max = 8192);
    let head = |octets: usize| with_headers(&format!("x: {}\r\n", "y".repeat(octets - with_headers("x: \r\n").len())));
    let mut connection = Connection::open(&server);
    connection.send(head(8192).as_bytes());
    assert_eq!(connection.answer().0, "HTTP/1.1 200 OK");
    connection.send(head(8193).as_bytes());
    assert_eq!(connection.answer().0, "HTTP/1.1 431 Request Header Fields Too Large");
    assert!(connection.is_at_its_end());
}

#[test]
fn headers_that_are_too_many_are_refused() {
    for headers_max in [100, 20] {
        let server = server(|limits| limits.headers_max = headers_max);
        let mut connection = Connection::open(&server);
        connection.send(with_headers(&"x: y\r\n".repeat(headers_max - 1)).as_bytes());
        assert_eq!(connection.answer().0, "HTTP/1.1 200 OK");
        connection.send(with_headers(&"x: y\r\n".repeat(headers_max)).as_bytes());
        assert_eq!(connection.answer().0, "HTTP/1.1 431 Request Header Fields Too Large");
        assert!(connection.is_at_its_end());
    }
}

#[test]
fn the_size_of_a_body_is_as_it_is_set() {
    let server = server(|limits| limits.body_bytes_max = 100);
    let body = |octets: usize| format!(r#"{{"name":"{}"}}"#, "x".repeat(octets - 11));
    assert_eq!(server.send("POST", "/v2/private-network", body(100).as_bytes()).status, 200);
    let reply = server.send("POST", "/v2/private-network", body(101).as_bytes());
    let message = "the body has more than 100 octets, the most that is accepted";
    assert_eq!((reply.status, reply.body), (413, json!({"message": message})));
}

#[test]
fn the_bodies_of_all_requests_share_what_room_there_is() {
    const KIB: usize = 1 << 10;
    let server = server(|limits| limits.bodies_bytes_max = 40 * KIB);
    let agent = Agent::connect(&server, "h1", silent);
    assert_eq!(agent.hear_what_it_lacked(), []);
    let (network, web) = (server.network(managed(9)), server.instance("web", "h1"));
    let padded = |body: Value, octets: usize| format!("{:<1$}", body.to_string(), octets).into_bytes();
    let ask = |octets| server.send("POST", "/v2/private-network", &padded(json!({"name": "n"}), octets));
    let mut waiting = Connection::open(&server);
    let (path, body) = (format!("{network}:attach"), padded(json!({"instance": {"id": web}}), 20 * KIB));
    let signed = server.authorization("PUT", &path, &body);
    let length = body.len();
    let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: {signed}\r\ncontent-length: {length}\r\n\r\n");
    waiting.send(head.as_bytes());
    waiting.send(&body);
    wait_until("a request that waits", || server.get(&network)["leases"].is_array());

    assert_eq!(ask(52 * KIB).status, 200, "all that 4 KiB leave of 40, and 16 that need none");
    let refused = ask(52 * KIB + 1);
    let message = "the server has as many octets of requests under way as it takes";
    assert_eq!((refused.status, refused.body), (503, json!({"message": message})));
    assert_eq!(refused.headers["retry-after"], "1");

    agent.say(acknowledge(&agent.hear()).expect("what the host shall carry"));
    assert_eq!(waiting.answer().0, "HTTP/1.1 200 OK");
    assert_eq!(ask(56 * KIB).status, 200);
}

#[test]
fn a_body_that_takes_too_long_is_refused() {
    let server = server(|limits| limits.body_timeout = Duration::from_millis(20));
    let mut connection = Connection::open(&server);
    let claim = claim(&server);
    connection.send(
        format!("POST /v2/private-network HTTP/1.1\r\nhost: x\r\n{claim}content-length: 100\r\n\r\n{{").as_bytes(),
    );
    let (status, body) = connection.answer();
    assert_eq!(status, "HTTP/1.1 408 Request Timeout");
    assert_eq!(body, r#"{"message":"the body took longer than 0.02 s"}"#);
    assert!(connection.is_at_its_end());
}

#[test]
fn a_request_that_takes_too_long_is_answered_and_done_all_the_same() {
    let server = server(|limits| limits.request_timeout = Duration::from_secs(1));
    let _agent = Agent::connect(&server, "h1", silent);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let message = "this takes longer than it may, and may still be done: look before you ask for it again";
    let reply = server.ask("PUT", &format!("{network}:attach"), json!({"instance": {"id": web}}));
    assert_eq!((reply.status, reply.body), (503, json!({"message": message})));
    assert_eq!(server.get(&network)["leases"][0]["instance-id"], web);
}

#[test]
fn a_request_that_nobody_waits_for_has_its_place_until_it_is_done() {
    let server = server(|limits| (limits.requests_max, limits.request_timeout) = (1, Duration::from_secs(1)));
    let agent = Agent::connect(&server, "h1", silent);
    assert_eq!(agent.hear_what_it_lacked(), []);
    let (network, web) = (server.network(managed(9)), server.instance("web", "h1"));
    let given_up = server.ask("PUT", &format!("{network}:attach"), json!({"instance": {"id": web}}));
    assert_eq!(given_up.status, 503);
    let reply = server.send_with("POST", "/v2/private-network", b"{}", &[]);
    let message = "the server has as many requests under way as it takes";
    assert_eq!((reply.status, reply.body), (503, json!({"message": message})));
    assert_eq!(reply.headers["retry-after"], "1");
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(server.send_with("GET", probe, b"", &[]).status, 200, "who asks how the server is needs no place");
    }
    agent.say(acknowledge(&agent.hear()).expect("what the host shall carry"));
    wait_until("an end", || server.send("GET", "/v2/zone", b"").status == 200);
}

#[test]
fn who_asks_too_much_is_told_when_to_ask_again() {
    let server = server(|limits| limits.address_requests_per_second = NonZeroU32::new(1));
    let mut connection = Connection::open(&server);
    let requests = 100;
    connection.send(with_headers("").repeat(requests).as_bytes());
    let answers: Vec<_> = (0..requests).map(|_| connection.answer_with_head()).collect();
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(head, _)| head.starts_with("HTTP/1.1 200 OK"));
    assert!(served.len() >= 2, "two at once are within the limit");
    assert!(!refused.is_empty());
    for (head, body) in refused {
        assert!(
            head.starts_with("HTTP/1.1 429 Too Many Requests\r\n") && head.contains("retry-after: 1\r\n"),
            "{head}"
        );
        assert_eq!(body, r#"{"message":"too many requests"}"#);
    }
}

#[test]
fn an_operator_who_asks_too_much_is_refused_and_organizations_are_not() {
    let server = server(|limits| limits.organization_requests_per_second = NonZeroU32::new(1));
    let replies: Vec<_> = (0..100).map(|_| server.send("GET", "/v2/quota", b"")).collect();
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(!refused.is_empty() && replies[0].status == 200, "{replies:?}");
    assert_eq!(refused[0].body, json!({"message": "too many requests"}));
    assert_eq!(refused[0].headers["retry-after"], "1");
    assert_eq!(server.send_with("GET", "/v2/zone", b"", &[]).status, 200, "what needs no key has no limit of a key");
    let other = Signer::new(&server.first_credentials().default).expect("a key");
    assert_eq!(Client::of(server.address, other).send("GET", "/v2/quota", b"").status, 200);
}
