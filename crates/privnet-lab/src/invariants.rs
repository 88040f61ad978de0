//! What must hold whenever nothing is under way: the API's word against the kernel's, host by host.
//! Numbers are those of the design's invariants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::bpf::Map;
use crate::frame::octets;
use crate::interrupt::wait_for;
use crate::json::{items, text};
use crate::lab::{Host, Lab};

/// What is reached at all is reached well within this.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What VXLAN takes of each packet of the underlay, by IPv4 and by IPv6.
const OVERHEAD_IPV4_BYTES: u64 = 50;
const OVERHEAD_IPV6_BYTES: u64 = 70;

/// Waits until each host's kernel has what the API says (7), and holds what the API says against the
/// rules that nothing may ever break (1).
///
/// # Errors
/// A rule is broken, or the kernel of a host with an agent does not come to what is wanted.
pub fn hold(lab: &Lab) -> Result<()> {
    let mut differences = Vec::new();
    let settled = wait_for(
        || "each host's kernel does not have what is wanted".to_owned(),
        SETTLE_TIMEOUT,
        || {
            let said = Said::by(lab)?;
            said.check()?;
            differences = said.differences(lab)?;
            Ok(differences.is_empty().then_some(()))
        },
    );
    settled.with_context(|| format!("what differs: {differences:#?}"))
}

/// Every operation has come to its end (6).
///
/// # Errors
/// One has not, or is not known.
pub fn all_final<'a>(lab: &Lab, operations: impl IntoIterator<Item = &'a str>) -> Result<()> {
    for id in operations {
        wait_for(
            || format!("operation {id} is not final"),
            SETTLE_TIMEOUT,
            || {
                let operation = lab.api().get(&format!("/v2/operation/{id}"))?;
                Ok((operation["state"] != "pending").then_some(()))
            },
        )?;
    }
    Ok(())
}

/// What the API says there is.
struct Said {
    networks: Vec<Value>,
    instances: Vec<Value>,
    placements: HashMap<String, Placement>,
    /// The instances that are stopped, by their ids.
    stopped: BTreeSet<String>,
    /// What each host's underlay leaves for the overlay, in octets.
    overlay_mtus: HashMap<String, u64>,
}

/// Where an instance runs.
struct Placement {
    host: String,
    /// Whether its host makes its namespace.
    is_made: bool,
    /// `None`: its ports are taps.
    netns: Option<String>,
}

/// One port, as its host is to have it.
#[derive(Debug)]
struct Port {
    mac: String,
    vni: u32,
    host: String,
    /// `None` for a tap.
    netns: Option<String>,
    /// Its instance is stopped: it keeps what it has, and has no device.
    is_stopped: bool,
    /// The least that any host of its network can carry, in octets.
    mtu_bytes: u64,
}

/// A map's keys.
type Keys = BTreeSet<Vec<u8>>;

impl Said {
    /// Asks a lab's API.
    fn by(lab: &Lab) -> Result<Self> {
        let list = |path: &str, key: &str| Ok::<_, anyhow::Error>(items(&lab.api().get(path)?, key).to_vec());
        let placed = list("/privnet/v1/instances", "instances")?;
        let hosts = list("/privnet/v1/hosts", "hosts")?;
        let overlay_mtus = hosts.iter().map(|host| Ok((text(host, "name").to_owned(), overlay_mtu(host)?)));
        let placement = |one: &Value| Placement {
            host: text(one, "host").into(),
            is_made: one["driver"] == "netns",
            netns: one["netns"].as_str().map(str::to_owned),
        };
        let instances = list("/v2/instance", "instances")?;
        let stopped = instances.iter().filter(|one| one["state"] == "stopped");
        Ok(Self {
            networks: list("/v2/private-network", "private-networks")?,
            stopped: stopped.map(|one| text(one, "id").to_owned()).collect(),
            instances,
            placements: placed.iter().map(|one| (text(one, "id").to_owned(), placement(one))).collect(),
            overlay_mtus: overlay_mtus.collect::<Result<_>>()?,
        })
    }

