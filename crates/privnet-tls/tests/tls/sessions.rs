//! Sessions by hand: however ciphertext comes in pieces, damaged or cut off, and whatever comes instead of it.

use privnet_tls::{Acceptor, Connector, Handshake, Read, Role, Session, TlsError, Write};
use proptest::prelude::*;

use crate::common::*;

/// A client and a server who would accept each other.
struct Pair {
    client: Session,
    server: Session,
}

impl Pair {
    fn new() -> Self {
        let (connector, acceptor) = settings();
        let client = connector.session(&name("localhost")).expect("a session");
        Self { client, server: acceptor.session().expect("a session") }
    }

    fn established() -> Self {
        let mut pair = Self::new();
        while (pair.client.handshake().expect("well"), pair.server.handshake().expect("well"))
            != (Handshake::Done, Handshake::Done)
        {
            carry(&mut pair.client, &mut pair.server);
            carry(&mut pair.server, &mut pair.client);
        }
        pair
    }
}

fn settings() -> (Connector, Acceptor) {
    let authority = authority();
    let acceptor = asking_nothing(&identity(&authority, &server(&server_names())));
    (trusting(authority.certificate()), acceptor)
}

fn all_outgoing(from: &mut Session) -> Vec<u8> {
    let mut all = vec![0; from.outgoing()];
    let taken = from.take_outgoing(&mut all);
    assert_eq!(taken, all.len());
    all
}

fn carry(from: &mut Session, to: &mut Session) {
    to.receive(&all_outgoing(from)).expect("taken");
}

/// Reads what there is, until more has to come or an error.
fn read_all(session: &mut Session) -> (Vec<u8>, Result<Read, TlsError>) {
    let (mut all, mut chunk) = (Vec::new(), [0; 5000]);
    loop {
        match session.read(&mut chunk) {
            Ok(Read::Octets(octets)) => all.extend(&chunk[..octets]),
            other => return (all, other),
        }
    }
}

/// Takes all of it: there is room for a test's.
fn write_all(session: &mut Session, mut data: &[u8]) {
    while !data.is_empty() {
        let Ok(Write::Octets(taken)) = session.write(data) else { panic!("there is room") };
        data = &data[taken..];
    }
}

#[test]
fn a_handshake_comes_about_octet_by_octet() {
    let Pair { mut client, mut server } = Pair::new();
    let step = |from: &mut Session, to: &mut Session| {
        let mut octet = [0];
        while from.take_outgoing(&mut octet) == 1 {
            to.receive(&octet).expect("taken");
            to.handshake().expect("well so far");
        }
    };
    client.handshake().expect("begun");
    while client.peer().is_none() || server.peer().is_none() {
        step(&mut client, &mut server);
        step(&mut server, &mut client);
    }
}

#[test]
fn nothing_is_read_or_written_before_the_handshake_is_over() {
    let Pair { mut client, mut server } = Pair::new();
    assert_eq!(client.write(b"early"), Ok(Write::NeedsInput));
    assert_eq!(client.read(&mut [0; 9]), Ok(Read::NeedsInput));
    assert_eq!(server.read(&mut [0; 9]), Ok(Read::NeedsInput));
    assert_eq!((client.peer(), server.peer()), (None, None));
}

#[test]
fn the_end_is_what_its_sender_has_said() {
    let Pair { mut client, mut server } = Pair::established();
    write_all(&mut client, b"last words");
    client.close();
    carry(&mut client, &mut server);
    assert_eq!(read_all(&mut server), (b"last words".to_vec(), Ok(Read::End)));
    assert_eq!(server.read(&mut [0; 9]), Ok(Read::End), "it stays the end");
}

#[test]
fn what_is_no_tls_is_told_from_what_is() {
    let (connector, acceptor) = settings();
    let server = |octets: &[u8]| acceptor.session().expect("a session").receive(octets);
    for http in ["GET / HTTP/1.1\r\n\r\n", "POST /v2/instance HTTP/1.1\r\n", "DELETE /", "G"] {
        let error = server(http.as_bytes()).expect_err(http);
        assert_eq!(error.to_string(), "this is plain HTTP, and this port speaks TLS: use https://");
    }
    for garbage in [&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], b"GEX", &[0; 100], &[0x17, 3, 3, 0, 1, 0]] {
        assert_eq!(server(garbage), Err(TlsError::NotTls(Role::Client)), "{garbage:?}");
    }
    let mut client = connector.session(&name("localhost")).expect("a session");
    client.handshake().expect("begun");
    let error = client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect_err("no TLS");
    let told = "the server answers in plain HTTP: use http://, or the port on which it speaks TLS";
    assert_eq!(error.to_string(), told);
    assert_eq!(client.handshake(), Err(error), "from then on this is the answer to everything");
}

