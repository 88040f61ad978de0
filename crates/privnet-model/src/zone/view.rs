use super::Zone;
use super::state::Segment;
use crate::{
    DhcpSettings, Driver, Generation, HostId, InstanceId, InstanceState, LocalPort, Location, Member, Network,
    NetworkDelta, NetworkId, NetworkState, Placement, Port,
};

impl Zone {
    /// Whether a host has a port in a network, and so shall carry it.
    pub fn is_wanted(&self, network: NetworkId, host: HostId) -> bool {
        self.segments.get(&network).is_some_and(|segment| segment.ports_per_host.contains_key(&host))
    }

    /// An instance as a host shall make it; `None` where the host shall not.
    pub fn wanted_instance(&self, id: InstanceId, host: HostId) -> Option<InstanceState> {
        let instance = self.instance(id).filter(|instance| instance.host == host)?;
        match (instance.driver, &instance.placement) {
            (Driver::Netns, Placement::Netns(netns)) => Some(InstanceState { id, netns: netns.clone() }),
            (Driver::Netns, Placement::Tap(_)) | (Driver::External, _) => None,
        }
    }

    /// A network as a host shall carry it; `None` where the host has no port in it.
    pub fn wanted(&self, network: NetworkId, host: HostId) -> Option<NetworkState> {
        if !self.is_wanted(network, host) {
            return None;
        }
        let segment = self.segments.get(&network)?;
        Some(NetworkState {
            id: network,
            vni: segment.network.vni,
            generation: segment.network.generation,
            mtu_bytes: self.mtu_bytes(segment),
            dhcp: dhcp_settings(&segment.network),
            members: self.members(segment, host, |_| true).map(|member| (member.mac, member)).collect(),
        })
    }

    /// What brings a host from generation `base` to the present one; `None` where that is not known
    /// any more (or never was) and the full state is needed.
    pub fn delta(&self, network: NetworkId, host: HostId, base: Generation) -> Option<NetworkDelta> {
        let segment = self.segments.get(&network)?;
        if base < segment.removals_from || base > segment.network.generation {
            return None;
        }
        let removed = segment.removals.iter().filter(|(generation, _)| *generation > base).map(|(_, mac)| *mac);
        Some(NetworkDelta {
            id: network,
            base,
            generation: segment.network.generation,
            mtu_bytes: self.mtu_bytes(segment),
            dhcp: dhcp_settings(&segment.network),
            set: self.members(segment, host, |port| port.changed > base).collect(),
            removed: removed.collect(),
        })
    }

    /// The least of what the hosts with ports in a network can carry. Where all hosts of the zone carry the same,
    /// as nearly always, a network of many hosts need not ask each one.
    fn mtu_bytes(&self, segment: &Segment) -> Option<u32> {
        if self.hosts_per_mtu.len() == 1 {
            return self.hosts_per_mtu.keys().next().copied();
        }
        let hosts = segment.ports_per_host.keys().filter_map(|host| self.host(*host));
        hosts.map(|host| host.facts.overlay_mtu_bytes()).min()
    }

    fn members<'a>(
        &'a self,
        segment: &'a Segment,
        seen_from: HostId,
        is_included: impl Fn(&Port) -> bool + 'a,
    ) -> impl Iterator<Item = Member> + 'a {
        segment.ports.values().filter(move |port| is_included(port)).filter_map(move |port| {
            let instance = self.instance(port.instance)?;
            let location = if instance.host == seen_from {
                Location::Local(LocalPort {
                    instance: instance.id,
                    instance_name: instance.name.clone(),
                    placement: instance.placement.clone(),
                    device: port.device.clone(),
                    is_configured: port.is_configured,
                    power: instance.power,
                    reboots: instance.reboots,
                })
            } else {
                Location::Remote { vtep: self.host(instance.host)?.facts.vtep }
            };
            Some(Member { mac: port.mac, address: port.lease.map(|lease| lease.address), location })
        })
    }
}

fn dhcp_settings(network: &Network) -> Option<DhcpSettings> {
    network.range.map(|range| DhcpSettings { range, options: network.options.clone() })
}
