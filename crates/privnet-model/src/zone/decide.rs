use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::state::Segment;
use super::{Caller, Change, Command, CreateNetwork, DeviceWish, RangeFields, Refusal, Row, UpdateNetwork, Zone};
use crate::{
    AddressRange, Applied, Carriage, DeviceName, Driver, Generation, Host, HostCertificates, HostFacts, HostId,
    HostName, Instance, InstanceId, Invitation, Key, Labels, Lease, LeaseKind, MacAddr, Network, NetworkId, Operation,
    OperationId, OperationKind, OperationState, Organization, OrganizationId, Placement, Port, Quota, Scope,
    SignedRequest, Subject, Timestamp, Vni, Wait, WaitPort, next_fit,
};

/// How many final operations of one organization are kept for clients that ask late; its oldest goes when one more
/// comes.
pub const FINISHED_OPERATIONS_MAX: usize = 10_000;

/// How many operations of one organization may be pending, which hosts' reports are compared with. Operators' are
/// not refused: an instance must come off a host that is dead, whoever waits for that host.
pub const PENDING_OPERATIONS_MAX: usize = 1000;

/// What a decision takes from the world.
pub struct Circumstances<'a> {
    /// Who asks.
    pub caller: Caller,
    /// What they have signed.
    pub request: Option<SignedRequest>,
    /// The time.
    pub now: Timestamp,
    /// How long an operation may be pending.
    pub operation_timeout: Duration,
    /// Uniform random numbers.
    pub random: &'a mut dyn FnMut() -> u64,
    /// Whether a host's agent is connected, and makes instances.
    pub makes_instances: &'a dyn Fn(HostId) -> bool,
}

/// What a command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// To be committed together and then applied, in this order; may be empty.
    pub changes: Vec<Change>,
    /// The answer once they are.
    pub outcome: Outcome,
}

/// What a command answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The operation to follow.
    Operation(Arc<Operation>),
    /// The instance made.
    Instance(Arc<Instance>),
    /// The host's record.
    Host(Arc<Host>),
    /// The organization as it is now.
    Organization(Arc<Organization>),
    /// The key made.
    Key(Arc<Key>),
    /// The invitation made.
    Invitation(Arc<Invitation>),
    /// Nothing to tell.
    Done,
}

impl Zone {
    /// Decides a command on the present state. Nothing is changed by this.
    ///
    /// # Errors
    /// The first [`Refusal`] that holds: the caller's key must still be good, the caller must be one who may give
    /// such a command, what is named must exist for it, then the values must obey their rules, then they must fit
    /// what there is.
    ///
    /// A request that is sent again, as its answer was lost, comes to the operation that it came to before.
    pub fn decide(&self, command: &Command, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        self.refuse_gone_key(world.caller, world.now)?;
        world.caller.check(command.access())?;
        if let Some(operation) = world.request.and_then(|request| self.answer_before(request)) {
            return Ok(Decision { changes: Vec::new(), outcome: Outcome::Operation(Arc::clone(operation)) });
        }
        match command {
            Command::CreateNetwork(wish) => self.create_network(wish, world),
            Command::UpdateNetwork(id, wish) => self.update_network(OperationKind::UpdateNetwork, *id, wish, world),
            Command::DeleteNetwork(id) => self.delete_network(*id, world),
            Command::ResetLabels(id) => self.reset_labels(*id, world),
            Command::Attach { network, instance, address, device } => {
                self.attach(*network, *instance, *address, device, world)
            }
            Command::Detach { network, instance } => self.detach(*network, *instance, world),
            Command::UpdateIp { network, instance, address } => self.update_ip(*network, *instance, *address, world),
            Command::CreateInstance { name, host, placement, organization, labels } => {
                self.create_instance(name, host, placement, *organization, labels, world)
            }
            Command::MoveInstance { instance, host, placement } => {
                self.move_instance(*instance, host, placement.as_ref(), world)
            }
            Command::DeleteInstance(id) => self.delete_instance(*id),
            Command::LaunchInstance(wish) => self.launch_instance(wish, world),
            Command::UpdateInstance(id, wish) => self.update_instance(*id, wish, world),
            Command::ResetInstanceLabels(id) => self.reset_instance_labels(*id, world),
            Command::SetPower(id, power) => self.set_power(*id, *power, world),
            Command::RebootInstance(id) => self.reboot_instance(*id, world),
            Command::ProtectInstance(id, is_protected) => self.protect_instance(*id, *is_protected, world),
            Command::DestroyInstance(id) => self.destroy_instance(*id, world),
            Command::CreateOrganization { name, quotas } => self.create_organization(name, *quotas, world),
            Command::UpdateOrganization(id, wish) => self.update_organization(*id, wish),
            Command::DeleteOrganization(id) => self.delete_organization(*id),
            Command::CreateKey { id, sealed_secret, wish } => self.create_key(*id, sealed_secret, wish, world),
            Command::RevokeKey(id) => self.revoke_key(*id, world.caller),
            Command::RegisterSshKey { name, public_key } => self.register_ssh_key(name, public_key, world),
            Command::DeleteSshKey(name) => self.delete_ssh_key(name, world),
            Command::InviteHost(wish) => self.invite_host(wish, world),
            Command::RevokeInvitation(id) => self.revoke_invitation(*id),
            Command::JoinHost(wish) => self.join_host(wish, world),
            Command::AdmitHost { name, certificate, facts } => self.admit_host(name, *certificate, facts),
            Command::RenewCertificate { name, shown, next } => self.renew_certificate(name, *shown, *next),
            Command::RegisterHost { name, facts } => self.register_host(name, facts, world),
            Command::RemoveHost { host, with_instances } => self.remove_host(*host, *with_instances),
            Command::ConfirmAbsent { host, network } => Ok(self.confirm_absent(*host, *network)),
            Command::FinishOperation(id, state) => self.finish_operation(*id, state),
        }
    }

