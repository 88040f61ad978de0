use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use privnet_model::{Generation, HostId, InstanceId, NetworkId};
use privnet_sync::{InstanceFailure, PortFailure};
use tokio::sync::{Notify, watch};

use super::claims::{Claim, Claims, Standing};
use super::lock;

/// The hosts whose agents are connected, and how far each is.
#[derive(Default)]
pub(crate) struct Hosts {
    pub(super) claims: Claims,
    sessions: HashMap<HostId, Session>,
    /// Those that may have been connected when the server stopped, and have not been since.
    returning: HashSet<HostId>,
    /// Whether connections end because the server does.
    is_closing: bool,
}

struct Session {
    /// By whose number it is connected.
    claim: u64,
    acknowledged: HashMap<NetworkId, Acknowledgement>,
    /// The instances that it may have something of.
    instances: HashMap<InstanceId, Progress>,
    /// Whether the agent makes instances, and says what is left of them.
    makes_instances: bool,
    changed: Arc<Changed>,
}

/// How far a host is with what it was last told of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has not said yet.
    Awaited,
    /// It has made it.
    Made,
    /// It cannot make it, and goes on trying.
    Failed(InstanceFailure),
}

/// The networks and instances of a host that have changed since its agent was last told. Bounded by their number,
/// however far the agent lags behind.
#[derive(Default)]
struct Changed {
    what: Mutex<Marked>,
    wake: Notify,
    /// Wakes whoever looks at the host's own record.
    host: Notify,
}

/// What to look at.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    pub(crate) networks: BTreeSet<NetworkId>,
    pub(crate) instances: BTreeSet<InstanceId>,
}

/// How far a host is with a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    /// What it has applied.
    pub generation: Generation,
    /// But for these ports.
    pub failures: Vec<PortFailure>,
}

/// A host's connection. Dropping it says that the agent is gone.
pub(crate) struct Link {
    host: HostId,
    changed: Arc<Changed>,
    claim: Claim,
}

impl Hosts {
    pub(super) fn returning(hosts: impl Iterator<Item = HostId>) -> Self {
        Self { returning: hosts.collect(), ..Self::default() }
    }

    /// From now on a host that is away is not waited for. Returns whether any was.
    pub(super) fn expect_none(&mut self) -> bool {
        !std::mem::take(&mut self.returning).is_empty()
    }

