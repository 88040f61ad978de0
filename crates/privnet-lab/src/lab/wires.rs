//! The networks that a lab's hosts have between them, and their addresses.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;

use super::{Host, Lab};
use crate::leftovers;
use crate::namespace::Namespace;
use crate::process::{command, run};

/// The underlay's device in a host's namespace.
const UNDERLAY_DEVICE: &str = "under0";

/// The device of a host's namespace by which it reaches the server.
const MANAGEMENT_DEVICE: &str = "mgmt0";

/// Where the server serves the hosts, by TLS.
const SYNC_PORT: u16 = 4443;

impl Lab {
    pub(super) fn make_underlay(&mut self) -> Result<()> {
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
}

/// Each lab's server listens on a loopback address of its own, made of the lab's id, at a port that
/// the kernel gives to nobody on its own: labs do not meet, and a server that is started again finds
/// its port free.
pub(super) fn listen_address(id: &str) -> String {
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
pub(super) fn sync_address(id: &str) -> SocketAddr {
    SocketAddr::new(management_address(id, 1).into(), SYNC_PORT)
}