    /// No address twice in a network, no MAC twice, no VNI twice; each port of a managed network has
    /// one address, in its subnet and not the server's, and nobody else has one.
    fn check(&self) -> Result<()> {
        unique("VNI", self.networks.iter().map(|network| network["vni"].to_string()))?;
        unique("MAC", self.ports().map(|(_, port)| text(port, "mac-address").to_owned()))?;
        for network in &self.networks {
            let leases = items(network, "leases");
            unique("address", leases.iter().map(|lease| text(lease, "ip").to_owned()))?;
            unique("lease of instance", leases.iter().map(|lease| text(lease, "instance-id").to_owned()))?;
            let holders: BTreeSet<_> = leases.iter().map(|lease| text(lease, "instance-id")).collect();
            let members = self.ports().filter(|(_, port)| port["id"] == network["id"]);
            let members: BTreeSet<_> = members.map(|(instance, _)| text(instance, "id")).collect();
            match subnet(network)? {
                None => ensure!(holders.is_empty(), "an unmanaged network leases addresses: {network}"),
                Some(subnet) => {
                    ensure!(holders == members, "leases are not those of its members {members:?}: {network}");
                    check_leases(network, &subnet)?;
                }
            }
        }
        Ok(())
    }

    /// Each instance with each of its ports.
    fn ports(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.instances
            .iter()
            .flat_map(|instance| items(instance, "private-networks").iter().map(move |port| (instance, port)))
    }

