//! The lab: its parts, how they start and how all of them go.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use ureq::http::Method;

use crate::api::{Api, succeeded, text};
use crate::capture::Capture;
use crate::dhcp::{DhcpClient, DhcpClientKind};
use crate::interrupt::wait_for;
use crate::leftovers;
use crate::machine::{Machine, Plug};
use crate::namespace::Namespace;
use crate::pinger::Pinger;
use crate::process::{Daemon, command, run};
use crate::registration::Registration;

/// A server that starts answers within this, and an agent connects within this.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// The underlay's device in a host's namespace.
const UNDERLAY_DEVICE: &str = "under0";

/// The device of a host's namespace by which it reaches the server.
const MANAGEMENT_DEVICE: &str = "mgmt0";

/// Where the server serves the hosts, by TLS.
const SYNC_PORT: u16 = 4443;

/// The underlay's subnet is 192.0.2.0/24 (TEST-NET-1, RFC 5737) or 2001:db8::/64 (RFC 3849), so there is room
/// for so many hosts.
const HOSTS_MAX: u8 = 254;

/// What a lab is to be like.
#[derive(Debug, Clone)]
pub struct LabBuilder {
    hosts: u8,
    underlay_mtu_bytes: u32,
    has_ipv6_underlay: bool,
    binary: Option<PathBuf>,
    server_args: Vec<String>,
    agent_args: Vec<String>,
    log: String,
}

impl LabBuilder {
    /// How many hosts: `h1`, `h2` and so on. Two unless said otherwise.
    pub fn hosts(mut self, count: u8) -> Self {
        self.hosts = count;
        self
    }

    /// The MTU of the hosts' underlay devices, in octets. 1500 unless said otherwise.
    pub fn underlay_mtu(mut self, octets: u32) -> Self {
        self.underlay_mtu_bytes = octets;
        self
    }

    /// Gives the hosts VTEPs of IPv6, and none of IPv4. IPv4 unless said so.
    pub fn ipv6_underlay(mut self) -> Self {
        self.has_ipv6_underlay = true;
        self
    }

    /// The `privnet` binary. Unless said otherwise it is the one beside this process's own.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// More words for `privnet server`.
    pub fn server_args<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.server_args.extend(words.into_iter().map(Into::into));
        self
    }

    /// More words for every `privnet agent`.
    pub fn agent_args<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.agent_args.extend(words.into_iter().map(Into::into));
        self
    }

    /// What server and agents log, as for `--log`. `info` unless said otherwise.
    pub fn log(mut self, filter: impl Into<String>) -> Self {
        self.log = filter.into();
        self
    }

    /// Makes the namespaces, starts the server, has each host join, and returns when the server is
    /// ready and all agents are connected.
    ///
    /// # Errors
    /// Something cannot be made, or does not come up in time; the message quotes the log of what did
    /// not. Nothing is left behind.
    pub fn start(self) -> Result<Lab> {
        let mut lab = self.prepare()?;
        lab.start_server()?;
        for host in 1..=lab.hosts.len() {
            lab.start_agent(host)?;
        }
        lab.wait_for_agents()?;
        Ok(lab)
    }

    /// Makes the namespaces and starts nothing.
    ///
    /// # Errors
    /// Something cannot be made. Nothing is left behind.
    pub fn prepare(self) -> Result<Lab> {
        ensure!((1..=HOSTS_MAX).contains(&self.hosts), "a lab has 1 to {HOSTS_MAX} hosts, not {}", self.hosts);
        let binary = self.binary.clone().map_or_else(binary_beside_own, Ok)?;
        ensure!(binary.is_file(), "{} is not there; build it first (cargo build -p privnet)", binary.display());
        let registration = Registration::new()?;
        let api = Api::new(format!("http://{}", listen_address(&registration.id)), &server_dir(&registration));
        // From here on dropping the lab removes whatever has been made.
        let mut lab = Lab {
            builder: self,
            binary,
            api,
            guard: None,
            underlay: None,
            hosts: Vec::new(),
            instances: 0,
            clients: 0,
            server: None,
            registration,
        };
        lab.start_guard()?;
        lab.make_underlay()?;
        Ok(lab)
    }
}

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

/// One registered instance. Its namespace goes with its lab.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The API's id.
    pub id: String,
    /// The API's name.
    pub name: String,
    /// Its host's number, from 1.
    pub host: usize,
    /// What its ports are plugged into.
    pub namespace: Namespace,
}

impl Lab {
    /// A lab of two hosts, to be changed or started.
    pub fn builder() -> LabBuilder {
        LabBuilder {
            hosts: 2,
            underlay_mtu_bytes: 1500,
            has_ipv6_underlay: false,
            binary: None,
            server_args: Vec::new(),
            agent_args: Vec::new(),
            log: "info".to_owned(),
        }
    }

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

