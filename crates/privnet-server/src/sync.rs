//! What agents are told: one gRPC stream per host (`privnet-sync`).
//!
//! The zone is the truth and the generations say who is behind: a link remembers which generation it
//! last sent of each network and sends what leads to the present one. A change only marks its network
//! on the links concerned, so a lagging agent costs no queue; a periodic look at all of a host's
//! networks finds whatever a mark has missed.

mod certificate;
mod conversation;
mod membership;
mod peer;
mod registration;
mod services;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use privnet_model::zone::{Caller, Outcome, RefusalKind};
use privnet_model::{HostId, NetworkId};
use privnet_sync::proto;
use privnet_sync::proto::membership_server::MembershipServer;
use privnet_sync::proto::sync_server::{Sync, SyncServer};
use privnet_sync::{
    AGENT_MESSAGE_BYTES_MAX, FromAgent, Hello, INSTANCES_SINCE, MEMBERSHIP_BYTES_MAX, MESSAGE_BYTES_MAX, RIVALS_SINCE,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, info_span, warn};

use self::certificate::OwnCertificate;
use self::conversation::{Conversation, Sent, SentInstance};
use self::membership::{MembershipService, http_status};
use self::peer::Peer;
use self::registration::Registration;
use self::services::Services;
use crate::audit::Origin;
use crate::auth::{AuthorityError, HostAuthority, ShownCertificate};
use crate::engine::{Engine, HostBusy, Newcomer, SubmitError, now};
use crate::seldom::Seldom;

/// How many messages may wait for a slow agent before its link stops making more.
const OUTGOING_MAX: usize = 64;

/// How long agents may take to take leave when the server stops: one that is paused, or on a host that has
/// vanished, takes none.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an agent may take nothing of what it is told: what is encrypted for it, or the next message where
/// [`OUTGOING_MAX`] wait.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether a host is registered still, by the certificate that was shown: in case nobody has
/// said so.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long an agent may take to say Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How many calls may be under way on a connection: an agent follows on one stream, and renews its certificate.
const STREAMS_MAX: u32 = 8;

/// An agent that has vanished without closing the connection is noticed after both of these, as the agent
/// notices its server: until then its host's next agent is refused, and operations wait for it.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

const REPLACED: &str = "another connection of this host's agent has taken this one's place";

/// Listens on a Unix socket that only its owner may open; a socket that a killed server left is replaced,
/// and nothing else is.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    // Made under a name that no agent opens, so that it is never open to others under its own.
    let private = PathBuf::from(format!("{}.new", path.display()));
    remove_socket(path)?;
    remove_socket(&private)?;
    let listener = UnixListener::bind(&private)?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&private, path)?;
    Ok(listener)
}

fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there and no socket", path.display())))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// Serves the agents on this machine until `shutdown` resolves, and then ends their streams.
pub(crate) async fn serve_socket(
    listener: UnixListener,
    engine: Engine,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    serve(UnixListenerStream::new(listener), engine, None, shutdown).await
}

/// Where agents come by TLS.
pub(crate) struct TlsDoor {
    listener: TcpListener,
    certificate: OwnCertificate,
    failed_handshakes: Seldom,
}

impl TlsDoor {
    /// A door whose server has a certificate of this authority. `failed_handshakes`: where they are noted.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn new(
        listener: TcpListener,
        authority: Arc<HostAuthority>,
        failed_handshakes: Seldom,
    ) -> Result<Self, AuthorityError> {
        Ok(Self { listener, certificate: OwnCertificate::new(authority)?, failed_handshakes })
    }

    /// Where that is, with the port that was taken.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// By which the server is known to hosts.
    pub(crate) fn fingerprint(&self) -> privnet_tls::Fingerprint {
        self.certificate.authority().certificate().fingerprint()
    }

    /// Serves the agents that come by TLS until `shutdown` resolves, and then ends their streams.
    pub(crate) async fn serve(
        self,
        engine: Engine,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let Self { listener, certificate, failed_handshakes } = self;
        let authority = Arc::clone(certificate.authority());
        let connections = tls::accept(listener, certificate, engine.clone(), failed_handshakes);
        serve(ReceiverStream::new(connections), engine, Some(authority), shutdown).await
    }
}

