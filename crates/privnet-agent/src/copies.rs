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

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use privnet_model::{InstanceState, NetworkId, NetworkState};
use privnet_sync::{MessageError, decode_instances, decode_network_state, encode_instances, encode_network_state};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

/// What each file starts with; the checksum of the rest follows.
const MAGIC: &[u8; 8] = b"pnstate1";
/// There once all networks have been kept, until one cannot be written or is found damaged.
const COMPLETE: &str = "complete";
const INSTANCES: &str = "instances";
const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";
const DAMAGED: &str = "corrupt";
const HEADER_OCTETS: usize = MAGIC.len() + 4;

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

/// A file under `networks/` is not a copy of what it should be.
#[derive(Debug, thiserror::Error)]
enum CorruptError {
    #[error("it has {0} octets, less than a header")]
    Short(usize),
    #[error("it does not start as a copy does")]
    Magic,
    #[error("its checksum does not hold")]
    Checksum,
    #[error("it holds something else")]
    Message(#[source] MessageError),
    #[error("it holds another network, {0}")]
    OtherNetwork(NetworkId),
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
        self.push(Kept::Network(state.id), Some(encode_file(state)))
    }

    /// Keeps these instances instead of whatever is kept of any.
    pub(crate) fn save_instances<'a>(&mut self, states: impl Iterator<Item = &'a InstanceState>) -> ChangeNumber {
        self.push(Kept::Instances, Some(with_header(&encode_instances(states))))
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

fn remove_own_files(state_dir: &Path) -> io::Result<usize> {
    let folder = networks_in(state_dir);
    let mut networks = 0;
    if folder.exists() {
        networks = files_with_extension(&folder, None)?.len();
        for extension in [None, Some(TEMPORARY), Some(DAMAGED)] {
            for (_, path) in files_with_extension(&folder, extension)? {
                fs::remove_file(path)?;
            }
        }
        for name in [COMPLETE, INSTANCES] {
            let path = folder.join(name);
            remove_if_there(&path)?;
            remove_if_there(&path.with_extension(TEMPORARY))?;
            remove_if_there(&path.with_extension(DAMAGED))?;
        }
        remove_if_empty(&folder)?;
    }
    remove_if_there(&state_dir.join(LOCK))?;
    remove_if_empty(state_dir)?;
    Ok(networks)
}

fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::DirectoryNotEmpty => Err(e),
        _ => Ok(()),
    }
}

/// What waits to be written: one change per file.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    changes: BTreeMap<Kept, Change>,
    is_complete: bool,
    is_closed: bool,
}

struct Change {
    number: ChangeNumber,
    /// The whole file, or none.
    content: Option<Vec<u8>>,
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.changes.is_empty() && !self.is_complete
    }
}

