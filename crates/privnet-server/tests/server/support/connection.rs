use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::{PATIENCE, Reply, TestServer};

/// A header by which a request to make a network is read as far as its body.
pub(crate) fn claim(server: &TestServer) -> String {
    format!("authorization: {}\r\n", server.authorization("POST", "/v2/private-network", b""))
}

/// A connection that says exactly what the test says.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(server: &TestServer) -> Self {
        let stream = TcpStream::connect(server.address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).expect("the server reads");
    }

    /// The status line and the body of the next answer.
    pub(crate) fn answer(&mut self) -> (String, String) {
        let (head, body) = self.answer_with_head();
        (head.lines().next().expect("a status line").to_owned(), body)
    }

    /// The head and the body of the next answer.
    pub(crate) fn answer_with_head(&mut self) -> (String, String) {
        let head = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = self.octets(length.map_or(0, |length| length.parse().expect("a number")));
        (head, String::from_utf8(body).expect("a text"))
    }

    /// The next answer, which is JSON, whole or in chunks.
    pub(crate) fn reply(&mut self) -> Reply {
        let head = self.head();
        let (line, rest) = head.split_once("\r\n").expect("a status line");
        let status = line.split(' ').nth(1).expect("a status").parse().expect("a number");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        let headers: HeaderMap = rest.lines().filter(|line| !line.is_empty()).map(header).collect();
        let body = match headers.get("content-length") {
            Some(length) => self.octets(length.to_str().expect("a text").parse().expect("a number")),
            None => self.chunks(),
        };
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
        Reply { status, headers, body }
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).expect("a line"), 0, "the connection ends after: {head}");
        }
        head
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.0.read_exact(&mut octets).expect("as many octets");
        octets
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a line");
            let count = usize::from_str_radix(line.trim_end(), 16).expect("a chunk");
            octets.extend(self.octets(count));
            self.octets(2);
            if count == 0 {
                return octets;
            }
        }
    }

    /// Whether the server has ended the connection, after all that it said.
    pub(crate) fn is_at_its_end(&mut self) -> bool {
        self.0.fill_buf().expect("an end").is_empty()
    }
}
