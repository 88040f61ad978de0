//! Pure DHCPv4 server: request frame and lease facts in, reply frame or a reason for silence out.
//!
//! One call, [`answer`], and no state: who has which address was decided when the port was attached, so
//! the server offers nothing else, remembers nothing and never chooses. It opens no socket because the
//! request comes from the data plane as one whole frame and the answer leaves as one, to that port only.
//!
//! A frame passes through these, each of which may end it with a [`Silence`]:
//! `frame` (Ethernet, IPv4 and UDP of the request), `request` (BOOTP fields and options), `decide` (what
//! RFC 2131 §4.3 says to do), `reply`, `options` and `place` (the answer's fields, its options, and where they stand),
//! `build` (its frame). docs/dhcp.md goes through the documents, clause by clause.

mod build;
mod checksum;
mod decide;
mod frame;
mod host_name;
mod options;
mod place;
mod reply;
mod request;
mod silence;

use std::net::Ipv4Addr;

use privnet_model::{DhcpSettings, MacAddr};

pub use frame::FrameError;
pub use request::MessageError;
pub use silence::Silence;

/// How long a client may use its address without asking again. Seconds on the wire (RFC 2132 §9.2).
pub const LEASE_SECONDS: u32 = 3600;

/// T1, when a client begins to ask this server: half the lease (RFC 2131 §4.4.5), less the port's part of
/// [`SPREAD_SECONDS`]. So a changed address or option reaches it within half an hour.
pub const RENEWAL_SECONDS: u32 = LEASE_SECONDS / 2;

/// T2, when a client begins to ask any server: seven eighths of the lease (RFC 2131 §4.4.5), less the same.
pub const REBINDING_SECONDS: u32 = LEASE_SECONDS / 8 * 7;

/// Over how long the renewals of clients that have started together are spread (RFC 2131 §4.4.5: "random fuzz").
/// The port's MAC address, which is random, decides when in it a client's turn is; so it is told the same each time.
pub const SPREAD_SECONDS: u32 = LEASE_SECONDS / 20;

const _: () = assert!(RENEWAL_SECONDS < REBINDING_SECONDS - SPREAD_SECONDS && REBINDING_SECONDS < LEASE_SECONDS);

/// What the server decided about the port that sent the request.
#[derive(Debug, Clone, Copy)]
pub struct PortFacts<'a> {
    /// The port's own; a request with any other is a stranger's.
    pub mac: MacAddr,
    /// The address it has leased; `None` gets no answer but to DHCPINFORM.
    pub address: Option<Ipv4Addr>,
    /// Its instance's name, from which the host name is made that is told as option 12.
    pub instance_name: &'a str,
    /// Its network's subnet and options.
    pub settings: &'a DhcpSettings,
    /// The largest IP packet that crosses the overlay in one piece; told as option 26, and no answer is larger.
    pub overlay_mtu_bytes: u32,
}

/// An answer, ready to be written to the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The whole Ethernet frame, without a frame check sequence.
    pub frame: Vec<u8>,
    /// What it says.
    pub kind: ReplyKind,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// DHCPOFFER: this address can be had.
    Offer,
    /// DHCPACK: this address is the port's, or (to DHCPINFORM) these are the network's parameters.
    Ack,
    /// DHCPNAK: the address that the client wants is not the port's.
    Nak,
}

/// Answers one whole Ethernet frame that came from the port with one whole Ethernet frame for it.
///
/// The answer comes from the subnet's server address and [`privnet_model::SERVER_MAC`], with full IPv4 and
/// UDP checksums, and is no longer than the overlay's MTU and the client's maximum message size allow.
///
/// # Errors
/// [`Silence`], in the order of its variants: nothing may be sent.
pub fn answer(frame: &[u8], facts: &PortFacts<'_>) -> Result<Reply, Silence> {
    let datagram = frame::parse(frame).map_err(Silence::Frame)?;
    decide::check_addressee(&datagram, facts)?;
    let request = request::parse(datagram.payload).map_err(Silence::Message)?;
    decide::check_sender(&datagram, &request, facts)?;
    let decision = decide::decide(&request, facts)?;
    let message = reply::message(decision, &request, facts)?;
    let to = reply::destination(decision, &request, facts.mac);
    Ok(Reply { frame: build::frame(to, facts.settings.range.subnet().server(), &message), kind: decision.kind() })
}
