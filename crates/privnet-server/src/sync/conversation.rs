//! What an agent hears, and what it says, for as long as it is connected.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use privnet_model::zone::Command;
use privnet_model::{Generation, HostFacts, InstanceId, NetworkId};
use privnet_sync::{FromAgent, FromServer, HELD_MAX, Hello, PROTOCOL_VERSION, proto};
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use super::peer::Peer;
use super::registration::Registration;
use super::{LOOK_EVERY, REPLACED, SEND_TIMEOUT, refused};
use crate::auth::ShownCertificate;
use crate::engine::{Acknowledgement, Engine, Link, Progress, Standing};

/// How often all of a host's networks are compared, whether marked or not.
const COMPARISON_INTERVAL: Duration = Duration::from_secs(2);

/// How long an agent that is let go may take to hear why.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

const TAKES_NOTHING: &str = "the agent takes nothing of what it is told";

/// One connected agent.
pub(super) struct Conversation {
    pub(super) engine: Engine,
    pub(super) registration: Registration,
    pub(super) link: Link,
    pub(super) peer: Peer,
    /// What the agent has shown; `None` where it need not show anything.
    pub(super) shown: Option<ShownCertificate>,
    pub(super) sent: Mutex<HashMap<NetworkId, Sent>>,
    pub(super) sent_instances: Mutex<HashMap<InstanceId, SentInstance>>,
    /// Whether the agent knows what an instance is.
    pub(super) makes_instances: bool,
    pub(super) outgoing: mpsc::Sender<Result<proto::FromServer, Status>>,
}

/// What the agent was last told of a network, or said that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Its state at this generation.
    State(Generation),
    /// That it shall carry nothing of it, with this number.
    Removal(u64),
    /// Nothing that it has any use for.
    Nothing,
}

/// What the agent was last told of an instance, or said that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SentInstance {
    serial: u64,
    is_wanted: bool,
}

impl SentInstance {
    pub(super) const HELD: Self = Self { serial: 0, is_wanted: true };
}

/// Why an instance is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It has come to this host or left it, perhaps both since it was last looked at.
    Changed,
    /// In case something was missed.
    Again,
}

/// Why a conversation is over.
enum Ended {
    /// The agent has gone, or the server stops.
    Gone,
    /// The server lets the agent go, and tells it why.
    LetGo(Status),
}

impl Conversation {
    pub(super) async fn run(
        self,
        hello: Hello,
        mut incoming: Streaming<proto::FromAgent>,
        mut stopped: watch::Receiver<()>,
    ) {
        info!(vtep = %hello.facts.vtep, version = %hello.facts.version, held = hello.held.len(), "agent connected");
        let ended = tokio::select! {
            // An agent that takes nothing, or talks without end, does not keep its place by that: what ends the
            // conversation comes first, and waits for none of the rest.
            biased;
            // The sender is dropped, never used: this resolves when the server stops.
            _ = stopped.changed() => Ended::Gone,
            why = self.registration_ends() => Ended::LetGo(why),
            () = self.link.lost() => replaced(),
            ended = self.tell_of_rivals() => ended,
            ended = self.listen(&mut incoming) => ended,
            Err(ended) = self.tell(&hello) => ended,
        };
        let Self { link, peer, outgoing, .. } = self;
        // The host's place is free before the agent has taken its leave, which it may never do.
        drop(link);
        match ended {
            Ended::Gone => info!("agent disconnected"),
            Ended::LetGo(why) => {
                warn!(reason = why.message(), "an agent is let go");
                let_go(why, &outgoing, &peer).await;
            }
        }
    }

