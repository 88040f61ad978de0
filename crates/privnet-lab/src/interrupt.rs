use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT, SIGTERM and SIGHUP end no more than the step at hand: whatever waits in this
/// crate returns an error, and the lab's own removal is not disturbed, however often the user insists.
///
/// # Errors
/// The handlers cannot be set.
pub fn catch_interrupts() -> Result<()> {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot catch {signal}"))?;
    }
    Ok(())
}

/// Returns when an interrupt has been caught, see [`catch_interrupts`].
pub fn wait_for_interrupt() {
    const PAUSE: Duration = Duration::from_millis(100);
    while check_interrupts().is_ok() {
        std::thread::sleep(PAUSE);
    }
}

/// Fails once an interrupt has been caught: for work between waits that takes long.
///
/// # Errors
/// One has been caught.
pub fn check_interrupts() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Asks again and again until there is an answer; `what` says what did not come in time.
pub(crate) fn wait_for<T>(
    what: impl Fn() -> String,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    // Most of what is waited for is a command that takes a millisecond or two.
    const PAUSE_FIRST: Duration = Duration::from_micros(200);
    const PAUSE_MAX: Duration = Duration::from_millis(5);
    let started = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        check_interrupts()?;
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if started.elapsed() > limit {
            bail!("{} within {} s", what(), limit.as_secs());
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(PAUSE_MAX);
    }
}
