//! What runs in a lab beside server and agents, and goes with it.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{Instance, Lab};
use crate::capture::Capture;
use crate::dhcp::{DhcpClient, DhcpClientKind};
use crate::namespace::Namespace;
use crate::pinger::Pinger;
use crate::process::Daemon;

impl Lab {
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
    pub fn daemon(&mut self, what: &str, command: &mut Command) -> Result<Daemon> {
        self.clients += 1;
        Daemon::start(what, command, &self.dir().join(format!("daemon-{}.log", self.clients)))
    }
}
