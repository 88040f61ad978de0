use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The octets of a MAC address.
///
/// # Panics
/// It is none.
pub fn octets(mac: &str) -> Vec<u8> {
    mac.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("a MAC address")).collect()
}

/// Sends Ethernet frames by a device of this thread's network namespace (packet(7)), as fast as they come.
pub(crate) fn send(device: &str, frames: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<()> {
    let index = if_nametoindex(device).with_context(|| format!("no device {device}"))?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all of a sockaddr_ll is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index.cast_signed();
    for frame in frames {
        let frame = frame.as_ref();
        // SAFETY: the frame and the address live through the call, with the lengths that are given.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        ensure!(sent == frame.len(), "{sent} of {} octets were sent", frame.len());
    }
    Ok(())
}
