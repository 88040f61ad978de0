//! What must hold when everything is right again and nothing is under way. Numbers are those of the
//! design's invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Shared;
use super::frame::{self, ACK, EVERYBODY, Mac, OFFER, Purpose};
use super::ledger::{Ledger, LivePort, Port};
use super::traffic::{self, ask_dhcp, send_probe};
use crate::frame::octets;
use crate::interrupt::{check_interrupts, wait_for};
use crate::invariants;
use crate::json::{items, text};
use crate::lab::Lab;

/// An operation ends well within this when all is right, and long before its deadline (60 s, design §5): one
/// that ends by that alone was forgotten.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// A frame that arrives at all arrives well within this.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// A frame that is missing is sent again after this, while it is found out whether all is in place.
const RESEND: Duration = Duration::from_millis(500);

/// Every operation comes to its end (6), and none by its deadline: no host is away for so long.
pub(crate) fn operations_end(shared: &Shared, lab: &Lab) -> Result<BTreeMap<String, usize>> {
    let mut ends = BTreeMap::new();
    let pending = std::mem::take(&mut shared.ledger().pending);
    for (id, what) in pending {
        let operation = wait_for(
            || format!("(6) operation {id} of \"{what}\" has not ended"),
            OPERATION_TIMEOUT,
            || {
                let reply = lab.api().request(ureq::http::Method::GET, &format!("/v2/operation/{id}"), None)?;
                ensure!(reply.status == 200, "(5) operation {id} of \"{what}\" is not known: {reply:?}");
                Ok((reply.body["state"] != "pending").then_some(reply.body))
            },
        )?;
        ensure!(operation["state"] != "timeout", "(6) \"{what}\" has ended by its deadline: {operation}");
        *ends.entry(text(&operation, "state").to_owned()).or_default() += 1;
    }
    Ok(ends)
}

/// The API says what the clients were told, no more and no less (5).
pub(crate) fn acknowledged(shared: &Shared, lab: &Lab) -> Result<()> {
    let networks = lab.api().get("/v2/private-network")?;
    let instances = lab.api().get("/v2/instance")?;
    let (networks, instances) = (items(&networks, "private-networks"), items(&instances, "instances"));
    let mut ledger = shared.ledger();
    compare_networks(&ledger, networks)?;
    compare_made(&ledger, instances)?;
    compare_instances(&mut ledger, networks, instances)
}

fn compare_made(ledger: &Ledger, instances: &[Value]) -> Result<()> {
    for made in ledger.made.iter().flatten() {
        let said = with_id(instances, &made.id)?;
        let state = if made.is_running { "running" } else { "stopped" };
        let ports: BTreeSet<_> = items(said, "private-networks")
            .iter()
            .map(|port| (text(port, "id").to_owned(), octets(text(port, "mac-address"))))
            .collect();
        let known: BTreeSet<_> = made.ports.iter().map(|(network, mac)| (network.clone(), mac.to_vec())).collect();
        ensure!(said["state"] == state && ports == known, "(5) {made:?} was acknowledged, the API says {said}");
    }
    Ok(())
}

fn compare_networks(ledger: &Ledger, networks: &[Value]) -> Result<()> {
    let known = ledger.networks.iter().flatten();
    same_ids("networks", known.clone().map(|network| &*network.id), networks)?;
    for network in known {
        let said = with_id(networks, &network.id)?;
        let octet = |key| text(said, key).rsplit('.').next().and_then(|octet| octet.parse::<u8>().ok());
        let range = octet("start-ip").zip(octet("end-ip"));
        let labels = network.text.filter(|_| network.has_labels).map(|text| format!("{text:08x}"));
        let description = network.text.map(|text| format!("{text:08x}")).unwrap_or_default();
        let holds = range == network.range.map(|range| (range.first, range.last))
            && said["vni"] == network.vni
            && text(said, "description") == description
            && said["labels"]["chaos"].as_str() == labels.as_deref();
        ensure!(holds, "(5) {network:?} was acknowledged, the API says {said}");
    }
    let revived = networks.iter().find(|network| ledger.told_gone.contains(text(network, "id")));
    ensure!(revived.is_none(), "(5) a client was told that this network is gone: {revived:?}");
    Ok(())
}

fn compare_instances(ledger: &mut Ledger, networks: &[Value], instances: &[Value]) -> Result<()> {
    let ids = ledger.instances.iter().flatten().map(|instance| &*instance.id);
    same_ids("instances", ids.chain(ledger.made.iter().flatten().map(|made| &*made.id)), instances)?;
    let mut leased = Vec::new();
    for instance in ledger.instances.iter_mut().flatten() {
        let said = with_id(instances, &instance.id)?;
        let mut ports = items(said, "private-networks").to_vec();
        for port in instance.ports.values_mut() {
            let at = ports.iter().position(|one| one["id"] == *port.network);
            let at = at.with_context(|| format!("(5) {port:?} of {} is not there: {said}", instance.id))?;
            ensure!(octets(text(&ports.remove(at), "mac-address")) == port.mac, "(5) {port:?} was told, not {said}");
            let address = lease(with_id(networks, &port.network)?, &instance.id)?;
            // A network that becomes managed leases an address to everybody.
            if port.address.is_none() {
                leased.extend(address.map(|address| (port.mac, address)));
                port.address = address;
            }
            ensure!(address == port.address, "(5) {port:?} of {} has the lease {address:?}", instance.id);
        }
        ensure!(ports.is_empty(), "(5) nobody has asked for these ports of {}: {ports:?}", instance.id);
    }
    ledger.leases.extend(leased);
    Ok(())
}

