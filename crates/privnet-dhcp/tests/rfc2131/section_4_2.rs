//! "DHCP server administrative controls"

use privnet_dhcp::Silence;

use crate::support::*;

/// "The server MUST use that identifier to identify the client": the network does, by the port, of which there is one.
#[test]
fn a_client_identifier_brings_no_other_lease_and_takes_none_away() {
    for identifier in [&[1, 9, 9, 9, 9, 9, 9][..], &[255, 0, 0, 0, 1, 0, 1, 2, 3], &[0; 2], &[7; 255]] {
        for client in [Client::discover(), Client::selecting(SERVER, ADDRESS), Client::renewing(ADDRESS)] {
            let heard = ask(client.option(61, identifier)).expect("answered");
            assert_eq!((heard.yiaddr(), heard.option(61)), (ADDRESS, Some(identifier)));
        }
        assert_eq!(ask(Client::init_reboot(WRONG).option(61, identifier)).expect("answered").message_type(), NAK);
    }
}

#[test]
fn an_identifier_that_is_the_ports_mac_address_does_not_make_it_the_port() {
    let identifier = [&[1][..], &PORT.octets()].concat();
    let client = Client { chaddr: OTHER_PORT, ..Client::discover() }.option(61, &identifier);
    assert_eq!(ask(client), Err(Silence::Stranger { chaddr: OTHER_PORT, source_mac: PORT, port: PORT }));
}
