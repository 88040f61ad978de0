//! The eBPF maps, typed.

use std::borrow::Borrow;
use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use aya::maps::{HashMap, IterableMap, Map, MapData, MapError, PerCpuHashMap};
use aya::{Ebpf, Pod};

use crate::error::Step;
use crate::layout::{
    Counters, FdbKey, FdbTarget, MemberKey, Neighbor, NeighborKey, Network, Port, RemoteMember, VtepKey,
};
use crate::pins::Pins;
use crate::{KernelError, sys};

/// How often an entry is added again for which the kernel has no memory, and after what pause.
const MEMORY_PAUSES_MAX: u32 = 50;
const MEMORY_PAUSE: Duration = Duration::from_millis(1);

/// All maps that the programs look things up in.
pub(crate) struct Tables {
    pub(crate) ports: Table<u32, Port>,
    pub(crate) networks: Table<u32, Network>,
    pub(crate) fdb: Table<FdbKey, FdbTarget>,
    pub(crate) neighbors: Table<NeighborKey, Neighbor>,
    pub(crate) vteps: Table<VtepKey, u32>,
    pub(crate) local_members: Table<MemberKey, u32>,
    pub(crate) remote_members: Table<MemberKey, RemoteMember>,
    pub(crate) counters: CounterTable,
    /// By the index of the port's device.
    pub(crate) declines: Table<u32, u64>,
}

impl Tables {
    /// Takes them from the loaded object.
    pub(crate) fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            ports: Table::take(object, "ports")?,
            networks: Table::take(object, "networks")?,
            fdb: Table::take(object, "fdb")?,
            neighbors: Table::take(object, "neighbors")?,
            vteps: Table::take(object, "vteps")?,
            local_members: Table::take(object, "local_members")?,
            remote_members: Table::take(object, "remote_members")?,
            counters: CounterTable::take(object)?,
            declines: Table::take(object, "declines")?,
        })
    }
}

/// One hash map.
pub(crate) struct Table<K: Pod, V: Pod> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
    memory: Memory,
}

impl<K: Pod + Default, V: Pod + Default> Table<K, V> {
    fn take(object: &mut Ebpf, name: &'static str) -> Result<Self, KernelError> {
        let map = object.take_map(name).ok_or(MapError::ElementNotFound);
        let map = map.and_then(HashMap::try_from).step(format_args!("use the eBPF map {name}"))?;
        Ok(Self { name, map, memory: Memory::default() })
    }

    /// The one that an agent has pinned.
    pub(crate) fn pinned(pins: &Pins, name: &'static str) -> Result<Self, KernelError> {
        let map = MapData::from_pin(pins.maps().join(name)).map(Map::HashMap).and_then(HashMap::try_from);
        let map = map.step(format_args!("open the eBPF map {name}"))?;
        Ok(Self { name, map, memory: Memory::default() })
    }

    pub(crate) fn get(&self, key: &K) -> Result<Option<V>, KernelError> {
        let found = if_there(self.map.get(key, 0));
        found.step(format_args!("read the eBPF map {}", self.name))
    }

    /// Puts an entry there, or in the place of the one with the same key, in one step.
    pub(crate) fn set(&mut self, key: impl Borrow<K>, value: impl Borrow<V>) -> Result<(), KernelError> {
        let set = self.memory.wait_for(|| self.map.insert(key.borrow(), value.borrow(), 0));
        set.step(format_args!("write the eBPF map {}", self.name))
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&mut self, key: &K) -> Result<(), KernelError> {
        let removed = if_there(self.map.remove(key));
        removed.map(drop).step(format_args!("remove an entry of the eBPF map {}", self.name))
    }

    pub(crate) fn entries(&self) -> Result<Vec<(K, V)>, KernelError> {
        let entries = sys::entries(self.map.map().fd().as_fd());
        entries.step(format_args!("read the eBPF map {}", self.name))
    }
}

/// What passed each port, by its device's index.
pub(crate) struct CounterTable {
    map: PerCpuHashMap<MapData, u32, Counters>,
    memory: Memory,
}

