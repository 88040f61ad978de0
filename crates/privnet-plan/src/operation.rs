use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{MacAddr, Placement, Vni};

use crate::{Configuration, FdbTarget, NetworkSettings, PortSpec};

/// One step that changes a host's kernel state of one network. Each one is idempotent: done twice,
/// it leaves what it leaves when done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetOp {
    /// Stop answering ARP requests for an address.
    RemoveNeighbor {
        /// The network's.
        vni: Vni,
        /// The address.
        address: Ipv4Addr,
    },
    /// Frames to this MAC address go nowhere.
    RemoveFdb {
        /// The network's.
        vni: Vni,
        /// The destination.
        mac: MacAddr,
    },
    /// No BUM frames to this VTEP, nothing accepted from it.
    RemoveVtep {
        /// The network's.
        vni: Vni,
        /// The other host's underlay address.
        vtep: IpAddr,
    },
    /// The port passes nothing and receives nothing from now on.
    Close {
        /// The network's.
        vni: Vni,
        /// The port's.
        mac: MacAddr,
    },
    /// Remove the port's device and its map entries.
    Unplug {
        /// The port's.
        mac: MacAddr,
    },
    /// Forget the network, which has nothing left.
    RemoveNetwork {
        /// The network's.
        vni: Vni,
    },
    /// How to treat the network's frames.
    SetNetwork {
        /// The network's.
        vni: Vni,
        /// From now on.
        settings: NetworkSettings,
    },
    /// Give the port's device another MTU.
    SetMtu {
        /// The network's.
        vni: Vni,
        /// The port's.
        mac: MacAddr,
        /// From now on, in octets.
        mtu_bytes: u32,
    },
    /// Accept frames from this VTEP, send BUM frames to it.
    AddVtep {
        /// The network's.
        vni: Vni,
        /// The other host's underlay address.
        vtep: IpAddr,
    },
    /// Make the port's device, down.
    Plug {
        /// The network's.
        vni: Vni,
        /// The port's.
        mac: MacAddr,
        /// How.
        spec: PortSpec,
    },
    /// Attach the programs to the port's device; they drop all of its frames for now. Where programs of
    /// another version are attached, these stay, and what ours need is put into the maps.
    Filter {
        /// The network's.
        vni: Vni,
        /// The port's.
        mac: MacAddr,
    },
    /// Frames to this MAC address go there.
    SetFdb {
        /// The network's.
        vni: Vni,
        /// The destination.
        mac: MacAddr,
        /// Where to.
        target: FdbTarget,
    },
    /// Answer ARP requests for an address.
    SetNeighbor {
        /// The network's.
        vni: Vni,
        /// The address.
        address: Ipv4Addr,
        /// The answer.
        mac: MacAddr,
    },
    /// Give the port's device in the instance this address and these routes, and take away what was given before.
    /// What the instance has set itself stays.
    Configure {
        /// The network's.
        vni: Vni,
        /// The port's.
        mac: MacAddr,
        /// From now on.
        configuration: Configuration,
    },
    /// Let the port's frames flow, and BUM frames reach it; set its device up. Programs of another version
    /// are replaced by ours in one step.
    Open {
        /// The network's.
        vni: Vni,
        /// The port's.
        mac: MacAddr,
    },
}

impl NetOp {
    /// Whether this operation must not be done when `earlier`, which stands before it in the same
    /// plan, has failed or was itself left out.
    ///
    /// What concerns one port stops at its first failure, so that nothing points to a device that is
    /// not there and nothing opens unfiltered; other ports go on.
    pub fn needs(&self, earlier: &Self) -> bool {
        match self {
            Self::RemoveNetwork { .. } => true,
            Self::Unplug { mac }
            | Self::Plug { mac, .. }
            | Self::Filter { mac, .. }
            | Self::Configure { mac, .. }
            | Self::SetFdb { mac, target: FdbTarget::Local, .. } => earlier.readies_port(*mac),
            Self::Open { mac, .. } => earlier.readies_port(*mac) || matches!(earlier, Self::SetNetwork { .. }),
            Self::RemoveNeighbor { .. }
            | Self::RemoveFdb { .. }
            | Self::RemoveVtep { .. }
            | Self::Close { .. }
            | Self::SetNetwork { .. }
            | Self::SetMtu { .. }
            | Self::AddVtep { .. }
            | Self::SetFdb { target: FdbTarget::Remote(_) | FdbTarget::Stray, .. }
            | Self::SetNeighbor { .. } => false,
        }
    }

