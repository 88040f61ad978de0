//! The zone in force: commands in, durable decisions out.
//!
//! One writer thread decides and commits ([`writer`]); everybody reads the published zone, which
//! never holds what is not durable. [`hosts`] knows which agents are connected and how far they are,
//! [`tracker`] which operations wait for them, [`pages`] what the list of networks looks like.

mod claims;
mod hosts;
mod pages;
mod records;
mod tracker;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use privnet_model::zone::{Caller, Change, Command, Outcome, Refusal, Row, Zone};
use privnet_model::{
    Carriage, Driver, HostId, Instance, InstanceId, Network, NetworkId, Operation, OperationId, OperationState,
    Timestamp,
};
use privnet_store::StoreError;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) use self::claims::{Claim, HostBusy, Newcomer, Standing};
use self::hosts::Hosts;
pub(crate) use self::hosts::{Acknowledgement, Link, Progress};
use self::pages::Pages;
pub(crate) use self::pages::{Page, fill};
pub(crate) use self::records::Records;
use self::tracker::{Topic, Tracker};
use self::writer::{Submission, Task};
use crate::audit::{AuditConfig, AuditLog, Origin};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often refusals are written to the audit log.
const LOG_TICK: Duration = Duration::from_secs(1);

/// After how many of these it is tended whether there are any or not.
const LOG_TICKS_MAX: u64 = 60;

/// How long a failed commit makes the server count as not ready, unless one succeeds before.
const UNREADY: Duration = Duration::from_secs(5);

/// How many commands of requests may wait for the writer. The engine's own and those of agents, of whom each waits
/// for one at a time, always find room: without them nothing that was begun would end.
const REQUESTED_COMMANDS_MAX: usize = 4096;

/// How an engine behaves.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// How long an operation may wait for a host that is away. Default 60 s.
    pub operation_timeout: Duration,
    /// How long after the start hosts that have not returned yet are waited for as if they were connected:
    /// longer than an agent takes to find its server again. Default 3 s.
    pub return_grace: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { operation_timeout: Duration::from_secs(60), return_grace: Duration::from_secs(3) }
    }
}

/// The zone in force. Clones share it.
#[derive(Clone)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    submissions: mpsc::UnboundedSender<Submission>,
}

/// What the writer thread and the engine's users share. Locks are taken in the order of the fields
/// and held for lookups only, never across an await or a commit.
struct Shared {
    zone: RwLock<Zone>,
    hosts: Mutex<Hosts>,
    tracker: Mutex<Tracker>,
    waiting: Mutex<HashMap<OperationId, Vec<oneshot::Sender<()>>>>,
    pages: Mutex<Pages>,
    log: Arc<AuditLog>,
    /// A place for each command of a request that may wait.
    places: Semaphore,
}

/// Why a command was not carried out. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// It is wrong, or does not fit the zone.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be made durable now; the same command may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// Too many commands wait already; the same command may succeed soon.
    #[error("more changes have been asked for than can be made now; try again")]
    Busy,
}

impl Engine {
    /// Starts on these records. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] where the audit log cannot be read.
    pub(crate) fn start(records: Records, config: EngineConfig, audit: AuditConfig) -> Result<Self, StoreError> {
        let Records { store, zone } = records;
        let EngineConfig { operation_timeout, return_grace } = config;
        let log = Arc::new(AuditLog::new(audit, store.event_reader()?, Moment::now()));
        let shared = Arc::new(Shared {
            hosts: Mutex::new(Hosts::returning(zone.hosts().map(|host| host.id))),
            tracker: Mutex::new(Tracker::new(&zone, operation_timeout, return_grace, Moment::now())),
            waiting: Mutex::default(),
            pages: Mutex::default(),
            log: Arc::clone(&log),
            places: Semaphore::new(REQUESTED_COMMANDS_MAX),
            zone: RwLock::new(zone.clone()),
        });
        let (submissions, queue) = mpsc::unbounded_channel();
        let engine = Self { shared, submissions };
        writer::spawn(store, zone, config, log, engine.downgrade(), queue);
        tokio::spawn(watch_deadlines(engine.downgrade()));
        tokio::spawn(tend_log(engine.downgrade()));
        tokio::spawn(expect_no_return(engine.downgrade(), return_grace));
        Ok(engine)
    }

