use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use privnet_model::MacAddr;

use crate::KernelError;
use crate::error::Step;
use crate::names::port_device;

/// Sends frames to this host's ports as if they had come from their networks.
#[derive(Debug, Clone)]
pub struct FrameSender(Arc<OwnedFd>);

impl FrameSender {
    /// One for the ports of the thread's network namespace.
    pub(crate) fn open() -> Result<Self, KernelError> {
        // It is not bound, so it receives nothing.
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None);
        Ok(Self(Arc::new(fd.step(format_args!("open a packet socket"))?)))
    }

    /// Sends one Ethernet frame, complete with its checksums, to a port.
    ///
    /// # Errors
    /// The port has no device on this host, or that is down.
    pub fn send(&self, port: MacAddr, frame: &[u8]) -> Result<(), KernelError> {
        let device = port_device(port);
        self.send_by(&device, frame).step(format_args!("send a frame by device {device}"))
    }

    fn send_by(&self, device: &str, frame: &[u8]) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_ifindex: self.index_of(device)?,
            // SAFETY: a struct of numbers, all of which may be zero.
            ..unsafe { std::mem::zeroed() }
        };
        // SAFETY: the pointers and lengths are those of `frame` and `address`.
        let sent = unsafe {
            let octets = size_of_val(&address) as libc::socklen_t;
            libc::sendto(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const address).cast(), octets)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Asked of the socket, not of the thread, which may be in another network namespace.
    pub(crate) fn index_of(&self, device: &str) -> io::Result<libc::c_int> {
        // SAFETY: a struct of numbers, all of which may be zero.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(device.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as libc::c_char;
        }
        // SAFETY: the kernel reads the name, which ends in a NUL, and writes the index.
        unsafe {
            if libc::ioctl(self.0.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(request.ifr_ifru.ifru_ifindex)
        }
    }
}
