use std::io;
use std::path::Path;
use std::sync::Arc;

use privnet_datapath::{Datapath, DatapathConfig, DumpError, KernelError, OpenError, Opened, default_vtep};
use privnet_model::HostFacts;
use privnet_sync::RunId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::agent::{Agent, Identity};
use crate::client::{Server, keep_connected};
use crate::copies::{Copies, IdleStateDir};
use crate::follow::{Sources, follow};
use crate::identity::{HostIdentity, IdentityError, remove_all};
use crate::leases::Leases;
use crate::renewal::keep_renewed;
use crate::{AgentConfig, ServerAddress, StateDirError, dhcp};

/// Events of the connection that wait for the loop; beyond them the stream's flow control holds the server up.
const EVENTS_MAX: usize = 64;

/// Reports of declined addresses that wait for the loop; what is more is in the log alone.
const DECLINE_REPORTS_MAX: usize = 64;

/// The agent cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its state folder cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// It cannot prove who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The host does not say which of its addresses the other hosts know.
    #[error("cannot choose the VTEP's address")]
    DefaultVtep(#[source] OpenError),
    /// The data plane cannot be set up.
    #[error("cannot set up the data plane")]
    Open(#[source] OpenError),
    /// What the kernel has cannot be read.
    #[error("cannot start from what the kernel has")]
    Dump(#[source] DumpError),
    /// DHCP requests cannot be read.
    #[error("cannot read DHCP requests")]
    DhcpRequests(#[source] io::Error),
    /// The data plane cannot be removed.
    #[error("cannot remove the data plane")]
    Purge(#[source] KernelError),
}

/// Makes this host carry what the server wants, until `shutdown`; what is plugged in then goes on without
/// the agent.
///
/// It starts from its own copy: what the kernel has is brought to that first, so that a host whose server is
/// away has its ports back, and the server is asked for the rest. `started` is called once nothing of the above can
/// be in the way any more: the state folder, the VTEP's address and the data plane are there.
///
/// # Errors
/// [`AgentError`], in the order of its variants but for the last.
pub async fn run(
    config: AgentConfig,
    started: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let (copies, found, saved) = Copies::open(&config.state_dir)?;
    let mut renewing = JoinSet::new();
    let server = match &config.server {
        ServerAddress::Unix(path) => Server::Socket(path.clone()),
        ServerAddress::Remote(address) => {
            let identity = HostIdentity::of(&config.host, &config.identity_file)?;
            let (renewed, identity) = watch::channel(identity);
            renewing.spawn(keep_renewed(address.clone(), config.identity_file.clone(), renewed));
            Server::Remote(address.clone(), identity)
        }
    };
    let vtep = match config.vtep {
        Some(vtep) => vtep,
        None => default_vtep().map_err(AgentError::DefaultVtep)?,
    };
    let datapath = DatapathConfig {
        vtep,
        vxlan_port: config.vxlan_port,
        pin_dir: config.pin_dir,
        bum_copies_per_second: config.bum_copies_per_second,
    };
    let Opened { datapath, dhcp_requests, sender, declines: counter, link_events, underlay_mtu_bytes } =
        Datapath::open(&datapath).map_err(AgentError::Open)?;
    info!(host = %config.host, %vtep, underlay_mtu_bytes, server = %config.server, "agent starts");
    started();

    let facts = HostFacts { vtep, underlay_mtu_bytes, version: env!("CARGO_PKG_VERSION").to_owned() };
    let identity = Identity { host: config.host, facts, run: RunId(rand::random()) };
    let leases = Arc::new(Leases::default());
    let agent = Agent::new(identity, datapath, copies, found, Arc::clone(&leases));
    let (events, heard) = mpsc::channel(EVENTS_MAX);
    let (reports, declines) = mpsc::channel(DECLINE_REPORTS_MAX);
    let sources = Sources { server: heard, saved, link_events, declines };

    // A task of its own, so that no client waits for a pass; it ends with this function.
    let mut answering = JoinSet::new();
    answering.spawn(dhcp::serve(dhcp_requests, sender, leases, counter, reports));
    tokio::select! {
        ended = follow(agent, sources, shutdown) => ended.map_err(AgentError::Dump),
        () = keep_connected(server, events) => unreachable!("the loop receives its events"),
        Some(ended) = answering.join_next() => Err(AgentError::DhcpRequests(ended.unwrap_or_else(io::Error::from))),
    }
}

/// Takes everything of ours off this host, and nothing else: devices, pins, the own copy and who it is. Returns what
/// was there, for people.
///
/// # Errors
/// [`StateDirError::Locked`] while an agent runs, and nothing is removed then; [`AgentError::Purge`],
/// [`StateDirError::Io`] and [`AgentError::Identity`] when something cannot be removed.
pub fn purge(pin_dir: &Path, state_dir: &Path, identity_file: &Path) -> Result<Vec<String>, AgentError> {
    let state = IdleStateDir::take(state_dir)?;
    let mut removed = privnet_datapath::purge(pin_dir).map_err(AgentError::Purge)?;
    let networks = state.remove()?;
    if networks > 0 {
        removed.push(format!("own copy of what is wanted in {} ({networks} networks)", state_dir.display()));
    }
    if remove_all(identity_file)? {
        removed.push(format!(
            "who this host is, {}: to join again it needs a new invitation (privnet host invite NAME --rejoin)",
            identity_file.display()
        ));
    }
    Ok(removed)
}