    /// Whether this is a step on the way of that port. A port that could not be closed is one that
    /// can still be unplugged.
    fn readies_port(&self, port: MacAddr) -> bool {
        match self {
            Self::RemoveFdb { mac, .. }
            | Self::Unplug { mac }
            | Self::Plug { mac, .. }
            | Self::Filter { mac, .. }
            | Self::SetFdb { mac, .. } => *mac == port,
            _ => false,
        }
    }

    /// The port of this host that the operation is about.
    pub fn port(&self) -> Option<MacAddr> {
        match self {
            Self::Close { mac, .. }
            | Self::Unplug { mac }
            | Self::SetMtu { mac, .. }
            | Self::Plug { mac, .. }
            | Self::Filter { mac, .. }
            | Self::SetFdb { mac, target: FdbTarget::Local, .. }
            | Self::Configure { mac, .. }
            | Self::Open { mac, .. } => Some(*mac),
            _ => None,
        }
    }
}

/// As plans are printed: `-` takes away, `+` adds, `~` sets.
impl fmt::Display for NetOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveNeighbor { vni, address } => write!(f, "- neighbor vni {vni} {address}"),
            Self::RemoveFdb { vni, mac } => write!(f, "- fdb vni {vni} {mac}"),
            Self::RemoveVtep { vni, vtep } => write!(f, "- vtep vni {vni} {vtep}"),
            Self::Close { vni, mac } => write!(f, "~ port vni {vni} {mac} closed"),
            Self::Unplug { mac } => write!(f, "- port {mac}"),
            Self::RemoveNetwork { vni } => write!(f, "- network vni {vni}"),
            Self::SetNetwork { vni, settings } => {
                let kind = if settings.managed { "managed" } else { "unmanaged" };
                write!(f, "~ network vni {vni} {kind} mtu {}", settings.mtu_bytes)
            }
            Self::SetMtu { vni, mac, mtu_bytes } => write!(f, "~ port vni {vni} {mac} mtu {mtu_bytes}"),
            Self::AddVtep { vni, vtep } => write!(f, "+ vtep vni {vni} {vtep}"),
            Self::Plug { vni, mac, spec } => {
                write!(f, "+ port vni {vni} {mac} {} ", spec.device)?;
                match &spec.placement {
                    Placement::Netns(netns) => write!(f, "in netns {netns}"),
                    Placement::Tap(_) => write!(f, "as tap"),
                }?;
                write!(f, " mtu {}", spec.mtu_bytes)
            }
            Self::Filter { vni, mac } => write!(f, "~ port vni {vni} {mac} filtered"),
            Self::SetFdb { vni, mac, target } => match target {
                FdbTarget::Local => write!(f, "+ fdb vni {vni} {mac} local"),
                FdbTarget::Remote(vtep) => write!(f, "+ fdb vni {vni} {mac} via {vtep}"),
                FdbTarget::Stray => write!(f, "+ fdb vni {vni} {mac} astray"),
            },
            Self::SetNeighbor { vni, address, mac } => write!(f, "+ neighbor vni {vni} {address} {mac}"),
            Self::Configure { vni, mac, configuration } => {
                write!(f, "~ port vni {vni} {mac} configured {configuration}")
            }
            Self::Open { vni, mac } => write!(f, "~ port vni {vni} {mac} open"),
        }
    }
}
