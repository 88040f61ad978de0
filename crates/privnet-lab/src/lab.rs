//! The lab: its parts, how they start and how all of them go.

mod builder;
mod instances;
mod joining;
mod processes;
mod wires;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::http::Method;

pub use self::builder::LabBuilder;
pub use self::instances::Instance;
use self::wires::{listen_address, sync_address};
use crate::api::Api;
use crate::interrupt::wait_for;
use crate::leftovers;
use crate::namespace::Namespace;
use crate::process::{Daemon, command, run};
use crate::registration::Registration;

/// A server that starts answers within this, and an agent connects within this.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A server and hosts, all on this machine. Dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    builder: LabBuilder,
    binary: PathBuf,
    api: Api,
    guard: Option<Child>,
    underlay: Option<Namespace>,
    hosts: Vec<Host>,
    instances: usize,
    clients: usize,
    server: Option<Daemon>,
    registration: Registration,
}

/// One host of a lab.
#[derive(Debug)]
pub struct Host {
    /// `h1`, `h2` and so on.
    pub name: String,
    /// Its underlay address.
    pub vtep: IpAddr,
    /// Where its agent runs and its devices are.
    pub namespace: Namespace,
    /// Its underlay device in that namespace.
    pub underlay_device: &'static str,
    /// Where its agent pins eBPF objects.
    pub pin_dir: PathBuf,
    /// Where its agent keeps its copy of what is wanted.
    pub state_dir: PathBuf,
    /// Where it finds the server, if not where the server is.
    server_address: Option<SocketAddr>,
    agent: Option<Daemon>,
}

impl Host {
    /// Its agent's process.
    pub fn agent(&self) -> Option<&Daemon> {
        self.agent.as_ref()
    }
}

impl Lab {
    /// Six hexadecimal digits. Everything of the lab is named after it.
    pub fn id(&self) -> &str {
        &self.registration.id
    }

    /// The `privnet` binary that it drives.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The server's HTTP API. Its address stays the same when the server is started again.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The lab's folder, for files that shall go with it.
    pub fn dir(&self) -> &Path {
        &self.registration.data_dir
    }

