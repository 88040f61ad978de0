//! "Domain Search Option Format"

use privnet_model::DhcpOptions;

use crate::support::*;

/// Option 119 of a network that searches these domains.
fn searchlist(names: &[&str]) -> Vec<u8> {
    let options = DhcpOptions::new(vec![], vec![], vec![], domains(names)).expect("valid");
    let heard = ask_in(&with_options(options), Client::discover().asking(&[119]));
    heard.option(119).expect("given").to_vec()
}

/// Reads names with pointers (RFC 1035 §4.1.4), as a client does.
pub fn read(searchlist: &[u8]) -> Vec<String> {
    let (mut names, mut at) = (Vec::new(), 0);
    while at < searchlist.len() {
        let (name, next) = read_name(searchlist, at);
        names.push(name.join("."));
        at = next;
    }
    names
}

/// The labels of the name at `at`, and where the next name is.
fn read_name(octets: &[u8], at: usize) -> (Vec<String>, usize) {
    match octets[at] {
        0 => (vec![], at + 1),
        high if high >= 0xc0 => {
            let target = usize::from(high & 0x3f) << 8 | usize::from(octets[at + 1]);
            assert!(target < at, "a pointer points back");
            (read_name(octets, target).0, at + 2)
        }
        len => {
            let end = at + 1 + usize::from(len);
            let (rest, next) = read_name(octets, end);
            let label = String::from_utf8(octets[at + 1..end].to_vec()).expect("ASCII");
            ([vec![label], rest].concat(), next)
        }
    }
}

/// The example of RFC 3397 §2.
#[test]
fn names_are_compressed_as_in_the_example() {
    assert_eq!(
        searchlist(&["eng.apple.com", "marketing.apple.com"]),
        b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"
    );
}

#[test]
fn a_name_that_is_the_end_of_an_earlier_one_is_only_a_pointer() {
    assert_eq!(searchlist(&["lab.example.net", "example.net"]), b"\x03lab\x07example\x03net\x00\xc0\x04");
}

#[test]
fn names_that_share_nothing_are_not_compressed() {
    assert_eq!(searchlist(&["a.b", "c.d"]), b"\x01a\x01b\x00\x01c\x01d\x00");
}

#[test]
fn the_list_keeps_its_order() {
    let names = ["x.example.net", "b.example.org", "a.x.example.net", "example.org", "example.net"];
    assert_eq!(read(&searchlist(&names)), names);
}

#[test]
fn the_longest_list_fits_in_one_option() {
    let label = |c: &str| c.repeat(61);
    let names = [label("x"), label("y"), label("z"), label("w")];
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(read(&searchlist(&names)), names);
}

#[test]
fn many_short_names_that_share_their_end_come_whole() {
    let names = (b'a'..=b'z').map(|c| format!("{}.example", c as char)).collect::<Vec<_>>();
    let names = names.iter().map(String::as_str).take(23).collect::<Vec<_>>();
    assert_eq!(read(&searchlist(&names)), names);
}
