//! "DHCPREQUEST message"

use privnet_dhcp::{ReplyKind, Silence};

use crate::support::*;

fn is_acknowledged(client: Client) {
    let heard = ask(client).expect("answered");
    assert_eq!((heard.kind, heard.message_type(), heard.yiaddr()), (ReplyKind::Ack, ACK, ADDRESS));
}

fn is_refused(client: Client) {
    let heard = ask(client).expect("answered");
    assert_eq!((heard.kind, heard.message_type(), heard.yiaddr()), (ReplyKind::Nak, NAK, NOBODY));
}

#[test]
fn selecting_the_offered_address_is_acknowledged() {
    is_acknowledged(Client::selecting(SERVER, ADDRESS));
}

#[test]
fn selecting_another_address_is_refused() {
    is_refused(Client::selecting(SERVER, WRONG));
    is_refused(Client::selecting(SERVER, ELSEWHERE));
}

#[test]
fn selecting_another_server_declines_this_ones_offer_and_gets_no_reply() {
    assert_eq!(ask(Client::selecting(WRONG, ADDRESS)), Err(Silence::AnotherServer(WRONG)));
    assert_eq!(ask(Client::selecting(NOBODY, ADDRESS)), Err(Silence::AnotherServer(NOBODY)));
}

#[test]
fn rebooting_with_the_right_address_is_acknowledged() {
    is_acknowledged(Client::init_reboot(ADDRESS));
}

#[test]
fn rebooting_with_a_wrong_address_on_this_subnet_is_refused() {
    is_refused(Client::init_reboot(WRONG));
}

#[test]
fn rebooting_on_the_wrong_network_is_refused() {
    is_refused(Client::init_reboot(ELSEWHERE));
}

#[test]
fn without_a_record_of_the_client_the_server_remains_silent() {
    for client in [
        Client::selecting(SERVER, ADDRESS),
        Client::init_reboot(ADDRESS),
        Client::renewing(ADDRESS),
        Client::rebinding(WRONG),
    ] {
        assert_eq!(ask_without_lease(client), Err(Silence::NoLease));
    }
}

#[test]
fn renewing_the_right_address_is_acknowledged() {
    is_acknowledged(Client::renewing(ADDRESS));
}

#[test]
fn renewing_a_wrong_address_is_refused() {
    is_refused(Client::renewing(WRONG));
}

#[test]
fn rebinding_the_right_address_is_acknowledged() {
    is_acknowledged(Client::rebinding(ADDRESS));
}

#[test]
fn rebinding_a_wrong_address_is_refused() {
    is_refused(Client::rebinding(WRONG));
    is_refused(Client::rebinding(ELSEWHERE));
}

#[test]
fn the_acknowledgement_says_what_the_offer_said() {
    let offer = ask(Client::discover()).expect("answered");
    let ack = ask(Client::selecting(SERVER, ADDRESS)).expect("answered");
    assert_eq!(ack.options[1..], offer.options[1..]);
}

#[test]
fn a_request_in_no_state_gets_no_reply() {
    let nothing = Client::new(REQUEST);
    let server_only = Client::new(REQUEST).option(54, &SERVER.octets());
    let selecting_with_address = Client { ciaddr: ADDRESS, ..Client::selecting(SERVER, ADDRESS) };
    let renewing_with_server = Client::renewing(ADDRESS).option(54, &SERVER.octets());
    let renewing_with_requested = Client::renewing(ADDRESS).option(50, &ADDRESS.octets());
    for client in [nothing, server_only, selecting_with_address, renewing_with_server, renewing_with_requested] {
        assert!(matches!(ask(client), Err(Silence::NoSuchState { .. })));
    }
}

#[test]
fn a_refusal_says_nothing_but_who_refuses_and_why() {
    let heard = ask(Client::init_reboot(WRONG).asking(&[1, 3, 6, 26, 51])).expect("answered");
    assert_eq!(heard.codes(), [53, 54, 56]);
}
