use std::time::Duration;

/// How long to wait before each attempt: twice as long every time, up to a limit.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.max);
        now
    }

    /// An attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Between half of `delay` and all of it, as `random` (0 to 1) says, so that a fleet that lost its
/// server does not come back as one.
pub(crate) fn jittered(delay: Duration, random: f64) -> Duration {
    delay.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_twice_as_long_each_time_up_to_the_limit_and_starts_over_after_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        assert_eq!([(); 5].map(|()| backoff.next()), [100, 200, 400, 500, 500].map(ms));
        backoff.reset();
        assert_eq!(backoff.next(), ms(100));
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0.0), second / 2);
        assert_eq!(jittered(second, 1.0), second);
    }
}
