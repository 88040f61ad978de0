use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::{
    AddressRange, DeviceName, DhcpOptions, Generation, InstanceId, MacAddr, Name, Netns, NetworkId, Placement, Power,
    Vni,
};

/// What VXLAN over IPv4 adds to a frame: outer IPv4, UDP and VXLAN headers, and the inner Ethernet header (RFC 7348 §5).
pub const VXLAN_OVERHEAD_IPV4_BYTES: u32 = 20 + 8 + 8 + 14;

/// The same over IPv6.
pub const VXLAN_OVERHEAD_IPV6_BYTES: u32 = 40 + 8 + 8 + 14;

/// The largest IP packet that crosses an underlay of this MTU in one piece, where the VTEPs have
/// addresses of `vtep`'s family.
pub const fn overlay_mtu_bytes(underlay_mtu_bytes: u32, vtep: IpAddr) -> u32 {
    underlay_mtu_bytes.saturating_sub(match vtep {
        IpAddr::V4(_) => VXLAN_OVERHEAD_IPV4_BYTES,
        IpAddr::V6(_) => VXLAN_OVERHEAD_IPV6_BYTES,
    })
}

/// One network as one host shall carry it, at one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkState {
    /// The network.
    pub id: NetworkId,
    /// Its VNI, which never changes.
    pub vni: Vni,
    /// The version of this state.
    pub generation: Generation,
    /// The largest IP packet that each of its hosts can carry, in octets; `None` from a server that does not say.
    pub mtu_bytes: Option<u32>,
    /// What its DHCP server answers with; `None` in an unmanaged network.
    pub dhcp: Option<DhcpSettings>,
    /// All its ports, on every host, by MAC address.
    pub members: BTreeMap<MacAddr, Member>,
}

/// What the DHCP server of a managed network answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpSettings {
    /// The addresses and their subnet.
    pub range: AddressRange,
    /// The network's own options.
    pub options: DhcpOptions,
}

/// One port, as a host that carries its network sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its MAC address.
    pub mac: MacAddr,
    /// The address it has leased.
    pub address: Option<Ipv4Addr>,
    /// Where it is.
    pub location: Location,
}

/// Where a port is, seen from one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Here: this host plugs it in.
    Local(LocalPort),
    /// Behind another host's VTEP.
    Remote {
        /// That host's underlay address.
        vtep: IpAddr,
    },
}

/// What a host needs to plug in one of its own ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPort {
    /// The instance.
    pub instance: InstanceId,
    /// The instance's name, for messages.
    pub instance_name: Name,
    /// How to plug it in.
    pub placement: Placement,
    /// The name of the device: in the instance's namespace or, of a tap, here.
    pub device: DeviceName,
    /// Whether to give that device the port's address, and the routes that the network's routers make.
    pub is_configured: bool,
    /// Whether to plug it in.
    pub power: Power,
    /// A port that was plugged in when this was another number is plugged in anew.
    pub reboots: u32,
}

/// An instance that a host shall make itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// The instance.
    pub id: InstanceId,
    /// The network namespace to make. It never changes on one host.
    pub netns: Netns,
}

/// What changes a [`NetworkState`] at one generation into the same network's state at a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDelta {
    /// The network.
    pub id: NetworkId,
    /// The generation it builds on.
    pub base: Generation,
    /// The generation it leads to.
    pub generation: Generation,
    /// As in [`NetworkState`], from now on.
    pub mtu_bytes: Option<u32>,
    /// The DHCP settings from now on.
    pub dhcp: Option<DhcpSettings>,
    /// Ports that are new or have changed.
    pub set: Vec<Member>,
    /// Ports that are gone.
    pub removed: BTreeSet<MacAddr>,
}

/// A delta does not build on the state at hand; the full state is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delta from generation {base} does not fit on generation {have}")]
pub struct DeltaError {
    /// What the delta builds on.
    pub base: Generation,
    /// What there is.
    pub have: Generation,
}

