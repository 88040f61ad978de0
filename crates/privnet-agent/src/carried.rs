use std::error::Error;
use std::time::Duration;

use privnet_model::{Generation, InstanceId, NetworkDelta, NetworkId, NetworkState, Vni};
use privnet_plan::{KernelNetwork, wanted_kernel_network};
use privnet_sync::{FromAgent, PortFailure};
use tracing::info;

use crate::backoff::Backoff;
use crate::copies::{ChangeNumber, Survives};
use crate::pass::{ARRIVAL_RETRY, Outcome};

/// Repairs of one network that wait to be told; while the server is away, those beyond are only logged.
const REPAIRED_MAX: usize = 100;

/// One network of this host: what is wanted of it, what the kernel has of it, what the server knows of that.
///
/// When what is wanted changes, three things lag behind: the kernel, until a pass; the own copy,
/// until it is written; the server, which is told when the other two have caught up.
#[derive(Debug)]
pub(crate) struct Carried {
    id: NetworkId,
    vni: Vni,
    wanted: Option<NetworkState>,
    /// The server's number of the removal, when it wants the network removed and waits for an answer.
    removal: Option<u64>,
    /// What the operations that succeeded have left, or what was last read from the kernel.
    pub(crate) actual: KernelNetwork,
    /// Whether nothing but somebody else's doing can make the kernel differ from `actual`.
    is_certain: bool,
    /// Whether the next pass puts right what somebody else has changed.
    has_drifted: bool,
    /// Whether the kernel, when last read, had nothing of it after everything was removed.
    is_seen_gone: bool,
    pub(crate) is_queued: bool,
    pub(crate) copy: CopyState,
    backoff: Backoff,
    /// Of the last pass towards what is wanted now.
    outcome: Option<Outcome>,
    full: FullState,
    /// Whether the server has yet to say, on this connection, what it wants: that holds even if it is older.
    may_go_back: bool,
    /// What was put right and the server does not know of.
    repaired: Vec<String>,
    told: Option<(Generation, Vec<PortFailure>)>,
}

/// How far the own copy of what is wanted is. Outdated -> Writing at the next pass; Writing -> Written
/// -> Durable as the writer gets on, or -> Failed; Failed -> Writing at the next attempt; any ->
/// Outdated when something else is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyState {
    Outdated,
    Writing(ChangeNumber),
    /// It survives this agent.
    Written(ChangeNumber),
    /// It survives a power cut.
    Durable,
    Failed,
}

/// Whether a delta did not fit. Fits -> Needed at such a delta; Needed -> Asked when the server is
/// told; any -> Fits when the server has sent something that fits, or learns from a new Hello what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FullState {
    Fits,
    Needed,
    Asked,
}

impl Carried {
    /// A network that the agent was just told of.
    pub(crate) fn new(state: NetworkState, actual: KernelNetwork) -> Self {
        Self::with_copy(state, actual, CopyState::Outdated)
    }

    /// A network from the own copy. What the kernel has of it is not known yet.
    pub(crate) fn restored(state: NetworkState) -> Self {
        Self { is_certain: false, ..Self::with_copy(state, KernelNetwork::default(), CopyState::Durable) }
    }

    fn with_copy(state: NetworkState, actual: KernelNetwork, copy: CopyState) -> Self {
        Self {
            id: state.id,
            vni: state.vni,
            wanted: Some(state),
            removal: None,
            actual,
            is_certain: true,
            has_drifted: false,
            is_seen_gone: false,
            is_queued: false,
            copy,
            backoff: Outcome::backoff(),
            outcome: None,
            full: FullState::Fits,
            may_go_back: false,
            repaired: Vec::new(),
            told: None,
        }
    }

    pub(crate) fn vni(&self) -> Vni {
        self.vni
    }

    /// `None`: the host shall carry nothing of it.
    pub(crate) fn wanted(&self) -> Option<&NetworkState> {
        self.wanted.as_ref()
    }

    pub(crate) fn wanted_generation(&self) -> Option<Generation> {
        self.wanted.as_ref().map(|state| state.generation)
    }

    /// Whether a port of the instance is here, or shall be.
    pub(crate) fn has_port_of(&self, instance: InstanceId) -> bool {
        let mut wanted = self.wanted.iter().flat_map(NetworkState::local_ports);
        let mut actual = self.actual.ports.values();
        wanted.any(|(_, port)| port.instance == instance) || actual.any(|port| port.spec.instance == instance)
    }

    /// What the server is told to be held. A state of an older server's lacks what this one may say: it is asked
    /// for anew as if nothing were held.
    pub(crate) fn held(&self) -> Option<Generation> {
        let state = self.wanted.as_ref()?;
        Some(state.mtu_bytes.map_or(Generation(0), |_| state.generation))
    }

    /// What the kernel shall hold of it, where the host's own overlay has this MTU.
    pub(crate) fn wanted_kernel(&self, overlay_mtu_bytes: u32) -> KernelNetwork {
        let state = self.wanted.as_ref();
        state.map_or_else(KernelNetwork::default, |state| wanted_kernel_network(state, overlay_mtu_bytes))
    }

