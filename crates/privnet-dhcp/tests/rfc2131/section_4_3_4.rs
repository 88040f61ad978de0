//! "DHCPRELEASE message"

use privnet_dhcp::Silence;

use crate::support::*;

#[test]
fn a_release_gets_no_reply() {
    assert_eq!(ask(Client::release(ADDRESS)), Err(Silence::Released(ADDRESS)));
}

#[test]
fn a_release_to_another_server_gets_no_reply() {
    let client = Client { ciaddr: ADDRESS, ..Client::new(RELEASE) }.option(54, &WRONG.octets());
    assert_eq!(ask(client), Err(Silence::AnotherServer(WRONG)));
}

#[test]
fn the_server_keeps_the_released_address_for_the_same_client() {
    assert!(ask(Client::release(ADDRESS)).is_err());
    assert_eq!(ask(Client::discover()).expect("answered").yiaddr(), ADDRESS);
}