    /// Resolves when the agent's host is registered no more, or has another certificate than the agent has shown:
    /// with what the agent is told. One that need not show any registers anew when it connects again.
    async fn registration_ends(&self) -> Status {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            if let Some(why) = self.refusal() {
                return why;
            }
            tokio::select! {
                () = self.link.host_changed() => {}
                _ = look.tick() => {}
            }
        }
    }

    fn refusal(&self) -> Option<Status> {
        let zone = self.engine.view();
        match &self.shown {
            Some(shown) => {
                let shows = zone.host_that_shows(&shown.host, shown.fingerprint);
                shows.err().map(|refusal| refused(refusal.into()))
            }
            None if zone.host(self.link.host()).is_none() => Some(Status::aborted("the host was removed")),
            None => None,
        }
    }

    async fn tell_of_rivals(&self) -> Ended {
        let mut standing = self.link.standing();
        while standing.changed().await.is_ok() {
            let heard = standing.borrow_and_update().clone();
            if let Standing::Asked { who, serial } = heard {
                warn!(%who, "another agent asks to be this host");
                if let Err(ended) = self.send(FromServer::Rival { who, serial }).await {
                    return ended;
                }
            }
        }
        replaced()
    }

    /// Tells the agent what it lacks, then what changes.
    async fn tell(&self, hello: &Hello) -> Result<Infallible, Ended> {
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
                    for instance in marked.instances {
                        self.bring_instance_up_to_date(instance, &mut serial, Look::Changed).await?;
                    }
                    for network in marked.networks {
                        self.bring_up_to_date(network, &mut removals).await?;
                    }
                }
                _ = comparison.tick() => {
                    self.link.mark(self.all_networks());
                    for instance in self.all_instances() {
                        self.bring_instance_up_to_date(instance, &mut serial, Look::Again).await?;
                    }
                }
            }
        }
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
    ) -> Result<(), Ended> {
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
    async fn bring_up_to_date(&self, network: NetworkId, removals: &mut u64) -> Result<(), Ended> {
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
                Some(Sent::State(_) | Sent::Nothing) | None => {
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
            Some(Sent::Removal(_) | Sent::Nothing) | None => None,
        };
        delta.or_else(|| zone.wanted(network, host).map(FromServer::Full))
    }

    async fn listen(&self, incoming: &mut Streaming<proto::FromAgent>) -> Ended {
        loop {
            // One that always has more to say lets everything else have its turn.
            tokio::task::coop::consume_budget().await;
            let message = match incoming.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ended::Gone,
                Err(cause) => {
                    debug!(%cause, "the agent's stream broke");
                    return Ended::Gone;
                }
            };
            match FromAgent::parse(message) {
                Ok(Some(message)) => {
                    if let Err(ended) = self.hear(message).await {
                        return ended;
                    }
                }
                Ok(None) => debug!("skipped a kind of message that only a newer agent knows"),
                Err(cause) => return Ended::LetGo(Status::invalid_argument(cause.to_string())),
            }
        }
    }

    async fn hear(&self, message: FromAgent) -> Result<(), Ended> {
        if !self.link.is_held() {
            return Err(replaced());
        }
        match message {
            FromAgent::Hello(_) => {
                return Err(Ended::LetGo(Status::invalid_argument("Hello is the first message, and no other")));
            }
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
                self.engine.acknowledge(&self.link, network, Acknowledgement { generation, failures });
            }
            FromAgent::Removed { network, removal } => {
                if self.sent().get(&network) == Some(&Sent::Removal(removal)) {
                    self.confirm_absent(network).await;
                }
            }
            FromAgent::NeedFull { network } => self.tell_anew(network),
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
            FromAgent::Present { serial } => self.link.is_present(serial),
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

    /// The agent asks for all of a network: a delta did not fit, or it has one that nobody has told it of.
    fn tell_anew(&self, network: NetworkId) {
        let mut sent = self.sent();
        if sent.len() >= HELD_MAX && !sent.contains_key(&network) {
            warn!(%network, "the host asks for more networks than one can have; that is ignored");
            return;
        }
        debug!(%network, "the host asks for all of a network");
        sent.insert(network, Sent::Nothing);
        self.link.mark([network]);
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
        self.engine.note_progress(&self.link, instance, progress);
    }

    async fn change_underlay_mtu(&self, bytes: u32) -> Result<(), Ended> {
        let host = self.engine.view().host(self.link.host()).cloned().ok_or(Ended::Gone)?;
        info!(underlay_mtu_bytes = bytes, "the host's underlay has another MTU");
        let facts = HostFacts { underlay_mtu_bytes: bytes, ..host.facts.clone() };
        match self.registration.report(&host.name, facts, self.shown.as_ref()).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                warn!(%cause, "cannot keep the host's MTU; it says so again when it connects again");
                Err(Ended::Gone)
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

    async fn send(&self, message: FromServer) -> Result<(), Ended> {
        let sending = self.outgoing.send(Ok(message.into()));
        match tokio::time::timeout(SEND_TIMEOUT, sending).await {
            Ok(sent) => sent.map_err(|_| Ended::Gone),
            Err(_) => Err(Ended::LetGo(Status::deadline_exceeded(TAKES_NOTHING))),
        }
    }

    fn sent_instances(&self) -> MutexGuard<'_, HashMap<InstanceId, SentInstance>> {
        self.sent_instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> MutexGuard<'_, HashMap<NetworkId, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn replaced() -> Ended {
    Ended::LetGo(Status::aborted(REPLACED))
}

/// Tells the agent why its stream ends. The connection of one that does not take even that is cut: what waits for it
/// in the server's memory goes with it.
async fn let_go(why: Status, outgoing: &mpsc::Sender<Result<proto::FromServer, Status>>, peer: &Peer) {
    let leave = async {
        // Whoever has gone needs no word.
        let _ = outgoing.send(Err(why)).await;
        outgoing.closed().await;
    };
    if tokio::time::timeout(LEAVE_TIMEOUT, leave).await.is_err() {
        peer.hang_up();
    }
}
