//! What is sent comes, whole and in order, and the end of it is known to be the end.

use std::io::ErrorKind;

use privnet_tls::{Acceptor, ClientCertificates, Connector, TlsError, TlsStream, Trust, tls_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use crate::common::*;

/// Far more than all buffers on the way hold.
const HUGE_OCTETS: usize = 8 << 20;

async fn pair(space: usize) -> (TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let authority = authority();
    let acceptor = asking_nothing(&identity(&authority, &server(&server_names())));
    let (client, server) = duplex(space);
    let (client, server) = meet(&trusting(authority.certificate()), "localhost", &acceptor, client, server).await;
    (client.expect("a client"), server.expect("a server"))
}

/// Octets that differ from place to place.
fn pattern(octets: usize) -> Vec<u8> {
    (0..octets).map(|index| (index * 31 + index / 251) as u8).collect()
}

#[tokio::test]
async fn each_end_reads_what_the_other_has_written() {
    let (mut client, mut server) = pair(4096).await;
    client.write_all(b"ping").await.expect("written");
    client.flush().await.expect("sent");
    let mut heard = [0; 4];
    server.read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"ping");
    server.write_all(b"pong").await.expect("written");
    server.flush().await.expect("sent");
    client.read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"pong");
    assert_eq!(client.peer().expect("a peer").version, "TLSv1.3");
}

#[tokio::test]
async fn a_handshake_is_made_by_the_first_who_writes() {
    let authority = authority();
    let acceptor = asking_nothing(&identity(&authority, &server(&server_names())));
    let (one, other) = duplex(16);
    let mut client = trusting(authority.certificate()).stream(&name("localhost"), one).expect("a session");
    let mut server = acceptor.stream(other).expect("a session");
    let mut heard = Vec::new();
    let say = async {
        client.write_all(b"hello").await.expect("written");
        client.shutdown().await.expect("closed");
    };
    let (_, read) = tokio::join!(say, server.read_to_end(&mut heard));
    read.expect("read to the end");
    assert_eq!(heard, b"hello");
}

/// Both write all before either has read anything, which only works if reading never waits for writing.
async fn much_both_ways<S>(client: TlsStream<S>, server: TlsStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let exchange = |stream: TlsStream<S>, seed: u8| async move {
        let (mut read, mut write) = tokio::io::split(stream);
        let writer = tokio::spawn(async move {
            let mut data = pattern(HUGE_OCTETS);
            data[0] = seed;
            write.write_all(&data).await.expect("written");
            write.shutdown().await.expect("closed");
        });
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.expect("read to the end");
        writer.await.expect("no panic");
        heard
    };
    let (at_client, at_server) = tokio::join!(tokio::spawn(exchange(client, 1)), tokio::spawn(exchange(server, 2)));
    for (heard, seed) in [(at_client, 2), (at_server, 1)] {
        let heard = heard.expect("no panic");
        assert!(heard[0] == seed && heard[1..] == pattern(HUGE_OCTETS)[1..], "what came is what was sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_goes_both_ways_at_once_through_little_room() {
    let (client, server) = pair(1000).await;
    much_both_ways(client, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_goes_both_ways_at_once_through_sockets() {
    let authority = authority();
    let acceptor = asking_nothing(&identity(&authority, &server(&server_names())));
    let (client, server) = sockets().await;
    let (client, server) = meet(&trusting(authority.certificate()), "127.0.0.1", &acceptor, client, server).await;
    much_both_ways(client.expect("a client"), server.expect("a server")).await;
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("connected"), server.expect("accepted").0)
}

#[tokio::test]
async fn after_a_close_the_other_direction_goes_on() {
    let (mut client, mut server) = pair(4096).await;
    client.write_all(b"all").await.expect("written");
    client.shutdown().await.expect("closed");
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.expect("read to the end");
    assert_eq!(heard, b"all");
    server.write_all(b"answer").await.expect("written");
    server.shutdown().await.expect("closed");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("read to the end");
    assert_eq!(answer, b"answer");
    let error = client.write_all(b"more").await.expect_err("this end is closed");
    assert_eq!((error.kind(), tls_error(&error)), (ErrorKind::BrokenPipe, Some(&TlsError::Closed)));
}

#[tokio::test]
async fn an_end_without_a_close_is_told_from_one_with_it() {
    let (mut client, mut server) = pair(4096).await;
    client.write_all(b"half").await.expect("written");
    client.flush().await.expect("sent");
    drop(client);
    let mut heard = Vec::new();
    let error = server.read_to_end(&mut heard).await.expect_err("it is cut off");
    assert_eq!(heard, b"half");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
}

#[tokio::test]
async fn what_was_dropped_while_it_waited_is_neither_lost_nor_sent_twice() {
    let (mut client, mut server) = pair(64).await;
    let data = pattern(20_000);
    let mut heard = Vec::<u8>::new();
    let mut sent = 0;
    let mut chunk = [0; 700];
    while heard.len() < data.len() {
        // Whoever is not ready at once is dropped, and asked again.
        let sending = async {
            match sent < data.len() {
                true => client.write(&data[sent..]).await,
                false => client.flush().await.map(|()| 0),
            }
        };
        tokio::select! {
            biased;
            read = server.read(&mut chunk) => heard.extend(&chunk[..read.expect("read")]),
            wrote = sending => sent += wrote.expect("written"),
        }
    }
    assert!(heard == data);
}

#[tokio::test]
async fn whoever_does_not_read_is_not_written_to_without_end() {
    let (mut client, _server) = pair(1000).await;
    let data = [0; 16 << 10];
    let mut taken = 0;
    loop {
        let mut write = std::pin::pin!(client.write(&data));
        match std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx))).await {
            std::task::Poll::Ready(written) => taken += written.expect("written"),
            std::task::Poll::Pending => break,
        }
        assert!(taken <= 2 * privnet_tls::OUTGOING_OCTETS_MAX, "it takes {taken} octets");
    }
}

