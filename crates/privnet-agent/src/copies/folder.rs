//! The files in the folder, and the steps in which they are replaced, found again and removed.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use privnet_model::NetworkId;
use tracing::{debug, info, warn};

use super::file::{CorruptError, decode_instances_file, decode_network_file};
use super::{Found, Kept, LOCK};

/// There once all networks have been kept, until one cannot be written or is found damaged.
const COMPLETE: &str = "complete";
pub(super) const INSTANCES: &str = "instances";
pub(super) const TEMPORARY: &str = "tmp";
const DAMAGED: &str = "corrupt";

pub(super) fn mark_complete(folder: &Path) {
    if let Err(error) = File::create(folder.join(COMPLETE)).and_then(|_| sync_folder(folder)) {
        warn!(error = &error as &dyn Error, "cannot mark the own copy as complete");
    }
}

pub(super) fn mark_incomplete(folder: &Path) {
    if let Err(error) = remove_if_there(&folder.join(COMPLETE)) {
        warn!(error = &error as &dyn Error, "cannot mark the own copy as incomplete");
    }
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The first step: leaves the old copy or the whole new one, whenever the agent is killed.
pub(super) fn write(folder: &Path, what: Kept, content: Option<&[u8]>) -> io::Result<()> {
    let path = file_of(folder, what);
    match content {
        Some(content) => fs::write(path.with_extension(TEMPORARY), content),
        None => remove_if_there(&path.with_extension(TEMPORARY)).and_then(|()| remove_if_there(&path)),
    }
}

/// The second step, durable with the folder's fsync: leaves the old copy or the whole new one, whenever
/// the power fails.
pub(super) fn finish(folder: &Path, what: Kept, has_content: bool) -> io::Result<()> {
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

pub(super) fn networks_in(state_dir: &Path) -> PathBuf {
    state_dir.join("networks")
}

pub(super) fn file_of(folder: &Path, what: Kept) -> PathBuf {
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

pub(super) fn load(folder: &Path) -> io::Result<Found> {
    finish_what_was_begun(folder)?;
    let is_complete = folder.join(COMPLETE).exists();
    let mut found = Found { states: Vec::new(), instances: Vec::new(), is_complete };
    for (network, path) in files_with_extension(folder, None)? {
        match decode_network_file(network, &fs::read(&path)?) {
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
        let whole = decode_network_file(network, &fs::read(&path)?).map(drop);
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

pub(super) fn remove_own_files(state_dir: &Path) -> io::Result<usize> {
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
