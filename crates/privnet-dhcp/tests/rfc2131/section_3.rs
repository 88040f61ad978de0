//! "The Client-Server Protocol"

use privnet_dhcp::{MessageError, Silence};

use crate::support::*;

#[test]
fn the_options_begin_with_the_magic_cookie() {
    let client = Client::discover();
    let mut message = client.message();
    message[239] = 98;
    assert_eq!(ask_frame(&client.frame_of(&message)), Err(Silence::Message(MessageError::NoCookie)));
}

#[test]
fn a_message_without_a_type_is_bootp_and_gets_no_reply() {
    let client = Client { options: vec![], ..Client::discover() };
    assert_eq!(ask(client), Err(Silence::Message(MessageError::NoMessageType)));
}

#[test]
fn a_client_gets_the_address_that_it_was_offered() {
    let offer = ask(Client::discover()).expect("answered");
    let server = <[u8; 4]>::try_from(offer.option(54).expect("given")).expect("that long");
    let ack = ask(Client::selecting(server.into(), offer.yiaddr())).expect("answered");
    assert_eq!((ack.message_type(), ack.yiaddr()), (ACK, offer.yiaddr()));
}
