//! Commands that stay: server, agent, both, and the lab. Their flags are read through the settings,
//! so here they only say what may be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::limits::LimitArgs;

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the API answers; without TLS a loopback address
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Serve the API by TLS with this certificate, and those above it, in PEM; read again at SIGHUP
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tls_self_signed", "allow_plain_http"])]
    tls_cert: Option<String>,
    /// The private key of the certificate, in PEM and not encrypted
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tls_self_signed", "allow_plain_http"])]
    tls_key: Option<String>,
    /// Serve the API by TLS with a certificate that signs itself, made at the first start: for a first try
    #[arg(long, conflicts_with = "allow_plain_http")]
    pub(crate) tls_self_signed: bool,
    /// Serve plain HTTP on other addresses than loopback, too: where something in front of it encrypts
    #[arg(long)]
    pub(crate) allow_plain_http: bool,
    /// The folder for everything that must survive
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// The file of instance types and templates, read again at SIGHUP; `privnet catalogue` prints one to start from
    #[arg(long, value_name = "FILE")]
    catalogue: Option<String>,
    /// The zone's name in the API
    #[arg(long)]
    zone: Option<String>,
    /// The URL at which clients reach the API, told by list-zones
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// How long an answer waits for the hosts before it says "pending"
    #[arg(long, value_name = "DURATION")]
    operation_hold: Option<String>,
    /// How long after its expiry a signature is still taken, for clients whose clocks are behind
    #[arg(long, value_name = "DURATION")]
    auth_leeway: Option<String>,
    /// Take every request for an operator's, signed or not: for trying things out, on loopback only
    #[arg(long)]
    pub(crate) insecure_no_auth: bool,
    /// The Unix socket for agents
    #[arg(long, value_name = "PATH")]
    sync_socket: Option<String>,
    /// Where hosts that have joined reach the server, by TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    sync_listen: Option<String>,
    /// The URL at which hosts reach that, told by invitations: https://NAME:PORT
    #[arg(long, value_name = "URL")]
    sync_url: Option<String>,
    /// How long the certificates of hosts and server are good; they are renewed by themselves
    #[arg(long, value_name = "DURATION")]
    certificate_lifetime: Option<String>,
    /// For how many days the audit log is kept
    #[arg(long, value_name = "DAYS")]
    audit_days: Option<String>,
    /// How many events the audit log has at most; the oldest go
    #[arg(long, value_name = "COUNT")]
    audit_events_max: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Args)]
struct HostArgs {
    /// This host's name, unique in the zone
    #[arg(long)]
    name: Option<String>,
    /// This host's underlay address, to which other hosts send VXLAN
    #[arg(long, value_name = "ADDRESS")]
    vtep: Option<String>,
    /// The file with this host's key and certificate, for a server by TLS
    #[arg(long, value_name = "FILE")]
    identity: Option<String>,
    /// The folder for the agent's copy of what is wanted
    #[arg(long, value_name = "DIR")]
    state: Option<String>,
    /// The folder for eBPF pins, in the BPF file system
    #[arg(long, value_name = "DIR")]
    bpf_dir: Option<String>,
    /// The UDP port of VXLAN, the same on all hosts
    #[arg(long, value_name = "PORT")]
    vxlan_port: Option<String>,
    /// How many copies of broadcast and multicast frames one port may cause in a second; 0: any number
    #[arg(long, value_name = "COPIES")]
    bum_copies_per_second: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AgentCommand>,
    #[command(flatten)]
    host: HostArgs,
    /// Where the server serves agents: unix:///PATH, or https://NAME:PORT where this host has joined
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    /// Remove all of privnet's devices, eBPF pins and state from this host, with who it is, and exit
    #[arg(long)]
    pub(crate) purge: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make this machine a host that was invited, and run its agent
    ///
    /// The token of the invitation is read from standard input; a person is asked for it. It is no flag, as every user
    /// of this machine sees those of all processes.
    ///
    /// The server is known by the fingerprint of its authority before the token is sent to it. The key is made here and
    /// stays here. Settings that are given are written to the configuration file (--config, else
    /// /etc/privnet/privnet.toml), so that `privnet agent` finds them; nothing that is in it is changed. If the command
    /// ends early, run it again.
    #[command(after_help = "\
`privnet host invite NAME`, where the server runs, prints the whole command.

Examples:
  echo pnj-... | privnet agent join --server https://192.0.2.1:4443 --name h1 --fingerprint 5d0c...
  privnet agent join --server https://192.0.2.1:4443 --name h1 --fingerprint 5d0c... --token-file token")]
    Join(Box<JoinArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    host: HostArgs,
    /// Where hosts reach the server
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The SHA-256 of the certificate of the server's authority
    #[arg(long, value_name = "SHA256")]
    pub(crate) fingerprint: privnet_agent::Fingerprint,
    /// The file whose first line is the token, instead of standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Write the configuration, and do not run the agent
    #[arg(long)]
    pub(crate) no_start: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CountersArgs {
    /// The folder of the agent's eBPF pins
    #[arg(long, value_name = "DIR")]
    bpf_dir: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Show the main job on two hosts, step by step, and leave nothing behind
    #[command(after_help = "Example: sudo privnet lab demo")]
    Demo,
    /// Start a small cloud on this machine: hosts, and instances on a network that joins them
    #[command(after_help = "\
Hosts (h1, h2, ...) and instances (i1, i2, ...) are network namespaces. The instances are on the network
\"lab\" and have their addresses by DHCP.

Examples:
  sudo privnet lab up --hosts 3 --instances 6            until Ctrl-C
  sudo privnet lab up --hosts 3 --instances 6 --detach   until privnet lab down
  sudo privnet lab exec i1 -- ping 10.0.0.11")]
    Up {
        /// How many hosts
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
        hosts: u8,
        /// How many instances, one host after the other
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=i64::from(privnet_lab::INSTANCES_MAX)))]
        instances: u8,
        /// Return when the lab is up
        #[arg(long, short)]
        detach: bool,
    },
    /// Show the labs that are up, with their hosts and instances
    #[command(after_help = "Example: privnet lab status --output json")]
    Status,
    /// Run a command in an instance or on a host of a lab
    #[command(after_help = "\
Examples:
  sudo privnet lab exec i1 -- ip address
  sudo privnet lab exec h2 -- tcpdump -ni under0 udp port 4789")]
    Exec {
        /// The lab's id, if several labs are up
        #[arg(long, value_name = "ID")]
        lab: Option<String>,
        /// The instance or host
        name: String,
        /// The command and its words
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Remove the labs that are up, and what others have left whose process is gone
    #[command(after_help = "Labs of tests and benchmarks are left alone.\n\nExample: sudo privnet lab down")]
    Down {
        /// Only this lab
        #[arg(value_name = "ID")]
        lab: Option<String>,
    },
    /// Wait for a lab's process to end, and remove what it leaves
    #[command(hide = true, after_help = "Started by labs: privnet lab guard ID")]
    Guard {
        /// The lab's id
        id: String,
    },
}
