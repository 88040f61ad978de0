use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;

use nix::fcntl::Flock;
use privnet_model::{InstanceState, MacAddr, Placement, Vni, overlay_mtu_bytes};
use privnet_plan::{FdbTarget, NetOp, NetworkSettings, PortSpec};
use tracing::{info, warn};

use crate::counters::DeclineCounter;
use crate::dhcp::DhcpRequests;
use crate::dump::{PortDevice, Snapshot};
use crate::ends::Ends;
use crate::error::Step;
use crate::events::LinkEvents;
use crate::fast_lane::{self, FastLane};
use crate::layout::{self, FdbKey, LAYOUT_VERSION, Neighbor, NeighborKey, Network, VtepKey, vtep_address, vtep_octets};
use crate::names::{Alias, Anchor, OVERLAY_DEVICE, ROUTE_DEVICE, port_of_device};
use crate::namespaces::Namespaces;
use crate::netlink::{Link, Socket};
use crate::overlay::{self, Overlay};
use crate::pins::{self, PinnedMaps, Pins};
use crate::ports::kind_of;
use crate::programs::{Devices, Hook, Programs, Version, Which};
use crate::sender::FrameSender;
use crate::tables::Tables;
use crate::{ApplyError, DumpError, Kernel, KernelDump, KernelError, OpenError, netns, tap, underlay};

/// How many ports' devices are looked at in one part of reading the kernel: a millisecond or two.
const PORTS_IN_SLICE: usize = 96;

/// How this host's data plane is set up.
#[derive(Debug, Clone)]
pub struct DatapathConfig {
    /// This host's address on the underlay.
    pub vtep: IpAddr,
    /// The UDP port of VXLAN, the same on all hosts; 4789 by RFC 7348.
    pub vxlan_port: u16,
    /// A folder of the BPF file system, this agent's alone.
    pub pin_dir: PathBuf,
    /// How many copies of frames to many (BUM) one port may cause in a second, and all that the overlay
    /// brings into one network; 0: any number.
    pub bum_copies_per_second: u32,
}

/// The parts of an open data plane.
pub struct Opened {
    /// Devices, programs and maps.
    pub datapath: Datapath,
    /// What the ports' DHCP clients ask.
    pub dhcp_requests: DhcpRequests,
    /// For the answers.
    pub sender: FrameSender,
    /// For what the ports' DHCP clients decline.
    pub declines: DeclineCounter,
    /// When to look at the devices.
    pub link_events: LinkEvents,
    /// The MTU of the device with the VTEP's address; those of devices that lead to other hosts may be less.
    pub underlay_mtu_bytes: u32,
}

/// One host's data plane in its kernel. It stays there when this is dropped.
pub struct Datapath {
    pub(crate) netlink: Socket,
    pub(crate) tables: Tables,
    pub(crate) programs: Programs,
    vtep: IpAddr,
    overlay: Overlay,
    fast_lane: FastLane,
    pub(crate) devices: Devices,
    pins: Pins,
    pinned: PinnedMaps,
    pub(crate) namespaces: Namespaces,
    pub(crate) ends: Ends,
    reading: Option<Reading>,
    /// The folder of the pins and the host, which are no other agent's meanwhile.
    folder: Flock<File>,
    _host: Flock<File>,
}

/// What has been read of the kernel, part by part: the devices of all ports, which then wait to be looked at, a
/// slice in each part; and at last what the maps hold.
struct Reading {
    waiting: Vec<Link>,
    read: Snapshot,
}

impl Datapath {
    /// Sets the data plane up in the thread's network namespace, or takes over what an earlier agent
    /// has left there. Frames of open ports flow all the time. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// The VTEP's address is not this host's, another agent has the folder for pins or the host, or the kernel refuses
    /// a step; the message says which.
    pub fn open(config: &DatapathConfig) -> Result<Opened, OpenError> {
        Self::open_with(config, Hook::of_this_kernel()?, LAYOUT_VERSION)
    }

