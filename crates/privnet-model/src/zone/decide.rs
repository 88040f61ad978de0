use std::sync::Arc;
use std::time::Duration;

use super::state::Segment;
use super::{Caller, Change, Command, Refusal, Row, Zone};
use crate::{
    Carriage, Driver, Host, HostId, Instance, InstanceId, Invitation, Key, Network, NetworkId, Operation,
    OperationKind, Organization, OrganizationId, Port, Quota, SignedRequest, Timestamp,
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

    /// An organization that was named, or the caller's: that may have been deleted since its key was looked up.
    pub(super) fn known_organization(&self, id: OrganizationId) -> Result<&Organization, Refusal> {
        self.organization(id).map(AsRef::as_ref).ok_or(Refusal::OrganizationNotFound(id))
    }

    /// A network of the caller's organization.
    pub(super) fn segment(&self, id: NetworkId, caller: Caller) -> Result<&Segment, Refusal> {
        let segment = self.segments.get(&id).map(AsRef::as_ref);
        let is_own = |segment: &&Segment| segment.network.organization == caller.organization();
        segment.filter(is_own).ok_or(Refusal::NetworkNotFound(id))
    }

    /// An instance of the caller's organization.
    pub(super) fn own_instance(&self, id: InstanceId, caller: Caller) -> Result<&Arc<Instance>, Refusal> {
        let instance = self.seen_by(caller).instance(id).ok_or(Refusal::InstanceNotFound(id))?;
        let is_container = |host| instance.host == host && instance.driver == Driver::External;
        if caller.host().is_none_or(is_container) { Ok(instance) } else { Err(Refusal::NotOnKeysHost(id)) }
    }

    pub(super) fn carriage(&self, host: HostId, network: NetworkId) -> Option<&Arc<Carriage>> {
        self.carriages.get(&(network, host))
    }

    /// The record that a host may carry a network, unless it is there.
    pub(super) fn carriage_to_make(&self, network: &Network, host: HostId) -> Option<Change> {
        let is_there = self.carriage(host, network.id).is_some();
        let carriage = Carriage { host, network: network.id, vni: network.vni };
        (!is_there).then(|| Change::Carriage(Row::insert(carriage)))
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

pub(super) fn replace_network(before: &Arc<Network>, after: Network) -> Change {
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
