use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use privnet_model::{InstanceId, MacAddr};

use crate::error::Step;
use crate::layout::{self, Counters, DROP_REASONS, LAYOUT_VERSION, Port};
use crate::names::{Alias, port_device};
use crate::netlink::Socket;
use crate::pins::Pins;
use crate::tables::{CounterTable, Table};
use crate::{Datapath, FrameSender, KernelError};

const DECLINES: &str = "declines";

/// What passed this host, as its agent and the agent's programs have counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCounters {
    /// Ports, by network and device.
    pub ports: Vec<CountedPort>,
    /// What the overlay brought for no port of this host.
    pub overlay: PortCounters,
}

/// One port and what passed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedPort {
    /// Its network's VNI.
    pub vni: u32,
    /// Its device on this host.
    pub device: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its instance, as the device says; `None` if there is no such device in this network namespace.
    pub instance: Option<InstanceId>,
    /// What passed it.
    pub counters: PortCounters,
}

/// The counters of a host cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// Nothing is pinned there.
    #[error("no agent has run on this host with its eBPF pins in {}; where it has them elsewhere, name that folder by --bpf-dir", .0.display())]
    NoAgent(PathBuf),
    /// What is pinned there is of another layout.
    #[error("the agent with its eBPF pins in {0} is of another version; use that version's privnet")]
    OtherVersion(PathBuf),
    /// The kernel refuses a step.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What passed a port since it was filtered, as its instance sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames from the instance that went somewhere.
    pub sent_frames: u64,
    /// Their octets.
    pub sent_octets: u64,
    /// Frames to the instance.
    pub received_frames: u64,
    /// Their octets.
    pub received_octets: u64,
    /// Requests handed to the agent.
    pub dhcp_requests: u64,
    /// Those of them that declined the port's address as one that is in use (RFC 2131 §4.3.3).
    pub dhcp_declines: u64,
    /// Requests answered in place.
    pub arp_replies: u64,
    /// Frames that were too big, answered by ICMP; they count as dropped, too.
    pub icmp_replies: u64,
    /// Frames that were dropped, by reason. Reasons without any are left out.
    pub drops: BTreeMap<&'static str, u64>,
}

/// Counts what no program can: which addresses clients decline.
pub struct DeclineCounter {
    ports: Table<u32, Port>,
    declines: Table<u32, u64>,
    sender: FrameSender,
}

impl DeclineCounter {
    /// One for the ports of the agent with these pins, whose devices the sender finds.
    pub(crate) fn open(pins: &Pins, sender: FrameSender) -> Result<Self, KernelError> {
        Ok(Self { ports: Table::pinned(pins, "ports")?, declines: Table::pinned(pins, DECLINES)?, sender })
    }

    /// Counts that a port's client has declined its address. A port that is just being unplugged has none any more.
    ///
    /// # Errors
    /// The count cannot be read or written.
    pub fn count(&mut self, port: MacAddr) -> Result<(), KernelError> {
        let Ok(index) = self.sender.index_of(&port_device(port)).map(i32::cast_unsigned) else { return Ok(()) };
        if self.ports.get(&index)?.is_none_or(|entry| entry.mac != port.octets()) {
            return Ok(());
        }
        let declines = self.declines.get(&index)?.unwrap_or_default();
        self.declines.set(index, declines.saturating_add(1))
    }
}

impl Datapath {
    /// What passed a port; `None` if it is not filtered on this host.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn counters(&mut self, port: MacAddr) -> Result<Option<PortCounters>, KernelError> {
        match self.device(port)? {
            Some(link) => self.counters_of(link.index),
            None => Ok(None),
        }
    }

    /// What the overlay brought for no port of this host.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn overlay_counters(&mut self) -> Result<PortCounters, KernelError> {
        Ok(self.counters_of(layout::OVERLAY_ROW)?.unwrap_or_default())
    }

    fn counters_of(&self, row: u32) -> Result<Option<PortCounters>, KernelError> {
        let declines = self.tables.declines.get(&row)?.unwrap_or_default();
        Ok(self.tables.counters.get(row)?.map(|counters| sum(counters, declines)))
    }
}

/// Reads the counters of the agent that has its pins in this folder, whether it is running or not.
///
/// # Errors
/// No agent has pinned anything there, or one of another version has, or the kernel refuses a step.
pub fn read_counters(pin_dir: &Path) -> Result<HostCounters, CountersError> {
    let pins = Pins::at(pin_dir, LAYOUT_VERSION);
    if !pins.maps().exists() {
        return Err(match pins.has_other_maps()? {
            true => CountersError::OtherVersion(pin_dir.to_owned()),
            false => CountersError::NoAgent(pin_dir.to_owned()),
        });
    }
    let ports: Table<u32, Port> = Table::pinned(&pins, "ports")?;
    let counters = CounterTable::pinned(&pins)?;
    // An earlier version of the same layout has not counted them.
    let declines = pins.has_map(DECLINES).then(|| Table::<u32, u64>::pinned(&pins, DECLINES)).transpose()?;
    let declines_of = |row| declines.as_ref().map_or(Ok(None), |declines| declines.get(&row));
    let sum_of = |row| {
        let declines = declines_of(row)?.unwrap_or_default();
        Ok::<_, KernelError>(sum(counters.get(row)?.unwrap_or_default(), declines))
    };
    let instances = instances()?;
    let counted = |(index, port): (u32, Port)| {
        let mac = MacAddr::from(port.mac);
        let instance = instances.get(&index).copied();
        Ok(CountedPort { vni: port.vni, device: port_device(mac), mac, instance, counters: sum_of(index)? })
    };
    let mut ports = ports.entries()?.into_iter().map(counted).collect::<Result<Vec<_>, KernelError>>()?;
    ports.sort_by(|one, other| (one.vni, &one.device).cmp(&(other.vni, &other.device)));
    Ok(HostCounters { ports, overlay: sum_of(layout::OVERLAY_ROW)? })
}

/// The instances of ports, by the indexes of their devices.
fn instances() -> Result<BTreeMap<u32, InstanceId>, KernelError> {
    let mut netlink = Socket::open().step(format_args!("open a netlink socket"))?;
    let links = netlink.links().step(format_args!("read this host's devices"))?;
    Ok(links.iter().filter_map(|link| Some((link.index, Alias::of(link)?.spec.instance))).collect())
}

/// What all processors and the agent have counted together.
fn sum(by_processor: Vec<Counters>, dhcp_declines: u64) -> PortCounters {
    let mut sum = PortCounters { dhcp_declines, ..PortCounters::default() };
    by_processor.into_iter().for_each(|counters| sum += counters);
    sum.drops.retain(|_, frames| *frames > 0);
    sum
}

impl AddAssign<Counters> for PortCounters {
    fn add_assign(&mut self, more: Counters) {
        self.sent_frames += more.sent_frames;
        self.sent_octets += more.sent_octets;
        self.received_frames += more.received_frames;
        self.received_octets += more.received_octets;
        self.dhcp_requests += more.dhcp_requests;
        self.arp_replies += more.arp_replies;
        self.icmp_replies += more.icmp_replies;
        for (reason, frames) in DROP_REASONS.into_iter().zip(more.drops) {
            *self.drops.entry(reason).or_default() += frames;
        }
    }
}
