//! Secrets at rest: the AES-256 test cases of the GCM specification (McGrew and Viega, "The Galois/Counter
//! Mode of Operation", appendix B, which NIST SP 800-38D refers to), and what sealing promises.

use privnet_crypto::{OpenError, SEAL_OVERHEAD_OCTETS, SealingKey, Secret, equal, random};
use proptest::prelude::*;

#[test]
fn gcm_test_case_13_nothing_is_sealed() {
    opens_to("00".repeat(32), "00".repeat(12), "", "", "530f8afbc74536b9a963b4f1c4cb738b", "");
}

#[test]
fn gcm_test_case_14_one_block() {
    opens_to(
        "00".repeat(32),
        "00".repeat(12),
        "",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
        &"00".repeat(16),
    );
}

#[test]
fn gcm_test_case_16_a_broken_block_and_associated_data() {
    opens_to(
        "feffe9928665731c6d6a8f9467308308".repeat(2),
        "cafebabefacedbaddecaf888".to_owned(),
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
}

#[test]
fn the_same_secret_is_never_sealed_alike() {
    let key = sealing_key(&[7; 32]);
    assert_ne!(key.seal(b"secret", b"id").expect("sealed"), key.seal(b"secret", b"id").expect("sealed"));
}

#[test]
fn keys_do_not_show_themselves() {
    assert_eq!(format!("{:?}", sealing_key(&[b'x'; 32])), "SealingKey(secret)");
}

#[test]
fn random_octets_differ() {
    assert_ne!(random::<16>().expect("octets"), random::<16>().expect("octets"));
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_with_the_same_key_and_purpose_alone(
        octets: [u8; 32],
        secret: Vec<u8>,
        purpose: Vec<u8>,
        place: prop::sample::Index,
        flipped in 1..=u8::MAX,
    ) {
        let key = sealing_key(&octets);
        let sealed = key.seal(&secret, &purpose).expect("sealed");
        prop_assert_eq!(sealed.len(), secret.len() + SEAL_OVERHEAD_OCTETS);
        let opened = key.open(&sealed, &purpose).expect("opened");
        prop_assert_eq!(opened.as_bytes(), secret);

        let with_a_change = |octets: &[u8]| {
            let mut changed = octets.to_vec();
            changed[place.index(octets.len())] ^= flipped;
            changed
        };
        prop_assert!(is_refused(key.open(&with_a_change(&sealed), &purpose)));
        prop_assert!(is_refused(key.open(&sealed[..place.index(sealed.len())], &purpose)));
        prop_assert!(is_refused(key.open(&sealed, &[purpose.as_slice(), b"x"].concat())));
        let other = sealing_key(&with_a_change(&octets));
        prop_assert!(is_refused(other.open(&sealed, &purpose)));
    }

    #[test]
    fn nothing_strange_is_opened(sealed: Vec<u8>) {
        prop_assert!(is_refused(sealing_key(&[7; 32]).open(&sealed, b"id")));
    }

    #[test]
    fn equal_is_equal(one: Vec<u8>, other: Vec<u8>) {
        prop_assert_eq!(equal(&one, &other), one == other);
        prop_assert!(equal(&one, &one.clone()));
    }
}

fn sealing_key(octets: &[u8]) -> SealingKey {
    SealingKey::new(Secret::of(&[octets])).expect("32 octets")
}

fn is_refused(opened: Result<Secret, OpenError>) -> bool {
    matches!(opened, Err(OpenError::Refused))
}

fn opens_to(key: String, nonce: String, purpose: &str, ciphertext: &str, tag: &str, secret: &str) {
    let key = sealing_key(&octets(&key));
    let sealed = octets(&[&nonce, ciphertext, tag].concat());
    assert_eq!(key.open(&sealed, &octets(purpose)).expect("opened").as_bytes(), octets(secret));
}

fn octets(hex: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    hex.as_bytes().chunks(2).map(digits).collect()
}
