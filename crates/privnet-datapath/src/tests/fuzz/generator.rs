//! Frames that somebody might send: seeds, and what becomes of them by small changes of the kinds that
//! the rules look at.

use std::net::{IpAddr, Ipv4Addr};

use privnet_model::MacAddr;

use super::dice::Dice;
use super::fast_lane;
use super::input::{Door, Flow, Input, Segments, Tag, Tunnel, from_hex};
use super::rig::UNDERLAY_MAC;
use super::world::{PORTS, Target, UNKNOWN_VNI, Underlay, VNIS, World, any_address, any_mac, port_mac};

/// One frame a line, each with its name.
const SEEDS: &str = include_str!("seeds.txt");
pub(super) const HEADER_OCTETS: usize = 14;
/// The kernels that we run on take no larger ones in a test run.
pub(super) const FRAME_OCTETS_MAX: usize = 3520;
/// Inputs with a new outcome that are kept to begin with.
const CORPUS_MAX: usize = 4096;
const GROUPS: [[u8; 6]; 6] = [
    [0xff; 6],
    [0x33, 0x33, 0, 0, 0, 1],
    [0x01, 0x00, 0x5e, 0, 0, 0xfb],
    [0x01, 0x80, 0xc2, 0, 0, 0],
    [0x01, 0x80, 0xc2, 0, 0, 0x0e],
    [0x0b, 0, 0, 0, 0, 1],
];
const ETHERTYPES: [u16; 14] =
    [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x88b5, 0x88cc, 0x8847, 0x8863, 0x0027, 0x05dc, 0x0600, 0xffff];
const NUMBERS: [u16; 18] =
    [0, 1, 2, 4, 17, 53, 67, 68, 546, 547, 4789, 0x0604, 0x0800, 0x2000, 0x1fff, 0x3fff, 0x4500, 0xffff];
const LENGTHS: [usize; 16] = [14, 15, 18, 33, 34, 37, 38, 41, 42, 60, 64, 82, 1414, 1464, 1514, 1536];

pub(super) struct Generator {
    /// The seeds, and then what was kept.
    corpus: Vec<Input>,
    seeds: usize,
}

impl Generator {
    pub(super) fn new() -> Self {
        let corpus: Vec<_> = seeds().map(from_port_0).collect();
        Self { seeds: corpus.len(), corpus }
    }

    /// Keeps an input that had an outcome that no other had.
    pub(super) fn keep(&mut self, input: &Input) {
        if self.corpus.len() < CORPUS_MAX {
            self.corpus.push(input.clone());
        }
    }

    pub(super) fn next(&self, dice: &mut Dice, world: &World) -> Input {
        let of = if dice.once_in(2) { self.seeds } else { self.corpus.len() };
        let mut input = self.corpus[dice.within(0..of)].clone();
        input.door = door(dice, world);
        address(&mut input, dice, world);
        // Half of all are as they are but for their addresses; the others have one change or some more.
        if dice.once_in(2) {
            self.change(&mut input, dice, world);
            while !dice.once_in(3) {
                self.change(&mut input, dice, world);
            }
        }
        // What is cut into segments has some headers.
        input.segments = input.segments.filter(|_| input.frame.len() >= 64);
        input.flow = Flow { hash: if dice.once_in(32) { 0 } else { dice.next() as u32 }, rests: dice.once_in(16) };
        if let Door::Overlay(Some(tunnel)) = input.door
            && dice.once_in(2)
        {
            input.door = Door::Underlay;
            input.frame.truncate(FRAME_OCTETS_MAX - 64);
            if !dice.once_in(4) {
                // What the fast lane may take.
                put(&mut input.frame, 12, &dice.pick(&[0x0800u16, 0x86dd]).to_be_bytes());
                put(&mut input.frame, 0, &[0x0a]);
            }
            input.frame = enveloped(dice, world, tunnel, &input.frame);
        }
        input
    }

