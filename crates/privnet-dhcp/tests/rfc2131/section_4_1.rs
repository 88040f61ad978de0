//! "Constructing and sending DHCP messages"

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

#[test]
fn an_option_longer_than_the_message_gets_no_reply() {
    let client = Client::discover();
    let mut message = client.message();
    message.truncate(message.len() - 1);
    for tail in [&[12][..], &[12, 1], &[12, 5, 1, 2, 3, 4], &[12, 255]] {
        let frame = client.frame_of(&[&message, tail].concat());
        let expected = Err(Silence::Message(privnet_dhcp::MessageError::OptionOverlong(12)));
        assert_eq!(ask_frame(&frame), expected, "{tail:?}");
    }
}

#[test]
fn what_follows_the_end_option_is_not_read() {
    let client = Client::discover();
    let frame = client.frame_of(&[client.message(), vec![53, 1]].concat());
    assert_eq!(ask_frame(&frame), ask(client));
}

#[test]
fn pad_options_are_skipped() {
    let client = Client::discover();
    let mut message = client.message();
    message.splice(240..240, [0, 0, 0]);
    assert_eq!(ask_frame(&client.frame_of(&message)), ask(client));
}
