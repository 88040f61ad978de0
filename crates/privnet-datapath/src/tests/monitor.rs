//! A virtual machine's monitor, as far as its tap goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, poll};

use super::frames::PATIENCE;
use super::lab::Namespace;

/// struct virtio_net_hdr (virtio 1.2, 5.1.6), which is in front of each frame.
pub(super) const HEADER_OCTETS: usize = 10;

/// A frame whose checksum is left to others: from where, and where it goes, counted from there.
pub(super) fn unfinished(start: u16, offset: u16) -> [u8; HEADER_OCTETS] {
    const NEEDS_CSUM: u8 = 1;
    let mut header = [0; HEADER_OCTETS];
    header[0] = NEEDS_CSUM;
    header[6..8].copy_from_slice(&start.to_ne_bytes());
    header[8..10].copy_from_slice(&offset.to_ne_bytes());
    header
}

/// A queue of a tap, open.
pub(super) struct Monitor(File);

impl Monitor {
    pub(super) fn open(namespace: &Namespace, tap: &str) -> Self {
        Self::open_with(namespace, tap, 0).expect("opened")
    }

    /// With more flags of TUNSETIFF.
    pub(super) fn open_with(namespace: &Namespace, tap: &str, flags: i32) -> io::Result<Self> {
        let file = namespace.within(|| OpenOptions::new().read(true).write(true).open("/dev/net/tun"))?;
        // SAFETY: a struct of numbers, all of which may be zero.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(tap.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags) as libc::c_short;
        let monitor = Self(file);
        // SAFETY: the kernel reads the name, which ends in a NUL, and the flags, and writes both.
        let attached = unsafe { libc::ioctl(monitor.0.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if attached < 0 {
            return Err(io::Error::last_os_error());
        }
        until_it_receives(namespace, tap);
        Ok(monitor)
    }

    /// From now on frames may come with these (TUN_F_*) left to the reader.
    pub(super) fn take_offloads(&self, offloads: u32) {
        self.set(libc::TUNSETOFFLOAD, offloads);
    }

    /// The device goes when it is closed.
    pub(super) fn unpersist(&self) {
        self.set(libc::TUNSETPERSIST, 0);
    }

    /// Somebody else may open the tap from now on.
    pub(super) fn give_to(&self, uid: u32) {
        self.set(libc::TUNSETOWNER, uid);
    }

    fn set(&self, request: libc::Ioctl, number: u32) {
        // SAFETY: the kernel takes the argument for a number.
        let set = unsafe { libc::ioctl(self.0.as_raw_fd(), request, libc::c_ulong::from(number)) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.send_with([0; HEADER_OCTETS], frame)
    }

    pub(super) fn send_with(&self, header: [u8; HEADER_OCTETS], frame: &[u8]) -> io::Result<()> {
        (&self.0).write(&[&header[..], frame].concat()).map(drop)
    }

    /// The next frame, with its header.
    pub(super) fn next_with_header(&self) -> (Vec<u8>, Vec<u8>) {
        self.within_patience().expect("a frame comes")
    }

    pub(super) fn next(&self) -> Vec<u8> {
        self.next_with_header().1
    }

    fn within_patience(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut waits = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waits, u16::try_from(PATIENCE.as_millis()).expect("short")).expect("polled");
        (ready > 0).then(|| {
            let mut octets = vec![0; HEADER_OCTETS + 65536];
            let count = (&self.0).read(&mut octets).expect("read");
            let frame = octets[HEADER_OCTETS..count].to_vec();
            octets.truncate(HEADER_OCTETS);
            (octets, frame)
        })
    }
}

/// The kernel sees in the background to a device that has found its carrier. To look makes it do so at once, since
/// Linux 6.8.
fn until_it_receives(namespace: &Namespace, tap: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !namespace.ip(&format!("link show dev {tap}")).contains(" state UP ") {
        assert!(Instant::now() < deadline, "tap {tap} is closed");
    }
}
