use std::net::Ipv4Addr;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, Opcode};
use privnet_model::MacAddr;

use crate::build::IP_UDP_BYTES;
use crate::decide::{BROADCAST_MAC, Decision};
use crate::request::Request;
use crate::{PortFacts, Silence, options};

/// The shortest BOOTP message: relay agents and clients of RFC 951 §3 throw away what is shorter.
const MESSAGE_BYTES_MIN: usize = 300;

/// The IP datagram that every client takes (RFC 2131 §2), also one that says it takes less (RFC 2132 §9.10).
const DATAGRAM_BYTES_MIN: u16 = 576;

/// Where the answer goes (RFC 2131 §4.1): MAC and IP address.
///
/// A client that sets the B flag cannot receive unicast before it is configured, so it gets a broadcast; so
/// does one that is refused, for its address is wrong.
pub(crate) fn destination(decision: Decision, request: &Request, port: MacAddr) -> (MacAddr, Ipv4Addr) {
    let everybody = (BROADCAST_MAC, Ipv4Addr::BROADCAST);
    let wants_broadcast = Flags::new(request.flags).broadcast();
    match decision {
        Decision::Nak => everybody,
        Decision::Inform => (port, request.ciaddr),
        Decision::Ack(address) if !request.ciaddr.is_unspecified() => (port, address),
        Decision::Offer(_) | Decision::Ack(_) if wants_broadcast => everybody,
        Decision::Offer(address) | Decision::Ack(address) => (port, address),
    }
}

/// The DHCP message, padded to the length that BOOTP wants.
///
/// # Errors
/// [`Silence::NoRoom`] when what must be said does not fit.
pub(crate) fn message(decision: Decision, request: &Request, facts: &PortFacts<'_>) -> Result<Vec<u8>, Silence> {
    let room_bytes = room_bytes(request, facts.overlay_mtu_bytes);
    let mut message = fields(decision, request, facts.mac);
    for option in options::required(decision, request, facts) {
        message.extend(encoded(&option));
    }
    for option in options::optional(decision, request, facts) {
        let option = encoded(&option);
        if IP_UDP_BYTES + message.len() + option.len() + END_BYTES <= room_bytes {
            message.extend(option);
        }
    }
    message.extend(encoded(&DhcpOption::End));
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
        Decision::Inform => (request.ciaddr, none),
        Decision::Nak => (none, none),
    };
    let mut message = Message::new_with_id(request.xid, ciaddr, yiaddr, none, none, &port.octets());
    message.set_opcode(Opcode::BootReply).set_flags(Flags::new(request.flags));
    message.to_vec().expect("fields of fixed length fit in a Vec")
}

fn encoded(option: &DhcpOption) -> Vec<u8> {
    option.to_vec().expect("numbers, addresses and valid domain names can be encoded")
}
