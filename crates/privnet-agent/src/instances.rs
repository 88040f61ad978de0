//! The instances that this host makes: what is wanted, what is there, what the server knows of that.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use privnet_datapath::Kernel;
use privnet_model::{InstanceId, InstanceState, with_causes};
use privnet_sync::{FromAgent, InstanceFailure};
use tracing::{error, info, warn};

use crate::carried::CopyState;
use crate::copies::{ChangeNumber, Copies, Survives};

/// All instances of the host that the agent knows of.
#[derive(Debug)]
pub(crate) struct Instances {
    wanted: BTreeMap<InstanceId, Wanted>,
    removals: BTreeMap<InstanceId, Removal>,
    /// What was found of instances that nobody has told this agent about.
    unknown: Vec<InstanceState>,
    /// Whether the server has told of all, so that `unknown` is to be removed. The own copy is not enough for
    /// that: an instance may hold more than a network's ports.
    knows_all: bool,
    copy: CopyState,
    /// Of which there may be something to tell the server.
    news: BTreeSet<InstanceId>,
}

#[derive(Debug)]
struct Wanted {
    state: InstanceState,
    /// Of the message that asked for it; 0 for one of the own copy.
    serial: u64,
    /// Of the last attempt to make it.
    outcome: Option<Result<(), InstanceFailure>>,
    told: Option<Result<(), InstanceFailure>>,
}

/// An instance of which nothing shall be left.
#[derive(Debug)]
struct Removal {
    serial: u64,
    /// What was made; `None` where this agent knows of nothing.
    made: Option<InstanceState>,
    is_done: bool,
}

impl Instances {
    /// Those of the own copy.
    pub(crate) fn restored(states: Vec<InstanceState>) -> Self {
        let wanted = states.into_iter().map(|state| (state.id, Wanted::new(state, 0)));
        Self {
            wanted: wanted.collect(),
            removals: BTreeMap::new(),
            unknown: Vec::new(),
            knows_all: false,
            copy: CopyState::Durable,
            news: BTreeSet::new(),
        }
    }

    /// What the server is told to be held.
    pub(crate) fn held(&self) -> BTreeSet<InstanceId> {
        self.wanted.keys().copied().collect()
    }

    /// On a new connection the server knows nothing of what was told on the one before, and says again what it
    /// wants removed.
    pub(crate) fn forget_what_was_told(&mut self) {
        self.knows_all = false;
        for wanted in self.wanted.values_mut() {
            (wanted.serial, wanted.told) = (0, None);
        }
        self.unknown.extend(std::mem::take(&mut self.removals).into_values().filter_map(|removal| removal.made));
        self.news = self.held();
    }

    /// From now on the host shall have it.
    pub(crate) fn want(&mut self, state: InstanceState, serial: u64) {
        let id = state.id;
        let removal = self.removals.remove(&id);
        self.unknown.extend(removal.and_then(|removal| removal.made).filter(|made| *made != state));
        match self.wanted.get_mut(&id).filter(|wanted| wanted.state == state) {
            Some(wanted) => (wanted.serial, wanted.told) = (serial, None),
            None => {
                if let Some(before) = self.wanted.insert(id, Wanted::new(state, serial)) {
                    self.unknown.push(before.state);
                }
                self.copy = CopyState::Outdated;
            }
        }
        self.news.insert(id);
    }

    /// From now on the host shall have nothing of it.
    pub(crate) fn unwant(&mut self, id: InstanceId, serial: u64) {
        let made = match self.wanted.remove(&id) {
            Some(wanted) => {
                self.copy = CopyState::Outdated;
                Some(wanted.state)
            }
            None => self.removals.remove(&id).and_then(|removal| removal.made),
        };
        self.removals.insert(id, Removal { serial, made, is_done: false });
    }

    /// The server has told of all instances.
    pub(crate) fn know_all(&mut self) {
        self.knows_all = true;
    }

    /// Compares with what the kernel has. What is missing is made anew by the next [`bring_about`](Self::bring_about).
    pub(crate) fn compare(&mut self, found: Vec<InstanceState>) {
        for wanted in self.wanted.values_mut().filter(|wanted| !found.contains(&wanted.state)) {
            if wanted.outcome == Some(Ok(())) {
                warn!(instance = %wanted.state.id, netns = %wanted.state.netns, "somebody else has removed this instance");
            }
            wanted.outcome = wanted.outcome.take().filter(Result::is_err);
        }
        let is_known = |state: &InstanceState| {
            self.wanted.get(&state.id).is_some_and(|wanted| wanted.state == *state)
                || self.removals.get(&state.id).is_some_and(|removal| removal.made.as_ref() == Some(state))
        };
        self.unknown = found.into_iter().filter(|state| !is_known(state)).collect();
    }

    /// Makes what is wanted and missing, and removes what is not wanted, once none of its ports is left, as
    /// `has_ports` tells. Returns whether something was made.
    pub(crate) async fn bring_about<K: Kernel>(
        &mut self,
        kernel: &mut K,
        has_ports: impl Fn(InstanceId) -> bool,
    ) -> bool {
        self.remove_unknown(kernel, &has_ports).await;
        self.remove_unwanted(kernel, &has_ports).await;
        let mut has_made = false;
        for wanted in self.wanted.values_mut().filter(|wanted| wanted.outcome != Some(Ok(()))) {
            has_made |= wanted.make(kernel).await;
            self.news.insert(wanted.state.id);
        }
        has_made
    }

