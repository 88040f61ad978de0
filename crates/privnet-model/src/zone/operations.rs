//! The operations that tell how far changes are.

use std::sync::Arc;

use super::decide::{Circumstances, Decision, FINISHED_OPERATIONS_MAX, Outcome, PENDING_OPERATIONS_MAX, random_octets};
use super::{Change, Refusal, Row, Zone};
use crate::{
    Applied, Driver, Instance, Network, Operation, OperationId, OperationKind, OperationState, OrganizationId, Subject,
    Wait, WaitPort,
};

impl Zone {
    /// A final state stays: finishing an operation again changes nothing. One whose organization has been deleted
    /// meanwhile is not kept, as nobody can ask for it.
    pub(super) fn finish_operation(&self, id: OperationId, state: &OperationState) -> Result<Decision, Refusal> {
        let before = self.operations.get(&id).ok_or(Refusal::OperationNotFound(id))?;
        if before.is_final() {
            return Ok(Decision { changes: Vec::new(), outcome: Outcome::Operation(Arc::clone(before)) });
        }
        let after = Arc::new(Operation { state: state.clone(), ..Operation::clone(before) });
        let kept = self.organization(before.organization).map(|_| Arc::clone(&after));
        let mut changes = vec![Change::Operation(Row { before: Some(Arc::clone(before)), after: kept })];
        changes.extend(self.forget_oldest_operations(before.organization));
        Ok(Decision { changes, outcome: Outcome::Operation(after) })
    }

    /// Adds the operation that tells how far the changes are. Where no host has to do anything, it
    /// is a success from the start. Where nothing changes, it is the one that is under way.
    pub(super) fn accept(
        &self,
        kind: OperationKind,
        organization: OrganizationId,
        changes: Vec<Change>,
        wait: Wait,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let subject = match wait {
            Wait::Applied(Applied { network, .. }) => Subject::Network(network),
            Wait::Placed(instance) | Wait::Removed { instance, .. } => Subject::Instance(instance),
        };
        let state = if self.needs_no_host(&wait, &changes) {
            OperationState::Success
        } else {
            let mut pending = self.pending_operations_of(organization);
            let is_same = |operation: &&Arc<Operation>| operation.kind == kind && operation.waits_for(wait);
            if changes.is_empty()
                && let Some(same) = pending.clone().find(is_same)
            {
                return Ok(Decision { changes, outcome: Outcome::Operation(Arc::clone(same)) });
            }
            if !world.caller.is_operator() && pending.nth(PENDING_OPERATIONS_MAX - 1).is_some() {
                return Err(Refusal::TooManyPending);
            }
            OperationState::Pending { wait, deadline: world.now.plus(world.operation_timeout) }
        };
        Ok(self.add_operation(kind, organization, subject, state, changes, world))
    }

    /// Adds an operation in this state.
    pub(super) fn add_operation(
        &self,
        kind: OperationKind,
        organization: OrganizationId,
        subject: Subject,
        state: OperationState,
        mut changes: Vec<Change>,
        world: &mut Circumstances<'_>,
    ) -> Decision {
        let operation = Arc::new(Operation {
            id: OperationId::new(world.now.unix_ms, random_octets(world)),
            organization,
            kind,
            subject,
            created_at: world.now,
            request: world.request,
            state,
        });
        changes.push(Change::Operation(Row { before: None, after: Some(Arc::clone(&operation)) }));
        if operation.is_final() {
            changes.extend(self.forget_oldest_operations(organization));
        }
        Decision { changes, outcome: Outcome::Operation(operation) }
    }

    /// Whether the changes are in force as soon as they are durable.
    fn needs_no_host(&self, wait: &Wait, changes: &[Change]) -> bool {
        let is_made = |instance: &Instance| instance.driver == Driver::Netns;
        match *wait {
            Wait::Applied(Applied { network, port, .. }) => port.is_none() && self.carriers(network).next().is_none(),
            Wait::Placed(id) => {
                let is_about = |change: &Change| matches!(change, Change::Instance(row) if row.after.as_ref().is_some_and(|after| after.id == id && is_made(after)));
                let is_made =
                    self.instances.get(&id).is_some_and(|instance| is_made(instance)) || changes.iter().any(is_about);
                !is_made && self.ports_of_instance(id).next().is_none()
            }
            Wait::Removed { instance: id, .. } => {
                let is_made = self.instances.get(&id).is_some_and(|instance| is_made(instance));
                !is_made && self.ports_of_instance(id).next().is_none()
            }
        }
    }

    /// Forgets an organization's oldest final operations, where one more would be too many. No more than two, so that
    /// a database of a version that kept more comes down without a long commit.
    fn forget_oldest_operations(&self, organization: OrganizationId) -> impl Iterator<Item = Change> {
        let finished = self.holdings.get(&organization).map(|holdings| &holdings.finished);
        let surplus = finished.map_or(0, |finished| (finished.len() + 1).saturating_sub(FINISHED_OPERATIONS_MAX));
        let oldest = finished.into_iter().flatten().take(surplus.min(2)).filter_map(|id| self.operations.get(id));
        oldest.map(|operation| Change::Operation(Row::remove(Arc::clone(operation))))
    }
}

pub(super) fn wait_for(network: &Network, port: Option<WaitPort>) -> Wait {
    Wait::Applied(Applied { network: network.id, generation: network.generation, port })
}
