use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use super::{PATIENCE, TestServer};

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
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).expect("a line"), 0, "the connection ends after: {head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
        self.0.read_exact(&mut body).expect("a body");
        (head, String::from_utf8(body).expect("a text"))
    }

    /// Whether the server has ended the connection, after all that it said.
    pub(crate) fn is_at_its_end(&mut self) -> bool {
        self.0.fill_buf().expect("an end").is_empty()
    }
}
