//! "Parameter Request List"

use crate::support::*;

fn after_the_required(codes: &[u8]) -> Vec<u8> {
    ask(Client::discover().asking(codes)).expect("answered").codes().split_off(7)
}

#[test]
fn requested_options_stand_in_the_order_requested() {
    assert_eq!(after_the_required(&[42, 28, 3, 119, 6, 15]), [42, 28, 3, 119, 6, 15]);
    assert_eq!(after_the_required(&[15, 6, 119, 3, 28, 42]), [15, 6, 119, 3, 28, 42]);
}

#[test]
fn options_that_were_not_requested_are_absent() {
    assert_eq!(after_the_required(&[6]), [6]);
}

#[test]
fn an_option_requested_twice_is_given_once() {
    assert_eq!(after_the_required(&[3, 6, 3]), [3, 6]);
}

#[test]
fn options_that_every_reply_has_are_not_given_again_when_they_are_requested() {
    assert_eq!(after_the_required(&[1, 26, 51, 53, 54, 58, 59, 61, 3]), [3]);
}

#[test]
fn options_that_the_server_does_not_know_are_absent() {
    assert_eq!(after_the_required(&[0, 13, 3, 252, 255]), [3]);
}
