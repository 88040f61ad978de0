//! The certificate that the server shows its hosts: of its own authority, in memory alone, and replaced in time.

use std::sync::Arc;
use std::time::Duration;

use privnet_model::Timestamp;
use privnet_tls::{Acceptor, Validity};
use tracing::{debug, warn};

use crate::auth::{AuthorityError, HostAuthority};
use crate::engine::now;

/// The longest time after which it is looked again whether a next one is due: by the clock, which may be set, and goes
/// on while the machine sleeps and no timer does.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// How often it is looked in a certificate's life at least.
const LOOKS_PER_LIFE: u32 = 24;

/// How long to wait where the next one could not be made.
const RETRY: Duration = Duration::from_secs(60);

/// The server's own certificate.
pub(super) struct OwnCertificate {
    authority: Arc<HostAuthority>,
    acceptor: Acceptor,
    validity: Validity,
}

impl OwnCertificate {
    /// A fresh one.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(super) fn new(authority: Arc<HostAuthority>) -> Result<Self, AuthorityError> {
        let (acceptor, validity) = authority.acceptor(now())?;
        Ok(Self { authority, acceptor, validity })
    }

    pub(super) fn authority(&self) -> &Arc<HostAuthority> {
        &self.authority
    }

    /// Shows it, and those after it.
    pub(super) fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// Has the server show a new one before the one it shows is good for nothing, for as long as somebody waits.
    pub(super) async fn keep_renewed(&mut self) {
        let look_every = LOOK_EVERY.min(self.authority.lifetime() / LOOKS_PER_LIFE);
        let mut wait = look_every;
        loop {
            tokio::time::sleep(wait).await;
            wait = look_every;
            let now = now();
            if !is_due(self.validity, now) {
                continue;
            }
            match self.authority.acceptor(now) {
                Ok((newer, validity)) => {
                    self.acceptor.replace(&newer);
                    self.validity = validity;
                    debug!("the server has a new certificate for its hosts");
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot make the server's next certificate");
                    wait = RETRY;
                }
            }
        }
    }
}

/// Whether a certificate is to be replaced: two thirds of its life are over, or it has not begun, since it was made
/// while the clock was ahead.
fn is_due(validity: Validity, now: Timestamp) -> bool {
    let Validity { not_before, not_after } = validity;
    let now = i64::try_from(now.unix_ms / 1000).unwrap_or(i64::MAX);
    now < not_before || now >= not_after - (not_after - not_before) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDITY: Validity = Validity { not_before: 1_000, not_after: 1_300 };

    fn check(at_seconds: u64, expected: bool) {
        assert_eq!(is_due(VALIDITY, Timestamp::from_unix_ms(at_seconds * 1000)), expected, "at {at_seconds} s");
    }

    #[test]
    fn the_next_one_is_due_after_two_thirds_of_the_life_of_this_one() {
        check(1_000, false);
        check(1_199, false);
        check(1_200, true);
    }

    #[test]
    fn after_a_sleep_or_a_step_of_the_clock_it_is_due_if_it_is_by_the_clock() {
        check(1_300, true);
        check(u64::MAX / 1000, true);
        check(999, true);
        check(0, true);
    }
}
