//! An HTTP/1.1 client that costs little, so that what is measured is the server.
//!
//! Connections are kept open. Answers are delimited by `Content-Length` or by chunks (RFC 9112 §6).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use privnet_lab::Api;
use serde_json::Value;

/// An answer that takes longer than this will not come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Room for an answer before the first one has come.
const ROOM_BYTES: usize = 64 << 10;

/// A signed request as it is on the wire.
pub(crate) fn request(api: &Api, method: &str, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
    let text = body.map(Value::to_string).unwrap_or_default();
    let authorization = api.authorization(method, path, &text)?;
    let signature = authorization.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
    let kind = if body.is_some() { "content-type: application/json\r\n" } else { "" };
    let length = text.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{kind}{signature}\r\n");
    Ok((head + &text).into_bytes())
}

/// A GET that nobody has signed, as it is on the wire.
pub(crate) fn unsigned_get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// Where an API answers.
fn address_of(api: &Api) -> Result<SocketAddr> {
    let url = api.url();
    url.strip_prefix("http://").and_then(|address| address.parse().ok()).with_context(|| format!("no address: {url}"))
}

/// A connection that is kept open, with at most one request under way.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Answer,
}

impl Connection {
    pub(crate) fn open(api: &Api) -> Result<Self> {
        Self::open_to(address_of(api)?)
    }

    pub(crate) fn open_to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream, answer: Answer::default() })
    }

    /// Sends a request and returns the whole answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<&Answer> {
        self.send(request)?;
        while !self.receive()? {}
        Ok(&self.answer)
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.answer.clear();
        self.stream.write_all(request).context("cannot send a request")
    }

    /// Reads once and says whether the answer is whole.
    fn receive(&mut self) -> Result<bool> {
        let received = self.stream.read(self.answer.room()).context("no answer")?;
        ensure!(received > 0, "the server closed the connection");
        self.answer.grow(received)
    }
}

/// An answer, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    octets: Vec<u8>,
    filled: usize,
    head: Option<Head>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Head {
    status: u16,
    /// Where the body starts.
    body: usize,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Framing {
    Length(usize),
    /// Where the size of the next chunk is expected.
    Chunks(usize),
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.map_or(0, |head| head.status)
    }

    /// All of it, as it was on the wire.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets[..self.filled]
    }

    /// The JSON of an answer that says yes and is not chunked.
    pub(crate) fn json(&self) -> Result<Value> {
        let body = self.head.map_or(&[][..], |head| &self.octets()[head.body..]);
        let status = self.status();
        ensure!((200..300).contains(&status), "the API answers {status}: {}", String::from_utf8_lossy(body));
        serde_json::from_slice(body).context("the answer is no JSON")
    }

    fn clear(&mut self) {
        (self.filled, self.head) = (0, None);
    }

    fn room(&mut self) -> &mut [u8] {
        if self.filled == self.octets.len() {
            let size = (2 * self.octets.len()).max(ROOM_BYTES);
            self.octets.resize(size, 0);
        }
        &mut self.octets[self.filled..]
    }

    /// Takes in what was received into the room, and says whether the answer is whole.
    fn grow(&mut self, received: usize) -> Result<bool> {
        self.filled += received;
        let octets = &self.octets[..self.filled];
        if self.head.is_none() {
            self.head = parse_head(octets)?;
        }
        match &mut self.head {
            None => Ok(false),
            Some(Head { body, framing: Framing::Length(length), .. }) => Ok(octets.len() >= *body + *length),
            Some(Head { framing: Framing::Chunks(next), .. }) => pass_chunks(octets, next),
        }
    }
}

/// The head, once it is whole.
fn parse_head(octets: &[u8]) -> Result<Option<Head>> {
    let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&octets[..end]).context("the head is not ASCII")?.to_ascii_lowercase();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("no status")?;
    let body = end + 4;
    let mut framing = Framing::Length(0);
    for line in lines {
        match line.split_once(':').map(|(name, value)| (name, value.trim())) {
            Some(("content-length", length)) => framing = Framing::Length(length.parse().context("content-length")?),
            Some(("transfer-encoding", "chunked")) => framing = Framing::Chunks(body),
            _ => {}
        }
    }
    Ok(Some(Head { status, body, framing }))
}

