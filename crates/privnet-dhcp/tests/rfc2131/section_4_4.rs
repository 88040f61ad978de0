//! "DHCP client behavior": clients in each state of figure 5, as the server sees them.

use crate::support::*;

fn answer_to(client: Client) -> (u8, std::net::Ipv4Addr) {
    let heard = ask(client).expect("answered");
    (heard.message_type(), heard.yiaddr())
}

/// §4.4.1.
#[test]
fn from_init_to_bound() {
    let offer = ask(Client::discover()).expect("answered");
    let server = <[u8; 4]>::try_from(offer.option(54).expect("given")).expect("that long");
    let xid = offer.decoded().xid();
    let ack = ask(Client { xid, ..Client::selecting(server.into(), offer.yiaddr()) }).expect("answered");
    assert_eq!((ack.message_type(), ack.yiaddr(), ack.decoded().xid()), (ACK, offer.yiaddr(), xid));
}

/// §4.4.1: "If the network address appears to be in use, the client MUST send a DHCPDECLINE".
#[test]
fn from_requesting_back_to_init() {
    assert_eq!(answer_to(Client::selecting(SERVER, ADDRESS)), (ACK, ADDRESS));
    assert!(ask(Client::decline(ADDRESS)).is_err());
    assert_eq!(answer_to(Client::discover()), (OFFER, ADDRESS));
}

/// §4.4.2.
#[test]
fn from_init_reboot_to_bound_and_to_init() {
    assert_eq!(answer_to(Client::init_reboot(ADDRESS)), (ACK, ADDRESS));
    assert_eq!(answer_to(Client::init_reboot(WRONG)), (NAK, NOBODY));
    assert_eq!(answer_to(Client::discover()), (OFFER, ADDRESS));
}

/// §4.4.4: "When the DHCP client knows the address of a DHCP server, in either INIT or REBOOTING state, the client may
/// use that address [...] rather than the IP broadcast address."
#[test]
fn messages_to_the_server_alone_are_answered_like_broadcasts() {
    for client in
        [Client::discover(), Client::selecting(SERVER, ADDRESS), Client::init_reboot(WRONG), Client::inform(ADDRESS)]
    {
        let to_the_server = Client { destination_mac: SERVER_MAC, destination: SERVER, ..client.clone() };
        assert_eq!(ask(to_the_server), ask(client));
    }
}

/// §4.4.5.
#[test]
fn from_renewing_and_rebinding_to_bound_and_to_init() {
    for client in [Client::renewing, Client::rebinding] {
        assert_eq!(answer_to(client(ADDRESS)), (ACK, ADDRESS));
        assert_eq!(answer_to(client(WRONG)), (NAK, NOBODY));
    }
}

/// §4.4.6: "the correct operation of DHCP does not depend on the transmission of DHCPRELEASE messages".
#[test]
fn from_bound_to_init() {
    assert!(ask(Client::release(ADDRESS)).is_err());
    assert_eq!(answer_to(Client::discover()), (OFFER, ADDRESS));
    assert_eq!(answer_to(Client::init_reboot(ADDRESS)), (ACK, ADDRESS));
}
