//! The one device by which frames reach and leave other hosts.

use tracing::warn;

use crate::KernelError;
use crate::error::Step;
use crate::names::OVERLAY_DEVICE;
use crate::netlink::{Link, Socket};

/// What the overlay device shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlay {
    pub(crate) vxlan_port: u16,
    pub(crate) mtu_bytes: u32,
}

impl Overlay {
    /// Whether that device is as it shall be, up or down.
    pub(crate) fn is_made(&self, device: &Link) -> bool {
        device.metadata_port == Some(self.vxlan_port) && device.mtu_bytes == self.mtu_bytes
    }

    /// Makes the device, down, or takes the one that is there and as it shall be.
    pub(crate) fn make(&self, netlink: &mut Socket) -> Result<Link, KernelError> {
        if let Some(device) = find(netlink)? {
            if self.is_made(&device) {
                return Ok(device);
            }
            warn!(device = OVERLAY_DEVICE, "not as it shall be; made anew");
            let deleted = netlink.delete_link(device.index);
            deleted.step(format_args!("remove device {OVERLAY_DEVICE}"))?;
        }
        let made = netlink.add_vxlan(OVERLAY_DEVICE, self.vxlan_port, self.mtu_bytes);
        made.step(format_args!("make device {OVERLAY_DEVICE} for VXLAN on UDP port {}", self.vxlan_port))?;
        let gone = || nix::Error::ENODEV;
        find(netlink)?.ok_or_else(gone).step(format_args!("find device {OVERLAY_DEVICE}"))
    }
}

/// The overlay device, if it is there.
pub(crate) fn find(netlink: &mut Socket) -> Result<Option<Link>, KernelError> {
    netlink.link(OVERLAY_DEVICE).step(format_args!("look for device {OVERLAY_DEVICE}"))
}
