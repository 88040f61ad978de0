//! IEEE 802.3 frames and IEEE 802.1Q tags.

use privnet_dhcp::{FrameError, Silence};

use crate::support::client::UDP;
use crate::support::*;

fn refusal(frame: &[u8]) -> FrameError {
    match ask_frame(frame) {
        Err(Silence::Frame(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_with_a_vlan_tag_gets_no_reply() {
    let mut frame = Client::discover().frame();
    frame.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
    assert_eq!(refusal(&frame), FrameError::NotIpv4(0x8100));
}

#[test]
fn a_frame_of_another_protocol_gets_no_reply() {
    let mut frame = Client::discover().frame();
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(refusal(&frame), FrameError::NotIpv4(0x86dd));
}

#[test]
fn a_frame_that_ends_in_a_header_gets_no_reply() {
    let frame = Client::discover().frame();
    for len in 0..14 {
        assert_eq!(refusal(&frame[..len]), FrameError::Truncated("Ethernet"));
    }
    for len in 14..UDP {
        assert_eq!(refusal(&frame[..len]), FrameError::Truncated("IPv4"));
    }
}

#[test]
fn a_frame_cut_off_anywhere_gets_no_reply() {
    let frame = Client::discover().frame();
    for len in UDP..frame.len() {
        assert!(matches!(refusal(&frame[..len]), FrameError::Length { header: "IPv4", .. }));
    }
}

#[test]
fn padding_after_the_packet_is_not_part_of_it() {
    let frame = [Client::discover().frame(), vec![0x5a; 18]].concat();
    assert!(ask_frame(&frame).is_ok());
}

#[test]
fn a_frame_for_another_machine_gets_no_reply() {
    let client = Client { destination_mac: OTHER_PORT, ..Client::discover() };
    assert_eq!(ask(client), Err(Silence::NotForThisServer { mac: OTHER_PORT, address: EVERYBODY }));
}
