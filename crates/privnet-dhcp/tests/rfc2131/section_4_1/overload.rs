//! Options in the fields 'sname' and 'file'.

use std::net::Ipv4Addr;

use privnet_dhcp::MessageError;
use privnet_model::{DhcpOptions, DhcpSettings};

use super::*;

/// A client that asks for an address of its own, which is wherever it wants.
fn overloaded(overload: u8, file: &[u8], sname: &[u8]) -> Client {
    Client { file: file.to_vec(), sname: sname.to_vec(), ..Client::new(REQUEST) }.option(52, &[overload])
}

/// Option 50 with an end option after it.
fn requested(address: Ipv4Addr) -> Vec<u8> {
    [&[50, 4][..], &address.octets(), &[255]].concat()
}

fn check(client: Client, expected: Result<u8, MessageError>) {
    let heard = ask(client).map(|heard| heard.message_type());
    assert_eq!(heard, expected.map_err(Silence::Message));
}

#[test]
fn the_fields_that_the_option_names_are_read() {
    let (right, wrong) = (requested(ADDRESS), requested(WRONG));
    check(overloaded(1, &right, &wrong), Ok(ACK));
    check(overloaded(1, &wrong, &right), Ok(NAK));
    check(overloaded(2, &right, &wrong), Ok(NAK));
    check(overloaded(2, &wrong, &right), Ok(ACK));
    check(overloaded(3, &right, &[255]), Ok(ACK));
    check(overloaded(3, &[], &right), Ok(ACK));
}

#[test]
fn without_the_option_the_fields_are_not_read() {
    let client = Client { file: requested(WRONG), sname: requested(WRONG), ..Client::init_reboot(ADDRESS) };
    check(client, Ok(ACK));
}

/// RFC 3396 §5: the parts of an option are put together in this order.
#[test]
fn the_options_field_is_read_first_then_file_then_sname() {
    let [a, b, c, d] = ADDRESS.octets();
    check(overloaded(3, &[50, 1, b, 255], &[50, 2, c, d, 255]).option(50, &[a]), Ok(ACK));
    check(overloaded(3, &[50, 2, c, d, 255], &[50, 1, b, 255]).option(50, &[a]), Ok(NAK));
}

#[test]
fn an_option_is_entirely_contained_in_its_field() {
    let overlong = |field: usize| [vec![0; field - 5], vec![50, 4, 10, 0, 0]].concat();
    check(overloaded(1, &overlong(128), &[]), Err(MessageError::OptionOverlong(50)));
    check(overloaded(2, &[], &overlong(64)), Err(MessageError::OptionOverlong(50)));
    let to_the_end = |field: usize| [vec![0; field - 6], requested(ADDRESS)[..6].to_vec()].concat();
    check(overloaded(1, &to_the_end(128), &[]), Ok(ACK));
    check(overloaded(2, &[], &to_the_end(64)), Ok(ACK));
}

/// RFC 2132 §9.3.
#[test]
fn the_option_is_one_octet_of_1_2_or_3() {
    for value in [0, 4, 255] {
        check(overloaded(value, &requested(ADDRESS), &[]), Err(MessageError::Overload(value)));
    }
    for value in [&[][..], &[1, 1]] {
        let client = Client::init_reboot(ADDRESS).option(52, value);
        check(client, Err(MessageError::OptionLength { code: 52, bytes: value.len() }));
    }
}

#[test]
fn an_option_that_names_fields_counts_in_the_options_field_alone() {
    check(overloaded(1, &[52, 1, 2, 255], &requested(WRONG)).option(50, &ADDRESS.octets()), Ok(ACK));
    check(overloaded(1, &[52, 1, 9, 255], &[]).option(50, &ADDRESS.octets()), Ok(ACK));
}

/// Routers of 122 octets, name servers of 62, time servers of 102 and the domain search list "example".
fn many_options() -> DhcpSettings {
    let many = |count: u8| (1..=count).map(|i| Ipv4Addr::new(10, 0, 0, i)).collect::<Vec<_>>();
    with_options(DhcpOptions::new(many(30), many(15), many(25), domains(&["example"])).expect("valid"))
}

fn codes(asked: &[u8], taken: u16) -> Vec<u8> {
    ask_in(&many_options(), Client::discover().asking(asked).taking(taken)).codes().split_off(7)
}

/// §3.5: "The parameters returned to a client may still exceed the space allocated to options in a DHCP message."
#[test]
fn options_for_which_there_is_no_other_room_stand_in_the_fields() {
    let heard = ask_in(&many_options(), Client::discover().asking(&[3, 6, 42, 119, 28]));
    assert_eq!(heard.codes().split_off(7), [52, 3, 6, 119, 28, 42]);
    assert_eq!(heard.option(52), Some(&[1][..]));
    assert!(heard.packet_bytes <= 576);
}

#[test]
fn sname_is_used_after_file() {
    let heard = ask_in(&many_options(), Client::discover().asking(&[42, 3, 6]).option(61, &[7; 120]));
    assert_eq!(heard.codes().split_off(8), [52, 42, 3, 6]);
    assert_eq!(heard.option(52), Some(&[3][..]));
}

#[test]
fn the_fields_are_empty_where_there_is_room_enough() {
    assert_eq!(codes(&[3, 6, 42, 119, 28], 1000), [3, 6, 42, 119, 28]);
    assert_eq!(codes(&[3, 6, 119, 28], 576), [3, 6, 119, 28]);
}

/// Table 3: "Use 'file'/'sname' fields: MUST NOT".
#[test]
fn a_refusal_does_not_use_the_fields() {
    let client = Client::init_reboot(WRONG).option(61, &[7; 255]).asking(&[3, 6, 42]);
    assert_eq!(ask_in(&many_options(), client).codes(), [53, 54, 61, 56]);
}
