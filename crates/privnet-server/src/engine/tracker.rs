use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use privnet_model::zone::Zone;
use privnet_model::{
    Applied, Driver, HostId, InstanceId, NetworkId, Operation, OperationId, OperationKind, OperationState, Reason, Wait,
};
use privnet_sync::PortFailure;

use super::Moment;
use super::hosts::{Hosts, Progress};

/// What operations wait for hosts to do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    Network(NetworkId),
    Instance(InstanceId),
}

/// The pending operations, and which of them wait for each network and instance.
pub(super) struct Tracker {
    pending: HashMap<OperationId, Pending>,
    waiting: BTreeSet<(Topic, OperationId)>,
    /// All of them by their deadlines, so that looking for late ones costs no more than what they are.
    deadlines: BTreeSet<(Instant, OperationId)>,
    /// How long any may be pending.
    timeout: Duration,
    /// When a commit last failed, unless one has succeeded since.
    pub(super) failed_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Pending {
    kind: OperationKind,
    wait: Wait,
    /// Those that were concerned when it was accepted; what comes later has operations of its own. After a
    /// restart of the server, those that are concerned then.
    topics: Vec<Topic>,
    deadline: Instant,
}

/// What a host is to have done with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    Made,
    Removed,
}

impl Pending {
    /// What it waits for now: an instance that is moved again is waited for where it is wanted last.
    fn awaited(&self, zone: &Zone) -> Vec<Applied> {
        let mut awaited = zone.awaited(&self.wait);
        awaited.retain(|one| self.topics.contains(&Topic::Network(one.network)));
        awaited
    }

    /// Whether what it was to make or move has gone before it was in force. That is what a detachment waits for.
    fn is_void(&self, zone: &Zone) -> bool {
        match self.wait {
            Wait::Applied(Applied { port: Some(port), .. }) => {
                self.kind != OperationKind::Detach && !zone.has_port(port.mac)
            }
            Wait::Applied(_) => false,
            Wait::Placed(instance) => zone.instance(instance).is_none(),
            Wait::Removed { .. } => false,
        }
    }

    /// What it needs of the host of an instance, beside its ports.
    fn instance(&self, zone: &Zone) -> Option<(InstanceId, HostId, Needed)> {
        match self.wait {
            Wait::Applied(_) => None,
            Wait::Placed(id) => {
                let instance = zone.instance(id).filter(|instance| instance.driver == Driver::Netns)?;
                Some((id, instance.host, Needed::Made))
            }
            Wait::Removed { instance, host } => Some((instance, host, Needed::Removed)),
        }
    }

    /// Whether a workload that is not there yet, or has not left yet, is no failure.
    fn is_patient(&self) -> bool {
        matches!(self.wait, Wait::Placed(_))
    }
}

impl Tracker {
    /// Follows those that a zone has at the start, each for `grace` at least: its hosts may be about to return.
    pub(super) fn new(zone: &Zone, timeout: Duration, grace: Duration, now: Moment) -> Self {
        let mut tracker = Self {
            pending: HashMap::new(),
            waiting: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            timeout,
            failed_at: None,
        };
        zone.pending_operations().for_each(|operation| drop(tracker.follow(operation, zone, grace.min(timeout), now)));
        tracker
    }

    /// Follows an operation if it is pending, or follows it again after its end could not be committed.
    /// Answers what it waits for.
    ///
    /// From here on setting the clock moves its deadline no more, and what that did before makes it wait
    /// no longer than any may.
    pub(super) fn add(&mut self, operation: &Operation, zone: &Zone, now: Moment) -> Vec<Topic> {
        self.follow(operation, zone, Duration::ZERO, now)
    }

    fn follow(&mut self, operation: &Operation, zone: &Zone, at_least: Duration, now: Moment) -> Vec<Topic> {
        let OperationState::Pending { wait, deadline } = operation.state else { return Vec::new() };
        let mut topics: Vec<_> = zone.awaited(&wait).iter().map(|awaited| Topic::Network(awaited.network)).collect();
        topics.extend(instance_of(wait, zone).map(Topic::Instance));
        let deadline = match topics.len() {
            // Nothing will bring it up again: it has come to its end.
            0 => now.steady,
            _ => now.steady + deadline.since(now.wall).min(self.timeout).max(at_least),
        };
        for topic in &topics {
            self.waiting.insert((*topic, operation.id));
        }
        self.pending.insert(operation.id, Pending { kind: operation.kind, wait, topics: topics.clone(), deadline });
        self.deadlines.insert((deadline, operation.id));
        topics
    }

