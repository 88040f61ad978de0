//! What the maps hold while frames come in: mostly what agents make of a few networks, and often what no
//! plan has been through with, or a mistake would leave.
//!
//! A world is written as lines of text, one for each entry, and read from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use privnet_model::{MacAddr, SERVER_MAC};

use super::dice::Dice;

/// The devices that ports may have, as numbers: `0..PORTS`.
pub(super) const PORTS: u8 = 8;
/// MAC addresses of ports on other hosts.
pub(super) const REMOTES: u8 = 6;
pub(super) const VNIS: [u32; 3] = [100, 200, 0xff_ffff];
pub(super) const UNKNOWN_VNI: u32 = 300;
/// The numbers of the other hosts, and of this one last.
const HOSTS: [u8; 4] = [2, 3, 4, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const MTUS_BYTES: [u32; 6] = [1450, 1450, 1400, 1280, 3000, 68];
/// Slots of members that are ever written.
const SLOTS: usize = 10;

/// The family of the hosts' addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Underlay {
    #[default]
    Ipv4,
    Ipv6,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct World {
    pub(super) underlay: Underlay,
    /// By the device's number.
    pub(super) ports: BTreeMap<u8, Port>,
    pub(super) networks: BTreeMap<u32, Network>,
    pub(super) fdb: BTreeMap<(u32, MacAddr), Target>,
    pub(super) neighbors: BTreeMap<(u32, Ipv4Addr), MacAddr>,
    pub(super) vteps: BTreeSet<(u32, IpAddr)>,
    pub(super) local_members: BTreeMap<(u32, u32), u8>,
    pub(super) remote_members: BTreeMap<(u32, u32), IpAddr>,
    /// Whether the agent has let DHCP requests pile up until there is no place any more.
    pub(super) queue_full: bool,
    /// What the host answers about the way to any VTEP.
    pub(super) route: Route,
    /// The budgets that have nothing left; the others are as if nothing had come for hours.
    pub(super) spent: BTreeSet<Budget>,
}

/// With the numbers of bpf_fib_lookup's answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Route {
    #[default]
    Found = 0,
    Unreachable = 2,
    NoNeighbor = 7,
}

/// What a port or a network may cost (docs/usage.md, "Limits").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Budget {
    PortBum(u8),
    PortDhcp(u8),
    /// Of what the overlay brings.
    NetworkBum(u32),
    PortIcmp(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) vni: u32,
    pub(super) open: bool,
    pub(super) tap: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) mtu_bytes: u32,
    pub(super) managed: bool,
    pub(super) local_members: u32,
    pub(super) remote_members: u32,
}

/// Where an FDB entry leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Port(u8),
    Vtep(IpAddr),
}

/// The MAC address of the port that a device has.
pub(super) fn port_mac(port: u8) -> MacAddr {
    MacAddr::for_port([0, 0, 0, 0, port])
}

pub(super) fn remote_mac(remote: u8) -> MacAddr {
    MacAddr::for_port([0, 0, 0, 1, remote])
}

pub(super) fn port_address(port: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + port)
}

pub(super) fn remote_address(remote: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 101 + remote)
}

impl Underlay {
    /// This host's own address.
    pub(super) fn own_vtep(self) -> IpAddr {
        self.vtep(1)
    }

    fn vtep(self, host: u8) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::new(192, 0, 2, host).into(),
            Self::Ipv6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).into(),
        }
    }

    /// That of some host, which may be this one.
    pub(super) fn any_vtep(self, dice: &mut Dice) -> IpAddr {
        self.vtep(dice.pick(&HOSTS))
    }
}

impl World {
    /// What is there once every plan has been carried out.
    pub(super) fn settled(underlay: Underlay, dice: &mut Dice) -> Self {
        let mut world = Self { underlay, ..Self::default() };
        for vni in VNIS {
            let network = Network {
                mtu_bytes: dice.pick(&MTUS_BYTES),
                managed: dice.once_in(2),
                local_members: 0,
                remote_members: 0,
            };
            world.networks.insert(vni, network);
            for host in HOSTS.into_iter().filter(|host| *host != 1) {
                if dice.once_in(2) {
                    world.vteps.insert((vni, underlay.vtep(host)));
                }
            }
        }
        for number in 0..PORTS {
            let port = Port { vni: dice.pick(&VNIS), open: !dice.once_in(8), tap: dice.once_in(4) };
            world.ports.insert(number, port);
            world.know(port.vni, port_mac(number), port_address(number), Target::Port(number));
        }
        for number in 0..REMOTES {
            let vni = dice.pick(&VNIS);
            let vtep = underlay.any_vtep(dice);
            if vtep != underlay.own_vtep() && !dice.once_in(8) {
                world.vteps.insert((vni, vtep));
            }
            world.know(vni, remote_mac(number), remote_address(number), Target::Vtep(vtep));
        }
        world.fill_slots();
        world
    }

