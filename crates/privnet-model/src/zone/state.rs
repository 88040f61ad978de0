use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{Change, Row, Snapshot};
use crate::{
    Applied, Carriage, Generation, Host, HostId, HostName, Instance, InstanceId, Invitation, InvitationId, Key, KeyId,
    MacAddr, Name, Network, NetworkId, Operation, OperationId, OperationState, Organization, OrganizationId,
    OrganizationName, Port, RequestId, Scope, SignedRequest, SortedMap, SshKey, Vni, Wait, WaitPort,
};

/// How many removed ports of one network are remembered, so that a host that missed their removal
/// is sent a delta. One that missed more is sent the full state.
pub(super) const REMOVALS_MAX: usize = 1024;

/// Every record of a zone, with the indexes that decisions need.
///
/// The records are shared by reference count: two zones that hold the same records cost little more
/// than one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    pub(super) organizations: BTreeMap<OrganizationId, Arc<Organization>>,
    /// Of each organization that has some.
    pub(super) ssh_keys: BTreeMap<OrganizationId, BTreeMap<Name, Arc<SshKey>>>,
    pub(super) keys: BTreeMap<KeyId, Arc<Key>>,
    /// Each in a place of its own: the nodes of a tree that grows at its end are half empty.
    pub(super) segments: BTreeMap<NetworkId, Box<Segment>>,
    pub(super) instances: BTreeMap<InstanceId, Arc<Instance>>,
    pub(super) hosts: BTreeMap<HostId, Arc<Host>>,
    pub(super) invitations: BTreeMap<InvitationId, Arc<Invitation>>,
    pub(super) operations: BTreeMap<OperationId, Arc<Operation>>,
    /// The operations of each signed request: more than one where equal wishes were signed within one second.
    pub(super) operations_of_request: BTreeSet<(RequestId, OperationId)>,
    pub(super) carriages: BTreeMap<(NetworkId, HostId), Arc<Carriage>>,
    /// What each organization has; one that has nothing is absent.
    pub(super) holdings: HashMap<OrganizationId, Holdings>,
    pub(super) networks_of_instance: BTreeSet<(InstanceId, NetworkId)>,
    pub(super) networks_of_host: HashMap<HostId, BTreeSet<NetworkId>>,
    pub(super) instances_of_host: HashMap<HostId, BTreeSet<InstanceId>>,
    /// How many hosts can carry packets of each size, see [`crate::HostFacts::overlay_mtu_bytes`].
    pub(super) hosts_per_mtu: BTreeMap<u32, usize>,
    /// Whose port has each MAC address.
    pub(super) macs: HashMap<MacAddr, InstanceId>,
    /// How many networks and carriages hold each VNI; one that is absent is free.
    pub(super) vni_holders: HashMap<Vni, u32>,
}

/// What one organization has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    pub(super) keys: BTreeSet<KeyId>,
    pub(super) networks: BTreeSet<NetworkId>,
    pub(super) instances: BTreeSet<InstanceId>,
    /// Operations that are not final.
    pub(super) pending: BTreeSet<OperationId>,
    /// Operations that are.
    pub(super) finished: BTreeSet<OperationId>,
}

impl Holdings {
    fn operations(&mut self, are_final: bool) -> &mut BTreeSet<OperationId> {
        if are_final { &mut self.finished } else { &mut self.pending }
    }
}

/// One network with its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) network: Arc<Network>,
    pub(super) ports: SortedMap<InstanceId, Arc<Port>>,
    pub(super) holders: SortedMap<Ipv4Addr, InstanceId>,
    /// How many of the ports each host has.
    pub(super) ports_per_host: SortedMap<HostId, usize>,
    /// Ports removed since `removals_from`, with the generation that removed them.
    pub(super) removals: VecDeque<(Generation, MacAddr)>,
    /// Removals at or before this generation are not remembered.
    pub(super) removals_from: Generation,
}