    /// The networks and instances that operations wait for.
    pub(super) fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<_> = self.waiting.iter().map(|(topic, _)| *topic).collect();
        topics.dedup();
        topics
    }

    /// The operations on a network or instance that have come to their end; they are followed no more.
    pub(super) fn settle(&mut self, topic: Topic, zone: &Zone, hosts: &Hosts) -> Vec<(OperationId, OperationState)> {
        let waiting = self.waiting.range((topic, OperationId::MIN)..=(topic, OperationId::MAX));
        let waiting = waiting.map(|(_, operation)| *operation).collect();
        self.take_out(waiting, |pending| verdict(pending, zone, hosts))
    }

    /// The operations whose deadline has passed; they are followed no more. While the store takes
    /// nothing, those that have come to their end otherwise are among them: their end is tried again.
    pub(super) fn expire(&mut self, now: Instant, zone: &Zone, hosts: &Hosts) -> Vec<(OperationId, OperationState)> {
        let is_retry = self.failed_at.is_some();
        let due = self.deadlines.iter().take_while(|(deadline, _)| is_retry || *deadline <= now);
        let due: Vec<_> = due.map(|(_, operation)| *operation).collect();
        self.take_out(due, |pending| {
            let late = || OperationState::Timeout { message: overdue(pending, zone, hosts) };
            verdict(pending, zone, hosts).or_else(|| (pending.deadline <= now).then(late))
        })
    }

    fn take_out(
        &mut self,
        operations: Vec<OperationId>,
        end: impl Fn(&Pending) -> Option<OperationState>,
    ) -> Vec<(OperationId, OperationState)> {
        let ends = operations.into_iter().filter_map(|id| Some((id, end(self.pending.get(&id)?)?)));
        let ends: Vec<_> = ends.collect();
        ends.iter().for_each(|(id, _)| self.forget(*id));
        ends
    }

    fn forget(&mut self, id: OperationId) {
        let Some(Pending { topics, deadline, .. }) = self.pending.remove(&id) else { return };
        self.deadlines.remove(&(deadline, id));
        for topic in topics {
            self.waiting.remove(&(topic, id));
        }
    }
}

/// The instance that an operation waits for, if it is there or is to go.
fn instance_of(wait: Wait, zone: &Zone) -> Option<InstanceId> {
    match wait {
        Wait::Applied(_) => None,
        Wait::Placed(id) => zone.instance(id).filter(|instance| instance.driver == Driver::Netns).map(|_| id),
        Wait::Removed { instance, .. } => Some(instance),
    }
}

/// How an operation ends, if it does now: when in each network the port's own host and every connected
/// host that may carry it have applied the generation, and the instance's host has done its part; when one of them
/// cannot; or when it has no object any more.
fn verdict(pending: &Pending, zone: &Zone, hosts: &Hosts) -> Option<OperationState> {
    let awaited = pending.awaited(zone);
    if pending.is_void(zone) {
        let message = "the instance was detached or removed before the change was in force".to_owned();
        return Some(OperationState::Failure { reason: Reason::NotFound, message });
    }
    let instance = pending.instance(zone).map(|needed| instance_verdict(needed, zone, hosts));
    if let Some(InstanceVerdict::Failed(failed)) = instance {
        return Some(failed);
    }
    let failures = || awaited.iter().filter_map(|awaited| failure(awaited, zone, hosts));
    let may_pass = |failure: &Failure<'_>| pending.is_patient() && failure.port.reason.is_about_arrival();
    if let Some(failure) = failures().find(|failure| !may_pass(failure)) {
        let message = format!("{}; the change stays wanted and is tried again", failure.told(zone));
        return Some(OperationState::Failure { reason: failure.port.reason, message });
    }
    let is_applied = |awaited| late_hosts(awaited, zone, hosts).next().is_none();
    let is_done = instance.is_none_or(|verdict| matches!(verdict, InstanceVerdict::Done));
    (is_done && failures().next().is_none() && awaited.iter().all(is_applied)).then_some(OperationState::Success)
}

/// How far a host is with an instance.
enum InstanceVerdict {
    Done,
    Open,
    Failed(OperationState),
}

fn instance_verdict((id, host, needed): (InstanceId, HostId, Needed), zone: &Zone, hosts: &Hosts) -> InstanceVerdict {
    match (needed, hosts.progress(host, id)) {
        (Needed::Made, Some(Progress::Made)) => InstanceVerdict::Done,
        (Needed::Made, Some(Progress::Failed(failure))) => {
            let message = format!(
                "host {}: {}; the instance stays wanted and is made when it can be",
                name(host, zone),
                failure.message
            );
            InstanceVerdict::Failed(OperationState::Failure { reason: failure.reason, message })
        }
        // Where there is no such host any more, there is nothing of the instance.
        (Needed::Removed, None) if hosts.is_connected(host) || zone.host(host).is_none() => InstanceVerdict::Done,
        (Needed::Made | Needed::Removed, _) => InstanceVerdict::Open,
    }
}

/// What a host could not do for a port.
struct Failure<'a> {
    host: HostId,
    port: &'a PortFailure,
}

impl Failure<'_> {
    fn told(&self, zone: &Zone) -> String {
        format!("host {}: {}", name(self.host, zone), self.port.message)
    }
}

