//! A host with a kernel in memory, whose agent is started and stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use privnet_datapath::Simulated;
use privnet_model::{HostFacts, HostName, NetworkState};
use privnet_sync::{FromAgent, RunId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::server::{Connection, FakeServer, in_time};
use super::values::{by_vni, id, vtep};
use crate::agent::{Agent, Identity};
use crate::client::{Server, keep_connected};
use crate::copies::Copies;
use crate::declines::DeclineReport;
use crate::follow::{Sources, follow};
use crate::leases::Leases;

/// A host whose kernel and state folder outlive its agent.
pub(super) struct Host {
    /// Shared with the agent, which writes to it until its last moment.
    pub(super) dir: Arc<tempfile::TempDir>,
    pub(super) kernel: Simulated,
    pub(super) server: FakeServer,
    pub(super) leases: Arc<Leases>,
    pub(super) agent: Option<RunningAgent>,
}

pub(super) struct RunningAgent {
    shutdown: oneshot::Sender<()>,
    link_events: mpsc::Sender<()>,
    pub(super) reports: mpsc::Sender<DeclineReport>,
    running: JoinHandle<()>,
    connecting: JoinHandle<()>,
}

impl Host {
    pub(super) fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("temporary folder"));
        let server = FakeServer::listen(&socket_in(dir.path()));
        Self { dir, kernel: Simulated::new(), server, leases: Arc::default(), agent: None }
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket_in(self.dir.path())
    }

    pub(super) fn copy_of(&self, number: u8) -> PathBuf {
        self.dir.path().join("state/networks").join(id(number).to_string())
    }

    /// Starts an agent and welcomes it.
    pub(super) async fn start(&mut self) -> (Connection, privnet_sync::Hello) {
        self.start_alone();
        self.server.welcome().await
    }

    pub(super) fn start_alone(&mut self) {
        let (copies, found, saved) = Copies::open(&self.dir.path().join("state")).expect("state folder");
        let agent = Agent::new(identity(), self.kernel.clone(), copies, found, Arc::clone(&self.leases));
        let (events, server) = mpsc::channel(16);
        let (link_events, links) = mpsc::channel(16);
        let (shutdown, stopped) = oneshot::channel::<()>();
        let (reports, declines) = mpsc::channel(1);
        let sources = Sources { server, saved, link_events: ReceiverStream::new(links), declines };
        let dir = Arc::clone(&self.dir);
        let running = tokio::spawn(async move {
            // Dropped after the agent.
            let _dir = dir;
            let stopped = async { drop(stopped.await) };
            follow(agent, sources, stopped).await.expect("starts");
        });
        let connecting = tokio::spawn(keep_connected(Server::Socket(self.socket()), events));
        self.agent = Some(RunningAgent { shutdown, link_events, reports, running, connecting });
    }

    pub(super) async fn stop(&mut self) {
        let agent = self.agent.take().expect("running");
        drop(agent.shutdown);
        agent.running.await.expect("no panic");
        agent.connecting.abort();
    }

    pub(super) fn link_event(&self) {
        let agent = self.agent.as_ref().expect("running");
        agent.link_events.try_send(()).expect("room");
    }

    /// The kernel holds exactly what these states want.
    pub(super) fn carries(&self, states: &[&NetworkState]) {
        assert_eq!(self.kernel.held().networks, by_vni(states));
    }

    pub(super) async fn until_carries(&self, states: &[&NetworkState]) {
        let wanted = by_vni(states);
        in_time(self.kernel.until(|held| held.networks == wanted)).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            agent.running.abort();
            agent.connecting.abort();
        }
    }
}

/// Hears messages until these have all come, in whatever order; no others may come between.
pub(super) async fn hear_all(connection: &mut Connection, expected: &[FromAgent]) {
    let mut missing = expected.to_vec();
    while !missing.is_empty() {
        let heard = connection.hear().await;
        match missing.iter().position(|message| *message == heard) {
            Some(at) => drop(missing.remove(at)),
            // What is applied may be told before the last change of it has arrived.
            None => assert!(matches!(heard, FromAgent::Applied { .. }), "{heard:?}"),
        }
    }
}

/// Has the agent compare all that the kernel has.
pub(super) async fn read_all(agent: &mut Agent<Simulated>) {
    while !agent.verify().await.expect("read") {}
}

pub(super) fn identity() -> Identity {
    let facts = HostFacts { vtep: vtep(1), underlay_mtu_bytes: 1500, version: "0".to_owned() };
    Identity { host: HostName::try_from("h1").expect("valid"), facts, run: RunId([7; 16]) }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("server.sock")
}
