use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use privnet_model::{Generation, HostFacts, HostName, NetworkId, Reason};
use privnet_sync::proto::sync_client::SyncClient;
use privnet_sync::{FromAgent, FromServer, Hello, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, PortFailure, RunId, proto};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::{PATIENCE, TestServer, wait_until};

/// An agent without a host: it answers each message as the test says. It leaves when it is dropped.
pub(crate) struct Agent {
    name: &'static str,
    heard: Receiver<Result<FromServer, Status>>,
    outgoing: mpsc::Sender<proto::FromAgent>,
    listening: JoinHandle<()>,
}

/// What an agent answers to a message.
pub(crate) type Answers = fn(&FromServer) -> Option<FromAgent>;

/// Answers as an agent whose host can do everything at once.
pub(crate) fn acknowledge(message: &FromServer) -> Option<FromAgent> {
    let applied = |network, generation| FromAgent::Applied { network, generation, failures: Vec::new() };
    match message {
        FromServer::Full(state) => Some(applied(state.id, state.generation)),
        FromServer::Delta(delta) => Some(applied(delta.id, delta.generation)),
        FromServer::Remove { network, removal } => Some(FromAgent::Removed { network: *network, removal: *removal }),
        FromServer::Instance { state, serial } => Some(FromAgent::InstanceMade { instance: state.id, serial: *serial }),
        FromServer::RemoveInstance { instance, serial } => {
            Some(FromAgent::InstanceRemoved { instance: *instance, serial: *serial })
        }
        FromServer::Rival { serial, .. } => Some(FromAgent::Present { serial: *serial }),
        FromServer::Welcome { .. } | FromServer::Current => None,
    }
}

/// Answers nothing.
pub(crate) fn silent(_: &FromServer) -> Option<FromAgent> {
    None
}

/// Says that the first port it hears of cannot be plugged in, nor unplugged.
pub(crate) fn fail(message: &FromServer) -> Option<FromAgent> {
    let (network, generation, members) = match message {
        FromServer::Full(state) => (state.id, state.generation, state.members.keys().copied().collect::<Vec<_>>()),
        FromServer::Delta(delta) => (delta.id, delta.generation, delta.removed.iter().copied().collect()),
        other => return acknowledge(other),
    };
    let message = "there is no network namespace web".to_owned();
    let failure = |mac| PortFailure { mac, reason: Reason::NotFound, message: message.clone() };
    Some(FromAgent::Applied { network, generation, failures: members.into_iter().map(failure).collect() })
}

/// Networks at generations, as a Hello tells them.
pub(crate) type Held = BTreeMap<NetworkId, Generation>;

impl Agent {
    /// Connects as the host `h1`, `h2` and so on, holding nothing.
    #[track_caller]
    pub(crate) fn connect(server: &TestServer, name: &'static str, answers: Answers) -> Self {
        Self::connect_holding(server, name, Held::new(), answers)
    }

    #[track_caller]
    pub(crate) fn connect_holding(server: &TestServer, name: &'static str, held: Held, answers: Answers) -> Self {
        Self::try_connect(server, hello(name, held), name, answers).expect("accepted")
    }

