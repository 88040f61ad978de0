//! RFC 3442: The Classless Static Route Option for DHCPv4.

use std::net::Ipv4Addr;

use privnet_model::{DhcpOptions, DhcpSettings};

use crate::support::*;

fn routers(routers: &[[u8; 4]]) -> DhcpSettings {
    let routers = routers.iter().copied().map(Ipv4Addr::from).collect();
    with_options(DhcpOptions::new(routers, vec![], vec![], vec![]).expect("valid"))
}

fn routes(settings: &DhcpSettings) -> Option<Vec<u8>> {
    ask_in(settings, Client::discover().asking(&[121])).option(121).map(<[u8]>::to_vec)
}

/// "Local Subnet Routes" and "the DHCP client MUST ignore the Router option" where both are given.
#[test]
fn a_router_outside_of_the_subnet_is_on_the_link_and_the_default() {
    let expected = [&[32, 192, 0, 2, 1, 0, 0, 0, 0][..], &[0, 192, 0, 2, 1]].concat();
    assert_eq!(routes(&routers(&[[192, 0, 2, 1]])), Some(expected));
}

/// RFC 2132 §3.5: routers are listed in the order of preference, which routes do not have.
#[test]
fn of_several_routers_the_first_is_the_default() {
    let expected = [&[32, 192, 0, 2, 1, 0, 0, 0, 0][..], &[0, 192, 0, 2, 1]].concat();
    assert_eq!(routes(&routers(&[[192, 0, 2, 1], [10, 0, 0, 1], [192, 0, 2, 9]])), Some(expected));
    assert_eq!(routes(&routers(&[[10, 0, 0, 1], [192, 0, 2, 1]])), None);
}

#[test]
fn where_option_3_says_all_there_are_no_routes() {
    assert_eq!(routes(&routers(&[[10, 0, 0, 1]])), None);
    assert_eq!(routes(&routers(&[])), None);
}

#[test]
fn a_client_that_does_not_ask_for_routes_gets_the_routers_alone() {
    let settings = routers(&[[192, 0, 2, 1]]);
    let heard = ask_in(&settings, Client::discover());
    assert_eq!((heard.option(121), heard.option(3)), (None, Some(&[192, 0, 2, 1][..])));
}

/// "When a DHCP client requests the Classless Static Routes option and also requests [...] the Router option [...], and
/// the DHCP server is sending Classless Static Routes options to that client, the server SHOULD NOT include the Router".
#[test]
fn a_client_that_asks_for_both_gets_the_routes_alone() {
    let codes =
        |settings: DhcpSettings| ask_in(&settings, Client::discover().asking(&[121, 3, 6])).codes().split_off(7);
    assert_eq!(codes(routers(&[[192, 0, 2, 1]])), [121]);
    assert_eq!(codes(routers(&[[10, 0, 0, 1]])), [3], "no routes");
}
