use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};

/// The octets of a MAC address.
///
/// # Panics
/// It is none.
pub fn octets(mac: &str) -> Vec<u8> {
    mac.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("a MAC address")).collect()
}

/// An IPv4 packet with a UDP datagram without checksum (RFC 768 allows that).
///
/// # Panics
/// The payload does not fit.
pub fn udp_packet(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let udp_octets = u16::try_from(8 + payload.len()).expect("a short payload");
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_octets).to_be_bytes());
    // Identification and fragment, TTL, protocol, and the checksum's place.
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let checksum = internet_checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([from.1, to.1, udp_octets, 0].map(u16::to_be_bytes).concat());
    packet.extend(payload);
    packet
}

/// The Internet checksum (RFC 1071) of octets in which its own place holds 0. An odd octet at the end counts as the
/// upper half of a word.
pub fn internet_checksum(octets: &[u8]) -> u16 {
    let word = |word: &[u8]| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
    let sum: u32 = octets.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// A device of a packet socket's network namespace by its index, with all protocols (packet(7)).
///
/// # Panics
/// The C library's and the crate's ideas of such an address differ.
pub fn device_address(index: u32) -> LinkAddr {
    // SAFETY: all of a sockaddr_ll is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    // SAFETY: it is a whole sockaddr_ll, whose length is given.
    let address = unsafe {
        LinkAddr::from_raw((&raw const address).cast(), Some(size_of::<libc::sockaddr_ll>() as libc::socklen_t))
    };
    address.expect("a packet socket's address")
}

/// Sends Ethernet frames by a device of this thread's network namespace (packet(7)), as fast as they come.
pub(crate) fn send(device: &str, frames: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<()> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    send_by(&socket, device, frames)
}

/// Sends one with a struct virtio_net_hdr in front of it.
pub(crate) fn send_unfinished(device: &str, octets: &[u8]) -> Result<()> {
    const PACKET_VNET_HDR: libc::c_int = 15;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let on: libc::c_int = 1;
    // SAFETY: the pointer and length are those of `on`.
    let set = unsafe {
        let octets = size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, (&raw const on).cast(), octets)
    };
    Errno::result(set).context("cannot ask for vnet headers")?;
    send_by(&socket, device, [octets])
}

fn send_by(socket: &OwnedFd, device: &str, frames: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<()> {
    let address = device_address(if_nametoindex(device).with_context(|| format!("no device {device}"))?);
    for frame in frames {
        let frame = frame.as_ref();
        let sent = sendto(socket.as_raw_fd(), frame, &address, MsgFlags::empty())?;
        ensure!(sent == frame.len(), "{sent} of {} octets were sent", frame.len());
    }
    Ok(())
}

/// Switches off that a device of this thread's network namespace writes checksums (the kernel's ethtool.h).
pub(crate) fn leave_checksums_to_kernel(device: &str) -> Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const ETHTOOL_STXCSUM: u32 = 0x17;
    let mut command = [ETHTOOL_STXCSUM, 0];
    // SAFETY: a struct of numbers and pointers, all of which may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the kernel reads the name, which ends in a NUL, and the two numbers.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
    Ok(())
}
