//! "DHCP server behavior"

use dhcproto::v4::MessageType;
use privnet_dhcp::Silence;

use crate::support::*;

#[test]
fn messages_that_servers_send_get_no_reply() {
    for (kind, name) in [(OFFER, MessageType::Offer), (ACK, MessageType::Ack), (NAK, MessageType::Nak)] {
        assert_eq!(ask(Client::new(kind)), Err(Silence::NotFromAClient(name)));
    }
}

#[test]
fn messages_of_unknown_type_get_no_reply() {
    for kind in [0, 9, 14, 200, 255] {
        assert!(matches!(ask(Client::new(kind)), Err(Silence::NotFromAClient(_))), "{kind}");
    }
}

/// Invariant 9: only to the port whose lease it is.
#[test]
fn a_request_about_another_machine_gets_no_reply() {
    for client in [Client::discover(), Client::renewing(ADDRESS), Client::inform(ADDRESS)] {
        let refusal = |chaddr, source_mac| Err(Silence::Stranger { chaddr, source_mac, port: PORT });
        assert_eq!(ask(Client { chaddr: OTHER_PORT, ..client.clone() }), refusal(OTHER_PORT, PORT));
        assert_eq!(ask(Client { source_mac: OTHER_PORT, ..client.clone() }), refusal(PORT, OTHER_PORT));
        let both = Client { chaddr: OTHER_PORT, source_mac: OTHER_PORT, ..client };
        assert_eq!(ask(both), refusal(OTHER_PORT, OTHER_PORT));
    }
}