fn same_ids<'a>(what: &str, known: impl Iterator<Item = &'a str>, said: &[Value]) -> Result<()> {
    let known: BTreeSet<_> = known.collect();
    let said: BTreeSet<_> = said.iter().map(|one| text(one, "id")).collect();
    ensure!(known == said, "(5) {what} {known:?} were acknowledged, the API has {said:?}");
    Ok(())
}

fn with_id<'a>(all: &'a [Value], id: &str) -> Result<&'a Value> {
    all.iter().find(|one| one["id"] == *id).with_context(|| format!("(5) {id} is not there"))
}

fn lease(network: &Value, instance: &str) -> Result<Option<Ipv4Addr>> {
    let lease = items(network, "leases").iter().find(|lease| lease["instance-id"] == *instance);
    lease.map(|lease| Ok(text(lease, "ip").parse()?)).transpose()
}

/// The kernels have what is wanted (1, 7), and nothing is left of a made instance that is gone.
pub(crate) fn kernels(shared: &Shared, lab: &Lab) -> Result<()> {
    invariants::hold(lab).context("(7)")?;
    let unmade = std::mem::take(&mut shared.ledger().unmade);
    let left = || unmade.iter().filter(|netns| invariants::has_netns(netns)).collect::<Vec<_>>();
    wait_for(
        || format!("(7) namespaces of instances that are deleted are there: {:?}", left()),
        OPERATION_TIMEOUT,
        || Ok(left().is_empty().then_some(())),
    )
}

/// No frame of the step was lost that nothing stood in the way of (8).
pub(crate) fn nothing_lost(shared: &Shared, steady: &BTreeSet<(Mac, Mac)>) -> Result<u64> {
    let overrun: u32 = shared.stations().values().map(|station| station.overrun()).sum();
    let lost = || {
        let state = shared.traffic.state();
        let flow = |pair: &(Mac, Mac)| state.flows.get(pair).copied().unwrap_or_default();
        let lost = steady.iter().filter(|pair| flow(pair).received < flow(pair).sent);
        lost.map(|pair| format!("{} to {}: {:?}", frame::text(pair.0), frame::text(pair.1), flow(pair))).collect()
    };
    let mut last: Vec<String> = Vec::new();
    let arrived = wait_for(
        || "frames are missing".to_owned(),
        FRAME_TIMEOUT,
        || {
            last = lost();
            Ok(last.is_empty().then_some(()))
        },
    );
    check_interrupts()?;
    // What the tool itself had no room for it cannot judge.
    if arrived.is_err() && overrun == 0 {
        bail!("(8) frames were lost between ports that nothing has happened to: {last:#?}");
    }
    let state = shared.traffic.state();
    Ok(steady.iter().filter_map(|pair| state.flows.get(pair)).map(|flow| flow.sent).sum())
}

/// Everybody reaches the members of each of their networks, alone and all together, once each, and
/// nobody else (3).
pub(crate) fn mesh(shared: &Shared, ports: &[LivePort]) -> Result<()> {
    let wanted = wanted_mesh(ports);
    traffic::refresh_stations(shared);
    // What was out of order may need a frame or two: an underlay neighbour is looked for, a switch learns.
    round(shared, ports, &wanted, true)?;
    // From here on nothing is missing and nothing is twice; the last round waits for what the others brought too much.
    round(shared, ports, &wanted, false)?;
    let twice: Vec<_> = {
        let state = shared.traffic.state();
        state.mesh.iter().filter(|(_, count)| **count > 1).map(|(key, count)| describe(key, *count)).collect()
    };
    ensure!(twice.is_empty(), "frames have arrived more than once: {twice:#?}");
    Ok(())
}

type Mesh = BTreeSet<(Mac, Mac, bool)>;

fn wanted_mesh(ports: &[LivePort]) -> Mesh {
    let pairs = ports.iter().flat_map(|to| ports.iter().map(move |from| (to, from)));
    let same = pairs.filter(|(to, from)| to.port.network == from.port.network && to.port.mac != from.port.mac);
    same.flat_map(|(to, from)| [false, true].map(|is_to_all| (to.port.mac, from.port.mac, is_to_all))).collect()
}

