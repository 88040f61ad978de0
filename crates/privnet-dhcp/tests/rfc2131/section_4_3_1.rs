//! "DHCPDISCOVER message"

use privnet_dhcp::{ReplyKind, Silence};

use crate::support::*;

#[test]
fn a_client_is_offered_the_address_of_its_port() {
    let heard = ask(Client::discover()).expect("answered");
    assert_eq!((heard.kind, heard.message_type(), heard.yiaddr()), (ReplyKind::Offer, OFFER, ADDRESS));
}

#[test]
fn the_address_that_the_client_wishes_for_changes_nothing() {
    assert_eq!(ask(Client::discover().option(50, &WRONG.octets())), ask(Client::discover()));
}

#[test]
fn the_lease_time_that_the_client_wishes_for_changes_nothing() {
    assert_eq!(ask(Client::discover().option(51, &86_400u32.to_be_bytes())), ask(Client::discover()));
}

#[test]
fn a_port_without_an_address_is_offered_nothing() {
    assert_eq!(ask_without_lease(Client::discover()), Err(Silence::NoLease));
}

#[test]
fn the_address_that_the_client_says_it_has_changes_nothing_of_the_offer() {
    let heard = ask(Client { ciaddr: WRONG, ..Client::discover() }).expect("answered");
    assert_eq!((heard.message_type(), heard.yiaddr(), heard.ciaddr()), (OFFER, ADDRESS, NOBODY));
}

#[test]
fn the_offer_says_lease_time_server_subnet_and_mtu_unasked() {
    let heard = ask(Client::discover().asking(&[])).expect("answered");
    assert_eq!(
        heard.options,
        [
            (53, vec![OFFER]),
            (54, SERVER.octets().to_vec()),
            (51, 3600u32.to_be_bytes().to_vec()),
            (58, 1623u32.to_be_bytes().to_vec()),
            (59, 2973u32.to_be_bytes().to_vec()),
            (1, MASK.octets().to_vec()),
            (26, 1450u16.to_be_bytes().to_vec()),
        ]
    );
}

#[test]
fn a_client_without_a_parameter_request_list_gets_all_that_there_is() {
    let codes = ask(Client::discover()).expect("answered").codes();
    assert_eq!(codes, [53, 54, 51, 58, 59, 1, 26, 3, 6, 119, 15, 28, 42, 12]);
}

#[test]
fn an_option_that_the_network_does_not_have_is_absent() {
    let bare = with_options(privnet_model::DhcpOptions::default());
    let heard = ask_in(&bare, Client::discover().asking(&[3, 6, 15, 119, 42, 121]));
    assert_eq!(heard.codes(), [53, 54, 51, 58, 59, 1, 26]);
}
