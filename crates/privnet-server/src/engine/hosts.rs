use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use privnet_model::{Generation, HostId, HostName, NetworkId};
use privnet_sync::PortFailure;
use tokio::sync::Notify;

use super::{Engine, lock};

/// The hosts whose agents are connected, and how far each is.
#[derive(Default)]
pub(crate) struct Hosts {
    claimed: HashSet<HostName>,
    sessions: HashMap<HostId, Session>,
    /// Those that may have been connected when the server stopped, and have not been since.
    returning: HashSet<HostId>,
    /// Whether connections end because the server does.
    is_closing: bool,
}

struct Session {
    acknowledged: HashMap<NetworkId, Acknowledgement>,
    changed: Arc<Changed>,
}

/// The networks of a host that have changed since its agent was last told. Bounded by the number of
/// its networks, however far the agent lags behind.
#[derive(Default)]
struct Changed {
    networks: Mutex<BTreeSet<NetworkId>>,
    wake: Notify,
}

/// How far a host is with a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    /// What it has applied.
    pub generation: Generation,
    /// But for these ports.
    pub failures: Vec<PortFailure>,
}

/// Another agent is connected for the same host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostBusy;

/// The right to be a host's only agent, until it is dropped.
pub(crate) struct Claim {
    name: HostName,
    /// Once the agent is connected.
    host: Option<HostId>,
    engine: Engine,
}

/// A host's connection. Dropping it says that the agent is gone.
pub(crate) struct Link {
    host: HostId,
    changed: Arc<Changed>,
    _claim: Claim,
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

    pub(super) fn claim(&mut self, name: HostName, engine: &Engine) -> Result<Claim, HostBusy> {
        if self.claimed.insert(name.clone()) {
            Ok(Claim { name, host: None, engine: engine.clone() })
        } else {
            Err(HostBusy)
        }
    }

    pub(super) fn connect(&mut self, host: HostId, mut claim: Claim) -> Link {
        let changed = Arc::<Changed>::default();
        self.sessions.insert(host, Session { acknowledged: HashMap::new(), changed: Arc::clone(&changed) });
        self.returning.remove(&host);
        claim.host = Some(host);
        Link { host, changed, _claim: claim }
    }

    pub(super) fn is_connected(&self, host: HostId) -> bool {
        self.sessions.contains_key(&host)
    }

    /// Whether a host is connected, or is about to be after the server was away.
    pub(super) fn is_waited_for(&self, host: HostId) -> bool {
        self.is_connected(host) || self.returning.contains(&host)
    }

    pub(super) fn acknowledge(&mut self, host: HostId, network: NetworkId, acknowledgement: Acknowledgement) {
        if let Some(session) = self.sessions.get_mut(&host) {
            session.acknowledged.insert(network, acknowledgement);
        }
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

    /// Wakes a host's link, if there is one, to look at a network.
    pub(super) fn mark(&self, host: HostId, network: NetworkId) {
        if let Some(session) = self.sessions.get(&host) {
            lock(&session.changed.networks).insert(network);
            session.changed.wake.notify_one();
        }
    }
}

impl Link {
    /// The host.
    pub(crate) fn host(&self) -> HostId {
        self.host
    }

    /// The networks to look at, when there are any. Each is returned once for any number of changes.
    pub(crate) async fn changed(&self) -> BTreeSet<NetworkId> {
        loop {
            let networks = std::mem::take(&mut *lock(&self.changed.networks));
            if !networks.is_empty() {
                return networks;
            }
            self.changed.wake.notified().await;
        }
    }

    /// Looks at these networks as well.
    pub(crate) fn mark(&self, networks: impl IntoIterator<Item = NetworkId>) {
        lock(&self.changed.networks).extend(networks);
        self.changed.wake.notify_one();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut hosts = lock(&self.engine.shared.hosts);
        if hosts.is_closing {
            return;
        }
        hosts.claimed.remove(&self.name);
        if let Some(host) = self.host {
            hosts.sessions.remove(&host);
            drop(hosts);
            self.engine.disconnected(host);
        }
    }
}
