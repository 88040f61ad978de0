//! "Protocol Summary"

use privnet_dhcp::{MessageError, Silence};

use crate::support::*;

fn check(client: Client, expected: MessageError) {
    assert_eq!(ask(client), Err(Silence::Message(expected)));
}

#[test]
fn a_message_shorter_than_its_fields_gets_no_reply() {
    let client = Client::discover();
    let message = client.message();
    for len in 0..240 {
        let expected = Err(Silence::Message(MessageError::TooShort(len)));
        assert_eq!(ask_frame(&client.frame_of(&message[..len])), expected);
    }
}

#[test]
fn a_bootreply_gets_no_reply() {
    check(Client { op: 2, ..Client::discover() }, MessageError::NotRequest(2));
}

#[test]
fn a_hardware_address_that_is_not_ethernets_gets_no_reply() {
    check(Client { htype: 6, ..Client::discover() }, MessageError::NotEthernet { htype: 6, hlen: 6 });
    check(Client { hlen: 16, ..Client::discover() }, MessageError::NotEthernet { htype: 1, hlen: 16 });
    check(Client { hlen: 255, ..Client::discover() }, MessageError::NotEthernet { htype: 1, hlen: 255 });
}

#[test]
fn a_client_takes_576_octets_unless_it_says_more() {
    let many = (1..=63).map(|i| std::net::Ipv4Addr::new(10, 0, 0, i)).collect::<Vec<_>>();
    let options = privnet_model::DhcpOptions::new(many.clone(), many.clone(), many, vec![]).expect("valid");
    let heard = ask_in(&with_options(options), Client::discover());
    assert!(heard.packet_bytes <= 576);
    assert!(heard.option(3).is_some(), "what fits is there");
    assert!(heard.option(6).is_none(), "what does not fit is absent, not cut");
}