    fn create_network(&self, wish: &CreateNetwork, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let organization = self.known_organization(world.caller.organization())?;
        let range = merge_range(None, &wish.range)?;
        let usage = self.usage(organization.id);
        refuse_excess(organization.quotas.networks, usage.networks, "the organization", "private network")?;
        let network = Network {
            id: NetworkId::new(world.now.unix_ms, random_octets(world)),
            organization: organization.id,
            name: wish.name.clone(),
            description: wish.description.clone(),
            range,
            options: wish.options.clone(),
            labels: wish.labels.clone(),
            vni: self.free_vni(world)?,
            generation: Generation::FIRST,
            last_address: None,
            created_at: world.now,
        };
        let wait = wait_for(&network, None);
        let changes = vec![Change::Network(Row::insert(network))];
        self.accept(OperationKind::CreateNetwork, world.caller.organization(), changes, wait, world)
    }

    fn update_network(
        &self,
        kind: OperationKind,
        id: NetworkId,
        wish: &UpdateNetwork,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let segment = self.segment(id, world.caller)?;
        let before = &segment.network;
        let mut after = Network::clone(before);
        after.range = merge_range(before.range, &wish.range)?;
        if let Some(name) = &wish.name {
            after.name = name.clone();
        }
        if let Some(description) = &wish.description {
            after.description = description.clone();
        }
        if let Some(options) = &wish.options {
            after.options = options.clone();
        }
        if let Some(labels) = &wish.labels {
            after.labels = labels.clone();
        }
        if after == **before {
            return self.accept(kind, world.caller.organization(), Vec::new(), wait_for(before, None), world);
        }
        after.generation = before.generation.next();
        let ports = match after.range {
            Some(range) => {
                refuse_stranded_leases(segment, &range)?;
                lease_to_unleased(segment, &range, &mut after)?
            }
            None => Vec::new(),
        };
        let wait = wait_for(&after, None);
        let changes = [replace_network(before, after)].into_iter().chain(ports).collect();
        self.accept(kind, world.caller.organization(), changes, wait, world)
    }

    fn delete_network(&self, id: NetworkId, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let segment = self.segment(id, world.caller)?;
        match segment.ports.len() {
            0 => {}
            count => return Err(Refusal::NetworkInUse { network: id, count }),
        }
        let changes = vec![Change::Network(Row::remove(Arc::clone(&segment.network)))];
        let generation = segment.network.generation.next();
        let wait = Wait::Applied(Applied { network: id, generation, port: None });
        self.accept(OperationKind::DeleteNetwork, world.caller.organization(), changes, wait, world)
    }