    /// What the kernels of the hosts that run an agent have otherwise than said.
    fn differences(&self, lab: &Lab) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        for host in lab.hosts().iter().filter(|host| host.agent().is_some()) {
            self.compare_devices(host, &mut differences)?;
            // Somebody may have removed a pin, and the agent not have pinned the map again.
            if let Err(error) = self.compare_tables(lab, host, &mut differences) {
                differences.push(format!("{}: {error:#}", host.name));
            }
        }
        self.compare_instances(lab, &mut differences)?;
        self.compare_made(lab, &mut differences)?;
        Ok(differences)
    }

    /// On the host: one device per port, and none besides.
    fn compare_devices(&self, host: &Host, differences: &mut Vec<String>) -> Result<()> {
        let ports = self.all_ports()?.into_iter().filter(|port| port.host == host.name && !port.is_stopped);
        let mut wanted: BTreeMap<String, Port> = ports.map(|port| (device_of(&port.mac), port)).collect();
        for link in host.namespace.links()? {
            let device = text(&link, "ifname");
            if !is_port(device) {
                continue;
            }
            match wanted.remove(device) {
                Some(port) => differences.extend(
                    host_side_flaws(&link, &port)
                        .map(|flaw| format!("{device} on {}: {flaw}: {}", host.name, brief(&link))),
                ),
                None => differences.push(format!("{device} on {} belongs to nothing", host.name)),
            }
        }
        differences.extend(wanted.into_keys().map(|device| format!("{device} on {} is missing", host.name)));
        Ok(())
    }

    /// In every instance: one device per port, with its MAC and MTU, up; and none besides.
    fn compare_instances(&self, lab: &Lab, differences: &mut Vec<String>) -> Result<()> {
        let mtus: BTreeMap<_, _> = self.all_ports()?.into_iter().map(|port| (port.mac, port.mtu_bytes)).collect();
        for instance in &self.instances {
            let placement = self.placement(instance)?;
            let host = lab.hosts().iter().find(|host| host.name == placement.host);
            if host.is_none_or(|host| host.agent().is_none()) {
                continue;
            }
            let Some(netns) = &placement.netns else { continue };
            let Some(links) = links_of(lab, netns)? else { continue };
            let ports = items(instance, "private-networks").iter().filter(|_| !self.is_stopped(instance));
            let mut wanted: BTreeSet<_> = ports.map(|port| text(port, "mac-address")).collect();
            // As ports' devices are called unless an attach says otherwise, and as tests and container runtimes do.
            let is_port = |link: &&Value| ["net", "eth"].iter().any(|name| text(link, "ifname").starts_with(name));
            for link in links.iter().filter(is_port) {
                let sound = is_up(link) && mtus.get(text(link, "address")).is_some_and(|mtu| link["mtu"] == *mtu);
                if !wanted.remove(text(link, "address")) || !sound {
                    differences.push(format!("in {netns}: not as wanted: {}", brief(link)));
                }
            }
            differences.extend(wanted.into_iter().map(|mac| format!("in {netns}: no device {mac}")));
        }
        Ok(())
    }

    /// The namespace of each instance that its host makes is there, and no other host has made it.
    fn compare_made(&self, lab: &Lab, differences: &mut Vec<String>) -> Result<()> {
        let there: BTreeSet<_> = std::fs::read_dir(NETNS_DIR)
            .context("cannot list the namespaces")?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        for (id, placement) in self.placements.iter().filter(|(_, placement)| placement.is_made) {
            let has_agent = |host: &&Host| host.agent().is_some();
            let Some(netns) = &placement.netns else { continue };
            if lab.hosts().iter().filter(has_agent).any(|host| host.name == placement.host) && !there.contains(netns) {
                differences.push(format!("{} has not made {netns}", placement.host));
            }
            // A host without an agent may still have one that it is to remove.
            let others = lab.hosts().iter().filter(has_agent).filter(|host| host.name != placement.host);
            let others = others.map(|host| netns_made_by(&host.name, id)).filter(|other| there.contains(other));
            differences.extend(others.map(|other| format!("{other} is there, and {netns} is wanted")));
        }
        Ok(())
    }

    /// In the host's maps: of the networks that it has, every member and where it is, every address and
    /// every other host that has it too; and nothing besides.
    fn compare_tables(&self, lab: &Lab, host: &Host, differences: &mut Vec<String>) -> Result<()> {
        let ports = self.all_ports()?;
        let carried: BTreeSet<_> = ports.iter().filter(|port| port.host == host.name).map(|port| port.vni).collect();
        let members = || ports.iter().filter(|port| carried.contains(&port.vni));
        let vtep_of = |port: &Port| {
            let other = lab.hosts().iter().find(|other| other.name == port.host).context("a host of the lab")?;
            anyhow::Ok(mapped(other.vtep).octets())
        };
        // Nothing leads to a port that has no device; on other hosts it stays, as its instance will start again.
        let plugged = members().filter(|port| port.host != host.name || !port.is_stopped);
        let fdb = plugged.map(|port| {
            let target = if port.host == host.name { LOCAL } else { vtep_of(port)? };
            Ok([&port.vni.to_ne_bytes()[..], &octets(&port.mac), &[0; 2], &target].concat())
        });
        let elsewhere = members().filter(|port| port.host != host.name);
        let vteps = elsewhere.map(|port| Ok([&port.vni.to_ne_bytes()[..], &vtep_of(port)?].concat()));
        let (fdb, vteps) = (fdb.collect::<Result<Keys>>()?, vteps.collect::<Result<Keys>>()?);
        let keys = |name| Ok::<_, anyhow::Error>(Map::of_host(host, name)?.keys()?.into_iter().collect::<Keys>());
        for (name, wanted, there) in [
            ("fdb", &fdb, fdb_of(host)?),
            ("vteps", &vteps, keys("vteps")?),
            ("remote_members", &vteps, remote_members_of(host)?),
            ("neighbors", &self.neighbors(&carried)?, keys("neighbors")?),
        ] {
            if there != *wanted {
                let (missing, extra) = (wanted - &there, &there - wanted);
                differences.push(format!("{name} of {}: missing {missing:02x?}, too much {extra:02x?}", host.name));
            }
        }
        Ok(())
    }

    /// The leased addresses of these networks, and the DHCP server's.
    fn neighbors(&self, vnis: &BTreeSet<u32>) -> Result<Keys> {
        let mut neighbors = Keys::new();
        for network in &self.networks {
            let vni = vni_of(network)?;
            let leased = items(network, "leases").iter().map(|lease| text(lease, "ip").parse());
            let mut addresses = leased.collect::<Result<Vec<Ipv4Addr>, _>>()?;
            if vnis.contains(&vni) {
                addresses.extend(subnet(network)?.map(|subnet| subnet.server));
                neighbors.extend(addresses.iter().map(|one| [vni.to_ne_bytes(), one.octets()].concat()));
            }
        }
        Ok(neighbors)
    }

    fn all_ports(&self) -> Result<Vec<Port>> {
        let port = |(instance, port): (&Value, &Value)| {
            let Placement { host, netns, .. } = self.placement(instance)?;
            let network = self.networks.iter().find(|network| network["id"] == port["id"]);
            let vni = vni_of(network.context("a port's network is there")?)?;
            let mtu_bytes = self.overlay_mtu_on(host)?;
            let mac = text(port, "mac-address").to_owned();
            let is_stopped = self.is_stopped(instance);
            Ok(Port { mac, vni, host: host.clone(), netns: netns.clone(), is_stopped, mtu_bytes })
        };
        let mut ports = self.ports().map(port).collect::<Result<Vec<Port>>>()?;
        let mut least: HashMap<u32, u64> = HashMap::new();
        for Port { vni, mtu_bytes, .. } in &ports {
            least.entry(*vni).and_modify(|least| *least = (*least).min(*mtu_bytes)).or_insert(*mtu_bytes);
        }
        ports.iter_mut().for_each(|port| port.mtu_bytes = least[&port.vni]);
        Ok(ports)
    }

    fn is_stopped(&self, instance: &Value) -> bool {
        self.stopped.contains(text(instance, "id"))
    }

    fn overlay_mtu_on(&self, host: &str) -> Result<u64> {
        self.overlay_mtus.get(host).copied().with_context(|| format!("{host} is no host"))
    }

    fn placement(&self, instance: &Value) -> Result<&Placement> {
        self.placements.get(text(instance, "id")).with_context(|| format!("{instance} runs nowhere"))
    }
}