    /// Makes a namespace and registers it as an instance on host `host`, from 1.
    ///
    /// # Errors
    /// The namespace cannot be made, or the API refuses.
    pub fn add_instance(&mut self, name: &str, host: usize) -> Result<Instance> {
        let namespace = self.add_namespace()?;
        self.register_instance(name, host, namespace)
    }

    /// Makes a namespace that is no instance yet.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn add_namespace(&mut self) -> Result<Namespace> {
        self.instances += 1;
        Namespace::create(self.id(), &format!("i{}", self.instances))
    }

    /// Registers a namespace as an instance on host `host`, from 1.
    ///
    /// # Errors
    /// The API refuses.
    pub fn register_instance(&self, name: &str, host: usize, namespace: Namespace) -> Result<Instance> {
        let body = json!({"name": name, "host": self.host(host).name, "kind": "netns", "netns": namespace.name()});
        let created = self.api.request(Method::POST, "/privnet/v1/instances", Some(&body))?.ok()?;
        Ok(Instance { id: text(&created, "id")?, name: name.to_owned(), host, namespace })
    }

    /// Makes a namespace for a guest's kernel and registers a virtual machine on host `host`, from 1, which is off.
    ///
    /// # Errors
    /// The namespace cannot be made, or the API refuses.
    pub fn add_machine(&mut self, name: &str, host: usize) -> Result<Instance> {
        let namespace = self.add_namespace()?;
        let body = json!({"name": name, "host": self.host(host).name, "kind": "tap"});
        let created = self.api.request(Method::POST, "/privnet/v1/instances", Some(&body))?.ok()?;
        Ok(Instance { id: text(&created, "id")?, name: name.to_owned(), host, namespace })
    }

    /// Switches on a virtual machine that is attached to one network. Its guest's device is called net0.
    ///
    /// # Errors
    /// It has no port, or is on.
    pub fn switch_on(&self, machine: &Instance) -> Result<Machine> {
        let all = self.api.get("/privnet/v1/instances")?;
        let placed = all["instances"].as_array().into_iter().flatten().find(|one| one["id"] == *machine.id);
        let placed = placed.with_context(|| format!("instance {} is not there", machine.name))?;
        let (tap, mac) = (text(&placed["ports"][0], "device")?, text(&placed["ports"][0], "mac-address")?);
        let host = &self.host(machine.host).namespace;
        let links = host.links()?;
        let link = links.iter().find(|link| link["ifname"] == *tap).with_context(|| format!("no tap {tap}"))?;
        Machine::on(Plug {
            host,
            tap: &tap,
            guest: &machine.namespace,
            device: "net0",
            mac: &mac,
            mtu_bytes: u32::try_from(link["mtu"].as_u64().context("a device has an MTU")?)?,
            is_multi_queue: placed["multi-queue"] == true,
        })
    }

    /// Has an instance made on host `host`, from 1, or on the one that the server chooses.
    ///
    /// # Errors
    /// The API refuses, or the operation does not succeed.
    pub fn launch_instance(&self, name: &str, host: Option<usize>) -> Result<Instance> {
        let catalogue = |path: &str, list: &str| text(&self.api.get(path)?[list][0], "id");
        let mut body = json!({
            "name": name,
            "instance-type": {"id": catalogue("/v2/instance-type", "instance-types")?},
            "template": {"id": catalogue("/v2/template", "templates")?},
            "disk-size": 10,
        });
        if let Some(host) = host {
            body["labels"] = json!({"privnet/host": self.host(host).name});
        }
        let operation = succeeded(self.api.operate(Method::POST, "/v2/instance", Some(&body))?)?;
        self.made_instance(&text(&operation["reference"], "id")?)
    }

    /// An instance that a host has made, as it is now.
    ///
    /// # Errors
    /// There is none, or its namespace is not there.
    pub fn made_instance(&self, id: &str) -> Result<Instance> {
        let all = self.api.get("/privnet/v1/instances")?;
        let placed = all["instances"].as_array().into_iter().flatten().find(|one| one["id"] == id);
        let placed = placed.with_context(|| format!("instance {id} is not there"))?;
        let host = self.hosts.iter().position(|host| placed["host"] == *host.name).context("its host is there")?;
        let namespace = self.namespace_of(&text(placed, "netns")?)?;
        Ok(Instance { id: id.to_owned(), name: text(placed, "name")?, host: host + 1, namespace })
    }

    /// A namespace that an agent of the lab has made, by its name.
    ///
    /// # Errors
    /// It is not there.
    pub fn namespace_of(&self, netns: &str) -> Result<Namespace> {
        Namespace::made(self.id(), netns)
    }

    /// Starts a DHCP client on an instance's device.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn dhcp_client(&mut self, instance: &Instance, device: &str, kind: DhcpClientKind) -> Result<DhcpClient> {
        self.clients += 1;
        let dir = self.dir().join(format!("dhcp-{}", self.clients));
        DhcpClient::start(kind, &instance.namespace, device, &dir)
    }

    /// Ends a DHCP client and starts it again with what it remembers: dhclient asks for the address
    /// that it had (INIT-REBOOT).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart_dhcp_client(&self, instance: &Instance, client: DhcpClient) -> Result<DhcpClient> {
        client.restart(&instance.namespace)
    }

    /// Watches the frames that match `filter` (pcap-filter(7)) on a device.
    ///
    /// # Errors
    /// tcpdump cannot be started.
    pub fn capture(&mut self, namespace: &Namespace, device: &str, filter: &str) -> Result<Capture> {
        self.clients += 1;
        Capture::start(namespace, device, filter, &self.dir().join(format!("capture-{}.log", self.clients)))
    }

    /// Sends ICMP echo requests from a namespace at a steady pace, from now on.
    ///
    /// # Errors
    /// The first is not answered.
    pub fn pinger(&mut self, namespace: &Namespace, to: impl Into<IpAddr>, interval: Duration) -> Result<Pinger> {
        self.clients += 1;
        Pinger::start(namespace, to.into(), interval, &self.dir().join(format!("ping-{}.log", self.clients)))
    }

    /// Starts a process that goes with the lab.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn daemon(&mut self, what: &str, command: &mut std::process::Command) -> Result<Daemon> {
        self.clients += 1;
        Daemon::start(what, command, &self.dir().join(format!("daemon-{}.log", self.clients)))
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

    fn agent_command(&self, host: usize) -> std::process::Command {
        self.host_command(host, "/dev/null", &["agent"])
    }

    /// What has a host join, and then runs its agent.
    fn join_command(&self, host: usize) -> Result<std::process::Command> {
        let body = json!({"host": self.host(host).name, "rejoin": self.is_known(host)});
        let invitation = self.api.request(Method::POST, "/privnet/v1/host-invitations", Some(&body))?.ok()?;
        let config = self.dir().join(format!("h{host}.toml"));
        // Of an earlier time; the settings are given by flags.
        let _ = fs::remove_file(&config);
        let mut command = self.host_command(host, &config.display().to_string(), &["agent", "join"]);
        command.args(["--fingerprint", &text(&invitation, "fingerprint")?]);
        let token = self.dir().join(format!("h{host}.token"));
        fs::write(&token, text(&invitation, "token")?)?;
        command.stdin(File::open(&token)?);
        fs::remove_file(&token)?;
        Ok(command)
    }

    fn host_command(&self, host: usize, config: &str, words: &[&str]) -> std::process::Command {
        let Host { name, vtep, namespace, pin_dir, state_dir, server_address, .. } = self.host(host);
        let server = format!("https://{}", server_address.unwrap_or(self.sync_address()));
        let mut command = namespace.command(&self.binary.display().to_string());
        command.args(["--config", config, "--log", &self.builder.log]).args(words);
        command.args(["--name", name, "--vtep", &vtep.to_string(), "--server", &server]);
        command.arg("--identity").arg(self.identity(host));
        command.arg("--state").arg(state_dir).arg("--bpf-dir").arg(pin_dir);
        command
    }

    fn identity(&self, host: usize) -> PathBuf {
        self.dir().join(format!("h{host}.pem"))
    }

    /// Whether the agent of a host cannot start as it is: it has not joined, or was removed since.
    fn has_to_join(&self, host: usize) -> bool {
        let is_server_there = || self.api.request(Method::GET, "/readyz", None).is_ok();
        !self.identity(host).exists() || (is_server_there() && !self.is_known(host))
    }

    /// Whether the server has a record of a host.
    fn is_known(&self, host: usize) -> bool {
        let hosts = self.api.get("/privnet/v1/hosts").unwrap_or_default();
        hosts["hosts"].as_array().into_iter().flatten().any(|one| one["name"] == *self.host(host).name)
    }

    fn start_guard(&mut self) -> Result<()> {
        // It must outlive the lab's processes, so it does not carry their mark.
        let mut command = command("", &self.binary);
        command.args(["--config", "/dev/null", "lab", "guard", self.id()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.guard = Some(command.spawn().context("cannot start the lab's guard")?);
        Ok(())
    }

    fn make_underlay(&mut self) -> Result<()> {
        let mtu = self.builder.underlay_mtu_bytes;
        let underlay = Namespace::create(self.id(), "net")?;
        underlay.ip(&format!("link add br0 mtu {mtu} type bridge"))?;
        underlay.ip("link set br0 up")?;
        self.make_management(&underlay)?;
        for number in 1..=self.builder.hosts {
            let host = self.make_host(number)?;
            let (name, netns) = (&host.name, host.namespace.name());
            underlay.ip(&format!(
                "link add {name} mtu {mtu} type veth peer name {UNDERLAY_DEVICE} mtu {mtu} netns {netns}"
            ))?;
            underlay.ip(&format!("link set {name} master br0 up"))?;
            // No time is lost on looking for duplicates (nodad), as there are none.
            let prefix = if host.vtep.is_ipv4() { "24" } else { "64 nodad" };
            host.namespace.ip(&format!("address add {}/{prefix} dev {UNDERLAY_DEVICE}", host.vtep))?;
            host.namespace.ip(&format!("link set {UNDERLAY_DEVICE} up"))?;
            self.join_management(&underlay, &host, number)?;
            self.hosts.push(host);
        }
        self.underlay = Some(underlay);
        Ok(())
    }

    /// A network of its own on which the hosts reach the server, which is on this machine: what is on the underlay is
    /// the hosts' frames alone.
    fn make_management(&self, net: &Namespace) -> Result<()> {
        let device = leftovers::device(self.id());
        net.ip("link add br1 type bridge mcast_snooping 0")?;
        net.ip("link set br1 up")?;
        let peer = ["type", "veth", "peer", "name", "server", "netns", net.name()];
        run(command(self.id(), "ip").args(["link", "add", &device]).args(peer))?;
        net.ip("link set server master br1 up")?;
        // Where new devices have no IPv6, this one has.
        fs::write(format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"), "0")?;
        let address = sync_address(self.id()).ip();
        run(command(self.id(), "ip").args(["address", "add", &format!("{address}/64"), "dev", &device, "nodad"]))?;
        run(command(self.id(), "ip").args(["link", "set", &device, "up"])).map(drop)
    }

    fn join_management(&self, net: &Namespace, host: &Host, number: u8) -> Result<()> {
        let (port, netns) = (format!("m{number}"), host.namespace.name());
        net.ip(&format!("link add {port} type veth peer name {MANAGEMENT_DEVICE} netns {netns}"))?;
        net.ip(&format!("link set {port} master br1 up"))?;
        let address = management_address(self.id(), 0x100 + u16::from(number));
        host.namespace.ip(&format!("address add {address}/64 dev {MANAGEMENT_DEVICE} nodad"))?;
        host.namespace.ip(&format!("link set {MANAGEMENT_DEVICE} up")).map(drop)
    }

    fn make_host(&self, number: u8) -> Result<Host> {
        let name = format!("h{number}");
        let vtep = match self.builder.has_ipv6_underlay {
            false => Ipv4Addr::new(192, 0, 2, number).into(),
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into(),
        };
        let state_dir = self.dir().join(&name);
        fs::create_dir(&state_dir)?;
        Ok(Host {
            vtep,
            namespace: Namespace::create(self.id(), &name)?,
            underlay_device: UNDERLAY_DEVICE,
            pin_dir: leftovers::pin_dir(self.id(), &name),
            state_dir,
            server_address: None,
            agent: None,
            name,
        })
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

/// Each lab's server listens on a loopback address of its own, made of the lab's id, at a port that
/// the kernel gives to nobody on its own: labs do not meet, and a server that is started again finds
/// its port free.
fn listen_address(id: &str) -> String {
    let number = u32::from_str_radix(id, 16).unwrap_or(1);
    let [_, b, c, d] = number.to_be_bytes();
    format!("127.{b}.{c}.{d}:8080")
}

/// An address of a lab's management network: each lab has a subnet of its own (RFC 4193), made of its id.
fn management_address(id: &str, number: u16) -> Ipv6Addr {
    let subnet = u32::from_str_radix(id, 16).unwrap_or(1);
    let [high, low] = [(subnet >> 16) as u16, subnet as u16];
    Ipv6Addr::new(0xfd70, 0x6e6c, high, low, 0, 0, 0, number)
}

/// Where a lab's server serves its hosts.
fn sync_address(id: &str) -> SocketAddr {
    SocketAddr::new(management_address(id, 1).into(), SYNC_PORT)
}

/// `privnet` is built into the folder of this process's binary, or of its tests' parent.
fn binary_beside_own() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this process's binary is")?;
    let dir = own.parent().context("a binary lies in a folder")?;
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.join("privnet"))
}
