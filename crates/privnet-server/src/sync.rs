//! What agents are told: one gRPC stream per host (`privnet-sync`).
//!
//! The zone is the truth and the generations say who is behind: a link remembers which generation it
//! last sent of each network and sends what leads to the present one. A change only marks its network
//! on the links concerned, so a lagging agent costs no queue; a periodic look at all of a host's
//! networks finds whatever a mark has missed.

mod certificate;
mod membership;
mod peer;
mod services;
mod tls;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use privnet_model::zone::{Caller, Command, Outcome, RefusalKind};
use privnet_model::{Generation, HostFacts, HostId, HostName, InstanceId, NetworkId};
use privnet_sync::proto;
use privnet_sync::proto::membership_server::MembershipServer;
use privnet_sync::proto::sync_server::{Sync, SyncServer};
use privnet_sync::{
    AGENT_MESSAGE_BYTES_MAX, FromAgent, FromServer, Hello, INSTANCES_SINCE, MEMBERSHIP_BYTES_MAX, MESSAGE_BYTES_MAX,
    PROTOCOL_VERSION, RIVALS_SINCE,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, debug, info, info_span, warn};

use self::certificate::OwnCertificate;
use self::membership::{MembershipService, http_status};
use self::peer::Peer;
use self::services::Services;
use crate::audit::Origin;
use crate::auth::{AuthorityError, HostAuthority, ShownCertificate};
use crate::engine::{Acknowledgement, Engine, HostBusy, Link, Newcomer, Progress, Standing, SubmitError, now};
use crate::seldom::Seldom;

/// How often all of a host's networks are compared, whether marked or not.
const COMPARISON_INTERVAL: Duration = Duration::from_secs(2);

/// How many messages may wait for a slow agent before its link stops making more.
const OUTGOING_MAX: usize = 64;

