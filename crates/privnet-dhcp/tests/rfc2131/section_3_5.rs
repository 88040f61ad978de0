//! "Client parameters in DHCP"

use crate::support::*;

/// What the client would like: an address, a lease time, a host name, a message size and so on.
#[test]
fn hints_of_a_client_change_nothing() {
    let with_hints = |client: Client| {
        client.option(51, &[0xff; 4]).option(12, b"another").option(60, b"MSFT 5.0").option(81, &[0, 0, 0, b'x'])
    };
    for client in [Client::discover(), Client::selecting(SERVER, ADDRESS), Client::renewing(ADDRESS)] {
        assert_eq!(ask(with_hints(client.clone())), ask(client));
    }
    assert_eq!(ask(Client::discover().option(50, &WRONG.octets())), ask(Client::discover()));
}

/// "The server may include an error message in the 'message' option."
#[test]
fn a_refusal_says_why() {
    let heard = ask(Client::init_reboot(WRONG)).expect("answered");
    let message = String::from_utf8(heard.option(56).expect("given").to_vec()).expect("text");
    assert!(message.contains("not the address of your port"), "{message}");
}
