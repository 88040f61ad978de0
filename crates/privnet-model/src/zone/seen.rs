use std::sync::Arc;

use super::state::Holdings;
use super::{Caller, Zone};
use crate::{Instance, InstanceId, Network, NetworkId, Operation, OperationId, Scope};

/// A zone as a caller sees it: what other organizations have is not there (invariant 10).
#[derive(Debug, Clone, Copy)]
pub struct Seen<'z> {
    zone: &'z Zone,
    caller: Caller,
}

impl Zone {
    /// This zone as a caller sees it.
    pub const fn seen_by(&self, caller: Caller) -> Seen<'_> {
        Seen { zone: self, caller }
    }
}

impl<'z> Seen<'z> {
    /// A network by id.
    pub fn network(self, id: NetworkId) -> Option<&'z Arc<Network>> {
        self.zone.network(id).filter(|network| network.organization == self.caller.organization())
    }

    /// The networks from an id on, in the order of their creation.
    pub fn networks_from(self, first: NetworkId) -> impl Iterator<Item = &'z Arc<Network>> {
        let ids = self.holdings().map(|holdings| holdings.networks.range(first..));
        ids.into_iter().flatten().filter_map(move |id| self.zone.network(*id))
    }

    /// How many networks there are.
    pub fn networks_count(self) -> usize {
        self.holdings().map_or(0, |holdings| holdings.networks.len())
    }

    /// An instance by id.
    pub fn instance(self, id: InstanceId) -> Option<&'z Arc<Instance>> {
        self.zone.instance(id).filter(|instance| instance.organization == self.caller.organization())
    }

    /// The instances from an id on, in the order of their creation.
    pub fn instances_from(self, first: InstanceId) -> impl Iterator<Item = &'z Arc<Instance>> {
        let ids = self.holdings().map(|holdings| holdings.instances.range(first..));
        ids.into_iter().flatten().filter_map(move |id| self.zone.instance(*id))
    }

    /// How many instances there are.
    pub fn instances_count(self) -> usize {
        self.holdings().map_or(0, |holdings| holdings.instances.len())
    }

    /// An operation by id. An operator, who moves instances of any organization, sees all.
    pub fn operation(self, id: OperationId) -> Option<&'z Arc<Operation>> {
        let sees_all = matches!(self.caller, Caller::Server | Caller::Client { scope: Scope::Operator, .. });
        let is_own = |operation: &&Arc<Operation>| operation.organization == self.caller.organization();
        self.zone.operation(id).filter(|operation| sees_all || is_own(operation))
    }

    fn holdings(self) -> Option<&'z Holdings> {
        self.zone.holdings.get(&self.caller.organization())
    }
}