impl Zone {
    /// The zone with these records.
    pub fn new(snapshot: Snapshot) -> Self {
        let mut zone = Self::default();
        let organizations = snapshot.organizations.into_iter().map(|record| Change::Organization(Row::insert(record)));
        let keys = snapshot.keys.into_iter().map(|record| Change::Key(Row::insert(record)));
        let networks = snapshot.networks.into_iter().map(|record| Change::Network(Row::insert(record)));
        let hosts = snapshot.hosts.into_iter().map(|record| Change::Host(Row::insert(record)));
        let instances = snapshot.instances.into_iter().map(|record| Change::Instance(Row::insert(record)));
        let ports = snapshot.ports.into_iter().map(|record| Change::Port(Row::insert(record)));
        let operations = snapshot.operations.into_iter().map(|record| Change::Operation(Row::insert(record)));
        let ssh_keys = snapshot.ssh_keys.into_iter().map(|record| Change::SshKey(Row::insert(record)));
        let invitations = snapshot.invitations.into_iter().map(|record| Change::Invitation(Row::insert(record)));
        let carriages = snapshot.carriages.into_iter().map(|record| Change::Carriage(Row::insert(record)));
        let changes = organizations.chain(keys).chain(networks).chain(hosts).chain(instances).chain(ports);
        let changes = changes.chain(operations).chain(carriages).chain(ssh_keys).chain(invitations);
        changes.for_each(|change| zone.apply(&change));
        zone
    }

    /// Every record, each kind in the order of its key: what [`Zone::new`] makes this zone of.
    pub fn snapshot(&self) -> Snapshot {
        let ports = self.segments.values().flat_map(|segment| segment.ports.values());
        let mut carriages: Vec<_> = self.carriages.values().map(|record| **record).collect();
        carriages.sort_by_key(|carriage| (carriage.host, carriage.network));
        Snapshot {
            organizations: self.organizations().map(|record| Organization::clone(record)).collect(),
            keys: self.keys().map(|record| Key::clone(record)).collect(),
            networks: self.networks().map(|record| Network::clone(record)).collect(),
            instances: self.instances().map(|record| Instance::clone(record)).collect(),
            ports: ports.map(|record| Port::clone(record)).collect(),
            hosts: self.hosts().map(|record| Host::clone(record)).collect(),
            operations: self.operations.values().map(|record| Operation::clone(record)).collect(),
            carriages,
            ssh_keys: self.ssh_keys.values().flat_map(BTreeMap::values).map(|record| SshKey::clone(record)).collect(),
            invitations: self.invitations().map(|record| Invitation::clone(record)).collect(),
        }
    }

    /// An organization by id.
    pub fn organization(&self, id: OrganizationId) -> Option<&Arc<Organization>> {
        self.organizations.get(&id)
    }

    /// An organization by name.
    pub fn organization_by_name(&self, name: &OrganizationName) -> Option<&Arc<Organization>> {
        self.organizations.values().find(|organization| organization.name == *name)
    }

    /// All organizations in the order of their ids.
    pub fn organizations(&self) -> impl ExactSizeIterator<Item = &Arc<Organization>> {
        self.organizations.values()
    }

    /// A key by id.
    pub fn key(&self, id: KeyId) -> Option<&Arc<Key>> {
        self.keys.get(&id)
    }

    /// All keys in the order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// A network by id.
    pub fn network(&self, id: NetworkId) -> Option<&Arc<Network>> {
        self.segments.get(&id).map(|segment| &segment.network)
    }

    /// All networks in the order of their creation.
    pub fn networks(&self) -> impl ExactSizeIterator<Item = &Arc<Network>> {
        self.segments.values().map(|segment| &segment.network)
    }

    /// The networks from an id on, in the order of their creation.
    pub fn networks_from(&self, first: NetworkId) -> impl Iterator<Item = &Arc<Network>> {
        self.segments.range(first..).map(|(_, segment)| &segment.network)
    }

    /// The ports of a network, in the order in which their instances were created.
    pub fn ports_of_network(&self, id: NetworkId) -> impl Iterator<Item = &Arc<Port>> {
        self.segments.get(&id).into_iter().flat_map(|segment| segment.ports.values())
    }

    /// The port of an instance in a network.
    pub fn port(&self, network: NetworkId, instance: InstanceId) -> Option<&Arc<Port>> {
        self.segments.get(&network)?.ports.get(&instance)
    }

    /// Whether some port has that MAC address.
    pub fn has_port(&self, mac: MacAddr) -> bool {
        self.macs.contains_key(&mac)
    }

    /// The ports of an instance.
    pub fn ports_of_instance(&self, id: InstanceId) -> impl Iterator<Item = &Arc<Port>> {
        let networks = self.networks_of_instance.range((id, NetworkId::MIN)..=(id, NetworkId::MAX));
        networks.filter_map(move |(_, network)| self.port(*network, id))
    }

    /// An instance by id.
    pub fn instance(&self, id: InstanceId) -> Option<&Arc<Instance>> {
        self.instances.get(&id)
    }

