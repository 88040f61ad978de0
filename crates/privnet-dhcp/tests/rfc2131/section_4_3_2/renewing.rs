//! "DHCPREQUEST generated during RENEWING state"

use super::*;

#[test]
fn the_right_address_is_acknowledged() {
    is_acknowledged(Client::renewing(ADDRESS));
}

/// The port's address has been changed since the client was told it.
#[test]
fn a_wrong_address_is_refused() {
    is_refused(Client::renewing(WRONG));
    is_refused(Client::renewing(ELSEWHERE));
}

#[test]
fn the_lease_is_extended_to_its_whole_time_whenever_the_client_asks() {
    let first = ask(Client::renewing(ADDRESS)).expect("answered");
    assert_eq!(first.option(51), Some(&privnet_dhcp::LEASE_SECONDS.to_be_bytes()[..]));
    assert_eq!(ask(Client::renewing(ADDRESS)).expect("answered"), first);
}

/// "'server identifier' MUST NOT be filled in", says the document to the client.
#[test]
fn a_client_that_names_its_server_is_answered_by_that_one_alone() {
    is_acknowledged(Client::renewing(ADDRESS).option(54, &SERVER.octets()));
    is_refused(Client::renewing(WRONG).option(54, &SERVER.octets()));
    assert_eq!(ask(Client::renewing(ADDRESS).option(54, &WRONG.octets())), Err(Silence::AnotherServer(WRONG)));
}

/// "'requested IP address' option MUST NOT be filled in", says the document to the client.
#[test]
fn a_client_that_requests_its_address_besides_is_answered() {
    is_acknowledged(Client::renewing(ADDRESS).option(50, &ADDRESS.octets()));
    is_acknowledged(Client::renewing(ADDRESS).option(50, &NOBODY.octets()));
    is_refused(Client::renewing(WRONG).option(50, &WRONG.octets()));
}
