//! Where eBPF objects outlive the agent: `links/DEVICE` for what is attached, `vN/MAP` for the maps of
//! layout version N, in a folder of the BPF file system.
//!
//! Of devices that are not ours, `links/underlay-INDEX` is the link, or a folder if we have attached a filter;
//! a folder `clsact` in it says that the queueing discipline is ours, too.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapError, MapInfo};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::KernelError;
use crate::error::Step;

/// Where the BPF file system is mounted by convention.
const BPF_DIR: &str = "/sys/fs/bpf";
const LINKS: &str = "links";
const UNDERLAY_PREFIX: &str = "underlay-";

/// The folder of one agent's pins.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    dir: PathBuf,
    layout: u32,
}

impl Pins {
    /// The pins in a folder, which need not be there, of an agent whose maps have this layout version.
    pub(crate) fn at(dir: &Path, layout: u32) -> Self {
        Self { dir: dir.to_owned(), layout }
    }

    /// Makes the folders, and mounts the BPF file system if the convention's place has none.
    pub(crate) fn make(&self) -> Result<(), KernelError> {
        if self.dir.starts_with(BPF_DIR) {
            mount_bpf().step(format_args!("mount the BPF file system at {BPF_DIR}"))?;
        }
        if !is_on_bpf(&self.dir).step(format_args!("look at {}", self.dir.display()))? {
            return Err("it is not on a BPF file system")
                .step(format_args!("pin eBPF objects in {}", self.dir.display()));
        }
        for dir in [self.maps(), self.links()] {
            fs::create_dir_all(&dir).step(format_args!("make the folder {}", dir.display()))?;
        }
        Ok(())
    }

    /// Keeps other agents away from the folder, which must be there, for as long as the result lives.
    pub(crate) fn take(&self) -> Result<Flock<File>, KernelError> {
        loop {
            let taken = lock(&self.dir).step(format_args!("take the folder {}", self.dir.display()))?;
            // Somebody may have removed it after it was opened.
            if self.are_taken_by(&taken) {
                return Ok(taken);
            }
        }
    }

    /// Whether the folder is still the one that was taken. If it was removed, anybody may take what is made in its
    /// place.
    pub(crate) fn are_taken_by(&self, taken: &Flock<File>) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let [now, then] = [fs::metadata(&self.dir), taken.metadata()].map(|found| found.ok().map(identity));
        now.is_some() && now == then
    }

    /// The folder of the maps.
    pub(crate) fn maps(&self) -> PathBuf {
        self.dir.join(format!("v{}", self.layout))
    }

    /// Whether a map is there.
    pub(crate) fn has_map(&self, name: &str) -> bool {
        self.maps().join(name).exists()
    }

    /// The ids of the maps that are there.
    pub(crate) fn map_ids(&self) -> Result<BTreeSet<u32>, KernelError> {
        let dir = self.maps();
        let names = names(&dir).step(format_args!("read the folder {}", dir.display()))?;
        let ids = names.iter().map(|name| Ok(MapInfo::from_pin(dir.join(name))?.id()));
        ids.collect::<Result<_, MapError>>().step(format_args!("look at the eBPF maps in {}", dir.display()))
    }

    fn links(&self) -> PathBuf {
        self.dir.join(LINKS)
    }

    /// Where the link of this device's program is, or would be.
    pub(crate) fn link(&self, device: &str) -> PathBuf {
        self.links().join(device)
    }

    /// Where the link of the program on a device that is not ours is, or would be.
    pub(crate) fn underlay_link(&self, ifindex: u32) -> PathBuf {
        self.links().join(format!("{UNDERLAY_PREFIX}{ifindex}"))
    }

    /// The indexes of the devices, not ours, to which a program is attached or was about to be.
    pub(crate) fn underlay_devices(&self) -> Result<Vec<u32>, KernelError> {
        let names = names(&self.links()).step(format_args!("read the folder {}", self.links().display()))?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(UNDERLAY_PREFIX)?.parse().ok()).collect())
    }

    /// Notes that a device which is not ours has a filter of ours.
    pub(crate) fn note_guest_filter(&self, ifindex: u32) -> io::Result<()> {
        fs::create_dir_all(self.underlay_link(ifindex))
    }

    pub(crate) fn has_guest_filter(&self, ifindex: u32) -> bool {
        self.underlay_link(ifindex).is_dir()
    }

    /// Notes that a device which is not ours has its clsact queueing discipline from us.
    pub(crate) fn note_guest_clsact(&self, ifindex: u32) -> io::Result<()> {
        fs::create_dir_all(self.guest_clsact(ifindex))
    }

    pub(crate) fn has_guest_clsact(&self, ifindex: u32) -> bool {
        self.guest_clsact(ifindex).is_dir()
    }

    fn guest_clsact(&self, ifindex: u32) -> PathBuf {
        self.underlay_link(ifindex).join("clsact")
    }

    /// Removes the link of the program on a device that is not ours, or what was noted about its filter.
    pub(crate) fn remove_underlay_link(&self, ifindex: u32) -> Result<(), KernelError> {
        let path = self.underlay_link(ifindex);
        if path.is_dir() { remove_tree(&path).map(drop) } else { remove_pin(&path) }
    }

    /// Whether there are maps of other layout versions; a folder that does not exist has none.
    pub(crate) fn has_other_maps(&self) -> Result<bool, KernelError> {
        Ok(self.map_dirs()?.into_iter().any(|dir| dir != self.maps()))
    }

    /// Removes the maps of other layout versions.
    pub(crate) fn remove_other_maps(&self) -> Result<(), KernelError> {
        for dir in self.map_dirs()?.into_iter().filter(|dir| *dir != self.maps()) {
            remove_tree(&dir)?;
        }
        Ok(())
    }

    /// Removes all that [`Pins`] may have made, and the folder itself if nothing else is in it.
    /// Returns whether anything was there.
    pub(crate) fn remove_all(&self) -> Result<bool, KernelError> {
        let mut dirs = self.map_dirs()?;
        dirs.push(self.links());
        let mut any = false;
        for dir in dirs {
            any |= remove_tree(&dir)?;
        }
        match if_there(fs::remove_dir(&self.dir)) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(any),
            removed => Ok(removed.step(format_args!("remove the folder {}", self.dir.display()))?.is_some() || any),
        }
    }

    fn map_dirs(&self) -> Result<Vec<PathBuf>, KernelError> {
        let is_ours = |name: &String| name.strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok());
        let names = names(&self.dir).step(format_args!("read the folder {}", self.dir.display()))?;
        Ok(names.into_iter().filter(is_ours).map(|name| self.dir.join(name)).collect())
    }
}

