//! Virtual machines, as far as their network goes: a monitor that opens the tap of a port as QEMU does, and the
//! kernel of a guest, which is this one's in a namespace.
//!
//! The guest's device is the other half of a second tap. What one tap hands to its reader is written to the other
//! as it is, with its vnet header, so that checksums and segmentation are left to others as between a guest's
//! virtio-net and its host.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::namespace::Namespace;

/// struct virtio_net_hdr (virtio 1.2, 5.1.6), which is in front of each frame.
pub const VNET_HEADER_OCTETS: usize = 10;

/// Checksums, TCP segmentation with and without ECN, UDP segmentation: what virtio-net offers a Linux guest.
const OFFLOADS: u32 = 0x01 | 0x02 | 0x04 | 0x08;
/// Since Linux 6.2.
const UDP_OFFLOADS: u32 = 0x20 | 0x40;

const FRAME_OCTETS_MAX: usize = 65_536;

/// What is larger is yet to be cut into segments, on any network of a lab.
const LARGE_OCTETS: usize = 10_000;

/// A machine that is on. It is off when this is dropped; the tap of its port stays.
#[derive(Debug)]
pub struct Machine {
    host: Arc<File>,
    guest: Arc<File>,
    passed: Arc<[AtomicU64; 2]>,
    /// The relays end when this is closed.
    switch: PipeWriter,
    relays: Vec<JoinHandle<()>>,
}

/// How a machine's monitor opens its tap.
#[derive(Debug, Clone, Copy)]
pub struct Plug<'a> {
    /// The host's namespace.
    pub host: &'a Namespace,
    /// The name of the tap there.
    pub tap: &'a str,
    /// The guest's namespace.
    pub guest: &'a Namespace,
    /// What the guest calls its device.
    pub device: &'a str,
    /// The device's MAC address.
    pub mac: &'a str,
    /// As QEMU's `host_mtu` tells the guest.
    pub mtu_bytes: u32,
    /// Whether the tap has several queues, of which it opens one.
    pub is_multi_queue: bool,
}

impl Machine {
    /// Switches one on.
    ///
    /// # Errors
    /// The tap is not there, somebody else has it open, or the guest has a device of that name.
    pub fn on(plug: Plug<'_>) -> Result<Self> {
        let Plug { host, tap, guest, device, mac, mtu_bytes, is_multi_queue } = plug;
        let queues = if is_multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
        let own = Arc::new(host.within(|| open(tap, queues)).with_context(|| format!("cannot open tap {tap}"))?);
        let other = guest.within(|| open(device, libc::IFF_TUN_EXCL));
        let other = Arc::new(other.with_context(|| format!("cannot make device {device} of the guest"))?);
        guest.ip(&format!("link set dev {device} address {mac} mtu {mtu_bytes} up"))?;
        let (watched, switch) = io::pipe()?;
        let passed: Arc<[AtomicU64; 2]> = Arc::default();
        let mut relays = Vec::new();
        for (way, [from, to]) in [[&own, &other], [&other, &own]].into_iter().enumerate() {
            let (from, to, watched) = (Arc::clone(from), Arc::clone(to), watched.try_clone()?);
            let passed = Arc::clone(&passed);
            relays.push(std::thread::spawn(move || relay(&from, &to, &watched, &passed[way])));
        }
        Ok(Self { host: own, guest: other, passed, switch, relays })
    }

    /// How many frames that were yet to be segmented have come in to the guest, and left it.
    pub fn large_frames(&self) -> [u64; 2] {
        [0, 1].map(|way| self.passed[way].load(Ordering::Relaxed))
    }

    /// Hands the host a frame that no guest has sent, with a header in front of it.
    ///
    /// # Errors
    /// The host's kernel does not take it.
    pub fn send(&self, header: [u8; VNET_HEADER_OCTETS], frame: &[u8]) -> io::Result<()> {
        self.send_octets(&[&header[..], frame].concat())
    }

    /// Hands the host what need not be a frame at all.
    ///
    /// # Errors
    /// The host's kernel does not take it.
    pub fn send_octets(&self, octets: &[u8]) -> io::Result<()> {
        (&*self.host).write(octets).map(drop)
    }

    /// Switches it off, and returns when nothing of it is left.
    pub fn off(self) {
        let Self { host, guest, switch, relays, .. } = self;
        drop((host, guest, switch));
        for relay in relays {
            relay.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

fn open(name: &str, flags: i32) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("cannot open /dev/net/tun")?;
    // SAFETY: a struct of numbers, all of which may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags) as libc::c_short;
    // SAFETY: the kernel reads the name, which ends in a NUL, and the flags, and writes both.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel takes the argument for a number.
    let offer =
        |offloads: u32| unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    if offer(OFFLOADS | UDP_OFFLOADS) < 0 && offer(OFFLOADS) < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(file)
}

/// Passes frames on until the machine is switched off or a device is gone.
fn relay(from: &File, to: &File, off: &PipeReader, large: &AtomicU64) {
    let mut octets = vec![0; VNET_HEADER_OCTETS + FRAME_OCTETS_MAX];
    let (mut from, mut to) = (from, to);
    loop {
        let mut waits = [PollFd::new(from.as_fd(), PollFlags::POLLIN), PollFd::new(off.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waits, PollTimeout::NONE).is_err_and(|error| error != nix::Error::EINTR)
            || waits[1].any().unwrap_or(true)
        {
            return;
        }
        let Ok(count) = from.read(&mut octets) else { return };
        if count > LARGE_OCTETS {
            large.fetch_add(1, Ordering::Relaxed);
        }
        // Who is down, or does not like it, does not get it.
        let _ = to.write(&octets[..count]);
    }
}