    fn change(&self, input: &mut Input, dice: &mut Dice, world: &World) {
        let frame = &mut input.frame;
        let last = frame.len() - 1;
        match dice.within(0..22) {
            0 => put(frame, 0, &any_mac(dice).octets()),
            1 => put(frame, 6, &any_mac(dice).octets()),
            2 => put(frame, 0, &dice.pick(&GROUPS)),
            3 | 4 => put(frame, 12, &dice.pick(&ETHERTYPES).to_be_bytes()),
            5 => {
                let at = dice.within(0..frame.len());
                frame[at] ^= 1 << dice.within(0..8);
            }
            6 => {
                let at = dice.within(0..frame.len());
                frame[at] = dice.octet();
            }
            7 => frame.truncate(dice.within(HEADER_OCTETS..last.max(HEADER_OCTETS) + 2)),
            8 => frame.resize(dice.pick(&LENGTHS), dice.octet()),
            9 => {
                // Around the MTU of some network.
                let vni = dice.pick(&VNIS);
                let mtu_bytes = world.networks.get(&vni).map_or(1450, |network| network.mtu_bytes as usize);
                frame.resize(mtu_bytes + HEADER_OCTETS - 2 + dice.within(0..5), dice.octet());
            }
            10 => self.splice(frame, dice),
            11 | 12 => {
                let at = dice.within(0..frame.len().div_ceil(2)) * 2;
                put(frame, at, &dice.pick(&NUMBERS).to_be_bytes());
            }
            13 => put(frame, dice.pick(&[26, 28, 30, 38]), &any_address(dice).octets()),
            14 => {
                let tag = [dice.pick(&[0x8100u16, 0x88a8]).to_be_bytes(), tci(dice).to_be_bytes()].concat();
                frame.splice(12..12, tag);
            }
            15 => {
                let tag = Tag { ethertype: dice.pick(&[0x8100, 0x88a8]), tci: tci(dice) };
                input.tag = if dice.once_in(4) { None } else { Some(tag) };
            }
            16 => {
                let segments = Segments { payload_octets: 1 + dice.next() as u32 % 1500, count: dice.pick(&[0, 1, 3]) };
                input.segments = if dice.once_in(4) { None } else { Some(segments) };
            }
            // An IPv4 header's first octet, protocol, fragment.
            17 => put(frame, 14, &[dice.pick(&[0x45, 0x46, 0x4f, 0x40, 0x44, 0x55, 0x65])]),
            18 => put(frame, 23, &[dice.pick(&[1, 2, 6, 17, 50, 255])]),
            19 => put(frame, 20, &dice.pick(&[0u16, 0x2000, 0x4000, 1, 0x2001, 0x8000]).to_be_bytes()),
            // UDP ports, if the header has no options or one.
            20 => put(frame, dice.pick(&[34, 36, 38, 40]), &dice.pick(&[67u16, 68, 53]).to_be_bytes()),
            // An ARP packet's operation, sender and lengths.
            _ => match dice.within(0..4) {
                0 => put(frame, 20, &dice.pick(&[0u16, 1, 2, 3, 8]).to_be_bytes()),
                1 => put(frame, 22, &any_mac(dice).octets()),
                2 => put(frame, 18, &[dice.pick(&[6, 4, 8]), dice.pick(&[4, 6, 16])]),
                _ => put(frame, 28, &[0; 4]),
            },
        }
        let octets = input.frame.len().clamp(HEADER_OCTETS, FRAME_OCTETS_MAX);
        input.frame.resize(octets, 0);
    }

    /// The beginning of one frame and the end of another.
    fn splice(&self, frame: &mut Vec<u8>, dice: &mut Dice) {
        let other = &self.corpus[dice.within(0..self.corpus.len())].frame;
        let at = dice.within(0..frame.len().min(other.len()));
        frame.truncate(at);
        frame.extend_from_slice(&other[at..]);
    }
}

/// The committed seeds.
fn seeds() -> impl Iterator<Item = Vec<u8>> {
    let lines = SEEDS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| from_hex(line.split_once(' ').expect("a name and octets").1))
}

fn from_port_0(frame: Vec<u8>) -> Input {
    Input::plain(Door::Port(0), frame)
}

/// How a frame comes in: mostly by an open port, or from a VTEP that may send into that network.
fn door(dice: &mut Dice, world: &World) -> Door {
    if dice.once_in(4) {
        let vni = if dice.once_in(16) { UNKNOWN_VNI } else { dice.pick(&VNIS) };
        let other = if world.underlay == Underlay::Ipv4 { Underlay::Ipv6 } else { Underlay::Ipv4 };
        let tunnel = Tunnel { vni, source: if dice.once_in(8) { other } else { world.underlay }.any_vtep(dice) };
        // Of one that has ports of that network, mostly.
        let behind = world.fdb.iter().filter_map(|((vni, _), target)| match target {
            Target::Vtep(vtep) => Some((*vni, *vtep)).filter(|vtep| world.vteps.contains(vtep)),
            Target::Port(_) => None,
        });
        let known = if dice.once_in(8) { None } else { some_of(dice, behind) };
        let known = known.or_else(|| some_of(dice, world.vteps.iter().copied()));
        let known = known.map(|(vni, source)| Tunnel { vni, source });
        return match dice.within(0..64) {
            0 => Door::Overlay(None),
            1..8 => Door::Overlay(Some(tunnel)),
            _ => Door::Overlay(Some(known.unwrap_or(tunnel))),
        };
    }
    let any = dice.within(0..PORTS.into()) as u8;
    let open = world.ports.iter().filter(|(_, port)| port.open).map(|(number, _)| *number);
    Door::Port(if dice.once_in(12) { any } else { some_of(dice, open).unwrap_or(any) })
}

