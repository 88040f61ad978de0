use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use privnet_model::zone::Zone;
use privnet_model::{HostId, NetworkId, Operation, OperationId, OperationState, Wait};

use super::Moment;
use super::hosts::Hosts;

/// The pending operations, by the network they wait for.
pub(super) struct Tracker {
    pending: HashMap<NetworkId, Vec<Pending>>,
    /// All of them by their deadlines, so that looking for late ones costs no more than what they are.
    deadlines: BTreeMap<(Instant, OperationId), NetworkId>,
    /// How long any may be pending.
    timeout: Duration,
    /// When a commit last failed, unless one has succeeded since.
    pub(super) failed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    id: OperationId,
    wait: Wait,
    deadline: Instant,
}

impl Tracker {
    /// Follows those that a zone has at the start, each for `grace` at least: its hosts may be about to return.
    pub(super) fn new(zone: &Zone, timeout: Duration, grace: Duration, now: Moment) -> Self {
        let mut tracker = Self { pending: HashMap::new(), deadlines: BTreeMap::new(), timeout, failed_at: None };
        zone.pending_operations().for_each(|operation| tracker.follow(operation, grace.min(timeout), now));
        tracker
    }

    /// Follows an operation if it is pending, or follows it again after its end could not be committed.
    /// From here on setting the clock moves its deadline no more, and what that did before makes it wait
    /// no longer than any may.
    pub(super) fn add(&mut self, operation: &Operation, now: Moment) {
        self.follow(operation, Duration::ZERO, now);
    }

    fn follow(&mut self, operation: &Operation, at_least: Duration, now: Moment) {
        if let OperationState::Pending { wait, deadline } = operation.state {
            let deadline = now.steady + deadline.since(now.wall).min(self.timeout).max(at_least);
            let pending = Pending { id: operation.id, wait, deadline };
            self.pending.entry(wait.network).or_default().push(pending);
            self.deadlines.insert((deadline, operation.id), wait.network);
        }
    }

    /// The networks that operations wait for.
    pub(super) fn networks(&self) -> Vec<NetworkId> {
        self.pending.keys().copied().collect()
    }

    /// The operations on a network that have come to their end; they are followed no more.
    pub(super) fn settle(
        &mut self,
        network: NetworkId,
        zone: &Zone,
        hosts: &Hosts,
    ) -> Vec<(OperationId, OperationState)> {
        self.take_out(network, |pending| verdict(&pending.wait, zone, hosts))
    }

    /// The operations whose deadline has passed; they are followed no more. While the store takes
    /// nothing, those that have come to their end otherwise are among them: their end is tried again.
    pub(super) fn expire(&mut self, now: Instant, zone: &Zone, hosts: &Hosts) -> Vec<(OperationId, OperationState)> {
        let is_retry = self.failed_at.is_some();
        let is_due = |deadline: Instant| is_retry || deadline <= now;
        let due = self.deadlines.iter().take_while(|((deadline, _), _)| is_due(*deadline));
        let networks: BTreeSet<_> = due.map(|(_, network)| *network).collect();
        let end = |pending: &Pending| {
            let is_late = pending.deadline <= now;
            let verdict = is_due(pending.deadline).then(|| verdict(&pending.wait, zone, hosts)).flatten();
            verdict
                .or_else(|| is_late.then(|| OperationState::Timeout { message: overdue(&pending.wait, zone, hosts) }))
        };
        networks.into_iter().flat_map(|network| self.take_out(network, end)).collect()
    }

    fn take_out(
        &mut self,
        network: NetworkId,
        end: impl Fn(&Pending) -> Option<OperationState>,
    ) -> Vec<(OperationId, OperationState)> {
        let Some(operations) = self.pending.get_mut(&network) else { return Vec::new() };
        let mut ended = Vec::new();
        operations.retain(|pending| match end(pending) {
            Some(state) => {
                self.deadlines.remove(&(pending.deadline, pending.id));
                ended.push((pending.id, state));
                false
            }
            None => true,
        });
        if operations.is_empty() {
            self.pending.remove(&network);
        }
        ended
    }
}

