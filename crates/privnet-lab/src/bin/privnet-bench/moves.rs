//! How long an instance that moves is not reached, and how soon others send to its new host.
//!
//! An instance on a third host sends a probe every millisecond to the one that moves to and fro between
//! two hosts. In both of its namespaces somebody answers on whatever device is there, so that nothing is
//! measured but the network.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};
use privnet_lab::{Instance, Lab, Namespace, check_interrupts, octets};
use serde_json::json;

use crate::http::{Connection, request};
use crate::ports::operate;
use crate::report::Measurement;
use crate::runs::RUNS;
use crate::session::{Session, Step};
use crate::stats::{percentile, spread};

const NAMES: [&str; 3] = ["move_blackhole_ms", "move_blackhole_p50", "move_follow_ms"];

pub(crate) static STEPS: [Step; 1] = [Step { what: "moves", names: &NAMES, seconds: 25 }];

/// As many in each round: to the other host and back.
const MOVES_PER_ROUND: usize = 12;

/// How often a probe is sent.
const INTERVAL: Duration = Duration::from_millis(1);

/// So many answers before and after a move say that all is well.
const STEADY_ANSWERS: usize = 20;

/// An instance that is not reached by then is lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// How often a thread that receives nothing looks whether it shall end.
const IDLE_MS: i64 = 50;

/// IEEE 802 local experimental ethertype 1.
const EXPERIMENT: u16 = 0x88b5;

/// Ethernet, IPv4 without options, UDP and VXLAN headers: the outer ones of a probe.
const OUTER_BYTES: usize = 14 + 20 + 8 + 8;

pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], measure_moves)
}

fn measure_moves() -> Result<Vec<Measurement>> {
    let mut lab = Lab::builder().hosts(3).start()?;
    let api = lab.api().clone();
    let network = api.create_network(&json!({"name": "moves"}))?;
    let (moving, watching) = (lab.add_instance("moving", 1)?, lab.add_instance("watching", 3)?);
    let places = [moving.namespace.clone(), lab.add_namespace()?];
    // Both hosts carry the network all the time, as they mostly do where instances move.
    let resident = lab.add_instance("resident", 2)?;
    for instance in [&moving, &watching, &resident] {
        api.attach(&network, &instance.id, None)?;
    }
    let probe = Probe::new(mac_of(&api, &moving)?, mac_of(&api, &watching)?);
    let rounds = thread::scope(|scope| {
        let answering = places.each_ref().map(|place| scope.spawn(|| probe.answer(place)));
        let watch = scope.spawn(|| probe.watch(&lab.host(3).namespace, lab.host(3).underlay_device));
        let sending = scope.spawn(|| probe.send(&watching.namespace));
        let rounds = (0..RUNS).map(|_| round(&lab, &probe, &moving, &places)).collect::<Result<Vec<_>>>();
        probe.stop.store(true, Ordering::Relaxed);
        for thread in answering.into_iter().chain([watch, sending]) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        rounds
    })?;
    let of = |name, percent, number: fn(&Moved) -> f64| {
        let round = |round: &Vec<Moved>| round.iter().map(number).collect::<Vec<_>>();
        let per_round: Vec<_> = rounds.iter().map(round).collect();
        let values = spread(per_round.iter().map(|round| percentile(round, percent)));
        Measurement::alone(name, percentile(&per_round.concat(), percent), values)
    };
    Ok(vec![
        of(NAMES[0], 99, |moved| moved.blackhole_ms),
        of(NAMES[1], 50, |moved| moved.blackhole_ms),
        of(NAMES[2], 99, |moved| moved.follow_ms),
    ])
}

fn mac_of(api: &privnet_lab::Api, instance: &Instance) -> Result<Vec<u8>> {
    let shown = api.get(&format!("/v2/instance/{}", instance.id))?;
    Ok(octets(shown["private-networks"][0]["mac-address"].as_str().context("a port has a MAC address")?))
}

/// What one move came to.
#[derive(Debug, Clone, Copy)]
struct Moved {
    /// From the last probe that was answered before to the first that was after.
    blackhole_ms: f64,
    /// From the request to the first probe that was sent to the new host.
    follow_ms: f64,
}

