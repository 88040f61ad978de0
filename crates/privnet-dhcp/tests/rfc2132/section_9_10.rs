//! "Maximum DHCP Message Size"

use std::net::Ipv4Addr;

use privnet_model::DhcpOptions;

use crate::support::*;

fn large_lists() -> privnet_model::DhcpSettings {
    let many = (1..=63).map(|i| Ipv4Addr::new(10, 0, 0, i)).collect::<Vec<_>>();
    with_options(DhcpOptions::new(many.clone(), many.clone(), many, domains(&["example.net"])).expect("valid"))
}

#[test]
fn a_client_that_takes_more_gets_more() {
    let heard = ask_in(&large_lists(), Client::discover().taking(1500));
    assert!(heard.packet_bytes > 576);
    for code in [3, 6, 42, 119] {
        assert!(heard.option(code).is_some());
    }
}

#[test]
fn no_reply_is_longer_than_the_client_takes() {
    for bytes in 576..1200 {
        let heard = ask_in(&large_lists(), Client::discover().taking(bytes));
        assert!(heard.packet_bytes <= bytes.into());
    }
}

#[test]
fn the_last_octet_is_used() {
    let whole = ask_in(&large_lists(), Client::discover().taking(1500));
    let bytes = whole.packet_bytes as u16;
    assert_eq!(ask_in(&large_lists(), Client::discover().taking(bytes)), whole);
    assert_ne!(ask_in(&large_lists(), Client::discover().taking(bytes - 1)), whole);
}

#[test]
fn the_minimum_legal_value_is_576() {
    for bytes in [0, 300, 575] {
        let heard = ask_in(&large_lists(), Client::discover().taking(bytes));
        assert_eq!(heard, ask_in(&large_lists(), Client::discover().taking(576)));
    }
}

#[test]
fn what_is_left_out_makes_room_for_what_is_requested_after_it() {
    let heard = |codes| ask_in(&large_lists(), Client::discover().asking(codes).taking(576)).codes().split_off(7);
    assert_eq!(heard(&[3, 6, 28]), [3, 28]);
    assert_eq!(heard(&[6, 3, 15]), [6, 15]);
}
