//! A client that begins a key update (RFC 8446 §4.6.3) and keeps the rest of it: nothing can be sent to it
//! meanwhile, and whoever wants to waits for the rest.

use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use privnet_tls::{BlockingStream, Handshake, Read, Role, Session, TlsError, TlsStream, Write, tls_error};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};

use crate::common::*;

/// A KeyUpdate that asks for none in return: but for its last octet, that, and the record of a close_notify.
const BEGUN: &str = "22:18000001";
const ENDED: &str = "22:00+rekey";
const CLOSE_NOTIFY: &str = "21:0100";
/// "hi" as application data.
const HI: &str = "23:6869";

/// The client, in a program of its own, since its records are such as no library makes.
struct Client {
    program: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Client {
    fn new(turns: &[&str]) -> Self {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/client_by_hand.py")).args(turns);
        let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let (to, from) = (program.stdin.take().expect("a pipe"), program.stdout.take().expect("a pipe"));
        Self { program, to, from }
    }

    /// What it says next.
    fn turn(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).expect("it speaks");
        let mut said = vec![0; u32::from_be_bytes(length) as usize];
        self.from.read_exact(&mut said).expect("it speaks");
        said
    }

    fn tell(&mut self, octets: &[u8]) {
        let length = u32::try_from(octets.len()).expect("few octets").to_be_bytes();
        self.to.write_all(&[&length, octets].concat()).expect("it listens");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A client that has these turns to say, and the server it has made its handshake with.
fn established(turns: &[&str]) -> (Client, Session) {
    let mut client = Client::new(turns);
    let mut server = acceptor().session().expect("a session");
    loop {
        server.receive(&client.turn()).expect("taken");
        if server.handshake().expect("well") == Handshake::Done {
            return (client, server);
        }
        client.tell(&all_outgoing(&mut server));
    }
}

fn acceptor() -> privnet_tls::Acceptor {
    asking_nothing(&identity(&authority(), &server(&server_names())))
}

fn all_outgoing(from: &mut Session) -> Vec<u8> {
    let mut all = vec![0; from.outgoing()];
    let taken = from.take_outgoing(&mut all);
    assert_eq!(taken, all.len());
    all
}

#[test]
fn what_is_written_in_the_middle_of_one_needs_the_rest_of_it_first() {
    let (mut client, mut server) = established(&[BEGUN, &format!("{ENDED}+{HI}"), "hear:5"]);
    server.receive(&client.turn()).expect("taken");
    assert_eq!(server.write(b"hello"), Ok(Write::Octets(5)), "it has not been looked at");
    assert_eq!(server.read(&mut [0; 9]), Ok(Read::NeedsInput));
    assert_eq!(server.write(b"later"), Ok(Write::NeedsInput));
    assert_eq!(server.write(b""), Ok(Write::Octets(0)));
    server.receive(&client.turn()).expect("taken");
    assert_eq!(server.write(b"later"), Ok(Write::Octets(5)));
    let mut heard = [0; 9];
    assert_eq!((server.read(&mut heard), &heard[..2]), (Ok(Read::Octets(2)), &b"hi"[..]));
    client.tell(&all_outgoing(&mut server));
    assert_eq!(client.turn(), b"hello");
}

#[test]
fn who_ends_the_connection_in_the_middle_of_one_is_sent_nothing_more() {
    let (mut client, mut server) = established(&[&format!("{BEGUN}+{CLOSE_NOTIFY}")]);
    server.receive(&client.turn()).expect("taken");
    assert_eq!(server.read(&mut [0; 9]), Ok(Read::End));
    let error = server.write(b"anything").expect_err("nothing can be sent");
    assert_eq!(error, TlsError::EndedInMessage(Role::Client));
    assert_eq!(error.to_string(), "the client ended the connection in the middle of a TLS message");
}

#[test]
fn data_in_the_middle_of_one_ends_the_connection() {
    let (mut client, mut server) = established(&[BEGUN, HI]);
    server.receive(&client.turn()).expect("taken");
    assert_eq!(server.read(&mut [0; 9]), Ok(Read::NeedsInput));
    server.receive(&client.turn()).expect("taken");
    assert!(matches!(server.write(b"anything"), Err(TlsError::Library { .. })), "so that no more is kept of it");
    assert!(server.outgoing() > 0, "an alert");
}

/// A stream whose reads wake nobody: what one task has been given, another one would never learn of.
struct Silent(DuplexStream);

impl AsyncRead for Silent {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(&mut Context::from_waker(Waker::noop()), buf)
    }
}

impl AsyncWrite for Silent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The same with a stream, and the client's end of what lies below it.
async fn established_stream(turns: &[&str]) -> (Client, DuplexStream, TlsStream<Silent>) {
    let mut client = Client::new(turns);
    let (mut wire, below) = tokio::io::duplex(1 << 20);
    let mut stream = acceptor().stream(Silent(below)).expect("a session");
    loop {
        wire.write_all(&client.turn()).await.expect("room");
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(stream.poll_handshake(cx))).await {
            done.expect("well");
            return (client, wire, stream);
        }
        let mut said = vec![0; 16 << 10];
        let octets = wire.read(&mut said).await.expect("an answer");
        client.tell(&said[..octets]);
    }
}

