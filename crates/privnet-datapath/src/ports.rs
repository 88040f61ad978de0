//! A port's way: absent, plugged in, filtered, open, and back.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::Error as Errno;
use privnet_model::{MacAddr, Netns, Placement, Vni};
use privnet_plan::PortSpec;

use crate::ends::instance_end;
use crate::error::Step;
use crate::layout::{KIND_TAP, KIND_VETH, Port};
use crate::names::{Alias, Anchor, NOT_NOTED, PORT_MTU_BYTES, port_device, port_of_device};
use crate::netlink::{Link, Veth};
use crate::programs::{Version, Which};
use crate::{ApplyError, Datapath, KernelError, netns};

/// How often an instance's end is looked at, and how long not, until it can send. The kernel works off
/// what is urgent at once and the rest once in a second; to look makes it do so since Linux 6.8.
const LINKWATCH_TRIES: u32 = 1000;
const LINKWATCH_PAUSE: Duration = Duration::from_millis(1);

impl Datapath {
    pub(crate) fn plug(&mut self, vni: Vni, mac: MacAddr, spec: &PortSpec) -> Result<(), ApplyError> {
        match &spec.placement {
            Placement::Netns(netns) => self.plug_veth(vni, mac, spec, netns),
            Placement::Tap(tap) => self.plug_tap(vni, mac, spec, tap),
        }
    }

    fn plug_veth(&mut self, vni: Vni, mac: MacAddr, spec: &PortSpec, netns: &Netns) -> Result<(), ApplyError> {
        if netns.is_by_process_number() {
            return Err(ApplyError::NetnsByNumber(netns.clone()));
        }
        let peer_netns = netns::open(netns)?;
        // Whoever may name a process for one container could reach what the host makes for other tenants.
        if netns.process().is_some() && self.namespaces.owner_of(&peer_netns)?.is_some() {
            return Err(ApplyError::OthersNetns(netns.clone()));
        }
        let netns_inode = netns::inode(&peer_netns).step(format_args!("plug in port {mac}"))?;
        let alias = Alias { vni, spec: spec.clone(), anchor: Anchor::Netns(netns_inode) };
        let written = alias.write().step(format_args!("plug in port {mac}"))?;
        if let Some(link) = self.device(mac)? {
            if Alias::of(&link) == Some(alias) {
                return Ok(());
            }
            self.unplug(mac)?;
        }
        let name = port_device(mac);
        let veth = Veth {
            name: &name,
            mtu_bytes: PORT_MTU_BYTES,
            peer_mtu_bytes: spec.mtu_bytes,
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
        self.ends.forget(mac);
        let made = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        // Last, since it says that the device is complete.
        let described = self.netlink.set_alias(made.index, &written);
        Ok(described.step(format_args!("set the alias of device {name}"))?)
    }

    /// Sets the MTU of the instance's end, and notes it on the host's, which tells whether it is done. A tap has one.
    pub(crate) fn set_mtu(&mut self, mac: MacAddr, mtu_bytes: u32) -> Result<(), ApplyError> {
        let link = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        let mut alias = Alias::of(&link).ok_or(ApplyError::NotPlugged(mac))?;
        match alias.anchor {
            Anchor::Netns(_) => self.set_mtu_of_end(&link, &alias, mtu_bytes)?,
            Anchor::Tap(_) => {
                let set = self.netlink.set_mtu(link.index, mtu_bytes);
                set.step(format_args!("set the MTU of device {}", link.name))?;
            }
        }
        alias.spec.mtu_bytes = mtu_bytes;
        let written = alias.write().step(format_args!("set the MTU of port {mac}"))?;
        let described = self.netlink.set_alias(link.index, &written);
        Ok(described.step(format_args!("set the alias of device {}", link.name))?)
    }

    /// An instance that has chosen less for its own end keeps that.
    fn set_mtu_of_end(&mut self, link: &Link, alias: &Alias, mtu_bytes: u32) -> Result<(), ApplyError> {
        // An earlier version gave both ends the same.
        let is_noted = alias.spec.mtu_bytes != NOT_NOTED;
        let before_bytes = if is_noted { alias.spec.mtu_bytes } else { link.mtu_bytes };
        if let Some((mut netlink, end)) = instance_end(link, alias)?
            && (end.mtu_bytes == before_bytes || end.mtu_bytes > mtu_bytes)
        {
            let device = &alias.spec.device;
            let done = netlink.set_mtu(end.index, mtu_bytes);
            done.step(format_args!("set the MTU of the instance's device {device} to {mtu_bytes}"))?;
        }
        if !is_noted {
            let widened = self.netlink.set_mtu(link.index, PORT_MTU_BYTES);
            widened.step(format_args!("set the MTU of device {}", link.name))?;
        }
        Ok(())
    }

    pub(crate) fn unplug(&mut self, mac: MacAddr) -> Result<(), ApplyError> {
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
            self.tables.declines.remove(&ifindex)?;
        }
        Ok(())
    }

