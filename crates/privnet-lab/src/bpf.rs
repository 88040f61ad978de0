//! Pinned eBPF maps, changed behind the agent's back (bpf(2)).

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::lab::Host;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_GET: libc::c_int = 7;

/// A pinned map whose keys and values are plain octets here.
pub struct Map {
    fd: OwnedFd,
    key_octets: usize,
    value_octets: usize,
}

/// The parts of `union bpf_attr` that are used here; what is not used is zero.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    /// The pin's path for `BPF_OBJ_GET`, otherwise the map.
    path_or_map: u64,
    key: u64,
    next_key_or_value: u64,
    flags: u64,
}

impl Map {
    /// Opens the map of this name that a host's agent has pinned.
    pub fn of_host(host: &Host, name: &str) -> Result<Self> {
        Self::in_pin_dir(&host.pin_dir, name)
    }

    /// Opens the map of this name that an agent has pinned in its folder.
    pub(crate) fn in_pin_dir(dir: &Path, name: &str) -> Result<Self> {
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let pin = entry?.path().join(name);
            if pin.exists() {
                return Self::open(&pin);
            }
        }
        bail!("there is no map {name} in {}", dir.display())
    }

    fn open(path: &Path) -> Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let attributes = Attributes { path_or_map: name.as_ptr() as u64, ..Attributes::default() };
        let fd = bpf(BPF_OBJ_GET, &attributes).with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: the kernel has just made it, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let described = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let octets = |field| described.lines().find_map(|line: &str| line.strip_prefix(field)?.trim().parse().ok());
        let sizes = octets("key_size:").zip(octets("value_size:"));
        let (key_octets, value_octets) = sizes.context("a map has keys and values")?;
        Ok(Self { fd, key_octets, value_octets })
    }

    /// All keys, in an order of their own.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0; self.key_octets];
            let attributes = Attributes {
                path_or_map: self.fd.as_raw_fd() as u64,
                key: keys.last().map_or(0, |key| key.as_ptr() as u64),
                next_key_or_value: next.as_mut_ptr() as u64,
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

    /// All entries, each key with its value. What is removed meanwhile is left out.
    pub fn entries(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Vec::new();
        for key in self.keys()? {
            let mut value = vec![0; self.value_octets];
            let attributes = Attributes {
                path_or_map: self.fd.as_raw_fd() as u64,
                key: key.as_ptr() as u64,
                next_key_or_value: value.as_mut_ptr() as u64,
                flags: 0,
            };
            match bpf(BPF_MAP_LOOKUP_ELEM, &attributes) {
                Ok(_) => entries.push((key, value)),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(entries)
    }

    /// Removes one entry.
    pub fn remove(&self, key: &[u8]) -> Result<()> {
        let attributes =
            Attributes { path_or_map: self.fd.as_raw_fd() as u64, key: key.as_ptr() as u64, ..Attributes::default() };
        bpf(BPF_MAP_DELETE_ELEM, &attributes).context("cannot remove an entry")?;
        Ok(())
    }

    /// Gives one entry's value to another, which need not be there. Not for values of each processor.
    pub(crate) fn copy(&self, from: &[u8], to: &[u8]) -> Result<()> {
        let mut value = vec![0_u8; self.value_octets];
        let mut attributes = Attributes {
            path_or_map: self.fd.as_raw_fd() as u64,
            key: from.as_ptr() as u64,
            next_key_or_value: value.as_mut_ptr() as u64,
            flags: 0,
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &attributes).context("cannot read an entry")?;
        attributes.key = to.as_ptr() as u64;
        bpf(BPF_MAP_UPDATE_ELEM, &attributes).context("cannot write an entry")?;
        Ok(())
    }
}

fn bpf(command: libc::c_int, attributes: &Attributes) -> io::Result<i32> {
    // SAFETY: what the attributes point to outlives the call and has the map's own sizes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
