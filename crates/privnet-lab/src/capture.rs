use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::interrupt::wait_for;
use crate::namespace::Namespace;
use crate::process::Daemon;

/// tcpdump listens within this.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Frames are seen within this.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);

/// Watches the frames on one device with tcpdump.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Daemon,
}

impl Capture {
    /// Starts watching frames that match `filter` (pcap-filter(7)), and returns when it does.
    pub(crate) fn start(namespace: &Namespace, device: &str, filter: &str, log: &Path) -> Result<Self> {
        let mut command = namespace.command("tcpdump");
        command.args(["-n", "-e", "-l", "--immediate-mode", "-i", device]).arg(filter);
        let mut tcpdump = Daemon::start(format!("tcpdump in {}", namespace.name()), &mut command, log)?;
        wait_for(
            || "tcpdump did not start".to_owned(),
            START_TIMEOUT,
            || {
                tcpdump.check()?;
                Ok(tcpdump.log().contains("listening on").then_some(()))
            },
        )?;
        Ok(Self { tcpdump })
    }

    /// The frames seen so far, a line each, as tcpdump prints them with link-level headers.
    pub fn frames(&self) -> Vec<String> {
        let starts_with_time = |line: &&str| line.get(2..3) == Some(":") && line.get(5..6) == Some(":");
        self.tcpdump.log().lines().filter(starts_with_time).map(str::to_owned).collect()
    }

    /// Waits until a frame is seen whose line contains `text`, and returns that line.
    ///
    /// # Errors
    /// None is seen in time; the message has all that were.
    pub fn wait_for_frame(&self, text: &str) -> Result<String> {
        let seen = || Ok(self.frames().into_iter().find(|line| line.contains(text)));
        match wait_for(|| format!("no frame with \"{text}\""), FRAME_TIMEOUT, seen) {
            Ok(line) => Ok(line),
            Err(error) => bail!("{error}; seen: {:#?}", self.frames()),
        }
    }

    /// Ends the capture and returns everything it saw.
    ///
    /// # Errors
    /// tcpdump has ended before.
    pub fn stop(mut self) -> Result<Vec<String>> {
        self.tcpdump.check()?;
        // On SIGINT it prints what it still holds.
        self.tcpdump.signal(Signal::SIGINT)?;
        let ended = || Ok(self.tcpdump.check().is_err().then_some(()));
        wait_for(|| "tcpdump did not end".to_owned(), START_TIMEOUT, ended)?;
        Ok(self.frames())
    }
}
