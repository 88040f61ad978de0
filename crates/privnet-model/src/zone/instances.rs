//! Decisions about instances.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::{done, raise, random_octets, refuse_excess, touch};
use super::state::Segment;
use super::{Change, Circumstances, Decision, LaunchInstance, Outcome, Refusal, Row, UpdateInstance, Zone};
use crate::{
    Driver, Host, HostName, Instance, InstanceId, InstanceProperties, Labels, Name, Netns, OperationKind,
    OperationState, Organization, OrganizationId, Placement, Port, Power, Subject, Wait,
};

impl Zone {
    pub(super) fn create_instance(
        &self,
        name: &Name,
        host: &HostName,
        placement: &Placement,
        organization: Option<OrganizationId>,
        labels: &Labels,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let organization = organization.unwrap_or(world.caller.organization());
        let known = self.known_organization(organization)?;
        let host = self.named_host(host)?.id;
        match world.caller.host() {
            Some(_) if organization != world.caller.organization() => {
                return Err(Refusal::OrganizationNotFound(organization));
            }
            Some(own) if host != own => return Err(Refusal::NotForRuntimes),
            Some(_) => refuse_no_container(placement)?,
            None => {}
        }
        refuse_by_number(placement)?;
        let organization = known;
        self.refuse_excess_instances(organization)?;
        let instance = Arc::new(Instance {
            id: InstanceId::new(world.now.unix_ms, random_octets(world)),
            organization: organization.id,
            name: name.clone(),
            host,
            placement: placement.clone(),
            driver: Driver::External,
            power: Power::Running,
            reboots: 0,
            is_protected: false,
            properties: InstanceProperties { labels: labels.clone(), ..InstanceProperties::unknown() },
            created_at: world.now,
        });
        let row = Row { before: None, after: Some(Arc::clone(&instance)) };
        Ok(Decision { changes: vec![Change::Instance(row)], outcome: Outcome::Instance(instance) })
    }

    pub(super) fn launch_instance(
        &self,
        wish: &LaunchInstance,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let organization = self.known_organization(world.caller.organization())?;
        if wish.host.is_some() && !world.caller.is_operator() {
            return Err(Refusal::HostChosen);
        }
        self.refuse_excess_instances(organization)?;
        let host = match &wish.host {
            Some(name) => self.host_by_name(name),
            None => self.least_loaded_host(world),
        };
        let host = host.ok_or(Refusal::NoHost)?;
        let id = InstanceId::new(world.now.unix_ms, random_octets(world));
        let instance = Instance {
            id,
            organization: organization.id,
            name: wish.name.clone().unwrap_or_else(|| Name::of_instance(id)),
            host: host.id,
            placement: Placement::Netns(Netns::of_instance(&host.name, id)),
            driver: wish.driver,
            power: wish.power,
            reboots: 0,
            is_protected: false,
            properties: wish.properties.clone(),
            created_at: world.now,
        };
        let changes = vec![Change::Instance(Row::insert(instance))];
        self.accept(OperationKind::CreateInstance, organization.id, changes, Wait::Placed(id), world)
    }

    fn refuse_excess_instances(&self, organization: &Organization) -> Result<(), Refusal> {
        let usage = self.usage(organization.id).instances;
        refuse_excess(organization.quotas.instances, usage, "the organization", "instance")
    }

    /// Of the hosts that can take it, the one with the fewest instances; of those, the one that is known longest.
    fn least_loaded_host(&self, world: &Circumstances<'_>) -> Option<&Arc<Host>> {
        let count = |host: &&Arc<Host>| self.instances_of_host.get(&host.id).map_or(0, BTreeSet::len);
        self.hosts().filter(|host| (world.makes_instances)(host.id)).min_by_key(count)
    }

