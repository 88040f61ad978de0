//! On a clock that stands once the connection is made, and that only waits move from then on.

use privnet_model::zone::{Caller, Command, InviteHost, JoinHost};
use privnet_model::{HostId, HostName};
use privnet_sync::{PROTOCOL, SERVER_NAME};
use privnet_tls::{Connector, Identity, PrivateKey, SigningRequest, Trust};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::super::tests::{engine, facts, remove};
use super::*;
use crate::audit::Origin;
use crate::auth::{HostAuthority, unlock};
use crate::engine::now;

/// How many octets are on their way at most.
const PIPE_BYTES: usize = 1024;

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// A server, and a host that has joined.
struct Rig {
    engine: Engine,
    authority: HostAuthority,
    host: HostId,
    connector: Connector,
    _dir: TempDir,
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let engine = engine(&dir);
        let keys = unlock(dir.path(), &engine.view()).expect("keys");
        let month = Duration::from_secs(30 * 86_400);
        let authority = HostAuthority::open(dir.path(), &keys, &engine.view(), month, now()).expect("an authority");
        let key = PrivateKey::generate().expect("a key");
        let name = HostName::try_from("h1").expect("a name");
        let request = SigningRequest::new(&key, "h1").expect("a request");
        let (shown, certificate) = authority.certify(&name, &request, now()).expect("a certificate");
        let (token, own) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
        let origin = Origin::of_agent(ADDRESS.ip(), "join-host", "Join");
        let invite = InviteHost { host: name.clone(), token, is_rejoin: false, lifetime: month };
        let invited = engine.submit_for(origin, Caller::OPERATOR, Command::InviteHost(invite)).await;
        invited.expect("invited");
        let join = JoinHost { token, name: name.clone(), key: own, certificate, facts: facts() };
        engine.submit(Command::JoinHost(join)).await.expect("joined");
        let host = engine.view().host_by_name(&name).expect("a host").id;
        let identity = Identity::new(vec![shown], key).expect("an identity");
        let trust = Trust::PinnedAuthority(authority.certificate().fingerprint());
        let connector = Connector::new(&trust, Some(&identity), &[PROTOCOL]).expect("a connector");
        Self { engine, authority, host, connector, _dir: dir }
    }

    /// The host's connection, from both ends.
    async fn connect(&self) -> (TlsStream<DuplexStream>, HostStream<DuplexStream>) {
        let (pipe, ours) = tokio::io::duplex(PIPE_BYTES);
        let (acceptor, _) = self.authority.acceptor(now()).expect("an acceptor");
        let (places, name) = (Places::new(), SERVER_NAME.parse().expect("a name"));
        let theirs = self.connector.stream(&name, pipe).expect("a stream");
        let accepted = shake_hands(&acceptor, ours, ADDRESS, &self.engine, &places);
        let (theirs, ours) = tokio::join!(theirs.handshake(), accepted);
        (theirs.expect("a handshake"), ours.expect("accepted"))
    }
}

/// Reads on until the connection breaks.
async fn broken(stream: &mut HostStream<DuplexStream>) -> io::ErrorKind {
    stream.read_u8().await.expect_err("an end").kind()
}

#[tokio::test]
async fn the_connection_of_a_host_lasts_and_ends_soon_after_the_host_was_removed() {
    let rig = Rig::start().await;
    let (_theirs, mut ours) = rig.connect().await;
    tokio::time::pause();
    // Shortly after a look: the next one is in two seconds.
    let long = Duration::from_secs(601);
    assert!(tokio::time::timeout(long, broken(&mut ours)).await.is_err(), "it lasts");
    tokio::time::resume();
    let start = Instant::now();
    remove(&rig.engine, rig.host).await;
    tokio::time::pause();
    let removed = Instant::now();
    assert_eq!(broken(&mut ours).await, io::ErrorKind::TimedOut);
    let (longest, shortest) = (start.elapsed().as_secs(), removed.elapsed().as_secs());
    assert!(longest >= 30 && shortest <= 32, "{longest} s, {shortest} s");
}

#[tokio::test]
async fn the_connection_of_a_host_that_takes_nothing_for_half_a_minute_breaks() {
    let rig = Rig::start().await;
    let (_theirs, mut ours) = rig.connect().await;
    tokio::time::pause();
    let start = Instant::now();
    let error = ours.write_all(&[0; 1 << 20]).await.expect_err("an end");
    assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
}

#[tokio::test]
async fn the_server_can_hang_up_whatever_is_waited_for() {
    let rig = Rig::start().await;
    for is_reading in [true, false] {
        let (_theirs, mut ours) = rig.connect().await;
        let hang_up = ours.connect_info().hang_up;
        let waiting =
            async { if is_reading { ours.read_u8().await.map(drop) } else { ours.write_all(&[0; 1 << 20]).await } };
        tokio::time::pause();
        let (waited, ()) = tokio::join!(tokio::time::timeout(SEND_TIMEOUT / 2, waiting), async {
            tokio::task::yield_now().await;
            hang_up.try_send(()).expect("room");
        });
        tokio::time::resume();
        assert_eq!(waited.expect("in time").expect_err("an end").kind(), io::ErrorKind::ConnectionAborted);
    }
}
