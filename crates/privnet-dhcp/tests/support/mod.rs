//! A network with one port, the clients that may sit behind it, and what they hear.

pub mod client;
pub mod heard;

use std::net::Ipv4Addr;

use privnet_dhcp::{PortFacts, Silence, answer};
use privnet_model::{AddressRange, DhcpOptions, DhcpSettings, DomainName, MacAddr};

pub use client::Client;
pub use heard::Heard;

pub const PORT: MacAddr = MacAddr::for_port([1, 2, 3, 4, 5]);
pub const OTHER_PORT: MacAddr = MacAddr::for_port([9, 9, 9, 9, 9]);
pub const SERVER_MAC: MacAddr = MacAddr::new([0x0e, 0, 0, 0, 0, 0]);
pub const EVERYBODY_MAC: MacAddr = MacAddr::new([0xff; 6]);
/// What the port has leased.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 60);
/// In the same subnet, but not the port's.
pub const WRONG: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 61);
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
pub const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
pub const EVERYBODY: Ipv4Addr = Ipv4Addr::BROADCAST;
pub const MTU: u32 = 1450;

/// Message types (RFC 2132 §9.6).
pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const DECLINE: u8 = 4;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;
pub const RELEASE: u8 = 7;
pub const INFORM: u8 = 8;

pub fn settings() -> DhcpSettings {
    let options = DhcpOptions::new(
        vec![Ipv4Addr::new(10, 0, 0, 1)],
        vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)],
        vec![Ipv4Addr::new(10, 0, 0, 4)],
        domains(&["lab.example.net", "example.net"]),
    );
    with_options(options.expect("valid"))
}

pub fn with_options(options: DhcpOptions) -> DhcpSettings {
    let range = AddressRange::new(Ipv4Addr::new(10, 0, 0, 50), Ipv4Addr::new(10, 0, 0, 99), MASK);
    DhcpSettings { range: range.expect("valid"), options }
}

pub fn domains(names: &[&str]) -> Vec<DomainName> {
    names.iter().map(|name| DomainName::try_from(*name).expect("valid")).collect()
}

pub fn facts(settings: &DhcpSettings) -> PortFacts<'_> {
    PortFacts { mac: PORT, address: Some(ADDRESS), instance_name: "web-1", settings, overlay_mtu_bytes: MTU }
}

/// What the client hears on the port that has leased [`ADDRESS`].
pub fn ask(client: Client) -> Result<Heard, Silence> {
    ask_frame(&client.frame())
}

pub fn ask_frame(frame: &[u8]) -> Result<Heard, Silence> {
    answer(frame, &facts(&settings())).map(|reply| Heard::new(&reply))
}

/// What the client hears in a network with these settings.
pub fn ask_in(settings: &DhcpSettings, client: Client) -> Heard {
    Heard::new(&answer(&client.frame(), &facts(settings)).expect("answered"))
}

/// What the client hears on a port without an address.
pub fn ask_without_lease(client: Client) -> Result<Heard, Silence> {
    let settings = settings();
    let facts = PortFacts { address: None, ..facts(&settings) };
    answer(&client.frame(), &facts).map(|reply| Heard::new(&reply))
}

/// The Internet checksum of RFC 1071, written apart from the one under test.
pub fn internet_checksum(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (i, octet) in octets.iter().enumerate() {
        sum += u32::from(*octet) << (8 * (1 - i % 2));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo header of RFC 768, then the datagram.
pub fn with_pseudo_header(ipv4_header: &[u8], datagram: &[u8]) -> Vec<u8> {
    let udp_bytes = (datagram.len() as u16).to_be_bytes();
    [&ipv4_header[12..20], &[0, 17], &udp_bytes, datagram].concat()
}
