//! What must hold of every frame, whatever the model says (ARCHITECTURE.md, "What always holds").

use std::net::IpAddr;

use privnet_model::MacAddr;

use super::generator::HEADER_OCTETS;
use super::input::{Door, Input, Tunnel};
use super::model::Way;
use super::rig::{REDIRECT, ROWS, SHOT, Seen, UNSPEC};
use super::world::{Target, World, port_mac};
use crate::layout::Counters;

/// What of them does not hold of this frame.
pub(super) fn broken(world: &World, input: &Input, seen: &Seen) -> Option<&'static str> {
    let gone = !seen.ways.is_empty() || !seen.requests.is_empty() || seen.verdict == REDIRECT;
    if input.door == Door::Underlay && seen.verdict == UNSPEC {
        let is_untouched = !gone && seen.frame == input.frame;
        return (!is_untouched).then_some("what is left to the host's stack is not left alone");
    }
    if ![SHOT, REDIRECT].contains(&seen.verdict) {
        return Some("the host's own stack gets the frame");
    }
    if let Door::Port(port) = input.door {
        if gone && !world.ports.get(&port).is_some_and(|port| port.open) {
            return Some("a closed port passes something");
        }
        if gone && MacAddr::from(*input.frame[6..].first_chunk().expect("a header")) != port_mac(port) {
            return Some("invariant 4: a frame of a foreign source leaves its port");
        }
    }
    let Some(vni) = network_of(world, input) else {
        return gone.then_some("what belongs to no network, or is from no host of it, goes somewhere");
    };
    if let Some((tunnel, frame)) = tunneled(input)
        && gone
        && world.fdb.get(&(vni, MacAddr::from(*frame[6..].first_chunk().expect("a header"))))
            != Some(&Target::Vtep(tunnel.source))
    {
        return Some("a host speaks for an instance that is not its own");
    }
    let leads = |way: &Result<Way, String>| match way {
        Ok(Way::IntoVeth(port) | Way::ByPort(port) | Way::CopyByPort(port)) => {
            world.ports.get(port).is_some_and(|port| port.open && port.vni == vni)
        }
        Ok(Way::ToVtep { vni: to, .. } | Way::ToVtepDirectly { vni: to, .. } | Way::CopyToVtep { vni: to, .. }) => {
            *to == vni && matches!(input.door, Door::Port(_))
        }
        Err(_) => false,
    };
    if !seen.ways.iter().all(leads) {
        return Some("invariant 3: a frame goes to what is no open port, nor the overlay, of its network");
    }
    let requests_are_own = seen.requests.iter().all(|request| {
        request.vni.get() == vni && input.door == Door::Port(request.port.octets()[5]) && request.frame == input.frame
    });
    if !requests_are_own || seen.requests.len() > 1 {
        return Some("invariant 9: the agent is told of something else than the frame and its port");
    }
    let is_copy = |way: &&Result<Way, String>| matches!(way, Ok(Way::CopyByPort(_) | Way::CopyToVtep { .. }));
    let last = seen.ways.iter().filter(|way| !is_copy(way));
    if last.count() != usize::from(seen.verdict == REDIRECT) {
        return Some("the verdict is another one than the helper's");
    }
    None
}

/// Every frame of a port is dropped for one reason, or sent, or the agent's, and counted there as that
/// once. One of the overlay's is dropped for one reason, or counted by each port that it goes to.
pub(super) fn miscounted(input: &Input, seen: &Seen, counted: &[Counters; ROWS]) -> Option<&'static str> {
    let drops = |row: &Counters| row.drops.iter().sum::<u64>();
    let ends = |row: &Counters| drops(row) + row.sent_frames + row.dhcp_requests;
    let received: u64 = counted.iter().map(|row| row.received_frames).sum();
    let to_ports =
        seen.ways.iter().filter(|way| matches!(way, Ok(Way::IntoVeth(_) | Way::ByPort(_) | Way::CopyByPort(_))));
    if received != to_ports.count() as u64 {
        return Some("a port has received what it was not sent, or not what it was sent");
    }
    let all: u64 = counted.iter().map(ends).sum();
    match input.door {
        Door::Port(port) if all == 1 && ends(&counted[1 + usize::from(port)]) == 1 => None,
        _ if seen.verdict == UNSPEC && all + received == 0 => None,
        Door::Overlay(_) | Door::Underlay if all == drops(&counted[0]) && (received == 0 || all == 0) && all <= 1 => {
            None
        }
        _ => Some("a frame is not counted once, or as another's"),
    }
}

/// The network of the port, or of the tunnel if its source may send into that.
fn network_of(world: &World, input: &Input) -> Option<u32> {
    if let Door::Port(port) = input.door {
        return world.ports.get(&port).map(|port| port.vni);
    }
    let (Tunnel { vni, source }, _) = tunneled(input)?;
    world.vteps.contains(&(vni, source)).then_some(vni)
}

/// What another host has sent, and what it says of that; if it is from the underlay, where RFC 791, 768
/// and 7348 have it, behind an Ethernet header.
fn tunneled(input: &Input) -> Option<(Tunnel, &[u8])> {
    let frame = &input.frame;
    match input.door {
        Door::Port(_) => None,
        Door::Overlay(tunnel) => Some((tunnel?, frame)),
        Door::Underlay => {
            let source = IpAddr::from(*frame.get(26..)?.first_chunk::<4>()?);
            let vni = u32::from_be_bytes(*frame.get(46..)?.first_chunk()?) >> 8;
            Some((Tunnel { vni, source }, frame.get(50..).filter(|inner| inner.len() >= HEADER_OCTETS)?))
        }
    }
}
