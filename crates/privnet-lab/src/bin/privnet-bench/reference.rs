//! What privnet's data plane is held against: networks as one builds them by hand.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use privnet_lab::{Host, Lab, Namespace};

use crate::traffic::End;
use crate::wire::two_wired_hosts;

/// What VXLAN over IPv4 leaves of an underlay of 1500 octets.
const OVERLAY_MTU_BYTES: u32 = 1450;

/// Two pairs of instances.
#[derive(Debug)]
pub(crate) struct Reference {
    /// On two hosts, joined by bridges and VXLAN.
    ///
    /// Built as one who knows would build it for this very purpose: the kernel's own devices, hosts
    /// and wire as privnet's (a lab without server and agents), one network, and nothing on the path
    /// that is not needed. No learning, no flooding and no ARP across the overlay: FDB entries and the
    /// instances' neighbours are static. No spanning tree, no multicast snooping, no UDP checksum on the
    /// outside (RFC 7348 §5 wants zero). GSO and GRO are on, as they are by default.
    pub(crate) bridge_vxlan: [End; 2],
    /// Joined by a veth pair and nothing else.
    pub(crate) veth: [End; 2],
    lab: Lab,
}

impl Reference {
    pub(crate) fn build() -> Result<Self> {
        let mut lab = two_wired_hosts()?;
        let bridge_vxlan = [end(&mut lab, 1)?, end(&mut lab, 2)?];
        let veth = [end(&mut lab, 1)?, end(&mut lab, 2)?];
        for (own, other) in [(1, 2), (2, 1)] {
            make_vtep(lab.host(own), lab.host(other).vtep, other)?;
            plug(&lab.host(own).namespace, &bridge_vxlan[own - 1].namespace, own, other)?;
        }
        join(&veth)?;
        Ok(Self { bridge_vxlan, veth, lab })
    }

    /// Whether bridged frames pass the packet filter from now on. Where br_netfilter is there, built into
    /// the kernel or loaded by somebody, they do unless told otherwise.
    pub(crate) fn set_packet_filter(&self, on: bool) -> Result<()> {
        self.lab.hosts().iter().try_for_each(|host| host.namespace.within(|| set_packet_filter(on)))
    }
}

fn end(lab: &mut Lab, number: usize) -> Result<End> {
    Ok(End { namespace: lab.add_namespace()?, address: address(number) })
}

/// The bridge and the vxlan device of a host. The bridge knows where the other host's instance is.
fn make_vtep(host: &Host, remote: IpAddr, other: usize) -> Result<()> {
    let (ns, local, device) = (&host.namespace, host.vtep, host.underlay_device);
    ns.ip("link add br0 up type bridge stp_state 0 mcast_snooping 0")?;
    let options = format!("id 4097 local {local} dev {device} dstport 4789 nolearning noudpcsum");
    ns.ip(&format!("link add vx0 mtu {OVERLAY_MTU_BYTES} type vxlan {options}"))?;
    ns.ip("link set vx0 master br0 up")?;
    enter_fdb(ns, "vx0", other)?;
    let (mac, remote) = (mac(other), remote.to_string());
    ns.run("bridge", &["fdb", "replace", &mac, "dev", "vx0", "self", "permanent", "dst", &remote]).map(drop)
}

fn set_packet_filter(on: bool) -> Result<()> {
    for table in ["iptables", "ip6tables", "arptables"] {
        let setting = format!("/proc/sys/net/bridge/bridge-nf-call-{table}");
        if Path::new(&setting).exists() {
            fs::write(&setting, if on { "1" } else { "0" }).with_context(|| format!("cannot set {setting}"))?;
        }
    }
    Ok(())
}

/// The instance's port of its host's bridge.
fn plug(host: &Namespace, instance: &Namespace, own: usize, other: usize) -> Result<()> {
    let (mtu, netns) = (OVERLAY_MTU_BYTES, instance.name());
    host.ip(&format!("link add p0 mtu {mtu} type veth peer name net0 mtu {mtu} netns {netns}"))?;
    host.ip("link set p0 master br0 up")?;
    enter_fdb(host, "p0", own)?;
    configure(instance, own, other)
}

fn enter_fdb(host: &Namespace, device: &str, instance: usize) -> Result<()> {
    host.run("bridge", &["link", "set", "dev", device, "learning", "off", "flood", "off", "mcast_flood", "off"])?;
    host.run("bridge", &["fdb", "add", &mac(instance), "dev", device, "master", "static"]).map(drop)
}

fn join([one, two]: &[End; 2]) -> Result<()> {
    let (mtu, netns) = (OVERLAY_MTU_BYTES, two.namespace.name());
    one.namespace.ip(&format!("link add net0 mtu {mtu} type veth peer name net0 mtu {mtu} netns {netns}"))?;
    configure(&one.namespace, 1, 2)?;
    configure(&two.namespace, 2, 1)
}

fn configure(instance: &Namespace, own: usize, other: usize) -> Result<()> {
    instance.ip(&format!("link set net0 address {} up", mac(own)))?;
    instance.ip(&format!("address add {}/24 dev net0", address(own)))?;
    let neighbour = format!("neighbour replace {} lladdr {} dev net0 nud permanent", address(other), mac(other));
    instance.ip(&neighbour).map(drop)
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, number as u8)
}

fn mac(number: usize) -> String {
    format!("02:00:00:00:00:{number:02x}")
}
