//! All instances of a host ask in the same moment.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket};
use privnet_lab::dhcp_message::{ACK, DISCOVER, DhcpAnswer, OFFER, REQUEST, dhcp_broadcast, selection};
use privnet_lab::{Api, Instance, Lab, device_address};
use serde_json::json;

use crate::support::{counters, eventually, hosts, in_lab, items, octets, text};

/// To DHCP an instance is a port: so many namespaces with a port in so many networks are a thousand.
const INSTANCES: usize = 20;
const NETWORKS: usize = 50;
const PORTS: usize = INSTANCES * NETWORKS;

/// What a namespace's socket must hold when all of its ports are answered at once.
const RECEIVE_BUFFER_BYTES: usize = 1 << 22;

#[test]
fn a_thousand_instances_that_boot_in_the_same_moment_all_have_their_address() {
    in_lab(hosts(1).log("warn"), |lab| {
        let instances = (0..INSTANCES).map(|number| lab.add_instance(&format!("guest-{number}"), 1));
        let instances = instances.collect::<Result<Vec<_>>>()?;

        let leases = attach_all(lab.api(), &instances)?;
        ensure!(leases.len() == PORTS, "{} ports have an address", leases.len());
        let guests = instances.iter().map(Guests::of).collect::<Result<Vec<_>>>()?;

        // Each client asks once: what is dropped is not asked again, and missing in the end.
        at_once(lab, &guests, |mac| Ok(dhcp_broadcast(DISCOVER, mac, &[])))?;
        let offers = hear(&guests, OFFER)?;
        at_once(lab, &guests, |mac| {
            let offer = offers.get(mac).context("it has an offer")?;
            Ok(dhcp_broadcast(REQUEST, mac, &selection(offer).context("an offer names its server")?))
        })?;
        let told: Leases = hear(&guests, ACK)?.into_iter().map(|(mac, ack)| (mac, ack.yiaddr())).collect();
        ensure!(leases == told, "the API says otherwise than DHCP");

        for port in &counters(lab, 1)?.ports {
            ensure!(port["dhcp-requests"] == 2 && port["drops"].get("dhcp-limit").is_none(), "{port}");
            ensure!(port["drops"].get("dhcp-queue-full").is_none(), "{port}");
        }
        Ok(())
    });
}

/// The address of each port, by its MAC address.
type Leases = HashMap<Vec<u8>, Ipv4Addr>;

/// Makes the networks and attaches all instances to each, all at the same time.
fn attach_all(api: &Api, instances: &[Instance]) -> Result<Leases> {
    let networks = (0..NETWORKS).map(|number| {
        let (start, end) = (format!("10.0.{number}.10"), format!("10.0.{number}.99"));
        let name = number.to_string();
        api.create_network(&json!({"name": name, "start-ip": start, "end-ip": end, "netmask": "255.255.255.0"}))
    });
    let networks = &networks.collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let attach = |instance| scope.spawn(move || attach(api, networks, instance));
        let attaching: Vec<_> = instances.iter().map(attach).collect();
        let attached = attaching.into_iter().map(|thread| thread.join().expect("no panic"));
        attached.collect::<Result<Vec<_>>>().map(|leases| leases.into_iter().flatten().collect())
    })
}

/// Attaches an instance to all networks.
fn attach(api: &Api, networks: &[String], instance: &Instance) -> Result<Leases> {
    let mut addresses = HashMap::new();
    for network in networks {
        let address = api.attach(network, &instance.id, None)?.context("a managed network leases an address")?;
        addresses.insert(network.as_str(), address.parse()?);
    }
    let shown = api.get(&format!("/v2/instance/{}", instance.id))?;
    let lease = |port| (octets(text(port, "mac-address")), addresses[text(port, "id")]);
    Ok(items(&shown, "private-networks").iter().map(lease).collect())
}

/// Clients on all ports of one namespace.
struct Guests {
    /// The MAC address and the device's index of each.
    ports: Vec<(Vec<u8>, u32)>,
    /// Hears what any of them is told (packet(7)).
    socket: OwnedFd,
}

impl Guests {
    fn of(instance: &Instance) -> Result<Self> {
        let links = instance.namespace.links()?;
        let ports = links.iter().filter(|link| text(link, "ifname").starts_with("net"));
        let ports = ports.map(|link| {
            let index = link["ifindex"].as_u64().context("a device has an index")?;
            Ok((octets(text(link, "address")), u32::try_from(index)?))
        });
        let socket = instance.namespace.within(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
            Ok(socket)
        })?;
        Ok(Self { ports: ports.collect::<Result<_>>()?, socket })
    }

    /// What has come from a server since.
    fn hear(&self) -> Result<Vec<DhcpAnswer>> {
        let (mut answers, mut frame) = (Vec::new(), [0; 2048]);
        loop {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => answers.extend(DhcpAnswer::in_frame(&frame[..length])),
                Err(Errno::EAGAIN) => return Ok(answers),
                Err(error) => return Err(io::Error::from(error)).context("cannot receive"),
            }
        }
    }
}

/// Has each port send its frame before the agent has read the first.
fn at_once(lab: &Lab, guests: &[Guests], frame: impl Fn(&[u8]) -> Result<Vec<u8>>) -> Result<()> {
    let agent = lab.host(1).agent().context("the agent runs")?;
    agent.signal(Signal::SIGSTOP)?;
    for guests in guests {
        for (mac, device) in &guests.ports {
            sendto(guests.socket.as_raw_fd(), &frame(mac)?, &device_address(*device), MsgFlags::empty())?;
        }
    }
    agent.signal(Signal::SIGCONT)
}

/// What each client is told, by its MAC address, when all have been told something.
fn hear(guests: &[Guests], kind: u8) -> Result<HashMap<Vec<u8>, DhcpAnswer>> {
    let mut heard = HashMap::new();
    eventually("all clients are answered", || {
        for answer in guests.iter().map(Guests::hear).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            ensure!(answer.kind() == Some(kind), "not an answer to what was asked: {answer:?}");
            ensure!(heard.insert(answer.chaddr().to_vec(), answer).is_none(), "a client is answered twice");
        }
        Ok(heard.len() == PORTS)
    })?;
    Ok(heard)
}
