//! The command line: what may be typed, and its help.

mod daemon;
mod limits;
mod network;
mod organization;

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use daemon::{AgentArgs, AgentCommand, CountersArgs, JoinArgs, LabCommand, ServerArgs};
pub(crate) use network::{NetworkCommand, NetworkFields};
pub(crate) use organization::{KeyCommand, OrganizationCommand, QuotaArgs};

use crate::exit::{EXIT_CODES, Failure};
use crate::settings::{SETTINGS, Setting, Settings};

/// Private L2 networks for instances on your own Linux hosts.
///
/// A network is its own Ethernet segment across hosts. `privnet server` keeps what is wanted and
/// speaks the Exoscale v2 private network API; `privnet agent` makes it true on each host, with
/// VXLAN steered by eBPF. `privnet up` is both for one machine.
#[derive(Debug, Parser)]
#[command(name = "privnet", version, arg_required_else_help = true)]
#[command(after_long_help = long_footer())]
#[command(after_help = "Examples:
  privnet up                                   start server and agent on this machine
  privnet network create backend               make a network
  privnet instance create red                  register the network namespace \"red\"
  privnet attach red backend                   plug it in
  privnet --help                               everything, with files, variables and exit codes")]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command accepts. All but `config` are read through [`Settings`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// Read settings from this TOML file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API answers
    #[arg(long, global = true, value_name = "URL")]
    api_url: Option<String>,
    /// Trust the API's certificate if one of those in this PEM file has signed it, or is it
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<String>,
    /// How results are printed: table, for people, or json, the API's own
    #[arg(long, short, global = true, value_name = "FORMAT", value_parser = ["table", "json"], hide_possible_values = true)]
    output: Option<String>,
    /// Which events are logged, such as debug or info,privnet_agent=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How events are logged: text or json
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"], hide_possible_values = true)]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run server and agent of this machine in one process
    #[command(after_help = "Example: privnet up --data /srv/privnet")]
    Up(daemon::UpArgs),
    /// Serve the API and tell agents what is wanted
    #[command(after_help = "Example: privnet server --listen 127.0.0.1:8080 --data /srv/privnet --zone ch-dk-2")]
    Server(daemon::ServerArgs),
    /// Make this host carry what the server wants
    #[command(after_help = "Examples:
  privnet agent --vtep 192.0.2.11
  privnet agent join ...             join a server elsewhere: what privnet host invite prints
  privnet agent --purge              remove everything of privnet from this host")]
    Agent(AgentArgs),
    /// Show what passed this host's ports, and what was dropped and why
    ///
    /// Read from the kernel, whether the agent is running or not.
    #[command(after_help = "Examples:
  privnet counters
  privnet counters --output json")]
    Counters(CountersArgs),
    /// Create, list, show, change and delete networks
    #[command(subcommand, visible_alias = "net", arg_required_else_help = true)]
    Network(NetworkCommand),
    /// Register, make, list, show, start, stop, move and delete instances
    #[command(subcommand, visible_alias = "vm", arg_required_else_help = true)]
    Instance(InstanceCommand),
    /// Plug an instance into a network
    #[command(after_help = "Examples:
  privnet attach red backend
  privnet attach red backend --ip 10.0.0.7     with a static address
  privnet attach red backend --device eth0 --configure
                                               as eth0, which needs no DHCP client")]
    Attach {
        #[command(flatten)]
        port: PortArgs,
        /// A static address in the network's subnet, instead of one from its range
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<String>,
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Unplug an instance from a network
    #[command(after_help = "Example: privnet detach red backend")]
    Detach {
        #[command(flatten)]
        port: PortArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Change the address of an instance in a network
    ///
    /// The instance's DHCP client learns it when it renews its lease.
    #[command(after_help = "Examples:
  privnet update-ip red backend --ip 10.0.0.7
  privnet update-ip red backend                give up the static address for one of the range")]
    UpdateIp {
        #[command(flatten)]
        port: PortArgs,
        /// The static address; without it, one from the range
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Show how far an operation is
    #[command(subcommand, arg_required_else_help = true)]
    Operation(OperationCommand),
    /// Invite, list, show and remove hosts
    #[command(subcommand, arg_required_else_help = true)]
    Host(HostCommand),
    /// Create, list, show and delete organizations, and set their quotas; for operators
    #[command(subcommand, arg_required_else_help = true)]
    Org(OrganizationCommand),
    /// Create, list and revoke API keys
    #[command(subcommand, arg_required_else_help = true)]
    Key(KeyCommand),
    /// Show who has changed what, and who was refused to
    ///
    /// The newest 10,000 events of that time, of all organizations. Refusals alike within a minute are one.
    #[command(after_help = "Examples:
  privnet audit                                     the last 24 hours
  privnet audit --since 7d --organization acme
  privnet audit --since 7d --key EXO0123456789abcdef01234567
  privnet audit --since 2026-11-23T00:00:00Z --until 2026-11-24T00:00:00Z --output json")]
    Audit(AuditArgs),
    /// Attach containers, as the CNI plugin of a container runtime
    ///
    /// Runtimes start it by the name privnet-cni from /opt/cni/bin, where that is a symbolic link to privnet. What is
    /// to be done stands in the environment (CNI_COMMAND and others) and on standard input, by version 1.1.0 of the
    /// CNI specification.
    #[command(after_help = "Examples:
  ln -s \"$(command -v privnet)\" /opt/cni/bin/privnet-cni
  echo '{\"cniVersion\": \"1.1.0\"}' | CNI_COMMAND=VERSION privnet cni     which versions it speaks")]
    Cni,
    /// Print what clients of Exoscale need to use this API, for a shell to evaluate
    #[command(after_help = "Example: eval \"$(privnet env)\" && exo compute private-network list")]
    Env,
    /// Several hosts on this machine, in network namespaces, to try things on
    #[command(subcommand, arg_required_else_help = true)]
    Lab(LabCommand),
    /// Print the built-in instance types and templates, as a file to make one's own of
    ///
    /// The server reads it where its setting `catalogue` says, when it starts and at SIGHUP.
    #[command(after_help = "Example: privnet catalogue > /var/lib/privnet/catalogue.toml")]
    Catalogue,
    /// Show the settings in force
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example: privnet completion bash > /etc/bash_completion.d/privnet")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The two ends of a port.
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// The instance, by name or id
    pub(crate) instance: String,
    /// The network, by name or id
    pub(crate) network: String,
}

/// What an instance sees of a port.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// The name of the device in the instance [default: the first of net0, net1 and so on that it has not]
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// Have the host give the device its address and routes, and keep them as they shall be
    #[arg(long)]
    pub(crate) configure: bool,
}

/// Whether to wait for an operation's end.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// Return as soon as the change is accepted, before the hosts have applied it
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InstanceCommand {
    /// Register a network namespace or a virtual machine as an instance, or have a host make one
    #[command(after_help = "Examples:
  privnet instance create red                              the namespace \"red\" of the only host
  privnet instance create web1 --host h2 --netns web       the namespace \"web\" of host h2
  privnet instance create vm1 --tap --owner libvirt-qemu   a virtual machine of the only host
  privnet instance create web2 --make                      a new namespace, on the host with the fewest instances
  privnet instance create web3 --make --host h2            a new namespace on host h2")]
    Create {
        /// Its name, need not be unique
        name: String,
        /// The host it runs on, by name [default: the only host]
        #[arg(long)]
        host: Option<String>,
        /// Its network namespace on that host, as `ip netns` names it or by absolute path [default: NAME]
        #[arg(long, value_name = "NETNS", conflicts_with = "make")]
        netns: Option<String>,
        /// Its network namespace is that of this process, for as long as that lives; given on the host itself
        #[arg(long, value_name = "PID", conflicts_with_all = ["make", "netns", "tap"])]
        pid: Option<u32>,
        /// It is a virtual machine: its ports are taps of that host, which its monitor opens
        #[arg(long, conflicts_with_all = ["make", "netns"])]
        tap: bool,
        /// The user who may open its taps, by name or number [default: root, if there is no --group either]
        #[arg(long, value_name = "USER", requires = "tap")]
        owner: Option<String>,
        /// The group whose members may open its taps, by name or number; with --owner one must be both
        #[arg(long, value_name = "GROUP", requires = "tap")]
        group: Option<String>,
        /// Its taps have several queues
        #[arg(long, requires = "tap")]
        multi_queue: bool,
        /// The organization whose it is, by name or id [default: default]
        #[arg(long, value_name = "ORGANIZATION", conflicts_with = "make")]
        organization: Option<String>,
        /// Have the host's agent make a network namespace for it; without --host the server chooses one
        #[arg(long)]
        make: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Plug in the ports of an instance that is stopped
    #[command(after_help = "Example: privnet instance start web1")]
    Start {
        /// The instance, by name or id
        instance: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Unplug the ports of an instance; MAC addresses, leases and networks stay
    #[command(after_help = "Example: privnet instance stop web1")]
    Stop {
        /// The instance, by name or id
        instance: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Unplug the ports of an instance and plug them in anew
    #[command(after_help = "Example: privnet instance reboot web1")]
    Reboot {
        /// The instance, by name or id
        instance: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List all instances
    #[command(visible_alias = "ls", after_help = "Example: privnet instance list --output json")]
    List,
    /// Show one instance and its ports
    #[command(after_help = "Example: privnet instance show red")]
    Show {
        /// The instance, by name or id
        instance: String,
    },
    /// Place an instance on another host, with all its ports
    ///
    /// MAC addresses, leases and networks stay. The ports leave the old host and appear on the new one,
    /// and all other hosts send there. Prepare the namespace on the new host first, and frames are lost
    /// for milliseconds only. A namespace that does not exist yet is waited for; meanwhile the instance
    /// has no network. A host that is dead need not return for this.
    #[command(after_help = "Examples:
  privnet instance move web1 --to h3                    the namespace has the same name there
  privnet instance move web1 --to h3 --netns web1-new   the namespace \"web1-new\" of host h3
  privnet instance move web1 --to h2 --netns other      another namespace of the host it is on, h2")]
    Move {
        /// The instance, by name or id
        instance: String,
        /// The host it runs on from now on, by name
        #[arg(long, value_name = "HOST")]
        to: String,
        /// Its network namespace on that host [default: as before, or one that the host makes, as before]
        #[arg(long, value_name = "NETNS")]
        netns: Option<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Forget an instance; a namespace that its host has made for it is removed
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  privnet instance delete red
  privnet instance delete red --detach      and unplug it from all networks first"
    )]
    Delete {
        /// The instance, by name or id
        instance: String,
        /// Detach it from all networks first; without this, one that is attached is not deleted
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// Show one operation
    #[command(after_help = "Example: privnet operation show 01939b7e-2f5c-7d3a-8b1e-0a4c5d6e7f80 --wait")]
    Show {
        /// Its id
        id: String,
        /// Return when it has ended
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Invite a machine to join as a host, and print the command to run there
    ///
    /// The command is good once and for a while. Whoever sees it first can join with it, so hand it over as you would
    /// a password.
    #[command(after_help = "\
Examples:
  privnet host invite h1
  privnet host invite h1 --expires-in 15m
  privnet host invite h1 --rejoin              a host that has lost its key; it keeps its instances")]
    Invite {
        /// What the host will be called: letters, digits, -, _ and .
        name: String,
        /// For how long: 90s, 15m, 12h or 7d, at most 30d
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        expires_in: String,
        /// The host is there already and joins again, with a new key; the one that it has is good for nothing then
        #[arg(long)]
        rejoin: bool,
    },
    /// List the invitations; those that have ended are remembered for a day
    #[command(after_help = "Example: privnet host invitations")]
    Invitations,
    /// Make an invitation good for nothing from now on
    #[command(after_help = "Example: privnet host revoke-invitation 01939b7e-2f5c-7d3a-8b1e-0a4c5d6e7f80")]
    RevokeInvitation {
        /// Its id, as `privnet host invitations` shows it
        id: String,
    },
    /// List all hosts and whether their agents are connected
    #[command(visible_alias = "ls", after_help = "Example: privnet host list")]
    List,
    /// Show one host
    #[command(after_help = "Example: privnet host show h1")]
    Show {
        /// The host, by name or id
        host: String,
    },
    /// Forget a host that is gone for good
    ///
    /// No other host sends to it any more, and what it may still carry counts as gone: keep a machine
    /// that you remove from the underlay, or run `privnet agent --purge` on it. If it had joined, its certificate is
    /// good for nothing at once, and its agent is cut off.
    ///
    /// A host that has instances is removed only with them. To keep them, move them first: that works
    /// while the host is dead.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  privnet host remove h1
  privnet host remove h1 --with-instances      and all of its instances, ports and leases"
    )]
    Remove {
        /// The host, by name or id
        host: String,
        /// Forget its instances as well, with their ports and leases
        #[arg(long)]
        with_instances: bool,
    },
}

/// Which events are shown.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// From when on: a time, or how long ago
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) since: String,
    /// Before when: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only those that this organization, given by name or id, can read
    #[arg(long, value_name = "ORGANIZATION")]
    pub(crate) organization: Option<String>,
    /// Only those of requests that were signed with this key
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each setting in force and where it came from
    #[command(after_help = "Example: PRIVNET_ZONE=lab privnet config show")]
    Show,
}

/// The command line as clap sees it, each flag of a setting telling its variable and default.
pub(crate) fn definition() -> ClapCommand {
    describe_settings(Cli::command())
}

/// Parses this process's command line and everything that is set besides. Wrong usage, `--help`
/// and `--version` end the process here.
pub(crate) fn parse() -> Result<(Cli, Settings), Failure> {
    let matches = definition().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let writes = matches!(&cli.command, Command::Agent(AgentArgs { command: Some(AgentCommand::Join(_)), .. }));
    let settings = Settings::load(|name| flag(&matches, name), variable, cli.global.config.clone(), writes)?;
    Ok((cli, settings))
}

/// A setting's flag as given, wherever in the command line.
fn flag(matches: &ArgMatches, name: &str) -> Option<String> {
    let here = || matches.try_get_one::<String>(&name.replace('-', "_")).ok().flatten().cloned();
    let setting_flags_only = |sub: &ArgMatches| flag(sub, name);
    // `--name` and others mean something else outside of the daemons' commands.
    match matches.subcommand() {
        Some(("up" | "server" | "agent" | "join" | "counters", sub)) => setting_flags_only(sub).or_else(here),
        Some((_, sub)) if is_global(name) => setting_flags_only(sub).or_else(here),
        Some(_) => None,
        None => here(),
    }
}

fn is_global(name: &str) -> bool {
    matches!(name, "api-url" | "ca-file" | "output" | "log" | "log-format")
}

fn describe_settings(command: ClapCommand) -> ClapCommand {
    let takes_settings = matches!(command.get_name(), "privnet" | "up" | "server" | "agent" | "join" | "counters");
    command.mut_args(|arg| if takes_settings { describe_setting(arg) } else { arg }).mut_subcommands(describe_settings)
}

fn describe_setting(arg: Arg) -> Arg {
    let name = arg.get_id().as_str().replace('_', "-");
    match SETTINGS.iter().find(|setting| setting.name == name) {
        Some(setting) => {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            arg.help(format!("{help} {}", provenance(setting)))
        }
        None => arg,
    }
}

fn provenance(setting: &Setting) -> String {
    let exoscales = setting.exoscale_variable().map(|variable| format!(" or {variable}")).unwrap_or_default();
    format!("[env: {}{exoscales}] [default: {}]", setting.variable(), setting.default_text())
}

fn long_footer() -> String {
    format!(
        "\
Settings:
  Each setting NAME comes from the flag --NAME, else the variable PRIVNET_NAME, else the key NAME
  of the TOML file (--config, PRIVNET_CONFIG or /etc/privnet/privnet.toml), else its default.
  `privnet config show` prints what is in force and where each value came from.

Keys:
  Requests are signed with EXOSCALE_API_KEY and EXOSCALE_API_SECRET where they are set, else with the
  operator's key, which the server writes to DATA/credentials.json at its first start.
  `privnet env` prints what the clients of Exoscale need.

{EXIT_CODES}

Examples:
  privnet up                                   start server and agent on this machine
  privnet network create backend --start-ip 10.0.0.10 --end-ip 10.0.0.99 --netmask 255.255.255.0
  privnet instance create red                  register the network namespace \"red\"
  privnet attach red backend                   plug it in
  privnet network show backend --output json   the API's own JSON"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &ClapCommand) {
            if command.has_subcommands() {
                command.get_subcommands().for_each(check);
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("privnet "), "{} has no example", command.get_name());
            }
        }
        check(&definition());
    }

    #[test]
    fn every_setting_has_its_flag() {
        let definition = definition();
        let of = |name: &str| definition.find_subcommand(name).expect("a command").get_arguments();
        let flags: Vec<_> = (definition.get_arguments().chain(of("server")).chain(of("agent")).chain(of("up")))
            .filter_map(Arg::get_long)
            .collect();
        for setting in &SETTINGS {
            assert!(flags.contains(&setting.name), "--{} is missing", setting.name);
        }
    }

    #[test]
    fn an_argument_that_shares_a_settings_name_is_not_the_setting() {
        let matches = definition()
            .try_get_matches_from(["privnet", "instance", "create", "red", "--output", "json"])
            .expect("valid");
        assert_eq!(flag(&matches, "name"), None);
        assert_eq!(flag(&matches, "output").as_deref(), Some("json"));
    }

    #[test]
    fn a_flag_counts_before_and_after_the_command() {
        for line in [["privnet", "--log", "debug", "agent"], ["privnet", "agent", "--log", "debug"]] {
            let matches = definition().try_get_matches_from(line).expect("valid");
            assert_eq!(flag(&matches, "log").as_deref(), Some("debug"));
        }
    }
}
