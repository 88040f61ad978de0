//! What this process may do, told before the kernel says it less clearly.

use std::fs;

use anyhow::Context;
use nix::sys::prctl;

use crate::exit::{Exit, Failure};

/// The capabilities that a host's agent needs, with their bits in `/proc/self/status` (capabilities(7)).
/// `CAP_SYS_ADMIN`, needed to enter instances' namespaces, allows eBPF as well.
const NEEDED: [(&str, u64); 2] = [("CAP_NET_ADMIN", 1 << 12), ("CAP_SYS_ADMIN", 1 << 21)];

/// Refuses to go on without what makes devices, loads eBPF programs and reads what these have pinned.
///
/// # Errors
/// A capability is missing; the message names it.
pub(crate) fn require(command: &str) -> Result<(), Failure> {
    const STATUS: &str = "/proc/self/status";
    let status = fs::read_to_string(STATUS).with_context(|| format!("cannot read {STATUS}"))?;
    match missing(&status)[..] {
        [] => Ok(()),
        ref missing => Err(Failure::say(
            Exit::Failure,
            format_args!(
                "{command} works with network devices and eBPF programs: run it as root (missing: {})",
                missing.join(", ")
            ),
        )),
    }
}

/// Has the kernel write no core dump of this process, which has the secrets of all keys in its memory, and let none
/// but root look into it (PR_SET_DUMPABLE(2const)).
///
/// # Errors
/// The kernel refuses.
pub(crate) fn keep_memory_private() -> Result<(), Failure> {
    Ok(prctl::set_dumpable(false).context("cannot keep secrets out of core dumps")?)
}

/// What is needed and not among the effective capabilities.
fn missing(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    NEEDED.iter().filter(|(_, bit)| effective.unwrap_or(0) & bit == 0).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing("Name:\tprivnet\nCapEff:\t000001ffffffffff\n"), Vec::<&str>::new());
        assert_eq!(missing("CapEff:\t0000000000001000\n"), ["CAP_SYS_ADMIN"]);
        assert_eq!(missing("CapEff:\t0000000000000000\n"), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    }

    #[test]
    fn there_is_no_core_dump_of_what_has_secrets() {
        assert!(keep_memory_private().is_ok());
        assert_eq!(prctl::get_dumpable(), Ok(false));
    }
}
