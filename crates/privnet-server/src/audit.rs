//! What the audit log is told: each change with the commit that makes it, and refusals when there is time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use privnet_api::Endpoint;
use privnet_model::zone::{Caller, Outcome};
use privnet_model::{Event, EventText, KeyId, OrganizationId, Scope, SignedRequest, Timestamp};
use privnet_store::{EventQuery, EventReader, Keep, LoggedEvent, StoreError};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::admission::Client;
use crate::engine::Moment;

/// For how long refusals that are alike are gathered into one event.
const GATHERED_FOR: Duration = Duration::from_secs(60);

/// How many kinds of refusals are told apart at a time; all others count as one kind. So a minute of refusals,
/// however many, is twice as many events at most, and two more.
const KINDS_MAX: usize = 1024;

/// How many read the log at a time: one from the disk, and one who is next. Each keeps a thread.
const READERS_MAX: usize = 2;

/// How many more may wait for that.
const READERS_WAITING_MAX: usize = 64;

/// How far the clock may be set while events are removed by their age: more than it is corrected by, and less than
/// anything that is kept for days suffers from.
const CLOCK_MOVES_MAX: Duration = Duration::from_secs(3600);

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditConfig {
    /// For how long. Default 90 days.
    pub age_max: Duration,
    /// How many events in all, at least 1; of too many, the oldest go of whoever has most. Default 1,000,000, which take some 200 MB.
    pub events_max: u64,
}

impl AuditConfig {
    /// What holds where nobody says otherwise.
    pub const DEFAULT: Self = Self { age_max: Duration::from_secs(90 * 86_400), events_max: 1_000_000 };
}

/// A request, as far as the log tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    source: IpAddr,
    call: &'static str,
    path: EventText,
    /// Whether it is about what organizations share.
    is_shared: bool,
    /// The status of success.
    status: u16,
    /// What was signed.
    pub(crate) request: Option<SignedRequest>,
}

impl Origin {
    pub(crate) fn new(source: IpAddr, endpoint: &Endpoint, path: &str) -> Self {
        // Not of the path as it was sent, which may spell the same in another way.
        let is_shared = !endpoint.path.starts_with("/v2/");
        Self {
            source,
            call: endpoint.id,
            path: EventText::cut(path),
            is_shared,
            status: endpoint.status,
            request: None,
        }
    }

    /// What an agent asks for, by the name of the method in the sync protocol.
    pub(crate) fn of_agent(source: IpAddr, call: &'static str, method: &str) -> Self {
        let path = EventText::cut(&format!("/privnet.sync.v1.Sync/{method}"));
        Self { source, call, path, is_shared: true, status: 200, request: None }
    }

    /// The request has been carried out.
    pub(crate) fn accepted(&self, caller: Caller, outcome: &Outcome, now: Timestamp) -> Event {
        let operation = match outcome {
            Outcome::Operation(operation) => Some(operation.id),
            _ => None,
        };
        Event { operation, ..self.event(Some(caller), self.status, now) }
    }

    /// The request has been refused; nobody knows who asked where there is no caller.
    pub(crate) fn refused(&self, caller: Option<Caller>, status: u16, message: &str, now: Timestamp) -> Event {
        Event { message: Some(EventText::cut(message)), ..self.event(caller, status, now) }
    }

    fn event(&self, caller: Option<Caller>, status: u16, at: Timestamp) -> Event {
        Event {
            at,
            source: self.source,
            key: caller.and_then(|caller| caller.key()),
            organization: caller.and_then(|caller| self.reader(caller)),
            call: self.call.into(),
            path: self.path.clone(),
            status,
            operation: None,
            message: None,
            times: NonZeroU32::MIN,
        }
    }

    /// The organization that may read of it. What an operator does to what organizations share concerns none.
    fn reader(&self, caller: Caller) -> Option<OrganizationId> {
        match caller {
            Caller::Client { scope: Scope::Operator, .. } | Caller::Server if self.is_shared => None,
            _ => Some(caller.organization()),
        }
    }
}