    fn reset_labels(&self, id: NetworkId, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let wish = UpdateNetwork { labels: Some(Labels::new()), ..UpdateNetwork::default() };
        self.update_network(OperationKind::ResetNetworkField, id, &wish, world)
    }

    fn attach(
        &self,
        network: NetworkId,
        instance: InstanceId,
        address: Option<Ipv4Addr>,
        device: &DeviceWish,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let segment = self.segment(network, world.caller)?;
        let instance = self.own_instance(instance, world.caller)?;
        let before = &segment.network;
        if let (Some(address), None) = (address, before.range) {
            return Err(Refusal::AddressOnUnmanaged(address));
        }
        if let Some(port) = segment.ports.get(&instance.id) {
            refuse_other_address(port, address)?;
            refuse_other_device(port, device)?;
            let wait = wait_for(before, Some(WaitPort { host: instance.host, mac: port.mac }));
            return self.accept(OperationKind::Attach, world.caller.organization(), Vec::new(), wait, world);
        }
        if device.is_configured && matches!(instance.placement, Placement::Tap(_)) {
            return Err(Refusal::TapConfigured(instance.id));
        }
        let quotas = self.known_organization(world.caller.organization())?.quotas;
        refuse_excess(quotas.ports_per_network, segment.ports.len(), "the private network", "attached instance")?;
        self.refuse_other_family(segment, instance, instance.host, world.caller)?;
        let mut after = Network { generation: before.generation.next(), ..Network::clone(before) };
        let lease = match (before.range, address) {
            (None, _) => None,
            (Some(range), Some(address)) => Some(static_lease(segment, &range, address)?),
            (Some(range), None) => Some(dynamic_lease(segment, &range, &mut after)?),
        };
        let mac = self.free_mac(world);
        let port = Port {
            network,
            instance: instance.id,
            mac,
            lease,
            device: match (&device.name, &instance.placement) {
                (Some(name), _) => self.untaken_device(instance.id, name)?,
                (None, Placement::Netns(_)) => self.free_device(instance.id),
                (None, Placement::Tap(_)) => DeviceName::on_host(mac),
            },
            is_configured: device.is_configured,
            changed: after.generation,
        };
        let wait = wait_for(&after, Some(WaitPort { host: instance.host, mac: port.mac }));
        let mut changes = vec![replace_network(before, after), Change::Port(Row::insert(port))];
        changes.extend(self.carriage_to_make(before, instance.host));
        self.accept(OperationKind::Attach, world.caller.organization(), changes, wait, world)
    }

    fn detach(
        &self,
        network: NetworkId,
        instance: InstanceId,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let (segment, port, host) = self.attached(network, instance, world.caller)?;
        let after = Network { generation: segment.network.generation.next(), ..Network::clone(&segment.network) };
        let wait = wait_for(&after, Some(WaitPort { host, mac: port.mac }));
        let changes = vec![replace_network(&segment.network, after), Change::Port(Row::remove(Arc::clone(port)))];
        self.accept(OperationKind::Detach, world.caller.organization(), changes, wait, world)
    }

    fn update_ip(
        &self,
        network: NetworkId,
        instance: InstanceId,
        address: Option<Ipv4Addr>,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let (segment, port, host) = self.attached(network, instance, world.caller)?;
        let before = &segment.network;
        let range = before.range.ok_or(match address {
            Some(address) => Refusal::AddressOnUnmanaged(address),
            None => Refusal::Unmanaged,
        })?;
        let mut after = Network { generation: before.generation.next(), ..Network::clone(before) };
        let lease = match (address, port.lease) {
            (None, Some(Lease { address, kind: LeaseKind::Dynamic })) => Lease { address, kind: LeaseKind::Dynamic },
            (None, _) => dynamic_lease(segment, &range, &mut after)?,
            (Some(address), Some(held)) if held.address == address => Lease { address, kind: LeaseKind::Static },
            (Some(address), _) => static_lease(segment, &range, address)?,
        };
        let wait_port = Some(WaitPort { host, mac: port.mac });
        if port.lease == Some(lease) {
            return self.accept(
                OperationKind::UpdateIp,
                world.caller.organization(),
                Vec::new(),
                wait_for(before, wait_port),
                world,
            );
        }
        let wait = wait_for(&after, wait_port);
        let moved = Port { lease: Some(lease), changed: after.generation, ..Port::clone(port) };
        let changes = vec![replace_network(before, after), Change::Port(Row::replace(Arc::clone(port), moved))];
        self.accept(OperationKind::UpdateIp, world.caller.organization(), changes, wait, world)
    }

