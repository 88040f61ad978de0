//! Network namespaces of instances.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use privnet_model::Netns;

use crate::error::Step;
use crate::netlink::Socket;
use crate::{ApplyError, KernelError};

/// NS_GET_NSTYPE (ioctl_ns(2)): which kind of namespace a file is.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// The namespace of this thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Those of the host: this thread's and, where the agent is in another one, that of the first process.
pub(crate) const HOSTS: [&str; 2] = [OWN, "/proc/1/ns/net"];

/// Opens the file of a network namespace, and no file that is anything else.
pub(crate) fn open(netns: &Netns) -> Result<File, ApplyError> {
    let path = netns.path();
    let file = match open_on_nsfs(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(ApplyError::NetnsNotFound(netns.clone()));
        }
        other => other.step(format_args!("open {}", path.display()))?,
    };
    // SAFETY: the request takes no argument.
    let is_netns = |file: &File| unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) } == libc::CLONE_NEWNET;
    let file = file.filter(is_netns).ok_or_else(|| ApplyError::NotNetns(netns.clone()))?;
    if netns.process().is_some_and(|(number, started_ticks)| start_of(number) != Some(started_ticks)) {
        // Looked at after the file was opened: the process that had the number then has it still.
        return Err(ApplyError::ProcessGone(netns.clone()));
    }
    if is_any_of(&file, &HOSTS).step(format_args!("compare {} with the host's network namespace", path.display()))? {
        return Err(ApplyError::OwnNetns(netns.clone()));
    }
    Ok(file)
}

/// `None`: it is a file of another kind. To open a FIFO may take for ever, and a device may do anything when it is
/// opened, so the path is looked at before (O_PATH, open(2)), and what was looked at is opened.
fn open_on_nsfs(path: &Path) -> io::Result<Option<File>> {
    let found = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    if fstatfs(&found)?.filesystem_type() == NSFS_MAGIC {
        return File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).map(Some);
    }
    // The name of a namespace that is gone may stay as an empty file.
    if found.metadata()?.is_file() { Err(ErrorKind::NotFound.into()) } else { Ok(None) }
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

/// Whether it is one of those. One that this process may not look at, such as that of a protected first process, cannot
/// be told.
pub(crate) fn is_any_of(netns: &File, paths: &[&str]) -> io::Result<bool> {
    let found = netns.metadata()?;
    for path in paths {
        match fs::metadata(path) {
            Ok(other) if (found.dev(), found.ino()) == (other.dev(), other.ino()) => return Ok(true),
            Err(error) if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => {
                return Err(error);
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(false)
}

/// Opens a netlink socket in a network namespace.
pub(crate) fn netlink(netns: &File) -> Result<Socket, KernelError> {
    let opened = in_a_thread(|| {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Socket::open()
    });
    opened.step(format_args!("enter a network namespace"))
}

/// Does something in a network namespace that is made for it, and goes when nobody has it any more.
pub(crate) fn in_a_new_one<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    in_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// That of the thread.
pub(crate) fn own() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// A thread of its own, so that no other work finds itself in another namespace.
fn in_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let ended = thread::Builder::new().spawn_scoped(scope, work)?.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