impl CounterTable {
    fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let map = object.take_map("counters").ok_or(MapError::ElementNotFound);
        let map = map.and_then(PerCpuHashMap::try_from).step(format_args!("use the eBPF map counters"))?;
        Ok(Self { map, memory: Memory::default() })
    }

    /// The one that an agent has pinned.
    pub(crate) fn pinned(pins: &Pins) -> Result<Self, KernelError> {
        let map = MapData::from_pin(pins.maps().join("counters")).map(Map::PerCpuHashMap);
        let map = map.and_then(PerCpuHashMap::try_from).step(format_args!("open the eBPF map counters"))?;
        Ok(Self { map, memory: Memory::default() })
    }

    /// Lets it be counted, from zero if it was not.
    pub(crate) fn add(&mut self, ifindex: u32) -> Result<(), KernelError> {
        const BPF_NOEXIST: u64 = 1;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error);
        let cpus = cpus.step(format_args!("count this host's processors"))?;
        let add = || self.map.insert(ifindex, vec![Counters::default(); cpus].try_into()?, BPF_NOEXIST);
        match self.memory.wait_for(add) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.step(format_args!("write the eBPF map counters")),
        }
    }

    /// One row, as each processor has it.
    pub(crate) fn get(&self, ifindex: u32) -> Result<Option<Vec<Counters>>, KernelError> {
        let found = if_there(self.map.get(&ifindex, 0)).step(format_args!("read the eBPF map counters"))?;
        Ok(found.map(|row| row.to_vec()))
    }

    pub(crate) fn remove(&mut self, ifindex: u32) -> Result<(), KernelError> {
        let removed = if_there(self.map.remove(&ifindex));
        removed.map(drop).step(format_args!("remove an entry of the eBPF map counters"))
    }
}

/// The kernel's memory for the entries of one map. It keeps a few free ones for each processor and makes more in
/// the background, so that for a moment it has none when many are added.
#[derive(Default)]
struct Memory {
    /// Whether an entry was waited for in vain, so that no other one is until one is added.
    is_short: bool,
}

impl Memory {
    /// Adds an entry, a little later if there is no memory now.
    fn wait_for<T>(&mut self, mut add: impl FnMut() -> Result<T, MapError>) -> Result<T, MapError> {
        let mut pauses = if self.is_short { 0 } else { MEMORY_PAUSES_MAX };
        loop {
            let added = add();
            self.is_short = matches!(&added, Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::OutOfMemory);
            if !self.is_short || pauses == 0 {
                return added;
            }
            pauses -= 1;
            thread::sleep(MEMORY_PAUSE);
        }
    }
}

fn if_there<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    /// Adds an entry for which there is no memory so many times, and returns whether it was added, and how often
    /// that was tried.
    fn add(memory: &mut Memory, failures: u32) -> (bool, u32) {
        let mut tries = 0;
        let added = memory.wait_for(|| {
            tries += 1;
            let io_error = io::Error::from_raw_os_error(libc::ENOMEM);
            let refused = MapError::SyscallError(SyscallError { call: "bpf_map_update_elem", io_error });
            if tries <= failures { Err(refused) } else { Ok(()) }
        });
        (added.is_ok(), tries)
    }

    #[test]
    fn an_entry_that_finds_no_memory_is_added_a_little_later() {
        for failures in [0, 3, MEMORY_PAUSES_MAX] {
            assert_eq!(add(&mut Memory::default(), failures), (true, failures + 1));
        }
    }

    #[test]
    fn where_memory_is_short_one_entry_is_waited_for_and_not_each() {
        let mut memory = Memory::default();
        assert_eq!(add(&mut memory, u32::MAX), (false, MEMORY_PAUSES_MAX + 1));
        assert_eq!(add(&mut memory, u32::MAX), (false, 1));
        assert_eq!(add(&mut memory, 0), (true, 1));
        assert_eq!(add(&mut memory, 3), (true, 4));
    }
}