    fn know(&mut self, vni: u32, mac: MacAddr, address: Ipv4Addr, target: Target) {
        self.fdb.insert((vni, mac), target);
        if self.networks[&vni].managed {
            self.neighbors.insert((vni, address), mac);
            self.neighbors.insert((vni, SERVER), SERVER_MAC);
        }
    }

    fn fill_slots(&mut self) {
        for (vni, network) in &mut self.networks {
            let local = self.ports.iter().filter(|(_, port)| port.open && port.vni == *vni);
            for (slot, (number, _)) in local.enumerate() {
                self.local_members.insert((*vni, slot as u32), *number);
                network.local_members = slot as u32 + 1;
            }
            let remote = self.vteps.iter().filter(|(of, _)| of == vni);
            for (slot, (_, vtep)) in remote.enumerate() {
                self.remote_members.insert((*vni, slot as u32), *vtep);
                network.remote_members = slot as u32 + 1;
            }
        }
    }

    /// Another one: settled, or this one with some entries changed as they come.
    pub(super) fn next(&self, dice: &mut Dice) -> Self {
        if dice.once_in(6) {
            return Self::settled(self.underlay, dice);
        }
        let mut world = self.clone();
        for _ in 0..dice.within(1..8) {
            world.change(dice);
        }
        world
    }

    fn change(&mut self, dice: &mut Dice) {
        let vni = if dice.once_in(10) { UNKNOWN_VNI } else { dice.pick(&VNIS) };
        let slot = (vni, dice.within(0..SLOTS) as u32);
        let port = dice.within(0..PORTS.into()) as u8;
        match dice.within(0..19) {
            0..4 => self.change_port(port, dice),
            4..7 => self.change_network(vni, dice),
            7 => drop(self.local_members.insert(slot, port)),
            8 => drop(self.local_members.remove(&slot)),
            9 => drop(self.remote_members.insert(slot, self.underlay.any_vtep(dice))),
            10 => drop(self.remote_members.remove(&slot)),
            11 => drop(self.fdb.insert((vni, any_mac(dice)), Target::Port(port))),
            12 => drop(self.fdb.insert((vni, any_mac(dice)), Target::Vtep(self.underlay.any_vtep(dice)))),
            13 => drop(self.fdb.remove(&(vni, any_mac(dice)))),
            14 => drop(self.neighbors.insert((vni, any_address(dice)), any_mac(dice))),
            15 => drop(self.neighbors.remove(&(vni, any_address(dice)))),
            17 => self.route = dice.pick(&[Route::Found, Route::NoNeighbor, Route::Unreachable]),
            16 => {
                let budget = match dice.within(0..4) {
                    0 => Budget::PortBum(port),
                    1 => Budget::PortDhcp(port),
                    2 => Budget::PortIcmp(port),
                    _ => Budget::NetworkBum(vni),
                };
                if !self.spent.remove(&budget) {
                    self.spent.insert(budget);
                }
            }
            _ => {
                let vtep = (vni, self.underlay.any_vtep(dice));
                if !self.vteps.remove(&vtep) {
                    self.vteps.insert(vtep);
                }
                self.queue_full = dice.once_in(4);
            }
        }
    }

    fn change_port(&mut self, number: u8, dice: &mut Dice) {
        let closed = Port { vni: dice.pick(&VNIS), open: false, tap: dice.once_in(4) };
        let port = self.ports.entry(number).or_insert(closed);
        match dice.within(0..4) {
            0 => port.vni = dice.pick(&VNIS),
            1 => port.tap = !port.tap,
            2 if dice.once_in(2) => drop(self.ports.remove(&number)),
            _ => port.open = !port.open,
        }
    }

    fn change_network(&mut self, vni: u32, dice: &mut Dice) {
        let new = Network { mtu_bytes: 1450, managed: dice.once_in(2), local_members: 0, remote_members: 0 };
        let network = self.networks.entry(vni).or_insert(new);
        match dice.within(0..5) {
            0 => network.mtu_bytes = dice.pick(&MTUS_BYTES),
            1 => network.managed = !network.managed,
            2 => network.local_members = dice.within(0..SLOTS) as u32,
            3 => network.remote_members = dice.within(0..SLOTS) as u32,
            _ => drop(self.networks.remove(&vni)),
        }
    }
}

/// One that some network may know.
pub(super) fn any_mac(dice: &mut Dice) -> MacAddr {
    match dice.within(0..10) {
        0 => SERVER_MAC,
        1 => MacAddr::for_port([9; 5]),
        2..5 => remote_mac(dice.within(0..REMOTES.into()) as u8),
        _ => port_mac(dice.within(0..PORTS.into()) as u8),
    }
}

