//! The door with TLS, on the same clock.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use privnet_tls::{
    AltName, ClientCertificates, Connector, Identity, PrivateKey, Subject, TlsError, TlsStream, Trust, Use, Validity,
    self_signed,
};

use super::*;
use crate::handshakes::HANDSHAKES_PER_CLIENT_MAX;

/// Certificates are held against the system's clock, which no test moves.
const ALWAYS: Validity = Validity { not_before: 0, not_after: 253_402_000_000 };

/// A door with TLS, and who trusts it.
fn encrypted_door(
    change: impl FnOnce(&mut Limits),
) -> (Door<impl Fn(IpAddr, Request<Incoming>) -> BoxedAnswer + Clone>, Connector) {
    let key = PrivateKey::generate().expect("a key");
    let names = [AltName::Dns("localhost".into())];
    let subject = Subject { serial: [1; 16], common_name: "x", names: &names, uses: Use::Server, validity: ALWAYS };
    let certificate = self_signed(&key, &subject).expect("a certificate");
    let trust = Trust::Authorities(vec![certificate.clone()]);
    let identity = Identity::new(vec![certificate], key).expect("an identity");
    let acceptor = Acceptor::new(&identity, &ClientCertificates::None, &["http/1.1"]).expect("an acceptor");
    let mut door = door(change);
    door.tls = Some(Tls::new(acceptor, &door.limits, Handshakes::failed()));
    (door, Connector::new(&trust, None, &["http/1.1"]).expect("a connector"))
}

/// A connection through the door, with TLS at this end as well.
async fn encrypted(connection: Connection, connector: &Connector) -> Result<TlsStream<DuplexStream>, TlsError> {
    let name = "localhost".parse().expect("a name");
    let stream = connector.stream(&name, connection.0).expect("a session");
    stream.handshake().await.map_err(|failed| failed.tls().cloned().expect("an error of TLS"))
}

