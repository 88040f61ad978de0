//! Sockets in instances.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockaddrStorage, recv, sendto};

use crate::support::Guest;

/// What comes at all comes within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room for whole bursts, whenever the test gets to read them.
const RECEIVE_BUFFER_OCTETS: libc::c_int = 8 << 20;

/// The index of a guest's device in its instance.
pub(super) fn index_of(guest: &Guest) -> Result<u32> {
    guest.instance.namespace.within(|| Ok(if_nametoindex(guest.device.as_str())?))
}

/// A UDP socket in a guest's instance, which sends multicasts by its device.
pub(super) fn udp(guest: &Guest, bind: impl Into<IpAddr>, port: u16) -> Result<UdpSocket> {
    let bind = bind.into();
    let socket = guest.instance.namespace.within(|| Ok(UdpSocket::bind((bind, port))?))?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER_OCTETS)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    match bind {
        IpAddr::V4(_) => set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &guest.address.octets())?,
        IpAddr::V6(_) => set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, &index_of(guest)?)?,
    }
    Ok(socket)
}

/// The same, as a member of a group.
pub(super) fn member(guest: &Guest, group: IpAddr, port: u16) -> Result<UdpSocket> {
    match group {
        IpAddr::V4(group) => {
            let socket = udp(guest, Ipv4Addr::UNSPECIFIED, port)?;
            socket.join_multicast_v4(&group, &guest.address)?;
            socket.set_multicast_loop_v4(false)?;
            Ok(socket)
        }
        IpAddr::V6(group) => {
            let socket = udp(guest, Ipv6Addr::UNSPECIFIED, port)?;
            socket.join_multicast_v6(&group, index_of(guest)?)?;
            socket.set_multicast_loop_v6(false)?;
            Ok(socket)
        }
    }
}

/// The next datagram.
pub(super) fn next(socket: &UdpSocket) -> Result<Vec<u8>> {
    let mut datagram = vec![0; 1 << 16];
    let octets = socket.recv(&mut datagram).context("no datagram has come")?;
    datagram.truncate(octets);
    Ok(datagram)
}

/// A raw socket in a guest's instance for an IP protocol, whose multicasts leave by its device with a TTL or hop
/// limit of 255, as protocols on a link want it.
pub(super) fn raw(guest: &Guest, family: AddressFamily, protocol: libc::c_int) -> Result<OwnedFd> {
    let open = || {
        let domain = if family == AddressFamily::Inet { libc::AF_INET } else { libc::AF_INET6 };
        // nix knows some protocols only.
        // SAFETY: no pointers are passed, and the descriptor is owned by nobody else.
        let fd = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        ensure!(fd >= 0, "cannot open a raw socket: {}", io::Error::last_os_error());
        // SAFETY: as above.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let socket: OwnedFd = guest.instance.namespace.within(open)?;
    let far: libc::c_int = 255;
    if family == AddressFamily::Inet {
        set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, &far)?;
        set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &guest.address.octets())?;
    } else {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, &far)?;
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, &index_of(guest)?)?;
    }
    let wait = libc::timeval { tv_sec: PATIENCE.as_secs() as i64, tv_usec: 0 };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &wait)?;
    Ok(socket)
}

/// Has a raw socket of IPv4 receive what is sent to a group on a guest's device.
pub(super) fn join(socket: &OwnedFd, guest: &Guest, group: Ipv4Addr) -> Result<()> {
    let request = [group.octets(), guest.address.octets()].concat();
    let request: [u8; 8] = request.try_into().expect("two addresses");
    set(socket, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request)
}

/// Sends by a raw socket.
pub(super) fn send_raw(socket: &OwnedFd, to: impl Into<IpAddr>, packet: &[u8]) -> Result<()> {
    let to = match to.into() {
        IpAddr::V4(to) => SocketAddr::from((to, 0)),
        IpAddr::V6(to) => SocketAddr::from(SocketAddrV6::new(to, 0, 0, 0)),
    };
    let sent = sendto(socket.as_raw_fd(), packet, &SockaddrStorage::from(to), MsgFlags::empty())?;
    ensure!(sent == packet.len(), "{sent} of {} octets were sent", packet.len());
    Ok(())
}

/// The next packet of a raw socket, of IPv4 with its header.
pub(super) fn next_raw(socket: &OwnedFd) -> Result<Vec<u8>> {
    let mut packet = vec![0; 1 << 16];
    let octets = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()).context("no packet has come")?;
    packet.truncate(octets);
    Ok(packet)
}

fn set<T>(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<()> {
    // SAFETY: the pointer and the length are those of `value`.
    let done = unsafe {
        let octets = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), octets)
    };
    ensure!(done == 0, "cannot set option {option} of a socket: {}", io::Error::last_os_error());
    Ok(())
}