    fn register_host(
        &self,
        name: &HostName,
        facts: &HostFacts,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        self.refuse_vtep_taken(name, facts)?;
        match self.host_by_name(name) {
            Some(before) => Ok(self.update_host(before, Host { facts: facts.clone(), ..Host::clone(before) })),
            None => Ok(new_host(name, facts, HostCertificates::default(), world)),
        }
    }

    pub(super) fn refuse_vtep_taken(&self, name: &HostName, facts: &HostFacts) -> Result<(), Refusal> {
        match self.hosts.values().find(|host| host.facts.vtep == facts.vtep && host.name != *name) {
            Some(holder) => Err(Refusal::VtepTaken { vtep: facts.vtep, holder: holder.name.clone() }),
            None => Ok(()),
        }
    }

    /// Puts a host's new record in the place of the one before; the other hosts learn what has changed for them.
    pub(super) fn update_host(&self, before: &Arc<Host>, after: Host) -> Decision {
        if **before == after {
            return Decision { changes: Vec::new(), outcome: Outcome::Host(Arc::clone(before)) };
        }
        let host = Arc::new(after);
        let row = Row { before: Some(Arc::clone(before)), after: Some(Arc::clone(&host)) };
        let mut changes = vec![Change::Host(row)];
        if before.facts.vtep != host.facts.vtep {
            changes.extend(self.touch_ports_of_host(host.id));
        } else if before.facts.overlay_mtu_bytes() != host.facts.overlay_mtu_bytes() {
            changes.extend(self.raise_networks_of_host(host.id));
        }
        Decision { changes, outcome: Outcome::Host(host) }
    }

    /// Raises the generation of every network in which the host has ports, so that the other hosts
    /// learn where those ports are now.
    fn touch_ports_of_host(&self, host: HostId) -> Vec<Change> {
        let is_here = |port: &&Arc<Port>| self.instance(port.instance).is_some_and(|instance| instance.host == host);
        let mut changes = Vec::new();
        for segment in self.carried_by(host).filter_map(|network| self.segments.get(&network)) {
            changes.extend(touch(segment, segment.ports.values().filter(is_here)));
        }
        changes
    }

    /// Raises the generation of every network in which the host has ports, whose MTU may be another now.
    fn raise_networks_of_host(&self, host: HostId) -> impl Iterator<Item = Change> {
        let wanted = self.carried_by(host).filter(move |network| self.is_wanted(*network, host));
        wanted.filter_map(|network| self.segments.get(&network)).map(|segment| raise(&segment.network))
    }

    fn remove_host(&self, id: HostId, with_instances: bool) -> Result<Decision, Refusal> {
        let host = self.hosts.get(&id).ok_or_else(|| Refusal::HostNotFound(id.to_string()))?;
        let instances: Vec<_> = self.instances_on(id).collect();
        if !with_instances && !instances.is_empty() {
            let names = instances.iter().map(|instance| instance.name.clone()).collect();
            return Err(Refusal::HostInUse { host: host.name.clone(), instances: names });
        }
        let mut changes = self.remove_ports_of_host(id);
        let carriages = self.carried_by(id).filter_map(|network| self.carriage(id, network));
        changes.extend(carriages.map(|carriage| Change::Carriage(Row::remove(Arc::clone(carriage)))));
        changes.extend(instances.into_iter().map(|instance| Change::Instance(Row::remove(Arc::clone(instance)))));
        changes.extend(self.invitations_to_forget(&host.name));
        let is_of_host = |key: &&Arc<Key>| matches!(key.scope, Scope::Organization(_, role) if role.host() == Some(id));
        changes.extend(self.keys().filter(is_of_host).map(|key| Change::Key(Row::remove(Arc::clone(key)))));
        changes.push(Change::Host(Row::remove(Arc::clone(host))));
        Ok(done(changes))
    }

