//! "Interface MTU Option"

use privnet_dhcp::{PortFacts, Silence, answer};

use crate::support::*;

fn with_mtu(overlay_mtu_bytes: u32) -> Result<Heard, Silence> {
    let settings = settings();
    let facts = PortFacts { overlay_mtu_bytes, ..facts(&settings) };
    answer(&Client::discover().taking(u16::MAX).frame(), &facts).map(|reply| Heard::new(&reply))
}

#[test]
fn the_client_is_told_the_overlays_mtu() {
    assert_eq!(with_mtu(8950).expect("answered").option(26), Some(&8950u16.to_be_bytes()[..]));
}

#[test]
fn an_mtu_that_the_option_cannot_hold_is_told_as_the_largest_that_it_can() {
    assert_eq!(with_mtu(65_536).expect("answered").option(26), Some(&[0xff, 0xff][..]));
}

#[test]
fn no_reply_is_longer_than_the_overlays_mtu() {
    assert_eq!(with_mtu(328).expect("answered").packet_bytes, 328);
    assert_eq!(with_mtu(327), Err(Silence::NoRoom { needed_bytes: 328, room_bytes: 327 }));
    assert_eq!(with_mtu(0), Err(Silence::NoRoom { needed_bytes: 328, room_bytes: 0 }));
}