/// Whether the clock on the wall has moved by much more or less than the steady one.
fn was_set(started: Moment, now: Moment) -> bool {
    let steady_ms = u64::try_from(now.steady.duration_since(started.steady).as_millis()).unwrap_or(u64::MAX);
    let expected_ms = started.wall.unix_ms.saturating_add(steady_ms);
    expected_ms.abs_diff(now.wall.unix_ms) > CLOCK_MOVES_MAX.as_millis() as u64
}

/// The log: what is on its way to it, and who reads it.
pub(crate) struct AuditLog {
    config: AuditConfig,
    started: Moment,
    /// Whether somebody was told that events are not removed by their age.
    has_warned: AtomicBool,
    refusals: Mutex<Refusals>,
    reader: Mutex<Box<dyn EventReader>>,
    /// A place for each who reads.
    reading: Semaphore,
    /// A place for each who reads or waits for that.
    asking: Semaphore,
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Too many wait already.
    #[error("too many read the audit log now; try again")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuditLog {
    pub(crate) fn new(config: AuditConfig, reader: Box<dyn EventReader>, started: Moment) -> Self {
        Self {
            config,
            started,
            has_warned: AtomicBool::new(false),
            refusals: Mutex::default(),
            reader: Mutex::new(reader),
            reading: Semaphore::new(READERS_MAX),
            asking: Semaphore::new(READERS_MAX + READERS_WAITING_MAX),
        }
    }

    /// What is kept at this moment: nothing is too old while the clock may be wrong.
    pub(crate) fn keep(&self, now: Moment) -> Keep {
        let was_set = was_set(self.started, now);
        if was_set && !self.has_warned.swap(true, Ordering::Relaxed) {
            warn!("the clock was set since the start: until the next one, the audit log loses no event for its age");
        }
        let age_ms = u64::try_from(self.config.age_max.as_millis()).unwrap_or(u64::MAX);
        let since_ms = if was_set { 0 } else { now.wall.unix_ms.saturating_sub(age_ms) };
        Keep { since: Timestamp::from_unix_ms(since_ms), count_max: self.config.events_max }
    }

    /// Takes note of a refusal; it is in the log some time later.
    pub(crate) fn refused(&self, event: Event) {
        self.refusals().add(event, Instant::now());
    }

    /// The events that somebody asks for, read by a thread that may wait for the disk.
    ///
    /// # Errors
    /// [`ReadError`]
    pub(crate) async fn read(self: &Arc<Self>, query: EventQuery) -> Result<Vec<LoggedEvent>, ReadError> {
        // Requests are answered in tasks that nobody cancels, so that both are held until the thread is done.
        let _asking = self.asking.try_acquire().map_err(|_| ReadError::Busy)?;
        let _reading = self.reading.acquire().await.expect("it is never closed");
        let log = Arc::clone(self);
        let read = move || log.reader.lock().unwrap_or_else(PoisonError::into_inner).read(&query);
        // Nobody cancels it, so where it has not ended it has panicked.
        let read = tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        Ok(read?)
    }

    pub(crate) fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusals that are not in the log yet.
#[derive(Default)]
pub(crate) struct Refusals {
    due: Vec<Event>,
    /// By kind; `None` is all of those that are too many.
    gathered: HashMap<Option<Kind>, Gathered>,
}

/// What refusals have in common that are alike.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    client: Client,
    key: Option<KeyId>,
    call: Cow<'static, str>,
    status: u16,
}

/// The refusals of a kind since the last that was told.
struct Gathered {
    since: Instant,
    last: Option<Event>,
    times: u32,
}

impl Refusals {
    /// The first of a kind is due at once; those that are like it later, together.
    fn add(&mut self, event: Event, now: Instant) {
        let kind = Kind { client: event.source.into(), key: event.key, call: event.call.clone(), status: event.status };
        let mut kind = Some(kind);
        if self.gathered.len() >= KINDS_MAX && !self.gathered.contains_key(&kind) {
            kind = None;
        }
        match self.gathered.entry(kind) {
            Entry::Vacant(first) => {
                first.insert(Gathered { since: now, last: None, times: 0 });
                self.due.push(event);
            }
            Entry::Occupied(mut others) => {
                let others = others.get_mut();
                others.times = others.times.saturating_add(1);
                others.last = Some(event);
            }
        }
    }

