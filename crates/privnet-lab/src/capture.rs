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

    /// The frames seen so far, a line each, as tcpdump prints them with link-level headers. One that
    /// carries another, as VXLAN does, has both in its line.
    pub fn frames(&self) -> Vec<String> {
        let mut frames: Vec<String> = Vec::new();
        for line in self.tcpdump.log().lines() {
            let colons_and_dots: String = line.chars().take(9).filter(|c| matches!(c, ':' | '.')).collect();
            match (colons_and_dots.as_str(), frames.last_mut()) {
                // "05:59:04.357129 0a:46:43:37:e7:db > ..."
                ("::.", _) => frames.push(line.to_owned()),
                // The frame inside: "0a:46:43:37:e7:db > ..."
                (":::", Some(frame)) => *frame = format!("{frame}: {line}"),
                _ => {}
            }
        }
        frames
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
