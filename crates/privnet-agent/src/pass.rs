//! Carrying out a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use privnet_datapath::{ApplyError, Kernel};
use privnet_model::{MacAddr, SERVER_MAC, with_causes};
use privnet_plan::{KernelNetwork, NetOp};
use privnet_sync::PortFailure;

use crate::backoff::Backoff;

/// When what failed is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How often a workload that has not arrived is looked for: it is without its network until it is found.
pub(crate) const ARRIVAL_RETRY: Duration = Duration::from_millis(250);

/// What a pass has done and what it could not do.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What was done, as plans are printed.
    pub(crate) done: Vec<String>,
    /// Why each of these ports is not as wanted: the first of its operations that failed.
    pub(crate) failures: BTreeMap<MacAddr, PortFailure>,
    /// Failures that are about no single port, for people.
    pub(crate) other_failures: Vec<String>,
}

impl Outcome {
    pub(crate) const fn backoff() -> Backoff {
        Backoff::new(RETRY_FIRST, RETRY_MAX)
    }

    pub(crate) fn is_success(&self) -> bool {
        self.failures.is_empty() && self.has_reached_generation()
    }

    /// Whether all is in place but what belongs to the ports that failed.
    pub(crate) fn has_reached_generation(&self) -> bool {
        self.other_failures.is_empty()
    }

    /// Whether only workloads are waited for: namespaces that do not exist yet, or have another device still.
    pub(crate) fn awaits_arrivals(&self) -> bool {
        self.has_reached_generation() && self.failures.values().all(|failure| failure.reason.is_about_arrival())
    }

    /// What failed, for people.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &str> {
        self.failures.values().map(|failure| &*failure.message).chain(self.other_failures.iter().map(|m| &**m))
    }

    fn add_failure(&mut self, op: &NetOp, error: &ApplyError) {
        let message = with_causes(error);
        match about_port(op) {
            Some(mac) => {
                let failure = PortFailure { mac, reason: error.reason(), message };
                self.failures.entry(mac).or_insert(failure);
            }
            None => self.other_failures.push(message),
        }
    }
}

/// Does what the plan says and records in `actual` what succeeded. What fails does not stop the
/// rest, but for what needs it.
pub(crate) async fn carry_out<K: Kernel>(kernel: &mut K, plan: Vec<NetOp>, actual: &mut KernelNetwork) -> Outcome {
    let mut outcome = Outcome::default();
    let mut undone: Vec<NetOp> = Vec::new();
    for op in plan {
        if undone.iter().any(|earlier| op.needs(earlier)) {
            undone.push(op);
            continue;
        }
        match kernel.apply(&op).await {
            Ok(()) => {
                actual.apply(&op);
                outcome.done.push(op.to_string());
            }
            Err(error) => {
                outcome.add_failure(&op, &error);
                undone.push(op);
            }
        }
    }
    outcome
}

/// The port, of this host or another, that is not as wanted when the operation fails.
fn about_port(op: &NetOp) -> Option<MacAddr> {
    match op {
        NetOp::Close { mac, .. }
        | NetOp::RemoveFdb { mac, .. }
        | NetOp::Unplug { mac }
        | NetOp::SetMtu { mac, .. }
        | NetOp::Plug { mac, .. }
        | NetOp::Filter { mac, .. }
        | NetOp::SetFdb { mac, .. }
        | NetOp::Configure { mac, .. }
        | NetOp::Open { mac, .. } => Some(*mac),
        NetOp::SetNeighbor { mac, .. } => (*mac != SERVER_MAC).then_some(*mac),
        NetOp::RemoveNeighbor { .. }
        | NetOp::RemoveVtep { .. }
        | NetOp::RemoveNetwork { .. }
        | NetOp::SetNetwork { .. }
        | NetOp::AddVtep { .. } => None,
    }
}