/// Where namespaces that have names are.
const NETNS_DIR: &str = "/run/netns";

/// What a host's agent calls the namespace that it makes for an instance.
pub(crate) fn netns_made_by(host: &str, instance: &str) -> String {
    format!("privnet-{host}-{instance}")
}

/// Whether there is a namespace of this name.
pub(crate) fn has_netns(netns: &str) -> bool {
    std::path::Path::new(NETNS_DIR).join(netns).exists()
}

/// An address as the maps have it.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Stands for the port of the host itself, in the place of a VTEP.
const LOCAL: [u8; 16] = [0; 16];

/// What a host's FDB says, each key followed by the VTEP that it leads to.
fn fdb_of(host: &Host) -> Result<Keys> {
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        // The device's index comes first; a port of another host has none.
        let target = if value[..4] == [0; 4] { &value[4..] } else { &LOCAL };
        [&key, target].concat()
    };
    Ok(Map::of_host(host, "fdb")?.entries()?.into_iter().map(entry).collect())
}

/// To whom a host sends the BUM frames of each VNI: the VNI and a VTEP, for each slot that is in use.
fn remote_members_of(host: &Host) -> Result<Keys> {
    // The network's entry says how many are, in its third number.
    let networks: HashMap<_, _> = Map::of_host(host, "networks")?.entries()?.into_iter().collect();
    let is_in_use = |key: &[u8]| networks.get(&key[..4]).is_some_and(|entry| number(&key[4..]) < number(&entry[8..]));
    let slots = Map::of_host(host, "remote_members")?.entries()?.into_iter().filter(|(key, _)| is_in_use(key));
    Ok(slots.map(|(key, vtep)| [&key[..4], &vtep].concat()).collect())
}

/// The number that these octets begin with, as the host writes it.
fn number(octets: &[u8]) -> u32 {
    octets.first_chunk().map_or(0, |number| u32::from_ne_bytes(*number))
}

fn unique(what: &str, values: impl Iterator<Item = String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for value in values {
        if !seen.insert(value.clone()) {
            bail!("{what} {value} is held twice");
        }
    }
    Ok(())
}

