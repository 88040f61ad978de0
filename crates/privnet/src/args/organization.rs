use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum OrganizationCommand {
    /// List all organizations with what they have and may have
    #[command(visible_alias = "ls", after_help = "Example: privnet org list")]
    List,
    /// Make an organization, which sees no other one's networks and instances
    ///
    /// Nobody can use it before it has a key: see `privnet key create`.
    #[command(after_help = "Examples:
  privnet org create acme
  privnet org create acme --networks 100 --instances unlimited
  privnet key create acme-terraform --role admin --organization acme")]
    Create {
        /// Its name, which no other organization has: letters, digits, -, _ and .
        name: String,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// Show one organization with what it has and may have
    #[command(after_help = "Example: privnet org show acme")]
    Show {
        /// The organization, by name or id
        organization: String,
    },
    /// Change how much an organization may have; what is not given stays as it is
    ///
    /// Where that is less than what it has, nothing is taken away and nothing more comes.
    #[command(after_help = "Examples:
  privnet org set-quota acme --networks 100
  privnet org set-quota acme --networks unlimited --ports-per-network 1000")]
    SetQuota {
        /// The organization, by name or id
        organization: String,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// Give an organization another name; its id, its keys and all that it has stay
    #[command(after_help = "Example: privnet org rename acme acme-europe")]
    Rename {
        /// The organization, by name or id
        organization: String,
        /// Its new name, which no other organization has: letters, digits, -, _ and .
        name: String,
    },
    /// Delete an organization that has no networks and no instances, with its keys
    #[command(visible_alias = "rm", after_help = "Example: privnet org delete acme")]
    Delete {
        /// The organization, by name or id
        organization: String,
    },
}

/// How much an organization may have.
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    /// How many networks, or unlimited [default of a new organization: 32]
    #[arg(long, value_name = "N", value_parser = quota)]
    pub(crate) networks: Option<i64>,
    /// How many instances may be attached to one network, or unlimited [default of a new organization: 256]
    #[arg(long, value_name = "N", value_parser = quota)]
    pub(crate) ports_per_network: Option<i64>,
    /// How many instances, or unlimited [default of a new organization: 256]
    #[arg(long, value_name = "N", value_parser = quota)]
    pub(crate) instances: Option<i64>,
}

/// A quota as the API takes it.
fn quota(text: &str) -> Result<i64, String> {
    match (text, text.parse::<u32>()) {
        ("unlimited", _) => Ok(-1),
        (_, Ok(limit)) => Ok(limit.into()),
        _ => Err("a number from 0 to 4294967295, or unlimited, is expected".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys of one's organization or, for an operator, all keys
    ///
    /// Secrets are not shown: they are told once, when a key is created.
    #[command(visible_alias = "ls", after_help = "Example: privnet key list")]
    List,
    /// Make a key, and show its secret this once
    ///
    /// An admin of an organization makes keys for that organization. An operator makes keys for any, and for
    /// operators.
    #[command(after_help = "Examples:
  privnet key create terraform --role admin
  privnet key create dashboard --role read-only --expires-in 90d
  privnet key create acme-terraform --role admin --organization acme
  privnet key create second-operator --role operator
  privnet key create h1-containers --role runtime --host h1 --organization acme")]
    Create {
        /// What it is for, to tell it from others
        name: String,
        /// What it is good for: admin, read-only, operator (hosts, placements, organizations and keys), or runtime
        /// (the containers of one host)
        #[arg(long, value_parser = ["admin", "read-only", "operator", "runtime"], hide_possible_values = true)]
        role: String,
        /// The host whose container runtime it is for, by name or id; with --role runtime
        #[arg(long, required_if_eq("role", "runtime"))]
        host: Option<String>,
        /// The organization that it is for, by name or id [default: one's own]
        #[arg(long, value_name = "ORGANIZATION")]
        organization: Option<String>,
        /// How long it is good for, such as 12h or 90d [default: until it is revoked]
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
    },
    /// Make a key good for nothing, at once and for good
    #[command(visible_alias = "rm", after_help = "Example: privnet key revoke EXO0123456789abcdef01234567")]
    Revoke {
        /// The key's id
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number_or_unlimited() {
        assert_eq!(["0", "32", "4294967295", "unlimited"].map(quota), [Ok(0), Ok(32), Ok(4_294_967_295), Ok(-1)]);
        for bad in ["", "-1", "4294967296", "many"] {
            assert!(quota(bad).is_err(), "{bad}");
        }
    }
}