    pub(super) fn update_instance(
        &self,
        id: InstanceId,
        wish: &UpdateInstance,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let before = self.own_instance(id, world.caller)?;
        let mut after = Instance::clone(before);
        if let Some(name) = &wish.name {
            after.name = name.clone();
        }
        if let Some(user_data) = &wish.user_data {
            after.properties.user_data = Some(user_data.clone()).filter(|data| !data.as_str().is_empty());
        }
        if let Some(labels) = &wish.labels {
            after.properties.labels = labels.clone();
        }
        if let Some(public_ip) = wish.public_ip {
            after.properties.public_ip = public_ip;
        }
        if let Some(instance_type) = wish.instance_type {
            after.properties.instance_type = instance_type;
        }
        if let Some(asked_gib) = wish.disk_size_gib {
            let size_gib = before.properties.disk_size_gib;
            if asked_gib < size_gib {
                return Err(Refusal::DiskShrinks { asked_gib, size_gib });
            }
            after.properties.disk_size_gib = asked_gib;
        }
        if let Some(has_tpm) = wish.has_tpm {
            after.properties.has_tpm = has_tpm;
        }
        self.note(OperationKind::UpdateInstance, before, after, world)
    }

    pub(super) fn reset_instance_labels(
        &self,
        id: InstanceId,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let before = self.own_instance(id, world.caller)?;
        let mut after = Instance::clone(before);
        after.properties.labels = Labels::new();
        self.note(OperationKind::ResetInstanceField, before, after, world)
    }

    pub(super) fn protect_instance(
        &self,
        id: InstanceId,
        is_protected: bool,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let before = self.own_instance(id, world.caller)?;
        let kind = match is_protected {
            true => OperationKind::AddInstanceProtection,
            false => OperationKind::RemoveInstanceProtection,
        };
        self.note(kind, before, Instance { is_protected, ..Instance::clone(before) }, world)
    }

    /// Keeps what changes no frame's way: a host that is away learns of another name when it is back.
    fn note(
        &self,
        kind: OperationKind,
        before: &Arc<Instance>,
        after: Instance,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let has_other_name = before.name != after.name;
        let mut changes: Vec<_> = replace_instance(before, after).into_iter().collect();
        if has_other_name {
            changes.extend(self.touch_ports_of_instance(before.id)?);
        }
        Ok(self.add_operation(
            kind,
            before.organization,
            Subject::Instance(before.id),
            OperationState::Success,
            changes,
            world,
        ))
    }

