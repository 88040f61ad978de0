use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use privnet_model::MacAddr;

use crate::{FrameError, MessageError};

/// Why a frame gets no answer. The variants stand in the order in which they are found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// It is no whole UDP datagram to a DHCP server.
    #[error("not a datagram for a DHCP server")]
    Frame(#[source] FrameError),
    /// It is for another machine.
    #[error("the datagram is for {address} at {mac}, not for this server")]
    NotForThisServer {
        /// The frame's destination.
        mac: MacAddr,
        /// The datagram's destination.
        address: Ipv4Addr,
    },
    /// Its payload is no DHCP request.
    #[error("not a DHCP request")]
    Message(#[source] MessageError),
    /// A relay agent passed it on; no network here has relay agents (RFC 2131 §4.1).
    #[error("the request came through the relay agent {0}, and networks here have none")]
    Relayed(Ipv4Addr),
    /// It is not about the port that sent it: `chaddr` or the frame's source is another MAC address.
    #[error("the request is about {chaddr} and came from {source_mac}, but the port is {port}")]
    Stranger {
        /// Whom the request is about.
        chaddr: MacAddr,
        /// The frame's source.
        source_mac: MacAddr,
        /// The port's own.
        port: MacAddr,
    },
    /// The client talks to another server (RFC 2131 §4.3.2: it has declined this one's offer).
    #[error("the client has chosen the server {0}")]
    AnotherServer(Ipv4Addr),
    /// Only servers send messages of this type, or nobody that this server knows.
    #[error("a server does not answer {0:?}")]
    NotFromAClient(MessageType),
    /// The client says that its address is in use by another machine: somebody has configured it by hand.
    /// The lease stays the port's, for it was not this server that gave the address twice.
    #[error("the client declines {0}, which it found in use on its network")]
    Declined(Ipv4Addr),
    /// The client gives up its address. The lease stays the port's until it is detached.
    #[error("the client releases {0}")]
    Released(Ipv4Addr),
    /// DHCPINFORM from an address that no client of this network can have (RFC 2131 §4.3.5).
    #[error("{0} asks for parameters, but is no client address of this network")]
    InformFromOutside(Ipv4Addr),
    /// RFC 2131 §4.3.2: without a record of the client, the server must remain silent.
    #[error("the port has no address")]
    NoLease,
    /// DHCPREQUEST or DHCPDECLINE without an address (RFC 2131 Table 4: option 50 or `ciaddr`).
    #[error("the client names no address")]
    NoAddress,
    /// What every answer must say is longer than the overlay lets through.
    #[error("the answer needs {needed_bytes} octets, and an IP packet here has at most {room_bytes}")]
    NoRoom {
        /// The IP packet's length.
        needed_bytes: usize,
        /// The most it may be.
        room_bytes: usize,
    },
}