fn round(lab: &Lab, probe: &Probe, moving: &Instance, places: &[Namespace; 2]) -> Result<Vec<Moved>> {
    let mut connection = Connection::open(lab.api())?;
    let path = format!("/privnet/v1/instances/{}:move", moving.id);
    let mut moves = Vec::with_capacity(MOVES_PER_ROUND);
    for number in 0..MOVES_PER_ROUND {
        check_interrupts()?;
        // The host and the namespace that it is not in.
        let to = (number + 1) % 2;
        let host = lab.host(to + 1);
        let body = json!({"host": host.name, "netns": places[to].name()});
        let wish = request(lab.api(), "PUT", &path, Some(&body))?;
        let before = probe.wait_for_answers()?;
        probe.expect_at(host.vtep);
        let started = Instant::now();
        operate(lab.api(), &mut connection, &wish)?;
        let after = probe.wait_for_answers()?;
        let followed = probe.followed().context("no probe was sent to the new host")?;
        moves.push(Moved {
            blackhole_ms: probe.longest_silence(before, after).as_secs_f64() * 1e3,
            follow_ms: followed.saturating_duration_since(started).as_secs_f64() * 1e3,
        });
    }
    Ok(moves)
}

/// Frames that are numbered, sent and answered.
struct Probe {
    /// Of the instance that moves.
    to: Vec<u8>,
    from: Vec<u8>,
    stop: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// When each was sent, by its number.
    sent: Vec<Instant>,
    /// When those that were answered had been sent.
    answered: BTreeMap<usize, Instant>,
    /// Where the next are expected, and when the first was seen there.
    expected_at: Option<IpAddr>,
    seen_at: Option<Instant>,
}

impl Probe {
    fn new(to: Vec<u8>, from: Vec<u8>) -> Self {
        Self { to, from, stop: AtomicBool::new(false), log: Mutex::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends probes from a namespace, and notes which are answered, until it is stopped.
    fn send(&self, namespace: &Namespace) -> Result<()> {
        let socket = PacketSocket::open(namespace, "net0", EXPERIMENT)?;
        let mut next = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.log().sent.len();
            let header = [&self.to[..], &self.from, &EXPERIMENT.to_be_bytes()].concat();
            let sent = Instant::now();
            socket.send(&[&header[..], &number.to_be_bytes()].concat())?;
            self.log().sent.push(sent);
            next += INTERVAL;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            while let Some(answer) = socket.receive(libc::MSG_DONTWAIT)? {
                self.note(&answer);
            }
        }
        Ok(())
    }

    fn note(&self, answer: &Frame) {
        let number = answer.octets.get(14..).and_then(|payload| payload.first_chunk());
        let mut log = self.log();
        if let Some(number) = number.map(|number| usize::from_be_bytes(*number))
            && let Some(sent) = log.sent.get(number).copied()
        {
            log.answered.insert(number, sent);
        }
    }

    /// Answers every probe that comes by any device of a namespace, until it is stopped.
    fn answer(&self, namespace: &Namespace) -> Result<()> {
        let socket = PacketSocket::open(namespace, "", EXPERIMENT)?;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(mut probe) = socket.receive(0)? else { continue };
            let (to, from) = probe.octets.split_at_mut(6);
            to.swap_with_slice(&mut from[..6]);
            // The device may have just left; that the probe is not answered then is what is measured.
            let _ = socket.send_by(&probe.octets, probe.device);
        }
        Ok(())
    }

