//! RFC 3396: Encoding Long Options in DHCPv4.

use privnet_dhcp::{MessageError, Silence};

use crate::support::*;

#[test]
fn an_option_in_several_parts_is_their_concatenation() {
    let in_parts = Client::discover().asking(&[42, 3]).option(12, b"host").asking(&[6]);
    assert_eq!(ask(in_parts), ask(Client::discover().asking(&[42, 3, 6]).option(12, b"host")));
    let address = ADDRESS.octets();
    let in_parts = Client::new(REQUEST).option(50, &address[..1]).option(50, &address[1..]);
    assert_eq!(ask(in_parts), ask(Client::init_reboot(ADDRESS)));
}

#[test]
fn two_whole_options_of_one_kind_are_one_of_the_wrong_length() {
    let client = Client::init_reboot(ADDRESS).option(50, &WRONG.octets());
    assert_eq!(ask(client), Err(Silence::Message(MessageError::OptionLength { code: 50, bytes: 8 })));
}
