//! Processes that a lab starts: marked with the lab's id, in a process group of their own, so that a
//! Ctrl-C meant for the lab does not reach them before the lab has cleaned up.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::interrupt::wait_for;

/// The environment variable that marks a lab's processes with the lab's id.
pub(crate) const MARK: &str = "PRIVNET_LAB";

/// A command that takes longer than this is broken.
const RUN_TIMEOUT: Duration = Duration::from_secs(30);

/// A daemon that is told to stop gets this long before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a daemon's log an error quotes.
const LOG_TAIL_LINES: usize = 30;

/// A command of the lab with this id. The user's own settings of privnet do not reach it.
pub(crate) fn command(lab: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PRIVNET_") {
            command.env_remove(variable);
        }
    }
    // DHCP clients and others live where a user's PATH need not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    command.env(MARK, lab).env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
    command
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end, whatever that is.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let what = describe(command);
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("cannot start {what}"))?;
    let ended = wait_for(|| format!("{what} did not end"), RUN_TIMEOUT, || Ok(child.try_wait()?));
    if ended.is_err() {
        // It may have ended meanwhile.
        let _ = child.kill();
        child.wait()?;
    }
    Ok(Output { status: ended?, stdout: read_all(&mut stdout)?, stderr: read_all(&mut stderr)? })
}

/// Runs a command that must succeed, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{} failed, {}: {}{}", describe(command), output.status, output.stdout.trim(), output.stderr.trim());
    }
    Ok(output.stdout)
}

pub(crate) fn read_all(file: &mut File) -> Result<String> {
    let mut octets = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A process that runs until it is stopped. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a process whose output is appended to `log`.
    pub(crate) fn start(what: impl Into<String>, command: &mut Command, log: &Path) -> Result<Self> {
        let what = what.into();
        let open = OpenOptions::new().create(true).append(true).open(log);
        let file = open.with_context(|| format!("cannot open {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {what}: {}", describe(command)))?;
        Ok(Self { what, child, log: log.to_owned() })
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it, and whoever shared its log before it, has printed.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
    }

    /// The error with the end of the log, where the cause usually is.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!("{error:#}\n{}", self.log_tail())
    }

    /// The end of the log, for error messages.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        format!("the end of the log of {}:\n{}", self.what, tail.join("\n"))
    }

    /// Fails if it has ended by itself.
    ///
    /// # Errors
    /// It has.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended, {status}", self.what),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.what))
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// It does not stop in time (it is killed then), or ends otherwise than by success or that signal.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let stopped = wait_for(|| format!("{} did not stop", self.what), STOP_TIMEOUT, || Ok(self.child.try_wait()?));
        match stopped {
            Ok(status) if status.success() || status.signal() == Some(Signal::SIGTERM as i32) => Ok(()),
            Ok(status) => Err(self.explain(anyhow::anyhow!("{} stopped, {status}", self.what))),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Both fail only if the process has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
