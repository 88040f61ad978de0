//! "Internet Header Format"

use privnet_dhcp::{FrameError, Silence};

use crate::support::client::{IPV4, UDP, with_octet, with_right_checksums};
use crate::support::*;

fn check(frame: Vec<u8>, expected: FrameError) {
    assert_eq!(ask_frame(&frame), Err(Silence::Frame(expected)));
}

#[test]
fn the_version_is_4() {
    check(with_octet(Client::discover().frame(), IPV4, 0x65), FrameError::Ipv4Header(0x65));
}

#[test]
fn the_header_has_at_least_5_words() {
    check(with_octet(Client::discover().frame(), IPV4, 0x44), FrameError::Ipv4Header(0x44));
}

#[test]
fn the_total_length_covers_the_header() {
    let mut frame = Client::discover().frame();
    let there = frame.len() - IPV4;
    frame[IPV4 + 2..IPV4 + 4].copy_from_slice(&[0, 19]);
    check(with_right_checksums(frame), FrameError::Length { header: "IPv4", says: 19, there });
}

#[test]
fn a_header_with_options_is_understood() {
    let mut frame = Client::discover().frame();
    frame[IPV4] = 0x46;
    let total = u16::from_be_bytes([frame[IPV4 + 2], frame[IPV4 + 3]]) + 4;
    frame[IPV4 + 2..IPV4 + 4].copy_from_slice(&total.to_be_bytes());
    frame.splice(UDP..UDP, [0x94, 0x04, 0, 0]);
    frame[IPV4 + 10..IPV4 + 12].fill(0);
    let checksum = internet_checksum(&frame[IPV4..UDP + 4]);
    frame[IPV4 + 10..IPV4 + 12].copy_from_slice(&checksum.to_be_bytes());
    assert!(ask_frame(&frame).is_ok());
}

#[test]
fn a_wrong_header_checksum_gets_no_reply() {
    for at in IPV4 + 1..UDP {
        let mut frame = Client::discover().frame();
        frame[at] ^= 0x40;
        assert!(ask_frame(&frame).is_err(), "octet {at}");
    }
    let mut frame = Client::discover().frame();
    frame[IPV4 + 10] ^= 0x40;
    check(frame, FrameError::Ipv4Checksum);
}

#[test]
fn no_fragment_gets_a_reply() {
    let frame = Client::discover().frame();
    check(with_octet(frame.clone(), IPV4 + 6, 0x20), FrameError::Fragment);
    check(with_octet(frame.clone(), IPV4 + 6, 0x01), FrameError::Fragment);
    check(with_octet(frame, IPV4 + 7, 0x01), FrameError::Fragment);
}

#[test]
fn a_packet_that_must_not_be_fragmented_is_whole() {
    assert!(ask_frame(&with_octet(Client::discover().frame(), IPV4 + 6, 0x40)).is_ok());
}

#[test]
fn another_protocol_gets_no_reply() {
    check(with_octet(Client::discover().frame(), IPV4 + 9, 6), FrameError::NotUdp(6));
}

#[test]
fn a_datagram_for_another_address_gets_no_reply() {
    let client = Client { destination: WRONG, ..Client::discover() };
    assert_eq!(ask(client), Err(Silence::NotForThisServer { mac: EVERYBODY_MAC, address: WRONG }));
}