/// How an operation ends, if it does now: when the port's own host and every connected host that
/// may carry the network have applied the generation, or when one of them cannot.
fn verdict(wait: &Wait, zone: &Zone, hosts: &Hosts) -> Option<OperationState> {
    if let Some(failure) = failure(wait, zone, hosts) {
        return Some(failure);
    }
    let all_applied = zone.carriers(wait.network).all(|host| {
        let is_waited_for = hosts.is_waited_for(host) || is_own(wait, host);
        !is_waited_for || has_applied(wait, host, zone, hosts)
    });
    all_applied.then_some(OperationState::Success)
}

/// What a host that has reached the generation could not do for the port that the operation is about.
fn failure(wait: &Wait, zone: &Zone, hosts: &Hosts) -> Option<OperationState> {
    let port = wait.port?;
    zone.carriers(wait.network).find_map(|host| {
        let acknowledgement = hosts.acknowledged(host, wait.network)?;
        let is_recent = acknowledgement.generation >= wait.generation;
        let failure = acknowledgement.failures.iter().find(|failure| is_recent && failure.mac == port.mac)?;
        let message =
            format!("host {}: {}; the change stays wanted and is tried again", name(host, zone), failure.message);
        Some(OperationState::Failure { reason: failure.reason, message })
    })
}

/// A host without ports in the network has applied their absence when its carriage is gone, and
/// then it is not among the network's carriers.
fn has_applied(wait: &Wait, host: HostId, zone: &Zone, hosts: &Hosts) -> bool {
    zone.is_wanted(wait.network, host)
        && hosts.acknowledged(host, wait.network).is_some_and(|done| done.generation >= wait.generation)
}

fn is_own(wait: &Wait, host: HostId) -> bool {
    wait.port.is_some_and(|port| port.host == host)
}

/// Tells which hosts an operation has waited for in vain.
fn overdue(wait: &Wait, zone: &Zone, hosts: &Hosts) -> String {
    let late = zone
        .carriers(wait.network)
        .filter(|host| (hosts.is_waited_for(*host) || is_own(wait, *host)) && !has_applied(wait, *host, zone, hosts));
    let names: Vec<_> = late
        .map(|host| {
            let state = if hosts.is_connected(host) { "has not confirmed" } else { "is not connected" };
            format!("host {} {state}", name(host, zone))
        })
        .collect();
    format!("{}; the change stays wanted and is applied when it can be", names.join(", "))
}

fn name(host: HostId, zone: &Zone) -> String {
    zone.host(host).map_or_else(|| host.to_string(), |host| host.name.to_string())
}

#[cfg(test)]
mod tests {
    use privnet_model::{Generation, OperationKind, Timestamp};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[test]
    fn an_operation_ends_in_time_though_the_clock_was_set() {
        let now = Moment { wall: Timestamp::from_unix_ms(1_000_000_000), steady: Instant::now() };
        let hour = Duration::from_secs(3600);
        for (deadline, left) in [
            (now.wall.plus(TIMEOUT), TIMEOUT),
            (now.wall.plus(TIMEOUT / 2), TIMEOUT / 2),
            (Timestamp::from_unix_ms(0), Duration::ZERO),
            (now.wall.plus(hour + TIMEOUT), TIMEOUT),
        ] {
            let (zone, hosts) = (Zone::default(), Hosts::default());
            let mut tracker = Tracker::new(&zone, TIMEOUT, Duration::ZERO, now);
            tracker.add(&pending_until(deadline), now);
            let is_due = |tracker: &mut Tracker, at| !tracker.expire(at, &zone, &hosts).is_empty();
            let shortly_before = (now.steady + left).checked_sub(Duration::from_millis(1)).expect("not at boot");
            assert!(!is_due(&mut tracker, shortly_before), "{left:?}");
            assert!(is_due(&mut tracker, now.steady + left), "{left:?}");
            assert!(tracker.deadlines.is_empty() && tracker.pending.is_empty());
        }
    }

    fn pending_until(deadline: Timestamp) -> Operation {
        let network = NetworkId::new(1, [1; 10]);
        let wait = Wait { network, generation: Generation::FIRST, port: None };
        Operation {
            id: OperationId::new(1, [2; 10]),
            kind: OperationKind::UpdateNetwork,
            network,
            created_at: Timestamp::from_unix_ms(0),
            state: OperationState::Pending { wait, deadline },
        }
    }
}