impl NetworkState {
    /// Brings this state to the delta's generation.
    ///
    /// # Errors
    /// [`DeltaError`] unless the delta builds on exactly this generation; nothing is changed then.
    pub fn apply(&mut self, delta: NetworkDelta) -> Result<(), DeltaError> {
        if delta.base != self.generation {
            return Err(DeltaError { base: delta.base, have: self.generation });
        }
        for mac in &delta.removed {
            self.members.remove(mac);
        }
        self.members.extend(delta.set.into_iter().map(|member| (member.mac, member)));
        self.mtu_bytes = delta.mtu_bytes;
        self.dhcp = delta.dhcp;
        self.generation = delta.generation;
        Ok(())
    }

    /// The network's MTU on a host whose own overlay has this one: the underlay may carry less since the server was
    /// told.
    pub fn mtu_on(&self, overlay_mtu_bytes: u32) -> u32 {
        self.mtu_bytes.map_or(overlay_mtu_bytes, |mtu_bytes| mtu_bytes.min(overlay_mtu_bytes))
    }

    /// This host's own ports, by MAC address.
    pub fn local_ports(&self) -> impl Iterator<Item = (&Member, &LocalPort)> {
        self.members.values().filter_map(|member| match &member.location {
            Location::Local(port) => Some((member, port)),
            Location::Remote { .. } => None,
        })
    }

    /// The other hosts' VTEPs behind which this network has ports.
    pub fn remote_vteps(&self) -> BTreeSet<IpAddr> {
        self.members
            .values()
            .filter_map(|member| match member.location {
                Location::Remote { vtep } => Some(vtep),
                Location::Local(_) => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(last: u8) -> Member {
        let vtep = IpAddr::from([192, 0, 2, last]);
        Member { mac: MacAddr::for_port([0, 0, 0, 0, last]), address: None, location: Location::Remote { vtep } }
    }

    fn state(generation: u64, members: &[Member]) -> NetworkState {
        NetworkState {
            id: NetworkId::new(1, [1; 10]),
            vni: Vni::try_from(7).expect("valid"),
            generation: Generation(generation),
            mtu_bytes: Some(1450 + generation as u32),
            dhcp: None,
            members: members.iter().map(|m| (m.mac, m.clone())).collect(),
        }
    }

    fn delta(base: u64, generation: u64, set: &[Member], removed: &[Member]) -> NetworkDelta {
        NetworkDelta {
            id: NetworkId::new(1, [1; 10]),
            base: Generation(base),
            generation: Generation(generation),
            mtu_bytes: Some(1450 + generation as u32),
            dhcp: None,
            set: set.to_vec(),
            removed: removed.iter().map(|m| m.mac).collect(),
        }
    }

    #[test]
    fn a_delta_leads_to_the_later_state() {
        let mut have = state(4, &[remote(1), remote(2)]);
        assert_eq!(have.apply(delta(4, 9, &[remote(3)], &[remote(1)])), Ok(()));
        assert_eq!(have, state(9, &[remote(2), remote(3)]));
    }

    #[test]
    fn a_delta_for_another_generation_changes_nothing() {
        let mut have = state(4, &[remote(1)]);
        let refusal = DeltaError { base: Generation(5), have: Generation(4) };
        assert_eq!(have.apply(delta(5, 6, &[], &[remote(1)])), Err(refusal));
        assert_eq!(have, state(4, &[remote(1)]));
    }

    #[test]
    fn a_host_carries_no_more_than_it_can() {
        let mut state = state(1, &[]);
        assert_eq!([1450, 1451, 1452].map(|own| state.mtu_on(own)), [1450, 1451, 1451]);
        state.mtu_bytes = None;
        assert_eq!(state.mtu_on(8950), 8950);
    }

    #[test]
    fn the_overlay_mtu_leaves_room_for_the_outer_headers() {
        assert_eq!(overlay_mtu_bytes(1500, IpAddr::from([192, 0, 2, 1])), 1450);
        assert_eq!(overlay_mtu_bytes(1500, IpAddr::from([0; 16])), 1430);
    }
}
