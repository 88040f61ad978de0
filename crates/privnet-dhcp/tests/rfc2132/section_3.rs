//! "RFC 1497 Vendor Extensions", "NTP Servers" (§8.3) and "Broadcast Address" (§5.3)

use privnet_dhcp::{PortFacts, answer};

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
fn host_name() {
    check(12, b"web-1");
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

fn told(instance_name: &str) -> Option<String> {
    let settings = settings();
    let facts = PortFacts { instance_name, ..facts(&settings) };
    let reply = answer(&Client::discover().asking(&[12]).frame(), &facts).expect("answered");
    Heard::new(&reply).option(12).map(|name| String::from_utf8(name.to_vec()).expect("ASCII"))
}

/// §3.14: "See RFC 1035 for character set restrictions."
#[test]
fn a_host_name_has_no_characters_that_a_host_name_may_not_have() {
    for (instance_name, host_name) in [
        ("Web-1.Example.NET", "Web-1.Example.NET"),
        ("web 1 (blue)", "web-1--blue"),
        ("web_1", "web-1"),
        ("-web-.-.1.", "web.1"),
        ("größe", "gr--e"),
    ] {
        assert_eq!(told(instance_name).as_deref(), Some(host_name));
    }
    assert_eq!(told("..."), None);
    assert_eq!(told("名前"), None);
    assert_eq!(told(&"x".repeat(255)), Some("x".repeat(63)));
    assert_eq!(told(&format!("{}-x", "x".repeat(62))), Some("x".repeat(62)));
    let labels = [&*"x".repeat(63); 3].join(".");
    assert_eq!(told(&format!("{labels}.{}", "y".repeat(61))), Some(format!("{labels}.{}", "y".repeat(61))));
    assert_eq!(told(&format!("{labels}.{}", "y".repeat(62))), Some(labels));
}

/// §3.3: "If both the subnet mask and the router option are specified in a DHCP reply, the subnet mask option MUST be first."
#[test]
fn the_subnet_mask_stands_before_the_routers_whatever_the_client_wishes() {
    let codes = ask(Client::discover().asking(&[3, 6, 1])).expect("answered").codes();
    let place = |code| codes.iter().position(|c| *c == code).expect("given");
    assert!(place(1) < place(3));
}