    /// The zone as it is durable now. Do not hold it across an await.
    pub(crate) fn view(&self) -> impl Deref<Target = Zone> + '_ {
        self.shared.zone.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out an agent's command; what it answers is durable.
    ///
    /// # Errors
    /// [`SubmitError`] but for [`Busy`](SubmitError::Busy); nothing has changed then.
    pub(crate) async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.carry_out(None, Caller::Server, command).await
    }

    /// As [`submit`](Self::submit), for a request that the audit log tells of.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing has changed then.
    pub(crate) async fn submit_for(
        &self,
        origin: Origin,
        caller: Caller,
        command: Command,
    ) -> Result<Outcome, SubmitError> {
        // Nobody cancels this, so that it is held for as long as the command waits.
        let _place = self.shared.places.try_acquire().map_err(|_| SubmitError::Busy)?;
        self.carry_out(Some(origin), caller, command).await
    }

    async fn carry_out(
        &self,
        origin: Option<Origin>,
        caller: Caller,
        command: Command,
    ) -> Result<Outcome, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || SubmitError::Unavailable("the server is stopping; try again when it is back".to_owned());
        self.submissions
            .send(Submission::Command(Task { origin, caller, command, reply: Some(reply) }))
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// An operation when it is final, or as it is after `hold`.
    pub(crate) async fn settled(&self, operation: Arc<Operation>, hold: Duration) -> Arc<Operation> {
        if operation.is_final() {
            return operation;
        }
        let id = operation.id;
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared.waiting).entry(id).or_default().push(sender);
        // It may have ended before anybody waited; once somebody waits, its end is told.
        let has_ended = self.view().operation(id).is_none_or(|operation| operation.is_final());
        if !has_ended && !lock(&self.shared.hosts).is_closing() {
            // Either way it is looked up again.
            let _ = tokio::time::timeout(hold, receiver).await;
        }
        self.shared.prune_waiters(id);
        self.view().operation(id).cloned().unwrap_or(operation)
    }

    /// The part of the list of the caller's networks that begins with the id `from`.
    pub(crate) fn page(&self, caller: Caller, from: NetworkId) -> Page<NetworkId> {
        let zone = self.view();
        lock(&self.shared.pages).page(caller, from, &zone)
    }

    /// Whether a host's agent is connected.
    pub(crate) fn is_connected(&self, host: HostId) -> bool {
        lock(&self.shared.hosts).is_connected(host)
    }

    /// The audit log.
    pub(crate) fn log(&self) -> &Arc<AuditLog> {
        &self.shared.log
    }

    /// Whether commands can be taken: the writer runs and no commit has failed in the last seconds.
    pub(crate) fn is_ready(&self) -> bool {
        let failed_at = lock(&self.shared.tracker).failed_at;
        !self.submissions.is_closed() && failed_at.is_none_or(|at| at.elapsed() > UNREADY)
    }

    /// Carries out what has been submitted, takes nothing more, and closes the store.
    pub(crate) async fn stop(&self) {
        let (stopped, closed) = oneshot::channel();
        if self.submissions.send(Submission::Stop { stopped }).is_ok() {
            // Dropped, never used: this resolves when the store is closed.
            let _ = closed.await;
        }
    }

    /// Resolves when commands are taken no more.
    pub(crate) async fn stopped(&self) {
        self.submissions.closed().await;
    }

    /// The connections end from now on because the server does: what waits for their hosts stays pending, and
    /// nobody waits for its end.
    pub(crate) fn close(&self) {
        lock(&self.shared.hosts).close();
        lock(&self.shared.waiting).clear();
    }

    /// Waits no more for the hosts that have not returned since the start.
    fn expect_no_return(&self) {
        if lock(&self.shared.hosts).expect_none() {
            self.settle_all();
        }
    }

    fn settle_all(&self) {
        let topics = lock(&self.shared.tracker).topics();
        topics.into_iter().for_each(|topic| self.settle(topic));
    }

    /// Takes a host's agent as connected until the link is dropped; `None` where another connection has taken the
    /// claim.
    ///
    /// `instances` is what the agent says it shall make, if it makes any.
    pub(crate) fn connect(&self, host: HostId, instances: Option<&BTreeSet<InstanceId>>, claim: Claim) -> Option<Link> {
        // A claim that is dropped takes the lock.
        let connected = lock(&self.shared.hosts).connect(host, instances, claim);
        let link = connected.ok()?;
        // Whose removal it has not confirmed on an earlier connection.
        let lost = self.view().lost_instances(host);
        lost.into_iter().for_each(|instance| lock(&self.shared.hosts).mark_instance(host, instance));
        Some(link)
    }

    /// Whether a host's agent is connected and makes instances.
    pub(crate) fn makes_instances(&self, host: HostId) -> bool {
        lock(&self.shared.hosts).makes_instances(host)
    }

    /// A host has said how far it is with an instance; `None`: nothing is left of it.
    pub(crate) fn note_progress(&self, link: &Link, instance: InstanceId, progress: Option<Progress>) {
        lock(&self.shared.hosts).note_progress(link, instance, progress);
        self.settle(Topic::Instance(instance));
    }

    /// A host has reported how far it is with a network. A generation that the network has not is one that
    /// it had before these records were put in the place of newer ones, and says nothing about theirs.
    pub(crate) fn acknowledge(&self, link: &Link, network: NetworkId, acknowledgement: Acknowledgement) {
        let has_been = |present: &Arc<Network>| acknowledgement.generation <= present.generation;
        if self.view().network(network).is_some_and(has_been) {
            lock(&self.shared.hosts).acknowledge(link, network, acknowledgement);
            self.settle(Topic::Network(network));
        }
    }

    /// The link of a host is gone: nobody waits for it any more but operations on its own ports.
    fn disconnected(&self, host: HostId) {
        let networks: Vec<_> = self.view().carried_by(host).collect();
        networks.into_iter().for_each(|network| self.settle(Topic::Network(network)));
    }

    /// Tells the hosts concerned about committed changes, and finishes what needs no host.
    fn published(&self, changes: &[Change]) {
        let networks: BTreeSet<_> = changes.iter().filter_map(network_of).collect();
        lock(&self.shared.pages).outdate(changes);
        self.mark_carriers(&networks);
        let mut topics: BTreeSet<_> = networks.into_iter().map(Topic::Network).collect();
        for change in changes {
            if let Change::Instance(row) = change {
                topics.extend(row.after.as_ref().or(row.before.as_ref()).map(|instance| Topic::Instance(instance.id)));
                self.mark_hosts_of(row);
            }
        }
        for change in changes {
            if let Change::Carriage(Row { before: Some(gone), after: None }) = change {
                self.carriage_is_gone(gone);
            }
            if let Change::Host(Row { before: Some(before), .. }) = change {
                // One that was removed, or has another certificate now, loses its connection.
                lock(&self.shared.hosts).mark_host(before.id);
            }
            if let Change::Operation(row) = change
                && let Some(operation) = &row.after
            {
                if operation.is_final() {
                    self.shared.wake_waiters(operation.id);
                } else {
                    let zone = self.view();
                    topics.extend(lock(&self.shared.tracker).add(operation, &zone, Moment::now()));
                }
            }
        }
        topics.into_iter().for_each(|topic| self.settle(topic));
    }

    /// Wakes the host that loses an instance, and the one that shall make it.
    fn mark_hosts_of(&self, row: &Row<Instance>) {
        let place = |record: &Option<Arc<Instance>>| {
            record.as_ref().map(|instance| (instance.id, instance.host, instance.placement.clone(), instance.driver))
        };
        let (before, after) = (place(&row.before), place(&row.after));
        if before == after {
            return;
        }
        let mut hosts = lock(&self.shared.hosts);
        if let Some((id, host, ..)) = before {
            hosts.mark_instance(host, id);
        }
        if let Some((id, host, _, Driver::Netns)) = after {
            hosts.mark_instance(host, id);
        }
    }

    fn carriage_is_gone(&self, gone: &Carriage) {
        lock(&self.shared.hosts).forget(gone.host, gone.network);
    }

    fn mark_carriers(&self, networks: &BTreeSet<NetworkId>) {
        let zone = self.view();
        let hosts = lock(&self.shared.hosts);
        for network in networks {
            zone.carriers(*network).for_each(|host| hosts.mark(host, *network));
        }
    }

    /// Submits the final state of each operation on the network or instance that has reached one.
    fn settle(&self, topic: Topic) {
        let verdicts = {
            let zone = self.view();
            let hosts = lock(&self.shared.hosts);
            let mut tracker = lock(&self.shared.tracker);
            tracker.settle(topic, &zone, &hosts)
        };
        self.finish(verdicts);
    }

    /// Submits the end of each operation whose deadline has passed, and of those whose end could not
    /// be committed before.
    fn expire(&self, now: Instant) {
        let verdicts = {
            let zone = self.view();
            let hosts = lock(&self.shared.hosts);
            let mut tracker = lock(&self.shared.tracker);
            tracker.expire(now, &zone, &hosts)
        };
        self.finish(verdicts);
    }

    fn finish(&self, verdicts: Vec<(OperationId, OperationState)>) {
        for (operation, state) in verdicts {
            let command = Command::FinishOperation(operation, state);
            // A writer that has stopped leaves the operation pending; it is finished after the restart.
            let _ = self.submissions.send(Submission::Command(Task {
                origin: None,
                caller: Caller::Server,
                command,
                reply: None,
            }));
        }
    }

    fn downgrade(&self) -> WeakEngine {
        WeakEngine { shared: Arc::downgrade(&self.shared), submissions: self.submissions.downgrade() }
    }
}

