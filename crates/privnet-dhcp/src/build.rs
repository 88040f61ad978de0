use std::net::Ipv4Addr;

use privnet_model::{MacAddr, SERVER_MAC};

use crate::checksum;
use crate::frame::{ETHERNET_BYTES, ETHERTYPE_IPV4, IPV4_BYTES, SERVER_PORT, UDP_BYTES};

/// Where DHCP clients listen (RFC 2131 §4.1).
const CLIENT_PORT: u16 = 68;

/// Version 4, header of five 32-bit words.
const VERSION_AND_LENGTH: u8 = 0x45;

/// Don't fragment, so that the identification may be 0 (RFC 6864 §4.1).
const DONT_FRAGMENT: u16 = 0x4000;

/// What routers of other networks would count down (RFC 1700's recommended default).
const TIME_TO_LIVE: u8 = 64;

/// What IPv4 and UDP add to a message.
pub(crate) const IP_UDP_BYTES: usize = IPV4_BYTES + UDP_BYTES;

/// The whole frame that brings the message from the server to a client. The message fits in an IPv4 packet.
pub(crate) fn frame(to: (MacAddr, Ipv4Addr), server: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let (mac, destination) = to;
    let mut frame = Vec::with_capacity(ETHERNET_BYTES + IP_UDP_BYTES + message.len());
    frame.extend(mac.octets());
    frame.extend(SERVER_MAC.octets());
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend(ipv4_header(server, destination, UDP_BYTES + message.len()));
    frame.extend(udp_header(server, destination, message));
    frame.extend(message);
    frame
}

fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr, payload_bytes: usize) -> [u8; IPV4_BYTES] {
    let mut header = [0; IPV4_BYTES];
    header[0] = VERSION_AND_LENGTH;
    header[2..4].copy_from_slice(&octets_of_length(IPV4_BYTES + payload_bytes));
    header[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    header[8] = TIME_TO_LIVE;
    header[9] = checksum::UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let checksum = !checksum::sum(&[&header]);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn udp_header(source: Ipv4Addr, destination: Ipv4Addr, message: &[u8]) -> [u8; UDP_BYTES] {
    let length = octets_of_length(UDP_BYTES + message.len());
    let mut header = [0; UDP_BYTES];
    header[0..2].copy_from_slice(&SERVER_PORT.to_be_bytes());
    header[2..4].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    header[4..6].copy_from_slice(&length);
    let pseudo_header = checksum::pseudo_header(source, destination, u16::from_be_bytes(length));
    // A sum of 0 would say that there is none, so it is sent as its other form (RFC 768).
    let checksum = match !checksum::sum(&[&pseudo_header, &header, message]) {
        0 => 0xffff,
        other => other,
    };
    header[6..8].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn octets_of_length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("an answer is no longer than an IPv4 packet").to_be_bytes()
}