pub(super) fn any_address(dice: &mut Dice) -> Ipv4Addr {
    match dice.within(0..10) {
        0 => SERVER,
        1 => Ipv4Addr::new(10, 0, 0, 77),
        2..5 => remote_address(dice.within(0..REMOTES.into()) as u8),
        _ => port_address(dice.within(0..PORTS.into()) as u8),
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.underlay == Underlay::Ipv6 {
            writeln!(f, "underlay ipv6")?;
        }
        for (number, Port { vni, open, tap }) in &self.ports {
            let (state, kind) = (if *open { "open" } else { "closed" }, if *tap { "tap" } else { "veth" });
            writeln!(f, "port {number} {vni} {state} {kind}")?;
        }
        for (vni, Network { mtu_bytes, managed, local_members, remote_members }) in &self.networks {
            let managed = if *managed { "managed" } else { "unmanaged" };
            writeln!(f, "network {vni} {mtu_bytes} {managed} {local_members} {remote_members}")?;
        }
        for ((vni, mac), target) in &self.fdb {
            match target {
                Target::Port(port) => writeln!(f, "fdb {vni} {mac} port {port}")?,
                Target::Vtep(vtep) => writeln!(f, "fdb {vni} {mac} vtep {vtep}")?,
            }
        }
        for ((vni, address), mac) in &self.neighbors {
            writeln!(f, "neighbor {vni} {address} {mac}")?;
        }
        for (vni, vtep) in &self.vteps {
            writeln!(f, "vtep {vni} {vtep}")?;
        }
        for ((vni, slot), port) in &self.local_members {
            writeln!(f, "local-member {vni} {slot} {port}")?;
        }
        for ((vni, slot), vtep) in &self.remote_members {
            writeln!(f, "remote-member {vni} {slot} {vtep}")?;
        }
        for budget in &self.spent {
            match budget {
                Budget::PortBum(port) => writeln!(f, "spent port-bum {port}")?,
                Budget::PortDhcp(port) => writeln!(f, "spent port-dhcp {port}")?,
                Budget::NetworkBum(vni) => writeln!(f, "spent network-bum {vni}")?,
                Budget::PortIcmp(port) => writeln!(f, "spent port-icmp {port}")?,
            }
        }
        match self.route {
            Route::Found => {}
            Route::Unreachable => writeln!(f, "route unreachable")?,
            Route::NoNeighbor => writeln!(f, "route no-neighbor")?,
        }
        if self.queue_full {
            writeln!(f, "queue-full")?;
        }
        Ok(())
    }
}

impl World {
    /// Adds the entry of a line. Returns whether it is one.
    pub(super) fn read(&mut self, line: &str) -> bool {
        fn number<T: FromStr>(text: &str) -> T {
            text.parse().unwrap_or_else(|_| panic!("in a case: {text}"))
        }
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["underlay", "ipv6"] => self.underlay = Underlay::Ipv6,
            ["port", port, vni, state, kind] => {
                let entry = Port { vni: number(vni), open: state == "open", tap: kind == "tap" };
                self.ports.insert(number(port), entry);
            }
            ["network", vni, mtu_bytes, managed, local_members, remote_members] => {
                let entry = Network {
                    mtu_bytes: number(mtu_bytes),
                    managed: managed == "managed",
                    local_members: number(local_members),
                    remote_members: number(remote_members),
                };
                self.networks.insert(number(vni), entry);
            }
            ["fdb", vni, mac, "port", port] => {
                self.fdb.insert((number(vni), number(mac)), Target::Port(number(port)));
            }
            ["fdb", vni, mac, "vtep", vtep] => {
                self.fdb.insert((number(vni), number(mac)), Target::Vtep(number(vtep)));
            }
            ["neighbor", vni, address, mac] => {
                self.neighbors.insert((number(vni), number(address)), number(mac));
            }
            ["vtep", vni, vtep] => drop(self.vteps.insert((number(vni), number(vtep)))),
            ["local-member", vni, slot, port] => {
                self.local_members.insert((number(vni), number(slot)), number(port));
            }
            ["remote-member", vni, slot, vtep] => {
                self.remote_members.insert((number(vni), number(slot)), number(vtep));
            }
            ["spent", "port-bum", port] => drop(self.spent.insert(Budget::PortBum(number(port)))),
            ["spent", "port-dhcp", port] => drop(self.spent.insert(Budget::PortDhcp(number(port)))),
            ["spent", "port-icmp", port] => drop(self.spent.insert(Budget::PortIcmp(number(port)))),
            ["spent", "network-bum", vni] => drop(self.spent.insert(Budget::NetworkBum(number(vni)))),
            ["route", "unreachable"] => self.route = Route::Unreachable,
            ["route", "no-neighbor"] => self.route = Route::NoNeighbor,
            ["queue-full"] => self.queue_full = true,
            _ => return false,
        }
        true
    }
}