/// Asks on a connection, and returns the first line of the answer.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    stream.write_all(REQUEST).await.expect("written");
    stream.flush().await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8_lossy(&head).lines().next().expect("a line").to_owned()
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_one_after_another_on_one_connection() {
    let (door, connector) = encrypted_door(|_| {});
    let mut stream = encrypted(Connection::open(&door, 1), &connector).await.expect("a connection");
    for _ in 0..3 {
        assert_eq!(ask(&mut stream).await, "HTTP/1.1 200 OK");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_ends_its_connection_and_keeps_nobody() {
    let (door, connector) = encrypted_door(|limits| limits.connections_per_address_max = 2);
    let start = Instant::now();
    let (mut silent, mut slow) = (Connection::open(&door, 1), Connection::open(&door, 1));
    // The beginning of a record that never ends.
    slow.send(&[22, 3, 1, 2, 0, 1]).await;
    let (refused, other) = (Connection::open(&door, 1), Connection::open(&door, 2));
    let mut other = encrypted(other, &connector).await.expect("another client is served at once");
    assert_eq!(ask(&mut other).await, "HTTP/1.1 200 OK");
    assert_eq!(start.elapsed(), Duration::ZERO);
    let mut refused = encrypted(refused, &connector).await.expect("it is told by TLS");
    assert_eq!(ask(&mut refused).await, "HTTP/1.1 429 Too Many Requests", "handshakes have a place");
    assert_eq!((silent.rest().await, slow.rest().await), (vec![], vec![]));
    assert_eq!(start.elapsed().as_secs(), Limits::DEFAULT.head_timeout.as_secs());
    let mut next = encrypted(Connection::open(&door, 1), &connector).await.expect("their places are free");
    assert_eq!(ask(&mut next).await, "HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_finds_no_place_is_not_waited_for() {
    let (door, connector) = encrypted_door(|_| {});
    let start = Instant::now();
    let open = |client: usize, count: usize| -> Vec<_> {
        (0..count).map(|_| Connection::open(&door, u8::try_from(client).expect("few"))).collect()
    };
    let mut silent = open(1, HANDSHAKES_PER_CLIENT_MAX);
    assert_eq!(Connection::open(&door, 1).rest().await, b"", "it is closed");
    let mut other = encrypted(Connection::open(&door, 2), &connector).await.expect("another client has its own");
    assert_eq!(ask(&mut other).await, "HTTP/1.1 200 OK");
    for client in 2..=HANDSHAKES_MAX / HANDSHAKES_PER_CLIENT_MAX {
        silent.extend(open(client, HANDSHAKES_PER_CLIENT_MAX));
    }
    assert_eq!(Connection::open(&door, 100).rest().await, b"", "there are no more");
    assert_eq!(ask(&mut other).await, "HTTP/1.1 200 OK", "whose handshake is over takes no place");
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(silent.pop());
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut next = encrypted(Connection::open(&door, 100), &connector).await.expect("a place is free");
    assert_eq!(ask(&mut next).await, "HTTP/1.1 200 OK");
    for mut connection in silent {
        assert_eq!(connection.rest().await, b"");
    }
    assert_eq!(start.elapsed().as_secs(), Limits::DEFAULT.head_timeout.as_secs());
}

/// Those who are told that there is no place for their connection have made a handshake as well.
#[tokio::test(start_paused = true)]
async fn who_finds_no_place_for_a_connection_has_none_for_many_handshakes_either() {
    let (door, _) = encrypted_door(|limits| limits.connections_per_address_max = 1);
    let _silent: Vec<_> = (0..HANDSHAKES_PER_CLIENT_MAX).map(|_| Connection::open(&door, 1)).collect();
    let start = Instant::now();
    assert_eq!(Connection::open(&door, 1).rest().await, b"");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_speaks_plain_http_is_told_what_to_do() {
    let (door, _) = encrypted_door(|_| {});
    let mut connection = Connection::open(&door, 1);
    connection.send(REQUEST).await;
    let head = connection.head().await;
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.contains("connection: close\r\n"), "{head}");
    let expected = r#"{"message":"this is plain HTTP, and this port speaks TLS: use https://"}"#;
    assert_eq!(String::from_utf8_lossy(&connection.rest().await), expected);
}

#[tokio::test(start_paused = true)]
async fn who_speaks_something_else_is_not_answered() {
    let (door, _) = encrypted_door(|_| {});
    let mut connection = Connection::open(&door, 1);
    connection.send(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    assert_eq!(connection.rest().await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_the_end_of_its_answer_loses_its_connection() {
    let (door, connector) = encrypted_door(|limits| limits.connections_max = 1);
    let mut stream = encrypted(Connection::open(&door, 1), &connector).await.expect("a connection");
    // What TLS has taken and the client has not is less than the buffers hold.
    stream.write_all(&REQUEST.repeat(100)).await.expect("written");
    stream.flush().await.expect("sent");
    let start = Instant::now();
    tokio::time::sleep(Limits::DEFAULT.send_timeout + Duration::from_secs(1)).await;
    let mut next = encrypted(Connection::open(&door, 1), &connector).await.expect("its place is free");
    assert_eq!(ask(&mut next).await, "HTTP/1.1 200 OK");
    assert_eq!(start.elapsed(), Limits::DEFAULT.send_timeout + Duration::from_secs(1));
}

/// A program that speaks TLS, and in the end all of these records: see there.
struct ClientByHand(Child);

impl ClientByHand {
    fn new(records: &str) -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../privnet-tls/tests/tls/client_by_hand.py");
        let mut command = Command::new("python3");
        command.args([program, records]).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().expect("python3"))
    }

    fn turn(&mut self) -> Vec<u8> {
        let from = self.0.stdout.as_mut().expect("a pipe");
        let mut length = [0; 4];
        from.read_exact(&mut length).expect("it speaks");
        let mut said = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut said).expect("it speaks");
        said
    }

    /// Makes the handshake and says its records.
    async fn speak(&mut self, connection: &mut Connection) {
        connection.send(&self.turn()).await;
        loop {
            let mut heard = vec![0; PIPE_BYTES];
            let octets = connection.0.read(&mut heard).await.expect("the server answers");
            let said = [&u32::try_from(octets).expect("few octets").to_be_bytes(), &heard[..octets]].concat();
            self.0.stdin.as_mut().expect("a pipe").write_all(&said).expect("it listens");
            let turn = self.turn();
            if !turn.is_empty() {
                connection.send(&turn).await;
                return connection.send(&self.turn()).await;
            }
        }
    }
}

impl Drop for ClientByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_the_end_of_a_key_update_loses_its_connection() {
    let (door, connector) = encrypted_door(|limits| limits.connections_max = 1);
    let mut connection = Connection::open(&door, 1);
    let request: String = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n".iter().map(|octet| format!("{octet:02x}")).collect();
    // Nothing can be sent to it while four octets of a KeyUpdate's five have come (RFC 8446 §4.6.3).
    let mut client = ClientByHand::new(&format!("23:{request}+22:18000001"));
    client.speak(&mut connection).await;
    let start = Instant::now();
    assert_eq!(connection.rest().await, b"");
    assert_eq!(start.elapsed(), LONG_ANSWER + Limits::DEFAULT.send_timeout);
    let mut next = encrypted(Connection::open(&door, 1), &connector).await.expect("its place is free");
    assert_eq!(ask(&mut next).await, "HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn a_door_that_closes_answers_what_was_asked_and_waits_for_no_handshake() {
    let (door, connector) = encrypted_door(|limits| limits.stop_timeout = 2 * LONG_ANSWER);
    let mut silent = Connection::open(&door, 1);
    let mut idle = encrypted(Connection::open(&door, 1), &connector).await.expect("a connection");
    let mut slow = encrypted(Connection::open(&door, 1), &connector).await.expect("a connection");
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    slow.flush().await.expect("sent");
    let start = Instant::now();
    let closing = tokio::spawn(door.close());
    assert_eq!(silent.rest().await, b"");
    assert_eq!(idle.read_to_end(&mut Vec::new()).await.expect("a proper end"), 0);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("a proper end");
    assert!(is_ok(&answer));
    closing.await.expect("closed");
    assert_eq!(start.elapsed().as_secs(), LONG_ANSWER.as_secs());
}
