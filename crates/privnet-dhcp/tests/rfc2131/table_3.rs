//! "Fields and options used by DHCP servers"

use dhcproto::v4::{HType, Opcode};

use crate::support::*;

fn replies() -> [(Client, Heard); 4] {
    let clients = [Client::discover(), Client::renewing(ADDRESS), Client::init_reboot(WRONG), Client::inform(ADDRESS)];
    clients.map(|client| (client.clone(), ask(client).expect("answered")))
}

#[test]
fn op_htype_hlen_and_hops_are_those_of_a_reply_on_ethernet() {
    for (_, heard) in replies() {
        let message = heard.decoded();
        assert_eq!(
            (message.opcode(), message.htype(), message.hlen(), message.hops()),
            (Opcode::BootReply, HType::Eth, 6, 0)
        );
    }
}

#[test]
fn xid_chaddr_and_flags_are_the_clients() {
    for (client, heard) in replies() {
        let message = heard.decoded();
        assert_eq!((message.xid(), message.chaddr()), (client.xid, &PORT.octets()[..]));
    }
    let heard = ask(Client::discover().that_needs_broadcast()).expect("answered");
    assert!(heard.decoded().flags().broadcast());
}

#[test]
fn secs_siaddr_and_giaddr_are_0() {
    for (_, heard) in replies() {
        let message = heard.decoded();
        assert_eq!((message.secs(), message.siaddr(), message.giaddr()), (0, NOBODY, NOBODY));
    }
}

#[test]
fn sname_and_file_are_empty() {
    for (_, heard) in replies() {
        assert!(heard.message[44..236].iter().all(|octet| *octet == 0));
    }
}

#[test]
fn ciaddr_is_0_but_in_the_acknowledgement_of_a_client_that_has_its_address() {
    assert_eq!(ask(Client::discover()).expect("answered").ciaddr(), NOBODY);
    assert_eq!(ask(Client::selecting(SERVER, ADDRESS)).expect("answered").ciaddr(), NOBODY);
    assert_eq!(ask(Client::renewing(ADDRESS)).expect("answered").ciaddr(), ADDRESS);
    assert_eq!(ask(Client::renewing(WRONG)).expect("answered").ciaddr(), NOBODY);
}

#[test]
fn no_reply_has_what_table_3_forbids() {
    for (_, heard) in replies() {
        for forbidden in [50, 55, 57] {
            assert_eq!(heard.option(forbidden), None);
        }
    }
}