#[test]
fn every_octet_of_a_handshake_is_waited_for() {
    let (connector, acceptor) = settings();
    let mut client = connector.session(&name("localhost")).expect("a session");
    client.handshake().expect("begun");
    let hello = all_outgoing(&mut client);
    for octets in 0..hello.len() {
        let mut server = acceptor.session().expect("a session");
        server.receive(&hello[..octets]).expect("taken");
        assert_eq!(server.handshake(), Ok(Handshake::NeedsInput), "{octets}");
        assert_eq!((server.outgoing(), server.truncated()), (0, TlsError::EndedEarly(Role::Client)));
    }
}

#[test]
fn whoever_takes_nothing_is_sent_nothing_more() {
    let Pair { mut client, .. } = Pair::established();
    let mut taken = 0;
    loop {
        match client.write(&[0; 40_000]).expect("well") {
            Write::Octets(octets) => taken += octets,
            other => break assert_eq!(other, Write::NeedsOutput),
        }
    }
    assert!(client.outgoing() < 2 * privnet_tls::OUTGOING_OCTETS_MAX, "{taken}");
    let _ = all_outgoing(&mut client);
    assert_eq!(client.write(b"again"), Ok(Write::Octets(5)));
}

/// Sizes of pieces, the smallest more often.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..4_usize, 1..100_usize, 1..40_000_usize], 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sent_comes_however_it_is_cut_in_pieces(written in pieces(), carried in pieces(), read in pieces()) {
        let Pair { mut client, mut server } = Pair::established();
        let (mut sent, mut heard) = (Vec::new(), Vec::new());
        let (mut carried, mut read) = (carried.iter().cycle(), read.iter().cycle());
        for octets in written {
            let data: Vec<u8> = (0..octets).map(|index| (index * 7 + sent.len()) as u8).collect();
            let Ok(Write::Octets(taken)) = client.write(&data) else { panic!("there is room") };
            sent.extend(&data[..taken]);
            while client.outgoing() > 0 {
                let mut piece = vec![0; *carried.next().expect("endless")];
                let octets = client.take_outgoing(&mut piece);
                server.receive(&piece[..octets]).expect("taken");
                let mut out = vec![0; *read.next().expect("endless")];
                if let Read::Octets(octets) = server.read(&mut out).expect("well") {
                    heard.extend(&out[..octets]);
                }
            }
        }
        heard.extend(read_all(&mut server).0);
        prop_assert!(heard == sent);
    }

    #[test]
    fn what_was_damaged_on_the_way_is_never_given(at in any::<prop::sample::Index>(), bit in 0..8_u32, cut in any::<bool>()) {
        let Pair { mut client, mut server } = Pair::established();
        let data: Vec<u8> = (0..40_000_u32).map(|index| index as u8).collect();
        write_all(&mut client, &data);
        client.close();
        let mut ciphertext = all_outgoing(&mut client);
        let at = at.index(ciphertext.len());
        if cut { ciphertext.truncate(at) } else { ciphertext[at] ^= 1 << bit }
        server.receive(&ciphertext).expect("taken");
        let (heard, end) = read_all(&mut server);
        prop_assert!(data.starts_with(&heard));
        prop_assert!(matches!(end, Err(_) | Ok(Read::NeedsInput)), "{end:?} is no end that the client has said");
        if cut {
            prop_assert_eq!(server.truncated(), TlsError::Truncated(Role::Client));
        }
    }

    #[test]
    fn whatever_comes_instead_of_a_handshake_is_an_error(mut octets in prop::collection::vec(any::<u8>(), 1..600), looks_right in any::<bool>()) {
        let (connector, acceptor) = settings();
        if looks_right {
            // A record of a handshake that says how long it is.
            let mut record = vec![22, 3, 3];
            record.extend((octets.len() as u16).to_be_bytes());
            record.append(&mut octets);
            octets = record;
        }
        for mut session in [acceptor.session().expect("one"), connector.session(&name("localhost")).expect("one")] {
            let _ = session.handshake();
            let ended = session.receive(&octets).and_then(|()| session.handshake());
            prop_assert_ne!(ended, Ok(Handshake::Done));
            let _ = read_all(&mut session);
            prop_assert_eq!(session.peer(), None);
        }
    }
}
