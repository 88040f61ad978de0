//! RFC 768: User Datagram Protocol.

use privnet_dhcp::{FrameError, Silence};

use crate::support::client::{IPV4, UDP, with_octet, with_right_checksums};
use crate::support::*;

fn check(frame: Vec<u8>, expected: FrameError) {
    assert_eq!(ask_frame(&frame), Err(Silence::Frame(expected)));
}

fn with_checksum(checksum: u16) -> Vec<u8> {
    let mut frame = Client::renewing(ADDRESS).frame();
    frame[UDP + 6..UDP + 8].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[test]
fn a_wrong_checksum_gets_no_reply() {
    let frame = Client::discover().frame();
    for at in UDP + 8..frame.len() {
        let mut frame = frame.clone();
        frame[at] ^= 0x40;
        check(frame, FrameError::UdpChecksum);
    }
}

#[test]
fn the_checksum_covers_the_addresses() {
    let mut frame = Client::discover().frame();
    frame[IPV4 + 15] = 7;
    frame[IPV4 + 10..IPV4 + 12].fill(0);
    let checksum = internet_checksum(&frame[IPV4..UDP]);
    frame[IPV4 + 10..IPV4 + 12].copy_from_slice(&checksum.to_be_bytes());
    check(frame, FrameError::UdpChecksum);
}

#[test]
fn a_checksum_of_0_means_that_there_is_none() {
    assert!(ask_frame(&with_checksum(0)).is_ok());
}

/// Linux leaves the sum of the pseudo header in the field for a device to go on from (`CHECKSUM_PARTIAL`);
/// veth and tap devices hand it on as it is.
#[test]
fn a_checksum_left_to_the_device_is_not_wrong() {
    let frame = with_checksum(0);
    let pseudo_header = &with_pseudo_header(&frame[IPV4..UDP], &frame[UDP..])[..12];
    assert!(ask_frame(&with_checksum(!internet_checksum(pseudo_header))).is_ok());
    check(with_checksum(internet_checksum(pseudo_header)), FrameError::UdpChecksum);
}

#[test]
fn the_length_covers_the_header_and_no_more_than_the_packet() {
    let client = Client::discover();
    let there = client.message().len() + 8;
    for says in [0, 7, there + 1, 0xffff] {
        let mut frame = client.frame();
        frame[UDP + 4..UDP + 6].copy_from_slice(&(says as u16).to_be_bytes());
        check(with_right_checksums(frame), FrameError::Length { header: "UDP", says, there });
    }
}

#[test]
fn a_datagram_ends_where_its_length_says() {
    let frame = Client::discover().frame();
    let mut longer_packet = [frame.clone(), vec![1, 2, 3, 4]].concat();
    let total = (longer_packet.len() - IPV4) as u16;
    longer_packet[IPV4 + 2..IPV4 + 4].copy_from_slice(&total.to_be_bytes());
    longer_packet[IPV4 + 10..IPV4 + 12].fill(0);
    let checksum = internet_checksum(&longer_packet[IPV4..UDP]);
    longer_packet[IPV4 + 10..IPV4 + 12].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(ask_frame(&longer_packet), ask_frame(&frame));
}

#[test]
fn a_packet_that_ends_in_the_header_gets_no_reply() {
    let frame = Client::discover().frame();
    let mut short = frame[..UDP + 7].to_vec();
    short[IPV4 + 2..IPV4 + 4].copy_from_slice(&27u16.to_be_bytes());
    short[IPV4 + 10..IPV4 + 12].fill(0);
    let checksum = internet_checksum(&short[IPV4..UDP]);
    short[IPV4 + 10..IPV4 + 12].copy_from_slice(&checksum.to_be_bytes());
    check(short, FrameError::Truncated("UDP"));
}

#[test]
fn a_datagram_for_another_port_gets_no_reply() {
    check(with_octet(Client::discover().frame(), UDP + 3, 68), FrameError::NotServerPort(68));
}
