//! Hosts: what they say of themselves, and their removal.

use std::sync::Arc;

use super::decide::{Circumstances, Decision, Outcome, done, raise, random_octets, touch};
use super::state::Segment;
use super::{Caller, Change, Refusal, Row, Zone};
use crate::{Host, HostCertificates, HostFacts, HostId, HostName, Instance, Key, NetworkId, Port, Scope};

impl Zone {
    pub(super) fn register_host(
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

    pub(super) fn remove_host(&self, id: HostId, with_instances: bool) -> Result<Decision, Refusal> {
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
    pub(super) fn confirm_absent(&self, host: HostId, network: NetworkId) -> Decision {
        match self.carriage(host, network) {
            Some(carriage) if !self.is_wanted(network, host) => {
                done(vec![Change::Carriage(Row::remove(Arc::clone(carriage)))])
            }
            _ => done(Vec::new()),
        }
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
