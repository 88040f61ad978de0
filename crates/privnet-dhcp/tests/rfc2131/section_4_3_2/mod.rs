//! "DHCPREQUEST message"

mod init_reboot;
mod rebinding;
mod renewing;
mod selecting;

use privnet_dhcp::{ReplyKind, Silence};

use crate::support::*;

fn is_acknowledged(client: Client) {
    let heard = ask(client).expect("answered");
    assert_eq!((heard.kind, heard.message_type(), heard.yiaddr()), (ReplyKind::Ack, ACK, ADDRESS));
}

fn is_refused(client: Client) {
    let heard = ask(client).expect("answered");
    assert_eq!((heard.kind, heard.message_type(), heard.yiaddr()), (ReplyKind::Nak, NAK, NOBODY));
}

#[test]
fn without_a_record_of_the_client_the_server_remains_silent() {
    for client in [
        Client::selecting(SERVER, ADDRESS),
        Client::init_reboot(ADDRESS),
        Client::renewing(ADDRESS),
        Client::rebinding(WRONG),
    ] {
        assert_eq!(ask_without_lease(client), Err(Silence::NoLease));
    }
}

#[test]
fn a_request_for_no_address_gets_no_reply() {
    let nobodys = NOBODY.octets();
    for client in [Client::new(REQUEST), Client::new(REQUEST).option(50, &nobodys), Client::selecting(SERVER, NOBODY)] {
        assert_eq!(ask(client), Err(Silence::NoAddress));
    }
}

/// §3.1: "The server SHOULD NOT check the offered network address at this point."
#[test]
fn every_acknowledgement_says_what_the_offer_said() {
    let offer = ask(Client::discover()).expect("answered");
    for client in [
        Client::selecting(SERVER, ADDRESS),
        Client::init_reboot(ADDRESS),
        Client::renewing(ADDRESS),
        Client::rebinding(ADDRESS),
    ] {
        assert_eq!(ask(client).expect("answered").options[1..], offer.options[1..]);
    }
}

/// Table 3: what a DHCPNAK MUST NOT have.
#[test]
fn a_refusal_says_nothing_but_who_refuses_and_why() {
    for client in [Client::selecting(SERVER, WRONG), Client::init_reboot(WRONG), Client::renewing(WRONG)] {
        let heard = ask(client.asking(&[1, 3, 6, 26, 51])).expect("answered");
        assert_eq!(heard.codes(), [53, 54, 56]);
    }
}
