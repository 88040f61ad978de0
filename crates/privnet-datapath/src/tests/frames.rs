//! Frames by hand, and sockets to send and receive them by.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use privnet_model::{MacAddr, Vni};

use super::lab::{Namespace, VXLAN_PORT};

pub(super) const BROADCAST: MacAddr = MacAddr::new([0xff; 6]);
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const VLAN: u16 = 0x8100;
/// IEEE 802 - Local Experimental Ethertype 1: what no stack cares for.
pub(super) const EXPERIMENTAL: u16 = 0x88b5;

/// A frame that never comes is given up then. Nothing else depends on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const VXLAN_HEADER_OCTETS: usize = 8;

pub(super) fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &ethertype.to_be_bytes(), payload].concat()
}

/// A frame of the smallest size that says `text`.
pub(super) fn saying(to: MacAddr, from: MacAddr, text: &str) -> Vec<u8> {
    let mut payload = text.as_bytes().to_vec();
    payload.resize(46, 0);
    ethernet(to, from, EXPERIMENTAL, &payload)
}

#[derive(Clone, Copy)]
pub(super) struct Arp {
    pub(super) operation: u16,
    pub(super) sender: (MacAddr, Ipv4Addr),
    pub(super) target: (MacAddr, Ipv4Addr),
}

impl Arp {
    /// Who has `wanted`?
    pub(super) fn request(sender: (MacAddr, Ipv4Addr), wanted: Ipv4Addr) -> Self {
        Self { operation: 1, sender, target: (MacAddr::new([0; 6]), wanted) }
    }

    pub(super) fn reply(sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Self {
        Self { operation: 2, sender, target }
    }

    pub(super) fn payload(self) -> Vec<u8> {
        let header = [0, 1, 8, 0, 6, 4];
        let station = |(mac, address): (MacAddr, Ipv4Addr)| [&mac.octets()[..], &address.octets()].concat();
        [&header[..], &self.operation.to_be_bytes(), &station(self.sender), &station(self.target)].concat()
    }
}

/// A UDP datagram in IPv4, without checksums.
pub(super) fn udp(from_port: u16, to_port: u16, octets: usize) -> Vec<u8> {
    let udp_octets = 8 + octets;
    let mut packet = vec![0; 20 + udp_octets];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(20 + udp_octets as u16).to_be_bytes());
    packet[8] = 64;
    packet[9] = 17;
    packet[20..22].copy_from_slice(&from_port.to_be_bytes());
    packet[22..24].copy_from_slice(&to_port.to_be_bytes());
    packet[24..26].copy_from_slice(&(udp_octets as u16).to_be_bytes());
    packet
}

/// The sum that is zero over what includes its own checksum (RFC 1071).
pub(super) fn checksum(octets: &[u8]) -> u16 {
    let word = |word: &[u8]| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
    let sum: u32 = octets.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Fills in the checksum of an IPv4 header.
pub(super) fn with_ip_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let checksum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Sees what comes in by a device, and sends by it.
pub(super) struct Tap(OwnedFd);

impl Tap {
    pub(super) fn on(namespace: &Namespace, device: &str) -> Self {
        Self::for_type(namespace, device, libc::ETH_P_ALL as u16)
    }

    /// One that sees frames of one type only, so that no others fill its queue.
    pub(super) fn for_type(namespace: &Namespace, device: &str, ethertype: u16) -> Self {
        let index: i32 = namespace.within(|| nix::net::if_::if_nametoindex(device)).expect("a device") as i32;
        let fd = namespace.within(|| socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None));
        let tap = Self(fd.expect("a packet socket; these tests need root"));
        set(&tap.0, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32);
        let wait = libc::timeval { tv_sec: PATIENCE.as_secs() as i64, tv_usec: 0 };
        set(&tap.0, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &wait);
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: index,
            // SAFETY: a struct of numbers, all of which may be zero.
            ..unsafe { std::mem::zeroed() }
        };
        // SAFETY: the pointer and length are those of `address`.
        let bound = unsafe {
            libc::bind(tap.0.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        tap
    }

    pub(super) fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer and length are those of `frame`.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    pub(super) fn next(&self) -> Vec<u8> {
        let mut frame = vec![0; 65536];
        // SAFETY: the pointer and length are those of `frame`.
        let octets = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        assert!(octets >= 0, "no frame has come: {}", io::Error::last_os_error());
        frame.truncate(octets as usize);
        frame
    }

    /// The next frame, and what the kernel says of its checksum: TP_STATUS_CSUMNOTREADY if that is left to a device
    /// to fill in, TP_STATUS_CSUM_VALID if a device has verified it.
    pub(super) fn next_with_status(&self) -> (Vec<u8>, u32) {
        const CONTROL_OCTETS: usize = 64;
        set(&self.0, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32);
        let mut frame = vec![0; 65536];
        let mut control = [0u64; CONTROL_OCTETS / 8];
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: a struct of numbers and pointers, all of which may be zero.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), CONTROL_OCTETS as _);
        // SAFETY: the pointers and lengths are those of `frame` and `control`.
        let octets = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        assert!(octets >= 0, "no frame has come: {}", io::Error::last_os_error());
        frame.truncate(octets as usize);
        // SAFETY: the kernel has filled the control message in, whose type was asked for above.
        let status = unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!first.is_null() && (*first).cmsg_type == libc::PACKET_AUXDATA);
            libc::CMSG_DATA(first).cast::<libc::tpacket_auxdata>().read_unaligned().tp_status
        };
        (frame, status)
    }
}

fn set<T>(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: &T) {
    // SAFETY: the pointer and length are those of `value`.
    let set = unsafe {
        let octets = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), octets)
    };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// Another host, as far as the underlay shows: what it receives and sends as VXLAN.
pub(super) struct Vtep(UdpSocket);

impl Vtep {
    pub(super) fn at(namespace: &Namespace, address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        let socket = namespace.within(|| UdpSocket::bind((address, VXLAN_PORT))).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(socket)
    }

    /// Sends without UDP checksums from now on, and takes what comes without (IPv6; RFC 6935).
    pub(super) fn without_checksums(self) -> Self {
        const UDP_NO_CHECK6_TX: libc::c_int = 101;
        const UDP_NO_CHECK6_RX: libc::c_int = 102;
        for option in [UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX] {
            set(&self.0, libc::SOL_UDP, option, &1i32);
        }
        self
    }

    pub(super) fn send(&self, to: impl Into<IpAddr>, vni: Vni, frame: &[u8]) {
        let header = [&[8, 0, 0, 0][..], &(vni.get() << 8).to_be_bytes()].concat();
        self.0.send_to(&[&header, frame].concat(), (to.into(), VXLAN_PORT)).expect("sent");
    }

    /// The next frame, which must have come from that host.
    pub(super) fn next(&self, from: impl Into<IpAddr>) -> (Vni, Vec<u8>) {
        let mut datagram = [0; 65536];
        let (octets, sender) = self.0.recv_from(&mut datagram).expect("a frame has come");
        assert_eq!(sender.ip(), from.into());
        let vni = u32::from_be_bytes(datagram[4..8].try_into().expect("four octets")) >> 8;
        (Vni::try_from(vni).expect("a VNI"), datagram[VXLAN_HEADER_OCTETS..octets].to_vec())
    }
}