/// `authority`: of the hosts that come by TLS.
async fn serve<IO>(
    incoming: impl Stream<Item = io::Result<IO>>,
    engine: Engine,
    authority: Option<Arc<HostAuthority>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (stopping, stopped) = watch::channel(());
    let mut late = stopped.clone();
    let is_tls = authority.is_some();
    let registration = Registration::new(engine.clone());
    let refused = Seldom::new("an agent is refused");
    let sync = SyncServer::new(Follower { engine: engine.clone(), registration, refused, is_tls, stopped })
        .max_decoding_message_size(AGENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let membership = authority.map(|authority| {
        MembershipServer::new(MembershipService::new(engine, authority)).max_decoding_message_size(MEMBERSHIP_BYTES_MAX)
    });
    let services = Services { sync, membership };
    let shutdown = async {
        shutdown.await;
        drop(stopping);
    };
    let late = async {
        // The sender is dropped, never used: this resolves when the server stops.
        let _ = late.changed().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
    tokio::select! {
        served = server.serve_with_incoming_shutdown(services, incoming, shutdown) => served,
        () = late => {
            warn!("agents are cut off that take no leave");
            Ok(())
        }
    }
}

struct Follower {
    engine: Engine,
    registration: Registration,
    /// Where those are noted that are no host's agent.
    refused: Seldom,
    /// Whether agents come by TLS, and prove which host they are.
    is_tls: bool,
    /// Closed when the server stops.
    stopped: watch::Receiver<()>,
}

#[tonic::async_trait]
impl Sync for Follower {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<proto::FromServer, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<proto::FromAgent>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let peer = Peer::of(&request, self.is_tls)?;
        // Before anything of what it says is read.
        self.expect_certificate(&peer)?;
        if peer.has_followed() {
            let status = Status::failed_precondition("a connection has one stream of an agent: connect anew");
            return Err(self.refuse(&peer, status));
        }
        let mut incoming = request.into_inner();
        let mut stopped = self.stopped.clone();
        let hello = tokio::select! {
            hello = tokio::time::timeout(HELLO_TIMEOUT, expect_hello(&mut incoming)) => {
                hello.unwrap_or_else(|_| Err(Status::deadline_exceeded("the agent has not said Hello in time")))?
            }
            _ = stopped.changed() => return Err(Status::unavailable("the server is stopping")),
        };
        // Before it is registered: who is refused must not change what is known of the host.
        let shown = self.prove(&hello, &peer)?;
        let newcomer = Newcomer {
            host: hello.host.clone(),
            run: hello.run,
            answers_rivals: hello.protocol >= RIVALS_SINCE,
            who: peer.to_string(),
        };
        let claim = tokio::select! {
            claim = self.engine.claim(newcomer) => claim.map_err(|busy| self.refuse_second(&hello, &peer, &busy))?,
            _ = stopped.changed() => return Err(Status::unavailable("the server is stopping")),
        };
        let host = register(&self.registration, &hello, shown.as_ref()).await?;
        let makes_instances = hello.protocol >= INSTANCES_SINCE;
        let link = self.engine.connect(host, makes_instances.then_some(&hello.instances), claim);
        let link = link.ok_or_else(|| Status::aborted(REPLACED))?;
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        let conversation = Conversation {
            engine: self.engine.clone(),
            registration: self.registration.clone(),
            link,
            peer,
            shown,
            sent: Mutex::new(self.held(&hello)),
            sent_instances: Mutex::new(hello.instances.iter().map(|id| (*id, SentInstance::HELD)).collect()),
            makes_instances,
            outgoing,
        };
        let span = info_span!("agent", host = %hello.host);
        tokio::spawn(conversation.run(hello, incoming, stopped).instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

impl Follower {
    /// The other agent is told, too.
    fn refuse_second(&self, hello: &Hello, peer: &Peer, other: &HostBusy) -> Status {
        let (host, connected) = (&hello.host, &other.who);
        // Whoever runs them is to hear of each: two machines have one identity.
        warn!(%host, refused = %peer, %connected, "refused a second agent for a host whose agent is connected");
        let message = format!(
            "an agent for host {host} is connected already ({connected}); two agents cannot be one host: stop one of them, or give this host a name of its own"
        );
        self.note_refusal(peer, Status::already_exists(message))
    }

    /// Tells the log, once in a while, and the audit log.
    fn refuse(&self, peer: &Peer, status: Status) -> Status {
        self.refused.note(format_args!("{peer}: {}", status.message()));
        self.note_refusal(peer, status)
    }

    /// Tells the audit log.
    fn note_refusal(&self, peer: &Peer, status: Status) -> Status {
        let origin = Origin::of_agent(peer.ip(), "connect-agent", "Follow");
        let event = origin.refused(Some(Caller::Server), http_status(status.code()), status.message(), now());
        self.engine.log().refused(event);
        status
    }

    /// Who must show a certificate has one that is a host's now.
    fn expect_certificate(&self, peer: &Peer) -> Result<Option<ShownCertificate>, Status> {
        let shown = peer.shown().and_then(|shown| {
            let Some(shown) = shown else { return Ok(None) };
            let zone = self.engine.view();
            zone.host_that_shows(&shown.host, shown.fingerprint).map_err(|refusal| refused(refusal.into()))?;
            Ok(Some(shown.clone()))
        });
        shown.map_err(|status| self.refuse(peer, status))
    }

    /// The certificate with which an agent is the host that it says; `None` where it need not show one.
    fn prove(&self, hello: &Hello, peer: &Peer) -> Result<Option<ShownCertificate>, Status> {
        let Some(shown) = self.expect_certificate(peer)? else { return Ok(None) };
        if shown.host != hello.host {
            let status = Status::permission_denied(format!(
                "the certificate is host {}'s, and the agent is named {}: a host speaks for itself alone",
                shown.host, hello.host
            ));
            return Err(self.refuse(peer, status));
        }
        Ok(Some(shown))
    }

    /// What the agent need not be told. A generation ahead of its network's is that of records which these have
    /// taken the place of: all it says is that the agent must be told all.
    fn held(&self, hello: &Hello) -> HashMap<NetworkId, Sent> {
        let zone = self.engine.view();
        let is_ahead = |network, generation| zone.network(network).is_some_and(|n| n.generation < generation);
        let held = hello.held.iter().filter(|(network, generation)| !is_ahead(**network, **generation));
        held.map(|(network, generation)| (*network, Sent::State(*generation))).collect()
    }
}

async fn expect_hello(incoming: &mut Streaming<proto::FromAgent>) -> Result<Hello, Status> {
    let first = incoming.message().await?.ok_or_else(|| Status::invalid_argument("the stream ended before Hello"))?;
    match FromAgent::parse(first).map_err(|cause| Status::invalid_argument(cause.to_string()))? {
        Some(FromAgent::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("the first message must be Hello")),
    }
}

async fn register(
    registration: &Registration,
    hello: &Hello,
    shown: Option<&ShownCertificate>,
) -> Result<HostId, Status> {
    match registration.report(&hello.host, hello.facts.clone(), shown).await {
        Ok(Outcome::Host(host)) => Ok(host.id),
        Ok(_) => Err(Status::internal("registering a host answered no host")),
        Err(cause) => Err(refused(cause)),
    }
}

/// A refusal as gRPC says it.
fn refused(cause: SubmitError) -> Status {
    match cause {
        SubmitError::Refused(refusal) => match refusal.kind() {
            RefusalKind::Forbidden => Status::permission_denied(refusal.to_string()),
            RefusalKind::Invalid => Status::invalid_argument(refusal.to_string()),
            RefusalKind::NotFound | RefusalKind::Conflict => Status::failed_precondition(refusal.to_string()),
        },
        cause @ (SubmitError::Unavailable(_) | SubmitError::Busy) => Status::unavailable(cause.to_string()),
    }
}

#[cfg(test)]
mod tests;
