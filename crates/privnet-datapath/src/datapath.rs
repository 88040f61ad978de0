use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::Error as Errno;
use privnet_model::{MacAddr, Netns, Placement, Vni};
use privnet_plan::{FdbTarget, NetOp, NetworkSettings, PortSpec};
use tracing::warn;

use crate::dhcp::DhcpRequests;
use crate::dump::{PortDevice, Snapshot};
use crate::error::Step;
use crate::events::LinkEvents;
use crate::layout::{self, FdbKey, Neighbor, NeighborKey, Network, Port, VtepKey, vtep_octets};
use crate::names::{OVERLAY_DEVICE, alias, port_device, port_of_device, read_alias};
use crate::netlink::{Link, Socket, Veth};
use crate::overlay::Overlay;
use crate::pins::Pins;
use crate::programs::{Hook, Programs, Version, Which};
use crate::sender::FrameSender;
use crate::tables::Tables;
use crate::{ApplyError, DumpError, Kernel, KernelDump, KernelError, OpenError, netns, underlay};

/// How often an instance's end is looked at, and how long not, until it can send. The kernel works off
/// what is urgent at once and the rest once in a second; to look makes it do so since Linux 6.8.
const LINKWATCH_TRIES: u32 = 1000;
const LINKWATCH_PAUSE: Duration = Duration::from_millis(1);

/// How this host's data plane is set up.
#[derive(Debug, Clone)]
pub struct DatapathConfig {
    /// This host's address on the underlay.
    pub vtep: IpAddr,
    /// The UDP port of VXLAN, the same on all hosts; 4789 by RFC 7348.
    pub vxlan_port: u16,
    /// A folder of the BPF file system, this agent's alone.
    pub pin_dir: PathBuf,
}

/// The parts of an open data plane.
pub struct Opened {
    /// Devices, programs and maps.
    pub datapath: Datapath,
    /// What the ports' DHCP clients ask.
    pub dhcp_requests: DhcpRequests,
    /// For the answers.
    pub sender: FrameSender,
    /// When to look at the devices.
    pub link_events: LinkEvents,
    /// The MTU of the device with the VTEP's address.
    pub underlay_mtu_bytes: u32,
}

/// One host's data plane in its kernel. It stays there when this is dropped.
pub struct Datapath {
    netlink: Socket,
    pub(crate) tables: Tables,
    pub(crate) programs: Programs,
    overlay: Overlay,
    pub(crate) overlay_ifindex: u32,
}

impl Datapath {
    /// Sets the data plane up in the thread's network namespace, or takes over what an earlier agent
    /// has left there. Frames of open ports flow all the time. Needs a tokio runtime
    /// with I/O and time.
    ///
    /// # Errors
    /// The VTEP's address is not this host's, or the kernel refuses a step; the message says which.
    pub fn open(config: &DatapathConfig) -> Result<Opened, OpenError> {
        Self::open_with(config, Hook::of_this_kernel()?)
    }

    pub(crate) fn open_with(config: &DatapathConfig, hook: Hook) -> Result<Opened, OpenError> {
        let IpAddr::V4(vtep) = config.vtep else { return Err(OpenError::NotIpv4(config.vtep)) };
        let mut netlink = Socket::open().step(format_args!("open a netlink socket"))?;
        let underlay_mtu_bytes = underlay::device(&mut netlink, vtep)?.mtu_bytes;
        let pins = Pins::at(&config.pin_dir);
        pins.make()?;
        let mtu_bytes = underlay_mtu_bytes.saturating_sub(underlay::OVERHEAD_BYTES);
        let overlay = Overlay { vxlan_port: config.vxlan_port, mtu_bytes };
        let mut programs = Programs::load(&pins, hook, vtep)?;
        let tables = Tables::take(programs.object())?;
        let dhcp_requests = DhcpRequests::take(programs.object())?;
        let link_events = LinkEvents::open()?;
        let mut datapath = Self { netlink, tables, programs, overlay, overlay_ifindex: 0 };
        datapath.tables.counters.add(layout::OVERLAY_ROW)?;
        datapath.set_up_overlay()?;
        datapath.upgrade_ports()?;
        pins.remove_other_maps()?;
        Ok(Opened { datapath, dhcp_requests, sender: FrameSender::open()?, link_events, underlay_mtu_bytes })
    }

    /// Makes the overlay device, or takes the one that is there, and filters before it sets up.
    fn set_up_overlay(&mut self) -> Result<(), KernelError> {
        let device = self.overlay.make(&mut self.netlink)?;
        self.programs.set_overlay(device.index)?;
        self.overlay_ifindex = device.index;
        self.programs.attach(&mut self.netlink, Which::FromOverlay, &device)?;
        self.set_up(&device)
    }

