//! The agent's own copy of what it was told, from which it starts when the server is away.
//!
//! One file per network under `networks/`, and one called `instances` beside them for all instances that the host
//! shall make. Each is replaced as a whole in two steps. At first the new content
//! stands complete in a temporary file: from here on it outlives the agent, for a start takes a complete
//! temporary file for the copy and drops a torn one. Then come fsync, rename and fsync of the directory:
//! from here on it outlives the host's power. Beside the files one called `complete` tells, once the server
//! has sent all, that what has no file is not wanted.
//!
//! A thread of its own writes them, so that a slow disk holds up neither the kernel's part of a change nor
//! DHCP; what queues up meanwhile is one state per network, the newest, and what is written together shares
//! the directory's fsync.

mod file;
mod folder;
mod writer;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use privnet_model::{InstanceState, NetworkId, NetworkState};
use tokio::sync::mpsc;
use tracing::warn;

use self::file::{encode_instances_file, encode_network_file};
use self::folder::{load, networks_in, remove_own_files};
use self::writer::{Change, Queue, Writer};

const LOCK: &str = "lock";

/// The writing side. Dropping it waits until everything is written.
pub(crate) struct Copies {
    queue: Arc<Queue>,
    last: ChangeNumber,
    writer: Option<JoinHandle<()>>,
    /// Held for as long as the agent runs.
    _lock: File,
}

/// Tells a change of the own copy from all others since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangeNumber(pub(crate) u64);

/// What a file keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// One network.
    Network(NetworkId),
    /// All instances.
    Instances,
}

/// What was found at the start.
pub(crate) struct Found {
    pub(crate) states: Vec<NetworkState>,
    pub(crate) instances: Vec<InstanceState>,
    /// Whether that is all that the host shall carry, as far as it was told.
    pub(crate) is_complete: bool,
}

/// How far a change of a copy is.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) what: Kept,
    pub(crate) change: ChangeNumber,
    pub(crate) outcome: io::Result<Survives>,
}

/// What a change of the own copy outlives by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    /// The end of the agent, however it comes.
    Kill,
    /// A power cut too.
    PowerCut,
}

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Two agents must not steer one host.
    #[error("another agent is running with the state folder {0}")]
    Locked(PathBuf),
    /// A file operation failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Copies {
    /// Takes the state folder, which is made if it does not exist, and reads what is there. A damaged
    /// file is set aside as `<network>.corrupt`.
    ///
    /// # Errors
    /// [`StateDirError::Locked`] while another agent uses it.
    pub(crate) fn open(state_dir: &Path) -> Result<(Self, Found, mpsc::UnboundedReceiver<Saved>), StateDirError> {
        let folder = networks_in(state_dir);
        fs::create_dir_all(&folder).map_err(|e| failed("make the folder", &folder, e))?;
        let lock = lock(state_dir)?;
        let found = load(&folder).map_err(|e| failed("read the folder", &folder, e))?;
        let queue = Arc::new(Queue::default());
        let (saved, results) = mpsc::unbounded_channel();
        let writer = Writer { folder: folder.clone(), saved };
        let writer = std::thread::Builder::new().name("own-copy".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || writer.write_until_closed(&queue)
        });
        let writer = writer.map_err(|e| failed("start the thread that writes", &folder, e))?;
        Ok((Self { queue, last: ChangeNumber(0), writer: Some(writer), _lock: lock }, found, results))
    }

    /// Keeps this state instead of whatever is kept of the network.
    pub(crate) fn save(&mut self, state: &NetworkState) -> ChangeNumber {
        self.push(Kept::Network(state.id), Some(encode_network_file(state)))
    }

    /// Keeps these instances instead of whatever is kept of any.
    pub(crate) fn save_instances<'a>(&mut self, states: impl Iterator<Item = &'a InstanceState>) -> ChangeNumber {
        self.push(Kept::Instances, Some(encode_instances_file(states)))
    }

    /// Keeps nothing of the network.
    pub(crate) fn remove(&mut self, network: NetworkId) -> ChangeNumber {
        self.push(Kept::Network(network), None)
    }

    fn push(&mut self, what: Kept, content: Option<Vec<u8>>) -> ChangeNumber {
        self.last = ChangeNumber(self.last.0 + 1);
        let change = Change { number: self.last, content };
        self.queue.change(|waiting| drop(waiting.changes.insert(what, change)));
        self.last
    }

    /// What has been saved so far is all that the host shall carry.
    pub(crate) fn complete(&self) {
        self.queue.change(|waiting| waiting.is_complete = true);
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.queue.change(|waiting| waiting.is_closed = true);
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            warn!("the thread that writes the own copy has panicked");
        }
    }
}

