//! "DHCPREQUEST generated during SELECTING state"

use super::*;

#[test]
fn the_offered_address_is_acknowledged() {
    is_acknowledged(Client::selecting(SERVER, ADDRESS));
}

#[test]
fn another_address_than_the_offered_one_is_refused() {
    is_refused(Client::selecting(SERVER, WRONG));
    is_refused(Client::selecting(SERVER, ELSEWHERE));
}

#[test]
fn a_client_that_selects_another_server_declines_this_ones_offer_and_gets_no_reply() {
    for another in [WRONG, NOBODY, EVERYBODY] {
        assert_eq!(ask(Client::selecting(another, ADDRESS)), Err(Silence::AnotherServer(another)));
        assert_eq!(ask(Client::selecting(another, WRONG)), Err(Silence::AnotherServer(another)));
    }
}

#[test]
fn a_request_needs_no_offer_before_it() {
    let client = Client { xid: 0xdead_beef, ..Client::selecting(SERVER, ADDRESS) };
    is_acknowledged(client);
}

/// "'ciaddr' MUST be zero", says the document to the client.
#[test]
fn what_a_client_that_selects_says_to_have_already_changes_nothing() {
    is_acknowledged(Client { ciaddr: WRONG, ..Client::selecting(SERVER, ADDRESS) });
    is_refused(Client { ciaddr: ADDRESS, ..Client::selecting(SERVER, WRONG) });
}
