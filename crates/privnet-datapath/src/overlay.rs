//! The one device by which frames reach and leave other hosts.

use std::error::Error;

use nix::Error as Errno;
use tracing::warn;

use crate::KernelError;
use crate::error::Step;
use crate::names::OVERLAY_DEVICE;
use crate::netlink::{Link, NetlinkError, Socket, Vxlan};

/// The dynamic ports, as RFC 7348 section 5 recommends: the programs' fast lane chooses from the same ones
/// (bpf/fast_lane.h). The kernel never takes the last.
pub(crate) const SOURCE_PORTS: [u16; 2] = [49152, 65535];

/// What the overlay device shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlay {
    pub(crate) vxlan_port: u16,
    pub(crate) mtu_bytes: u32,
    /// Whether the underlay is IPv6. Its UDP packets have no checksum, as those of IPv4 have none: the frames
    /// within have their own, and what comes is held against the VTEPs that are known (RFC 6936 §4).
    pub(crate) is_ipv6: bool,
}

/// A vxlan device opens its UDP port when it is set up; two that are alike cannot even be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "UDP port {port} is in use by {by} of this host; remove that, or set vxlan-port to another port on all hosts of the zone"
)]
struct PortTaken {
    port: u16,
    by: String,
}

impl Overlay {
    /// Whether that device is as it shall be, up or down.
    pub(crate) fn is_made(&self, device: &Link) -> bool {
        self.is_right(device) && device.mtu_bytes == self.mtu_bytes
    }

    /// Whether that device is as it shall be, but perhaps for what can be set at any time.
    fn is_right(&self, device: &Link) -> bool {
        let is_right = |vxlan: Vxlan| {
            let takes_all = vxlan.takes_zero_checksums || !self.is_ipv6;
            let is_sender = vxlan.has_metadata && vxlan.source_ports == SOURCE_PORTS;
            vxlan.port == self.vxlan_port && is_sender && takes_all
        };
        device.vxlan.is_some_and(is_right)
    }

    /// Makes the device, down, or takes the one that is there and as it shall be.
    pub(crate) fn make(&self, netlink: &mut Socket) -> Result<Link, KernelError> {
        if let Some(device) = find(netlink)? {
            if self.is_right(&device) {
                let set = netlink.set_mtu(device.index, self.mtu_bytes);
                set.step(format_args!("set the MTU of device {OVERLAY_DEVICE} to {}", self.mtu_bytes))?;
                return Ok(Link { mtu_bytes: self.mtu_bytes, ..device });
            }
            warn!(device = OVERLAY_DEVICE, "not as it shall be; made anew");
            let deleted = netlink.delete_link(device.index);
            deleted.step(format_args!("remove device {OVERLAY_DEVICE}"))?;
        }
        let port = self.vxlan_port;
        let source_ports = SOURCE_PORTS;
        let vxlan = Vxlan { port, source_ports, has_metadata: true, takes_zero_checksums: self.is_ipv6 };
        let made = netlink.add_vxlan(OVERLAY_DEVICE, vxlan, self.mtu_bytes);
        let made = made.map_err(|error| self.explain(netlink, error));
        made.step(format_args!("make device {OVERLAY_DEVICE} for VXLAN on UDP port {port}"))?;
        let gone = || nix::Error::ENODEV;
        find(netlink)?.ok_or_else(gone).step(format_args!("find device {OVERLAY_DEVICE}"))
    }

    /// Sets the device up.
    pub(crate) fn set_up(&self, netlink: &mut Socket, device: &Link) -> Result<(), KernelError> {
        if device.is_up {
            return Ok(());
        }
        let set = netlink.set_up(device.index).map_err(|error| self.explain(netlink, error));
        set.step(format_args!("set device {OVERLAY_DEVICE} up for VXLAN on UDP port {}", self.vxlan_port))
    }

    /// The same refusal, with who has the port if that is the reason.
    fn explain(&self, netlink: &mut Socket, error: NetlinkError) -> Box<dyn Error + Send + Sync> {
        if !matches!(error.errno, Errno::EEXIST | Errno::EADDRINUSE) {
            return error.into();
        }
        let has_port =
            |link: &Link| link.name != OVERLAY_DEVICE && link.vxlan.is_some_and(|vxlan| vxlan.port == self.vxlan_port);
        let other = netlink.links().ok().and_then(|links| links.into_iter().find(has_port));
        let by = other.map_or("another program".to_owned(), |link| format!("vxlan device {}", link.name));
        PortTaken { port: self.vxlan_port, by }.into()
    }
}

/// The overlay device, if it is there.
pub(crate) fn find(netlink: &mut Socket) -> Result<Option<Link>, KernelError> {
    netlink.link(OVERLAY_DEVICE).step(format_args!("look for device {OVERLAY_DEVICE}"))
}
