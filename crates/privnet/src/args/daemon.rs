//! Commands that stay: server, agent, both, and the lab. Their flags are read through the settings,
//! so here they only say what may be typed.

use clap::{Args, Subcommand};

use super::limits::LimitArgs;

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the API answers; a loopback address, as there is no authentication yet
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The folder for everything that must survive
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// The zone's name in the API
    #[arg(long)]
    zone: Option<String>,
    /// The URL at which clients reach the API, told by list-zones
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// How long an answer waits for the hosts before it says "pending"
    #[arg(long, value_name = "DURATION")]
    operation_hold: Option<String>,
    /// The Unix socket for agents
    #[arg(long, value_name = "PATH")]
    sync_socket: Option<String>,
    /// A loopback address for agents, besides the socket
    #[arg(long, value_name = "ADDRESS:PORT")]
    sync_listen: Option<String>,
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
pub(crate) struct AgentArgs {
    #[command(flatten)]
    host: HostArgs,
    /// Where the server serves agents: unix:///PATH or http://127.0.0.1:PORT
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    /// Remove all of privnet's devices, eBPF pins and state from this host, and exit
    #[arg(long)]
    pub(crate) purge: bool,
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
    server: ServerArgs,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Show the main job on two hosts, step by step, and leave nothing behind
    #[command(after_help = "Example: sudo privnet lab demo")]
    Demo,
    /// Start a lab and keep it until Ctrl-C
    #[command(after_help = "Example: sudo privnet lab up --hosts 3")]
    Up {
        /// How many hosts
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
        hosts: u8,
    },
    /// Remove what labs have left whose process is gone
    #[command(after_help = "Example: sudo privnet lab down")]
    Down,
    /// Wait for a lab's process to end, and remove what it leaves
    #[command(hide = true, after_help = "Started by labs: privnet lab guard ID")]
    Guard {
        /// The lab's id
        id: String,
    },
}