/// An engine that does not keep itself running: the writer ends when the last [`Engine`] is dropped.
#[derive(Clone)]
struct WeakEngine {
    shared: std::sync::Weak<Shared>,
    submissions: mpsc::WeakUnboundedSender<Submission>,
}

impl WeakEngine {
    fn upgrade(&self) -> Option<Engine> {
        Some(Engine { shared: self.shared.upgrade()?, submissions: self.submissions.upgrade()? })
    }
}

impl Shared {
    /// Tells those who wait for an operation that it is final.
    fn wake_waiters(&self, id: OperationId) {
        for waiter in lock(&self.waiting).remove(&id).unwrap_or_default() {
            // One that has stopped waiting needs no word.
            let _ = waiter.send(());
        }
    }

    /// Forgets those who have stopped waiting for an operation.
    fn prune_waiters(&self, id: OperationId) {
        let mut waiting = lock(&self.waiting);
        if let Some(waiters) = waiting.get_mut(&id) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.remove(&id);
            }
        }
    }
}

async fn expect_no_return(engine: WeakEngine, after: Duration) {
    tokio::time::sleep(after).await;
    if let Some(engine) = engine.upgrade() {
        engine.expect_no_return();
    }
}

/// Has refusals written down, and what need not be kept removed also where nothing is changed.
async fn tend_log(engine: WeakEngine) {
    let mut tick = tokio::time::interval(LOG_TICK);
    for count in 0_u64.. {
        tick.tick().await;
        let Some(engine) = engine.upgrade() else { return };
        if engine.log().refusals().is_due() || count.is_multiple_of(LOG_TICKS_MAX) {
            // A writer that has stopped has written down all there was.
            let _ = engine.submissions.send(Submission::Log);
        }
    }
}

async fn watch_deadlines(engine: WeakEngine) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        match engine.upgrade() {
            Some(engine) => engine.expire(Instant::now()),
            None => return,
        }
    }
}

/// The network whose state on the hosts a change concerns.
fn network_of(change: &Change) -> Option<NetworkId> {
    match change {
        Change::Network(row) => row.after.as_ref().or(row.before.as_ref()).map(|network| network.id),
        Change::Carriage(row) => row.after.as_ref().or(row.before.as_ref()).map(|carriage| carriage.network),
        // An operation, as an organization or a key, changes nothing that a host carries; what it waits for is settled all the same.
        Change::Organization(_)
        | Change::SshKey(_)
        | Change::Invitation(_)
        | Change::Key(_)
        | Change::Operation(_)
        | Change::Port(_)
        | Change::Instance(_)
        | Change::Host(_) => None,
    }
}

/// A moment by two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The one on the wall, which somebody may set.
    pub(crate) wall: Timestamp,
    /// One that only runs.
    pub(crate) steady: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { wall: now(), steady: Instant::now() }
    }
}

pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// A panic while a lock was held has left nothing half done that a later holder could not read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