    /// From now on this is wanted, unless it is older than what is wanted already: on one connection the
    /// server never goes back. Returns whether it is wanted.
    ///
    /// From one connection to the next it may, when its records were replaced by a backup of them. What was
    /// lost with the later ones is nobody's wish any more, and all hosts must agree on what is left.
    pub(crate) fn want(&mut self, state: NetworkState) -> bool {
        let is_wanted = self.may_go_back || Some(state.generation) >= self.wanted_generation();
        if is_wanted {
            self.wanted = Some(state);
            self.something_else_is_wanted();
        }
        is_wanted
    }

    /// From now on the host shall carry nothing of it. The server waits for the answer to `removal`, if any.
    pub(crate) fn unwant(&mut self, removal: Option<u64>) {
        self.wanted = None;
        self.something_else_is_wanted();
        self.removal = removal;
    }

    /// From now on something else is wanted, if the delta fits; otherwise the full state is needed.
    pub(crate) fn follow(&mut self, delta: NetworkDelta) -> bool {
        let leads_on = Some(delta.generation) > self.wanted_generation();
        let fits = match self.wanted.as_mut().filter(|_| leads_on).map(|state| state.apply(delta)) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                info!(network = %self.id, error = &error as &dyn Error, "the full state is needed");
                false
            }
            None => false,
        };
        if fits {
            self.something_else_is_wanted();
        } else if self.full == FullState::Fits {
            self.full = FullState::Needed;
        }
        fits
    }

    fn something_else_is_wanted(&mut self) {
        self.may_go_back = false;
        self.full = FullState::Fits;
        self.removal = None;
        self.is_seen_gone = false;
        self.copy = CopyState::Outdated;
        self.outcome = None;
        self.backoff.reset();
    }

    /// A pass towards what is wanted now has ended.
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        if std::mem::take(&mut self.has_drifted) {
            self.repaired.extend_from_slice(&outcome.done);
            self.repaired.truncate(REPAIRED_MAX);
        }
        self.is_certain = outcome.is_success();
        self.outcome = Some(outcome);
        self.rest_if_settled();
    }

    /// The writer waits for nothing else of this network than this change.
    pub(crate) fn copy_is_being_written(&mut self, change: ChangeNumber) {
        self.copy = CopyState::Writing(change);
    }

    /// Whether this change of the own copy is the one that leads to what is wanted now.
    pub(crate) fn awaits(&self, change: ChangeNumber) -> bool {
        matches!(self.copy, CopyState::Writing(awaited) | CopyState::Written(awaited) if awaited == change)
    }

    /// The own copy of what is wanted now survives that.
    pub(crate) fn copy_survives(&mut self, change: ChangeNumber, what: Survives) {
        self.copy = match what {
            Survives::Kill => CopyState::Written(change),
            Survives::PowerCut => CopyState::Durable,
        };
        self.rest_if_settled();
    }

    /// Whatever fails next is tried again soon.
    fn rest_if_settled(&mut self) {
        if self.copy == CopyState::Durable && self.is_as_wanted() {
            self.backoff.reset();
        }
    }

    /// Whether the last pass towards what is wanted now has brought it there.
    pub(crate) fn is_as_wanted(&self) -> bool {
        self.outcome.as_ref().is_some_and(Outcome::is_success)
    }

    /// How long to wait before what has failed is tried again.
    pub(crate) fn retry_after(&mut self) -> Duration {
        let is_copy_fine = self.copy != CopyState::Failed;
        match &self.outcome {
            Some(outcome) if is_copy_fine && outcome.awaits_arrivals() => ARRIVAL_RETRY,
            _ => self.backoff.next(),
        }
    }

    pub(crate) fn last_outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// On a new connection the server may know nothing of what was told on the one before.
    pub(crate) fn forget_what_was_told(&mut self) {
        self.told = None;
        self.may_go_back = true;
        // The server has seen in the Hello what is held here, and names again what it wants removed.
        self.full = FullState::Fits;
        self.removal = None;
    }

    /// The server has said on this connection what it wants, even if that was nothing new.
    pub(crate) fn rule_out_older(&mut self) {
        self.may_go_back = false;
    }

    /// The next thing that the server does not know yet.
    pub(crate) fn tell(&mut self) -> Option<FromAgent> {
        let network = self.id;
        if self.full == FullState::Needed {
            self.full = FullState::Asked;
            return Some(FromAgent::NeedFull { network });
        }
        if !self.repaired.is_empty() {
            return Some(FromAgent::Repaired { network, what: std::mem::take(&mut self.repaired) });
        }
        match &self.wanted {
            Some(state) => self.tell_applied(state.generation),
            None => self.removal.filter(|_| self.is_gone()).map(|removal| FromAgent::Removed { network, removal }),
        }
    }

    /// Whether nothing is left of it in the kernel, or in the own copy whatever happens to the host.
    pub(crate) fn is_gone(&self) -> bool {
        self.copy == CopyState::Durable && self.is_seen_gone
    }

    /// Whether nothing is left of it but that the kernel has not been read since.
    pub(crate) fn is_gone_unseen(&self) -> bool {
        self.wanted.is_none() && self.actual.is_empty() && self.outcome.is_some() && !self.is_seen_gone
    }

    /// The kernel has this of the network. Returns whether somebody else has changed it.
    pub(crate) fn compare(&mut self, found: KernelNetwork) -> bool {
        let was_certain = std::mem::replace(&mut self.is_certain, true);
        let has_drifted = was_certain && self.actual != found;
        self.has_drifted |= has_drifted;
        self.is_seen_gone = self.wanted.is_none() && self.outcome.is_some() && found.is_empty();
        self.actual = found;
        has_drifted
    }

    pub(crate) fn has_drifted(&self) -> bool {
        self.has_drifted
    }

    fn tell_applied(&mut self, generation: Generation) -> Option<FromAgent> {
        let outcome = self.outcome.as_ref().filter(|outcome| outcome.has_reached_generation())?;
        let failures: Vec<_> = outcome.failures.values().cloned().collect();
        let news = Some((generation, failures.clone()));
        if self.told == news || !self.is_safe_to_acknowledge() {
            return None;
        }
        self.told = news;
        Some(FromAgent::Applied { network: self.id, generation, failures })
    }

    /// The server's store is what survives for certain; the own copy only serves starts without the server.
    /// An agent that is killed and starts from an older copy would take away what is acknowledged and works
    /// (invariant 8), so the copy is written first, beside the pass. Its fsync is not waited for: only a
    /// host that loses its power within these milliseconds and comes back before the server is behind by
    /// this change, as it is by all that changed while it was off, and the server makes up for it. Nor is a
    /// disk that fails waited for: frames flow, and that is what the server asks about.
    ///
    /// A removal is different, see [`is_gone`](Self::is_gone): the VNI may be another network's soon.
    fn is_safe_to_acknowledge(&self) -> bool {
        self.copy.survives_a_kill()
    }
}

