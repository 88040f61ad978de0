//! Removing everything of a lab, by its id alone: for the lab itself, and after a lab whose process died.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::NETNS_DIR;
use crate::process::{self, MARK};
use crate::registration::{REGISTRY, is_alive, lock_registry, open_lock};

/// Where eBPF objects are pinned.
const BPF_DIR: &str = "/sys/fs/bpf";

/// What the folder of a lab host's pins is called before the lab's id.
const PINS_PREFIX: &str = "privnet-lab-";

/// What a lab's device of this machine is called before its id.
const DEVICE_PREFIX: &str = "pnlab-";

/// Where the devices of this machine are listed.
const DEVICES: &str = "/sys/class/net";

/// A killed process is gone within this.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The folder for the eBPF pins of one host of a lab.
pub(crate) fn pin_dir(lab: &str, host: &str) -> PathBuf {
    Path::new(BPF_DIR).join(format!("{PINS_PREFIX}{lab}-{host}"))
}

/// The device of this machine by which a lab's hosts reach its server.
pub(crate) fn device(lab: &str) -> String {
    format!("{DEVICE_PREFIX}{lab}")
}

/// Removes what labs have left whose process is gone, and returns their ids.
///
/// # Errors
/// Something cannot be removed.
pub fn remove_leftovers() -> Result<Vec<String>> {
    fs::create_dir_all(REGISTRY).with_context(|| format!("cannot make {REGISTRY}; labs need root"))?;
    let _exclusive = lock_registry()?;
    let dead: Vec<_> = known_labs()?.into_iter().filter(|id| !is_alive(id)).collect();
    for id in &dead {
        remove(id).with_context(|| format!("cannot remove what lab {id} has left"))?;
    }
    Ok(dead)
}

/// Waits until a lab's process has ended and removes what it has left, if anything.
///
/// # Errors
/// Something cannot be removed.
pub fn guard(lab: &str) -> Result<()> {
    let run_dir = Path::new(REGISTRY).join(lab);
    if !run_dir.exists() {
        return Ok(());
    }
    let _lock = Flock::lock(open_lock(&run_dir)?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    if run_dir.exists() { remove(lab) } else { Ok(()) }
}

/// Removes everything of a lab. What is gone already is no error; the first other error is returned
/// when all the rest has been tried.
pub(crate) fn remove(lab: &str) -> Result<()> {
    let run_dir = Path::new(REGISTRY).join(lab);
    let results =
        [kill_processes(lab), remove_device(lab), remove_namespaces(lab), remove_pins(lab), remove_data(lab, &run_dir)];
    results.into_iter().collect::<Result<()>>()?;
    remove_dir(&run_dir)
}

/// Whether anything of a lab is there.
pub(crate) fn are_there(lab: &str) -> Result<bool> {
    Ok(known_labs()?.contains(lab) || !processes(lab)?.is_empty())
}

fn known_labs() -> Result<BTreeSet<String>> {
    let mut labs: BTreeSet<_> = names(Path::new(REGISTRY))?.into_iter().filter(|name| is_id(name)).collect();
    let of = |name: &str, prefix: &str| name.strip_prefix(prefix)?.split('-').next().map(str::to_owned);
    labs.extend(names(Path::new(NETNS_DIR))?.iter().filter_map(|name| of(name, "pnlab-")).filter(|id| is_id(id)));
    labs.extend(names(Path::new(DEVICES))?.iter().filter_map(|name| of(name, DEVICE_PREFIX)).filter(|id| is_id(id)));
    labs.extend(names(Path::new(BPF_DIR))?.iter().filter_map(|name| of(name, PINS_PREFIX)).filter(|id| is_id(id)));
    Ok(labs)
}

fn is_id(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|octet| octet.is_ascii_hexdigit())
}

/// The names in a folder; none if there is no such folder.
fn names(dir: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn kill_processes(lab: &str) -> Result<()> {
    for pid in processes(lab)? {
        // It may be gone already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let gone = || Ok(processes(lab)?.is_empty().then_some(()));
    wait_uninterrupted(gone).with_context(|| format!("processes of lab {lab} do not die"))
}

/// Its other end goes with it, and it goes with that one.
fn remove_device(lab: &str) -> Result<()> {
    let device = device(lab);
    let is_there = || Path::new(DEVICES).join(&device).exists();
    if !is_there() {
        return Ok(());
    }
    // Not through the lab's own commands, which an interrupt ends.
    let status = process::command("", "ip").args(["link", "delete", &device]).status().context("cannot run ip")?;
    anyhow::ensure!(status.success() || !is_there(), "cannot delete device {device}");
    Ok(())
}

/// The processes that carry the lab's mark; those that have ended but were not waited for carry nothing.
fn processes(lab: &str) -> Result<Vec<i32>> {
    let mark = format!("{MARK}={lab}");
    let carries_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|octet| *octet == 0).any(|variable| variable == mark.as_bytes())
    };
    Ok(names(Path::new("/proc"))?.iter().filter_map(|name| name.parse().ok()).filter(carries_mark).collect())
}

/// Removal goes on when the user insists on an end: here, interrupts do not count.
fn wait_uninterrupted(mut ask: impl FnMut() -> Result<Option<()>>) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 0..KILL_TIMEOUT.as_millis() / PAUSE.as_millis() {
        if ask()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    anyhow::bail!("not within {} s", KILL_TIMEOUT.as_secs())
}

fn remove_namespaces(lab: &str) -> Result<()> {
    let prefix = format!("pnlab-{lab}-");
    for name in names(Path::new(NETNS_DIR))?.iter().filter(|name| name.starts_with(&prefix) || is_made_by(lab, name)) {
        // Not through the lab's own commands, which an interrupt ends.
        let mut command = process::command("", "ip");
        let status = command.args(["netns", "delete", name]).status().context("cannot run ip")?;
        anyhow::ensure!(status.success(), "cannot delete namespace {name}");
    }
    Ok(())
}

/// Whether an agent of the lab has made this namespace for an instance: its loopback device says so.
fn is_made_by(lab: &str, name: &str) -> bool {
    let pins = format!(" pins={BPF_DIR}/{PINS_PREFIX}{lab}-");
    let shown = || process::command("", "ip").args(["-n", name, "link", "show", "lo"]).output().ok();
    name.starts_with("privnet-") && shown().is_some_and(|shown| String::from_utf8_lossy(&shown.stdout).contains(&pins))
}

fn remove_pins(lab: &str) -> Result<()> {
    let prefix = format!("{PINS_PREFIX}{lab}-");
    for name in names(Path::new(BPF_DIR))?.iter().filter(|name| name.starts_with(&prefix)) {
        remove_dir(&Path::new(BPF_DIR).join(name))?;
    }
    Ok(())
}

fn remove_data(lab: &str, run_dir: &Path) -> Result<()> {
    let Ok(path) = fs::read_to_string(run_dir.join("data-dir")) else { return Ok(()) };
    let data_dir = PathBuf::from(path);
    if data_dir.file_name().is_some_and(|name| name.to_string_lossy() == format!("pnlab-{lab}")) {
        unmount_below(&data_dir)?;
        remove_dir(&data_dir)?;
    }
    Ok(())
}

/// Removes the disks of a lab.
fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        if Path::new(mount).starts_with(dir) {
            umount2(mount, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {mount}"))?;
        }
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
