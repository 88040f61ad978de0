//! The bpf(2) commands that aya has no call for: reading a map in few calls, and asking which
//! programs a device has, and what those are.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya::Pod;

const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_TCX_INGRESS: u32 = 46;
/// How much is read in one call.
const BATCH_ENTRIES: usize = 4096;
/// More than ever are on one of our devices.
const PROGRAMS_MAX: usize = 64;
/// The most maps that one program can use (MAX_USED_MAPS).
const MAPS_MAX: usize = 64;

/// `batch` in union bpf_attr.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `query` in union bpf_attr.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    unused: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// `info` in union bpf_attr.
#[repr(C)]
struct InfoRequest {
    fd: u32,
    octets: u32,
    info: u64,
}

/// The first members of struct bpf_prog_info; the kernel writes no more than it is asked for.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind_id_tag_and_lengths: [u32; 6],
    instructions: [u64; 2],
    loaded_at: u64,
    user: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}

/// A program of this host, ours or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// The ids of the maps that it uses.
    pub(crate) maps: Vec<u32>,
}

/// The program with this id; none if it is gone.
pub(crate) fn program(id: u32) -> io::Result<Option<Program>> {
    let mut by_id = [id, 0, 0];
    // SAFETY: the command takes an id, the next id and flags.
    let fd = match unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id) } {
        // SAFETY: the kernel has made it for us.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut maps = [0u32; MAPS_MAX];
    let mut info = ProgramInfo { map_count: MAPS_MAX as u32, maps: maps.as_mut_ptr() as u64, ..ProgramInfo::default() };
    let mut request =
        InfoRequest { fd: fd.as_raw_fd() as u32, octets: size_of::<ProgramInfo>() as u32, info: &raw mut info as u64 };
    // SAFETY: the lengths of both buffers are told.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut request)? };
    let name = info.name.split(|octet| *octet == 0).next().unwrap_or_default();
    let maps = maps.into_iter().take(info.map_count as usize).collect();
    Ok(Some(Program { name: String::from_utf8_lossy(name).into_owned(), maps }))
}

/// All entries of a hash map.
pub(crate) fn entries<K: Pod + Default, V: Pod + Default>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut found = Vec::new();
    let mut keys = vec![K::default(); BATCH_ENTRIES];
    let mut values = vec![V::default(); BATCH_ENTRIES];
    let mut position: Option<u32> = None;
    loop {
        let mut next = 0u32;
        let mut batch = Batch {
            in_batch: position.as_ref().map_or(0, |position| &raw const *position as u64),
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH_ENTRIES as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: the buffers are as long as `count` says, and every octet pattern is a `Pod`.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) };
        let is_last = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let count = batch.count as usize;
        found.extend(keys[..count].iter().copied().zip(values[..count].iter().copied()));
        if is_last {
            return Ok(found);
        }
        position = Some(next);
    }
}

/// The ids of the programs on a device's ingress that are attached by links, in their order.
pub(crate) fn tcx_programs(ifindex: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; PROGRAMS_MAX];
    let mut query = Query {
        target_ifindex: ifindex,
        attach_type: BPF_TCX_INGRESS,
        prog_ids: ids.as_mut_ptr() as u64,
        count: PROGRAMS_MAX as u32,
        ..Query::default()
    };
    // SAFETY: the buffer is as long as `count` says.
    unsafe { bpf(BPF_PROG_QUERY, &mut query)? };
    Ok(ids.into_iter().take(query.count as usize).collect())
}

/// # Safety
/// `attributes` is laid out as the command wants it, and its pointers are valid.
pub(crate) unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the caller vouches for the attributes.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as libc::c_int) }
}
