use std::collections::BTreeMap;
use std::sync::Arc;

use super::state::Holdings;
use super::{Caller, Zone};
use crate::{
    Instance, InstanceId, Key, KeyId, Name, Network, NetworkId, Operation, OperationId, OrganizationId, Scope, SshKey,
};

/// A zone as a caller sees it: what other organizations have is not there (invariant 10).
#[derive(Debug, Clone, Copy)]
pub struct Seen<'z> {
    zone: &'z Zone,
    caller: Caller,
}

/// How much an organization has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Networks.
    pub networks: usize,
    /// Instances.
    pub instances: usize,
    /// Keys, expired ones among them.
    pub keys: usize,
    /// SSH keys.
    pub ssh_keys: usize,
}

impl Zone {
    /// How much an organization has.
    pub fn usage(&self, organization: OrganizationId) -> Usage {
        let ssh_keys = self.ssh_keys.get(&organization).map_or(0, BTreeMap::len);
        let Some(holdings) = self.holdings.get(&organization) else { return Usage { ssh_keys, ..Usage::default() } };
        Usage {
            networks: holdings.networks.len(),
            instances: holdings.instances.len(),
            keys: holdings.keys.len(),
            ssh_keys,
        }
    }

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

    /// An SSH key by name.
    pub fn ssh_key(self, name: &Name) -> Option<&'z Arc<SshKey>> {
        self.zone.ssh_keys.get(&self.caller.organization())?.get(name)
    }

    /// All SSH keys, by name.
    pub fn ssh_keys(self) -> impl Iterator<Item = &'z Arc<SshKey>> {
        self.zone.ssh_keys.get(&self.caller.organization()).into_iter().flat_map(BTreeMap::values)
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

    /// An operation by id. An operator, who moves instances of any organization, sees all.
    pub fn operation(self, id: OperationId) -> Option<&'z Arc<Operation>> {
        let is_own = |operation: &&Arc<Operation>| operation.organization == self.caller.organization();
        self.zone.operation(id).filter(|operation| self.caller.is_operator() || is_own(operation))
    }

    /// A key by id: of the caller's organization, or any where an operator asks.
    pub fn key(self, id: KeyId) -> Option<&'z Arc<Key>> {
        let organization = self.caller.organization();
        let is_own = |key: &&Arc<Key>| matches!(key.scope, Scope::Organization(owner, _) if owner == organization);
        self.zone.key(id).filter(|key| self.caller.is_operator() || is_own(key))
    }

    /// The keys of the caller's organization, or all where an operator asks, in the order of their ids.
    pub fn keys(self) -> impl Iterator<Item = &'z Arc<Key>> {
        let all = self.caller.is_operator().then(|| self.zone.keys());
        let own = self.holdings().filter(|_| all.is_none()).map(|holdings| &holdings.keys);
        all.into_iter().flatten().chain(own.into_iter().flatten().filter_map(move |id| self.zone.key(*id)))
    }

    fn holdings(self) -> Option<&'z Holdings> {
        self.zone.holdings.get(&self.caller.organization())
    }
}
