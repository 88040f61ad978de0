//! What anybody who reaches a port can cause as often as they like: the log tells of it once a minute, so that it has
//! room for the rest.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

/// How long after a line there is no other one.
const QUIET: Duration = Duration::from_secs(60);

/// Events of one kind. Clones share the minute. Each is told at debug; the first one as a warning at once, and those
/// that follow within a minute of a warning together, as how many they were and what the last one was.
#[derive(Clone)]
pub(crate) struct Seldom(Arc<Shared>);

struct Shared {
    /// What has happened, for the log.
    what: &'static str,
    gathered: Mutex<Gathered>,
}

/// Those that the log does not have yet.
#[derive(Debug, Default)]
struct Gathered {
    quiet_until: Option<Instant>,
    times: u64,
    last: String,
}

/// When a line is due that tells of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Now,
    /// Nobody waits for that moment yet.
    At(Instant),
    /// Somebody does.
    Awaited,
}

impl Gathered {
    fn add(&mut self, event: String, now: Instant) -> Due {
        self.last = event;
        self.times += 1;
        match self.quiet_until {
            _ if self.times > 1 => Due::Awaited,
            Some(until) if until > now => Due::At(until),
            Some(_) | None => Due::Now,
        }
    }

    /// How many there are, and the last one. From here on it is quiet.
    fn take(&mut self, now: Instant) -> (u64, String) {
        self.quiet_until = Some(now + QUIET);
        (std::mem::take(&mut self.times), std::mem::take(&mut self.last))
    }
}

impl Seldom {
    /// `what`: what happens.
    pub(crate) fn new(what: &'static str) -> Self {
        Self(Arc::new(Shared { what, gathered: Mutex::default() }))
    }

    /// Tells the log, now or later. Must be called within a Tokio runtime.
    pub(crate) fn note(&self, event: impl Display) {
        debug!(%event, "{}", self.0.what);
        let due = self.gathered().add(event.to_string(), Instant::now());
        match due {
            Due::Now => self.tell(),
            Due::At(moment) => {
                let this = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep_until(moment).await;
                    this.tell();
                });
            }
            Due::Awaited => {}
        }
    }

    fn tell(&self) {
        let (times, last) = self.gathered().take(Instant::now());
        warn!(times, last, "{}", self.0.what);
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many the log does not have yet.
    #[cfg(test)]
    pub(crate) fn untold(&self) -> u64 {
        self.gathered().times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_those_of_its_minute_together() {
        let (mut gathered, start) = (Gathered::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(gathered.add("first".to_owned(), start), Due::Now);
        assert_eq!(gathered.take(start), (1, "first".to_owned()));
        assert_eq!(gathered.add("second".to_owned(), after(1)), Due::At(after(60)));
        for second in 2..60 {
            assert_eq!(gathered.add(format!("in second {second}"), after(second)), Due::Awaited);
        }
        assert_eq!(gathered.take(after(60)), (59, "in second 59".to_owned()));
        assert_eq!(gathered.add("of the next minute".to_owned(), after(61)), Due::At(after(120)));
        assert_eq!(gathered.take(after(120)), (1, "of the next minute".to_owned()));
        assert_eq!(gathered.add("a minute later".to_owned(), after(180)), Due::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gathered_is_told_at_the_end_of_the_minute_whether_or_not_more_comes() {
        let seldom = Seldom::new("something happens");
        let clone = seldom.clone();
        seldom.note(1);
        assert_eq!(seldom.untold(), 0);
        (2..10).for_each(|event| clone.note(event));
        assert_eq!(seldom.untold(), 8);
        tokio::time::sleep(QUIET - Duration::from_millis(1)).await;
        assert_eq!(seldom.untold(), 8);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(seldom.untold(), 0);
    }
}
