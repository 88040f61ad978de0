//! Frames between all instances, all the time, and what is made of those that arrive.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::Shared;
use super::event::InstanceSlot;
use super::frame::{self, DhcpAnswer, EVERYBODY, Mac, Probe, Purpose, SERVER_MAC};
use super::ledger::LivePort;
use super::station::Station;

/// How long the receiving thread keeps others from changing the list of stations.
const POLL_MS: u8 = 10;

/// Between two frames.
const SEND_EVERY: Duration = Duration::from_millis(2);

/// Between two looks at which devices and ports there are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest frame that is looked at; of longer ones the rest is cut off.
const FRAME_OCTETS_MAX: usize = 2048;

/// What was sent and what has arrived.
#[derive(Default)]
pub(crate) struct Traffic {
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// The step or mesh that frames belong to now.
    pub(crate) round: u32,
    /// Frames of traffic in this round that went from one port to another: sent, received.
    pub(crate) flows: HashMap<(Mac, Mac), Flow>,
    /// Frames of a mesh in this round: receiver, sender, and whether to everybody.
    pub(crate) mesh: BTreeMap<(Mac, Mac, bool), u32>,
    /// Answers of DHCP, with the port that got them.
    pub(crate) dhcp: HashSet<(Mac, DhcpAnswer)>,
    /// Receiver and source of frames about which it is not decided whether they may be.
    undecided: HashMap<(Mac, Mac), String>,
    decided: HashSet<(Mac, Mac)>,
    /// How many frames of ours have come in.
    pub(crate) received: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Traffic {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on frames are of another round.
    pub(crate) fn next_round(&self) -> u32 {
        let mut state = self.state();
        state.round += 1;
        state.flows.clear();
        state.mesh.clear();
        state.round
    }

    /// The pairs about which it is still not decided, as nobody knows one of their addresses.
    pub(crate) fn undecided(&self) -> Vec<String> {
        self.state().undecided.values().cloned().collect()
    }
}

/// Receives everything until the run ends, and holds it against the ledger as it comes.
pub(crate) fn receive(shared: &Arc<Shared>) {
    let mut buffer = vec![0; FRAME_OCTETS_MAX];
    let mut looked_at = Instant::now();
    while !shared.is_stopping.load(Ordering::Relaxed) {
        let stations = shared.stations();
        let sockets: Vec<(&InstanceSlot, &Station)> = stations.iter().collect();
        let mut fds: Vec<_> = sockets.iter().map(|(_, one)| PollFd::new(one.socket(), PollFlags::POLLIN)).collect();
        if fds.is_empty() {
            drop(stations);
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        if poll(&mut fds, PollTimeout::from(POLL_MS)).is_ok_and(|ready| ready > 0) {
            for ((slot, station), _) in sockets.iter().zip(&fds).filter(|(_, fd)| fd.any() == Some(true)) {
                while let Some((octets, ifindex)) = station.receive(&mut buffer) {
                    observe(shared, **slot, station, ifindex, &buffer[..octets.min(FRAME_OCTETS_MAX)]);
                }
            }
        }
        drop(stations);
        if looked_at.elapsed() > LOOK_EVERY {
            looked_at = Instant::now();
            decide(shared);
        }
    }
}

fn observe(shared: &Shared, slot: InstanceSlot, station: &Station, ifindex: u32, frame: &[u8]) {
    let Some((_, source)) = frame::addresses(frame) else { return };
    if station.mac_of(ifindex).is_none() {
        // Fails only when the namespace goes, and then the device is not found below.
        let _ = station.refresh();
    }
    // A device that came and went since somebody last looked.
    let Some(receiver) = station.mac_of(ifindex) else { return };
    let describe = || {
        let start = frame.iter().take(48).map(|octet| format!("{octet:02x}")).collect::<String>();
        format!("{slot} ({}) received {start}", frame::text(receiver))
    };
    let mut state = shared.traffic.state();
    if source != SERVER_MAC && !state.decided.contains(&(receiver, source)) {
        state.undecided.entry((receiver, source)).or_insert_with(describe);
    }
    if let Some(probe) = Probe::read(frame).filter(|probe| probe.run == shared.run) {
        state.note(&probe, receiver);
        drop(state);
        if let Some(wrong) = what_is_wrong(&probe, receiver) {
            shared.violate(format!("{wrong}: {}", describe()));
        }
    } else if let Some(answer) = frame::dhcp_answer(frame) {
        state.dhcp.insert((receiver, answer));
        drop(state);
        if source != SERVER_MAC {
            shared.violate(format!("(9) a DHCP answer of an instance: {}", describe()));
        } else if answer.client != receiver {
            shared.violate(format!("(9) somebody else's DHCP answer: {}", describe()));
        }
    }
}

impl State {
    fn note(&mut self, probe: &Probe, receiver: Mac) {
        self.received += 1;
        if probe.round != self.round {
            return;
        }
        let is_to_all = probe.destination == EVERYBODY;
        match probe.purpose {
            Purpose::Mesh => *self.mesh.entry((receiver, probe.sender, is_to_all)).or_default() += 1,
            Purpose::Traffic if !is_to_all => self.flows.entry((probe.sender, receiver)).or_default().received += 1,
            Purpose::Traffic | Purpose::Forged | Purpose::Noise | Purpose::Astray => {}
        }
    }
}

/// What is wrong with a frame of ours by itself.
fn what_is_wrong(probe: &Probe, receiver: Mac) -> Option<&'static str> {
    if probe.purpose == Purpose::Forged || probe.source != probe.sender {
        return Some("(4) a frame with a forged source has left its port");
    }
    if probe.purpose == Purpose::Astray {
        return Some("(3) a frame for another network's port has arrived");
    }
    if probe.destination != EVERYBODY && probe.destination != receiver {
        return Some("a frame has arrived at a port that it is not for");
    }
    (probe.sender == receiver).then_some("a frame has come back to its sender")
}

/// Receiver and sender of every frame are in the same network (invariant 3).
pub(crate) fn decide(shared: &Shared) {
    let ledger = shared.ledger();
    let mut state = shared.traffic.state();
    let mut decided = Vec::new();
    let mut crossed = Vec::new();
    for (pair, example) in &state.undecided {
        let (Some(receiver), Some(sender)) = (ledger.ports.get(&pair.0), ledger.ports.get(&pair.1)) else { continue };
        decided.push(*pair);
        if receiver.network != sender.network {
            crossed.push(format!("(3) a frame of {} has crossed to {}: {example}", sender.name, receiver.name));
        }
    }
    for pair in decided {
        state.undecided.remove(&pair);
        state.decided.insert(pair);
    }
    drop((state, ledger));
    crossed.into_iter().for_each(|violation| shared.violate(violation));
}

/// Sends frames until the run ends, but for the times when it is not to.
pub(crate) fn send(shared: &Arc<Shared>, seed: u64) {
    // What is sent when is nothing that a plan could say.
    let mut random = StdRng::seed_from_u64(!seed);
    let mut ports: Vec<LivePort> = Vec::new();
    let mut looked_at = None::<Instant>;
    while !shared.is_stopping.load(Ordering::Relaxed) {
        std::thread::sleep(SEND_EVERY);
        if looked_at.is_none_or(|at| at.elapsed() > LOOK_EVERY) {
            looked_at = Some(Instant::now());
            refresh_stations(shared);
            ports = shared.ledger().live_ports();
        }
        let sending = shared.sending();
        if *sending && let Some(from) = ports.choose(&mut random) {
            send_one(shared, &mut random, from, &ports);
        }
    }
}

pub(crate) fn refresh_stations(shared: &Shared) {
    for station in shared.stations().values() {
        // A namespace that is being removed has no devices.
        let _ = station.refresh();
    }
}

fn send_one(shared: &Shared, random: &mut StdRng, from: &LivePort, ports: &[LivePort]) {
    let peers = |is_same: bool| {
        let is_peer = move |to: &&LivePort| (to.port.network == from.port.network) == is_same;
        ports.iter().filter(is_peer).filter(|to| to.port.mac != from.port.mac).collect::<Vec<_>>()
    };
    let some_mac = |random: &mut StdRng, is_same| peers(is_same).choose(random).map(|to| to.port.mac);
    let (source, destination, purpose) = match random.random_range(0..100) {
        0..60 => (from.port.mac, some_mac(random, true), Purpose::Traffic),
        60..70 => (from.port.mac, Some(EVERYBODY), Purpose::Traffic),
        70..80 => (from.port.mac, some_mac(random, false), Purpose::Astray),
        80..85 => (some_mac(random, true).unwrap_or([2; 6]), Some(EVERYBODY), Purpose::Forged),
        85..90 => (some_mac(random, false).unwrap_or([2; 6]), some_mac(random, true), Purpose::Forged),
        90..95 => (SERVER_MAC, Some(EVERYBODY), Purpose::Forged),
        _ => return ask_dhcp(shared, from, random.random(), None),
    };
    let Some(destination) = destination else { return };
    let sender = from.port.mac;
    let round = shared.traffic.state().round;
    let probe = Probe { destination, source, sender, purpose, run: shared.run, round };
    if emit(shared, from, &probe.write()) && purpose == Purpose::Traffic && destination != EVERYBODY {
        shared.traffic.state().flows.entry((sender, destination)).or_default().sent += 1;
    }
}

/// Sends a probe of the present round; whether the device took it.
pub(crate) fn send_probe(shared: &Shared, from: &LivePort, destination: Mac, purpose: Purpose) -> bool {
    let round = shared.traffic.state().round;
    let (source, sender) = (from.port.mac, from.port.mac);
    emit(shared, from, &Probe { destination, source, sender, purpose, run: shared.run, round }.write())
}

/// Asks for a lease, or for this one again. In an unmanaged network that would be a broadcast like any other.
pub(crate) fn ask_dhcp(shared: &Shared, from: &LivePort, xid: u32, wanted: Option<Ipv4Addr>) {
    if from.is_managed {
        emit(shared, from, &frame::dhcp_request(from.port.mac, xid, wanted));
    }
}

fn emit(shared: &Shared, from: &LivePort, frame: &[u8]) -> bool {
    let stations = shared.stations();
    let Some(station) = stations.get(&from.instance) else { return false };
    station.device_of(from.port.mac).is_some_and(|ifindex| station.send(ifindex, frame).is_ok())
}

/// The ports that see the same throughout a step: their pairs lose nothing (invariant 8).
pub(crate) fn steady_pairs(
    before: &[LivePort],
    after: &[LivePort],
    is_harmed: impl Fn(&LivePort) -> bool,
) -> BTreeSet<(Mac, Mac)> {
    let stays = |port: &&LivePort| {
        !is_harmed(port) && after.iter().any(|one| one.port.mac == port.port.mac && one.host == port.host)
    };
    let steady: Vec<_> = before.iter().filter(stays).collect();
    let pairs = steady.iter().flat_map(|from| steady.iter().map(move |to| (from, to)));
    let same = pairs.filter(|(from, to)| from.port.network == to.port.network && from.port.mac != to.port.mac);
    same.map(|(from, to)| (from.port.mac, to.port.mac)).collect()
}