#[tokio::test]
async fn both_know_the_protocol_that_both_speak() {
    let authority = authority();
    let identity = identity(&authority, &server(&server_names()));
    let acceptor = Acceptor::new(&identity, &ClientCertificates::None, &["h2", "http/1.1"]).expect("an acceptor");
    let trust = Trust::Authorities(vec![authority.certificate().clone()]);
    let offering = |protocols| Connector::new(&trust, None, protocols).expect("a connector");
    let (client, server) = meet_in_memory(&offering(&["http/1.1", "h2"]), "localhost", &acceptor).await;
    for end in [client.expect("a client"), server.expect("a server")] {
        assert_eq!(end.peer().expect("a peer").protocol.as_deref(), Some("h2"), "the server's first choice");
    }
    let (client, _) = meet_in_memory(&offering(&[]), "localhost", &acceptor).await;
    assert_eq!(client.expect("a client").peer().expect("a peer").protocol, None);
    let (client, _) = meet_in_memory(&offering(&["spdy/1"]), "localhost", &acceptor).await;
    assert!(matches!(client.expect_err("none in common"), TlsError::Alert { number: 120, .. }));
}

#[tokio::test]
async fn a_new_identity_is_shown_to_new_connections_and_old_ones_go_on() {
    let authority = authority();
    let names = server_names();
    let connector = trusting(authority.certificate());
    let acceptor = asking_nothing(&identity(&authority, &server(&names)));
    let (before, served_before) = meet_in_memory(&connector, "localhost", &acceptor).await;
    let (mut before, mut served_before) = (before.expect("a client"), served_before.expect("a server"));
    let newer = identity(&authority, &privnet_tls::Subject { serial: [9; 16], ..server(&names) });
    acceptor.replace(&asking_nothing(&newer));
    let (after, _served) = meet_in_memory(&connector, "localhost", &acceptor).await;
    let after = after.expect("a client");
    assert_eq!(after.peer().expect("a peer").certificates[0], *newer.certificate());
    before.write_all(b"still").await.expect("written");
    before.flush().await.expect("sent");
    let mut heard = [0; 5];
    served_before.read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"still");
}
