use clap::{Args, Subcommand};

use super::WaitArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Make a network
    ///
    /// With --start-ip, --end-ip and --netmask it is managed: it leases addresses and answers DHCP.
    /// Without them it is unmanaged: a bare Ethernet segment.
    #[command(after_help = "Examples:
  privnet network create backend
  privnet network create backend --start-ip 10.0.0.10 --end-ip 10.0.0.99 --netmask 255.255.255.0 \\
      --dns-server 10.0.0.2 --domain-search lab.example --label team=db")]
    Create {
        /// Its name, need not be unique
        name: String,
        #[command(flatten)]
        fields: NetworkFields,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List all networks
    #[command(visible_alias = "ls", after_help = "Example: privnet network list --output json")]
    List,
    /// Show one network and its leases
    #[command(after_help = "Example: privnet network show backend")]
    Show {
        /// The network, by name or id
        network: String,
    },
    /// Change a network; what is not given stays as it is
    ///
    /// DHCP options and labels are replaced: giving any DHCP option replaces all of them, giving any
    /// label replaces all labels.
    #[command(after_help = "Examples:
  privnet network update backend --end-ip 10.0.0.199
  privnet network update backend --name frontend --label team=web")]
    Update {
        /// The network, by name or id
        network: String,
        /// Its new name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        fields: NetworkFields,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Delete a network that nothing is attached to
    #[command(visible_alias = "rm", after_help = "Example: privnet network delete backend")]
    Delete {
        /// The network, by name or id
        network: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Reset a field of a network to its default
    #[command(after_help = "Example: privnet network reset-field backend labels")]
    ResetField {
        /// The network, by name or id
        network: String,
        /// The field: labels
        field: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// The properties of a network, all optional. The server judges them.
#[derive(Debug, Default, Args)]
pub(crate) struct NetworkFields {
    /// A text for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// The first address that is leased
    #[arg(long, value_name = "ADDRESS", help_heading = "Managed networks")]
    pub(crate) start_ip: Option<String>,
    /// The last address that is leased
    #[arg(long, value_name = "ADDRESS", help_heading = "Managed networks")]
    pub(crate) end_ip: Option<String>,
    /// The subnet's mask, such as 255.255.255.0
    #[arg(long, value_name = "MASK", help_heading = "Managed networks")]
    pub(crate) netmask: Option<String>,
    /// A router that DHCP announces (option 3); repeat for more
    #[arg(long = "router", value_name = "ADDRESS", help_heading = "Managed networks")]
    pub(crate) routers: Vec<String>,
    /// A DNS server that DHCP announces (option 6); repeat for more
    #[arg(long = "dns-server", value_name = "ADDRESS", help_heading = "Managed networks")]
    pub(crate) dns_servers: Vec<String>,
    /// An NTP server that DHCP announces (option 42); repeat for more
    #[arg(long = "ntp-server", value_name = "ADDRESS", help_heading = "Managed networks")]
    pub(crate) ntp_servers: Vec<String>,
    /// A domain to search that DHCP announces (option 119); repeat for more
    #[arg(long, value_name = "DOMAIN", help_heading = "Managed networks")]
    pub(crate) domain_search: Vec<String>,
    /// A label; repeat for more
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,
}

fn parse_label(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
    Ok((key.to_owned(), value.to_owned()))
}
