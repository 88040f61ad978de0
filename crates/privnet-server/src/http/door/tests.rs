//! On a clock that only waits move.

mod encrypted;

use std::net::Ipv4Addr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use super::*;

/// How many octets are on their way at most.
const PIPE_BYTES: usize = 1024;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Longer than any limit but those of idleness and of whole requests.
const LONG_ANSWER: Duration = Duration::from_secs(50);

/// The answers under test: `/` is empty, `/slow` takes long, `/list` is long.
async fn answer(_: IpAddr, request: Request<Incoming>) -> Response<Body> {
    Response::new(match request.uri().path() {
        "/slow" => {
            tokio::time::sleep(LONG_ANSWER).await;
            Body::default()
        }
        "/list" => Body::Parts(Box::new(std::iter::repeat_n(Bytes::from_static(&[b'x'; LIST_PART_BYTES]), LIST_PARTS))),
        _ => Body::default(),
    })
}

const LIST_PART_BYTES: usize = 10_000;
const LIST_PARTS: usize = 100;

fn door(change: impl FnOnce(&mut Limits)) -> Door<impl Fn(IpAddr, Request<Incoming>) -> BoxedAnswer + Clone> {
    let mut limits = Limits::DEFAULT;
    change(&mut limits);
    Door::new(None, limits, |client, request| -> BoxedAnswer { Box::pin(answer(client, request)) })
}

type BoxedAnswer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

fn client(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

/// A connection of a client through the door.
struct Connection(DuplexStream);

impl Connection {
    fn open<F>(door: &Door<impl Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static>, number: u8) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (stream, ours) = tokio::io::duplex(PIPE_BYTES);
        door.open(ours, client(number));
        Self(stream)
    }

    async fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.expect("the server reads");
    }

    /// What is answered next, until the end of its head.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("an answer"));
        }
        String::from_utf8(head).expect("a text")
    }

    /// What comes until the connection ends.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // An end is an end, in whatever way.
        let _ = self.0.read_to_end(&mut rest).await;
        rest
    }
}

fn is_ok(head: &str) -> bool {
    head.starts_with("HTTP/1.1 200 ")
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_not_whole_in_time_ends_its_connection() {
    let door = door(|_| {});
    let start = Instant::now();
    let mut connection = Connection::open(&door, 1);
    for octet in REQUEST {
        if connection.0.write_all(&[*octet]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(connection.rest().await, b"");
    assert_eq!(start.elapsed().as_secs(), Limits::DEFAULT.head_timeout.as_secs() + 1, "the octet after was refused");
}

#[tokio::test(start_paused = true)]
async fn every_head_has_its_own_time() {
    let door = door(|_| {});
    let mut connection = Connection::open(&door, 1);
    for _ in 0..3 {
        let (first, second) = REQUEST.split_at(20);
        connection.send(first).await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        connection.send(second).await;
        assert!(is_ok(&connection.head().await));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    connection.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(is_ok(&connection.head().await), "an answer that takes longer is no head that does");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_closed() {
    let door = door(|_| {});
    let mut used = Connection::open(&door, 1);
    used.send(REQUEST).await;
    assert!(is_ok(&used.head().await));
    let start = Instant::now();
    let mut fresh = Connection::open(&door, 1);
    assert_eq!((used.rest().await, fresh.rest().await), (vec![], vec![]));
    assert_eq!(start.elapsed().as_secs(), Limits::DEFAULT.idle_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answer_loses_its_connection() {
    let door = door(|limits| limits.connections_max = 1);
    let mut connection = Connection::open(&door, 1);
    connection.send(b"GET /list HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(is_ok(&connection.head().await));
    tokio::time::sleep(Limits::DEFAULT.send_timeout + Duration::from_secs(1)).await;
    let mut next = Connection::open(&door, 1);
    next.send(REQUEST).await;
    assert!(is_ok(&next.head().await), "its place is free");
    assert!(connection.rest().await.len() < 2 * PIPE_BYTES, "what was on its way");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_slowly_gets_it_whole() {
    let door = door(|_| {});
    let mut connection = Connection::open(&door, 1);
    connection.send(b"GET /list HTTP/1.0\r\n\r\n").await;
    let start = Instant::now();
    let (mut received, mut buffer) = (connection.head().await.len(), [0; PIPE_BYTES]);
    while let Ok(octets @ 1..) = connection.0.read(&mut buffer).await {
        received += octets;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(received > LIST_PARTS * LIST_PART_BYTES);
    assert!(start.elapsed() > 3 * Limits::DEFAULT.send_timeout);
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_is_told_when_to_come_again() {
    let door = door(|limits| (limits.connections_max, limits.connections_per_address_max) = (3, 2));
    let mut served = vec![Connection::open(&door, 1), Connection::open(&door, 1)];
    let expected = "429 Too Many Requests: this client has as many connections as one may";
    assert_eq!(turned_away(&door, 1).await, expected);
    served.push(Connection::open(&door, 2));
    let expected = "503 Service Unavailable: the server has as many connections as it takes";
    assert_eq!(turned_away(&door, 3).await, expected);
    for connection in &mut served {
        connection.send(REQUEST).await;
        assert!(is_ok(&connection.head().await), "who has a place keeps it");
    }
}

/// Asks for something, and answers how it was refused.
async fn turned_away<F>(
    door: &Door<impl Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static>,
    number: u8,
) -> String
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut connection = Connection::open(door, number);
    connection.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello").await;
    let head = connection.head().await;
    assert!(head.contains("retry-after: 1\r\n") && head.contains("connection: close\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_slice(&connection.rest().await).expect("JSON");
    let status = head.lines().next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status");
    format!("{status}: {}", body["message"].as_str().expect("a message"))
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_and_says_nothing_is_not_waited_for() {
    let door = door(|limits| limits.connections_max = 1);
    let _served = Connection::open(&door, 1);
    let start = Instant::now();
    let mut silent: Vec<_> = (0..=TURNED_AWAY_MAX).map(|_| Connection::open(&door, 2)).collect();
    assert_eq!(silent.pop().expect("one too many").rest().await, b"");
    assert_eq!(start.elapsed(), Duration::ZERO);
    for mut connection in silent {
        assert_eq!(connection.rest().await, b"");
    }
    assert_eq!(start.elapsed().as_secs(), TURN_AWAY_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_door_that_closes_has_requests_under_way_answered() {
    let door = door(|limits| limits.stop_timeout = 2 * LONG_ANSWER);
    let mut connections = [Connection::open(&door, 1), Connection::open(&door, 1), Connection::open(&door, 1)];
    let [slow, list, idle] = &mut connections;
    slow.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    list.send(b"GET /list HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(is_ok(&list.head().await));
    let start = Instant::now();
    let closing = tokio::spawn(door.close());
    assert_eq!(idle.rest().await, b"");
    assert!(list.rest().await.ends_with(b"\r\n0\r\n\r\n"), "the list is whole");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(is_ok(&slow.head().await));
    assert_eq!(slow.rest().await, b"");
    closing.await.expect("closed");
    assert_eq!(start.elapsed().as_secs(), LONG_ANSWER.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_door_that_closes_waits_no_longer_than_it_may() {
    let door = door(|_| {});
    let mut slow = Connection::open(&door, 1);
    slow.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::task::yield_now().await;
    let start = Instant::now();
    door.close().await;
    assert_eq!(start.elapsed().as_secs(), Limits::DEFAULT.stop_timeout.as_secs());
}