    /// Puts the loaded program in the place of earlier versions.
    fn upgrade_ports(&mut self) -> Result<(), KernelError> {
        let links = self.links()?;
        for (link, _, version) in self.ports(&links)? {
            if version == Version::Other {
                self.programs.attach(&mut self.netlink, Which::FromPort, link)?;
            }
        }
        Ok(())
    }

    /// The host sides of ports among these devices, and which version of from_port they have.
    fn ports<'a>(&mut self, links: &'a [Link]) -> Result<Vec<(&'a Link, MacAddr, Version)>, KernelError> {
        let ports = links.iter().filter_map(|link| Some((link, port_of_device(&link.name)?)));
        let (devices, macs): (Vec<_>, Vec<_>) = ports.unzip();
        let versions = self.programs.on_ports(&mut self.netlink, &devices)?;
        Ok(devices.into_iter().zip(macs).zip(versions).map(|((link, mac), version)| (link, mac, version)).collect())
    }

    fn links(&mut self) -> Result<Vec<Link>, KernelError> {
        self.netlink.links().step(format_args!("read this host's devices"))
    }

    fn set_up(&mut self, link: &Link) -> Result<(), KernelError> {
        if link.is_up {
            return Ok(());
        }
        self.netlink.set_up(link.index).step(format_args!("set device {} up", link.name))
    }

    /// Repairs what belongs to no network: the overlay device and its program.
    fn repair_overlay(&mut self, links: &[Link]) -> Result<(), KernelError> {
        let device = links.iter().find(|link| link.name == OVERLAY_DEVICE);
        if let Some(device) = device
            && device.index == self.overlay_ifindex
            && device.is_up
            && self.overlay.is_made(device)
            && self.programs.is_attached(&mut self.netlink, Which::FromOverlay, device)?
        {
            return Ok(());
        }
        self.set_up_overlay()?;
        warn!(device = OVERLAY_DEVICE, "somebody else had changed or removed the overlay device; repaired");
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot, KernelError> {
        let links = self.links()?;
        self.repair_overlay(&links)?;
        let ports = self.ports(&links)?.into_iter().map(|(link, mac, version)| PortDevice {
            index: link.index,
            mac,
            plugged: read_alias(&link.alias, link.mtu_bytes),
            is_up: link.is_up,
            is_filtered: version == Version::Loaded,
        });
        Ok(Snapshot {
            devices: ports.collect(),
            ports: self.tables.ports.entries()?,
            networks: self.tables.networks.entries()?,
            fdb: self.tables.fdb.entries()?,
            neighbors: self.tables.neighbors.entries()?,
            vteps: self.tables.vteps.entries()?,
            local_members: self.tables.local_members.entries()?,
            remote_members: self.tables.remote_members.entries()?,
        })
    }

    fn carry_out(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        match op {
            NetOp::RemoveNeighbor { vni, address } => {
                Ok(self.tables.neighbors.remove(&NeighborKey { vni: vni.get(), address: address.octets() })?)
            }
            NetOp::RemoveFdb { vni, mac } => Ok(self.tables.fdb.remove(&FdbKey::new(*vni, *mac))?),
            NetOp::RemoveVtep { vni, vtep } => self.remove_vtep(*vni, *vtep),
            NetOp::Close { vni, mac } => self.close(*vni, *mac),
            NetOp::Unplug { mac } => self.unplug(*mac),
            NetOp::RemoveNetwork { vni } => Ok(self.tables.remove_network(*vni)?),
            NetOp::SetNetwork { vni, settings } => self.set_network(*vni, settings),
            NetOp::AddVtep { vni, vtep } => self.add_vtep(*vni, *vtep),
            NetOp::Plug { vni, mac, spec } => self.plug(*vni, *mac, spec),
            NetOp::Filter { vni, mac } => self.filter(*vni, *mac),
            NetOp::SetFdb { vni, mac, target } => self.set_fdb(*vni, *mac, target),
            NetOp::SetNeighbor { vni, address, mac } => {
                let key = NeighborKey { vni: vni.get(), address: address.octets() };
                Ok(self.tables.neighbors.set(key, Neighbor { mac: mac.octets(), unused: [0; 2] })?)
            }
            NetOp::Open { vni, mac } => self.open_port(*vni, *mac),
        }
    }

    fn set_network(&mut self, vni: Vni, settings: &NetworkSettings) -> Result<(), ApplyError> {
        let members = self.tables.members_by_ports_and_vteps(vni)?;
        let entry = Network { mtu: settings.mtu_bytes, managed: settings.managed.into(), ..Network::default() };
        Ok(self.tables.set_network(vni, entry, &members)?)
    }

    fn add_vtep(&mut self, vni: Vni, vtep: IpAddr) -> Result<(), ApplyError> {
        if !vtep.is_ipv4() {
            return Err(ApplyError::NotIpv4(vtep));
        }
        let address = vtep_octets(vtep);
        self.tables.vteps.set(VtepKey { vni: vni.get(), address }, 0)?;
        self.tables.change_members(vni, |members| members.remote.insert(address))?;
        Ok(())
    }

    fn remove_vtep(&mut self, vni: Vni, vtep: IpAddr) -> Result<(), ApplyError> {
        let address = vtep_octets(vtep);
        self.tables.change_members(vni, |members| members.remote.remove(&address))?;
        Ok(self.tables.vteps.remove(&VtepKey { vni: vni.get(), address })?)
    }

    fn plug(&mut self, vni: Vni, mac: MacAddr, spec: &PortSpec) -> Result<(), ApplyError> {
        let Placement::Netns(netns) = &spec.placement;
        let peer_netns = netns::open(netns)?;
        let alias = alias(vni, spec).step(format_args!("plug in port {mac}"))?;
        if let Some(link) = self.device(mac)? {
            if read_alias(&link.alias, link.mtu_bytes).is_some_and(|(held, plugged)| (held, &plugged) == (vni, spec)) {
                return Ok(());
            }
            self.unplug(mac)?;
        }
        let name = port_device(mac);
        let veth = Veth {
            name: &name,
            mtu_bytes: spec.mtu_bytes,
            peer_name: spec.device.as_str(),
            peer_mac: mac,
            peer_netns: peer_netns.as_fd(),
        };
        match self.netlink.add_veth(&veth) {
            Err(error) if error.errno == Errno::EEXIST => return Err(device_taken(netns, spec)),
            made => made.step(format_args!("make device {name}"))?,
        }
        silence(&name).step(format_args!("switch IPv6 off on device {name}"))?;
        set_peer_up(&peer_netns, spec)?;
        let made = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        // Last, since it says that the device is complete.
        let described = self.netlink.set_alias(made.index, &alias);
        Ok(described.step(format_args!("set the alias of device {name}"))?)
    }

    fn unplug(&mut self, mac: MacAddr) -> Result<(), ApplyError> {
        for (ifindex, port) in self.entries_of(mac)? {
            self.shut(ifindex, port)?;
        }
        // With its filter, so that it filters as long as there is something to filter.
        if let Some(link) = self.device(mac)? {
            self.netlink.delete_link(link.index).step(format_args!("remove device {}", link.name))?;
        }
        Ok(self.forget_devices(mac, None)?)
    }

    /// Removes the entries of a port but for those of that device.
    fn forget_devices(&mut self, mac: MacAddr, but: Option<u32>) -> Result<(), KernelError> {
        for (ifindex, port) in self.entries_of(mac)?.into_iter().filter(|(ifindex, _)| Some(*ifindex) != but) {
            self.shut(ifindex, port)?;
            self.tables.ports.remove(&ifindex)?;
            self.tables.counters.remove(ifindex)?;
        }
        Ok(())
    }

    /// A port's entries, with the indexes of its device and of earlier ones that were removed by hand.
    fn entries_of(&self, mac: MacAddr) -> Result<Vec<(u32, Port)>, KernelError> {
        let entries = self.tables.ports.entries()?;
        Ok(entries.into_iter().filter(|(_, port)| port.mac == mac.octets()).collect())
    }

    fn filter(&mut self, vni: Vni, mac: MacAddr) -> Result<(), ApplyError> {
        let link = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        self.forget_devices(mac, Some(link.index))?;
        let entry = self.tables.ports.get(&link.index)?;
        self.tables.counters.add(link.index)?;
        let is_attached = self.programs.is_attached(&mut self.netlink, Which::FromPort, &link)?;
        if is_attached && entry.is_some_and(|entry| entry.is_of(vni, mac)) {
            return Ok(());
        }
        if let Some(entry) = entry {
            self.shut(link.index, entry)?;
        }
        self.tables.ports.set(link.index, Port::closed(vni, mac))?;
        Ok(self.programs.attach(&mut self.netlink, Which::FromPort, &link)?)
    }

    fn set_fdb(&mut self, vni: Vni, mac: MacAddr, target: &FdbTarget) -> Result<(), ApplyError> {
        let entry = match target {
            FdbTarget::Remote(vtep) if vtep.is_ipv4() => layout::FdbTarget { ifindex: 0, vtep: vtep_octets(*vtep) },
            FdbTarget::Remote(vtep) => return Err(ApplyError::NotIpv4(*vtep)),
            FdbTarget::Local => {
                let ifindex = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?.index;
                layout::FdbTarget { ifindex, ..layout::FdbTarget::default() }
            }
            // Nobody wants that; what leads nowhere is what comes closest.
            FdbTarget::Stray => return Ok(self.tables.fdb.remove(&FdbKey::new(vni, mac))?),
        };
        Ok(self.tables.fdb.set(FdbKey::new(vni, mac), entry)?)
    }

    fn open_port(&mut self, vni: Vni, mac: MacAddr) -> Result<(), ApplyError> {
        let link = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        let entry = self.tables.ports.get(&link.index)?.filter(|entry| entry.is_of(vni, mac));
        let entry = entry.ok_or(ApplyError::NotFiltered(mac))?;
        if !self.programs.is_attached(&mut self.netlink, Which::FromPort, &link)? {
            return Err(ApplyError::NotFiltered(mac));
        }
        self.tables.ports.set(link.index, Port { open: 1, ..entry })?;
        let joined = self.tables.change_members(vni, |members| members.local.insert(link.index))?;
        joined.ok_or(ApplyError::NoSettings(vni))?;
        Ok(self.set_up(&link)?)
    }

    fn close(&mut self, vni: Vni, mac: MacAddr) -> Result<(), ApplyError> {
        let Some(link) = self.device(mac)? else { return Ok(()) };
        match self.tables.ports.get(&link.index)? {
            Some(entry) if entry.is_of(vni, mac) => Ok(self.shut(link.index, entry)?),
            _ => Ok(()),
        }
    }

    /// From now on that entry's port passes nothing, and no BUM frames are sent to it.
    fn shut(&mut self, ifindex: u32, entry: Port) -> Result<(), KernelError> {
        self.tables.ports.set(ifindex, Port { open: 0, ..entry })?;
        let Ok(vni) = Vni::try_from(entry.vni) else { return Ok(()) };
        self.tables.change_members(vni, |members| members.local.remove(&ifindex)).map(drop)
    }

    /// Waits until the instance's end can send, which the kernel sees to in the background when the
    /// host's end comes up (linkwatch). What is sent earlier is lost.
    async fn until_instance_can_send(&mut self, mac: MacAddr) -> Result<(), KernelError> {
        let Some(peer) = self.device(mac)?.and_then(|link| link.peer) else { return Ok(()) };
        for _ in 0..LINKWATCH_TRIES {
            let found = self.netlink.peer(peer).step(format_args!("look at the instance's end of port {mac}"))?;
            if found.is_none_or(|link| link.is_operational || !link.is_up) {
                break;
            }
            tokio::time::sleep(LINKWATCH_PAUSE).await;
        }
        Ok(())
    }

    /// The host side of a port.
    pub(crate) fn device(&mut self, mac: MacAddr) -> Result<Option<Link>, KernelError> {
        let name = port_device(mac);
        if port_of_device(&name) != Some(mac) {
            return Ok(None);
        }
        self.netlink.link(&name).step(format_args!("look for device {name}"))
    }
}

impl Kernel for Datapath {
    async fn dump(&mut self) -> Result<KernelDump, DumpError> {
        Ok(self.snapshot()?.into_dump())
    }

    async fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        self.carry_out(op)?;
        match op {
            NetOp::Open { mac, .. } => Ok(self.until_instance_can_send(*mac).await?),
            _ => Ok(()),
        }
    }
}

/// Keeps the host's IPv6 from speaking to an instance: of its own addresses, and as a router.
fn silence(device: &str) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"), "1") {
        // It does not care for devices of a small MTU, or is not in this kernel.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Sets the instance's end up; a pair cannot be made so.
fn set_peer_up(netns: &File, spec: &PortSpec) -> Result<(), KernelError> {
    let mut netlink = netns::netlink(netns)?;
    let name = spec.device.as_str();
    let link = netlink.link(name).and_then(|link| link.ok_or(Errno::ENODEV.into()));
    link.and_then(|link| netlink.set_up(link.index)).step(format_args!("set the instance's device {name} up"))
}

fn device_taken(netns: &Netns, spec: &PortSpec) -> ApplyError {
    ApplyError::DeviceTaken { netns: netns.clone(), device: spec.device.clone() }
}