impl Queue {
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Everything that waits, as soon as there is something; `None` once closed and empty.
    fn take(&self) -> Option<Waiting> {
        let nothing_to_do = |waiting: &mut Waiting| waiting.is_idle() && !waiting.is_closed;
        let mut waiting = self.changed.wait_while(self.lock(), nothing_to_do).unwrap_or_else(PoisonError::into_inner);
        let is_closed = waiting.is_closed;
        let taken = std::mem::replace(&mut *waiting, Waiting { is_closed, ..Waiting::default() });
        if taken.is_idle() { None } else { Some(taken) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
struct Writer {
    folder: PathBuf,
    saved: mpsc::UnboundedSender<Saved>,
}

impl Writer {
    fn write_until_closed(&self, queue: &Queue) {
        while let Some(waiting) = queue.take() {
            self.carry_out(waiting);
        }
    }

    /// Goes on with what went well, step by step, and tells of each step and each failure.
    fn carry_out(&self, waiting: Waiting) {
        let Waiting { mut changes, is_complete, .. } = waiting;
        let all = changes.len();
        changes.retain(|what, change| {
            let outcome = write(&self.folder, *what, change.content.as_deref());
            self.tell(*what, change, outcome.map(|()| Survives::Kill))
        });
        changes.retain(|what, change| match finish(&self.folder, *what, change.content.is_some()) {
            Ok(()) => true,
            Err(error) => self.tell(*what, change, Err(error)),
        });
        let synced = sync_folder(&self.folder);
        for (what, change) in &changes {
            let outcome = synced.as_ref().map_err(copy_of).map(|()| Survives::PowerCut);
            self.tell(*what, change, outcome);
        }
        if is_complete && synced.is_ok() && changes.len() == all {
            mark_complete(&self.folder);
        }
    }

    /// Tells the agent, which does not listen any more when it is stopping. Returns whether it is good news.
    fn tell(&self, what: Kept, change: &Change, outcome: io::Result<Survives>) -> bool {
        let is_good = outcome.is_ok();
        if !is_good {
            // Before the agent goes on without it: from here on what has no file may be wanted.
            mark_incomplete(&self.folder);
        }
        let _ = self.saved.send(Saved { what, change: change.number, outcome });
        is_good
    }
}

fn mark_complete(folder: &Path) {
    if let Err(error) = File::create(folder.join(COMPLETE)).and_then(|_| sync_folder(folder)) {
        warn!(error = &error as &dyn Error, "cannot mark the own copy as complete");
    }
}

fn mark_incomplete(folder: &Path) {
    if let Err(error) = remove_if_there(&folder.join(COMPLETE)) {
        warn!(error = &error as &dyn Error, "cannot mark the own copy as incomplete");
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The first step: leaves the old copy or the whole new one, whenever the agent is killed.
fn write(folder: &Path, what: Kept, content: Option<&[u8]>) -> io::Result<()> {
    let path = file_of(folder, what);
    match content {
        Some(content) => fs::write(path.with_extension(TEMPORARY), content),
        None => remove_if_there(&path.with_extension(TEMPORARY)).and_then(|()| remove_if_there(&path)),
    }
}

/// The second step, durable with the folder's fsync: leaves the old copy or the whole new one, whenever
/// the power fails.
fn finish(folder: &Path, what: Kept, has_content: bool) -> io::Result<()> {
    if !has_content {
        return Ok(());
    }
    let path = file_of(folder, what);
    let temporary = path.with_extension(TEMPORARY);
    File::open(&temporary)?.sync_data()?;
    fs::rename(&temporary, &path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn networks_in(state_dir: &Path) -> PathBuf {
    state_dir.join("networks")
}

fn file_of(folder: &Path, what: Kept) -> PathBuf {
    match what {
        Kept::Network(network) => folder.join(network.to_string()),
        Kept::Instances => folder.join(INSTANCES),
    }
}

/// The network whose copy this is, whole, temporary or damaged.
fn network_of(path: &Path) -> Option<NetworkId> {
    let is_ours = path.extension().is_none_or(|e| e == TEMPORARY || e == DAMAGED);
    path.file_stem().filter(|_| is_ours)?.to_str()?.parse().ok()
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

fn load(folder: &Path) -> io::Result<Found> {
    finish_what_was_begun(folder)?;
    let is_complete = folder.join(COMPLETE).exists();
    let mut found = Found { states: Vec::new(), instances: Vec::new(), is_complete };
    for (network, path) in files_with_extension(folder, None)? {
        match decode_file(network, &fs::read(&path)?) {
            Ok(state) => found.states.push(state),
            Err(error) => found.set_aside(folder, &path, &error)?,
        }
    }
    let path = file_of(folder, Kept::Instances);
    match read_if_there(&path)?.map(|content| decode_instances_file(&content)) {
        Some(Ok(instances)) => found.instances = instances,
        Some(Err(error)) => found.set_aside(folder, &path, &error)?,
        None => {}
    }
    info!(
        networks = found.states.len(),
        instances = found.instances.len(),
        complete = found.is_complete,
        "own copy read"
    );
    Ok(found)
}

impl Found {
    fn set_aside(&mut self, folder: &Path, path: &Path, error: &CorruptError) -> io::Result<()> {
        if std::mem::take(&mut self.is_complete) {
            fs::remove_file(folder.join(COMPLETE))?;
            sync_folder(folder)?;
        }
        let aside = path.with_extension(DAMAGED);
        warn!(file = %path.display(), aside = %aside.display(), error = error as &dyn Error,
            "an own copy is damaged and set aside; the server will send again what it was of");
        fs::rename(path, aside)
    }
}

/// An agent that was killed between the two steps leaves a complete temporary file, or a torn one.
fn finish_what_was_begun(folder: &Path) -> io::Result<()> {
    for (network, path) in files_with_extension(folder, Some(TEMPORARY))? {
        let whole = decode_file(network, &fs::read(&path)?).map(drop);
        finish_or_drop(folder, Kept::Network(network), &path, whole)?;
    }
    let path = file_of(folder, Kept::Instances).with_extension(TEMPORARY);
    if let Some(content) = read_if_there(&path)? {
        finish_or_drop(folder, Kept::Instances, &path, decode_instances_file(&content).map(drop))?;
    }
    sync_folder(folder)
}

fn finish_or_drop(folder: &Path, what: Kept, temporary: &Path, whole: Result<(), CorruptError>) -> io::Result<()> {
    match whole {
        Ok(()) => finish(folder, what, true),
        Err(error) => {
            debug!(?what, error = &error as &dyn Error, "what was being written is dropped");
            fs::remove_file(temporary)
        }
    }
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        content => content.map(Some),
    }
}

fn files_with_extension(folder: &Path, extension: Option<&str>) -> io::Result<Vec<(NetworkId, PathBuf)>> {
    let paths: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let wanted = paths.into_iter().filter(|path| path.extension().map(|e| e.to_str()) == extension.map(Some));
    Ok(wanted.filter_map(|path| Some((network_of(&path)?, path))).collect())
}

fn encode_file(state: &NetworkState) -> Vec<u8> {
    with_header(&encode_network_state(state))
}

fn with_header(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &crc32fast::hash(message).to_le_bytes(), message].concat()
}

fn decode_file(network: NetworkId, content: &[u8]) -> Result<NetworkState, CorruptError> {
    let state = decode_network_state(without_header(content)?).map_err(CorruptError::Message)?;
    if state.id == network { Ok(state) } else { Err(CorruptError::OtherNetwork(state.id)) }
}

fn decode_instances_file(content: &[u8]) -> Result<Vec<InstanceState>, CorruptError> {
    decode_instances(without_header(content)?).map_err(CorruptError::Message)
}

fn without_header(content: &[u8]) -> Result<&[u8], CorruptError> {
    let (header, message) = content.split_at_checked(HEADER_OCTETS).ok_or(CorruptError::Short(content.len()))?;
    let checksum = header.strip_prefix(MAGIC).ok_or(CorruptError::Magic)?;
    if checksum == crc32fast::hash(message).to_le_bytes() { Ok(message) } else { Err(CorruptError::Checksum) }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> StateDirError {
    StateDirError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use privnet_model::{Generation, HostName, InstanceId, Netns, Vni};

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
        let (folder, three) = (networks_in(dir.path()), with_header(&encode_instances([instance(3)].iter())));
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
        let content = encode_file(&state(1, 1));
        for length in 0..content.len() {
            check_set_aside(&content[..length]);
        }
        for at in 0..content.len() {
            let mut damaged = content.clone();
            damaged[at] ^= 1;
            check_set_aside(&damaged);
        }
        check_set_aside(&encode_file(&state(2, 1)));
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
            write(&folder, Kept::Network(new.id), Some(&encode_file(&new))).expect("written");
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
        let content = encode_file(&state(1, 2));
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
