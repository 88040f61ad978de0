//! "RFC 1497 Vendor Extensions", "NTP Servers" (§8.3) and "Broadcast Address" (§5.3)

use crate::support::*;

fn check(code: u8, expected: &[u8]) {
    for client in [Client::discover(), Client::renewing(ADDRESS), Client::inform(ADDRESS)] {
        let heard = ask(client.asking(&[code])).expect("answered");
        assert_eq!(heard.option(code), Some(expected));
    }
}

#[test]
fn subnet_mask() {
    check(1, &[255, 255, 255, 0]);
}

#[test]
fn routers() {
    check(3, &[10, 0, 0, 1]);
}

#[test]
fn domain_name_servers_in_the_order_of_preference() {
    check(6, &[10, 0, 0, 2, 10, 0, 0, 3]);
}

#[test]
fn the_domain_name_is_the_first_of_the_search_list() {
    check(15, b"lab.example.net");
}

#[test]
fn broadcast_address() {
    check(28, &[10, 0, 0, 255]);
}

#[test]
fn ntp_servers() {
    check(42, &[10, 0, 0, 4]);
}

/// §3.3: "If both the subnet mask and the router option are specified in a DHCP reply, the subnet mask option MUST be first."
#[test]
fn the_subnet_mask_stands_before_the_routers_whatever_the_client_wishes() {
    let codes = ask(Client::discover().asking(&[3, 6, 1])).expect("answered").codes();
    let place = |code| codes.iter().position(|c| *c == code).expect("given");
    assert!(place(1) < place(3));
}
