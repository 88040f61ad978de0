//! Network namespaces that the agent makes for instances, as `ip netns` makes them: a file under /run/netns on
//! which the namespace is mounted.
//!
//! The loopback device of each says by its alias whose it is. What says otherwise is somebody else's, whatever it
//! is called.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::Error as Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use privnet_model::{InstanceId, InstanceState, Netns};

use crate::error::Step;
use crate::netlink::Socket;
use crate::{ApplyError, KernelError, netns};

/// What all of their names begin with ([`Netns::of_instance`]).
const PREFIX: &str = "privnet-";

const LOOPBACK: &str = "lo";

/// The namespaces of one agent.
pub(crate) struct Namespaces {
    /// The folder of its pins.
    owner: PathBuf,
    /// What was found under each name, so that a namespace is entered once.
    known: HashMap<String, Known>,
}

struct Known {
    inode: u64,
    /// `None`: it is not this agent's.
    instance: Option<InstanceId>,
}

impl Namespaces {
    /// Those of the agent with this folder for pins.
    pub(crate) fn of(pin_dir: &Path) -> Self {
        Self { owner: pin_dir.to_owned(), known: HashMap::new() }
    }

    /// Makes one, with its loopback device up. One that is there and the instance's is left as it is.
    pub(crate) fn make(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        let path = state.netns.path();
        let made = format_args!("make network namespace {}", state.netns);
        match netns::open(&state.netns) {
            Ok(found) if self.owner_of(&found)? == Some(state.id) => return Ok(()),
            Ok(_) | Err(ApplyError::OwnNetns(_) | ApplyError::NotNetns(_)) => {
                return Err(ApplyError::NetnsTaken(state.netns.clone()));
            }
            Err(ApplyError::NetnsNotFound(_)) => {}
            Err(error) => return Err(error),
        }
        remove_empty_file(&path).step(made)?;
        share_folder(&path).step(made)?;
        OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).step(made)?;
        let alias = self.alias(state.id);
        let mounted = netns::in_a_new_one(|| {
            set_up_loopback(&alias)?;
            let none: Option<&str> = None;
            Ok(mount(Some("/proc/thread-self/ns/net"), &path, none, MsFlags::MS_BIND, none)?)
        });
        if mounted.is_err() {
            // What it failed for is told; the file is in nobody's way but ours.
            let _ = fs::remove_file(&path);
        }
        Ok(mounted.step(made)?)
    }

    /// Removes one, if it is the instance's. What is in it goes when no process uses it any more.
    pub(crate) fn remove(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        match netns::open(&state.netns) {
            Ok(found) if self.owner_of(&found)? == Some(state.id) => Ok(unmount(&state.netns)?),
            Ok(_) | Err(ApplyError::OwnNetns(_) | ApplyError::NotNetns(_) | ApplyError::NetnsNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All that are there.
    pub(crate) fn all(&mut self) -> Result<Vec<InstanceState>, KernelError> {
        let folder = Netns::path_of_names();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.step(format_args!("read {}", folder.display()))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names: Vec<_> = names.filter(|name| name.starts_with(PREFIX)).collect();
        self.known.retain(|name, _| names.contains(name));
        let mut found = Vec::new();
        for name in names {
            let Ok(netns) = Netns::try_from(name.as_str()) else { continue };
            if let Some(id) = self.look_at(name, &netns)? {
                found.push(InstanceState { id, netns });
            }
        }
        Ok(found)
    }

    fn look_at(&mut self, name: String, netns: &Netns) -> Result<Option<InstanceId>, KernelError> {
        let Ok(metadata) = fs::metadata(netns.path()) else { return Ok(None) };
        let inode = metadata.ino();
        if let Some(known) = self.known.get(&name).filter(|known| known.inode == inode) {
            return Ok(known.instance);
        }
        let Ok(file) = netns::open(netns) else { return Ok(None) };
        let instance = self.owner_of(&file)?;
        self.known.insert(name, Known { inode, instance });
        Ok(instance)
    }

    /// The instance that a namespace was made for by this agent.
    pub(crate) fn owner_of(&self, namespace: &File) -> Result<Option<InstanceId>, KernelError> {
        let mut netlink = netns::netlink(namespace)?;
        let loopback = netlink.link(LOOPBACK).step(format_args!("look at device {LOOPBACK} of a network namespace"))?;
        let alias = loopback.map(|link| link.alias).unwrap_or_default();
        let id = alias.strip_prefix("privnet instance=").and_then(|rest| rest.get(..36)).and_then(|id| id.parse().ok());
        Ok(id.filter(|id| alias == self.alias(*id)))
    }

    fn alias(&self, instance: InstanceId) -> String {
        format!("privnet instance={instance} pins={}", self.owner.display())
    }
}

/// Removes all that the agent with this folder for pins has made, and returns their names.
pub(crate) fn remove_all(pin_dir: &Path) -> Result<Vec<Netns>, KernelError> {
    let found = Namespaces::of(pin_dir).all()?;
    found.into_iter().map(|state| unmount(&state.netns).map(|()| state.netns)).collect()
}

fn unmount(netns: &Netns) -> Result<(), KernelError> {
    let path = netns.path();
    let removed = umount2(&path, MntFlags::MNT_DETACH).map_err(io::Error::from).and_then(|()| fs::remove_file(&path));
    removed.step(format_args!("remove network namespace {netns}"))
}

/// The name of a namespace that is gone may stay as an empty file.
fn remove_empty_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} is something else", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the folder of the names one whose mounts are seen in all mount namespaces, as ip-netns(8) does: a mount
/// that somebody else keeps in one of their own would keep the namespace.
fn share_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let none: Option<&str> = None;
    let share = || mount(none, folder, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        // It is no mount point yet.
        Err(Errno::EINVAL) => {
            mount(Some(folder), folder, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
            Ok(share()?)
        }
        other => Ok(other?),
    }
}

fn set_up_loopback(alias: &str) -> io::Result<()> {
    let mut netlink = Socket::open()?;
    let loopback = netlink.link(LOOPBACK).map_err(io::Error::other)?;
    let index = loopback.ok_or(Errno::ENODEV)?.index;
    netlink.set_alias(index, alias).map_err(io::Error::other)?;
    netlink.set_up(index).map_err(io::Error::other)
}
