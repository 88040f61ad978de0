use std::net::Ipv4Addr;

use privnet_model::{MacAddr, Netns};
use privnet_plan::{InterfaceAddress, Route};

use crate::error::Step;
use crate::names::port_device;
use crate::netlink::Socket;
use crate::{ApplyError, KernelError, netns};

/// What a network device is like, whoever has made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    /// Its MAC address; `None` unless it has one of Ethernet.
    pub mac: Option<MacAddr>,
    /// Whether it is set up.
    pub is_up: bool,
    /// In octets.
    pub mtu_bytes: u32,
    addresses: Vec<InterfaceAddress>,
    routes: Vec<Route>,
}

impl DeviceState {
    /// Whether it has that IPv4 address, with the subnet of so many leading bits.
    pub fn has_address(&self, address: Ipv4Addr, prefix_len: u8) -> bool {
        self.addresses.contains(&InterfaceAddress { address, prefix_len })
    }

    /// Whether there is a route by it to the addresses that begin with so many bits of `destination`, by that gateway
    /// or, without one, on the link.
    pub fn has_route(&self, destination: Ipv4Addr, prefix_len: u8, gateway: Option<Ipv4Addr>) -> bool {
        self.routes.contains(&Route::new(destination, prefix_len, gateway))
    }
}

/// Looks at a device of a network namespace of this host, if it is there.
///
/// # Errors
/// The namespace does not exist or is this process's own, or the kernel refuses a step.
pub fn inspect_device(netns: &Netns, device: &str) -> Result<Option<DeviceState>, ApplyError> {
    let namespace = netns::open(netns)?;
    Ok(look(netns::netlink(&namespace)?, device)?)
}

/// Looks at the host's end of a port of this host, if it is there, and tells its name as well.
///
/// # Errors
/// The kernel refuses a step.
pub fn inspect_port(mac: MacAddr) -> Result<Option<(String, DeviceState)>, KernelError> {
    let name = port_device(mac);
    let found = look(Socket::open().step(format_args!("open a netlink socket"))?, &name)?;
    Ok(found.map(|device| (name, device)))
}

fn look(mut netlink: Socket, device: &str) -> Result<Option<DeviceState>, KernelError> {
    let step = format_args!("look at device {device}");
    let Some(link) = netlink.link(device).step(step)? else { return Ok(None) };
    let addresses = netlink.addresses(link.index).step(step)?.into_keys().collect();
    let routes = netlink.routes(link.index).step(step)?.into_iter().map(|(route, _)| route).collect();
    Ok(Some(DeviceState { mac: link.mac, is_up: link.is_up, mtu_bytes: link.mtu_bytes, addresses, routes }))
}
