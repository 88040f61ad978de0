//! "Constructing and sending DHCP messages"

mod options;
mod overload;

use privnet_dhcp::Silence;

use crate::support::*;

fn goes_to(client: Client) -> ([u8; 6], std::net::Ipv4Addr) {
    let heard = ask(client).expect("answered");
    (heard.destination_mac, heard.destination)
}

const TO_EVERYBODY: ([u8; 6], std::net::Ipv4Addr) = (EVERYBODY_MAC.octets(), EVERYBODY);
const TO_THE_PORT: ([u8; 6], std::net::Ipv4Addr) = (PORT.octets(), ADDRESS);

#[test]
fn a_request_from_a_relay_agent_gets_no_reply() {
    let client = Client { giaddr: WRONG, ..Client::discover() };
    assert_eq!(ask(client), Err(Silence::Relayed(WRONG)));
}

#[test]
fn messages_go_from_port_67_to_port_68() {
    assert_eq!(ask(Client::discover()).expect("answered").ports, (67, 68));
}

#[test]
fn replies_come_from_the_servers_own_addresses() {
    for client in [Client::discover(), Client::renewing(ADDRESS), Client::init_reboot(WRONG)] {
        let heard = ask(client).expect("answered");
        assert_eq!((heard.source_mac, heard.source), (SERVER_MAC.octets(), SERVER));
        assert_eq!(heard.option(54), Some(&SERVER.octets()[..]));
    }
}

#[test]
fn without_the_broadcast_bit_the_reply_goes_to_yiaddr_and_chaddr() {
    assert_eq!(goes_to(Client::discover()), TO_THE_PORT);
    assert_eq!(goes_to(Client::selecting(SERVER, ADDRESS)), TO_THE_PORT);
    assert_eq!(goes_to(Client::init_reboot(ADDRESS)), TO_THE_PORT);
}

#[test]
fn with_the_broadcast_bit_the_reply_goes_to_everybody() {
    assert_eq!(goes_to(Client::discover().that_needs_broadcast()), TO_EVERYBODY);
    assert_eq!(goes_to(Client::selecting(SERVER, ADDRESS).that_needs_broadcast()), TO_EVERYBODY);
    assert_eq!(goes_to(Client::init_reboot(ADDRESS).that_needs_broadcast()), TO_EVERYBODY);
}

#[test]
fn a_client_that_has_its_address_gets_the_reply_there_whatever_the_broadcast_bit_says() {
    assert_eq!(goes_to(Client::renewing(ADDRESS)), TO_THE_PORT);
    assert_eq!(goes_to(Client::rebinding(ADDRESS)), TO_THE_PORT);
    assert_eq!(goes_to(Client::rebinding(ADDRESS).that_needs_broadcast()), TO_THE_PORT);
    let discover = Client { ciaddr: WRONG, ..Client::discover() }.that_needs_broadcast();
    assert_eq!(goes_to(discover), (PORT.octets(), WRONG));
}

/// §2: the other bits of 'flags' "MUST be set to zero by clients and ignored by servers".
#[test]
fn bits_that_are_not_the_broadcast_bit_change_nothing() {
    assert_eq!(goes_to(Client { flags: 0x7fff, ..Client::discover() }), TO_THE_PORT);
    assert_eq!(goes_to(Client { flags: 0xffff, ..Client::discover() }), TO_EVERYBODY);
}

/// "DHCP clients are responsible for all message retransmission."
#[test]
fn a_request_that_is_sent_again_is_answered_again() {
    for client in [Client::discover(), Client::selecting(SERVER, ADDRESS), Client::init_reboot(WRONG)] {
        let first = ask(client.clone()).expect("answered");
        assert_eq!(ask(Client { secs: client.secs + 4, ..client.clone() }).expect("answered"), first);
        let with_another_xid = ask(Client { xid: client.xid + 1, ..client.clone() }).expect("answered");
        assert_eq!(with_another_xid.decoded().xid(), client.xid + 1);
        assert_eq!(with_another_xid.options, first.options);
    }
}

#[test]
fn a_dhcpnak_goes_to_everybody_in_all_cases() {
    assert_eq!(goes_to(Client::selecting(SERVER, WRONG)), TO_EVERYBODY);
    assert_eq!(goes_to(Client::init_reboot(WRONG)), TO_EVERYBODY);
    assert_eq!(goes_to(Client::renewing(WRONG)), TO_EVERYBODY);
}

#[test]
fn a_request_sent_to_the_server_itself_is_answered_like_a_broadcast() {
    let to_the_server = Client { destination_mac: SERVER_MAC, destination: SERVER, ..Client::discover() };
    assert_eq!(ask(to_the_server), ask(Client::discover()));
    assert_eq!(ask(Client::renewing(ADDRESS)), ask(Client::rebinding(ADDRESS)));
}

#[test]
fn a_bootp_message_has_at_least_300_octets() {
    for client in [Client::discover(), Client::init_reboot(WRONG), Client::inform(ADDRESS)] {
        assert!(ask(client).expect("answered").message.len() >= 300);
    }
    assert_eq!(ask(Client::init_reboot(WRONG)).expect("answered").message.len(), 300);
}
