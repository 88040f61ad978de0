use std::net::Ipv4Addr;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, Opcode, OptionCode};
use privnet_model::MacAddr;

use crate::build::IP_UDP_BYTES;
use crate::decide::{BROADCAST_MAC, Decision};
use crate::request::{FILE, Request, SNAME};
use crate::{PortFacts, Silence, options, place};

/// The shortest BOOTP message: relay agents and clients of RFC 951 §3 throw away what is shorter.
const MESSAGE_BYTES_MIN: usize = 300;

/// The IP datagram that every client takes (RFC 2131 §2), also one that says it takes less (RFC 2132 §9.10).
const DATAGRAM_BYTES_MIN: u16 = 576;

/// Where the answer goes (RFC 2131 §4.1): MAC and IP address.
///
/// One that refuses an address goes to everybody, for the client's is wrong. A client that has an address gets the
/// answer there. One that sets the B flag cannot receive unicast before it is configured, so it gets a broadcast.
pub(crate) fn destination(decision: Decision, request: &Request, port: MacAddr) -> (MacAddr, Ipv4Addr) {
    let everybody = (BROADCAST_MAC, Ipv4Addr::BROADCAST);
    match decision {
        Decision::Nak => everybody,
        _ if !request.ciaddr.is_unspecified() => (port, request.ciaddr),
        _ if Flags::new(request.flags).broadcast() => everybody,
        Decision::Offer(address) | Decision::Ack(address) | Decision::Inform(address) => (port, address),
    }
}

/// The DHCP message, padded to the length that BOOTP wants.
///
/// # Errors
/// [`Silence::NoRoom`] when what must be said does not fit.
pub(crate) fn message(decision: Decision, request: &Request, facts: &PortFacts<'_>) -> Result<Vec<u8>, Silence> {
    let room_bytes = room_bytes(request, facts.overlay_mtu_bytes);
    let mut message = fields(decision, request, facts.mac);
    message.extend(options::required(decision, request, facts).iter().flat_map(encoded));
    let optional: Vec<_> = options::optional(decision, request, facts).iter().map(encoded).collect();
    let free_bytes = room_bytes.saturating_sub(IP_UDP_BYTES + message.len() + END_BYTES);
    let placed = place::place(&optional, free_bytes);
    message.extend(placed.options);
    message[FILE][..placed.file.len()].copy_from_slice(&placed.file);
    message[SNAME][..placed.sname.len()].copy_from_slice(&placed.sname);
    message.push(OptionCode::End.into());
    message.resize(message.len().max(MESSAGE_BYTES_MIN), 0);
    let needed_bytes = IP_UDP_BYTES + message.len();
    if needed_bytes > room_bytes { Err(Silence::NoRoom { needed_bytes, room_bytes }) } else { Ok(message) }
}

/// The octets of the end option.
const END_BYTES: usize = 1;

/// The most octets that the answer's IP packet may have.
fn room_bytes(request: &Request, overlay_mtu_bytes: u32) -> usize {
    let client = request.size_max_bytes.unwrap_or(DATAGRAM_BYTES_MIN).max(DATAGRAM_BYTES_MIN);
    u32::from(client).min(overlay_mtu_bytes) as usize
}

/// The BOOTP fields and the magic cookie (RFC 2131 Table 3; `secs`, `hops`, `siaddr` and `giaddr` are 0).
fn fields(decision: Decision, request: &Request, port: MacAddr) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let (ciaddr, yiaddr) = match decision {
        Decision::Offer(address) => (none, address),
        Decision::Ack(address) => (request.ciaddr, address),
        Decision::Inform(address) => (address, none),
        Decision::Nak => (none, none),
    };
    let mut message = Message::new_with_id(request.xid, ciaddr, yiaddr, none, none, &port.octets());
    message.set_opcode(Opcode::BootReply).set_flags(Flags::new(request.flags));
    message.to_vec().expect("fields of fixed length fit in a Vec")
}

fn encoded(option: &DhcpOption) -> Vec<u8> {
    option.to_vec().expect("numbers, addresses and valid domain names can be encoded")
}