    /// Notes when the first probe leaves a host for where the next are expected, until it is stopped.
    fn watch(&self, host: &Namespace, underlay_device: &str) -> Result<()> {
        // What a host sends is seen by sockets for all protocols only (packet(7)).
        let socket = PacketSocket::open(host, underlay_device, libc::ETH_P_ALL as u16)?;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(frame) = socket.receive(0)? else { continue };
            let is_probe = frame.octets.get(OUTER_BYTES..).is_some_and(|inner| inner.starts_with(&self.to));
            let mut log = self.log();
            if is_probe && log.seen_at.is_none() && log.expected_at == frame.destination() {
                log.seen_at = Some(Instant::now());
            }
        }
        Ok(())
    }

    fn expect_at(&self, vtep: IpAddr) {
        let mut log = self.log();
        (log.expected_at, log.seen_at) = (Some(vtep), None);
    }

    fn followed(&self) -> Option<Instant> {
        self.log().seen_at
    }

    /// Waits until some probes that are sent from now on were answered; the number of the last of them.
    fn wait_for_answers(&self) -> Result<usize> {
        let started = Instant::now();
        let first = self.log().sent.len();
        loop {
            check_interrupts()?;
            if let Some((last, _)) = self.log().answered.range(first..).nth(STEADY_ANSWERS) {
                return Ok(*last);
            }
            ensure!(started.elapsed() < LOST_AFTER, "probes are not answered any more");
            thread::sleep(INTERVAL);
        }
    }

    /// The longest time between the sending of two probes that were answered, none between them being so.
    fn longest_silence(&self, first: usize, last: usize) -> Duration {
        let log = self.log();
        let answered: Vec<_> = log.answered.range(first..=last).map(|(_, sent)| *sent).collect();
        answered.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().unwrap_or_default()
    }
}

/// Whole frames of a namespace (packet(7)).
struct PacketSocket {
    fd: OwnedFd,
    device: i32,
}

struct Frame {
    octets: Vec<u8>,
    /// The index of the device that it came by.
    device: i32,
}

impl Frame {
    /// The IPv4 destination.
    fn destination(&self) -> Option<IpAddr> {
        let address: [u8; 4] = *self.octets.get(14 + 16..)?.first_chunk()?;
        Some(address.into())
    }
}

impl PacketSocket {
    /// Frames of this protocol on this device, or on all where it has no name.
    fn open(namespace: &Namespace, device: &str, protocol: u16) -> Result<Self> {
        namespace.within(|| {
            let device = match device {
                "" => 0,
                _ => if_nametoindex(device).with_context(|| format!("no device {device}"))?.cast_signed(),
            };
            let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&fd, ReceiveTimeout, &TimeVal::milliseconds(IDLE_MS))?;
            let address = address(device, protocol);
            // SAFETY: the address lives through the call, with the length that is given.
            let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_BYTES) };
            ensure!(bound == 0, "cannot listen to frames: {}", io::Error::last_os_error());
            Ok(Self { fd, device })
        })
    }

    fn send(&self, frame: &[u8]) -> Result<()> {
        self.send_by(frame, self.device).context("cannot send a probe")
    }

    fn send_by(&self, frame: &[u8], device: i32) -> io::Result<()> {
        let address = address(device, EXPERIMENT);
        let (fd, data) = (self.fd.as_raw_fd(), frame.as_ptr().cast());
        // SAFETY: frame and address live through the call, with the lengths that are given.
        let sent = unsafe { libc::sendto(fd, data, frame.len(), 0, (&raw const address).cast(), ADDRESS_BYTES) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame; `None` where none comes for a while.
    fn receive(&self, flags: libc::c_int) -> Result<Option<Frame>> {
        let mut octets = vec![0; 2048];
        let (mut address, mut length) = (address(0, 0), ADDRESS_BYTES);
        let (fd, data) = (self.fd.as_raw_fd(), octets.as_mut_ptr().cast());
        // SAFETY: buffer and address live through the call, with the lengths that are given.
        let received =
            unsafe { libc::recvfrom(fd, data, octets.len(), flags, (&raw mut address).cast(), &raw mut length) };
        match usize::try_from(received) {
            Ok(received) => {
                octets.truncate(received);
                Ok(Some(Frame { octets, device: address.sll_ifindex }))
            }
            Err(_) => match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
                // A device that has gone tells once; what comes by the next one is received as before.
                error if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(None),
                error => Err(error).context("cannot receive frames"),
            },
        }
    }
}

const ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn address(device: i32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: all of a sockaddr_ll is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = device;
    address
}
