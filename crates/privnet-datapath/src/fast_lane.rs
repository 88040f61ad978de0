//! What the fast lane (bpf/fast_lane.h) needs of the host, which the offload lane can do without: a device
//! that routes are looked up from, and from_underlay on the devices by which other hosts' frames come.
//!
//! Where any of it is missing, frames take the offload lane.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;
use tracing::warn;

use crate::KernelError;
use crate::error::Step;
use crate::layout::{VtepKey, vtep_address};
use crate::names::{ROUTE_DEVICE, is_ours};
use crate::netlink::{Link, Socket, Vxlan};
use crate::overlay::SOURCE_PORTS;
use crate::pins::Pins;
use crate::programs::{Programs, Version, Which};

/// Of the device for routes. It is down and has no socket, so nobody is in its way on the discard port.
const VXLAN: Vxlan = Vxlan { port: 9, source_ports: SOURCE_PORTS, has_metadata: true, takes_zero_checksums: false };
const MTU_BYTES: u32 = 1280;

/// The host's side of the fast lane.
pub(crate) struct FastLane {
    /// Which address others send to; `None` if it is not IPv4, and nothing comes in by this lane.
    vtep: Option<Ipv4Addr>,
    pins: Pins,
    /// Devices to which the kernel has not let us attach, which was told once.
    refused: BTreeSet<u32>,
}

impl FastLane {
    pub(crate) fn new(vtep: IpAddr, pins: &Pins) -> Self {
        Self { vtep: ipv4(vtep), pins: pins.clone(), refused: BTreeSet::new() }
    }

    /// Attaches from_underlay to where frames of these hosts may come in, and nowhere else.
    pub(crate) fn follow(
        &mut self,
        netlink: &mut Socket,
        programs: &mut Programs,
        links: &[Link],
        vteps: &[(VtepKey, u32)],
    ) -> Result<(), KernelError> {
        let others: BTreeSet<_> = vteps.iter().filter_map(|(key, _)| ipv4(vtep_address(key.address))).collect();
        let towards = self.vtep.map(|vtep| netlink.devices_towards(vtep, &others)).transpose();
        let towards = towards.step(format_args!("ask for the routes to other hosts"))?.unwrap_or_default();
        let devices = links.iter().filter(|link| towards.contains(&link.index) && is_underlay(link));
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
            if let Some(device) = other {
                netlink.delete_link(device.index).step(format_args!("remove device {ROUTE_DEVICE}"))?;
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

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
