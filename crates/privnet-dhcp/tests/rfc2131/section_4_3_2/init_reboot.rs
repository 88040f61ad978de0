//! "DHCPREQUEST generated during INIT-REBOOT state"

use super::*;

#[test]
fn the_right_address_is_acknowledged() {
    is_acknowledged(Client::init_reboot(ADDRESS));
}

#[test]
fn a_wrong_address_on_this_network_is_refused() {
    is_refused(Client::init_reboot(WRONG));
}

#[test]
fn an_address_of_the_wrong_network_is_refused() {
    is_refused(Client::init_reboot(ELSEWHERE));
}

#[test]
fn addresses_that_nobody_can_have_are_refused() {
    for address in [SERVER, EVERYBODY, [10, 0, 0, 0].into(), [10, 0, 0, 255].into(), [224, 0, 0, 1].into()] {
        is_refused(Client::init_reboot(address));
    }
}

#[test]
fn the_refusal_is_broadcast() {
    let heard = ask(Client::init_reboot(WRONG)).expect("answered");
    assert_eq!((heard.destination_mac, heard.destination), (EVERYBODY_MAC.octets(), EVERYBODY));
}

/// "'ciaddr' MUST be zero", says the document to the client.
#[test]
fn what_a_client_that_reboots_says_to_have_already_changes_nothing() {
    is_acknowledged(Client { ciaddr: WRONG, ..Client::init_reboot(ADDRESS) });
    is_refused(Client { ciaddr: ADDRESS, ..Client::init_reboot(WRONG) });
}
