//! The agent's end of the sync stream: connects, and connects again.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use privnet_sync::proto::sync_client::SyncClient;
use privnet_sync::{AGENT_MESSAGE_BYTES_MAX, FromAgent, FromServer, MESSAGE_BYTES_MAX, proto};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info, warn};

use crate::backoff::{Backoff, jittered};
use crate::dial::{self, DialError};
use crate::identity::HostIdentity;
use crate::{RemoteAddress, ServerAddress};

/// Messages that wait in each direction; beyond them the stream's flow control holds the sender up.
const QUEUE_MESSAGES_MAX: usize = 256;

/// A server that restarts is found within the longest of these; connecting costs it little.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// A server that refuses this agent needs somebody to change something first.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// A server that has vanished without closing the connection is noticed after both of these.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the connection brings to the loop, in order.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection stands. What is sent here, Hello first, goes to the server.
    Connected(mpsc::Sender<FromAgent>),
    /// The server says something, on the connection that was announced last.
    Message(FromServer),
    /// The connection is gone.
    Lost,
}

/// Why one connection ended.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("cannot connect to the server")]
    Connect(#[source] tonic::transport::Error),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("cannot connect with this host's certificate")]
    Settings(#[from] privnet_tls::SettingsError),
    #[error("this host has a new certificate")]
    Renewed,
    #[error("the server has ended the stream")]
    Stream(#[source] Status),
    #[error("the server has closed the stream")]
    Closed,
    #[error("the agent is stopping")]
    Stopping,
}

/// Where the server is, and who this host is to it.
pub(crate) enum Server {
    /// On this machine: whoever may open the socket is believed.
    Socket(PathBuf),
    /// Elsewhere, by TLS. The identity is replaced when it was renewed.
    Remote(RemoteAddress, watch::Receiver<HostIdentity>),
}

impl Server {
    fn address(&self) -> ServerAddress {
        match self {
            Self::Socket(path) => ServerAddress::Unix(path.clone()),
            Self::Remote(address, _) => ServerAddress::Remote(address.clone()),
        }
    }
}

/// Keeps a connection for as long as somebody receives its events.
pub(crate) async fn keep_connected(server: Server, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
    let mut is_known_away = false;
    let address = server.address();
    loop {
        let mut heard = false;
        let error = connect_and_follow(&server, &events, &mut heard).await;
        if heard {
            backoff.reset();
            is_known_away = false;
        }
        let wait = match &error {
            ConnectionError::Stopping => return,
            // What is underway goes on where it was.
            ConnectionError::Renewed => Duration::ZERO,
            ConnectionError::Stream(status) if is_refusal(status) => {
                error!(server = %address, code = ?status.code(), reason = status.message(), "the server refuses this agent");
                REFUSED_WAIT
            }
            error if is_known_away => {
                debug!(server = %address, error = error as &dyn std::error::Error, "still no connection to the server");
                backoff.next()
            }
            error => {
                warn!(server = %address, error = error as &dyn std::error::Error,
                    "no connection to the server; this host goes on with what it has");
                backoff.next()
            }
        };
        is_known_away = true;
        if events.send(Event::Lost).await.is_err() {
            return;
        }
        tokio::time::sleep(jittered(wait, rand::random())).await;
    }
}

/// Whether trying again soon is useless.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
    )
}

/// Returns when the connection is gone. `heard` becomes true at the server's first message.
async fn connect_and_follow(server: &Server, events: &mpsc::Sender<Event>, heard: &mut bool) -> ConnectionError {
    let (channel, identity) = match connect(server).await {
        Ok(connected) => connected,
        Err(error) => return error,
    };
    let (outbox, outgoing) = mpsc::channel(QUEUE_MESSAGES_MAX);
    if events.send(Event::Connected(outbox.clone())).await.is_err() {
        return ConnectionError::Stopping;
    }
    let mut client = SyncClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(AGENT_MESSAGE_BYTES_MAX);
    let following = async {
        match client.follow(ReceiverStream::new(outgoing).map(proto::FromAgent::from)).await {
            Ok(incoming) => follow(incoming.into_inner(), &outbox, events, heard).await,
            Err(status) => ConnectionError::Stream(status),
        }
    };
    tokio::select! {
        ended = following => ended,
        () = renewed(identity) => ConnectionError::Renewed,
    }
}

/// Resolves when another connection is to be made because this host has a new certificate.
async fn renewed(identity: Option<watch::Receiver<HostIdentity>>) {
    let Some(mut identity) = identity else { return pending().await };
    if identity.changed().await.is_err() {
        pending().await
    }
}

/// Connects, by TLS with the identity that is returned as it is now.
async fn connect(server: &Server) -> Result<(Channel, Option<watch::Receiver<HostIdentity>>), ConnectionError> {
    let kept_alive = |endpoint: Endpoint| {
        endpoint.http2_keep_alive_interval(KEEP_ALIVE_EVERY).keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
    };
    match server {
        Server::Socket(path) => {
            let endpoint = Endpoint::from_shared(format!("unix:{}", path.display()));
            let connect = async { kept_alive(endpoint?).connect().await };
            Ok((connect.await.map_err(ConnectionError::Connect)?, None))
        }
        Server::Remote(address, identity) => {
            let mut identity = identity.clone();
            let connector = identity.borrow_and_update().connector()?;
            let stream = dial::dial(address, &connector).await?;
            let endpoint = kept_alive(Endpoint::from_static("https://server"));
            Ok((dial::channel(endpoint, address, stream).await?, Some(identity)))
        }
    }
}

async fn follow(
    mut incoming: Streaming<proto::FromServer>,
    outbox: &mpsc::Sender<FromAgent>,
    events: &mpsc::Sender<Event>,
    heard: &mut bool,
) -> ConnectionError {
    loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return ConnectionError::Closed,
            Err(status) => return ConnectionError::Stream(status),
        };
        if !std::mem::replace(heard, true) {
            info!("connected to the server");
        }
        match FromServer::parse(message) {
            Ok(Some(FromServer::Rival { who, serial })) => {
                warn!(%who, "another agent asks to be this host and is refused: stop one of them, or name it otherwise");
                // Where there is no room, the server has a lot to hear from this agent already.
                let _ = outbox.try_send(FromAgent::Present { serial });
            }
            Ok(Some(message)) => {
                if events.send(Event::Message(message)).await.is_err() {
                    return ConnectionError::Stopping;
                }
            }
            Ok(None) => debug!("a message of a kind that this version does not know is skipped"),
            Err(error) => error!(error = &error as &dyn std::error::Error, "a malformed message is skipped"),
        }
    }
}
