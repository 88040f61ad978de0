//! "Modification to RFC 2131"

use privnet_dhcp::{MessageError, Silence};

use crate::support::*;

const IDENTIFIER: &[u8] = &[255, 1, 2, 3, 4, 0, 2, 0, 0, 0xab];

#[test]
fn the_client_identifier_comes_back_unaltered_in_every_reply() {
    for client in [
        Client::discover(),
        Client::selecting(SERVER, ADDRESS),
        Client::renewing(ADDRESS),
        Client::init_reboot(WRONG),
        Client::inform(ADDRESS),
    ] {
        assert_eq!(ask(client.option(61, IDENTIFIER)).expect("answered").option(61), Some(IDENTIFIER));
    }
}

#[test]
fn a_client_that_sends_no_identifier_gets_none() {
    for client in [Client::discover(), Client::renewing(ADDRESS), Client::init_reboot(WRONG)] {
        assert_eq!(ask(client.asking(&[61])).expect("answered").option(61), None);
    }
}

#[test]
fn the_longest_identifier_leaves_room_for_all_that_must_be_said_in_576_octets() {
    let heard = ask(Client::discover().option(61, &[7; 255])).expect("answered");
    assert_eq!(heard.option(61), Some(&[7; 255][..]));
    assert_eq!(heard.codes()[..8], [53, 54, 61, 51, 58, 59, 1, 26]);
    assert!(heard.packet_bytes <= 576);
}

#[test]
fn an_identifier_longer_than_one_option_gets_no_reply() {
    let client = Client::discover().option(61, &[7; 255]).option(61, &[7]);
    let refusal = MessageError::OptionLength { code: 61, bytes: 256 };
    assert_eq!(ask(client), Err(Silence::Message(refusal)));
}