    /// All instances in the order of their creation.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = &Arc<Instance>> {
        self.instances.values()
    }

    /// The instances from an id on, in the order of their creation.
    pub fn instances_from(&self, first: InstanceId) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.range(first..).map(|(_, instance)| instance)
    }

    /// The instances of a host, in the order of their creation.
    pub fn instances_on(&self, host: HostId) -> impl Iterator<Item = &Arc<Instance>> {
        let ids = self.instances_of_host.get(&host).into_iter().flatten();
        ids.filter_map(|id| self.instances.get(id))
    }

    /// A host by id.
    pub fn host(&self, id: HostId) -> Option<&Arc<Host>> {
        self.hosts.get(&id)
    }

    /// A host by name.
    pub fn host_by_name(&self, name: &HostName) -> Option<&Arc<Host>> {
        self.hosts.values().find(|host| host.name == *name)
    }

    /// All hosts in the order in which they first reported.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Arc<Host>> {
        self.hosts.values()
    }

    /// All invitations in the order of their creation.
    pub fn invitations(&self) -> impl ExactSizeIterator<Item = &Arc<Invitation>> {
        self.invitations.values()
    }

    /// An operation by id.
    pub fn operation(&self, id: OperationId) -> Option<&Arc<Operation>> {
        self.operations.get(&id)
    }

    /// The operation that the same request was answered with when it came before. None where that was for several
    /// equal wishes: nobody can tell which of them lacks its answer.
    pub(super) fn answer_before(&self, request: SignedRequest) -> Option<&Arc<Operation>> {
        let ids = (request.id, OperationId::MIN)..=(request.id, OperationId::MAX);
        let mut operations = self.operations_of_request.range(ids).filter_map(|(_, id)| self.operations.get(id));
        let only = operations.next().filter(|_| operations.next().is_none())?;
        only.request.filter(|earlier| request.repeats(earlier)).map(|_| only)
    }

    /// The operations that are not final yet, oldest first.
    pub fn pending_operations(&self) -> impl Iterator<Item = &Arc<Operation>> {
        self.operations.values().filter(|operation| !operation.is_final())
    }

    /// Those of one organization that are not final yet, oldest first.
    pub(super) fn pending_operations_of(
        &self,
        organization: OrganizationId,
    ) -> impl Iterator<Item = &Arc<Operation>> + Clone {
        let ids = self.holdings.get(&organization).into_iter().flat_map(|holdings| &holdings.pending);
        ids.filter_map(|id| self.operations.get(id))
    }

    /// The instances that a host has lost, as far as an operation waits for its word that nothing is left.
    pub fn lost_instances(&self, host: HostId) -> Vec<InstanceId> {
        let lost = |operation: &Arc<Operation>| match operation.state {
            OperationState::Pending { wait: Wait::Removed { instance, host: of }, .. } if of == host => Some(instance),
            _ => None,
        };
        self.pending_operations().filter_map(lost).collect()
    }

    /// What a pending operation waits for, network by network.
    pub fn awaited(&self, wait: &Wait) -> Vec<Applied> {
        match wait {
            Wait::Applied(applied) => {
                vec![Applied { port: applied.port.map(|port| self.where_it_is(port)), ..*applied }]
            }
            Wait::Placed(id) => {
                let Some(instance) = self.instances.get(id) else { return Vec::new() };
                let applied = |port: &Arc<Port>| {
                    let own = WaitPort { host: instance.host, mac: port.mac };
                    Applied { network: port.network, generation: port.changed, port: Some(own) }
                };
                self.ports_of_instance(*id).map(applied).collect()
            }
            Wait::Removed { .. } => Vec::new(),
        }
    }

    /// A port with the host that is to have it now, if it still is one's: its instance may have been moved since.
    fn where_it_is(&self, port: WaitPort) -> WaitPort {
        let instance = self.macs.get(&port.mac).and_then(|instance| self.instances.get(instance));
        WaitPort { host: instance.map_or(port.host, |instance| instance.host), ..port }
    }

    /// The hosts that may carry a network, which may have been deleted.
    pub fn carriers(&self, network: NetworkId) -> impl Iterator<Item = HostId> {
        self.carriages.range((network, HostId::MIN)..=(network, HostId::MAX)).map(|((_, host), _)| *host)
    }

    /// The networks that a host may carry, deleted ones among them.
    pub fn carried_by(&self, host: HostId) -> impl Iterator<Item = NetworkId> {
        self.networks_of_host.get(&host).into_iter().flatten().copied()
    }

    /// Carries out a change that was decided on this zone's state.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::SshKey(row) => self.apply_ssh_key(row),
            Change::Organization(row) => replace(&mut self.organizations, row, |organization| organization.id),
            Change::Key(row) => self.apply_key(row),
            Change::Network(row) => self.apply_network(row),
            Change::Instance(row) => self.apply_instance(row),
            Change::Port(row) => self.apply_port(row),
            Change::Host(row) => self.apply_host(row),
            Change::Invitation(row) => replace(&mut self.invitations, row, |invitation| invitation.id),
            Change::Operation(row) => self.apply_operation(row),
            Change::Carriage(row) => self.apply_carriage(row),
        }
    }

    fn apply_key(&mut self, row: &Row<Key>) {
        if let Some((Scope::Organization(organization, _), id)) = row.before.as_ref().map(|key| (key.scope, key.id)) {
            self.change_holdings(organization, |holdings| holdings.keys.remove(&id));
        }
        if let Some((Scope::Organization(organization, _), id)) = row.after.as_ref().map(|key| (key.scope, key.id)) {
            self.change_holdings(organization, |holdings| holdings.keys.insert(id));
        }
        replace(&mut self.keys, row, |key| key.id);
    }

    fn apply_ssh_key(&mut self, row: &Row<SshKey>) {
        let Some(organization) = row.after.as_ref().or(row.before.as_ref()).map(|key| key.organization) else { return };
        let keys = self.ssh_keys.entry(organization).or_default();
        replace(keys, row, |key| key.name.clone());
        if keys.is_empty() {
            self.ssh_keys.remove(&organization);
        }
    }

    fn apply_network(&mut self, row: &Row<Network>) {
        if let Some(before) = &row.before {
            self.change_holdings(before.organization, |holdings| holdings.networks.remove(&before.id));
        }
        if let Some(after) = &row.after {
            self.change_holdings(after.organization, |holdings| holdings.networks.insert(after.id));
        }
        match (&row.before, &row.after) {
            (_, Some(after)) => match self.segments.get_mut(&after.id) {
                Some(segment) => {
                    segment.network = Arc::clone(after);
                    segment.forget_removals_after(after.generation);
                }
                None => {
                    self.hold_vni(after.vni);
                    self.segments.insert(after.id, Box::new(Segment::new(Arc::clone(after))));
                }
            },
            (Some(before), None) => {
                self.segments.remove(&before.id);
                self.release_vni(before.vni);
            }
            (None, None) => {}
        }
    }

    fn apply_host(&mut self, row: &Row<Host>) {
        if let Some(before) = &row.before {
            let mtu_bytes = before.facts.overlay_mtu_bytes();
            if let Some(hosts) = self.hosts_per_mtu.get_mut(&mtu_bytes) {
                *hosts -= 1;
                if *hosts == 0 {
                    self.hosts_per_mtu.remove(&mtu_bytes);
                }
            }
        }
        if let Some(after) = &row.after {
            *self.hosts_per_mtu.entry(after.facts.overlay_mtu_bytes()).or_default() += 1;
        }
        replace(&mut self.hosts, row, |host| host.id);
    }

    fn apply_instance(&mut self, row: &Row<Instance>) {
        if let Some(before) = &row.before {
            self.change_holdings(before.organization, |holdings| holdings.instances.remove(&before.id));
            remove_from(&mut self.instances_of_host, before.host, before.id);
        }
        if let Some(after) = &row.after {
            self.change_holdings(after.organization, |holdings| holdings.instances.insert(after.id));
            self.instances_of_host.entry(after.host).or_default().insert(after.id);
        }
        if let (Some(before), Some(after)) = (&row.before, &row.after) {
            self.count_ports_elsewhere(after.id, before.host, after.host);
        }
        replace(&mut self.instances, row, |instance| instance.id);
    }

    fn apply_port(&mut self, row: &Row<Port>) {
        if let Some(before) = &row.before {
            self.macs.remove(&before.mac);
            self.networks_of_instance.remove(&(before.instance, before.network));
            let host = self.instances.get(&before.instance).map(|instance| instance.host);
            if let (Some(segment), Some(host)) = (self.segments.get_mut(&before.network), host) {
                segment.remove(before, host, row.after.is_none());
            }
        }
        if let Some(after) = &row.after {
            self.macs.insert(after.mac, after.instance);
            self.networks_of_instance.insert((after.instance, after.network));
            let host = self.instances.get(&after.instance).map(|instance| instance.host);
            if let (Some(segment), Some(host)) = (self.segments.get_mut(&after.network), host) {
                segment.insert(after, host);
            }
        }
    }

    fn count_ports_elsewhere(&mut self, instance: InstanceId, from: HostId, to: HostId) {
        let networks = self.networks_of_instance.range((instance, NetworkId::MIN)..=(instance, NetworkId::MAX));
        for (_, network) in networks {
            if let Some(segment) = self.segments.get_mut(network) {
                segment.count_one_less(from);
                segment.count_one_more(to);
            }
        }
    }

    fn apply_operation(&mut self, row: &Row<Operation>) {
        if let Some(before) = &row.before {
            let is_final = before.is_final();
            self.change_holdings(before.organization, |holdings| holdings.operations(is_final).remove(&before.id));
            before.request.map(|request| self.operations_of_request.remove(&(request.id, before.id)));
        }
        if let Some(after) = &row.after {
            let is_final = after.is_final();
            self.change_holdings(after.organization, |holdings| holdings.operations(is_final).insert(after.id));
            after.request.map(|request| self.operations_of_request.insert((request.id, after.id)));
        }
        replace(&mut self.operations, row, |operation| operation.id);
    }

    fn apply_carriage(&mut self, row: &Row<Carriage>) {
        if let Some(before) = &row.before {
            self.release_vni(before.vni);
            remove_from(&mut self.networks_of_host, before.host, before.network);
        }
        if let Some(after) = &row.after {
            self.hold_vni(after.vni);
            self.networks_of_host.entry(after.host).or_default().insert(after.network);
        }
        replace(&mut self.carriages, row, |carriage| (carriage.network, carriage.host));
    }

    fn change_holdings(&mut self, organization: OrganizationId, change: impl FnOnce(&mut Holdings) -> bool) {
        let holdings = self.holdings.entry(organization).or_default();
        change(holdings);
        if *holdings == Holdings::default() {
            self.holdings.remove(&organization);
        }
    }

    fn hold_vni(&mut self, vni: Vni) {
        *self.vni_holders.entry(vni).or_default() += 1;
    }

    fn release_vni(&mut self, vni: Vni) {
        if let Some(holders) = self.vni_holders.get_mut(&vni) {
            *holders -= 1;
            if *holders == 0 {
                self.vni_holders.remove(&vni);
            }
        }
    }
}

