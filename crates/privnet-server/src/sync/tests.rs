//! How long an agent may take, on a clock that only waits move from where [`tokio::time::pause`] stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use hyper_util::rt::TokioIo;
use privnet_model::zone::Command;
use privnet_model::{Generation, HostFacts, HostName};
use privnet_store::SqliteStore;
use privnet_sync::proto::sync_client::SyncClient;
use privnet_sync::{PROTOCOL_VERSION, RunId};
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tonic::Code;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::audit::AuditConfig;
use crate::engine::{EngineConfig, Records};

/// How many octets are on their way at most.
const PIPE_BYTES: usize = 64 << 10;

/// So much that it is to lose more than may wait for it.
const HELD: u8 = 200;

/// A server that agents come to by pipes.
struct Server {
    engine: Engine,
    pipes: mpsc::Sender<io::Result<DuplexStream>>,
    _dir: TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let engine = engine(&dir);
        let (pipes, incoming) = mpsc::channel(1);
        tokio::spawn(serve(ReceiverStream::new(incoming), engine.clone(), None, std::future::pending()));
        Self { engine, pipes, _dir: dir }
    }

    /// A connection whose other end takes `window` octets of an answer.
    async fn connect(&self, window: u32) -> SyncClient<Channel> {
        let (pipe, ours) = tokio::io::duplex(PIPE_BYTES);
        self.pipes.send(Ok(ours)).await.expect("a server");
        let endpoint = Endpoint::from_static("http://server").initial_stream_window_size(window);
        SyncClient::new(endpoint.connect_with_connector(Once(Some(pipe))).await.expect("connected"))
    }

    /// An agent that is connected and takes nothing of what it is told, and the host that it is.
    async fn connect_deaf(&self) -> (HostId, impl Sized) {
        let mut client = self.connect(0).await;
        let (saying, said) = mpsc::channel(1);
        saying.send(FromAgent::Hello(hello()).into()).await.expect("room");
        let stream = client.follow(ReceiverStream::new(said)).await.expect("accepted");
        let host = self.engine.view().hosts().next().expect("registered").id;
        assert!(self.engine.is_connected(host));
        (host, (saying, stream))
    }

    /// Stops the clock, and says how long it is until the host's agent is let go.
    async fn until_let_go(&self, host: HostId) -> Duration {
        tokio::time::pause();
        let start = Instant::now();
        while self.engine.is_connected(host) {
            assert!(start.elapsed() < Duration::from_secs(600), "it stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        start.elapsed()
    }
}

/// Must be made before the clock stands: what waits for its writer is no wait that moves the clock.
pub(super) fn engine(dir: &TempDir) -> Engine {
    let store = SqliteStore::open(&dir.path().join("privnet.db")).expect("a database");
    let records = Records::load(Box::new(store)).expect("readable records");
    Engine::start(records, EngineConfig::default(), AuditConfig::DEFAULT).expect("started")
}

pub(super) async fn remove(engine: &Engine, host: HostId) {
    let remove = Command::RemoveHost { host, with_instances: false };
    let origin = Origin::of_agent(Ipv4Addr::LOCALHOST.into(), "remove-host", "Remove");
    engine.submit_for(origin, Caller::OPERATOR, remove).await.expect("removed");
}

pub(super) fn facts() -> HostFacts {
    HostFacts { vtep: Ipv4Addr::new(192, 0, 2, 1).into(), underlay_mtu_bytes: 1500, version: "0".to_owned() }
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        host: HostName::try_from("h1").expect("a name"),
        facts: facts(),
        held: (1..=HELD).map(|number| (NetworkId::from_bytes([number; 16]), Generation(1))).collect::<BTreeMap<_, _>>(),
        instances: BTreeSet::new(),
        run: Some(RunId([1; 16])),
    }
}

/// Gives a connection that there is.
struct Once(Option<DuplexStream>);

impl Service<http::Uri> for Once {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let pipe = self.0.take();
        Box::pin(async move { pipe.map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }
}

#[tokio::test]
async fn an_agent_says_hello_within_ten_seconds_or_is_refused() {
    let server = Server::start();
    let mut client = server.connect(1 << 16).await;
    tokio::time::pause();
    let start = Instant::now();
    let (_saying, said) = mpsc::channel(1);
    let refusal = client.follow(ReceiverStream::new(said)).await.expect_err("refused");
    assert_eq!((refusal.code(), start.elapsed().as_secs()), (Code::DeadlineExceeded, 10), "{refusal}");
    assert_eq!(refusal.message(), "the agent has not said Hello in time");
}

/// Its connection is there: it answers to PING.
#[tokio::test]
async fn an_agent_that_takes_nothing_of_what_it_is_told_for_half_a_minute_is_let_go() {
    let server = Server::start();
    let start = Instant::now();
    let (host, _agent) = server.connect_deaf().await;
    let left = server.until_let_go(host).await;
    assert!(left.as_secs() <= 30 && start.elapsed().as_secs() >= 30, "{left:?}");
}

#[tokio::test]
async fn an_agent_that_takes_nothing_loses_its_place_with_its_host() {
    let server = Server::start();
    let (host, _agent) = server.connect_deaf().await;
    remove(&server.engine, host).await;
    let left = server.until_let_go(host).await;
    assert!(left < Duration::from_millis(500), "{left:?}");
}

#[tokio::test]
async fn that_a_host_is_removed_is_noticed_within_two_seconds_where_nobody_says_so() {
    let server = Server::start();
    let (host, _agent) = server.connect_deaf().await;
    server.engine.lose_wakes(host);
    remove(&server.engine, host).await;
    let left = server.until_let_go(host).await;
    assert!(left.as_secs() <= 2, "{left:?}");
}
