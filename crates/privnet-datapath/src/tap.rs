//! Ports that are taps: persistent devices of the host, whose other end is the file descriptor of whoever opens
//! them, such as a virtual machine's monitor.
//!
//! A tap has no carrier while nobody has it open, and what is sent to it then goes nowhere. Which offloads its
//! reader takes is agreed between that and the kernel, each time it is opened (TUNSETOFFLOAD).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::Error as Errno;
use nix::unistd::{Group, User};
use privnet_model::{Account, AccountName, DeviceName, MacAddr, Tap, Vni};
use privnet_plan::PortSpec;

use crate::error::Step;
use crate::names::{Alias, Anchor, Openers, port_device};
use crate::netlink::{Link, Socket, Tun};
use crate::ports::silence;
use crate::{ApplyError, Datapath, netns};

const CONTROL: &str = "/dev/net/tun";

/// Of root.
const ROOT: u32 = 0;

impl Datapath {
    pub(crate) fn plug_tap(&mut self, vni: Vni, mac: MacAddr, spec: &PortSpec, tap: &Tap) -> Result<(), ApplyError> {
        let openers = openers(tap)?;
        let alias = Alias { vni, spec: spec.clone(), anchor: Anchor::Tap(openers) };
        let written = alias.write().step(format_args!("plug in port {mac}"))?;
        if let Some(link) = self.device(mac)? {
            if Alias::of(&link).as_ref() == Some(&alias) && is_as_made(&link, &spec.device, tap, openers) {
                return Ok(());
            }
            self.unplug(mac)?;
        }
        let name = port_device(mac);
        let making = if tap.is_multi_queue { make_with_queues(&name, openers) } else { make(&name, openers, 0) };
        making.step(format_args!("make tap {name}"))?;
        let made = self.device(mac)?.ok_or(ApplyError::NotPlugged(mac))?;
        silence(&name).step(format_args!("switch IPv6 off on device {name}"))?;
        let set = self.netlink.set_mtu(made.index, spec.mtu_bytes);
        set.step(format_args!("set the MTU of device {name}"))?;
        if spec.device.as_str() != name {
            match self.netlink.add_name(made.index, spec.device.as_str()) {
                Err(error) if error.errno == Errno::EEXIST => {
                    self.unplug(mac)?;
                    return Err(ApplyError::NameTaken(spec.device.clone()));
                }
                named => named.step(format_args!("give device {name} the name {}", spec.device))?,
            }
        }
        // Last, since it says that the device is complete.
        let described = self.netlink.set_alias(made.index, &written);
        Ok(described.step(format_args!("set the alias of device {name}"))?)
    }
}

/// Whether a device is the tap that it says it is, and to be opened by these alone. One that is not persistent any
/// more is: it goes when it is closed, and is made anew then.
pub(crate) fn is_as_made(link: &Link, device: &DeviceName, tap: &Tap, openers: Openers) -> bool {
    let is_named = link.name == device.as_str() || link.other_names.iter().any(|name| name == device.as_str());
    is_named && link.tun == Some(Tun { is_tap: true, is_multi_queue: tap.is_multi_queue, openers })
}

/// Whom that is on this host. With neither a user nor a group the kernel would let anybody open the device.
fn openers(tap: &Tap) -> Result<Openers, ApplyError> {
    let uid = tap.owner.as_ref().map(|account| {
        number_of(account, |name| Ok(User::from_name(name.as_str())?.map(|user| user.uid.as_raw())))?
            .ok_or_else(|| ApplyError::UserNotFound(account.clone()))
    });
    let gid = tap.group.as_ref().map(|account| {
        number_of(account, |name| Ok(Group::from_name(name.as_str())?.map(|group| group.gid.as_raw())))?
            .ok_or_else(|| ApplyError::GroupNotFound(account.clone()))
    });
    let (uid, gid) = (uid.transpose()?, gid.transpose()?);
    Ok(Openers { uid: uid.or(gid.is_none().then_some(ROOT)), gid })
}

fn number_of(
    account: &Account,
    ask: impl FnOnce(&AccountName) -> nix::Result<Option<u32>>,
) -> Result<Option<u32>, ApplyError> {
    match account {
        Account::Number(number) => Ok(Some(*number)),
        Account::Name(name) => Ok(ask(name).step(format_args!("look for the account {account} of this host"))?),
    }
}

/// Makes a persistent tap of this name, as [`make`], of several queues. Until it has an owner anybody may open one of
/// them (tun_not_capable() in drivers/net/tun.c), so it is made where nobody else is.
fn make_with_queues(name: &str, openers: Openers) -> io::Result<()> {
    let home = netns::own()?;
    netns::in_a_new_one(|| {
        make(name, openers, libc::IFF_MULTI_QUEUE)?;
        let mut netlink = Socket::open()?;
        let made = netlink.link(name).map_err(io::Error::other)?.ok_or(Errno::ENODEV)?;
        netlink.move_to(home.as_fd(), made.index).map_err(io::Error::other)
    })
}

/// Makes a persistent tap of this name, down, whose frames have vnet headers. The one queue of a tap without others is
/// taken from the start (tun_net_init() attaches it, and tun_attach() then answers EBUSY), until the tap has an owner
/// and the file is closed.
fn make(name: &str, openers: Openers, more_flags: libc::c_int) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(CONTROL)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL | more_flags;
    // SAFETY: a struct of numbers, all of which may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the kernel reads the name, which ends in a NUL, and the flags, and writes both.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if let Some(gid) = openers.gid {
        set(&file, libc::TUNSETGROUP, gid)?;
    }
    if let Some(uid) = openers.uid {
        set(&file, libc::TUNSETOWNER, uid)?;
    }
    set(&file, libc::TUNSETPERSIST, 1)
}

/// One of the ioctls that take a number in the place of a pointer.
fn set(file: &File, request: libc::Ioctl, number: u32) -> io::Result<()> {
    // SAFETY: the kernel takes the argument for a number.
    match unsafe { libc::ioctl(file.as_raw_fd(), request, libc::c_ulong::from(number)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