impl Segment {
    fn new(network: Arc<Network>) -> Self {
        let removals_from = network.generation;
        Self {
            network,
            ports: SortedMap::new(),
            holders: SortedMap::new(),
            ports_per_host: SortedMap::new(),
            removals: VecDeque::new(),
            removals_from,
        }
    }

    fn insert(&mut self, port: &Arc<Port>, host: HostId) {
        self.count_one_more(host);
        if let Some(lease) = port.lease {
            self.holders.insert(lease.address, port.instance);
        }
        self.ports.insert(port.instance, Arc::clone(port));
    }

    /// The network's own change comes first in a decision, so its generation is the one that removes.
    fn remove(&mut self, port: &Port, host: HostId, for_good: bool) {
        self.count_one_less(host);
        if let Some(lease) = port.lease {
            self.holders.remove(&lease.address);
        }
        self.ports.remove(&port.instance);
        if for_good {
            self.removals.push_back((self.network.generation, port.mac));
        }
        while self.removals.len() > REMOVALS_MAX {
            if let Some((generation, _)) = self.removals.pop_front() {
                self.removals_from = generation;
            }
        }
    }

    fn count_one_more(&mut self, host: HostId) {
        match self.ports_per_host.get_mut(&host) {
            Some(count) => *count += 1,
            None => drop(self.ports_per_host.insert(host, 1)),
        }
    }

    fn count_one_less(&mut self, host: HostId) {
        if let Some(count) = self.ports_per_host.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.ports_per_host.remove(&host);
            }
        }
    }

    /// A network whose generation falls is one whose last change is undone, and so are its removals.
    fn forget_removals_after(&mut self, generation: Generation) {
        while self.removals.back().is_some_and(|(removed, _)| *removed > generation) {
            self.removals.pop_back();
        }
    }
}

fn replace<K: Ord, T>(records: &mut BTreeMap<K, Arc<T>>, row: &Row<T>, key: impl Fn(&T) -> K) {
    match (&row.before, &row.after) {
        (_, Some(after)) => drop(records.insert(key(after), Arc::clone(after))),
        (Some(before), None) => drop(records.remove(&key(before))),
        (None, None) => {}
    }
}

fn remove_from<K: std::hash::Hash + Eq, V: Ord>(sets: &mut HashMap<K, BTreeSet<V>>, key: K, value: V) {
    if let Some(set) = sets.get_mut(&key) {
        set.remove(&value);
        if set.is_empty() {
            sets.remove(&key);
        }
    }
}
