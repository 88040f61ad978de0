//! What a broadcast costs for each of its receivers, held against a bridge.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use privnet_lab::{Instance, Lab, Namespace};
use serde_json::json;

use crate::ports::{Hosts, action};
use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::Pairs;
use crate::traffic::{Core, Measured, join, measure_along, packets_of_devices, pin};

/// How many ports the segments have, step by step.
const SIZES: [usize; 3] = [2, 100, 1000];

/// An EtherType for local experiments (IEEE 802), which receivers drop at once.
const ETHERTYPE: u16 = 0x88b5;

/// The smallest frame that there is, without its checksum.
const FRAME_BYTES: usize = 60;

/// The bridge's device in the instances' namespaces.
const BRIDGED: &str = "bridged";

/// Measures broadcasts to more and more ports of host 1, and of a bridge to the same namespaces.
pub(crate) fn measure(session: &mut Session, steps: &'static [Step], hosts: &mut Hosts) -> Result<()> {
    let mut built = None;
    for (step, ports) in steps.iter().zip(SIZES) {
        session.measure(step, || {
            let segments = match built.take() {
                Some(segments) => segments,
                None => Segments::build(&mut hosts.lab)?,
            };
            let segments = built.insert(segments);
            segments.grow(hosts, ports)?;
            // A frame needs no agent; that it verifies its ports meanwhile is no part of what is measured.
            for host in [1, 2] {
                hosts.lab.stop_agent(host)?;
            }
            let measured = segments.cost_per_receiver(&hosts.lab);
            for host in [1, 2] {
                hosts.lab.start_agent(host)?;
            }
            hosts.lab.wait_for_agents()?;
            Ok(vec![Measurement::of_pairs(step.names[0], &measured?)])
        })?;
    }
    Ok(())
}

/// A network with ports on one host, and a bridge with ports to the same namespaces.
struct Segments {
    network: String,
    bridge: Namespace,
    /// The namespaces, of which the first sends.
    members: Vec<Instance>,
}

impl Segments {
    fn build(lab: &mut Lab) -> Result<Self> {
        let network = lab.api().create_network(&json!({"name": "broadcast"}))?;
        let bridge = lab.add_namespace()?;
        bridge.ip("link add br0 up type bridge stp_state 0 mcast_snooping 0")?;
        Ok(Self { network, bridge, members: Vec::new() })
    }

    /// Adds members until there are so many.
    fn grow(&mut self, hosts: &mut Hosts, ports: usize) -> Result<()> {
        let more = hosts.members[0][self.members.len()..ports].to_vec();
        hosts.attach_all(more.iter().map(|member| action(hosts.lab.api(), &self.network, "attach", member)))?;
        let mut commands = String::new();
        for (number, member) in (self.members.len()..).zip(&more) {
            let netns = member.namespace.name();
            let _ = writeln!(commands, "link add p{number} type veth peer name {BRIDGED} netns {netns}");
            let _ = writeln!(commands, "link set p{number} master br0 up");
        }
        let file = hosts.lab.dir().join("bridge-ports");
        fs::write(&file, commands)?;
        self.bridge.ip(&format!("-batch {}", file.display()))?;
        for member in more {
            member.namespace.ip(&format!("link set {BRIDGED} up"))?;
            self.members.push(member);
        }
        Ok(())
    }

    /// Microseconds of CPU for each receiver of a frame, by the network and by the bridge.
    fn cost_per_receiver(&self, lab: &Lab) -> Result<Pairs> {
        let from = &self.members[0];
        let by_network = Sender::on(&from.namespace, &port_device(lab, &self.network, from)?)?;
        let by_bridge = Sender::on(&from.namespace, BRIDGED)?;
        let host = &lab.host(1).namespace;
        let [ours, reference] = in_turn([&mut || cost_per_receiver(&by_network, host), &mut || {
            cost_per_receiver(&by_bridge, &self.bridge)
        }])?;
        Ok(Pairs { ours, reference })
    }
}

/// The device of an instance's port in a network.
fn port_device(lab: &Lab, network: &str, instance: &Instance) -> Result<String> {
    let described = lab.api().get(&format!("/v2/instance/{}", instance.id))?;
    let ports = described["private-networks"].as_array().into_iter().flatten();
    let mac = ports.filter(|port| port["id"] == network).map(|port| &port["mac-address"]).next();
    let mac = mac.with_context(|| format!("not attached: {described}"))?;
    let links = instance.namespace.links()?;
    let device = links.iter().find(|link| link["address"] == *mac).and_then(|link| link["ifname"].as_str());
    Ok(device.with_context(|| format!("no device with {mac}"))?.to_owned())
}

/// One sender as fast as it can; what the whole machine does for a frame that one receiver gets. Its frames'
/// copies are counted where they leave the switch.
fn cost_per_receiver(sender: &Sender, switch: &Namespace) -> Result<f64> {
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            pin(Core::First)?;
            while !stop.load(Ordering::Relaxed) {
                sender.send()?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let measured = measure_along(&sent, || Ok(switch.within(packets_of_devices)?.1));
        stop.store(true, Ordering::Relaxed);
        join(sending)?;
        let (Measured { cpu_seconds, .. }, copies) = measured?;
        ensure!(copies > 0.0, "nobody receives anything");
        Ok(cpu_seconds * 1e6 / copies)
    })
}

/// Sends the same broadcast over and over.
struct Sender {
    socket: OwnedFd,
    address: libc::sockaddr_ll,
    frame: Vec<u8>,
}

impl Sender {
    /// By a device of this namespace (packet(7)).
    fn on(namespace: &Namespace, device: &str) -> Result<Self> {
        let links = namespace.links()?;
        let link = links.iter().find(|link| link["ifname"] == device).with_context(|| format!("no device {device}"))?;
        let mac = link["address"].as_str().unwrap_or_default();
        let mac: Vec<_> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>()?;
        let mut frame = [&[0xff; 6][..], &mac, &ETHERTYPE.to_be_bytes()].concat();
        frame.resize(FRAME_BYTES, 0);
        let (index, socket) = namespace.within(|| {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            Ok((if_nametoindex(device)?, socket))
        })?;
        // SAFETY: all of a sockaddr_ll is plain numbers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index.cast_signed();
        Ok(Self { socket, address, frame })
    }

    fn send(&self) -> Result<()> {
        // SAFETY: the frame and the address live through the call, with the lengths that are given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                self.frame.as_ptr().cast(),
                self.frame.len(),
                0,
                (&raw const self.address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        match io::Error::last_os_error() {
            _ if sent >= 0 => Ok(()),
            // The switch has so much to do that it takes no more: what it drops is not counted as copies.
            error if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            error => Err(error).context("cannot send a broadcast"),
        }
    }
}
