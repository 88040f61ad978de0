pub(crate) mod reading;
mod telling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::sync::Arc;

use privnet_datapath::Kernel;
use privnet_model::{HostFacts, HostName, NetworkDelta, NetworkId, NetworkState, Vni};
use privnet_plan::{KernelNetwork, plan};
use privnet_sync::{FromAgent, FromServer, Hello, INSTANCES_SINCE, PROTOCOL_VERSION, RunId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::carried::{Carried, CopyState};
use crate::client::Event;
use crate::copies::{Copies, Found, Kept, Saved};
use crate::instances::Instances;
use crate::leases::Leases;
use crate::pass::{Outcome, carry_out};

/// What an agent knows, and what it does at each event. It waits for nothing but the kernel.
pub(crate) struct Agent<K> {
    identity: Identity,
    kernel: K,
    copies: Copies,
    leases: Arc<Leases>,
    networks: BTreeMap<NetworkId, Carried>,
    instances: Instances,
    not_held: BTreeMap<NetworkId, NotHeld>,
    /// What the kernel has of networks that nobody has told this agent about.
    unknown: BTreeMap<Vni, KernelNetwork>,
    /// Whether `networks` is all that this host shall carry, so that `unknown` is to be removed.
    knows_all: bool,
    is_copy_complete: bool,
    /// Whether it was said that everything is in place.
    is_settled: bool,
    /// Whether another version's programs still judge what comes from other hosts, and know of no change.
    is_outdated: bool,
    passes: VecDeque<NetworkId>,
    verify_at: Instant,
    /// While the kernel is read part by part, what has happened since that began.
    meanwhile: Option<Meanwhile>,
    retries: BTreeMap<NetworkId, Instant>,
    /// Networks of which there may be something to tell the server.
    news: BTreeSet<NetworkId>,
    /// Whether the server has yet to be told of another MTU of the underlay.
    has_other_mtu: bool,
    /// The version that the server speaks.
    server_protocol: u32,
    outbox: Option<mpsc::Sender<FromAgent>>,
}

/// What makes something of what is being read out of date.
#[derive(Default)]
struct Meanwhile {
    /// The networks that operations were about.
    changed: BTreeSet<Vni>,
    /// Whether this version's programs have taken the place of another one's.
    is_upgraded: bool,
}

/// Who the agent is.
pub(crate) struct Identity {
    pub(crate) host: HostName,
    pub(crate) facts: HostFacts,
    /// Of this process.
    pub(crate) run: RunId,
}

/// What the server is to be told about a network of which this agent holds nothing.
enum NotHeld {
    /// A delta has come: the full state is needed.
    Needed,
    /// The host shall not carry it. That it does not is certain only when nothing unknown is left.
    Unwanted { removal: u64 },
}

impl<K: Kernel> Agent<K> {
    /// An agent that starts from its own copy; the first [`verify`](Self::verify) finds out what the kernel has.
    pub(crate) fn new(identity: Identity, kernel: K, copies: Copies, found: Found, leases: Arc<Leases>) -> Self {
        let mut agent = Self {
            identity,
            kernel,
            copies,
            leases,
            networks: BTreeMap::new(),
            instances: Instances::restored(found.instances),
            not_held: BTreeMap::new(),
            unknown: BTreeMap::new(),
            knows_all: found.is_complete,
            is_copy_complete: found.is_complete,
            is_settled: false,
            is_outdated: false,
            passes: VecDeque::new(),
            verify_at: Instant::now(),
            meanwhile: None,
            retries: BTreeMap::new(),
            news: BTreeSet::new(),
            has_other_mtu: false,
            server_protocol: 0,
            outbox: None,
        };
        for state in found.states {
            agent.restore(state);
        }
        agent
    }

    fn restore(&mut self, state: NetworkState) {
        let id = state.id;
        self.networks.insert(id, Carried::restored(state));
        self.changed(id);
    }

    pub(crate) async fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected(outbox) => self.on_connected(outbox),
            Event::Lost => self.outbox = None,
            Event::Message(message) => self.on_message(message).await,
        }
    }

    fn on_connected(&mut self, outbox: mpsc::Sender<FromAgent>) {
        let held = self.networks.iter().filter_map(|(id, carried)| Some((*id, carried.held()?)));
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            host: self.identity.host.clone(),
            facts: self.identity.facts.clone(),
            held: held.collect(),
            instances: self.instances.held(),
            run: Some(self.identity.run),
        };
        if outbox.try_send(FromAgent::Hello(hello)).is_err() {
            debug!("the connection was gone before the Hello");
            return;
        }
        self.outbox = Some(outbox);
        self.has_other_mtu = false;
        self.not_held.clear();
        self.networks.values_mut().for_each(Carried::forget_what_was_told);
        self.instances.forget_what_was_told();
        self.news = self.networks.keys().copied().collect();
    }

    async fn on_message(&mut self, message: FromServer) {
        match message {
            FromServer::Welcome { protocol, host } => {
                info!(%host, protocol, "welcomed by the server");
                self.server_protocol = protocol;
            }
            FromServer::Full(state) => self.on_full(state),
            FromServer::Delta(delta) => self.on_delta(delta),
            FromServer::Remove { network, removal } => self.on_remove(network, removal),
            FromServer::Current => self.on_current().await,
            // Answered by the connection, so that no pass is waited for.
            FromServer::Rival { .. } => {}
            FromServer::Instance { state, serial } => {
                self.instances.want(state, serial);
                self.bring_instances_about().await;
            }
            FromServer::RemoveInstance { instance, serial } => {
                self.instances.unwant(instance, serial);
                self.bring_instances_about().await;
            }
        }
    }

    /// Makes and removes instances. What could not be plugged in without them is tried again at once.
    async fn bring_instances_about(&mut self) {
        let networks = &self.networks;
        let has_ports = |instance| networks.values().any(|carried| carried.has_port_of(instance));
        if self.instances.bring_about(&mut self.kernel, has_ports).await {
            self.queue_retries_of_arrivals();
        }
        self.instances.save(&mut self.copies);
    }

    fn queue_retries_of_arrivals(&mut self) {
        let awaits = |id: &NetworkId| {
            self.networks.get(id).and_then(Carried::last_outcome).is_some_and(Outcome::awaits_arrivals)
        };
        let due: Vec<_> = self.retries.keys().copied().filter(awaits).collect();
        for id in due {
            self.retries.remove(&id);
            self.queue(id);
        }
    }

    fn on_full(&mut self, state: NetworkState) {
        let id = state.id;
        match self.networks.get_mut(&id) {
            Some(carried) if carried.vni() != state.vni => {
                error!(network = %id, held = %carried.vni(), sent = %state.vni,
                    "a network's VNI never changes; what the server sent is ignored");
                return;
            }
            Some(carried) => {
                let generation = state.generation;
                if !carried.want(state) {
                    error!(network = %id, %generation, "the server has sent an older generation, which is ignored");
                    return;
                }
            }
            None => {
                let actual = self.take_over(state.vni);
                self.networks.insert(id, Carried::new(state, actual));
                self.not_held.remove(&id);
            }
        }
        self.changed(id);
    }

    /// What the kernel has under this VNI, which belongs to another network from now on. The next
    /// pass of that one takes the old away before it adds anything.
    fn take_over(&mut self, vni: Vni) -> KernelNetwork {
        if let Some((id, carried)) = self.networks.iter_mut().find(|(_, carried)| carried.vni() == vni) {
            let id = *id;
            let actual = std::mem::take(&mut carried.actual);
            if carried.wanted().is_some() {
                warn!(network = %id, %vni, "the server has given this network's VNI to another one");
                carried.unwant(None);
            }
            self.changed(id);
            return actual;
        }
        self.unknown.remove(&vni).unwrap_or_default()
    }

    fn on_delta(&mut self, delta: NetworkDelta) {
        let id = delta.id;
        match self.networks.get_mut(&id) {
            Some(carried) => {
                if carried.follow(delta) {
                    self.changed(id);
                } else {
                    self.news.insert(id);
                }
            }
            None => drop(self.not_held.insert(id, NotHeld::Needed)),
        }
    }

    fn on_remove(&mut self, id: NetworkId, removal: u64) {
        match self.networks.get_mut(&id) {
            Some(carried) => {
                carried.unwant(Some(removal));
                self.changed(id);
            }
            None => drop(self.not_held.insert(id, NotHeld::Unwanted { removal })),
        }
    }

    async fn on_current(&mut self) {
        self.knows_all = true;
        if self.server_protocol >= INSTANCES_SINCE {
            self.instances.know_all();
        }
        self.bring_instances_about().await;
        self.networks.values_mut().for_each(Carried::rule_out_older);
        self.complete_copy();
        info!(networks = self.networks.len(), "everything that this host shall carry is known");
        self.remove_unknown().await;
        self.settle().await;
    }

    /// What can be done, and said, only when everything is in place.
    async fn settle(&mut self) {
        self.upgrade().await;
        self.say_when_settled();
    }

    /// Tells an operator, once, that the start is over: everything was compared with the kernel, and what
    /// differed is as wanted.
    fn say_when_settled(&mut self) {
        if self.is_settled || self.is_outdated || !self.knows_all || self.has_passes() {
            return;
        }
        if self.networks.values().all(Carried::is_as_wanted) {
            self.is_settled = true;
            info!(networks = self.networks.len(), "this host carries all that it shall");
        }
    }

    /// Notes in the own copy that it is complete, as soon as it is.
    fn complete_copy(&mut self) {
        let is_durable = |carried: &Carried| carried.copy == CopyState::Durable;
        let is_durable = self.instances.is_copy_durable() && self.networks.values().all(is_durable);
        if self.knows_all && !self.is_copy_complete && is_durable {
            self.is_copy_complete = true;
            self.copies.complete();
        }
    }

    /// Something else is wanted of the network.
    fn changed(&mut self, id: NetworkId) {
        match self.networks.get(&id).and_then(Carried::wanted) {
            Some(state) => self.leases.set(state, state.mtu_on(self.identity.facts.overlay_mtu_bytes())),
            None => self.leases.remove(id),
        }
        self.queue(id);
    }

    fn queue(&mut self, id: NetworkId) {
        if let Some(carried) = self.networks.get_mut(&id)
            && !std::mem::replace(&mut carried.is_queued, true)
        {
            self.passes.push_back(id);
        }
    }

    pub(crate) fn on_saved(&mut self, saved: Saved) {
        let Saved { what, change, outcome } = saved;
        self.is_copy_complete &= outcome.is_ok();
        let Kept::Network(network) = what else {
            self.instances.saved(change, outcome);
            return self.complete_copy();
        };
        // Another change is on its way when something else is wanted by now.
        let Some(carried) = self.networks.get_mut(&network).filter(|carried| carried.awaits(change)) else { return };
        match outcome {
            Ok(survives) => {
                carried.copy_survives(change, survives);
                self.complete_copy();
            }
            Err(error) => {
                warn!(%network, error = &error as &dyn Error, "cannot write the own copy; trying again");
                carried.copy = CopyState::Failed;
                self.retry_later(network);
            }
        }
        self.news.insert(network);
    }

    fn retry_later(&mut self, id: NetworkId) {
        if let Some(carried) = self.networks.get_mut(&id) {
            self.retries.insert(id, Instant::now() + carried.retry_after());
        }
    }

    /// When the next retry is due, if something has failed.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retries.values().min().copied()
    }

    /// Queues what is due by now.
    pub(crate) fn queue_retries(&mut self, now: Instant) {
        let due: Vec<_> = self.retries.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.retries.remove(&id);
            self.queue(id);
        }
    }

    pub(crate) fn has_passes(&self) -> bool {
        !self.passes.is_empty()
    }

    /// Brings the network that has waited longest to where it shall be.
    pub(crate) async fn pass(&mut self) {
        let Some(id) = self.passes.pop_front() else { return };
        let Some(carried) = self.networks.get_mut(&id) else { return };
        carried.is_queued = false;
        if matches!(carried.copy, CopyState::Outdated | CopyState::Failed) {
            let change = match carried.wanted() {
                Some(state) => self.copies.save(state),
                None => self.copies.remove(id),
            };
            carried.copy_is_being_written(change);
        }
        let wanted = carried.wanted_kernel(self.identity.facts.overlay_mtu_bytes());
        let plan = plan(carried.vni(), &wanted, &carried.actual);
        let outcome = carry_out(&mut self.kernel, plan, &mut carried.actual).await;
        log_outcome(id, carried, &outcome);
        let vni = carried.vni();
        let is_success = outcome.is_success();
        carried.finish(outcome);
        if carried.is_gone_unseen() {
            // The server gives the VNI to another network once this one's removal is confirmed.
            self.verify_at = Instant::now();
        }
        self.note_change(vni);
        if self.instances.has_removals() {
            self.bring_instances_about().await;
        }
        self.retries.remove(&id);
        if !is_success {
            self.retry_later(id);
        }
        self.news.insert(id);
        self.settle().await;
    }

    /// Lets this version's programs judge what comes from other hosts, as soon as no network would miss
    /// anything. One that cannot be brought to what is wanted holds up no other.
    async fn upgrade(&mut self) {
        if !self.is_outdated || !self.knows_all || self.has_passes() {
            return;
        }
        match self.kernel.upgrade().await {
            Ok(()) => {
                self.is_outdated = false;
                self.meanwhile.iter_mut().for_each(|meanwhile| meanwhile.is_upgraded = true);
                info!("this version's programs have taken the place of another one's");
            }
            Err(error) => {
                warn!(error = &error as &dyn Error, "cannot replace another version's programs; trying again")
            }
        }
    }
}

/// Says what a pass has done, and what it could not do unless the one before said the same.
fn log_outcome(network: NetworkId, carried: &Carried, outcome: &Outcome) {
    let vni = carried.vni();
    for op in &outcome.done {
        if carried.has_drifted() {
            warn!(%network, %vni, %op, "repaired");
        } else {
            debug!(%network, %vni, %op, "done");
        }
    }
    let last = carried.last_outcome();
    for failure in outcome.messages().filter(|failure| !last.is_some_and(|last| last.messages().any(|m| m == *failure)))
    {
        warn!(%network, %vni, failure, "not as wanted; trying again");
    }
    if !outcome.done.is_empty() {
        let generation = carried.wanted_generation().map(|generation| generation.0);
        info!(%network, %vni, generation, operations = outcome.done.len(), "network brought to what is wanted");
    }
}
