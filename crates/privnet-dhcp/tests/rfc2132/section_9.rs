//! "DHCP Extensions": the lengths of what clients send

use privnet_dhcp::{MessageError, Silence};

use crate::support::*;

#[test]
fn an_option_of_the_wrong_length_gets_no_reply() {
    for (code, value) in [
        (50, &[10, 0, 0][..]),
        (50, &[10, 0, 0, 1, 2]),
        (50, &[]),
        (54, &[10, 0, 0]),
        (54, &[]),
        (57, &[2]),
        (57, &[0, 0, 2]),
        (61, &[1]),
        (61, &[]),
    ] {
        let heard = ask(Client::discover().option(code, value));
        let refusal = MessageError::OptionLength { code, bytes: value.len() };
        assert_eq!(heard, Err(Silence::Message(refusal)));
    }
}

#[test]
fn a_message_type_of_the_wrong_length_gets_no_reply() {
    for value in [vec![], vec![1, 1]] {
        let refusal = MessageError::OptionLength { code: 53, bytes: value.len() };
        let client = Client { options: vec![(53, value)], ..Client::discover() };
        assert_eq!(ask(client), Err(Silence::Message(refusal)));
    }
}

#[test]
fn options_that_the_server_does_not_know_change_nothing() {
    let client =
        Client::discover().option(81, &[]).option(80, &[1]).option(151, &[]).option(94, &[]).option(224, &[7; 200]);
    assert_eq!(ask(client), ask(Client::discover()));
}
