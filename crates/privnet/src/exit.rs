//! How a command ends: its exit code, and what it says when it fails.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// What each exit code means. Scripts rely on these, and `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something that is none of the others.
    Failure = 1,
    /// A flag, a setting or a value breaks a rule; nothing was changed.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// What was asked does not fit what there is, or a name stands for several things.
    Conflict = 4,
    /// The server cannot be reached or cannot serve now; trying again later may help.
    Unavailable = 5,
    /// The operation was accepted and ended in failure or timeout.
    Operation = 6,
}

/// The exit codes as `--help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure that is none of the following
  2  a flag, a setting or a value breaks a rule; nothing was changed
  3  what was named does not exist
  4  it does not fit what there is, or a name stands for several things
  5  the server cannot be reached, or cannot serve now
  6  the operation was accepted and then failed or timed out";

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    cause: anyhow::Error,
}

impl Failure {
    /// A failure with this exit code.
    pub(crate) fn new(exit: Exit, cause: impl Into<anyhow::Error>) -> Self {
        Self { exit, cause: cause.into() }
    }

    /// A failure that one sentence explains.
    pub(crate) fn say(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, cause: anyhow::anyhow!("{message}") }
    }

    /// The code to exit with.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Tells the user, and gives the code to exit with.
    pub(crate) fn report(self) -> ExitCode {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(std::io::stderr(), "privnet: {self}");
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self { exit: Exit::Failure, cause }
    }
}
