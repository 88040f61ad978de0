//! What is secret in memory, and is wiped there.

mod watching;

use std::io::{self, Read};

use privnet_crypto::{OpenError, SealingKey, Secret};

use self::watching::left_behind;

const TRACE: &[u8; watching::TRACE_OCTETS] = b"nobody else's it";

/// Gives an octet at a time, and is interrupted before each.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(&mut out[..1]) }
    }
}

#[test]
fn memory_that_is_given_back_has_nothing_of_it() {
    assert_eq!(left_behind(TRACE, || drop(TRACE.to_vec())), 1, "or nothing is seen");
    let check = |what: &str, run: fn()| assert_eq!(left_behind(TRACE, run), 0, "{what}");
    check("made", || drop(Secret::of(&[b"x", TRACE])));
    check("copied", || drop(Secret::of(&[TRACE]).clone()));
    check("grown", || {
        let mut secret = Secret::default();
        (0..1000).for_each(|_| secret.push(TRACE));
    });
    check("read", || drop(Secret::read(TRACE.chain(&[7; 100_000][..]))));
    check("cut short", || {
        let filled = |octets: &mut [u8]| {
            octets[..TRACE.len()].copy_from_slice(TRACE);
            Ok::<_, ()>(0)
        };
        drop(Secret::filled(100, filled));
    });
    check("not filled", || {
        let filled = |octets: &mut [u8]| {
            octets[..TRACE.len()].copy_from_slice(TRACE);
            Err(())
        };
        drop(Secret::filled(100, filled));
    });
}

#[test]
fn memory_that_is_given_back_has_nothing_of_what_was_opened_nor_of_what_is_refused() {
    let key = SealingKey::new(Secret::of(&[&[7; 32]])).expect("32 octets");
    let sealed = key.seal(TRACE, b"id").expect("sealed");
    let mut damaged = sealed.clone();
    *damaged.last_mut().expect("a tag") ^= 1;
    let left = left_behind(TRACE, || {
        assert_eq!(key.open(&sealed, b"id").expect("opened").as_bytes(), TRACE);
        assert!(matches!(key.open(&damaged, b"id"), Err(OpenError::Refused)));
    });
    assert_eq!(left, 0);
}

#[test]
fn it_is_what_it_was_made_of() {
    let mut secret = Secret::of(&[b"one, ", b"two"]);
    secret.push(b", three");
    assert_eq!(secret.text().expect("a text"), "one, two, three");
    let long: Vec<u8> = (0..20_000_u32).map(|number| number as u8).collect();
    assert_eq!(Secret::read(&long[..]).expect("read").as_bytes(), long);
    assert_eq!(Secret::read(Slow(&long, false)).expect("read").as_bytes(), long);
    assert!(Secret::of(&[&[0xff]]).text().is_err());
}

#[test]
fn it_does_not_show_itself() {
    assert_eq!(format!("{:?}", Secret::of(&[TRACE])), "Secret");
}

#[test]
fn a_sealing_key_has_one_length() {
    for octets in [0, 31, 33] {
        assert!(SealingKey::new(Secret::of(&[&vec![7; octets]])).is_none(), "{octets}");
    }
}
