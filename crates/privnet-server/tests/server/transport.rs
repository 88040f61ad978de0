//! Connections: what is too large, too many requests on one, and what is no request.

use serde_json::json;

use privnet_server::{Authentication, Server, ServerConfig, ServerError};

use crate::support::connection::claim;
use crate::support::{Connection, Setup, TestServer, config, folder};

const BODY_BYTES_MAX: usize = 1 << 20;

fn create(length: usize) -> String {
    let head = r#"{"name":""#;
    format!("{head}{}\"}}", "x".repeat(length - head.len() - 2))
}

#[test]
fn a_body_of_more_than_a_mebibyte_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start(Setup::WAITING);
    let message = "the body has more than 1048576 octets, the most that is accepted";
    for length in [BODY_BYTES_MAX + 1, 3 * BODY_BYTES_MAX] {
        let reply = server.send("POST", "/v2/private-network", create(length).as_bytes());
        assert_eq!((reply.status, reply.body), (413, json!({"message": message})));
        let mut connection = Connection::open(&server);
        connection.send(
            format!(
                "POST /v2/private-network HTTP/1.1\r\nhost: x\r\n{}content-length: {length}\r\n\r\n",
                claim(&server)
            )
            .as_bytes(),
        );
        connection.send(create(length).as_bytes());
        assert_eq!(connection.answer().0, "HTTP/1.1 413 Payload Too Large");
        connection.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(connection.answer(), ("HTTP/1.1 200 OK".to_owned(), r#"{"status":"ok"}"#.to_owned()));
    }
    let allowed = server.send("POST", "/v2/private-network", create(BODY_BYTES_MAX).as_bytes());
    assert_eq!(allowed.status, 400);
    assert_eq!(server.get("/v2/private-network"), json!({"private-networks": []}));
}

#[test]
fn a_body_whose_length_is_not_told_is_read_no_further_than_that() {
    let server = TestServer::start(Setup::WAITING);
    let mut connection = Connection::open(&server);
    let claim = claim(&server);
    connection.send(
        format!("POST /v2/private-network HTTP/1.1\r\nhost: x\r\n{claim}transfer-encoding: chunked\r\n\r\n").as_bytes(),
    );
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..BODY_BYTES_MAX / 0x10000 + 1 {
        connection.send(chunk.as_bytes());
    }
    connection.send(b"0\r\n\r\n");
    assert_eq!(connection.answer().0, "HTTP/1.1 413 Payload Too Large");
}

/// Has a server refuse to start, with this message.
async fn refused(change: impl FnOnce(&mut ServerConfig), message: &str) {
    let dir = folder();
    let mut config = config(Setup::WAITING, &dir);
    change(&mut config);
    let error: ServerError = Server::bind(config).await.err().expect("refused");
    assert_eq!(error.to_string(), message);
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
}

#[tokio::test]
async fn nobody_is_served_beyond_loopback() {
    refused(
        |config| config.listen = "192.0.2.1:0".parse().expect("an address"),
        "refusing to listen on 192.0.2.1:0: everybody on the way could read what is sent, as it is not encrypted; give --tls-cert and --tls-key (or, for a first try, --tls-self-signed), listen on a loopback address (127.0.0.1, ::1), or, if something in front of it encrypts, --allow-plain-http",
    )
    .await;
    refused(
        |config| {
            config.listen = "[2001:db8::1]:0".parse().expect("an address");
            config.authentication = Authentication::None;
        },
        "refusing to listen on [2001:db8::1]:0 without authentication: everybody who reaches it could change every network; leave out --insecure-no-auth, or listen on a loopback address (127.0.0.1, ::1)",
    )
    .await;
}

#[tokio::test]
async fn two_servers_do_not_share_a_folder() {
    let dir = folder();
    let first = Server::bind(config(Setup::WAITING, &dir)).await.expect("a server");
    let error = Server::bind(config(Setup::WAITING, &dir)).await.err().expect("refused");
    let expected = format!("cannot open the database {}", dir.path().join("privnet.db").display());
    assert_eq!(error.to_string(), expected);
    drop(first);
}