    /// Raises the generation of every network in which the instance has a port.
    fn touch_ports_of_instance(&self, id: InstanceId) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        for port in self.ports_of_instance(id) {
            changes.extend(touch(self.segment_of(port)?, [port]));
        }
        Ok(changes)
    }

    pub(super) fn set_power(
        &self,
        id: InstanceId,
        power: Power,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let before = self.own_instance(id, world.caller)?;
        let kind = match power {
            Power::Running => OperationKind::StartInstance,
            Power::Stopped => OperationKind::StopInstance,
        };
        self.replug(kind, before, Instance { power, ..Instance::clone(before) }, world)
    }

    pub(super) fn reboot_instance(&self, id: InstanceId, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let before = self.own_instance(id, world.caller)?;
        if before.power == Power::Stopped {
            return Err(Refusal::InstanceStopped(id));
        }
        let after = Instance { reboots: before.reboots.wrapping_add(1), ..Instance::clone(before) };
        self.replug(OperationKind::RebootInstance, before, after, world)
    }

    /// Has the host plug the instance's ports in, or not, by the changed record.
    fn replug(
        &self,
        kind: OperationKind,
        before: &Arc<Instance>,
        after: Instance,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let mut changes: Vec<_> = replace_instance(before, after).into_iter().collect();
        if !changes.is_empty() {
            changes.extend(self.touch_ports_of_instance(before.id)?);
        }
        self.accept(kind, before.organization, changes, Wait::Placed(before.id), world)
    }

    /// Raises the generation of every network in which the instance has a port: the host it leaves
    /// unplugs the port, the new one plugs it in, all others send there. MAC addresses, leases and device
    /// names go with it. The host it leaves keeps its carriages until it has confirmed.
    pub(super) fn move_instance(
        &self,
        id: InstanceId,
        host: &HostName,
        placement: Option<&Placement>,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let before = self.known_instance(id)?;
        let host = self.named_host(host)?;
        let placement = match (before.driver, placement) {
            (Driver::Netns, Some(_)) => return Err(Refusal::NetnsIsMade(id)),
            (Driver::Netns, None) => Placement::Netns(Netns::of_instance(&host.name, id)),
            (Driver::External, placement) => placement.unwrap_or(&before.placement).clone(),
        };
        refuse_by_number(&placement)?;
        let (kind, ports) = (before.placement.kind(), self.ports_of_instance(id).count());
        if placement.kind() != kind && ports > 0 {
            return Err(Refusal::OtherPortKind { instance: id, kind, count: ports });
        }
        let host = host.id;
        let mut changes: Vec<_> =
            replace_instance(before, Instance { host, placement, ..Instance::clone(before) }).into_iter().collect();
        if !changes.is_empty() {
            for port in self.ports_of_instance(id) {
                let segment = self.segment_of(port)?;
                self.refuse_other_family(segment, before, host, world.caller)?;
                changes.extend(touch(segment, [port]));
                changes.extend(self.carriage_to_make(&segment.network, host));
            }
        }
        self.accept(OperationKind::Move, before.organization, changes, Wait::Placed(id), world)
    }

    pub(super) fn delete_instance(&self, id: InstanceId) -> Result<Decision, Refusal> {
        let instance = deletable(self.known_instance(id)?)?;
        match self.ports_of_instance(id).count() {
            0 => Ok(done(vec![Change::Instance(Row::remove(Arc::clone(instance)))])),
            count => Err(Refusal::InstanceInUse { instance: id, count }),
        }
    }

    pub(super) fn destroy_instance(&self, id: InstanceId, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let instance = deletable(self.own_instance(id, world.caller)?)?;
        let mut changes = Vec::new();
        for port in self.ports_of_instance(id) {
            changes.push(raise(&self.segment_of(port)?.network));
            changes.push(Change::Port(Row::remove(Arc::clone(port))));
        }
        changes.push(Change::Instance(Row::remove(Arc::clone(instance))));
        let wait = Wait::Removed { instance: id, host: instance.host };
        self.accept(OperationKind::DeleteInstance, instance.organization, changes, wait, world)
    }

    /// An instance of any organization, for an operator.
    fn known_instance(&self, id: InstanceId) -> Result<&Arc<Instance>, Refusal> {
        self.instances.get(&id).ok_or(Refusal::InstanceNotFound(id))
    }

    fn segment_of(&self, port: &Port) -> Result<&Segment, Refusal> {
        self.segments.get(&port.network).map(AsRef::as_ref).ok_or(Refusal::NetworkNotFound(port.network))
    }

    fn named_host(&self, name: &HostName) -> Result<&Arc<Host>, Refusal> {
        self.host_by_name(name).ok_or_else(|| Refusal::HostNotFound(name.to_string()))
    }
}

fn deletable(instance: &Arc<Instance>) -> Result<&Arc<Instance>, Refusal> {
    if instance.is_protected { Err(Refusal::InstanceProtected(instance.id)) } else { Ok(instance) }
}

/// What a container runtime may register.
fn refuse_no_container(placement: &Placement) -> Result<(), Refusal> {
    match placement {
        Placement::Netns(netns) if netns.is_of_runtimes() => Ok(()),
        Placement::Netns(netns) => Err(Refusal::NotOfRuntimes(netns.clone())),
        Placement::Tap(_) => Err(Refusal::NotForRuntimes),
    }
}

fn refuse_by_number(placement: &Placement) -> Result<(), Refusal> {
    match placement {
        Placement::Netns(netns) if netns.is_by_process_number() => Err(Refusal::NetnsByNumber(netns.clone())),
        _ => Ok(()),
    }
}

/// The change from one record to the other, unless they are alike.
fn replace_instance(before: &Arc<Instance>, after: Instance) -> Option<Change> {
    (after != **before).then(|| Change::Instance(Row::replace(Arc::clone(before), after)))
}
