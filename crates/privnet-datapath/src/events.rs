use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use nix::sys::socket::{MsgFlags, SockFlag, recv};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::Step;
use crate::{KernelError, netlink};

/// Says that some of this host's devices have changed: come, gone, or been set otherwise. Changes that
/// come together are told once.
#[derive(Debug)]
pub struct LinkEvents(AsyncFd<OwnedFd>);

impl LinkEvents {
    /// Those of the thread's network namespace.
    pub(crate) fn open() -> Result<Self, KernelError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = netlink::open(libc::NETLINK_ROUTE, flags, libc::RTMGRP_LINK as u32);
        let fd = fd.step(format_args!("subscribe to link events"))?;
        // SAFETY: the descriptor is owned, and stays the same.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from);
        Ok(Self(fd.step(format_args!("wait for link events"))?))
    }
}

impl Stream for LinkEvents {
    type Item = ();

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<()>> {
        loop {
            let Poll::Ready(ready) = self.0.poll_read_ready(context) else { return Poll::Pending };
            let Ok(mut guard) = ready else { return Poll::Ready(None) };
            let any = has_any(self.0.get_ref());
            guard.clear_ready();
            if any {
                return Poll::Ready(Some(()));
            }
        }
    }
}

/// Reads all that is there. Events that found no place any more (ENOBUFS) are events, too.
fn has_any(fd: &OwnedFd) -> bool {
    let mut any = false;
    loop {
        match recv(fd.as_raw_fd(), &mut [0; 16], MsgFlags::empty()) {
            Ok(_) | Err(nix::Error::ENOBUFS) => any = true,
            Err(nix::Error::EINTR) => {}
            Err(_) => return any,
        }
    }
}