    pub(crate) fn open_with(config: &DatapathConfig, hook: Hook, layout: u32) -> Result<Opened, OpenError> {
        let vtep = config.vtep;
        let mut netlink = Socket::open().step(format_args!("open a netlink socket"))?;
        let underlay_mtu_bytes = underlay::device(&mut netlink, vtep)?.mtu_bytes;
        let pins = Pins::at(&config.pin_dir, layout);
        let host = pins::take_host()?;
        pins.make()?;
        let folder = pins.take()?;
        let mtu_bytes = overlay_mtu_bytes(underlay_mtu_bytes, vtep);
        let overlay = Overlay { vxlan_port: config.vxlan_port, mtu_bytes, is_ipv6: vtep.is_ipv6() };
        let mut programs = Programs::load(&pins, hook, config)?;
        let tables = Tables::take(programs.object())?;
        let dhcp_requests = DhcpRequests::take(programs.object())?;
        let link_events = LinkEvents::open()?;
        let pinned = PinnedMaps::open(&pins)?;
        let (fast_lane, devices) = (FastLane::new(vtep, &pins)?, Devices::default());
        let mut datapath = Self {
            netlink,
            tables,
            programs,
            vtep,
            overlay,
            fast_lane,
            devices,
            pins,
            pinned,
            namespaces: Namespaces::of(&config.pin_dir),
            ends: Ends::default(),
            reading: None,
            folder,
            _host: host,
        };
        datapath.tables.counters.add(layout::OVERLAY_ROW)?;
        let overlay = datapath.set_up_overlay()?;
        if datapath.fast_lane.ask_for_policies()? {
            datapath.close_fast_lane()?;
        } else {
            datapath.set_up_route_device()?;
        }
        datapath.upgrade_ports()?;
        if overlay == Version::Loaded {
            datapath.upgrade_underlay()?;
        }
        let sender = FrameSender::open()?;
        let declines = DeclineCounter::open(&datapath.pins, sender.clone())?;
        Ok(Opened { datapath, dhcp_requests, sender, declines, link_events, underlay_mtu_bytes })
    }

    /// Makes the overlay device, or takes the one that is there, and filters before it sets up. Says by
    /// which program: one that judges by other maps goes on until ours hold as much.
    fn set_up_overlay(&mut self) -> Result<Version, KernelError> {
        let device = self.overlay.make(&mut self.netlink)?;
        self.devices.overlay = device.index;
        self.programs.set_devices(self.devices)?;
        let mut version = self.programs.on(&mut self.netlink, Which::FromOverlay, &device)?;
        if version != Version::OtherMaps {
            self.programs.attach(&mut self.netlink, Which::FromOverlay, &device)?;
            version = Version::Loaded;
        }
        self.overlay.set_up(&mut self.netlink, &device)?;
        Ok(version)
    }

    /// Makes the device that routes are looked up from, or takes the one that is there.
    fn set_up_route_device(&mut self) -> Result<(), KernelError> {
        self.devices.route = fast_lane::make_route_device(&mut self.netlink)?.index;
        self.programs.set_devices(self.devices)
    }

    /// From now on no frame goes past the host's IPsec policies, whichever version's programs are attached.
    fn close_fast_lane(&mut self) -> Result<(), KernelError> {
        self.devices.route = 0;
        self.programs.set_devices(self.devices)?;
        fast_lane::remove_route_device(&mut self.netlink)?;
        self.fast_lane.leave(&mut self.netlink, &self.programs)
    }

    /// The indexes of the devices that lead to the other hosts, as far as our maps know any; `None` if the kernel
    /// does not tell.
    fn devices_towards_others(&mut self) -> Result<Option<BTreeSet<u32>>, KernelError> {
        let others = self.tables.vteps.entries()?.into_iter().map(|(key, _)| vtep_address(key.address));
        let others = others.filter(|other| other.is_ipv4() == self.vtep.is_ipv4()).collect();
        Ok(self.fast_lane.ask_for_ways(&mut self.netlink, &others))
    }

