use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::interrupt::wait_for;
use crate::namespace::Namespace;
use crate::process::Daemon;

/// Answers come within this, if they come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends ICMP echo requests at a steady pace until it is stopped.
#[derive(Debug)]
pub struct Pinger {
    ping: Daemon,
}

impl Pinger {
    /// Starts to send, and returns when the first request was answered.
    pub(crate) fn start(namespace: &Namespace, to: IpAddr, interval: Duration, log: &Path) -> Result<Self> {
        let mut command = namespace.command("ping");
        command.args(["-n", "-i", &interval.as_secs_f64().to_string()]).arg(to.to_string());
        let mut pinger = Self { ping: Daemon::start(format!("ping in {}", namespace.name()), &mut command, log)? };
        pinger.wait_for_answers(1)?;
        Ok(pinger)
    }

    /// Waits until `count` more requests were answered.
    ///
    /// # Errors
    /// They are not, in time.
    pub fn wait_for_answers(&mut self, count: usize) -> Result<()> {
        let before = self.answered().len();
        wait_for(
            || format!("no {count} more pings were answered"),
            ANSWER_TIMEOUT,
            || {
                self.ping.check()?;
                Ok((self.answered().len() >= before + count).then_some(()))
            },
        )
    }

    /// Stops and returns how many requests were answered.
    ///
    /// # Errors
    /// One was not, or answered twice: the message has their numbers. The requests at the very end,
    /// whose answers may be on their way, do not count.
    pub fn stop(mut self) -> Result<usize> {
        self.ping.check()?;
        self.ping.signal(Signal::SIGINT)?;
        let ended = || Ok(self.ping.check().is_err().then_some(()));
        wait_for(|| "ping did not end".to_owned(), ANSWER_TIMEOUT, ended)?;
        let answered = self.answered();
        let last = answered.last().copied().unwrap_or(0);
        let lost: Vec<_> = (1..=last).filter(|number| !answered.contains(number)).collect();
        if !lost.is_empty() {
            bail!("of {last} pings, {} were lost: {lost:?}", lost.len());
        }
        if self.ping.log().contains("(DUP!)") {
            bail!("some pings were answered twice");
        }
        Ok(answered.len())
    }

    /// The numbers of the requests that were answered.
    fn answered(&self) -> BTreeSet<u64> {
        // "64 bytes from 10.0.0.7: icmp_seq=1 ttl=64 time=0.1 ms"; the sequence number has 16 bits.
        let sequence = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse::<u64>().ok();
        let log = self.ping.log();
        let answers = log.lines().filter(|line| line.contains(" ttl=")).filter_map(sequence);
        let mut round = 0;
        let mut before = 0;
        let number = |sequence: u64| {
            if sequence + (1 << 15) < before {
                round += 1;
            }
            before = sequence;
            (round << 16) + sequence
        };
        answers.map(number).collect()
    }
}