    async fn remove_unwanted<K: Kernel>(&mut self, kernel: &mut K, has_ports: impl Fn(InstanceId) -> bool) {
        for (id, removal) in &mut self.removals {
            if removal.is_done || has_ports(*id) {
                continue;
            }
            removal.is_done = match &removal.made {
                Some(state) => remove(kernel, state).await,
                None => !self.unknown.iter().any(|state| state.id == *id),
            };
            self.news.insert(*id);
        }
    }

    async fn remove_unknown<K: Kernel>(&mut self, kernel: &mut K, has_ports: impl Fn(InstanceId) -> bool) {
        if !self.knows_all {
            return;
        }
        let mut left = Vec::new();
        for state in std::mem::take(&mut self.unknown) {
            if has_ports(state.id) || !remove(kernel, &state).await {
                left.push(state);
            }
        }
        self.unknown = left;
    }

    /// Whether something waits to be removed.
    pub(crate) fn has_removals(&self) -> bool {
        self.removals.values().any(|removal| !removal.is_done)
    }

    /// Has the own copy written, if it is behind.
    pub(crate) fn save(&mut self, copies: &mut Copies) {
        if matches!(self.copy, CopyState::Outdated | CopyState::Failed) {
            let states = self.wanted.values().map(|wanted| &wanted.state);
            self.copy = CopyState::Writing(copies.save_instances(states));
        }
    }

    /// How far a change of the own copy is; a failed one is written again by the next [`save`](Self::save).
    pub(crate) fn saved(&mut self, change: ChangeNumber, outcome: std::io::Result<Survives>) {
        let is_awaited =
            matches!(self.copy, CopyState::Writing(awaited) | CopyState::Written(awaited) if awaited == change);
        if !is_awaited {
            return;
        }
        self.copy = match outcome {
            Ok(Survives::Kill) => CopyState::Written(change),
            Ok(Survives::PowerCut) => CopyState::Durable,
            Err(error) => {
                warn!(error = &error as &dyn Error, "cannot write the own copy of instances; trying again");
                CopyState::Failed
            }
        };
        self.news.extend(self.wanted.keys().chain(self.removals.keys()));
    }

    /// Whether the own copy is what is wanted, whatever happens to the host.
    pub(crate) fn is_copy_durable(&self) -> bool {
        self.copy == CopyState::Durable
    }

    /// Whether there may be something to tell the server.
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The next thing that the server does not know yet.
    pub(crate) fn tell(&mut self) -> Option<FromAgent> {
        while let Some(instance) = self.news.pop_first() {
            if !self.copy.survives_a_kill() {
                continue;
            }
            if let Some(message) = self.wanted.get_mut(&instance).and_then(Wanted::tell) {
                return Some(message);
            }
            if self.removals.get(&instance).is_some_and(|removal| removal.is_done)
                && let Some(removal) = self.removals.remove(&instance)
            {
                return Some(FromAgent::InstanceRemoved { instance, serial: removal.serial });
            }
        }
        None
    }
}

impl Wanted {
    fn new(state: InstanceState, serial: u64) -> Self {
        Self { state, serial, outcome: None, told: None }
    }

    async fn make<K: Kernel>(&mut self, kernel: &mut K) -> bool {
        let InstanceState { id, netns } = &self.state;
        let outcome = kernel
            .make_instance(&self.state)
            .await
            .map_err(|error| InstanceFailure { reason: error.reason(), message: with_causes(&error) });
        let is_new = self.outcome.as_ref() != Some(&outcome);
        match &outcome {
            Ok(()) => info!(instance = %id, %netns, "instance made"),
            Err(failure) if is_new => {
                warn!(instance = %id, %netns, failure = failure.message, "cannot make an instance; trying again");
            }
            Err(_) => {}
        }
        let is_made = outcome.is_ok();
        self.outcome = Some(outcome);
        is_made
    }

    fn tell(&mut self) -> Option<FromAgent> {
        let (instance, serial) = (self.state.id, self.serial);
        let outcome = self.outcome.clone().filter(|outcome| self.told.as_ref() != Some(outcome))?;
        self.told = Some(outcome.clone());
        Some(match outcome {
            Ok(()) => FromAgent::InstanceMade { instance, serial },
            Err(failure) => FromAgent::InstanceFailed { instance, serial, failure },
        })
    }
}

/// Removes one, and returns whether nothing is left of it.
async fn remove<K: Kernel>(kernel: &mut K, state: &InstanceState) -> bool {
    match kernel.remove_instance(state).await {
        Ok(()) => {
            info!(instance = %state.id, netns = %state.netns, "instance removed");
            true
        }
        Err(error) => {
            error!(instance = %state.id, error = &error as &dyn Error, "cannot remove an instance; trying again");
            false
        }
    }
}

#[cfg(test)]
mod tests;
