use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use privnet_model::zone::{Caller, Change, Circumstances, Command, Outcome, Zone};
use privnet_model::{Event, SignedRequest, with_causes};
use privnet_store::{NewEvents, Store, StoreError, Trouble};
use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, warn};

use super::{EngineConfig, Moment, SubmitError, WeakEngine, lock, now};
use crate::audit::{AuditLog, Origin};

/// How many commands are committed together at most.
const BATCH_MAX: usize = 256;

/// What is on its way to the writer.
#[expect(clippy::large_enum_variant, reason = "all but the last submission are commands")]
pub(super) enum Submission {
    /// To be carried out.
    Command(Task),
    /// To write down what the audit log does not have yet.
    Log,
    /// To end when all before it is done; `stopped` is dropped when the store is closed.
    Stop { stopped: oneshot::Sender<()> },
}

/// A command to carry out.
pub(super) struct Task {
    /// What the audit log tells of it; `None`: nothing.
    pub(super) origin: Option<Origin>,
    /// Who gives it.
    pub(super) caller: Caller,
    pub(super) command: Command,
    /// Who waits for its answer; `None`: nobody, it is the engine's own.
    pub(super) reply: Option<Reply>,
}

type Reply = oneshot::Sender<Answer>;

type Answer = Result<Outcome, SubmitError>;

/// Decides and commits, one batch after the other: what waits while a batch is being committed is
/// the next batch. Decides on a zone of its own, ahead of the published one by the present batch.
struct Writer {
    store: Box<dyn Store>,
    zone: Zone,
    config: EngineConfig,
    log: Arc<AuditLog>,
    engine: WeakEngine,
}

/// Starts the writer on its own thread; it ends when it is told to or the last sender is gone.
pub(super) fn spawn(
    store: Box<dyn Store>,
    zone: Zone,
    config: EngineConfig,
    log: Arc<AuditLog>,
    engine: WeakEngine,
    queue: mpsc::UnboundedReceiver<Submission>,
) {
    let writer = Writer { store, zone, config, log, engine };
    let spawned = thread::Builder::new().name("privnet-writer".to_owned()).spawn(|| writer.serve(queue));
    if let Err(cause) = spawned {
        // The queue's receiver is gone with the closure, so every submission is refused as unavailable.
        error!(%cause, "cannot start the writer thread");
    }
}

impl Writer {
    fn serve(mut self, mut queue: mpsc::UnboundedReceiver<Submission>) {
        let mut waiting = Vec::new();
        while queue.blocking_recv_many(&mut waiting, BATCH_MAX) > 0 {
            let mut batch = Vec::with_capacity(waiting.len());
            let mut stop = None;
            let mut is_log_due = false;
            for submission in waiting.drain(..) {
                match submission {
                    Submission::Command(task) => batch.push(task),
                    Submission::Log => is_log_due = true,
                    Submission::Stop { stopped } => {
                        stop = Some(stopped);
                        break;
                    }
                }
            }
            if !batch.is_empty() {
                self.run(batch);
            }
            if let Some(stopped) = stop {
                self.log.refusals().finish();
                self.write_log();
                drop((queue, self.store, stopped));
                return;
            }
            if is_log_due {
                self.log.refusals().gather(Instant::now());
                self.write_log();
            }
        }
    }

    fn run(&mut self, batch: Vec<Task>) {
        match self.commit_together(&batch) {
            Ok(answers) => reply(batch, answers),
            Err(cause) if batch.len() > 1 && may_be_one_commands_fault(&cause) => {
                // The others shall not suffer, and those that were refused because of it are decided anew.
                for task in batch {
                    self.run(vec![task]);
                }
            }
            Err(cause) => self.give_up(batch, with_causes(&cause)),
        }
    }

    /// Decides and commits a batch; on failure the zone is as before.
    fn commit_together(&mut self, batch: &[Task]) -> Result<Vec<Answer>, StoreError> {
        let mut changes: Vec<Change> = Vec::new();
        let mut accepted = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for Task { origin, caller, command, .. } in batch {
            let decision = self.decide(*caller, origin.as_ref().and_then(|origin| origin.request), command);
            answers.push(decision.map(|(decided, outcome)| {
                accepted.extend(origin.as_ref().map(|origin| origin.accepted(*caller, &outcome, now())));
                decided.iter().for_each(|change| self.zone.apply(change));
                changes.extend(decided);
                outcome
            }));
        }
        if changes.is_empty() {
            self.log.refusals().put_back(accepted);
            return Ok(answers);
        }
        if let Err(cause) = self.commit(&changes, accepted) {
            changes.into_iter().rev().for_each(|change| self.zone.apply(&change.inverse()));
            return Err(cause);
        }
        self.publish(&changes);
        Ok(answers)
    }

    /// Commits changes with the events that tell of them. Refusals that are not in the log yet go along.
    fn commit(&mut self, changes: &[Change], accepted: Vec<Event>) -> Result<(), StoreError> {
        let mut events = self.log.refusals().take();
        let refused = events.len();
        events.extend(accepted);
        let new = NewEvents { events: &events, keep: self.log.keep(Moment::now()) };
        let committed = self.store.commit_with_events(changes, &new);
        if committed.is_err() {
            events.truncate(refused);
            self.log.refusals().put_back(events);
        }
        committed
    }