    /// Removes every port that the host has, so that the other hosts forget where it was.
    fn remove_ports_of_host(&self, host: HostId) -> Vec<Change> {
        let is_here = |port: &&Arc<Port>| self.instance(port.instance).is_some_and(|instance| instance.host == host);
        let mut changes = Vec::new();
        for segment in self.carried_by(host).filter_map(|network| self.segments.get(&network)) {
            let mut ports = segment.ports.values().filter(is_here).peekable();
            if ports.peek().is_some() {
                changes.push(raise(&segment.network));
            }
            changes.extend(ports.map(|port| Change::Port(Row::remove(Arc::clone(port)))));
        }
        changes
    }

    /// A confirmation that comes too late (the host has a port again) means nothing any more.
    fn confirm_absent(&self, host: HostId, network: NetworkId) -> Decision {
        match self.carriage(host, network) {
            Some(carriage) if !self.is_wanted(network, host) => {
                done(vec![Change::Carriage(Row::remove(Arc::clone(carriage)))])
            }
            _ => done(Vec::new()),
        }
    }

    /// A final state stays: finishing an operation again changes nothing. One whose organization has been deleted
    /// meanwhile is not kept, as nobody can ask for it.
    fn finish_operation(&self, id: OperationId, state: &OperationState) -> Result<Decision, Refusal> {
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

    /// Hosts with VTEPs of IPv4 and of IPv6 reach each other not at all. That the host where an instance is to
    /// have its port fits one other host of the network is enough, since that one fits the rest.
    pub(super) fn refuse_other_family(
        &self,
        segment: &Segment,
        instance: &Instance,
        host: HostId,
        caller: Caller,
    ) -> Result<(), Refusal> {
        let of_instance = |other| usize::from(other == instance.host && segment.ports.contains_key(&instance.id));
        let has_others = |(other, ports): &(&HostId, &usize)| **other != host && **ports > of_instance(**other);
        let other = segment.ports_per_host.iter().find(has_others).map(|(other, _)| other);
        match (self.host(host), other.and_then(|other| self.host(*other))) {
            (Some(host), Some(other)) if host.facts.vtep.is_ipv4() != other.facts.vtep.is_ipv4() => {
                if !caller.is_operator() {
                    return Err(Refusal::HostsApart(segment.network.id));
                }
                Err(Refusal::VtepFamilies {
                    host: host.name.clone(),
                    vtep: host.facts.vtep,
                    network: segment.network.id,
                    other: other.name.clone(),
                    other_vtep: other.facts.vtep,
                })
            }
            _ => Ok(()),
        }
    }

    /// An organization that was named, or the caller's: that may have been deleted since its key was looked up.
    pub(super) fn known_organization(&self, id: OrganizationId) -> Result<&Organization, Refusal> {
        self.organization(id).map(AsRef::as_ref).ok_or(Refusal::OrganizationNotFound(id))
    }

    /// A network of the caller's organization.
    fn segment(&self, id: NetworkId, caller: Caller) -> Result<&Segment, Refusal> {
        let segment = self.segments.get(&id);
        let is_own = |segment: &&Segment| segment.network.organization == caller.organization();
        segment.filter(is_own).ok_or(Refusal::NetworkNotFound(id))
    }

    /// An instance of the caller's organization.
    pub(super) fn own_instance(&self, id: InstanceId, caller: Caller) -> Result<&Arc<Instance>, Refusal> {
        let instance = self.seen_by(caller).instance(id).ok_or(Refusal::InstanceNotFound(id))?;
        let is_container = |host| instance.host == host && instance.driver == Driver::External;
        if caller.host().is_none_or(is_container) { Ok(instance) } else { Err(Refusal::NotOnKeysHost(id)) }
    }

    fn attached(
        &self,
        network: NetworkId,
        instance: InstanceId,
        caller: Caller,
    ) -> Result<(&Segment, &Arc<Port>, HostId), Refusal> {
        let segment = self.segment(network, caller)?;
        let host = self.own_instance(instance, caller)?.host;
        let port = segment.ports.get(&instance).ok_or(Refusal::NotAttached { instance, network })?;
        Ok((segment, port, host))
    }

    fn carriage(&self, host: HostId, network: NetworkId) -> Option<&Arc<Carriage>> {
        self.carriages.get(&(network, host))
    }

    /// The record that a host may carry a network, unless it is there.
    pub(super) fn carriage_to_make(&self, network: &Network, host: HostId) -> Option<Change> {
        let is_there = self.carriage(host, network.id).is_some();
        let carriage = Carriage { host, network: network.id, vni: network.vni };
        (!is_there).then(|| Change::Carriage(Row::insert(carriage)))
    }

    fn free_vni(&self, world: &mut Circumstances<'_>) -> Result<Vni, Refusal> {
        if self.vni_holders.len() >= Vni::MAX as usize {
            return Err(Refusal::VnisExhausted);
        }
        loop {
            let vni = Vni::from_random((world.random)());
            if !self.vni_holders.contains_key(&vni) {
                return Ok(vni);
            }
        }
    }

    fn free_mac(&self, world: &mut Circumstances<'_>) -> MacAddr {
        loop {
            let [a, b, c, d, e, ..] = (world.random)().to_le_bytes();
            let mac = MacAddr::for_port([a, b, c, d, e]);
            if !self.macs.contains_key(&mac) {
                return mac;
            }
        }
    }

    fn untaken_device(&self, instance: InstanceId, name: &DeviceName) -> Result<DeviceName, Refusal> {
        match self.ports_of_instance(instance).find(|port| port.device == *name) {
            Some(port) => Err(Refusal::DeviceTaken { instance, device: name.clone(), network: port.network }),
            None => Ok(name.clone()),
        }
    }

    fn free_device(&self, instance: InstanceId) -> DeviceName {
        let taken: BTreeSet<_> = self.ports_of_instance(instance).map(|port| port.device.clone()).collect();
        (0..=taken.len()).map(DeviceName::of_port).find(|name| !taken.contains(name)).expect("one more name than ports")
    }
}

/// The record of a host that there has not been.
pub(super) fn new_host(
    name: &HostName,
    facts: &HostFacts,
    certificates: HostCertificates,
    world: &mut Circumstances<'_>,
) -> Decision {
    let id = HostId::new(world.now.unix_ms, random_octets(world));
    let host = Host { id, name: name.clone(), facts: facts.clone(), certificates, created_at: world.now };
    let host = Arc::new(host);
    let row = Row { before: None, after: Some(Arc::clone(&host)) };
    Decision { changes: vec![Change::Host(row)], outcome: Outcome::Host(host) }
}

/// The range that the given fields make together with the present ones.
fn merge_range(present: Option<AddressRange>, given: &RangeFields) -> Result<Option<AddressRange>, Refusal> {
    if *given == RangeFields::default() {
        return Ok(present);
    }
    let start = given.start.or(present.map(|range| range.start()));
    let end = given.end.or(present.map(|range| range.end()));
    let netmask = given.netmask.or(present.map(|range| range.subnet().netmask()));
    match (start, end, netmask) {
        (Some(start), Some(end), Some(netmask)) => Ok(Some(AddressRange::new(start, end, netmask)?)),
        _ => {
            let fields = [("start-ip", start), ("end-ip", end), ("netmask", netmask)];
            let missing: Vec<_> = fields.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
            Err(Refusal::HalfSetRange { missing: missing.join(", ") })
        }
    }
}

pub(super) fn refuse_excess(
    quota: Quota,
    usage: usize,
    whose: &'static str,
    what: &'static str,
) -> Result<(), Refusal> {
    match quota.exceeded_by_one_more(usage) {
        Some(limit) => Err(Refusal::QuotaExceeded { whose, what, limit, usage }),
        None => Ok(()),
    }
}

fn refuse_stranded_leases(segment: &Segment, range: &AddressRange) -> Result<(), Refusal> {
    let mut stranded = segment.holders.iter().filter(|(address, _)| range.check_static(**address).is_err());
    match stranded.next() {
        None => Ok(()),
        Some((address, instance)) => {
            Err(Refusal::LeaseStranded { count: 1 + stranded.count(), address: *address, instance: *instance })
        }
    }
}

fn refuse_other_address(port: &Port, asked: Option<Ipv4Addr>) -> Result<(), Refusal> {
    match (asked, port.lease) {
        (Some(asked), Some(lease)) if lease.address != asked => {
            Err(Refusal::AttachedWithOtherAddress { instance: port.instance, held: lease.address, asked })
        }
        _ => Ok(()),
    }
}

fn refuse_other_device(port: &Port, asked: &DeviceWish) -> Result<(), Refusal> {
    let is_other_name = asked.name.as_ref().is_some_and(|name| *name != port.device);
    if is_other_name || asked.is_configured && !port.is_configured {
        return Err(Refusal::AttachedWithOtherDevice {
            instance: port.instance,
            device: port.device.clone(),
            is_configured: port.is_configured,
        });
    }
    Ok(())
}

/// A network that becomes managed leases an address to each port that has none.
fn lease_to_unleased(segment: &Segment, range: &AddressRange, after: &mut Network) -> Result<Vec<Change>, Refusal> {
    let mut taken: BTreeSet<_> = segment.holders.keys().copied().collect();
    let mut changes = Vec::new();
    for port in segment.ports.values().filter(|port| port.lease.is_none()) {
        let address =
            next_fit(range, after.last_address, |address| taken.contains(&address)).ok_or_else(|| exhausted(range))?;
        taken.insert(address);
        after.last_address = Some(address);
        let lease = Some(Lease { address, kind: LeaseKind::Dynamic });
        let leased = Port { lease, changed: after.generation, ..Port::clone(port) };
        changes.push(Change::Port(Row::replace(Arc::clone(port), leased)));
    }
    Ok(changes)
}

fn static_lease(segment: &Segment, range: &AddressRange, address: Ipv4Addr) -> Result<Lease, Refusal> {
    range.check_static(address)?;
    match segment.holders.get(&address) {
        Some(holder) => Err(Refusal::AddressTaken { address, holder: *holder }),
        None => Ok(Lease { address, kind: LeaseKind::Static }),
    }
}

fn dynamic_lease(segment: &Segment, range: &AddressRange, after: &mut Network) -> Result<Lease, Refusal> {
    let address = next_fit(range, after.last_address, |address| segment.holders.contains_key(&address))
        .ok_or_else(|| exhausted(range))?;
    after.last_address = Some(address);
    Ok(Lease { address, kind: LeaseKind::Dynamic })
}

fn exhausted(range: &AddressRange) -> Refusal {
    Refusal::RangeExhausted { start: range.start(), end: range.end(), count: range.count(), subnet: range.subnet() }
}

fn wait_for(network: &Network, port: Option<WaitPort>) -> Wait {
    Wait::Applied(Applied { network: network.id, generation: network.generation, port })
}

/// Raises a network's generation, as a change to some of its ports, if there are any.
pub(super) fn touch<'a>(segment: &Segment, ports: impl IntoIterator<Item = &'a Arc<Port>>) -> Vec<Change> {
    let changed = segment.network.generation.next();
    let after = |port: &Arc<Port>| Port { changed, ..Port::clone(port) };
    let ports: Vec<_> =
        ports.into_iter().map(|port| Change::Port(Row::replace(Arc::clone(port), after(port)))).collect();
    let network = (!ports.is_empty()).then(|| raise(&segment.network));
    network.into_iter().chain(ports).collect()
}

/// A network as it was, at its next generation.
pub(super) fn raise(network: &Arc<Network>) -> Change {
    replace_network(network, Network { generation: network.generation.next(), ..Network::clone(network) })
}

fn replace_network(before: &Arc<Network>, after: Network) -> Change {
    Change::Network(Row::replace(Arc::clone(before), after))
}

pub(super) fn done(changes: Vec<Change>) -> Decision {
    Decision { changes, outcome: Outcome::Done }
}

pub(super) fn random_octets(world: &mut Circumstances<'_>) -> [u8; 10] {
    let mut octets = [0; 10];
    octets[..8].copy_from_slice(&(world.random)().to_le_bytes());
    octets[8..].copy_from_slice(&(world.random)().to_le_bytes()[..2]);
    octets
}