    /// The lab's folder of the registry.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.registration.run_dir
    }

    /// Where the server serves agents. Short, as a Unix socket's path has 107 octets at most (unix(7)).
    pub fn sync_socket(&self) -> PathBuf {
        self.run_dir().join("sync.sock")
    }

    /// Where the server serves hosts, by TLS.
    pub(crate) fn sync_address(&self) -> SocketAddr {
        sync_address(self.id())
    }

    /// From its next start the agent of host `host`, from 1, finds the server at this address.
    pub(crate) fn connect_by(&mut self, host: usize, address: SocketAddr) {
        self.hosts[host - 1].server_address = Some(address);
    }

    /// Where the server keeps what must survive.
    pub fn server_dir(&self) -> PathBuf {
        server_dir(&self.registration)
    }

    /// The hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Host number `number`, from 1.
    ///
    /// # Panics
    /// The lab has no such host.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// The namespace whose bridge `br0` joins the hosts. The port to host `h1` is called `h1`.
    pub fn underlay(&self) -> Option<&Namespace> {
        self.underlay.as_ref()
    }

    /// The server's process, while it runs.
    pub fn server(&self) -> Option<&Daemon> {
        self.server.as_ref()
    }

    pub(crate) fn server_mut(&mut self) -> Option<&mut Daemon> {
        self.server.as_mut()
    }

    pub(crate) fn agent_mut(&mut self, host: usize) -> Option<&mut Daemon> {
        self.hosts[host - 1].agent.as_mut()
    }

    /// Runs the `privnet` command against the lab's server, and returns what it printed.
    ///
    /// # Errors
    /// It does not succeed; the message has what it printed.
    pub fn privnet(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.privnet_command("warn");
        command.env("PRIVNET_DATA", self.server_dir()).args(["--api-url", self.api.url()]);
        run(command.args(arguments))
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time; the message quotes its log.
    pub fn start_server(&mut self) -> Result<()> {
        self.spawn_server()?;
        self.wait_for_server()?;
        // Whoever has a lab may fill it.
        self.api.lift_quotas()
    }

    /// Waits until the server that was started is ready.
    pub(crate) fn wait_for_server(&mut self) -> Result<()> {
        let (server, api) = (self.server.as_mut().context("no server was started")?, &self.api);
        let ready = wait_for(
            || "the server is not ready".to_owned(),
            READY_TIMEOUT,
            || {
                server.check()?;
                let ready = api.request(Method::GET, "/readyz", None).is_ok_and(|reply| reply.status == 200);
                Ok(ready.then_some(()))
            },
        );
        ready.map_err(|error| server.explain(error))
    }

    /// Starts the server and does not wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn_server(&mut self) -> Result<()> {
        let mut command = self.privnet_command(&self.builder.log);
        command.args(["server", "--listen", &listen_address(self.id())]);
        command.arg("--data").arg(self.server_dir()).arg("--sync-socket").arg(self.sync_socket());
        command.args(["--sync-listen", &self.sync_address().to_string()]);
        command.args(&self.builder.server_args);
        self.server = Some(Daemon::start("the server", &mut command, &self.dir().join("server.log"))?);
        Ok(())
    }

    /// Asks the server to stop and waits until it has.
    ///
    /// # Errors
    /// It does not stop in time, or fails.
    pub fn stop_server(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), Daemon::stop)
    }

    /// Kills the server (`kill -9`).
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// Starts the agent of host `host`, from 1, and does not wait. A host that the server does not know joins first.
    ///
    /// # Errors
    /// It cannot be started, or the server is not there to invite it.
    pub fn start_agent(&mut self, host: usize) -> Result<()> {
        if self.has_to_join(host) { self.join(host) } else { self.run_agent(host) }
    }

    /// Has a host join, whoever it was before, with an invitation that the server makes; then it runs its agent. Does
    /// not wait.
    ///
    /// # Errors
    /// It cannot be started, or the server is not there to invite it.
    pub(crate) fn join(&mut self, host: usize) -> Result<()> {
        let command = self.join_command(host)?;
        self.run_on(host, command)
    }

    /// Starts the agent of a host as it is. One that has not joined, or was removed since, ends or is refused.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn run_agent(&mut self, host: usize) -> Result<()> {
        let command = self.agent_command(host);
        self.run_on(host, command)
    }

    fn run_on(&mut self, host: usize, mut command: std::process::Command) -> Result<()> {
        let log = self.dir().join(format!("h{host}.log"));
        command.args(&self.builder.agent_args);
        self.hosts[host - 1].agent = Some(Daemon::start(format!("the agent of h{host}"), &mut command, &log)?);
        Ok(())
    }

    /// Asks the agent of a host to stop and waits until it has.
    ///
    /// # Errors
    /// It does not stop in time, or fails.
    pub fn stop_agent(&mut self, host: usize) -> Result<()> {
        self.hosts[host - 1].agent.take().map_or(Ok(()), Daemon::stop)
    }

    /// Kills the agent of a host (`kill -9`).
    pub fn kill_agent(&mut self, host: usize) {
        self.hosts[host - 1].agent = None;
    }

    /// Runs `privnet agent --purge` on a host.
    ///
    /// # Errors
    /// It does not succeed.
    pub fn purge(&self, host: usize) -> Result<String> {
        run(self.agent_command(host).arg("--purge"))
    }

    /// Waits until the server says that the agents of all hosts that run one are connected.
    ///
    /// # Errors
    /// One ends, or is not connected in time; the message quotes its log.
    pub fn wait_for_agents(&mut self) -> Result<()> {
        let api = self.api.clone();
        for host in self.hosts.iter_mut() {
            let Some(agent) = host.agent.as_mut() else { continue };
            let connected = wait_for(
                || format!("{} is not connected", host.name),
                READY_TIMEOUT,
                || {
                    agent.check()?;
                    let all = api.get("/privnet/v1/hosts")?;
                    let own = all["hosts"].as_array().into_iter().flatten().find(|one| one["name"] == *host.name);
                    Ok(own.filter(|one| one["connected"] == true).map(drop))
                },
            );
            connected.map_err(|error| agent.explain(error))?;
        }
        Ok(())
    }

    /// The ends of all logs, for error messages.
    pub fn log_tails(&self) -> String {
        let agents = self.hosts.iter().filter_map(Host::agent);
        self.server.iter().chain(agents).map(Daemon::log_tail).collect::<Vec<_>>().join("\n\n")
    }

    /// Removes everything, as dropping does, and says what could not be.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(mut self) -> Result<()> {
        self.remove_all()
    }

    fn privnet_command(&self, log: &str) -> std::process::Command {
        let mut command = command(self.id(), &self.binary);
        command.args(["--config", "/dev/null", "--log", log]);
        command
    }

    fn start_guard(&mut self) -> Result<()> {
        // It must outlive the lab's processes, so it does not carry their mark.
        let mut command = command("", &self.binary);
        command.args(["--config", "/dev/null", "lab", "guard", self.id()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.guard = Some(command.spawn().context("cannot start the lab's guard")?);
        Ok(())
    }

    fn remove_all(&mut self) -> Result<()> {
        self.server = None;
        for host in &mut self.hosts {
            host.agent = None;
        }
        let removed = leftovers::remove(self.id());
        // When something could not be removed, the guard tries again after this process.
        if let (Ok(()), Some(mut guard)) = (&removed, self.guard.take()) {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        removed
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nobody can be told; the guard tries again when this process has ended.
        let _ = self.remove_all();
    }
}

fn server_dir(registration: &Registration) -> PathBuf {
    registration.data_dir.join("server")
}