    /// From now on nothing judges by other maps any more what the underlay brings.
    fn upgrade_underlay(&mut self) -> Result<(), KernelError> {
        match self.devices_towards_others()? {
            Some(towards) => {
                let links = self.links()?;
                self.fast_lane.follow(&mut self.netlink, &mut self.programs, &links, &towards)?;
            }
            None => self.fast_lane.leave(&mut self.netlink, &self.programs)?,
        }
        self.pins.remove_other_maps()
    }

    /// Puts the loaded program in the place of those that judge by the same maps. What judges by other maps
    /// is replaced port by port, when [`NetOp`]s have filled ours.
    fn upgrade_ports(&mut self) -> Result<(), KernelError> {
        let links = self.links()?;
        let mut outdated = 0;
        for (link, _, version) in self.ports(&links)? {
            match version {
                Version::SameMaps => self.programs.attach(&mut self.netlink, Which::FromPort, link)?,
                Version::OtherMaps => outdated += 1,
                Version::None | Version::Loaded => {}
            }
        }
        if outdated > 0 {
            info!(ports = outdated, "another version's programs go on until this one's maps hold what they need");
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

    pub(crate) fn set_up(&mut self, link: &Link) -> Result<(), KernelError> {
        if link.is_up {
            return Ok(());
        }
        self.netlink.set_up(link.index).step(format_args!("set device {} up", link.name))
    }

    /// Repairs what belongs to no network: the overlay device and its program, and says which that is.
    fn repair_overlay(&mut self, links: &[Link]) -> Result<Version, KernelError> {
        let device = links.iter().find(|link| link.name == OVERLAY_DEVICE);
        if let Some(device) = device
            && device.index == self.devices.overlay
            && device.is_up
            && self.overlay.is_made(device)
        {
            let version = self.programs.on(&mut self.netlink, Which::FromOverlay, device)?;
            if matches!(version, Version::Loaded | Version::OtherMaps) {
                return Ok(version);
            }
        }
        let version = self.set_up_overlay()?;
        warn!(device = OVERLAY_DEVICE, "somebody else had changed or removed the overlay device; repaired");
        Ok(version)
    }

    /// Gives the overlay device the MTU that the underlay has left for it, and returns the underlay's: the least
    /// of the device with the VTEP's address, which may be another one than it was or only loopback, and of those
    /// that lead to other hosts. `None` if one of the two is unknown.
    fn follow_underlay(
        &mut self,
        links: &mut [Link],
        towards: Option<&BTreeSet<u32>>,
    ) -> Result<Option<u32>, KernelError> {
        let index = self.netlink.device_with(self.vtep).step(format_args!("read this host's addresses"))?;
        let own = links.iter().find(|link| Some(link.index) == index);
        let (Some(own), Some(towards)) = (own, towards) else { return Ok(None) };
        let ways = links.iter().filter(|link| towards.contains(&link.index));
        let underlay_mtu_bytes = ways.map(|link| link.mtu_bytes).fold(own.mtu_bytes, u32::min);
        let mtu_bytes = overlay_mtu_bytes(underlay_mtu_bytes, self.vtep);
        if mtu_bytes != self.overlay.mtu_bytes {
            self.overlay.mtu_bytes = mtu_bytes;
            let made = self.overlay.make(&mut self.netlink)?;
            links.iter_mut().filter(|link| link.index == made.index).for_each(|link| *link = made.clone());
        }
        Ok(Some(underlay_mtu_bytes))
    }

    /// The same for the device that routes are looked up from.
    fn repair_route_device(&mut self, links: &[Link]) -> Result<(), KernelError> {
        let is_there =
            |link: &Link| link.index == self.devices.route && fast_lane::is_route_device(link) && link.forwards_ipv4;
        if links.iter().any(is_there) {
            return Ok(());
        }
        let was_closed = self.devices.route == 0;
        self.set_up_route_device()?;
        if was_closed {
            return Ok(());
        }
        warn!(device = ROUTE_DEVICE, "somebody else had changed or removed the device for routes; repaired");
        Ok(())
    }

    /// Reads the next part.
    fn read(&mut self) -> Result<Option<Snapshot>, KernelError> {
        let Some(Reading { mut waiting, mut read }) = self.reading.take() else {
            self.reading = Some(self.begin_to_read()?);
            return Ok(None);
        };
        if waiting.is_empty() {
            return self.with_maps(read).map(Some);
        }
        let slice = waiting.split_off(waiting.len().saturating_sub(PORTS_IN_SLICE));
        let devices = self.ports(&slice)?.into_iter().map(|(link, mac, version)| PortDevice {
            index: link.index,
            mac,
            kind: kind_of(link),
            plugged: plugged(link),
            configuration: self.configuration(mac, link),
            is_up: link.is_up,
            version,
        });
        read.devices.extend(devices);
        self.reading = Some(Reading { waiting, read });
        Ok(None)
    }

    /// Repairs what belongs to no network, and finds the ports' devices.
    fn begin_to_read(&mut self) -> Result<Reading, KernelError> {
        if !self.pins.are_taken_by(&self.folder) {
            self.pins.make()?;
            self.folder = self.pins.take()?;
        }
        if self.pinned.repair()? {
            warn!("somebody else had removed pins of eBPF maps; repaired");
        }
        let mut links = self.links()?;
        let towards = self.devices_towards_others()?;
        let underlay_mtu_bytes = self.follow_underlay(&mut links, towards.as_ref())?;
        let is_outdated = self.repair_overlay(&links)? == Version::OtherMaps;
        if self.fast_lane.ask_for_policies()? {
            self.close_fast_lane()?;
        } else {
            self.repair_route_device(&links)?;
        }
        // An earlier version's maps know all hosts, ours only those that have been entered so far.
        if let Some(towards) = towards.filter(|_| !is_outdated) {
            self.fast_lane.follow(&mut self.netlink, &mut self.programs, &links, &towards)?;
        }
        links.retain(|link| port_of_device(&link.name).is_some());
        self.ends.begin_round(&links.iter().filter_map(|link| port_of_device(&link.name)).collect());
        Ok(Reading { waiting: links, read: Snapshot { underlay_mtu_bytes, is_outdated, ..Snapshot::default() } })
    }

    /// What was read of the devices, with what the maps hold.
    fn with_maps(&self, read: Snapshot) -> Result<Snapshot, KernelError> {
        Ok(Snapshot {
            ports: self.tables.ports.entries()?,
            networks: self.tables.networks.entries()?,
            fdb: self.tables.fdb.entries()?,
            neighbors: self.tables.neighbors.entries()?,
            vteps: self.tables.vteps.entries()?,
            local_members: self.tables.local_members.entries()?,
            remote_members: self.tables.remote_members.entries()?,
            ..read
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
            NetOp::SetMtu { mac, mtu_bytes, .. } => self.set_mtu(*mac, *mtu_bytes),
            NetOp::AddVtep { vni, vtep } => self.add_vtep(*vni, *vtep),
            NetOp::Plug { vni, mac, spec } => self.plug(*vni, *mac, spec),
            NetOp::Filter { vni, mac } => self.filter(*vni, *mac),
            NetOp::SetFdb { vni, mac, target } => self.set_fdb(*vni, *mac, target),
            NetOp::SetNeighbor { vni, address, mac } => {
                let key = NeighborKey { vni: vni.get(), address: address.octets() };
                Ok(self.tables.neighbors.set(key, Neighbor { mac: mac.octets(), unused: [0; 2] })?)
            }
            NetOp::Configure { mac, configuration, .. } => self.configure(*mac, configuration),
            NetOp::Open { vni, mac } => self.open_port(*vni, *mac),
        }
    }

    fn set_network(&mut self, vni: Vni, settings: &NetworkSettings) -> Result<(), ApplyError> {
        let members = self.tables.members_by_ports_and_vteps(vni)?;
        let entry = Network { mtu: settings.mtu_bytes, managed: settings.managed.into(), ..Network::default() };
        Ok(self.tables.set_network(vni, entry, &members)?)
    }

    fn add_vtep(&mut self, vni: Vni, vtep: IpAddr) -> Result<(), ApplyError> {
        let address = self.reachable(vtep)?;
        self.tables.vteps.set(VtepKey { vni: vni.get(), address }, 0)?;
        self.tables.change_members(vni, |members| members.remote.insert(address))?;
        Ok(())
    }

    /// Another host's address as the maps have it, if this host can send there.
    fn reachable(&self, vtep: IpAddr) -> Result<[u8; 16], ApplyError> {
        if vtep.is_ipv4() == self.vtep.is_ipv4() {
            Ok(vtep_octets(vtep))
        } else {
            Err(ApplyError::OtherFamily { own: self.vtep, other: vtep })
        }
    }

    fn remove_vtep(&mut self, vni: Vni, vtep: IpAddr) -> Result<(), ApplyError> {
        let address = vtep_octets(vtep);
        self.tables.change_members(vni, |members| members.remote.remove(&address))?;
        Ok(self.tables.vteps.remove(&VtepKey { vni: vni.get(), address })?)
    }

    fn set_fdb(&mut self, vni: Vni, mac: MacAddr, target: &FdbTarget) -> Result<(), ApplyError> {
        let entry = match target {
            FdbTarget::Remote(vtep) => layout::FdbTarget { ifindex: 0, vtep: self.reachable(*vtep)? },
            FdbTarget::Local => {
                let ifindex = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?.index;
                layout::FdbTarget { ifindex, ..layout::FdbTarget::default() }
            }
            // Nobody wants that; what leads nowhere is what comes closest.
            FdbTarget::Stray => return Ok(self.tables.fdb.remove(&FdbKey::new(vni, mac))?),
        };
        Ok(self.tables.fdb.set(FdbKey::new(vni, mac), entry)?)
    }
}

/// Where the host side of a port says that it is plugged in, unless that is somewhere else by now.
fn plugged(link: &Link) -> Option<(Vni, PortSpec)> {
    let Alias { vni, spec, anchor } = Alias::of(link)?;
    let is_there = match (&spec.placement, anchor) {
        (Placement::Netns(netns), Anchor::Netns(inode)) => !netns::is_replaced(netns, inode),
        (Placement::Tap(tap), Anchor::Tap(openers)) => tap::is_as_made(link, &spec.device, tap, openers),
        _ => false,
    };
    is_there.then_some((vni, spec))
}

impl Kernel for Datapath {
    async fn dump(&mut self) -> Result<Option<KernelDump>, DumpError> {
        Ok(self.read()?.map(Snapshot::into_dump))
    }

    async fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        self.carry_out(op)?;
        match op {
            NetOp::Open { mac, .. } => Ok(self.until_instance_can_send(*mac).await?),
            _ => Ok(()),
        }
    }

    async fn make_instance(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        self.namespaces.make(state)
    }

    async fn remove_instance(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        self.namespaces.remove(state)
    }

    async fn instances(&mut self) -> Result<Vec<InstanceState>, DumpError> {
        Ok(self.namespaces.all()?)
    }

    async fn upgrade(&mut self) -> Result<(), ApplyError> {
        if let Some(device) = overlay::find(&mut self.netlink)? {
            self.programs.attach(&mut self.netlink, Which::FromOverlay, &device)?;
        }
        Ok(self.upgrade_underlay()?)
    }
}
