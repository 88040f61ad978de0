//! "DHCPINFORM message"

use privnet_dhcp::{ReplyKind, Silence};

use crate::support::*;

#[test]
fn the_client_is_sent_a_dhcpack_to_the_address_in_ciaddr() {
    let heard = ask(Client::inform(ADDRESS)).expect("answered");
    assert_eq!((heard.kind, heard.message_type()), (ReplyKind::Ack, ACK));
    assert_eq!((heard.destination_mac, heard.destination), (PORT.octets(), ADDRESS));
    assert_eq!(ask(Client::inform(ADDRESS).that_needs_broadcast()).expect("answered").destination, ADDRESS);
}

#[test]
fn the_reply_has_no_lease_time_and_no_yiaddr() {
    let heard = ask(Client::inform(ADDRESS).asking(&[51, 58, 59, 1, 3])).expect("answered");
    assert_eq!(heard.yiaddr(), NOBODY);
    assert_eq!(heard.ciaddr(), ADDRESS);
    assert_eq!(heard.codes(), [53, 54, 1, 26, 3]);
}

#[test]
fn the_server_does_not_look_for_a_lease() {
    assert_eq!(ask(Client::inform(WRONG)).expect("answered").destination, WRONG);
    assert_eq!(ask_without_lease(Client::inform(WRONG)), ask(Client::inform(WRONG)));
}

#[test]
fn an_address_that_no_client_of_the_network_can_have_gets_no_reply() {
    for address in [NOBODY, ELSEWHERE, SERVER, EVERYBODY, [10, 0, 0, 0].into(), [10, 0, 0, 255].into()] {
        let client = Client { ciaddr: address, ..Client::inform(ADDRESS) };
        assert_eq!(ask(client), Err(Silence::InformFromOutside(address)));
    }
}
