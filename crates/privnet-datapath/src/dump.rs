//! What the agent is told about the kernel, from what was read of it.

use std::collections::{BTreeMap, BTreeSet};

use privnet_model::{MacAddr, Vni};
use privnet_plan::{
    Configuration, FdbTarget, KernelNetwork, KernelNetworks, KernelPort, NetworkSettings, PortSpec, PortStage,
};

use crate::KernelDump;
use crate::layout::{self, FdbKey, MemberKey, Neighbor, NeighborKey, Network, Port, RemoteMember, VtepKey};
use crate::members::Members;
use crate::programs::Version;

/// Settings that no agent sets: whoever wants others sets them, whoever wants none removes them.
const DAMAGED: NetworkSettings = NetworkSettings { managed: false, mtu_bytes: 0 };

/// All that was read of the kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Of the device with the VTEP's address, if there is one.
    pub(crate) underlay_mtu_bytes: Option<u32>,
    /// Ports' devices.
    pub(crate) devices: Vec<PortDevice>,
    pub(crate) ports: Vec<(u32, Port)>,
    pub(crate) networks: Vec<(u32, Network)>,
    pub(crate) fdb: Vec<(FdbKey, layout::FdbTarget)>,
    pub(crate) neighbors: Vec<(NeighborKey, Neighbor)>,
    pub(crate) vteps: Vec<(VtepKey, u32)>,
    pub(crate) local_members: Vec<(MemberKey, u32)>,
    pub(crate) remote_members: Vec<(MemberKey, RemoteMember)>,
    pub(crate) is_outdated: bool,
}

/// The host side of a port.
#[derive(Debug, Clone)]
pub(crate) struct PortDevice {
    pub(crate) index: u32,
    pub(crate) mac: MacAddr,
    /// As the programs are to take it.
    pub(crate) kind: u8,
    /// What its alias says; `None` if that is unreadable, or not so any more.
    pub(crate) plugged: Option<(Vni, PortSpec)>,
    /// What is set on the instance's end.
    pub(crate) configuration: Configuration,
    pub(crate) is_up: bool,
    /// Which from_port is attached to it.
    pub(crate) version: Version,
}

impl Snapshot {
    /// The same in the agent's words.
    pub(crate) fn into_dump(self) -> KernelDump {
        let mut dump = KernelDump {
            networks: KernelNetworks::new(),
            strays: self.strays(),
            underlay_mtu_bytes: self.underlay_mtu_bytes,
            is_outdated: self.is_outdated,
        };
        self.add_settings(&mut dump.networks);
        self.add_ports(&mut dump.networks);
        self.add_fdb(&mut dump.networks);
        for (key, neighbor) in &self.neighbors {
            network(&mut dump.networks, key.vni, |network| {
                network.neighbors.insert(key.address.into(), neighbor.mac.into());
            });
        }
        for (key, _) in &self.vteps {
            network(&mut dump.networks, key.vni, |network| {
                network.vteps.insert(layout::vtep_address(key.address));
            });
        }
        dump
    }

    /// Devices of unknown networks, and entries of ports whose devices are gone.
    fn strays(&self) -> BTreeSet<MacAddr> {
        let mute = self.devices.iter().filter(|device| device.plugged.is_none()).map(|device| device.mac);
        let (indexes, macs): (BTreeSet<_>, BTreeSet<_>) =
            self.devices.iter().map(|device| (device.index, device.mac)).unzip();
        let entries = self.ports.iter().map(|(index, port)| (index, MacAddr::from(port.mac)));
        let gone = entries.filter(|(index, mac)| !indexes.contains(index) && !macs.contains(mac));
        mute.chain(gone.map(|(_, mac)| mac)).collect()
    }