/// From whom the frame is, mostly in truth, and to whom, mostly somebody in its network.
fn address(input: &mut Input, dice: &mut Dice, world: &World) {
    let any = any_mac(dice);
    let source = match input.door {
        _ if dice.once_in(16) => any,
        Door::Port(port) => port_mac(port),
        Door::Overlay(Some(Tunnel { vni, source })) => {
            let behind =
                |((of, _), target): &(&(u32, MacAddr), &Target)| *of == vni && **target == Target::Vtep(source);
            some_of(dice, world.fdb.iter().filter(behind)).map_or(any, |((_, mac), _)| *mac)
        }
        Door::Overlay(None) | Door::Underlay => any,
    };
    let vni = match input.door {
        Door::Port(port) => world.ports.get(&port).map(|port| port.vni),
        Door::Overlay(tunnel) => tunnel.map(|tunnel| tunnel.vni),
        Door::Underlay => None,
    };
    let frame = &mut input.frame;
    put(frame, 6, &source.octets());
    if frame[12..14] == [0x08, 0x06] && !dice.once_in(12) {
        let known = world.neighbors.keys().filter(|(of, _)| Some(*of) == vni).map(|(_, address)| *address);
        let address = some_of(dice, known).unwrap_or(any_address(dice));
        put(frame, 22, &source.octets());
        put(frame, 38, &address.octets());
    }
    let is_group = MacAddr::from(*frame.first_chunk().expect("a header")).is_group();
    if !is_group || dice.once_in(4) {
        let known = world.fdb.keys().filter(|(of, _)| Some(*of) == vni).map(|(_, mac)| *mac);
        let any = any_mac(dice);
        let to = if dice.once_in(8) { any } else { some_of(dice, known).unwrap_or(any) };
        put(frame, 0, &to.octets());
    }
}

fn some_of<T>(dice: &mut Dice, items: impl Iterator<Item = T> + Clone) -> Option<T> {
    let count = items.clone().count();
    (count > 0).then(|| items.clone().nth(dice.within(0..count))).flatten()
}

/// A frame as another host sends it, or somebody who would be one.
fn enveloped(dice: &mut Dice, world: &World, tunnel: Tunnel, frame: &[u8]) -> Vec<u8> {
    let ipv4 = |address| if let IpAddr::V4(address) = address { address } else { Ipv4Addr::new(192, 0, 2, 1) };
    let (from, to) = (ipv4(tunnel.source), ipv4(world.underlay.own_vtep()));
    let packet = fast_lane::envelope(from, to, 0, dice.next() as u16, tunnel.vni, frame);
    let mut outer = [&UNDERLAY_MAC.octets()[..], &[2, 0, 0, 0, 0, 2, 8, 0], &packet].concat();
    if dice.once_in(2) {
        let number = dice.pick(&NUMBERS).to_be_bytes();
        match dice.within(0..18) {
            0 => put(&mut outer, 0, &any_mac(dice).octets()),
            1 => put(&mut outer, 12, &dice.pick(&ETHERTYPES).to_be_bytes()),
            2 => put(&mut outer, 14, &[dice.pick(&[0x46, 0x55, 0x65, 0x40])]),
            3 | 4 => put(&mut outer, 15, &[dice.octet()]),
            5 => put(&mut outer, 16, &number),
            6 => put(&mut outer, 20, &dice.pick(&[0x2000u16, 0x4000, 0x8000, 1, 0x1fff]).to_be_bytes()),
            7 => put(&mut outer, 23, &[dice.pick(&[6, 1, 136])]),
            8 => put(&mut outer, 24, &number),
            9 => put(&mut outer, 26, &dice.next().to_be_bytes()[..4]),
            10 => put(&mut outer, 30, &dice.pick(&[0, 0xffff_ffff, 0x7f00_0001, 0xc000_0202u32]).to_be_bytes()),
            11 => put(&mut outer, 36, &number),
            12 => put(&mut outer, 38, &number),
            13 => put(&mut outer, 40, &number),
            14 => put(&mut outer, 42, &[dice.octet()]),
            15 => put(&mut outer, 43 + dice.within(0..7), &[dice.octet()]),
            16 => outer.truncate(dice.within(HEADER_OCTETS..outer.len())),
            _ => outer.push(0),
        }
        if dice.once_in(2) && outer.len() >= HEADER_OCTETS + 20 {
            fast_lane::mend_checksum(&mut outer[HEADER_OCTETS..HEADER_OCTETS + 20]);
        }
    }
    outer
}

fn tci(dice: &mut Dice) -> u16 {
    dice.pick(&[0, 1, 5, 0x0fff, 0x1000, 0x2005, 0xe000])
}

/// Writes as much of it as there is place for.
fn put(frame: &mut [u8], at: usize, octets: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(octets) {
        *to = *from;
    }
}
