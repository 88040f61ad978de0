use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
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
    let address = device_address(if_nametoindex(device).with_context(|| format!("no device {device}"))?);
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    for frame in frames {
        let frame = frame.as_ref();
        let sent = sendto(socket.as_raw_fd(), frame, &address, MsgFlags::empty())?;
        ensure!(sent == frame.len(), "{sent} of {} octets were sent", frame.len());
    }
    Ok(())
}