    /// Writes down what the log does not have yet, and has it lose what need not be kept.
    fn write_log(&mut self) {
        if let Err(cause) = self.commit(&[], Vec::new()) {
            debug!(cause = with_causes(&cause), "the audit log takes nothing");
        }
    }

    fn decide(
        &self,
        caller: Caller,
        request: Option<SignedRequest>,
        command: &Command,
    ) -> Result<(Vec<Change>, Outcome), SubmitError> {
        let mut rng = rand::rng();
        let mut circumstances = Circumstances {
            caller,
            request,
            now: now(),
            operation_timeout: self.config.operation_timeout,
            random: &mut || rng.random(),
            makes_instances: &|host| self.engine.upgrade().is_some_and(|engine| engine.makes_instances(host)),
        };
        let decision = self.zone.decide(command, &mut circumstances)?;
        Ok((decision.changes, decision.outcome))
    }

    fn publish(&self, changes: &[Change]) {
        let Some(engine) = self.engine.upgrade() else { return };
        {
            let mut published = engine.shared.zone.write().unwrap_or_else(PoisonError::into_inner);
            changes.iter().for_each(|change| published.apply(change));
        }
        let has_failed = lock(&engine.shared.tracker).failed_at.take().is_some();
        engine.published(changes);
        if has_failed {
            // Nothing else tries again the ends that could not be kept.
            engine.settle_all();
        }
    }

    /// The store takes nothing now. An operation whose end could not be kept is followed again.
    fn give_up(&self, batch: Vec<Task>, message: String) {
        warn!(%message, "the store takes nothing");
        if let Some(engine) = self.engine.upgrade() {
            let mut tracker = lock(&engine.shared.tracker);
            tracker.failed_at = Some(Instant::now());
            for Task { command, .. } in &batch {
                if let Command::FinishOperation(id, _) = command
                    && let Some(operation) = self.zone.operation(*id)
                    && !operation.is_final()
                {
                    tracker.add(operation, &self.zone, Moment::now());
                }
            }
        }
        let answers = batch.iter().map(|_| Err(SubmitError::Unavailable(message.clone()))).collect();
        reply(batch, answers);
    }
}

/// Whether fewer changes may be taken where many were not. A database that is in use elsewhere takes none,
/// and says so only after a while.
fn may_be_one_commands_fault(cause: &StoreError) -> bool {
    !matches!(cause, StoreError::Database { trouble: Trouble::Busy, .. })
}

fn reply(batch: Vec<Task>, answers: Vec<Answer>) {
    for (Task { reply, .. }, answer) in batch.into_iter().zip(answers) {
        match (reply, answer) {
            // Who asked may have gone away; what was done stays done.
            (Some(reply), answer) => drop(reply.send(answer)),
            (None, Err(cause)) => warn!(%cause, "an operation could not be finished yet"),
            (None, Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use privnet_model::testing::founded;
    use privnet_model::zone::{CreateNetwork, RangeFields, Snapshot};
    use privnet_model::{Description, DhcpOptions, Labels, Name};
    use privnet_store::{EventQuery, EventReader, LoggedEvent};

    use crate::audit::AuditConfig;

    use super::*;

    static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);

    /// A database that another program is using.
    struct Busy;

    impl EventReader for Busy {
        fn read(&mut self, _: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError> {
            Ok(Vec::new())
        }
    }

    impl Store for Busy {
        fn load(&mut self) -> Result<Snapshot, StoreError> {
            Ok(Snapshot::default())
        }

        fn commit_with_events(&mut self, _: &[Change], _: &NewEvents<'_>) -> Result<(), StoreError> {
            ATTEMPTS.fetch_add(1, Ordering::Relaxed);
            Err(StoreError::Database { doing: "commit", trouble: Trouble::Busy, source: "database is locked".into() })
        }

        fn event_reader(&self) -> Result<Box<dyn EventReader>, StoreError> {
            Ok(Box::new(Self))
        }
    }

    #[test]
    fn a_database_in_use_is_waited_for_once_however_many_commands_wait() {
        let (sender, _queue) = mpsc::unbounded_channel();
        let engine = WeakEngine { shared: Weak::new(), submissions: sender.downgrade() };
        let mut writer = Writer {
            store: Box::new(Busy),
            zone: founded(),
            config: EngineConfig::default(),
            log: Arc::new(AuditLog::new(AuditConfig::DEFAULT, Box::new(Busy), Moment::now())),
            engine,
        };
        let create = Command::CreateNetwork(CreateNetwork {
            name: Name::try_from("n").expect("a name"),
            description: Description::default(),
            range: RangeFields::default(),
            options: DhcpOptions::default(),
            labels: Labels::new(),
        });
        let (replies, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        let task = |reply| Task { origin: None, caller: Caller::OPERATOR, command: create.clone(), reply: Some(reply) };
        writer.run(replies.into_iter().map(task).collect());
        assert_eq!(ATTEMPTS.load(Ordering::Relaxed), 1);
        for answer in answers {
            let refused = answer.blocking_recv().expect("an answer").expect_err("refused");
            assert_eq!(
                refused.to_string(),
                "cannot commit: another program is using the database, such as a server that runs on this data folder already: database is locked"
            );
        }
        assert_eq!(writer.zone, founded());
    }
}