/// A state folder that no agent uses, nor can for as long as this is held.
pub(crate) struct IdleStateDir {
    path: PathBuf,
    /// `None`: there is no such folder.
    lock: Option<File>,
}

impl IdleStateDir {
    /// # Errors
    /// [`StateDirError::Locked`] while an agent uses it.
    pub(crate) fn take(path: &Path) -> Result<Self, StateDirError> {
        let lock = if path.exists() { Some(lock(path)?) } else { None };
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Removes what the agent has put there, and the folder unless something else is in it. Returns how
    /// many networks' copies it held.
    ///
    /// # Errors
    /// [`StateDirError::Io`] when a file or folder cannot be removed.
    pub(crate) fn remove(self) -> Result<usize, StateDirError> {
        match self.lock {
            Some(_) => remove_own_files(&self.path).map_err(|e| failed("empty the state folder", &self.path, e)),
            None => Ok(0),
        }
    }
}

fn lock(state_dir: &Path) -> Result<File, StateDirError> {
    let path = state_dir.join(LOCK);
    let file = File::create(&path).map_err(|e| failed("make", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateDirError::Locked(state_dir.to_owned())),
        Err(TryLockError::Error(e)) => Err(failed("lock", &path, e)),
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> StateDirError {
    StateDirError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use privnet_model::{Generation, HostName, InstanceId, Netns, Vni};

    use super::folder::{INSTANCES, TEMPORARY, file_of, write};
    use super::*;

    fn state(number: u8, generation: u64) -> NetworkState {
        NetworkState {
            id: NetworkId::from_bytes([number; 16]),
            vni: Vni::try_from(u32::from(number)).expect("valid"),
            generation: Generation(generation),
            mtu_bytes: Some(1450),
            dhcp: None,
            members: BTreeMap::new(),
        }
    }

    fn open(dir: &Path) -> (Copies, Found, mpsc::UnboundedReceiver<Saved>) {
        Copies::open(dir).expect("state folder")
    }

    fn states_in(dir: &Path) -> Vec<NetworkState> {
        let (_copies, mut found, _) = open(dir);
        found.states.sort_by_key(|state| state.id);
        found.states
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (mut copies, found, mut saved) = open(dir.path());
        assert!(found.states.is_empty() && !found.is_complete, "there was no copy");
        let change = copies.save(&state(1, 1));
        for survives in [Survives::Kill, Survives::PowerCut] {
            let saved = saved.blocking_recv().expect("saved");
            assert_eq!((saved.what, saved.change), (Kept::Network(state(1, 1).id), change));
            assert_eq!(saved.outcome.expect("written"), survives);
        }
        copies.save(&state(1, 2));
        copies.save(&state(2, 1));
        copies.save(&state(3, 1));
        copies.remove(state(2, 1).id);
        drop(copies);
        let (copies, found, _) = open(dir.path());
        assert!(!found.is_complete, "not all has been sent yet");
        copies.complete();
        drop(copies);
        let (_copies, mut found, _) = open(dir.path());
        found.states.sort_by_key(|s| s.id);
        assert!(found.is_complete);
        assert_eq!(found.states, [state(1, 2), state(3, 1)]);
    }

    fn instance(number: u8) -> InstanceState {
        let host = HostName::try_from("h1").expect("valid");
        let id = InstanceId::from_bytes([number; 16]);
        InstanceState { id, netns: Netns::of_instance(&host, id) }
    }

    #[test]
    fn instances_are_kept_together() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (mut copies, ..) = open(dir.path());
        copies.save_instances([instance(1), instance(2)].iter());
        drop(copies);
        assert_eq!(open(dir.path()).1.instances, [instance(1), instance(2)]);
        let (folder, three) = (networks_in(dir.path()), encode_instances_file([instance(3)].iter()));
        write(&folder, Kept::Instances, Some(&three[..three.len() - 1])).expect("torn");
        assert_eq!(open(dir.path()).1.instances, [instance(1), instance(2)]);
        write(&folder, Kept::Instances, Some(&three)).expect("whole");
        assert_eq!(open(dir.path()).1.instances, [instance(3)]);
        fs::write(folder.join(INSTANCES), b"nonsense").expect("file");
        open(dir.path()).0.complete();
        assert!(open(dir.path()).1.instances.is_empty());
        assert_eq!(fs::read(folder.join("instances.corrupt")).expect("set aside"), b"nonsense");
        IdleStateDir::take(dir.path()).and_then(IdleStateDir::remove).expect("removed");
        assert!(!folder.exists());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let content = encode_network_file(&state(1, 1));
        for length in 0..content.len() {
            check_set_aside(&content[..length]);
        }
        for at in 0..content.len() {
            let mut damaged = content.clone();
            damaged[at] ^= 1;
            check_set_aside(&damaged);
        }
        check_set_aside(&encode_network_file(&state(2, 1)));
    }

    fn check_set_aside(content: &[u8]) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("networks").join(state(1, 1).id.to_string());
        open(dir.path()).0.complete();
        fs::write(&path, content).expect("file");
        for time in ["first", "second"] {
            let (_copies, found, _) = open(dir.path());
            assert!(found.states.is_empty() && !found.is_complete, "{time} start");
        }
        assert_eq!(fs::read(path.with_extension("corrupt")).expect("set aside"), content);
        assert!(!path.exists());
    }

    #[test]
    fn an_agent_that_was_killed_between_the_steps_finds_the_new_state() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let folder = networks_in(dir.path());
        open(dir.path()).0.save(&state(1, 1));
        for new in [state(1, 2), state(2, 1)] {
            write(&folder, Kept::Network(new.id), Some(&encode_network_file(&new))).expect("written");
        }
        for time in ["first", "second"] {
            assert_eq!(states_in(dir.path()), [state(1, 2), state(2, 1)], "{time} start");
        }
        write(&folder, Kept::Network(state(2, 1).id), None).expect("removed");
        assert_eq!(states_in(dir.path()), [state(1, 2)]);
    }