    /// A port's entries, with the indexes of its device and of earlier ones that were removed by hand.
    fn entries_of(&self, mac: MacAddr) -> Result<Vec<(u32, Port)>, KernelError> {
        let entries = self.tables.ports.entries()?;
        Ok(entries.into_iter().filter(|(_, port)| port.mac == mac.octets()).collect())
    }

    pub(crate) fn filter(&mut self, vni: Vni, mac: MacAddr) -> Result<(), ApplyError> {
        let link = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        self.forget_devices(mac, Some(link.index))?;
        let entry = self.tables.ports.get(&link.index)?;
        self.tables.counters.add(link.index)?;
        let version = self.programs.on(&mut self.netlink, Which::FromPort, &link)?;
        let is_own = entry.is_some_and(|entry| entry.is_of(vni, mac, kind_of(&link)));
        if version == Version::Loaded && is_own {
            return Ok(());
        }
        if let Some(entry) = entry.filter(|_| version != Version::OtherMaps || !is_own) {
            self.shut(link.index, entry)?;
        }
        if version == Version::OtherMaps {
            // Ports that are swapped before it must reach it; what it sends is filtered as before meanwhile.
            return self.admit(vni, link.index, Port::closed(vni, mac, kind_of(&link)));
        }
        self.tables.ports.set(link.index, Port::closed(vni, mac, kind_of(&link)))?;
        Ok(self.programs.attach(&mut self.netlink, Which::FromPort, &link)?)
    }

    pub(crate) fn open_port(&mut self, vni: Vni, mac: MacAddr) -> Result<(), ApplyError> {
        let link = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        let entry = self.tables.ports.get(&link.index)?.filter(|entry| entry.is_of(vni, mac, kind_of(&link)));
        let entry = entry.ok_or(ApplyError::NotFiltered(mac))?;
        match self.programs.on(&mut self.netlink, Which::FromPort, &link)? {
            Version::None => return Err(ApplyError::NotFiltered(mac)),
            Version::Loaded => self.admit(vni, link.index, entry)?,
            Version::OtherMaps | Version::SameMaps => {
                self.admit(vni, link.index, entry)?;
                self.programs.attach(&mut self.netlink, Which::FromPort, &link)?;
            }
        }
        Ok(self.set_up(&link)?)
    }

    /// From now on that entry's port passes frames, if it is our programs that judge them, and BUM frames
    /// are sent to it.
    fn admit(&mut self, vni: Vni, ifindex: u32, entry: Port) -> Result<(), ApplyError> {
        let joined = self.tables.change_members(vni, |members| members.local.insert(ifindex))?;
        joined.ok_or(ApplyError::NoSettings(vni))?;
        Ok(self.tables.ports.set(ifindex, Port { open: 1, ..entry })?)
    }

    pub(crate) fn close(&mut self, vni: Vni, mac: MacAddr) -> Result<(), ApplyError> {
        let Some(link) = self.device(mac)? else { return Ok(()) };
        match self.tables.ports.get(&link.index)? {
            Some(entry) if entry.is_of(vni, mac, kind_of(&link)) => Ok(self.shut(link.index, entry)?),
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
    pub(crate) async fn until_instance_can_send(&mut self, mac: MacAddr) -> Result<(), KernelError> {
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
        // Of another name that somebody has given to a device of theirs, it is none.
        let found = self.netlink.link(&name).step(format_args!("look for device {name}"))?;
        Ok(found.filter(|link| link.name == name))
    }
}

/// Which kind of port the programs are to take it for.
pub(crate) fn kind_of(link: &Link) -> u8 {
    if link.tun.is_some() { KIND_TAP } else { KIND_VETH }
}

/// Keeps the host's IPv6 from speaking to an instance: of its own addresses, and as a router.
pub(crate) fn silence(device: &str) -> io::Result<()> {
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
