//! "DHCPDECLINE message"

use privnet_dhcp::Silence;

use crate::support::*;

#[test]
fn a_declined_address_is_reported_and_gets_no_reply() {
    assert_eq!(ask(Client::decline(ADDRESS)), Err(Silence::Declined(ADDRESS)));
    assert_eq!(ask(Client::decline(WRONG)), Err(Silence::Declined(WRONG)), "what the client says, right or wrong");
}

#[test]
fn an_address_declined_to_another_server_is_not_reported() {
    let client = Client::new(DECLINE).option(54, &WRONG.octets()).option(50, &ADDRESS.octets());
    assert_eq!(ask(client), Err(Silence::AnotherServer(WRONG)));
}

#[test]
fn declining_no_address_is_no_decline() {
    let client = Client::new(DECLINE).option(54, &SERVER.octets());
    assert_eq!(ask(client), Err(Silence::NoAddress));
}

#[test]
fn the_lease_stays_the_ports() {
    assert!(ask(Client::decline(ADDRESS)).is_err());
    assert_eq!(ask(Client::discover()).expect("answered").yiaddr(), ADDRESS);
}
