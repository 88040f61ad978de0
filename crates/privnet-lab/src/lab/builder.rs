//! What a lab is to be like, and how it comes into being.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::wires::listen_address;
use super::{Lab, server_dir};
use crate::api::Api;
use crate::registration::Registration;

/// The underlay's subnet is 192.0.2.0/24 (TEST-NET-1, RFC 5737) or 2001:db8::/64 (RFC 3849), so there is room
/// for so many hosts.
const HOSTS_MAX: u8 = 254;

/// What a lab is to be like.
#[derive(Debug, Clone)]
pub struct LabBuilder {
    pub(super) hosts: u8,
    pub(super) underlay_mtu_bytes: u32,
    pub(super) has_ipv6_underlay: bool,
    binary: Option<PathBuf>,
    pub(super) server_args: Vec<String>,
    pub(super) agent_args: Vec<String>,
    pub(super) log: String,
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

/// `privnet` is built into the folder of this process's binary, or of its tests' parent.
fn binary_beside_own() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this process's binary is")?;
    let dir = own.parent().context("a binary lies in a folder")?;
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.join("privnet"))
}
