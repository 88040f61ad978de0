use std::path::Path;

use crate::KernelError;
use crate::error::Step;
use crate::layout::LAYOUT_VERSION;
use crate::names::is_ours;
use crate::netlink::Socket;
use crate::pins::{self, Pins};
use crate::{namespaces, programs};

/// Removes from the thread's network namespace all that [`Datapath`](crate::Datapath) has made, and
/// its pins in this folder, and says what that was. Where nothing is, nothing is removed.
///
/// # Errors
/// An agent is running with the folder, or in this namespace with another one, and nothing is removed then; or
/// something cannot be removed, and what was removed before stays removed.
pub fn purge(pin_dir: &Path) -> Result<Vec<String>, KernelError> {
    let _host = pins::take_host()?;
    let pins = Pins::at(pin_dir, LAYOUT_VERSION);
    let _taken = pin_dir.exists().then(|| pins.take()).transpose()?;
    let mut removed = Vec::new();
    let mut netlink = Socket::open().step(format_args!("open a netlink socket"))?;
    let links = netlink.links().step(format_args!("read this host's devices"))?;
    for ifindex in pins.underlay_devices()? {
        programs::detach_from_underlay(&pins, &mut netlink, ifindex)?;
    }
    for link in links.iter().filter(|link| is_ours(&link.name)) {
        netlink.delete_link(link.index).step(format_args!("remove device {}", link.name))?;
        removed.push(format!("device {}", link.name));
    }
    let namespaces = namespaces::remove_all(pin_dir)?;
    removed.extend(namespaces.into_iter().map(|netns| format!("network namespace {netns}")));
    if pins.remove_all()? {
        removed.push(format!("eBPF pins in {}", pin_dir.display()));
    }
    Ok(removed)
}
