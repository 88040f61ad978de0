//! `privnet lab`: whatever ends it, nothing is left behind.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{PRIVNET, eventually, wait_for};

/// A running `privnet lab`. It is killed when this is dropped, and its guard cleans up.
struct LabCommand {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl LabCommand {
    fn start(words: &[&str]) -> Result<Self> {
        let output = tempfile::NamedTempFile::new()?;
        let file: File = output.reopen()?;
        let mut command = Command::new(PRIVNET);
        command.arg("lab").args(words).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: command.spawn()?, output })
    }

    fn printed(&self) -> Result<String> {
        Ok(fs::read_to_string(self.output.path())?)
    }

    /// The lab's id, once it has one.
    fn id(&self) -> Result<String> {
        let id = |printed: &str| {
            let (before, _) = printed.split_once(" is up")?;
            before.rsplit("lab ").next().map(str::to_owned)
        };
        wait_for("the lab is up", || Ok(id(&self.printed()?)))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }

    fn end(&mut self) -> Result<ExitStatus> {
        wait_for("the command ends", || Ok(self.child.try_wait()?))
    }
}

impl Drop for LabCommand {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything on this machine that is named after a lab.
fn left_of(id: &str) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for dir in
        ["/run/netns", "/sys/fs/bpf", "/run/privnet-lab"].map(Path::new).into_iter().chain([&*std::env::temp_dir()])
    {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        let paths = entries.map(|entry| Ok(entry?.path().display().to_string())).collect::<Result<Vec<_>>>()?;
        left.extend(paths.into_iter().filter(|path| path.contains(id)));
    }
    for entry in fs::read_dir("/proc")? {
        let environment = fs::read(entry?.path().join("environ")).unwrap_or_default();
        let mark = format!("PRIVNET_LAB={id}");
        left.extend(environment.split(|octet| *octet == 0).any(|one| one == mark.as_bytes()).then(|| mark.clone()));
    }
    Ok(left)
}

fn nothing_is_left_of(id: &str) -> Result<()> {
    let left = left_of(id)?;
    ensure!(left.is_empty(), "left behind: {left:#?}");
    Ok(())
}

#[test]
fn the_demo_shows_the_main_job_and_leaves_nothing() -> Result<()> {
    let mut demo = LabCommand::start(&["demo"])?;
    let id = demo.id()?;
    let ended = wait_for("the demo ends", || Ok(demo.child.try_wait()?));
    let printed = demo.printed()?;
    ensure!(ended?.success(), "{printed}");
    for said in
        ["\"vni\": ", "\"leases\": [", "udhcpc in red-1 leased 10.0.0.", "dhclient in red-2 leased", "steps held"]
    {
        ensure!(printed.contains(said), "{said} is not said: {printed}");
    }
    nothing_is_left_of(&id)
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() -> Result<()> {
    for (steps, signal) in [(1, Signal::SIGINT), (8, Signal::SIGTERM), (15, Signal::SIGINT), (24, Signal::SIGHUP)] {
        let mut demo = LabCommand::start(&["demo"])?;
        let id = demo.id()?;
        eventually("the demo goes on", || Ok(demo.printed()?.matches("  ok  ").count() >= steps))?;
        demo.signal(signal)?;
        let ended = demo.end().with_context(|| demo.printed().unwrap_or_default())?;
        ensure!(ended.code() == Some(1), "{ended}: {}", demo.printed()?);
        nothing_is_left_of(&id)?;
    }
    Ok(())
}

#[test]
fn a_lab_stays_up_until_it_is_interrupted() -> Result<()> {
    let mut lab = LabCommand::start(&["up", "--hosts", "3"])?;
    let id = lab.id()?;
    let printed = lab.printed()?;
    ensure!(printed.lines().any(|line| line.starts_with("h3") && line.contains("192.0.2.3")), "{printed}");
    let said = |name: &str| printed.split_once(&format!("{name}=")).and_then(|(_, rest)| rest.lines().next());
    let [url, data] = ["PRIVNET_API_URL", "PRIVNET_DATA"].map(|name| said(name).context(name));
    let mut list = Command::new(PRIVNET);
    let listed = list.env("PRIVNET_DATA", data?).args(["--api-url", url?, "host", "list"]).output()?;
    ensure!(String::from_utf8_lossy(&listed.stdout).matches("connected").count() == 3, "{listed:?}");
    lab.signal(Signal::SIGINT)?;
    ensure!(lab.end()?.success(), "{}", lab.printed()?);
    nothing_is_left_of(&id)
}

#[test]
fn a_detached_lab_has_instances_that_reach_each_other_and_stays_up_until_it_is_taken_down() -> Result<()> {
    let printed = lab(&["up", "--hosts", "2", "--instances", "3", "--detach"])?;
    let id = printed.split_once("lab ").and_then(|(_, rest)| rest.split_once(" is up")).context("an id")?.0;
    let status: Value = serde_json::from_str(&lab(&["status", "--output", "json"])?)?;
    let labs = status["labs"].as_array().context("a list")?;
    let places = &labs.iter().find(|lab| lab["lab"] == id).context("the lab is listed")?["places"];
    let address = |name: &str| {
        let place = places.as_array().into_iter().flatten().find(|place| place["name"] == name);
        place.and_then(|place| place["address"].as_str()).with_context(|| format!("no {name} in {places}"))
    };
    let ping = |to: &str| lab(&["exec", "--lab", id, "i1", "--", "ping", "-c", "1", "-W", "5", to]);
    // Its own host's and the other's.
    for name in ["i2", "i3"] {
        ping(address(name)?)?;
    }
    let unknown = lab(&["exec", "--lab", id, "i4", "--", "true"]);
    ensure!(unknown.as_ref().is_err_and(|error| error.to_string().contains("it has h1, h2, i1")), "{unknown:?}");
    lab(&["down", id])?;
    nothing_is_left_of(id)?;
    let gone = lab(&["down", id]);
    ensure!(gone.as_ref().is_err_and(|error| error.to_string().contains("is up")), "{gone:?}");
    Ok(())
}

/// Runs `privnet lab` with these words to its end, and returns what it printed.
fn lab(words: &[&str]) -> Result<String> {
    let ended = Command::new(PRIVNET).arg("lab").args(words).stdin(Stdio::null()).output()?;
    let [stdout, stderr] = [ended.stdout, ended.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned());
    ensure!(ended.status.success(), "{words:?}: {}: {stderr}", ended.status);
    Ok(stdout)
}

#[test]
fn what_a_killed_lab_leaves_its_guard_removes() -> Result<()> {
    let mut lab = LabCommand::start(&["up"])?;
    let id = lab.id()?;
    lab.signal(Signal::SIGKILL)?;
    lab.end()?;
    eventually("the guard has removed everything", || Ok(left_of(&id)?.is_empty()))
}
