//! How many requests each client may make: a bucket of tokens for each, filled at a constant rate.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use privnet_model::zone::Caller;
use privnet_model::{KeyId, OrganizationId, Scope};

/// How many seconds' worth of tokens a bucket holds.
const BURST_SECONDS: u64 = 2;

/// How many buckets there are at least before the full ones among them are looked for.
const SWEEP_BUCKETS_MIN: usize = 1024;

/// Whose bucket a signed request is counted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    /// All keys of one organization, as it makes as many as it likes.
    Organization(OrganizationId),
    /// An operator's key by itself.
    Operator(KeyId),
}

impl Payer {
    /// `None` where nothing was signed.
    pub(crate) fn of(caller: Caller) -> Option<Self> {
        match caller {
            Caller::Client { key: Some(key), scope: Scope::Operator } => Some(Self::Operator(key)),
            Caller::Client { key: Some(_), scope: Scope::Organization(organization, _) } => {
                Some(Self::Organization(organization))
            }
            Caller::Client { key: None, .. } | Caller::Server => None,
        }
    }
}

/// What a bucket lacks of being full, as the moment at which it will be. One that is full says nothing.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Takes a token, or answers how long it takes until there is one.
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + rate.token;
        match (full_at - now).checked_sub(rate.burst) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }
}

/// How fast a bucket fills.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// How long one token takes.
    token: Duration,
    /// How long an empty bucket takes to be full.
    burst: Duration,
}

impl Rate {
    fn per_second(tokens: NonZeroU32) -> Self {
        let token = Duration::from_secs(1) / tokens.get();
        Self { token, burst: Duration::from_secs(BURST_SECONDS) }
    }
}

/// The buckets of all clients, for whoever shares them.
pub(crate) struct Buckets<C> {
    rate: Option<Rate>,
    lacking: Mutex<Lacking<C>>,
}

/// The buckets that are not full. There are no more than twice as many as clients that have asked within the last
/// [`BURST_SECONDS`], or [`SWEEP_BUCKETS_MIN`].
struct Lacking<C> {
    buckets: HashMap<C, Bucket>,
    sweep_at: usize,
}

impl<C: Eq + Hash> Buckets<C> {
    /// `None` limits nothing.
    pub(crate) fn per_second(tokens: Option<NonZeroU32>) -> Self {
        let lacking = Lacking { buckets: HashMap::new(), sweep_at: SWEEP_BUCKETS_MIN };
        Self { rate: tokens.map(Rate::per_second), lacking: Mutex::new(lacking) }
    }

    /// Takes a token from a client's bucket.
    ///
    /// # Errors
    /// It is empty; how long it takes until there is a token.
    pub(crate) fn take(&self, client: C, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut lacking = self.lacking();
        if lacking.buckets.len() >= lacking.sweep_at {
            lacking.buckets.retain(|_, bucket| bucket.full_at > now);
            lacking.sweep_at = SWEEP_BUCKETS_MIN.max(2 * lacking.buckets.len());
        }
        lacking.buckets.entry(client).or_insert(Bucket { full_at: now }).take(rate, now)
    }

    fn lacking(&self) -> MutexGuard<'_, Lacking<C>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::Role;

    use super::*;

    #[test]
    fn keys_of_one_organization_share_a_bucket_and_operators_do_not() {
        let caller = |key: &str, scope| {
            Payer::of(Caller::Client { key: Some(key.parse().expect("the id of a key")), scope }).expect("it is signed")
        };
        let [one, other] = ["EXO010101010101010101010101", "EXO010101010101010101010102"];
        let of = |role| Scope::Organization(OrganizationId::DEFAULT, role);
        assert_eq!(caller(one, of(Role::Admin)), caller(other, of(Role::ReadOnly)));
        let elsewhere = Scope::Organization(OrganizationId::MIN, Role::Admin);
        assert_ne!(caller(one, of(Role::Admin)), caller(one, elsewhere));
        assert_ne!(caller(one, Scope::Operator), caller(other, Scope::Operator));
        assert_eq!(Payer::of(Caller::OPERATOR), None);
    }

    fn buckets(tokens: u32) -> Buckets<u32> {
        Buckets::per_second(NonZeroU32::new(tokens))
    }

    /// How many tokens a client gets at once.
    fn burst(buckets: &Buckets<u32>, client: u32, now: Instant) -> usize {
        std::iter::from_fn(|| buckets.take(client, now).ok()).take(1000).count()
    }

    #[test]
    fn two_seconds_worth_is_given_at_once_and_then_what_time_brings() {
        let (buckets, start) = (buckets(10), Instant::now());
        assert_eq!(burst(&buckets, 1, start), 20);
        assert_eq!(buckets.take(1, start), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take(1, start + Duration::from_millis(99)), Err(Duration::from_millis(1)));
        assert_eq!(burst(&buckets, 1, start + Duration::from_millis(100)), 1);
        assert_eq!(burst(&buckets, 1, start + Duration::from_millis(1100)), 10);
        assert_eq!(burst(&buckets, 1, start + Duration::from_secs(3600)), 20);
    }

    #[test]
    fn one_client_takes_nothing_from_another() {
        let (buckets, now) = (buckets(10), Instant::now());
        assert_eq!(burst(&buckets, 1, now), 20);
        assert_eq!(burst(&buckets, 2, now), 20);
    }

    #[test]
    fn what_is_refused_costs_no_token() {
        let (buckets, start) = (buckets(1), Instant::now());
        assert_eq!(burst(&buckets, 1, start), 2);
        (0..100).for_each(|_| assert_eq!(buckets.take(1, start), Err(Duration::from_secs(1))));
        assert_eq!(buckets.take(1, start + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn no_limit_is_none() {
        let buckets = Buckets::per_second(None);
        assert_eq!(burst(&buckets, 1, Instant::now()), 1000);
        assert!(buckets.lacking().buckets.is_empty());
    }

    #[test]
    fn clients_that_have_asked_long_ago_are_forgotten() {
        let (buckets, start) = (buckets(1), Instant::now());
        for client in 0..10_000 {
            let now = start + Duration::from_millis(u64::from(client));
            assert_eq!(buckets.take(client, now), Ok(()));
            assert!(
                buckets.lacking().buckets.len() <= 2 * 1000 + SWEEP_BUCKETS_MIN,
                "each is full again after a second"
            );
        }
    }
}