/// How often a task was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task that reads or writes, and is asked by hand.
struct Task(Arc<Count>, Waker);

impl Task {
    fn new() -> Self {
        let count = Arc::new(Count::default());
        Self(Arc::clone(&count), count.into())
    }

    fn was_woken(&self) -> bool {
        self.0.0.swap(0, Ordering::Relaxed) > 0
    }

    fn read(&self, stream: &mut TlsStream<Silent>) -> Poll<io::Result<Vec<u8>>> {
        let (mut space, mut cx) = ([0; 9], Context::from_waker(&self.1));
        let mut buf = ReadBuf::new(&mut space);
        Pin::new(stream).poll_read(&mut cx, &mut buf).map_ok(|()| buf.filled().to_vec())
    }

    fn write(&self, stream: &mut TlsStream<Silent>) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_write(&mut Context::from_waker(&self.1), b"hello")
    }
}

#[tokio::test]
async fn a_task_that_writes_waits_for_the_rest_and_what_it_brings_is_for_the_one_that_reads() {
    let (mut client, mut wire, mut stream) = established_stream(&[BEGUN, &format!("{ENDED}+{HI}")]).await;
    let (reader, writer) = (Task::new(), Task::new());
    wire.write_all(&client.turn()).await.expect("room");
    assert!(reader.read(&mut stream).is_pending());
    assert!(writer.write(&mut stream).is_pending());
    wire.write_all(&client.turn()).await.expect("room");
    assert!(!reader.was_woken(), "the stream below wakes nobody");
    assert!(matches!(writer.write(&mut stream), Poll::Ready(Ok(5))));
    assert!(reader.was_woken());
    assert!(matches!(reader.read(&mut stream), Poll::Ready(Ok(heard)) if heard == b"hi"));
}

#[tokio::test]
async fn a_task_that_reads_the_rest_wakes_the_one_that_writes() {
    let (mut client, mut wire, mut stream) = established_stream(&[BEGUN, ENDED]).await;
    let (reader, writer) = (Task::new(), Task::new());
    wire.write_all(&client.turn()).await.expect("room");
    assert!(reader.read(&mut stream).is_pending());
    assert!(writer.write(&mut stream).is_pending());
    wire.write_all(&client.turn()).await.expect("room");
    assert!(reader.read(&mut stream).is_pending());
    assert!(writer.was_woken());
    assert!(matches!(writer.write(&mut stream), Poll::Ready(Ok(5))));
}

#[tokio::test]
async fn a_task_that_writes_hears_that_the_rest_will_never_come() {
    let (mut client, mut wire, mut stream) = established_stream(&[BEGUN]).await;
    let (reader, writer) = (Task::new(), Task::new());
    wire.write_all(&client.turn()).await.expect("room");
    assert!(reader.read(&mut stream).is_pending());
    drop(wire);
    let Poll::Ready(Err(error)) = writer.write(&mut stream) else { panic!("it ends") };
    assert_eq!(tls_error(&error), Some(&TlsError::Truncated(Role::Client)));
    assert!(reader.was_woken(), "it ends for the one that reads as well");
}

/// The client below a stream that blocks: its turns come as they are read, and an empty one as a time that is over.
struct Below {
    client: Client,
    said: io::Cursor<Vec<u8>>,
    sent: Vec<u8>,
}

impl Below {
    fn next_turn(&mut self) -> Vec<u8> {
        if !self.sent.is_empty() {
            self.client.tell(&std::mem::take(&mut self.sent));
        }
        self.client.turn()
    }
}

impl io::Read for Below {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.said.position() == self.said.get_ref().len() as u64 {
            self.said = io::Cursor::new(self.next_turn());
            if self.said.get_ref().is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        io::Read::read(&mut self.said, out)
    }
}

impl io::Write for Below {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.sent, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_that_blocks_waits_for_the_rest() {
    let client = Client::new(&[BEGUN, "hear:0", &format!("{ENDED}+{HI}"), "hear:5"]);
    let below = Below { client, said: io::Cursor::default(), sent: Vec::new() };
    let mut stream = BlockingStream::accept(&acceptor(), below).expect("a connection");
    let mut heard = [0; 9];
    assert_eq!(stream.read(&mut heard).expect_err("no data").kind(), io::ErrorKind::WouldBlock);
    assert_eq!(stream.write(b"hello").expect("written"), 5);
    assert_eq!((stream.read(&mut heard).expect("read"), &heard[..2]), (2, &b"hi"[..]));
    assert_eq!(stream.get_mut().next_turn(), b"hello");
}
