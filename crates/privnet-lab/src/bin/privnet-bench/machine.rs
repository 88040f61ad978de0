//! Where and when it was measured.

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// This machine, now.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    date: String,
    cpu: String,
    cores: usize,
    kernel: String,
    /// Processes that ran or wanted to, over the last minute.
    load: String,
}

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = Command::new("date").args(["-u", "+%F"]).output().context("cannot run date")?;
        ensure!(date.status.success(), "date failed");
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            date: String::from_utf8(date.stdout)?.trim().to_owned(),
            cpu: model.map_or("unknown CPU", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, cpu, cores, kernel, load } = self;
        write!(f, "{date} by `make bench`: {cpu}, {cores} cores, kernel {kernel}. Load before the start: {load}.")
    }
}

/// The resident memory of a process (VmRSS in proc_pid_status(5)).
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib / 1024.0)
}