    pub(super) fn close(&mut self) {
        self.is_closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// `instances`: what the agent says it shall make, if it makes any. `None` where another one has taken the claim.
    pub(super) fn connect(
        &mut self,
        host: HostId,
        instances: Option<&BTreeSet<InstanceId>>,
        mut claim: Claim,
    ) -> Result<Link, Claim> {
        if !self.claims.is_held(&claim) {
            return Err(claim);
        }
        let changed = Arc::<Changed>::default();
        let session = Session {
            claim: claim.number(),
            acknowledged: HashMap::new(),
            instances: instances.into_iter().flatten().map(|id| (*id, Progress::Awaited)).collect(),
            makes_instances: instances.is_some(),
            changed: Arc::clone(&changed),
        };
        self.sessions.insert(host, session);
        self.returning.remove(&host);
        claim.host = Some(host);
        Ok(Link { host, changed, claim })
    }

    /// Returns whether the host was connected by the claim with this number.
    pub(super) fn disconnect(&mut self, host: HostId, claim: u64) -> bool {
        let is_its_own = self.sessions.get(&host).is_some_and(|session| session.claim == claim);
        is_its_own && self.sessions.remove(&host).is_some()
    }

    pub(super) fn is_connected(&self, host: HostId) -> bool {
        self.sessions.contains_key(&host)
    }

    /// Whether a host is connected, or is about to be after the server was away.
    pub(super) fn is_waited_for(&self, host: HostId) -> bool {
        self.is_connected(host) || self.returning.contains(&host)
    }

    /// Counts for nothing where another connection has taken the link's place.
    pub(super) fn acknowledge(&mut self, link: &Link, network: NetworkId, acknowledgement: Acknowledgement) {
        if let Some(session) = self.session(link) {
            session.acknowledged.insert(network, acknowledgement);
        }
    }

    /// The session that a link has, until another connection takes its place.
    fn session(&mut self, link: &Link) -> Option<&mut Session> {
        self.sessions.get_mut(&link.host).filter(|session| session.claim == link.claim.number())
    }

    /// How far a connected host is with a network.
    pub(super) fn acknowledged(&self, host: HostId, network: NetworkId) -> Option<&Acknowledgement> {
        self.sessions.get(&host)?.acknowledged.get(&network)
    }

    /// The host carries nothing of the network any more.
    pub(super) fn forget(&mut self, host: HostId, network: NetworkId) {
        if let Some(session) = self.sessions.get_mut(&host) {
            session.acknowledged.remove(&network);
        }
    }

    /// Whether a host's agent is connected and makes instances.
    pub(super) fn makes_instances(&self, host: HostId) -> bool {
        self.sessions.get(&host).is_some_and(|session| session.makes_instances)
    }

    /// How far a connected host is with an instance; `None` where it has nothing of it.
    pub(super) fn progress(&self, host: HostId, instance: InstanceId) -> Option<&Progress> {
        self.sessions.get(&host)?.instances.get(&instance)
    }

    /// A host has said how far it is with an instance; `None`: nothing is left of it. Counts for nothing where
    /// another connection has taken the link's place.
    pub(super) fn note_progress(&mut self, link: &Link, instance: InstanceId, progress: Option<Progress>) {
        let Some(session) = self.session(link) else { return };
        match progress {
            Some(progress) => drop(session.instances.insert(instance, progress)),
            None => drop(session.instances.remove(&instance)),
        }
    }

    /// Wakes a host's link, if there is one, to look at a network.
    pub(super) fn mark(&self, host: HostId, network: NetworkId) {
        if let Some(session) = self.sessions.get(&host) {
            lock(&session.changed.what).networks.insert(network);
            session.changed.wake.notify_one();
        }
    }

    /// Has a host's link hear of no change.
    #[cfg(test)]
    pub(super) fn lose_wakes(&mut self, host: HostId) {
        self.sessions.get_mut(&host).expect("a connected host").changed = Arc::default();
    }

    /// Wakes a host's link, if there is one, to look at the host itself.
    pub(super) fn mark_host(&self, host: HostId) {
        if let Some(session) = self.sessions.get(&host) {
            session.changed.host.notify_one();
        }
    }

    /// Wakes a host's link, if there is one and its agent makes instances, to look at an instance.
    pub(super) fn mark_instance(&mut self, host: HostId, instance: InstanceId) {
        if let Some(session) = self.sessions.get_mut(&host).filter(|session| session.makes_instances) {
            session.instances.insert(instance, Progress::Awaited);
            lock(&session.changed.what).instances.insert(instance);
            session.changed.wake.notify_one();
        }
    }
}

impl Link {
    /// The host.
    pub(crate) fn host(&self) -> HostId {
        self.host
    }

    /// What to look at, when there is something. Each is returned once for any number of changes.
    pub(crate) async fn changed(&self) -> Marked {
        loop {
            let marked = std::mem::take(&mut *lock(&self.changed.what));
            if !marked.networks.is_empty() || !marked.instances.is_empty() {
                return marked;
            }
            self.changed.wake.notified().await;
        }
    }

    /// Resolves when the host's own record has changed since it last did: the host may have been removed, or have
    /// another certificate.
    pub(crate) async fn host_changed(&self) {
        self.changed.host.notified().await;
    }

    /// What is to be heard about this connection's being the host's only one; it ends when another one is.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.claim.standing()
    }

    /// Whether this connection is the host's only one still.
    pub(crate) fn is_held(&self) -> bool {
        self.claim.is_held()
    }

    /// Resolves when another connection has taken this one's place.
    pub(crate) async fn lost(&self) {
        let mut standing = self.claim.standing();
        while standing.changed().await.is_ok() {}
    }

    /// The agent has answered that it is still there, to the question with this serial.
    pub(crate) fn is_present(&self, serial: u64) {
        self.claim.answer(serial);
    }

    /// Looks at these networks as well.
    pub(crate) fn mark(&self, networks: impl IntoIterator<Item = NetworkId>) {
        lock(&self.changed.what).networks.extend(networks);
        self.changed.wake.notify_one();
    }
}
