//! The agent's end of the sync stream: connects, and connects again.

use std::time::Duration;

use privnet_sync::proto::sync_client::SyncClient;
use privnet_sync::{FromAgent, FromServer, MESSAGE_BYTES_MAX, proto};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info, warn};

use crate::ServerAddress;
use crate::backoff::{Backoff, jittered};

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
    #[error("the server has ended the stream")]
    Stream(#[source] Status),
    #[error("the server has closed the stream")]
    Closed,
    #[error("the agent is stopping")]
    Stopping,
}

/// Keeps a connection for as long as somebody receives its events.
pub(crate) async fn keep_connected(server: ServerAddress, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
    let mut is_known_away = false;
    loop {
        let mut heard = false;
        let error = connect_and_follow(&server, &events, &mut heard).await;
        if heard {
            backoff.reset();
            is_known_away = false;
        }
        let wait = match &error {
            ConnectionError::Stopping => return,
            ConnectionError::Stream(status) if is_refusal(status) => {
                error!(%server, code = ?status.code(), reason = status.message(), "the server refuses this agent");
                REFUSED_WAIT
            }
            error if is_known_away => {
                debug!(%server, error = error as &dyn std::error::Error, "still no connection to the server");
                backoff.next()
            }
            error => {
                warn!(%server, error = error as &dyn std::error::Error,
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
async fn connect_and_follow(server: &ServerAddress, events: &mpsc::Sender<Event>, heard: &mut bool) -> ConnectionError {
    let channel = match connect(server).await {
        Ok(channel) => channel,
        Err(error) => return ConnectionError::Connect(error),
    };
    let (outbox, outgoing) = mpsc::channel(QUEUE_MESSAGES_MAX);
    if events.send(Event::Connected(outbox.clone())).await.is_err() {
        return ConnectionError::Stopping;
    }
    let mut client = SyncClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    match client.follow(ReceiverStream::new(outgoing).map(proto::FromAgent::from)).await {
        Ok(incoming) => follow(incoming.into_inner(), &outbox, events, heard).await,
        Err(status) => ConnectionError::Stream(status),
    }
}

async fn connect(server: &ServerAddress) -> Result<Channel, tonic::transport::Error> {
    let uri = match server {
        ServerAddress::Unix(path) => format!("unix:{}", path.display()),
        ServerAddress::Loopback(address) => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(uri)?
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .tcp_nodelay(true);
    endpoint.connect().await
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