/// Keeps other agents away from this host, which is the thread's network namespace, for as long as the result lives.
/// Agents with different folders would each remove what the other has plugged in.
pub(crate) fn take_host() -> Result<Flock<File>, KernelError> {
    lock(Path::new("/proc/thread-self/ns/net")).step(format_args!("take this host's network namespace"))
}

fn lock(path: &Path) -> Result<Flock<File>, Box<dyn Error + Send + Sync>> {
    Flock::lock(File::open(path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => "another agent is running with it; stop that one first".into(),
        error => error.into(),
    })
}

/// The maps in use, so that one whose pin somebody removes does not go with the agent.
pub(crate) struct PinnedMaps {
    pins: Pins,
    maps: Vec<(PathBuf, MapData)>,
}

impl PinnedMaps {
    /// Those that are pinned in the folder of the maps.
    pub(crate) fn open(pins: &Pins) -> Result<Self, KernelError> {
        let dir = pins.maps();
        let paths = names(&dir).step(format_args!("read the folder {}", dir.display()))?;
        let open = |name: String| {
            let path = dir.join(name);
            let map = MapData::from_pin(&path).step(format_args!("open the eBPF map {}", path.display()))?;
            Ok((path, map))
        };
        Ok(Self { pins: pins.clone(), maps: paths.into_iter().map(open).collect::<Result<_, KernelError>>()? })
    }

    /// Pins those again that are not, and returns whether there were any.
    pub(crate) fn repair(&self) -> Result<bool, KernelError> {
        let lost: Vec<_> = self.maps.iter().filter(|(path, _)| !path.exists()).collect();
        if !lost.is_empty() {
            // The folders may be gone as well.
            self.pins.make()?;
        }
        for (path, map) in &lost {
            map.pin(path).step(format_args!("pin the eBPF map {}", path.display()))?;
        }
        Ok(!lost.is_empty())
    }
}

fn mount_bpf() -> io::Result<()> {
    // A second one would hide what others have pinned meanwhile.
    let sys_fs = File::open("/sys/fs")?;
    let _alone = Flock::lock(sys_fs, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    if statfs(BPF_DIR)?.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("bpf"), BPF_DIR, Some("bpf"), flags, Some("mode=700"))?)
}

/// Whether a folder, which need not be there, is or would be on a BPF file system.
fn is_on_bpf(dir: &Path) -> nix::Result<bool> {
    let existing = dir.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(dir);
    Ok(statfs(existing)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Removes a pin, if it is there.
pub(crate) fn remove_pin(path: &Path) -> Result<(), KernelError> {
    if_there(fs::remove_file(path)).map(drop).step(format_args!("remove {}", path.display()))
}

fn remove_tree(dir: &Path) -> Result<bool, KernelError> {
    let removed = if_there(fs::remove_dir_all(dir)).step(format_args!("remove the folder {}", dir.display()))?;
    Ok(removed.is_some())
}

/// The names in a folder; none if there is no such folder.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let Some(entries) = if_there(fs::read_dir(dir))? else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use nix::mount::umount;
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    const AGENTS: usize = 16;
    /// Every sixth one fails without the lock.
    const ROUNDS: usize = 32;

    #[test]
    fn agents_that_start_together_mount_the_bpf_file_system_once() {
        within_a_mount_namespace(|| {
            for _ in 0..ROUNDS {
                while umount(BPF_DIR).is_ok() {}
                let together = Barrier::new(AGENTS);
                let start = || {
                    together.wait();
                    mount_bpf().expect("mounted");
                };
                thread::scope(|scope| (0..AGENTS).for_each(|_| drop(scope.spawn(start))));
                let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("read");
                assert_eq!(mounts.lines().filter(|line| line.split(' ').nth(4) == Some(BPF_DIR)).count(), 1);
            }
        });
    }

    /// Runs `work` on a thread whose mounts, and those of the threads that it starts, are its own.
    fn within_a_mount_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace; these tests need root");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private");
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join()).expect("no panic")
    }
}
