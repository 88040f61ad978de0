//! How many files this process may have open: each connection is one.

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::exit::Failure;

/// What a server has open beside its connections, generously.
const OTHERS: u64 = 256;

/// Takes as many as this process is allowed: the usual soft limit, 1,024, is there for programs that use
/// select(2) (getrlimit(2)).
pub(crate) fn allow(connections: usize) -> Result<(), Failure> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit on open files")?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit on open files")?;
    }
    if hard < connections as u64 + OTHERS {
        warn!(open_files_max = hard, connections_max = connections, "there are fewer files than connections may need");
    }
    Ok(())
}
