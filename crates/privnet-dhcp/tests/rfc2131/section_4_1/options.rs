//! The options of a request.

use privnet_dhcp::MessageError;

use super::*;

#[test]
fn an_option_longer_than_the_message_gets_no_reply() {
    let client = Client::discover();
    let mut message = client.message();
    message.truncate(message.len() - 1);
    for tail in [&[12][..], &[12, 1], &[12, 5, 1, 2, 3, 4], &[12, 255]] {
        let frame = client.frame_of(&[&message, tail].concat());
        let expected = Err(Silence::Message(MessageError::OptionOverlong(12)));
        assert_eq!(ask_frame(&frame), expected, "{tail:?}");
    }
}

/// "The last option must always be the 'end' option", says the document to the client.
#[test]
fn the_end_option_may_be_missing() {
    let client = Client::discover();
    let mut message = client.message();
    assert_eq!(message.pop(), Some(255));
    assert_eq!(ask_frame(&client.frame_of(&message)), ask(client.clone()));
    message.extend([0; 60]);
    assert_eq!(ask_frame(&client.frame_of(&message)), ask(client));
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
