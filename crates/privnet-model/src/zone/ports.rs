//! Instances plugged into networks, and the addresses they hold there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::decide::{Circumstances, Decision, refuse_excess, replace_network};
use super::operations::wait_for;
use super::state::Segment;
use super::{Caller, Change, DeviceWish, Refusal, Row, Zone};
use crate::{
    AddressRange, DeviceName, HostId, InstanceId, Lease, LeaseKind, MacAddr, Network, NetworkId, OperationKind,
    Placement, Port, WaitPort, next_fit,
};

impl Zone {
    pub(super) fn attach(
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
        if device.name.is_some() && matches!(instance.placement, Placement::Tap(_)) && !world.caller.is_operator() {
            return Err(Refusal::TapNamed(instance.id));
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

    pub(super) fn detach(
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

    pub(super) fn update_ip(
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

    pub(super) fn attached(
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

pub(super) fn exhausted(range: &AddressRange) -> Refusal {
    Refusal::RangeExhausted { start: range.start(), end: range.end(), count: range.count(), subnet: range.subnet() }
}
