//! The few netlink requests that the data plane makes (netlink(7), rtnetlink(7)), each one answered before the
//! call returns: the kernel works while it takes the request, so there is nothing to wait for.

mod end;
mod filter;
mod link;
mod message;
mod route;
mod xfrm;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, NetlinkAddr, SockFlag, bind, recv, send};

pub(crate) use link::{Link, Tun, Veth, Vxlan};
pub(crate) use message::{Attributes, Message, Messages};
pub(crate) use xfrm::Policies;

/// Larger than any message that the kernel sends (NLMSG_GOODSIZE is a page; dumps are cut to 32 KiB).
const BUFFER_OCTETS: usize = 64 * 1024;
/// A dump that other changes keep interrupting is given up then.
const DUMP_TRIES: u32 = 16;

/// Of those that have an answer each: the kernel counts a page or two for it, and by default 208 KiB for a
/// socket.
const REQUESTS_AT_ONCE: usize = 24;

const NETLINK_CAP_ACK: libc::c_int = 10;
const NETLINK_EXT_ACK: libc::c_int = 11;

/// A request was refused.
#[derive(Debug, thiserror::Error)]
#[error("{errno}{}{}", if reason.is_empty() { "" } else { ": " }, reason)]
pub(crate) struct NetlinkError {
    pub(crate) errno: nix::Error,
    reason: String,
}

impl From<nix::Error> for NetlinkError {
    fn from(errno: nix::Error) -> Self {
        Self { errno, reason: String::new() }
    }
}

/// A connection to a subsystem of the network namespace it was opened in, to the one for routing unless said
/// otherwise.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one in the thread's network namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Self::of(libc::NETLINK_ROUTE)
    }

    /// Opens one to that subsystem.
    fn of(subsystem: libc::c_int) -> io::Result<Self> {
        let fd = open(subsystem, SockFlag::SOCK_CLOEXEC, 0)?;
        for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK] {
            enable(&fd, option)?;
        }
        Ok(Self { fd, sequence: 0, buffer: vec![0; BUFFER_OCTETS] })
    }

    /// Makes a request that has no answer but success.
    fn request(&mut self, message: Message) -> Result<(), NetlinkError> {
        self.transact(message, &mut |_, _| {})
    }

    /// Makes a request and hands each answer to `on_answer`.
    fn transact(&mut self, mut message: Message, on_answer: &mut dyn FnMut(u16, &[u8])) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        send(self.fd.as_raw_fd(), message.finish(self.sequence), MsgFlags::empty())?;
        let mut interrupted = false;
        loop {
            let octets = receive(&self.fd, &mut self.buffer)?;
            for part in Messages::new(&self.buffer[..octets]).filter(|part| part.sequence == self.sequence) {
                interrupted |= part.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match i32::from(part.kind) {
                    libc::NLMSG_DONE if interrupted => return Err(nix::Error::EINTR.into()),
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return outcome(part.flags, part.body),
                    _ => on_answer(part.kind, part.body),
                }
            }
        }
    }

    /// Makes requests of which each has one answer, and hands that to `on_answer` with the number of its
    /// request. They must be so few that their answers find place in the socket's buffer.
    fn transact_each(
        &mut self,
        requests: impl Iterator<Item = Message>,
        mut on_answer: impl FnMut(usize, Result<&[u8], NetlinkError>),
    ) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut octets = Vec::new();
        for mut request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            octets.extend_from_slice(request.finish(self.sequence));
        }
        let count = self.sequence.wrapping_sub(first).wrapping_add(1);
        send(self.fd.as_raw_fd(), &octets, MsgFlags::empty())?;
        let mut answers = 0;
        while answers < count {
            let octets = receive(&self.fd, &mut self.buffer)?;
            for part in Messages::new(&self.buffer[..octets]) {
                let number = part.sequence.wrapping_sub(first);
                if number < count {
                    answers += 1;
                    let is_error = i32::from(part.kind) == libc::NLMSG_ERROR;
                    let answer =
                        if is_error { outcome(part.flags, part.body).map(|()| part.body) } else { Ok(part.body) };
                    on_answer(number as usize, answer);
                }
            }
        }
        Ok(())
    }

    /// Makes a request for all of something, again if it changed meanwhile.
    fn dump<T>(
        &mut self,
        request: impl Fn() -> Message,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut tries = 0;
        loop {
            let mut found = Vec::new();
            tries += 1;
            match self.transact(request(), &mut |_, body| found.extend(read(body))) {
                Err(error) if error.errno == nix::Error::EINTR && tries < DUMP_TRIES => {}
                other => return other.map(|()| found),
            }
        }
    }
}

/// A socket of that subsystem, subscribed to these groups, a bit each.
pub(crate) fn open(subsystem: libc::c_int, flags: SockFlag, groups: u32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes numbers, and what it makes is nobody else's.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | flags.bits(), subsystem);
        OwnedFd::from_raw_fd(nix::Error::result(fd)?)
    };
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    loop {
        match recv(fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Err(nix::Error::EINTR) => {}
            received => return received,
        }
    }
}

fn enable(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length are those of `on`.
    let done = unsafe {
        let octets = size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), octets)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What an NLMSG_ERROR message says: an error number, the request's header, and perhaps why.
fn outcome(flags: u16, body: &[u8]) -> Result<(), NetlinkError> {
    const REQUEST_HEADER_OCTETS: usize = 16;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let number = body.first_chunk().map_or(0, |octets| i32::from_ne_bytes(*octets));
    if number == 0 {
        return Ok(());
    }
    let mut reason = String::new();
    if flags & libc::NLM_F_ACK_TLVS as u16 != 0 {
        let attributes = Attributes::new(body.get(4 + REQUEST_HEADER_OCTETS..).unwrap_or_default());
        reason = attributes.get(NLMSGERR_ATTR_MSG).map(message::text).unwrap_or_default();
    }
    Err(NetlinkError { errno: nix::Error::from_raw(-number), reason })
}
