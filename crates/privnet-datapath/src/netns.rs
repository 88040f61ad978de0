//! Network namespaces of instances.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::thread;

use nix::sched::{CloneFlags, setns};
use privnet_model::Netns;

use crate::error::Step;
use crate::netlink::Socket;
use crate::{ApplyError, KernelError};

/// NS_GET_NSTYPE (ioctl_ns(2)): which kind of namespace a file is.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// The namespace of this thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Opens the file of a network namespace.
pub(crate) fn open(netns: &Netns) -> Result<File, ApplyError> {
    let path = netns.path();
    let file = match File::open(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(ApplyError::NetnsNotFound(netns.clone()));
        }
        other => other.step(format_args!("open {}", path.display()))?,
    };
    // The name of a namespace that is gone may stay as an empty file.
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    if kind != libc::CLONE_NEWNET {
        return Err(ApplyError::NetnsNotFound(netns.clone()));
    }
    if netns.process().is_some_and(|(number, started_ticks)| start_of(number) != Some(started_ticks)) {
        // Looked at after the file was opened: the process that had the number then has it still.
        return Err(ApplyError::ProcessGone(netns.clone()));
    }
    if is_own(&file).step(format_args!("compare {} with the own network namespace", path.display()))? {
        return Err(ApplyError::OwnNetns(netns.clone()));
    }
    Ok(file)
}

/// When a process has started, in clock ticks since its host has: the 22nd field of its line (proc_pid_stat(5)), of
/// which the second, in parentheses, may have spaces.
pub fn start_of(process: u32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    line.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// What tells it from all other namespaces for as long as it exists.
pub(crate) fn inode(netns: &File) -> io::Result<u64> {
    Ok(netns.metadata()?.ino())
}

/// Whether another namespace has the name of the one with this inode. One whose name is gone may live
/// on, and a path by a process's number may be another process's by now: those are left as they are.
pub(crate) fn is_replaced(netns: &Netns, inode: u64) -> bool {
    let path = netns.path();
    if path.starts_with("/proc") {
        return false;
    }
    let Ok(named) = fs::metadata(path) else { return false };
    named.ino() != inode && fs::metadata(OWN).is_ok_and(|own| own.dev() == named.dev())
}

/// Whether it is the namespace of this thread.
fn is_own(netns: &File) -> io::Result<bool> {
    let (one, other) = (netns.metadata()?, fs::metadata(OWN)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Opens a netlink socket in a network namespace.
pub(crate) fn netlink(netns: &File) -> Result<Socket, KernelError> {
    // A thread of its own, so that no other work finds itself in another namespace.
    let open = || {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Socket::open()
    };
    let opened = thread::scope(|scope| {
        let ended = thread::Builder::new().spawn_scoped(scope, open)?.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let opened: io::Result<Socket> = opened;
    opened.step(format_args!("enter a network namespace"))
}