fn overlay_mtu(host: &Value) -> Result<u64> {
    let overhead = match text(host, "vtep").parse()? {
        IpAddr::V4(_) => OVERHEAD_IPV4_BYTES,
        IpAddr::V6(_) => OVERHEAD_IPV6_BYTES,
    };
    let underlay = host["underlay-mtu-bytes"].as_u64().with_context(|| format!("no MTU: {host}"))?;
    Ok(underlay - overhead)
}

/// Where a managed network's addresses are.
struct Subnet {
    first: Ipv4Addr,
    mask: u32,
    /// The last usable host address.
    server: Ipv4Addr,
}

/// `None` for an unmanaged network.
fn subnet(network: &Value) -> Result<Option<Subnet>> {
    if text(network, "netmask").is_empty() {
        return Ok(None);
    }
    let number = |key| Ok::<_, anyhow::Error>(u32::from(text(network, key).parse::<Ipv4Addr>()?));
    let mask = number("netmask")?;
    let first = number("start-ip")? & mask;
    Ok(Some(Subnet { first: first.into(), mask, server: ((first | !mask) - 1).into() }))
}

fn check_leases(network: &Value, subnet: &Subnet) -> Result<()> {
    for lease in items(network, "leases") {
        let address: Ipv4Addr = text(lease, "ip").parse()?;
        let is_inside = u32::from(address) & subnet.mask == u32::from(subnet.first);
        ensure!(is_inside && address != subnet.server, "lease {lease} does not fit {network}");
    }
    Ok(())
}

fn vni_of(network: &Value) -> Result<u32> {
    let vni = network["vni"].as_u64().with_context(|| format!("no VNI: {network}"))?;
    Ok(u32::try_from(vni)?)
}

/// What the host side of a port is called.
pub fn device_of(mac: &str) -> String {
    format!("pn{}", mac.replace(':', "").split_off(2))
}

/// Whether a device is the host side of a port, by its name.
pub(crate) fn is_port(device: &str) -> bool {
    device.strip_prefix("pn").is_some_and(|rest| rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Of a port's host side, which takes what is too big for its network, to answer it.
const PORT_DEVICE_MTU_BYTES: u64 = 65535;

fn host_side_flaws<'a>(link: &'a Value, port: &'a Port) -> impl Iterator<Item = &'static str> + 'a {
    let alias = text(link, "ifalias");
    let (is_up, mtu_bytes, place) = match &port.netns {
        Some(netns) => (is_up(link), PORT_DEVICE_MTU_BYTES, format!("netns={netns} ")),
        // Nobody may have it open.
        None => (has_flag(link, "UP") && link["linkinfo"]["info_kind"] == "tun", port.mtu_bytes, "queues=".to_owned()),
    };
    let flaws = [
        (is_up, "is down"),
        (link["mtu"] == mtu_bytes, "has another MTU"),
        (format!("{alias} ").contains(&format!(" mtu={} ", port.mtu_bytes)), "was made for another MTU"),
        (alias.contains(&format!("vni={} ", port.vni)), "is of another network"),
        (alias.contains(&place), "is of another instance"),
    ];
    flaws.into_iter().filter(|(holds, _)| !holds).map(|(_, flaw)| flaw)
}

/// Of a device, what is compared.
fn brief(link: &Value) -> String {
    ["ifname", "address", "mtu", "flags", "ifalias"].map(|key| format!("{key} {}", link[key])).join(", ")
}

fn is_up(link: &Value) -> bool {
    has_flag(link, "UP") && has_flag(link, "LOWER_UP")
}

fn has_flag(link: &Value, flag: &str) -> bool {
    items(link, "flags").iter().any(|one| one == flag)
}

/// The devices in an instance's namespace; `None` if there is no such namespace.
fn links_of(lab: &Lab, netns: &str) -> Result<Option<Vec<Value>>> {
    if !has_netns(netns) {
        return Ok(None);
    }
    let host = lab.hosts().first().context("a lab has hosts")?;
    // An instance may have been registered by the path.
    let name = netns.strip_prefix("/run/netns/").unwrap_or(netns);
    let text = host.namespace.run("ip", &["-netns", name, "-details", "-json", "link", "show"])?;
    Ok(Some(serde_json::from_str(&text)?))
}
