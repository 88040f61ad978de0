//! The API by TLS: who gets a place for a handshake, and what becomes of connections when the certificate changes.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use privnet_server::SELF_SIGNED_FILE;
use privnet_tls::{
    AltName, BlockingStream, Certificate, Connector, Fingerprint, PrivateKey, Subject, Trust, Use, Validity,
    self_signed,
};

use crate::support::{PATIENCE, Setup, TestServer, wait_until};

const BY_TLS: Setup = Setup { api_by_tls: true, ..Setup::WAITING };

/// How many handshakes one address may have under way.
const HANDSHAKES_PER_CLIENT_MAX: usize = 64;

fn certificate_file(server: &TestServer) -> PathBuf {
    server.dir().join(SELF_SIGNED_FILE)
}

fn key_file(server: &TestServer) -> PathBuf {
    certificate_file(server).with_extension("key")
}

/// A connection by TLS.
struct Connection(BlockingStream<TcpStream>);

impl Connection {
    /// To a server that shows the certificate in its file, or one that was there before.
    fn open(server: &TestServer, trusted: &[Certificate]) -> std::io::Result<Self> {
        let socket = TcpStream::connect(server.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let connector = Connector::new(&Trust::Authorities(trusted.to_vec()), None, &[]).expect("a connector");
        BlockingStream::connect(&connector, &"localhost".parse().expect("a name"), socket).map(Self)
    }

    /// The fingerprint of the certificate that it was shown.
    fn shown(&self) -> Fingerprint {
        self.0.peer().expect("a peer").certificates[0].fingerprint()
    }

    /// Asks for something, and expects to be answered.
    #[track_caller]
    fn expect_answer(&mut self) {
        const BODY: &str = r#"{"status":"ok"}"#;
        self.0.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").expect("the server reads");
        self.0.flush().expect("the server reads");
        let mut answer = String::new();
        while !answer.ends_with(BODY) {
            let mut octets = [0; 1024];
            let count = self.0.read(&mut octets).expect("an answer");
            assert_ne!(count, 0, "the connection ends after: {answer}");
            answer.push_str(std::str::from_utf8(&octets[..count]).expect("a text"));
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

fn own(server: &TestServer) -> Vec<Certificate> {
    let text = fs::read_to_string(certificate_file(server)).expect("a certificate");
    Certificate::all_from_pem(&text).expect("a certificate")
}

/// Another certificate, and its key, in PEM.
fn another() -> (Certificate, String) {
    let key = PrivateKey::generate().expect("a key");
    let names = [AltName::Dns("localhost".into())];
    let always = Validity { not_before: 0, not_after: 253_402_000_000 };
    let subject = Subject { serial: [9; 16], common_name: "x", names: &names, uses: Use::Server, validity: always };
    let secret = key.to_pem().expect("PEM").text().expect("a text").to_owned();
    (self_signed(&key, &subject).expect("a certificate"), secret)
}

#[test]
fn a_client_that_begins_many_handshakes_has_so_many_and_the_next_is_closed_at_once() {
    let server = TestServer::start(BY_TLS);
    let trusted = own(&server);
    let mut before = Connection::open(&server, &trusted).expect("a connection");
    // Which tells that its handshake is over at the server, too.
    before.expect_answer();
    let silent: Vec<_> =
        (0..HANDSHAKES_PER_CLIENT_MAX).map(|_| TcpStream::connect(server.address).expect("it listens")).collect();
    let mut next = TcpStream::connect(server.address).expect("it listens");
    next.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(next.read(&mut [0]).expect("an end"), 0);
    for mut waiting in &silent {
        waiting.set_nonblocking(true).expect("set");
        assert_eq!(waiting.read(&mut [0]).expect_err("nothing").kind(), ErrorKind::WouldBlock, "it is waited for");
    }
    before.expect_answer();
    drop(silent);
    wait_until("a place", || Connection::open(&server, &trusted).is_ok());
}

#[test]
fn a_connection_takes_the_place_of_a_handshake_no_longer_than_that_takes() {
    let server = TestServer::start(BY_TLS);
    let trusted = own(&server);
    let open = || Connection::open(&server, &trusted).expect("a connection");
    let mut connections: Vec<_> = (0..2 * HANDSHAKES_PER_CLIENT_MAX).map(|_| open()).collect();
    connections.iter_mut().for_each(Connection::expect_answer);
}

/// As they are found by whoever renews them and says so too early, or by mistake.
#[test]
fn files_that_are_no_good_leave_all_as_it_is_until_they_are() {
    let server = TestServer::start(BY_TLS);
    let first = own(&server).swap_remove(0);
    let (second, key) = another();
    let trusted = [first.clone(), second.clone()];
    let open = || Connection::open(&server, &trusted).expect("a connection");
    let mut of_first = open();

    // The certificate has come and its key has not; then half of the key; then all.
    fs::write(certificate_file(&server), second.to_pem()).expect("written");
    for written in [None, Some(""), Some(&key[..key.len() / 2])] {
        if let Some(text) = written {
            fs::write(key_file(&server), text).expect("written");
        }
        server.certificate().reload().expect_err("no good");
        let mut new = open();
        assert_eq!(new.shown(), first.fingerprint());
        new.expect_answer();
    }
    fs::write(key_file(&server), &key).expect("written");
    server.certificate().reload().expect("good files");
    let mut of_second = open();
    assert_eq!(of_second.shown(), second.fingerprint());

    fs::remove_file(certificate_file(&server)).expect("removed");
    server.certificate().reload().expect_err("there is no certificate");
    assert_eq!(open().shown(), second.fingerprint());
    of_second.expect_answer();
    of_first.expect_answer();
}
