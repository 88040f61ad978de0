//! What the fast lane (bpf/fast_lane.h) needs of the host, which the offload lane can do without: a device
//! that routes are looked up from, and from_underlay on the devices by which other hosts' frames come.
//!
//! Where any of it is missing, frames take the offload lane.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;

use nix::errno::Errno;
use tracing::{info, warn};

use crate::KernelError;
use crate::error::Step;
use crate::names::{ROUTE_DEVICE, is_ours};
use crate::netlink::{Link, Policies, Socket, Vxlan};
use crate::overlay::SOURCE_PORTS;
use crate::pins::Pins;
use crate::programs::{Programs, Version, Which};

/// Of the device for routes. It is down and has no socket, so nobody is in its way on the discard port.
const VXLAN: Vxlan = Vxlan { port: 9, source_ports: SOURCE_PORTS, has_metadata: true, takes_zero_checksums: false };
const MTU_BYTES: u32 = 1280;

/// The host's side of the fast lane.
pub(crate) struct FastLane {
    vtep: IpAddr,
    pins: Pins,
    policies: Policies,
    /// Whether the host has IPsec policies. Frames of this lane would go past them, so that there is none then,
    /// in neither direction.
    is_closed: bool,
    /// Whether it is unknown which devices lead to other hosts.
    is_lost: bool,
    /// Devices to which the kernel has not let us attach, which was told once.
    refused: BTreeSet<u32>,
}

impl FastLane {
    pub(crate) fn new(vtep: IpAddr, pins: &Pins) -> Result<Self, KernelError> {
        let policies = Policies::open().step(format_args!("open a netlink socket for IPsec policies"))?;
        Ok(Self { vtep, pins: pins.clone(), policies, is_closed: false, is_lost: false, refused: BTreeSet::new() })
    }

    /// Asks for the host's IPsec policies, and returns whether the lane is closed by them.
    pub(crate) fn ask_for_policies(&mut self) -> Result<bool, KernelError> {
        let are_there = self.policies.are_there().step(format_args!("ask for this host's IPsec policies"))?;
        match (self.is_closed, are_there) {
            (false, true) => warn!("this host has IPsec policies (ip xfrm policy): all frames take the slower way"),
            (true, false) => info!("this host has no IPsec policies any more: frames may take the faster way"),
            (false, false) | (true, true) => {}
        }
        self.is_closed = are_there;
        Ok(are_there)
    }

    /// Asks for the indexes of the devices that lead to other hosts, of the same IP version. `None` if the kernel
    /// does not tell, which is no reason to do without the offload lane.
    pub(crate) fn ask_for_ways(&mut self, netlink: &mut Socket, others: &BTreeSet<IpAddr>) -> Option<BTreeSet<u32>> {
        match netlink.devices_towards(self.vtep, others) {
            Ok(devices) => {
                if std::mem::take(&mut self.is_lost) {
                    info!("this host's routes can be read again: frames may take the faster way");
                }
                Some(devices)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_lost, true) {
                    let error = &error as &dyn Error;
                    warn!(
                        error,
                        "cannot read this host's routes to others: frames may take the slower way; trying again"
                    );
                }
                None
            }
        }
    }

    /// Detaches from_underlay, of whichever version it is.
    pub(crate) fn leave(&self, netlink: &mut Socket, programs: &Programs) -> Result<(), KernelError> {
        let mut devices = self.pins.underlay_devices()?.into_iter();
        devices.try_for_each(|index| programs.detach_from_underlay(netlink, index))
    }

    /// Attaches from_underlay to where other hosts' frames may come in, and nowhere else: the devices with these
    /// indexes lead to them.
    pub(crate) fn follow(
        &mut self,
        netlink: &mut Socket,
        programs: &mut Programs,
        links: &[Link],
        towards: &BTreeSet<u32>,
    ) -> Result<(), KernelError> {
        if self.is_closed {
            return Ok(());
        }
        // By IPv6 nothing comes in by this lane.
        let is_way = |link: &&Link| self.vtep.is_ipv4() && towards.contains(&link.index) && is_underlay(link);
        let devices = links.iter().filter(is_way);
        let devices: Vec<_> = devices.collect();
        let indexes: BTreeSet<_> = devices.iter().map(|device| device.index).collect();
        for gone in self.pins.underlay_devices()?.into_iter().filter(|index| !indexes.contains(index)) {
            programs.detach_from_underlay(netlink, gone)?;
        }
        self.refused.retain(|index| indexes.contains(index));
        for device in devices {
            self.attach(netlink, programs, device)?;
        }
        Ok(())
    }

    /// A device that is not ours may be as its owner likes.
    fn attach(&mut self, netlink: &mut Socket, programs: &mut Programs, device: &Link) -> Result<(), KernelError> {
        if programs.on(netlink, Which::FromUnderlay, device)? == Version::Loaded {
            return Ok(());
        }
        match programs.attach(netlink, Which::FromUnderlay, device) {
            Ok(()) => drop(self.refused.remove(&device.index)),
            Err(error) if self.refused.insert(device.index) => {
                let error = &error as &dyn Error;
                warn!(device = device.name, error, "what comes in by this device takes the slower way");
            }
            Err(_) => {}
        }
        Ok(())
    }
}

/// Makes the device that routes are looked up from, or takes the one that is there.
///
/// bpf_fib_lookup wants a device that forwards to look up routes from, which none of the host's need be.
/// It is of a kind that must be there anyway, and stays down, so that nothing ever comes in by it.
pub(crate) fn make_route_device(netlink: &mut Socket) -> Result<Link, KernelError> {
    let found = find(netlink)?;
    let device = match found {
        Some(device) if is_route_device(&device) => device,
        other => {
            if other.is_some() {
                remove_route_device(netlink)?;
            }
            let made = netlink.add_vxlan(ROUTE_DEVICE, VXLAN, MTU_BYTES);
            made.step(format_args!("make device {ROUTE_DEVICE}"))?;
            find(netlink)?.ok_or(Errno::ENODEV).step(format_args!("find device {ROUTE_DEVICE}"))?
        }
    };
    if !device.forwards_ipv4 {
        let set = netlink.forward_ipv4(device.index);
        set.step(format_args!("let the kernel look up routes from device {ROUTE_DEVICE}"))?;
    }
    Ok(device)
}

/// Removes that device, if it is there. Without it no program sends by the fast lane, of whichever version it is.
pub(crate) fn remove_route_device(netlink: &mut Socket) -> Result<(), KernelError> {
    let Some(device) = find(netlink)? else { return Ok(()) };
    netlink.delete_link(device.index).step(format_args!("remove device {ROUTE_DEVICE}"))
}

fn find(netlink: &mut Socket) -> Result<Option<Link>, KernelError> {
    netlink.link(ROUTE_DEVICE).step(format_args!("look for device {ROUTE_DEVICE}"))
}

/// Whether it can be the device that routes are looked up from.
pub(crate) fn is_route_device(device: &Link) -> bool {
    device.name == ROUTE_DEVICE && device.vxlan == Some(VXLAN) && !device.is_up
}

/// Whether from_underlay knows its frames. Loopback devices have no such frames, and ours are judged otherwise.
fn is_underlay(device: &Link) -> bool {
    device.is_ethernet && !is_ours(&device.name)
}
