//! Network namespaces by name, as `ip netns` makes them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::frame;
use crate::interrupt::wait_for;
use crate::machine::VNET_HEADER_OCTETS;
use crate::process::{self, command, run};

/// Where `ip netns` keeps them.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// A peer that is there answers well within this.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// One network namespace of a lab. It is removed with its lab.
#[derive(Debug, Clone)]
pub struct Namespace {
    lab: String,
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Makes the namespace `pnlab-LAB-LABEL`, with its loopback device up.
    pub(crate) fn create(lab: &str, label: &str) -> Result<Self> {
        let name = Self::name_of(lab, label);
        run(command(lab, "ip").args(["netns", "add", &name]))?;
        let path = format!("{NETNS_DIR}/{name}");
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        let namespace = Self { lab: lab.to_owned(), name, file: Arc::new(file) };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// One that an agent of the lab has made. It goes with its instance, or with the lab.
    pub(crate) fn made(lab: &str, name: &str) -> Result<Self> {
        let path = format!("{NETNS_DIR}/{name}");
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self { lab: lab.to_owned(), name: name.to_owned(), file: Arc::new(file) })
    }

    /// What [`create`](Self::create) calls it.
    pub(crate) fn name_of(lab: &str, label: &str) -> String {
        format!("pnlab-{lab}-{label}")
    }

    /// Removes it. Its devices go when nobody uses it any more, clones of this among others.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn remove(self) -> Result<()> {
        let Self { lab, name, file } = self;
        drop(file);
        run(command(&lab, "ip").args(["netns", "delete", &name])).map(drop)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(&self.lab, program);
        let file = Arc::clone(&self.file);
        // SAFETY: between fork and exec only setns(2) is called, which is async-signal-safe.
        unsafe { command.pre_exec(move || Ok(setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?)) };
        command
    }

    /// Runs a command in it that must succeed, and returns what it printed.
    ///
    /// # Errors
    /// It cannot be started or does not succeed; the message has what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments)).with_context(|| format!("in namespace {}", self.name))
    }

    /// Runs `ip` with these words in it.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn ip(&self, words: &str) -> Result<String> {
        self.run("ip", &words.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `work` on a thread of its own in it. Sockets that it makes stay in the namespace, wherever
    /// they are used.
    ///
    /// # Errors
    /// The namespace cannot be entered, or those of `work`.
    ///
    /// # Panics
    /// `work` does.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let entered = || {
            let entered = setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET);
            entered.with_context(|| format!("cannot enter namespace {}", self.name))?;
            work()
        };
        let ended = std::thread::scope(|scope| scope.spawn(entered).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Sends one Ethernet frame by a device in it, as it is.
    ///
    /// # Errors
    /// There is no such device, or the kernel refuses the frame.
    pub fn send_frame(&self, device: &str, frame: &[u8]) -> Result<()> {
        self.send_frames(device, [frame])
    }

    /// Sends Ethernet frames by a device in it, one after the other, until there are no more.
    ///
    /// # Errors
    /// As [`send_frame`](Self::send_frame).
    pub fn send_frames<F: AsRef<[u8]>>(&self, device: &str, frames: impl IntoIterator<Item = F> + Send) -> Result<()> {
        self.within(|| frame::send(device, frames)).with_context(|| format!("cannot send a frame by {device}"))
    }

    /// Sends one Ethernet frame by a device in it, of which the kernel is told by a header in front of it what is left
    /// to do (packet(7), PACKET_VNET_HDR).
    ///
    /// # Errors
    /// As [`send_frame`](Self::send_frame).
    pub fn send_unfinished_frame(&self, device: &str, header: [u8; VNET_HEADER_OCTETS], frame: &[u8]) -> Result<()> {
        let sent = self.within(|| frame::send_unfinished(device, &[&header[..], frame].concat()));
        sent.with_context(|| format!("cannot send a frame by {device}"))
    }

    /// Has a device leave checksums to the kernel, as one that cannot write any.
    ///
    /// # Errors
    /// There is no such device.
    pub fn without_tx_checksum(&self, device: &str) -> Result<()> {
        self.within(|| frame::leave_checksums_to_kernel(device))
            .with_context(|| format!("cannot have {device} leave checksums to the kernel"))
    }

    /// Its devices, as `ip -details -json link` describes them.
    ///
    /// # Errors
    /// `ip` cannot be run.
    pub fn links(&self) -> Result<Vec<Value>> {
        let text = self.ip("-details -json link show")?;
        serde_json::from_str(&text).with_context(|| format!("ip printed no list: {text}"))
    }

    /// The IPv4 addresses of a device in it; none if there is no such device.
    ///
    /// # Errors
    /// `ip` cannot be run.
    pub fn addresses(&self, device: &str) -> Result<Vec<Ipv4Addr>> {
        let output = process::output(self.command("ip").args(["-o", "-4", "address", "show", "dev", device]))?;
        let address = |line: &str| line.split_whitespace().nth(3)?.split('/').next()?.parse().ok();
        Ok(output.stdout.lines().filter_map(address).collect())
    }

    /// Whether it has a device of this name.
    ///
    /// # Errors
    /// `ip` cannot be run.
    pub fn has_device(&self, device: &str) -> Result<bool> {
        Ok(process::output(self.command("ip").args(["link", "show", "dev", device]))?.status.success())
    }

    /// Sends `count` ICMP echo requests, 100 ms apart, and returns how many were answered.
    ///
    /// # Errors
    /// `ping` cannot be run.
    pub fn ping(&self, to: impl Into<IpAddr>, count: u32) -> Result<u32> {
        self.ping_with(to.into(), count, &[])
    }

    /// Whether one ICMP echo request of this total IP packet size, not to be fragmented, is answered.
    ///
    /// # Errors
    /// `ping` cannot be run.
    pub fn ping_sized(&self, to: Ipv4Addr, packet_bytes: u32) -> Result<bool> {
        const HEADERS_BYTES: u32 = 20 + 8;
        let payload_bytes = packet_bytes.saturating_sub(HEADERS_BYTES).to_string();
        Ok(self.ping_with(to.into(), 1, &["-M", "do", "-s", &payload_bytes])? == 1)
    }

    /// Whether an echo request is answered soon; asks again until then.
    ///
    /// # Errors
    /// `ping` cannot be run.
    pub fn reaches(&self, to: impl Into<IpAddr>) -> Result<bool> {
        let to = to.into();
        let answered = |count: u32| (count > 0).then_some(());
        let reached = wait_for(|| format!("no answer from {to}"), REACH_TIMEOUT, || Ok(answered(self.ping(to, 1)?)));
        crate::interrupt::check_interrupts()?;
        Ok(reached.is_ok())
    }

    fn ping_with(&self, to: IpAddr, count: u32, more: &[&str]) -> Result<u32> {
        let (to, count) = (to.to_string(), count.to_string());
        let mut command = self.command("ping");
        command.args(["-n", "-q", "-i", "0.1", "-W", "1", "-c", &count]).args(more).arg(to);
        let output = process::output(&mut command)?;
        // "3 packets transmitted, 2 received, 33% packet loss, time 204ms"
        let received = output.stdout.lines().find_map(|line| {
            let before = line.split(" received").next().filter(|before| before.len() < line.len())?;
            before.split_whitespace().next_back()?.parse().ok()
        });
        // Without a summary nothing was sent: no route, or no such device.
        Ok(received.unwrap_or(0))
    }
}
