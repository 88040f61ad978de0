use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{
    DeviceName, InstanceId, LocalPort, Location, MacAddr, NetworkState, Placement, Power, SERVER_MAC, Vni,
};

use crate::Configuration;

/// What a host's kernel holds of one network: devices and eBPF map entries. The same type says what
/// is wanted ([`wanted_kernel_network`]) and what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelNetwork {
    /// The network's own map entry.
    pub settings: Option<NetworkSettings>,
    /// This host's ports, by MAC address.
    pub ports: BTreeMap<MacAddr, KernelPort>,
    /// Where frames to each MAC address go.
    pub fdb: BTreeMap<MacAddr, FdbTarget>,
    /// What ARP requests are answered with.
    pub neighbors: BTreeMap<Ipv4Addr, MacAddr>,
    /// The other hosts' VTEPs: BUM frames go to them, and only they may send into this network.
    pub vteps: BTreeSet<IpAddr>,
}

/// How the programs treat a network's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Whether DHCP requests go to the agent and foreign DHCP servers are silenced.
    pub managed: bool,
    /// The largest IP packet that may cross it, in octets.
    pub mtu_bytes: u32,
}

/// One of this host's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelPort {
    /// How it is plugged in.
    pub spec: PortSpec,
    /// How far it is.
    pub stage: PortStage,
    /// What the host sets on the device in the instance.
    pub configuration: Configuration,
}

/// All that is needed to make a port's device. A port whose spec differs in more than the MTU is unplugged and
/// plugged in anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// The instance it belongs to.
    pub instance: InstanceId,
    /// How and where it is plugged in.
    pub placement: Placement,
    /// The device's name in the instance.
    pub device: DeviceName,
    /// The device's MTU, in octets.
    pub mtu_bytes: u32,
    /// How often the instance had been rebooted when it was plugged in.
    pub reboots: u32,
    /// Whether the host configures the device in the instance.
    pub is_configured: bool,
}

impl PortSpec {
    /// Whether the same device can be both, with one MTU or the other.
    pub(crate) fn is_same_device(&self, other: &Self) -> bool {
        *self == Self { mtu_bytes: self.mtu_bytes, ..other.clone() }
    }
}

/// How far a port is. Absent -> `Plugged` -> `Filtered` -> `Open`, and back by `Filtered`; a port
/// passes nothing before it is `Open` (invariant 4). `Filtered` or `Open` -> `Outdated` when an agent of
/// another version starts, which leads on as `Plugged` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortStage {
    /// The device exists, is down, and no program is attached to it.
    Plugged,
    /// Programs of another version are attached, and judge by maps of their own: what passes is what that
    /// version's agent has let pass.
    Outdated,
    /// The programs are attached and drop all of its frames; or those of another version still are, and
    /// all is there for ours to let them pass.
    Filtered,
    /// Frames flow, and the device is up.
    Open,
}

/// Where frames to a MAC address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdbTarget {
    /// To this host's own port with that MAC address.
    Local,
    /// To another host's VTEP.
    Remote(IpAddr),
    /// Somewhere that this host's agent never sends them: an entry that somebody else has changed.
    Stray,
}

/// What the kernel shall hold of a network in this state, where the host's own overlay has this MTU.
pub fn wanted_kernel_network(state: &NetworkState, overlay_mtu_bytes: u32) -> KernelNetwork {
    let mtu_bytes = state.mtu_on(overlay_mtu_bytes);
    let is_plugged = |port: &LocalPort| port.power == Power::Running;
    let ports = state.local_ports().filter(|(_, port)| is_plugged(port)).map(|(member, port)| {
        let spec = PortSpec {
            instance: port.instance,
            placement: port.placement.clone(),
            device: port.device.clone(),
            mtu_bytes,
            reboots: match port.placement {
                Placement::Netns(_) => port.reboots,
                // Who has it open would lose it for good.
                Placement::Tap(_) => 0,
            },
            is_configured: port.is_configured,
        };
        let configuration =
            if port.is_configured { Configuration::wanted(state, member) } else { Configuration::default() };
        (member.mac, KernelPort { spec, stage: PortStage::Open, configuration })
    });
    // Frames to an instance that is stopped here are for nobody.
    let fdb = state.members.values().filter_map(|member| match &member.location {
        Location::Local(port) => is_plugged(port).then_some((member.mac, FdbTarget::Local)),
        Location::Remote { vtep } => Some((member.mac, FdbTarget::Remote(*vtep))),
    });
    let leases = state.members.values().filter_map(|member| Some((member.address?, member.mac)));
    let server = state.dhcp.as_ref().map(|dhcp| (dhcp.range.subnet().server(), SERVER_MAC));
    KernelNetwork {
        settings: Some(NetworkSettings { managed: state.dhcp.is_some(), mtu_bytes }),
        ports: ports.collect(),
        fdb: fdb.collect(),
        neighbors: leases.chain(server).collect(),
        vteps: state.remote_vteps(),
    }
}

/// The kernel state of all networks of a host, by VNI.
pub type KernelNetworks = BTreeMap<Vni, KernelNetwork>;