/// How long agents may take to take leave when the server stops: one that is paused, or on a host that has
/// vanished, takes none.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

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
    let sync = SyncServer::new(Follower { engine: engine.clone(), is_tls, stopped })
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
        let host = register(&self.engine, &hello, shown.as_ref()).await?;
        let makes_instances = hello.protocol >= INSTANCES_SINCE;
        let link = self.engine.connect(host, makes_instances.then_some(&hello.instances), claim);
        let link = link.ok_or_else(|| Status::aborted(REPLACED))?;
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        let conversation = Conversation {
            engine: self.engine.clone(),
            link,
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
        warn!(%host, refused = %peer, %connected, "refused a second agent for a host whose agent is connected");
        let message = format!(
            "an agent for host {host} is connected already ({connected}); two agents cannot be one host: stop one of them, or give this host a name of its own"
        );
        self.note_refusal(peer, Status::already_exists(message))
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
        shown.map_err(|status| {
            warn!(%peer, reason = status.message(), "refused an agent");
            self.note_refusal(peer, status)
        })
    }

    /// The certificate with which an agent is the host that it says; `None` where it need not show one.
    fn prove(&self, hello: &Hello, peer: &Peer) -> Result<Option<ShownCertificate>, Status> {
        let Some(shown) = self.expect_certificate(peer)? else { return Ok(None) };
        if shown.host != hello.host {
            let status = Status::permission_denied(format!(
                "the certificate is host {}'s, and the agent is named {}: a host speaks for itself alone",
                shown.host, hello.host
            ));
            warn!(host = %hello.host, %peer, reason = status.message(), "refused an agent");
            return Err(self.note_refusal(peer, status));
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

/// What makes a host's record, or brings its facts up to date.
fn report(name: &HostName, facts: HostFacts, shown: Option<&ShownCertificate>) -> Command {
    let name = name.clone();
    match shown {
        Some(shown) => Command::AdmitHost { name, certificate: shown.fingerprint, facts },
        None => Command::RegisterHost { name, facts },
    }
}

async fn register(engine: &Engine, hello: &Hello, shown: Option<&ShownCertificate>) -> Result<HostId, Status> {
    match engine.submit(report(&hello.host, hello.facts.clone(), shown)).await {
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

/// One connected agent.
struct Conversation {
    engine: Engine,
    link: Link,
    /// What the agent has shown; `None` where it need not show anything.
    shown: Option<ShownCertificate>,
    sent: Mutex<HashMap<NetworkId, Sent>>,
    sent_instances: Mutex<HashMap<InstanceId, SentInstance>>,
    /// Whether the agent knows what an instance is.
    makes_instances: bool,
    outgoing: mpsc::Sender<Result<proto::FromServer, Status>>,
}

/// What the agent was last told of a network, or said that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Its state at this generation.
    State(Generation),
    /// That it shall carry nothing of it, with this number.
    Removal(u64),
}

/// What the agent was last told of an instance, or said that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SentInstance {
    serial: u64,
    is_wanted: bool,
}

impl SentInstance {
    const HELD: Self = Self { serial: 0, is_wanted: true };
}

/// Why an instance is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It has come to this host or left it, perhaps both since it was last looked at.
    Changed,
    /// In case something was missed.
    Again,
}

/// The agent's stream or ours has ended.
struct Gone;

impl Conversation {
    async fn run(self, hello: Hello, mut incoming: Streaming<proto::FromAgent>, mut stopped: watch::Receiver<()>) {
        info!(vtep = %hello.facts.vtep, version = %hello.facts.version, held = hello.held.len(), "agent connected");
        tokio::select! {
            _ = self.tell(&hello) => {}
            _ = self.listen(&mut incoming) => {}
            _ = self.tell_of_rivals() => self.end(Status::aborted(REPLACED)).await,
            // The sender is dropped, never used: this resolves when the server stops.
            _ = stopped.changed() => {}
        }
        info!("agent disconnected");
    }

    /// Ends when another connection has taken this one's place.
    async fn tell_of_rivals(&self) -> Result<(), Gone> {
        let mut standing = self.link.standing();
        while standing.changed().await.is_ok() {
            let heard = standing.borrow_and_update().clone();
            if let Standing::Asked { who, serial } = heard {
                warn!(%who, "another agent asks to be this host");
                self.send(FromServer::Rival { who, serial }).await?;
            }
        }
        Ok(())
    }

    /// Says why the stream ends, if the agent takes it.
    async fn end(&self, why: Status) {
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.outgoing.send(Err(why))).await;
    }

    /// Tells the agent what it lacks, then what changes.
    async fn tell(&self, hello: &Hello) -> Result<(), Gone> {
        self.send(FromServer::Welcome { protocol: PROTOCOL_VERSION, host: self.link.host() }).await?;
        let (mut removals, mut serial) = (0, 0);
        for instance in self.all_instances().into_iter() {
            self.bring_instance_up_to_date(instance, &mut serial, Look::Changed).await?;
        }
        for network in self.all_networks().into_iter().chain(hello.held.keys().copied()) {
            self.bring_up_to_date(network, &mut removals).await?;
        }
        self.send(FromServer::Current).await?;
        let mut comparison = tokio::time::interval(COMPARISON_INTERVAL);
        loop {
            tokio::select! {
                marked = self.link.changed() => {
                    self.expect_registered().await?;
                    for instance in marked.instances {
                        self.bring_instance_up_to_date(instance, &mut serial, Look::Changed).await?;
                    }
                    for network in marked.networks {
                        self.bring_up_to_date(network, &mut removals).await?;
                    }
                }
                _ = comparison.tick() => {
                    self.expect_registered().await?;
                    self.link.mark(self.all_networks());
                    for instance in self.all_instances() {
                        self.bring_instance_up_to_date(instance, &mut serial, Look::Again).await?;
                    }
                }
            }
        }
    }

    /// An agent whose host was removed, or has another certificate now, is cut off. One that need not show any
    /// registers anew when it connects again.
    async fn expect_registered(&self) -> Result<(), Gone> {
        let cut_off = {
            let zone = self.engine.view();
            match &self.shown {
                Some(shown) => zone
                    .host_that_shows(&shown.host, shown.fingerprint)
                    .map_err(|refusal| refused(refusal.into()))
                    .err(),
                None if zone.host(self.link.host()).is_none() => Some(Status::aborted("the host was removed")),
                None => None,
            }
        };
        let Some(why) = cut_off else { return Ok(()) };
        warn!(reason = why.message(), "an agent is cut off");
        self.end(why).await;
        Err(Gone)
    }

    fn all_networks(&self) -> Vec<NetworkId> {
        self.engine.view().carried_by(self.link.host()).collect()
    }

    /// The instances that the agent shall make, or was told to.
    fn all_instances(&self) -> BTreeSet<InstanceId> {
        if !self.makes_instances {
            return BTreeSet::new();
        }
        let here: BTreeSet<_> = self.engine.view().instances_on(self.link.host()).map(|instance| instance.id).collect();
        let told = self.sent_instances();
        here.into_iter().chain(told.iter().filter(|(_, sent)| sent.is_wanted).map(|(id, _)| *id)).collect()
    }

    /// Tells the agent whether it shall make an instance, if it was last told otherwise, or has to answer anew.
    async fn bring_instance_up_to_date(
        &self,
        instance: InstanceId,
        last_serial: &mut u64,
        look: Look,
    ) -> Result<(), Gone> {
        let message = {
            let zone = self.engine.view();
            let wanted = zone.wanted_instance(instance, self.link.host());
            let is_here = zone.instance(instance).is_some_and(|record| record.host == self.link.host());
            let mut sent = self.sent_instances();
            let last = sent.get(&instance).map(|sent| sent.is_wanted);
            // Of one that somebody else makes there is nothing to tell as long as it is here.
            let is_told = last == Some(wanted.is_some()) || (last.is_none() && wanted.is_none() && is_here);
            let has_to_answer = look == Look::Changed && wanted.is_some();
            if is_told && !has_to_answer {
                return Ok(());
            }
            *last_serial += 1;
            let serial = *last_serial;
            sent.insert(instance, SentInstance { serial, is_wanted: wanted.is_some() });
            match wanted {
                Some(state) => FromServer::Instance { state, serial },
                None => FromServer::RemoveInstance { instance, serial },
            }
        };
        self.send(message).await
    }

    /// Sends what leads from what the agent was last told of a network to what is wanted now, if
    /// that differs.
    async fn bring_up_to_date(&self, network: NetworkId, removals: &mut u64) -> Result<(), Gone> {
        match self.next_message(network, removals) {
            Some(message) => self.send(message).await,
            None => Ok(()),
        }
    }

    fn next_message(&self, network: NetworkId, removals: &mut u64) -> Option<FromServer> {
        let host = self.link.host();
        let zone = self.engine.view();
        let mut sent = self.sent();
        let last = sent.get(&network).copied();
        if !zone.is_wanted(network, host) {
            return match last {
                Some(Sent::Removal(_)) => None,
                Some(Sent::State(_)) | None => {
                    *removals += 1;
                    sent.insert(network, Sent::Removal(*removals));
                    Some(FromServer::Remove { network, removal: *removals })
                }
            };
        }
        let present = zone.network(network)?.generation;
        if last == Some(Sent::State(present)) {
            return None;
        }
        sent.insert(network, Sent::State(present));
        let delta = match last {
            Some(Sent::State(base)) => zone.delta(network, host, base).map(FromServer::Delta),
            Some(Sent::Removal(_)) | None => None,
        };
        delta.or_else(|| zone.wanted(network, host).map(FromServer::Full))
    }

    async fn listen(&self, incoming: &mut Streaming<proto::FromAgent>) {
        loop {
            let message = match incoming.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(cause) => return debug!(%cause, "the agent's stream broke"),
            };
            match FromAgent::parse(message) {
                Ok(Some(message)) => {
                    if let Err(Gone) = self.hear(message).await {
                        return;
                    }
                }
                Ok(None) => debug!("skipped a kind of message that only a newer agent knows"),
                Err(cause) => return warn!(%cause, "the agent sent a malformed message"),
            }
        }
    }

    async fn hear(&self, message: FromAgent) -> Result<(), Gone> {
        let host = self.link.host();
        match message {
            FromAgent::Hello(_) => warn!("the agent said Hello twice"),
            FromAgent::Applied { network, .. } | FromAgent::AddressDeclined { network, .. }
                if !self.was_told_of(network) =>
            {
                warn!(%network, "the host reports on a network that it was not told of; that is ignored");
            }
            FromAgent::Applied { network, generation, failures } => {
                for failure in &failures {
                    warn!(%network, mac = %failure.mac, reason = failure.reason.as_str(), message = %failure.message, "port failed");
                }
                debug!(%network, %generation, "applied");
                self.engine.acknowledge(host, network, Acknowledgement { generation, failures });
            }
            FromAgent::Removed { network, removal } => {
                if self.sent().get(&network) == Some(&Sent::Removal(removal)) {
                    self.confirm_absent(network).await;
                }
            }
            FromAgent::NeedFull { network } => {
                debug!(%network, "a delta did not fit");
                self.sent().remove(&network);
                self.link.mark([network]);
            }
            FromAgent::Repaired { network, what } => {
                warn!(%network, what = what.join("; "), "the host repaired drift");
            }
            FromAgent::UnderlayMtu { bytes } => self.change_underlay_mtu(bytes).await?,
            FromAgent::InstanceMade { instance, serial } => {
                self.note_progress(instance, SentInstance { serial, is_wanted: true }, Some(Progress::Made));
            }
            FromAgent::InstanceFailed { instance, serial, failure } => {
                let (reason, message) = (failure.reason.as_str(), &failure.message);
                warn!(%instance, reason, message, "the host cannot make an instance");
                self.note_progress(instance, SentInstance { serial, is_wanted: true }, Some(Progress::Failed(failure)));
            }
            FromAgent::Present { .. } => self.link.is_present(),
            FromAgent::AddressDeclined { network, port, address, times } => {
                warn!(%network, mac = %port, %address, times,
                    "an instance finds its address in use by another machine of its network");
            }
            FromAgent::InstanceRemoved { instance, serial } => {
                self.note_progress(instance, SentInstance { serial, is_wanted: false }, None);
            }
        }
        Ok(())
    }

    /// Whether the host shall carry the network, as far as it knows. It may have trouble with any port in there: with
    /// its own, and with the way to another host's.
    fn was_told_of(&self, network: NetworkId) -> bool {
        matches!(self.sent().get(&network), Some(Sent::State(_)))
    }

    /// What answers an earlier message about the instance says nothing of the last.
    fn note_progress(&self, instance: InstanceId, answers: SentInstance, progress: Option<Progress>) {
        {
            let mut sent = self.sent_instances();
            if sent.get(&instance) != Some(&answers) {
                return;
            }
            if progress.is_none() {
                sent.remove(&instance);
            }
        }
        self.engine.note_progress(self.link.host(), instance, progress);
    }

    async fn change_underlay_mtu(&self, bytes: u32) -> Result<(), Gone> {
        let host = self.engine.view().host(self.link.host()).cloned().ok_or(Gone)?;
        info!(underlay_mtu_bytes = bytes, "the host's underlay has another MTU");
        let facts = HostFacts { underlay_mtu_bytes: bytes, ..host.facts.clone() };
        let command = report(&host.name, facts, self.shown.as_ref());
        match self.engine.submit(command).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                warn!(%cause, "cannot keep the host's MTU; it says so again when it connects again");
                Err(Gone)
            }
        }
    }

    async fn confirm_absent(&self, network: NetworkId) {
        let command = Command::ConfirmAbsent { host: self.link.host(), network };
        match self.engine.submit(command).await {
            Ok(_) => {
                let is_carried = self.engine.view().carriers(network).any(|host| host == self.link.host());
                let mut sent = self.sent();
                if !is_carried && matches!(sent.get(&network), Some(Sent::Removal(_))) {
                    sent.remove(&network);
                }
            }
            // Said again at the next comparison.
            Err(cause) => {
                warn!(%network, %cause, "cannot keep the host's confirmation yet");
                self.sent().remove(&network);
            }
        }
    }

    async fn send(&self, message: FromServer) -> Result<(), Gone> {
        self.outgoing.send(Ok(message.into())).await.map_err(|_| Gone)
    }

    fn sent_instances(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, SentInstance>> {
        self.sent_instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, HashMap<NetworkId, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
