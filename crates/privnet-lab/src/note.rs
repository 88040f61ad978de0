//! What a lab that is used by hand consists of, told to other processes: a note in its folder.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::interrupt::wait_for;
use crate::leftovers;
use crate::namespace::NETNS_DIR;
use crate::process::read_all;
use crate::registration::{REGISTRY, is_alive};

/// In the lab's folder of the registry.
const FILE: &str = "lab.json";

/// A lab is up, and a lab is removed, within this.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A lab that somebody uses by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The lab's id.
    pub lab: String,
    /// The process that keeps it.
    pub pid: i32,
    /// Where its server is reached, without a slash at the end.
    pub url: String,
    /// Where its logs are.
    pub dir: String,
    /// Where its server keeps its keys.
    pub server_dir: String,
    /// Its hosts, then its instances.
    pub places: Vec<Place>,
}

/// A host or an instance of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name, unique in the lab.
    pub name: String,
    /// The host that an instance is on; `None` for a host.
    pub host: Option<String>,
    /// A host's in the underlay, an instance's in its network.
    pub address: String,
    /// Its network namespace, as `ip netns` shows it.
    pub netns: String,
}

impl Note {
    /// The labs that are up and have a note.
    ///
    /// # Errors
    /// A note cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(REGISTRY) else { return Ok(Vec::new()) };
        let mut notes = Vec::new();
        for entry in entries {
            let entry = entry?;
            let is_up = is_alive(&entry.file_name().to_string_lossy());
            // Labs of tests and benchmarks have none.
            if let Ok(text) = fs::read(entry.path().join(FILE))
                && is_up
            {
                let path = entry.path();
                notes.push(serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?);
            }
        }
        notes.sort_by(|one: &Self, other| one.lab.cmp(&other.lab));
        Ok(notes)
    }

    pub(crate) fn write(&self, run_dir: &Path) -> Result<()> {
        let unfinished = run_dir.join("lab.json.new");
        fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        fs::rename(unfinished, run_dir.join(FILE)).context("cannot note what the lab consists of")
    }

    /// Tells the lab's process to remove it, and waits until nothing of it is there.
    ///
    /// # Errors
    /// Something is left after a while.
    pub fn take_down(&self) -> Result<()> {
        // It may be gone already.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        let gone = || Ok((!leftovers::are_there(&self.lab)?).then_some(()));
        wait_for(|| format!("lab {} is not removed", self.lab), TIMEOUT, gone)
    }
}

/// Starts a process that brings up a lab and keeps it, and returns when the lab is up. The process goes on.
///
/// # Errors
/// It ends before the lab is up, or it takes too long; then it is told to stop.
pub fn start_detached(command: &mut Command) -> Result<Note> {
    // Nobody shall wait for the end of what it prints.
    let mut printed = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed.try_clone()?);
    let mut child = command.spawn().context("cannot start the lab's process")?;
    let pid = child.id().cast_signed();
    let up = wait_for(
        || "the lab is not up".to_owned(),
        TIMEOUT,
        || match child.try_wait()? {
            Some(status) => bail!("the lab's process has ended, {status}: {}", read_all(&mut printed)?.trim()),
            None => Ok(Note::all()?.into_iter().find(|note| note.pid == pid)),
        },
    );
    if up.is_err() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        child.wait()?;
    }
    up
}

impl Place {
    /// Has this thread enter its network namespace.
    ///
    /// # Errors
    /// It is gone, or the process may not.
    pub fn enter(&self) -> Result<()> {
        let path = format!("{NETNS_DIR}/{}", self.netns);
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {path}"))
    }
}