/// Moves `next` over all chunks that are whole, and says whether the last one was among them.
fn pass_chunks(octets: &[u8], next: &mut usize) -> Result<bool> {
    const LINE_END_BYTES: usize = 2;
    while let Some(line) = octets.get(*next..).and_then(|rest| rest.windows(2).position(|two| two == b"\r\n")) {
        let digits = std::str::from_utf8(&octets[*next..*next + line])?;
        let Ok(size) = usize::from_str_radix(digits.trim(), 16) else { bail!("not a chunk's size: {digits:?}") };
        let after = *next + line + LINE_END_BYTES + size + LINE_END_BYTES;
        if after > octets.len() {
            return Ok(false);
        }
        *next = after;
        if size == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sends requests over so many connections, each with one under way, until there are none left and
/// all have been answered. One thread does it all, woken for whatever connections have an answer.
/// `on_answer` is told the request's number, from 0.
pub(crate) fn drive(
    api: &Api,
    connections: usize,
    requests: impl IntoIterator<Item = Result<Vec<u8>>>,
    mut on_answer: impl FnMut(usize, &Answer) -> Result<()>,
) -> Result<()> {
    let mut requests = requests.into_iter().enumerate();
    let mut under_way = Vec::new();
    for (number, request) in requests.by_ref().take(connections) {
        let mut connection = Connection::open(api)?;
        connection.send(&request?)?;
        under_way.push((number, connection));
    }
    while !under_way.is_empty() {
        privnet_lab::check_interrupts()?;
        for at in readable(&under_way)?.into_iter().rev() {
            let (number, connection) = &mut under_way[at];
            if !connection.receive()? {
                continue;
            }
            on_answer(*number, &connection.answer)?;
            match requests.next() {
                Some((next, request)) => {
                    connection.send(&request?)?;
                    *number = next;
                }
                None => drop(under_way.swap_remove(at)),
            }
        }
    }
    Ok(())
}

/// Which of the connections have something to read; waits until one has.
fn readable(connections: &[(usize, Connection)]) -> Result<Vec<usize>> {
    let watch = |(_, connection): &(usize, Connection)| libc::pollfd {
        fd: connection.stream.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut watched: Vec<_> = connections.iter().map(watch).collect();
    let timeout_ms = ANSWER_TIMEOUT.as_millis() as libc::c_int;
    // SAFETY: the pointer and the count are those of `watched`, which outlives the call.
    let ready = unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, timeout_ms) };
    match ready {
        0 => bail!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        1.. => Ok(watched.iter().enumerate().filter(|(_, one)| one.revents != 0).map(|(at, _)| at).collect()),
        _ => Err(std::io::Error::last_os_error()).context("cannot wait for answers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer octet by octet, and returns after how many it was whole.
    fn whole_after(wire: &[u8]) -> (Answer, Option<usize>) {
        let mut answer = Answer::default();
        for (at, octet) in wire.iter().enumerate() {
            answer.room()[0] = *octet;
            if answer.grow(1).expect("well-formed") {
                return (answer, Some(at + 1));
            }
        }
        (answer, None)
    }

    #[test]
    fn an_answer_with_a_length_is_whole_when_its_body_is() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx: y\r\n\r\n{\"a\": 1 }";
        let (answer, whole) = whole_after(wire);
        assert_eq!(whole, Some(wire.len()));
        assert_eq!(answer.json().expect("JSON"), serde_json::json!({"a": 1}));
    }

    #[test]
    fn a_chunked_answer_is_whole_after_its_last_chunk() {
        let wire =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[1,2\r\nb\r\n,\r\n\r\n3    ]\r\n0\r\n\r\n";
        let (answer, whole) = whole_after(wire);
        assert_eq!(whole, Some(wire.len()));
        assert_eq!(answer.octets(), wire);
        assert_eq!(whole_after(&wire[..wire.len() - 1]).1, None);
    }

    #[test]
    fn a_refusal_is_quoted() {
        let (answer, _) = whole_after(b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\nno");
        let error = answer.json().expect_err("a refusal").to_string();
        assert!(error.contains("409") && error.contains("no"), "{error}");
    }
}