    fn add_settings(&self, networks: &mut KernelNetworks) {
        let by_slots = self.members_by_slots();
        let by_ports_and_vteps = self.members_by_ports_and_vteps();
        for (vni, entry) in &self.networks {
            let members = by_ports_and_vteps.get(vni).cloned().unwrap_or_default();
            let is_intact =
                by_slots.get(vni) == Some(&members) && (entry.local_members, entry.remote_members) == members.counts();
            let settings = NetworkSettings { managed: entry.managed != 0, mtu_bytes: entry.mtu };
            let settings = if is_intact { settings } else { DAMAGED };
            network(networks, *vni, |network| network.settings = Some(settings));
        }
        let slots = self.local_members.iter().map(|(key, _)| key).chain(self.remote_members.iter().map(|(key, _)| key));
        for key in slots {
            // Left by a network whose own entry is gone.
            network(networks, key.vni, |network| {
                network.settings.get_or_insert(DAMAGED);
            });
        }
    }

    /// Whom BUM frames go to, for each network with an entry.
    fn members_by_slots(&self) -> BTreeMap<u32, Members> {
        let counts: BTreeMap<_, _> = self.networks.iter().map(|(vni, entry)| (*vni, entry)).collect();
        let mut members: BTreeMap<_, _> = counts.keys().map(|vni| (*vni, Members::default())).collect();
        for (key, ifindex) in &self.local_members {
            if counts.get(&key.vni).is_some_and(|entry| key.slot < entry.local_members) {
                members.entry(key.vni).or_default().local.insert(*ifindex);
            }
        }
        for (key, member) in &self.remote_members {
            if counts.get(&key.vni).is_some_and(|entry| key.slot < entry.remote_members) {
                members.entry(key.vni).or_default().remote.insert(member.vtep);
            }
        }
        members
    }

    /// Whom BUM frames should go to.
    fn members_by_ports_and_vteps(&self) -> BTreeMap<u32, Members> {
        let mut members: BTreeMap<u32, Members> = BTreeMap::new();
        for (ifindex, port) in self.ports.iter().filter(|(_, port)| port.open != 0) {
            members.entry(port.vni).or_default().local.insert(*ifindex);
        }
        for (key, _) in &self.vteps {
            members.entry(key.vni).or_default().remote.insert(key.address);
        }
        members
    }

    fn add_ports(&self, networks: &mut KernelNetworks) {
        let entries: BTreeMap<_, _> = self.ports.iter().copied().collect();
        for device in &self.devices {
            let Some((vni, spec)) = device.plugged.clone() else { continue };
            let entry = entries.get(&device.index).filter(|entry| entry.is_of(vni, device.mac, device.kind));
            let stage = match (device.version, entry) {
                (Version::OtherMaps, _) => PortStage::Outdated,
                (Version::Loaded, Some(entry)) if entry.open != 0 && device.is_up => PortStage::Open,
                (Version::Loaded, Some(_)) => PortStage::Filtered,
                (Version::None | Version::SameMaps, _) | (Version::Loaded, None) => PortStage::Plugged,
            };
            networks
                .entry(vni)
                .or_default()
                .ports
                .insert(device.mac, KernelPort { spec, stage, configuration: device.configuration.clone() });
        }
    }

    fn add_fdb(&self, networks: &mut KernelNetworks) {
        let owners: BTreeMap<_, _> = self.devices.iter().map(|device| (device.index, device)).collect();
        let is_local = |key: &FdbKey, ifindex| {
            owners.get(&ifindex).is_some_and(|device| {
                device.mac.octets() == key.mac && device.plugged.as_ref().is_some_and(|(vni, _)| vni.get() == key.vni)
            })
        };
        for (key, entry) in &self.fdb {
            let target = match entry.ifindex {
                0 => FdbTarget::Remote(layout::vtep_address(entry.vtep)),
                ifindex if is_local(key, ifindex) => FdbTarget::Local,
                _ => FdbTarget::Stray,
            };
            network(networks, key.vni, |network| {
                network.fdb.insert(key.mac.into(), target);
            });
        }
    }
}

/// Adds something to a network. Entries that no VNI leads to are not looked at: no frame reaches them.
fn network(networks: &mut KernelNetworks, vni: u32, add: impl FnOnce(&mut KernelNetwork)) {
    if let Ok(vni) = Vni::try_from(vni) {
        add(networks.entry(vni).or_default());
    }
}
