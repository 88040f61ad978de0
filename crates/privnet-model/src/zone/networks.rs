//! Networks: made, changed, deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decide::{Circumstances, Decision, random_octets, refuse_excess, replace_network};
use super::operations::wait_for;
use super::ports::exhausted;
use super::state::Segment;
use super::{Change, CreateNetwork, RangeFields, Refusal, Row, UpdateNetwork, Zone};
use crate::{
    AddressRange, Applied, Generation, Labels, Lease, LeaseKind, Network, NetworkId, OperationKind, Port, Vni, Wait,
    next_fit,
};

impl Zone {
    pub(super) fn create_network(
        &self,
        wish: &CreateNetwork,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
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

    pub(super) fn update_network(
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

    pub(super) fn delete_network(&self, id: NetworkId, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
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

    pub(super) fn reset_labels(&self, id: NetworkId, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let wish = UpdateNetwork { labels: Some(Labels::new()), ..UpdateNetwork::default() };
        self.update_network(OperationKind::ResetNetworkField, id, &wish, world)
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

fn refuse_stranded_leases(segment: &Segment, range: &AddressRange) -> Result<(), Refusal> {
    let mut stranded = segment.holders.iter().filter(|(address, _)| range.check_static(**address).is_err());
    match stranded.next() {
        None => Ok(()),
        Some((address, instance)) => {
            Err(Refusal::LeaseStranded { count: 1 + stranded.count(), address: *address, instance: *instance })
        }
    }
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