    /// Whether there is something for the log.
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes what is due.
    pub(crate) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.due)
    }

    /// Puts back what the log did not take.
    pub(crate) fn put_back(&mut self, mut events: Vec<Event>) {
        events.append(&mut self.due);
        self.due = events;
    }

    /// Has due what has been gathered for long enough. As long as the log takes nothing, it goes on to be gathered.
    pub(crate) fn gather(&mut self, now: Instant) {
        if self.due.len() > KINDS_MAX {
            return;
        }
        let due = &mut self.due;
        self.gathered.retain(|_, gathered| {
            if now.duration_since(gathered.since) < GATHERED_FOR {
                return true;
            }
            let told = gathered.take();
            let is_seen_again = told.is_some();
            gathered.since = now;
            due.extend(told);
            is_seen_again
        });
    }

    /// Has due what there is.
    pub(crate) fn finish(&mut self) {
        self.due.extend(self.gathered.drain().filter_map(|(_, mut gathered)| gathered.take()));
    }
}

impl Gathered {
    /// The last of them, in the name of all.
    fn take(&mut self) -> Option<Event> {
        let times = NonZeroU32::new(std::mem::take(&mut self.times))?;
        Some(Event { times, ..self.last.take()? })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    use super::*;

    /// A log on a disk that waits until the test lets it go on.
    struct Slow(mpsc::Receiver<()>);

    impl EventReader for Slow {
        fn read(&mut self, _: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError> {
            // A test that has ended waits for nothing.
            let _ = self.0.recv();
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn few_read_at_a_time_and_those_who_wait_are_limited() {
        let (go_on, slow) = mpsc::channel();
        let log = Arc::new(AuditLog::new(AuditConfig::DEFAULT, Box::new(Slow(slow)), Moment::now()));
        let at = Timestamp::from_unix_ms(0);
        let query = EventQuery { from: at, to: at, organization: None, key: None, before: None, count_max: 1 };
        let read = || {
            let (log, query) = (Arc::clone(&log), query.clone());
            async move { log.read(query).await }
        };
        let asked_max = READERS_MAX + READERS_WAITING_MAX;
        let asked: Vec<_> = (0..asked_max).map(|_| tokio::spawn(read())).collect();
        for _ in &asked {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&log), 1 + asked_max + READERS_MAX, "each thread has the log, as has each task");
        let one_more = tokio::time::timeout(Duration::ZERO, read()).await;
        assert!(matches!(one_more, Ok(Err(ReadError::Busy))), "{one_more:?}");
        drop(go_on);
        for read in asked {
            assert_eq!(read.await.expect("no panic").expect("read"), []);
        }
    }

    fn refusal(at_ms: u64, host: u8, status: u16) -> Event {
        Event {
            at: Timestamp::from_unix_ms(at_ms),
            source: [192, 0, 2, host].into(),
            key: None,
            organization: None,
            call: "create-private-network".into(),
            path: EventText::cut("/v2/private-network"),
            status,
            operation: None,
            message: Some(EventText::cut(&format!("at {at_ms}"))),
            times: NonZeroU32::MIN,
        }
    }

    /// When those that are due were last refused, and how often.
    fn due(refusals: &mut Refusals) -> Vec<(u64, u32)> {
        refusals.take().iter().map(|event| (event.at.unix_ms, event.times.get())).collect()
    }

    struct NoEvents;

    impl EventReader for NoEvents {
        fn read(&mut self, _: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn nothing_is_too_old_while_the_clock_has_been_set() {
        const DAY_MS: u64 = 86_400_000;
        const HOUR_MS: u64 = 3_600_000;
        let started = Moment { wall: Timestamp::from_unix_ms(1000 * DAY_MS), steady: Instant::now() };
        let log = AuditLog::new(AuditConfig::DEFAULT, Box::new(NoEvents), started);
        let since_ms = |wall_ms: u64, steady_ms| {
            let steady = started.steady + Duration::from_millis(steady_ms);
            log.keep(Moment { wall: Timestamp::from_unix_ms(wall_ms), steady }).since.unix_ms
        };
        let now_ms = 1001 * DAY_MS;
        let oldest_ms = now_ms - 90 * DAY_MS;
        assert_eq!(since_ms(now_ms, DAY_MS), oldest_ms);
        assert_eq!(since_ms(now_ms + HOUR_MS, DAY_MS), oldest_ms + HOUR_MS);
        assert_eq!(since_ms(now_ms + HOUR_MS + 1, DAY_MS), 0);
        assert_eq!(since_ms(now_ms - HOUR_MS - 1, DAY_MS), 0);
        assert_eq!(since_ms(now_ms + 100_000 * DAY_MS, DAY_MS), 0);
        assert_eq!(since_ms(now_ms + 1, DAY_MS), oldest_ms + 1, "it was set back");
    }

    #[test]
    fn how_a_path_is_spelt_hides_nothing_from_the_organization() {
        let reader = |path| {
            let route = privnet_api::route("POST", path).expect("there is such a call");
            Origin::new(Ipv4Addr::LOCALHOST.into(), route.endpoint, path).reader(Caller::OPERATOR)
        };
        for path in ["/v2/private-network", "/%762/private-network", "/v%32/private-network"] {
            assert_eq!(reader(path), Some(OrganizationId::DEFAULT), "{path}");
        }
        assert_eq!(reader("/privnet/v1/organizations"), None);
    }

    #[test]
    fn the_first_refusal_of_a_kind_is_told_at_once_and_the_others_each_minute() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let add = |refusals: &mut Refusals, ms, host, status| refusals.add(refusal(ms, host, status), at(ms));
        let gather = |refusals: &mut Refusals, ms| refusals.gather(at(ms));
        (1000..1010).for_each(|ms| add(&mut refusals, ms, 1, 403));
        add(&mut refusals, 1010, 2, 403);
        add(&mut refusals, 1011, 1, 400);
        assert_eq!(due(&mut refusals), [(1000, 1), (1010, 1), (1011, 1)]);
        gather(&mut refusals, 60_999);
        assert_eq!(due(&mut refusals), []);
        gather(&mut refusals, 61_000);
        assert_eq!(due(&mut refusals), [(1009, 9)]);
        add(&mut refusals, 62_000, 1, 403);
        assert_eq!(due(&mut refusals), [], "the kind is known");
        gather(&mut refusals, 121_000);
        assert_eq!(due(&mut refusals), [(62_000, 1)]);
        gather(&mut refusals, 181_000);
        add(&mut refusals, 181_001, 1, 403);
        assert_eq!(due(&mut refusals), [(181_001, 1)], "after a quiet minute it is new again");
    }

    #[test]
    fn kinds_that_are_too_many_are_one() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        (0..2 * KINDS_MAX as u16).for_each(|number| refusals.add(refusal(0, 1, number), now));
        assert_eq!(due(&mut refusals).len(), KINDS_MAX + 1);
        refusals.finish();
        assert_eq!(due(&mut refusals), [(0, KINDS_MAX as u32 - 1)]);
    }

    #[test]
    fn what_the_log_does_not_take_stays_due_and_does_not_grow() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        for minute in 0..10 {
            let at = start + minute * GATHERED_FOR;
            for number in 0..2 * KINDS_MAX as u16 {
                refusals.add(refusal(0, 1, number), at);
            }
            refusals.gather(at + GATHERED_FOR - Duration::from_millis(1));
            let events = refusals.take();
            refusals.put_back(events);
        }
        let told: u64 = refusals.take().iter().map(|event| u64::from(event.times.get())).sum();
        assert!(refusals.gathered.len() <= KINDS_MAX + 1);
        refusals.finish();
        let rest: u64 = refusals.take().iter().map(|event| u64::from(event.times.get())).sum();
        assert_eq!(told + rest, 10 * 2 * KINDS_MAX as u64);
    }
}
