//! A server that says what the test says.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use privnet_model::{Generation, HostId, NetworkId, NetworkState, Vni};
use privnet_sync::proto::sync_server::{Sync, SyncServer};
use privnet_sync::{FromAgent, FromServer, Hello, PROTOCOL_VERSION, proto};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Listens until it is dropped.
pub(super) struct FakeServer {
    connections: mpsc::Receiver<Connection>,
    serving: JoinHandle<()>,
}

/// One agent's connection; it ends when this is dropped.
pub(super) struct Connection {
    to_agent: mpsc::Sender<Result<proto::FromServer, Status>>,
    from_agent: Streaming<proto::FromAgent>,
}

impl FakeServer {
    pub(super) fn listen(socket: &Path) -> Self {
        // A server that was dropped leaves its socket's file.
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).expect("socket in the test's own folder");
        let (accepted, connections) = mpsc::channel(4);
        let serving = tokio::spawn(async move {
            let service = SyncServer::new(Service { accepted });
            let incoming = UnixListenerStream::new(listener);
            tonic::transport::Server::builder().serve_with_incoming(service, incoming).await.expect("serves");
        });
        Self { connections, serving }
    }

    /// Refuses connections from now on and ends those that there are.
    pub(super) fn close(&mut self) {
        self.serving.abort();
        self.connections.close();
    }

    /// The next agent that connects.
    pub(super) async fn accept(&mut self) -> Connection {
        self.connections.recv().await.expect("a connection")
    }

    /// The next agent that connects, welcomed, and what it says it holds.
    pub(super) async fn welcome(&mut self) -> (Connection, Hello) {
        let mut connection = self.accept().await;
        let hello = connection.hello().await;
        let host = HostId::from_bytes([9; 16]);
        connection.say(FromServer::Welcome { protocol: PROTOCOL_VERSION, host }).await;
        (connection, hello)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Connection {
    pub(super) async fn hello(&mut self) -> Hello {
        match self.hear().await {
            FromAgent::Hello(hello) => hello,
            other => panic!("expected a Hello, heard {other:?}"),
        }
    }

    pub(super) async fn say(&self, message: FromServer) {
        self.to_agent.send(Ok(message.into())).await.expect("the agent listens");
    }

    /// Says that all has been sent, and waits until the agent's own copy of it is durable, as it is
    /// when a later removal is confirmed.
    pub(super) async fn current(&mut self) {
        self.say(FromServer::Current).await;
        let network = NetworkId::from_bytes([99; 16]);
        let vni = Vni::try_from(99).expect("valid");
        let (generation, members) = (Generation(1), BTreeMap::new());
        let state = NetworkState { id: network, vni, generation, mtu_bytes: None, dhcp: None, members };
        self.say(FromServer::Full(state)).await;
        self.say(FromServer::Remove { network, removal: 0 }).await;
        let confirmation = FromAgent::Removed { network, removal: 0 };
        loop {
            match self.hear().await {
                FromAgent::Applied { network: applied, .. } if applied == network => {}
                heard => break assert_eq!(heard, confirmation),
            }
        }
    }

    /// Waits until the agent has heard what was said so far; it says nothing else meanwhile.
    pub(super) async fn nothing_more_to_hear(&mut self) {
        let network = NetworkId::from_bytes([98; 16]);
        self.say(FromServer::Remove { network, removal: 0 }).await;
        assert_eq!(self.hear().await, FromAgent::Removed { network, removal: 0 });
    }

    pub(super) async fn refuse(self, status: Status) {
        self.to_agent.send(Err(status)).await.expect("the agent listens");
    }

    pub(super) async fn hear(&mut self) -> FromAgent {
        let message = in_time(self.from_agent.message()).await.expect("a message").expect("the agent goes on");
        FromAgent::parse(message).expect("well-formed").expect("known")
    }
}

/// Fails where waiting longer would be in vain.
pub(super) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("something to happen")
}

struct Service {
    accepted: mpsc::Sender<Connection>,
}

#[tonic::async_trait]
impl Sync for Service {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<proto::FromServer, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<proto::FromAgent>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (to_agent, outgoing) = mpsc::channel(16);
        let connection = Connection { to_agent, from_agent: request.into_inner() };
        self.accepted.send(connection).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