    pub(crate) fn try_connect(
        server: &TestServer,
        hello: Hello,
        name: &'static str,
        answers: Answers,
    ) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", server.sync_socket().display())).expect("a URI");
        let channel = server.runtime().block_on(endpoint.connect()).expect("the server listens");
        Self::try_connect_over(server, channel, hello, name, answers)
    }

    pub(crate) fn try_connect_over(
        server: &TestServer,
        connection: Channel,
        hello: Hello,
        name: &'static str,
        answers: Answers,
    ) -> Result<Self, Status> {
        let (outgoing, messages) = mpsc::channel(64);
        outgoing.try_send(FromAgent::Hello(hello).into()).expect("there is room");
        let mut client = SyncClient::new(connection).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let follow = async { client.follow(ReceiverStream::new(messages)).await };
        let incoming = server.runtime().block_on(follow)?.into_inner();
        let (hearing, heard) = channel();
        let listening = server.runtime().spawn(listen(incoming, hearing, outgoing.clone(), answers));
        Ok(Self { name, heard, outgoing, listening })
    }

    /// Opens a stream and says nothing on it for as long as the result lives.
    pub(crate) fn say_nothing(server: &TestServer) -> mpsc::Sender<proto::FromAgent> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", server.sync_socket().display())).expect("a URI");
        let channel = server.runtime().block_on(endpoint.connect()).expect("the server listens");
        let (mut quiet, mut other) = (SyncClient::new(channel.clone()), SyncClient::new(channel));
        let (nothing, silence) = mpsc::channel(1);
        let (sending, sent) = oneshot::channel();
        server.runtime().spawn(async move {
            let mut quiet = std::pin::pin!(quiet.follow(ReceiverStream::new(silence)));
            let greeting = tokio_stream::once(FromAgent::Hello(hello("h1", Held::new())).into());
            tokio::select! {
                biased;
                _ = &mut quiet => return,
                // It was sent on the same connection afterwards.
                _ = other.follow(greeting) => drop(sending.send(())),
            }
            let _ = quiet.await;
        });
        server.runtime().block_on(sent).expect("the stream is open");
        nothing
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn hear(&self) -> FromServer {
        self.heard.recv_timeout(PATIENCE).expect("a message").expect("no end")
    }

    /// Waits until the server has ended the stream, and returns why.
    #[track_caller]
    pub(crate) fn hear_the_end(&self) -> Status {
        let end = std::iter::repeat_with(|| self.heard.recv_timeout(PATIENCE).expect("an end")).find_map(Result::err);
        end.expect("endless")
    }

    /// The messages between Welcome and Current: what the agent lacked.
    #[track_caller]
    pub(crate) fn hear_what_it_lacked(&self) -> Vec<FromServer> {
        assert!(matches!(self.hear(), FromServer::Welcome { protocol: PROTOCOL_VERSION, .. }));
        std::iter::from_fn(|| Some(self.hear()).filter(|message| *message != FromServer::Current)).collect()
    }

    pub(crate) fn say(&self, message: FromAgent) {
        self.outgoing.blocking_send(message.into()).expect("the server listens");
    }

    /// Goes away and waits until the server knows.
    pub(crate) fn leave(self, server: &TestServer) {
        let name = self.name;
        drop(self);
        wait_until("the disconnection", || server.host(name).expect("a host")["connected"] == false);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// So many networks that nobody has made.
pub(crate) fn invented(networks: u64) -> Held {
    (1..=networks).map(|number| (NetworkId::from_bytes(u128::from(number).to_be_bytes()), Generation(1))).collect()
}

/// Each agent is a run of its own.
static RUN: AtomicU64 = AtomicU64::new(0);

pub(crate) fn hello(name: &str, held: Held) -> Hello {
    let number = name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().expect("a name that ends in a number");
    Hello {
        protocol: PROTOCOL_VERSION,
        host: HostName::try_from(name).expect("a host name"),
        facts: HostFacts {
            vtep: IpAddr::from([192, 0, 2, number]),
            underlay_mtu_bytes: 1500,
            version: "0.1.0".to_owned(),
        },
        held,
        instances: BTreeSet::new(),
        run: Some(RunId(u128::from(RUN.fetch_add(1, Ordering::Relaxed)).to_be_bytes())),
    }
}

async fn listen(
    mut incoming: Streaming<proto::FromServer>,
    hearing: Sender<Result<FromServer, Status>>,
    outgoing: mpsc::Sender<proto::FromAgent>,
    answers: Answers,
) {
    // Its end without a reason is the end of the server.
    while let Some(message) = incoming.next().await {
        let heard = message.map(|message| FromServer::parse(message).expect("well-formed").expect("known"));
        let answer = heard.as_ref().ok().and_then(answers);
        if hearing.send(heard).is_err() {
            return;
        }
        if let Some(answer) = answer
            && outgoing.send(answer.into()).await.is_err()
        {
            return;
        }
    }
}