    #[test]
    fn what_was_torn_when_the_power_failed_leaves_the_old_state() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (mut copies, ..) = open(dir.path());
        copies.save(&state(1, 1));
        copies.complete();
        drop(copies);
        let content = encode_network_file(&state(1, 2));
        let temporary = file_of(&networks_in(dir.path()), Kept::Network(state(1, 2).id)).with_extension(TEMPORARY);
        for length in 0..content.len() {
            fs::write(&temporary, &content[..length]).expect("file");
            let (_copies, found, _) = open(dir.path());
            assert!(found.is_complete && !temporary.exists());
            assert_eq!(found.states, [state(1, 1)]);
        }
    }

    #[test]
    fn a_disk_that_fails_is_told_of() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (mut copies, _, mut saved) = open(dir.path());
        fs::remove_dir(networks_in(dir.path())).expect("removed");
        let change = copies.save(&state(1, 1));
        let told = saved.blocking_recv().expect("told");
        assert_eq!((told.change, told.outcome.expect_err("no folder").kind()), (change, io::ErrorKind::NotFound));
    }

    #[test]
    fn what_the_agent_has_put_into_its_folder_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state_dir = dir.path().join("agent");
        let remove = || IdleStateDir::take(&state_dir).and_then(IdleStateDir::remove);
        assert_eq!(remove().expect("removed"), 0, "there was no folder");
        let (mut copies, ..) = open(&state_dir);
        copies.save(&state(1, 1));
        copies.save(&state(2, 1));
        copies.complete();
        assert!(matches!(remove(), Err(StateDirError::Locked(_))), "an agent uses it");
        drop(copies);
        let folder = networks_in(&state_dir);
        fs::write(folder.join(format!("{}.corrupt", state(3, 1).id)), b"nonsense").expect("file");
        fs::write(folder.join("notes"), b"somebody else's").expect("file");
        assert_eq!(remove().expect("removed"), 2);
        let left: Vec<_> = fs::read_dir(&folder).expect("folder").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(left, ["notes"]);
        fs::remove_file(folder.join("notes")).expect("file");
        assert_eq!(remove().expect("removed"), 0);
        assert!(!state_dir.exists());
    }

    #[test]
    fn a_second_agent_is_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let first = open(dir.path());
        let refusal = Copies::open(dir.path()).err().expect("refused");
        assert_eq!(
            refusal.to_string(),
            format!("another agent is running with the state folder {}", dir.path().display())
        );
        drop(first);
        open(dir.path());
    }
}
