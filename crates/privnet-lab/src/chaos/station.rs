//! The ear and mouth of an instance: one packet socket for all of its devices (packet(7)).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError, RwLock};

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};

use super::event::InstanceSlot;
use super::frame::Mac;
use crate::namespace::Namespace;

/// Room for what comes while the receiving thread does not run.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// All instances that have a namespace now. Whoever removes one waits for those who read.
pub(crate) type Stations = RwLock<BTreeMap<InstanceSlot, Station>>;

/// One instance's socket. It keeps the namespace in being, so it goes before that does.
pub(crate) struct Station {
    namespace: Namespace,
    socket: OwnedFd,
    /// By their indexes, which are not used again.
    devices: Mutex<HashMap<u32, Mac>>,
}

impl Station {
    pub(crate) fn open(namespace: Namespace) -> Result<Self> {
        let socket = namespace.within(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
            Ok(socket)
        });
        let socket = socket.context("cannot listen in an instance")?;
        Ok(Self { namespace, socket, devices: Mutex::default() })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Looks at the devices again. Those that have gone stay known, for frames that they have brought.
    pub(crate) fn refresh(&self) -> Result<()> {
        let found = self.namespace.within(|| {
            let links = getifaddrs().context("cannot list devices")?;
            let link = |one: nix::ifaddrs::InterfaceAddress| {
                let address = *one.address?.as_link_addr()?;
                Some((u32::try_from(address.ifindex()).ok()?, address.addr()?))
            };
            Ok(links.filter_map(link).collect::<Vec<_>>())
        })?;
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Ok(())
    }

    /// The MAC address of a device, if it was there when somebody last looked.
    pub(crate) fn mac_of(&self, ifindex: u32) -> Option<Mac> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).get(&ifindex).copied()
    }

    /// The newest device with this MAC address.
    pub(crate) fn device_of(&self, mac: Mac) -> Option<u32> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter(|(_, one)| **one == mac).map(|(ifindex, _)| *ifindex).max()
    }

    /// Sends a frame by a device.
    pub(crate) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let address = link_address(ifindex);
        // SAFETY: the frame and the address live through the call, with the lengths that are given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame that has come in: its length and its device.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<(usize, u32)> {
        loop {
            let mut address = link_address(0);
            let mut octets = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: the buffer and the address live through the call, with the lengths that are given.
            let received = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut address).cast(),
                    &raw mut octets,
                )
            };
            let received = match usize::try_from(received) {
                Ok(received) => received,
                // A device that goes down is told as an error of the socket.
                Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENETDOWN) => continue,
                Err(_) => return None,
            };
            if address.sll_pkttype != libc::PACKET_OUTGOING {
                return Some((received, address.sll_ifindex.cast_unsigned()));
            }
        }
    }

    /// How many frames the socket had no room for since this was last asked.
    pub(crate) fn overrun(&self) -> u32 {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut octets = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the structure lives through the call and has the length that is given.
        unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut octets,
            )
        };
        statistics.tp_drops
    }
}

fn link_address(ifindex: u32) -> libc::sockaddr_ll {
    // SAFETY: all of a sockaddr_ll is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex.cast_signed();
    address
}
