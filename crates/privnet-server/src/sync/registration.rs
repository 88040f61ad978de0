//! What hosts are like, as their agents say.

use std::num::NonZeroU32;
use std::sync::Arc;

use privnet_model::zone::{Command, Outcome};
use privnet_model::{HostFacts, HostName};
use tokio::time::Instant;

use crate::auth::ShownCertificate;
use crate::engine::{Engine, SubmitError};
use crate::rate::Buckets;

/// How often in a second what is known of a host may change, and twice as often at once. A change is written down, and
/// told to every host that has a network with it.
const CHANGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).expect("not zero");

/// Keeps what agents say of their hosts. Clones share the limit.
#[derive(Clone)]
pub(super) struct Registration {
    engine: Engine,
    changes: Arc<Buckets<HostName>>,
}

impl Registration {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, changes: Arc::new(Buckets::per_second(Some(CHANGES_PER_SECOND))) }
    }

    /// Makes a host's record, or brings its facts up to date: when it is its turn, where they have changed.
    ///
    /// # Errors
    /// [`SubmitError`] but for [`Busy`](SubmitError::Busy); nothing has changed then.
    pub(super) async fn report(
        &self,
        name: &HostName,
        facts: HostFacts,
        shown: Option<&ShownCertificate>,
    ) -> Result<Outcome, SubmitError> {
        if self.has_other_facts(name, &facts) {
            self.turn(name).await;
        }
        let name = name.clone();
        self.engine
            .submit(match shown {
                Some(shown) => Command::AdmitHost { name, certificate: shown.fingerprint, facts },
                None => Command::RegisterHost { name, facts },
            })
            .await
    }

    fn has_other_facts(&self, name: &HostName, facts: &HostFacts) -> bool {
        self.engine.view().host_by_name(name).is_some_and(|host| host.facts != *facts)
    }

    async fn turn(&self, name: &HostName) {
        while let Err(wait) = self.take_turn(name) {
            tokio::time::sleep(wait).await;
        }
    }

    fn take_turn(&self, name: &HostName) -> Result<(), std::time::Duration> {
        self.changes.take(name.clone(), Instant::now().into_std())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{engine, facts};
    use super::*;

    fn name(name: &str) -> HostName {
        HostName::try_from(name).expect("a name")
    }

    #[tokio::test]
    async fn each_host_has_its_turn_once_in_a_second() {
        let dir = tempfile::tempdir().expect("a folder");
        let registration = Registration::new(engine(&dir));
        tokio::time::pause();
        let start = Instant::now();
        for (seconds, host) in [(0, "h1"), (0, "h1"), (1, "h1"), (1, "h2"), (2, "h1")] {
            registration.turn(&name(host)).await;
            assert_eq!(start.elapsed().as_secs(), seconds, "{host}");
        }
    }

    #[tokio::test]
    async fn only_what_has_changed_waits_for_its_turn() {
        let dir = tempfile::tempdir().expect("a folder");
        let engine = engine(&dir);
        let registration = Registration::new(engine.clone());
        let (h1, h2) = (name("h1"), name("h2"));
        for _ in 0..4 {
            registration.report(&h1, facts(), None).await.expect("kept");
        }
        tokio::time::pause();
        assert_eq!([(); 2].map(|()| registration.take_turn(&h1).is_ok()), [true; 2], "nothing has changed so far");
        let other = HostFacts { underlay_mtu_bytes: 9000, ..facts() };
        let reported = tokio::time::timeout(Duration::ZERO, registration.report(&h1, other, None)).await;
        assert!(reported.is_err(), "it waits");
        tokio::time::resume();
        let elsewhere = HostFacts { vtep: [192, 0, 2, 2].into(), ..facts() };
        registration.report(&h2, elsewhere, None).await.expect("kept");
        let known = engine.view().host_by_name(&h1).expect("a host").facts.clone();
        assert_eq!(known, facts(), "what was asked for before is done, and that was not among it");
    }
}