impl CopyState {
    /// Whether an agent that is killed finds what is wanted again, or a disk that fails is not waited for.
    pub(crate) fn survives_a_kill(self) -> bool {
        match self {
            Self::Outdated | Self::Writing(_) => false,
            Self::Written(_) | Self::Durable | Self::Failed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use privnet_model::{MacAddr, Reason};

    use super::*;

    const CHANGE: ChangeNumber = ChangeNumber(7);

    fn state(generation: u64) -> NetworkState {
        NetworkState {
            id: NetworkId::from_bytes([1; 16]),
            vni: Vni::from_random(1),
            generation: Generation(generation),
            mtu_bytes: None,
            dhcp: None,
            members: BTreeMap::new(),
        }
    }

    /// What it has to tell after its pass, when the own copy is so.
    fn told_when(mut carried: Carried, copy: CopyState) -> Option<FromAgent> {
        carried.finish(Outcome::default());
        carried.compare(KernelNetwork::default());
        carried.copy = copy;
        carried.tell()
    }

    #[test]
    fn nothing_is_acknowledged_that_a_killed_agent_would_forget() {
        let applied = FromAgent::Applied { network: state(1).id, generation: Generation(1), failures: vec![] };
        for (copy, expected) in [
            (CopyState::Outdated, None),
            (CopyState::Writing(CHANGE), None),
            (CopyState::Written(CHANGE), Some(&applied)),
            (CopyState::Durable, Some(&applied)),
            (CopyState::Failed, Some(&applied)),
        ] {
            let carried = Carried::new(state(1), KernelNetwork::default());
            assert_eq!(told_when(carried, copy).as_ref(), expected, "{copy:?}");
        }
    }

    #[test]
    fn a_workload_that_has_not_arrived_is_looked_for_as_often_as_at_first_and_other_failures_ever_more_seldom() {
        let longest_wait_after = |reason| {
            let mut carried = Carried::new(state(1), KernelNetwork::default());
            let mac = MacAddr::for_port([1; 5]);
            let failure = || PortFailure { mac, reason, message: String::new() };
            let wait = || {
                carried.finish(Outcome { failures: [(mac, failure())].into(), ..Outcome::default() });
                carried.retry_after()
            };
            std::iter::repeat_with(wait).take(20).max()
        };
        assert_eq!(longest_wait_after(Reason::NotFound), Some(ARRIVAL_RETRY));
        assert_eq!(longest_wait_after(Reason::Conflict), Some(ARRIVAL_RETRY));
        assert!(longest_wait_after(Reason::Fault) > Some(4 * ARRIVAL_RETRY));
    }

    #[test]
    fn no_removal_is_confirmed_that_a_power_cut_would_undo() {
        let removed = FromAgent::Removed { network: state(1).id, removal: 3 };
        for (copy, expected) in [
            (CopyState::Outdated, None),
            (CopyState::Writing(CHANGE), None),
            (CopyState::Written(CHANGE), None),
            (CopyState::Failed, None),
            (CopyState::Durable, Some(&removed)),
        ] {
            let mut carried = Carried::new(state(1), KernelNetwork::default());
            carried.unwant(Some(3));
            assert_eq!(told_when(carried, copy).as_ref(), expected, "{copy:?}");
        }
    }
}