/// What a host that has reached the generation could not do for the port that the operation is about.
fn failure<'a>(awaited: &Applied, zone: &Zone, hosts: &'a Hosts) -> Option<Failure<'a>> {
    let port = awaited.port?;
    zone.carriers(awaited.network).find_map(|host| {
        let acknowledgement = hosts.acknowledged(host, awaited.network)?;
        let is_recent = acknowledgement.generation >= awaited.generation;
        let port = acknowledgement.failures.iter().find(|failure| is_recent && failure.mac == port.mac)?;
        Some(Failure { host, port })
    })
}

/// The hosts that are waited for and have not applied the generation. One that is away is waited for
/// where it is the port's own.
fn late_hosts<'a>(awaited: &'a Applied, zone: &'a Zone, hosts: &'a Hosts) -> impl Iterator<Item = HostId> + 'a {
    let is_own = |host| awaited.port.is_some_and(|port| port.host == host);
    zone.carriers(awaited.network)
        .filter(move |host| hosts.is_waited_for(*host) || is_own(*host))
        .filter(|host| !has_applied(awaited, *host, zone, hosts))
}

/// A host without ports in the network has applied their absence when its carriage is gone, and
/// then it is not among the network's carriers.
fn has_applied(awaited: &Applied, host: HostId, zone: &Zone, hosts: &Hosts) -> bool {
    zone.is_wanted(awaited.network, host)
        && hosts.acknowledged(host, awaited.network).is_some_and(|done| done.generation >= awaited.generation)
}

/// Tells which hosts an operation has waited for in vain, and for what.
fn overdue(pending: &Pending, zone: &Zone, hosts: &Hosts) -> String {
    let awaited = pending.awaited(zone);
    let late = awaited.iter().flat_map(|awaited| late_hosts(awaited, zone, hosts));
    let absent = late.map(|host| lateness(host, zone, hosts));
    let failures = awaited.iter().filter_map(|awaited| failure(awaited, zone, hosts));
    let open =
        pending.instance(zone).filter(|needed| matches!(instance_verdict(*needed, zone, hosts), InstanceVerdict::Open));
    let open = open.map(|(_, host, _)| lateness(host, zone, hosts));
    let reasons: BTreeSet<_> = absent.chain(failures.map(|failure| failure.told(zone))).chain(open).collect();
    let reasons: Vec<_> = reasons.into_iter().collect();
    format!("{}; the change stays wanted and is applied when it can be", reasons.join(", "))
}

fn lateness(host: HostId, zone: &Zone, hosts: &Hosts) -> String {
    let state = if hosts.is_connected(host) { "has not confirmed" } else { "is not connected" };
    format!("host {} {state}", name(host, zone))
}

fn name(host: HostId, zone: &Zone) -> String {
    zone.host(host).map_or_else(|| host.to_string(), |host| host.name.to_string())
}

#[cfg(test)]
mod tests {
    use privnet_model::{Generation, InstanceId, Subject, Timestamp};

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
            tracker.add(&pending_until(deadline), &zone, now);
            let is_due = |tracker: &mut Tracker, at| !tracker.expire(at, &zone, &hosts).is_empty();
            let shortly_before = (now.steady + left).checked_sub(Duration::from_millis(1)).expect("not at boot");
            assert!(!is_due(&mut tracker, shortly_before), "{left:?}");
            assert!(is_due(&mut tracker, now.steady + left), "{left:?}");
            assert!(tracker.deadlines.is_empty() && tracker.pending.is_empty());
        }
    }

    /// As when a server starts and an instance that was moved has no ports any more, or is gone.
    #[test]
    fn an_operation_that_waits_for_nothing_any_more_ends_at_once() {
        let now = Moment { wall: Timestamp::from_unix_ms(1_000_000_000), steady: Instant::now() };
        let (zone, hosts) = (Zone::default(), Hosts::default());
        let mut tracker = Tracker::new(&zone, TIMEOUT, Duration::ZERO, now);
        let instance = InstanceId::new(1, [3; 10]);
        let state = OperationState::Pending { wait: Wait::Placed(instance), deadline: now.wall.plus(TIMEOUT) };
        let operation = Operation { subject: Subject::Instance(instance), state, ..pending_until(now.wall) };
        assert_eq!(tracker.add(&operation, &zone, now), []);
        let ended = tracker.expire(now.steady, &zone, &hosts);
        assert_eq!(ended.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [operation.id]);
    }

    fn pending_until(deadline: Timestamp) -> Operation {
        let network = NetworkId::new(1, [1; 10]);
        let wait = Wait::Applied(Applied { network, generation: Generation::FIRST, port: None });
        Operation {
            id: OperationId::new(1, [2; 10]),
            organization: privnet_model::OrganizationId::DEFAULT,
            kind: OperationKind::UpdateNetwork,
            subject: Subject::Network(network),
            created_at: Timestamp::from_unix_ms(0),
            request: None,
            state: OperationState::Pending { wait, deadline },
        }
    }
}