fn round(shared: &Shared, ports: &[LivePort], wanted: &Mesh, is_patient: bool) -> Result<()> {
    shared.traffic.next_round();
    let mut sent_at = None::<Instant>;
    let mut missing = Vec::new();
    let arrived = wait_for(
        || "frames are missing".to_owned(),
        FRAME_TIMEOUT,
        || {
            if sent_at.is_none_or(|at| is_patient && at.elapsed() > RESEND) {
                sent_at = Some(Instant::now());
                traffic::refresh_stations(shared);
                send_mesh(shared, ports);
            }
            let state = shared.traffic.state();
            let there: Mesh = state.mesh.keys().copied().collect();
            let extra: Vec<_> = there.difference(wanted).map(|key| describe(key, state.mesh[key])).collect();
            ensure!(extra.is_empty(), "(3) frames have arrived where they must not: {extra:#?}");
            missing = wanted.difference(&there).map(|key| describe(key, 0)).collect();
            Ok(missing.is_empty().then_some(()))
        },
    );
    arrived.with_context(|| format!("(7) members do not reach each other: {missing:#?}"))
}

fn send_mesh(shared: &Shared, ports: &[LivePort]) {
    for from in ports {
        send_probe(shared, from, EVERYBODY, Purpose::Mesh);
        for to in ports.iter().filter(|to| to.port.mac != from.port.mac) {
            send_probe(shared, from, to.port.mac, Purpose::Mesh);
        }
    }
}

fn describe((receiver, sender, is_to_all): &(Mac, Mac, bool), count: u32) -> String {
    let kind = if *is_to_all { "broadcast" } else { "unicast" };
    format!("{kind} from {} to {}: {count}", frame::text(*sender), frame::text(*receiver))
}

/// Every port of a managed network is offered its own lease and no other, and has it acknowledged (9).
pub(crate) fn dhcp(shared: &Shared, ports: &[LivePort]) -> Result<()> {
    let leased = |port: &LivePort| Some((port.port.mac, port.port.address?));
    let wanted: BTreeMap<Mac, Ipv4Addr> = ports.iter().filter_map(leased).collect();
    shared.traffic.state().dhcp.clear();
    let mut asked_at = None::<Instant>;
    let mut missing = Vec::new();
    let answered = wait_for(
        || "DHCP does not answer".to_owned(),
        FRAME_TIMEOUT,
        || {
            if asked_at.is_none_or(|at| at.elapsed() > RESEND) {
                asked_at = Some(Instant::now());
                for port in ports.iter().filter(|port| port.port.address.is_some()) {
                    ask_dhcp(shared, port, shared.run, None);
                    ask_dhcp(shared, port, shared.run, port.port.address);
                }
            }
            let state = shared.traffic.state();
            let has = |mac: Mac, kind| state.dhcp.iter().any(|(to, answer)| *to == mac && answer.kind == kind);
            for (receiver, answer) in &state.dhcp {
                let own = wanted.get(receiver);
                ensure!(
                    own == Some(&answer.address),
                    "(9) {} has {own:?} and is told {answer:?}",
                    frame::text(*receiver)
                );
            }
            let lacks = |mac: &&Mac| !has(**mac, OFFER) || !has(**mac, ACK);
            missing = wanted.keys().filter(lacks).map(|mac| frame::text(*mac)).collect();
            Ok(missing.is_empty().then_some(()))
        },
    );
    answered.with_context(|| format!("(9) ports without an answer of DHCP: {missing:?}"))
}

/// What DHCP told anybody since the last quiet period was a lease that the port had at some time (9).
pub(crate) fn dhcp_was_right(shared: &Shared, is_known: impl Fn(&Port) -> bool) -> Result<()> {
    let ledger = shared.ledger();
    let state = shared.traffic.state();
    let known: BTreeSet<Mac> =
        ledger.live_ports().iter().filter(|port| is_known(&port.port)).map(|port| port.port.mac).collect();
    for (receiver, answer) in state.dhcp.iter().filter(|(receiver, _)| known.contains(receiver)) {
        let was_leased = answer.kind == frame::NAK || ledger.leases.contains(&(*receiver, answer.address));
        ensure!(was_leased, "(9) {} was told {answer:?}, which it never had", frame::text(*receiver));
    }
    Ok(())
}

/// No frame came from an address, or at a device, that is no port's (4).
pub(crate) fn all_frames_known(shared: &Shared) -> Result<()> {
    traffic::decide(shared);
    let undecided = shared.traffic.undecided();
    ensure!(undecided.is_empty(), "(4) frames of, or at, no port that there ever was: {undecided:#?}");
    Ok(())
}

/// Nothing has panicked.
pub(crate) fn no_panics(lab: &Lab) -> Result<()> {
    let logs =
        std::iter::once("server.log".to_owned()).chain(lab.hosts().iter().map(|host| format!("{}.log", host.name)));
    for log in logs {
        let text = std::fs::read_to_string(lab.dir().join(&log)).unwrap_or_default();
        let panic = text.lines().find(|line| line.contains("panicked at"));
        if let Some(line) = panic {
            bail!("{log}: {line}");
        }
    }
    Ok(())
}
