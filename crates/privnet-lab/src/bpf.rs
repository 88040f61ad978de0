//! Pinned eBPF maps, changed behind the agent's back (bpf(2)).

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::lab::Host;

const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_GET: libc::c_int = 7;

/// A pinned map whose keys are compared and removed as plain octets.
pub struct Map {
    fd: OwnedFd,
    key_octets: usize,
}

/// The parts of `union bpf_attr` that are used here; what is not used is zero.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    /// The pin's path for `BPF_OBJ_GET`, otherwise the map.
    path_or_map: u64,
    key: u64,
    next_key: u64,
    flags: u64,
}

impl Map {
    /// Opens the map of this name that a host's agent has pinned.
    pub fn of_host(host: &Host, name: &str) -> Result<Self> {
        for entry in fs::read_dir(&host.pin_dir)? {
            let pin = entry?.path().join(name);
            if pin.exists() {
                return Self::open(&pin);
            }
        }
        bail!("{} has no map {name} in {}", host.name, host.pin_dir.display())
    }

    fn open(path: &Path) -> Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let attributes = Attributes { path_or_map: name.as_ptr() as u64, ..Attributes::default() };
        let fd = bpf(BPF_OBJ_GET, &attributes).with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: the kernel has just made it, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let described = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let key_octets = described.lines().find_map(|line| line.strip_prefix("key_size:")?.trim().parse().ok());
        Ok(Self { fd, key_octets: key_octets.context("a map has keys")? })
    }

    /// All keys, in an order of their own.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0; self.key_octets];
            let attributes = Attributes {
                path_or_map: self.fd.as_raw_fd() as u64,
                key: keys.last().map_or(0, |key| key.as_ptr() as u64),
                next_key: next.as_mut_ptr() as u64,
                flags: 0,
            };
            match bpf(BPF_MAP_GET_NEXT_KEY, &attributes) {
                Ok(_) => keys.push(next),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
                Err(error) => return Err(error.into()),
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// Removes one entry.
    pub fn remove(&self, key: &[u8]) -> Result<()> {
        let attributes =
            Attributes { path_or_map: self.fd.as_raw_fd() as u64, key: key.as_ptr() as u64, ..Attributes::default() };
        bpf(BPF_MAP_DELETE_ELEM, &attributes).context("cannot remove an entry")?;
        Ok(())
    }
}

fn bpf(command: libc::c_int, attributes: &Attributes) -> io::Result<i32> {
    // SAFETY: what the attributes point to outlives the call and has the map's own sizes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
