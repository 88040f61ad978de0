//! RFC 4231 §4: "Test Vectors" for HMAC-SHA-256.

use privnet_crypto::SigningKey;

#[test]
fn section_4_2_test_case_1() {
    check(&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

#[test]
fn section_4_3_a_key_shorter_than_the_output() {
    check(b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

#[test]
fn section_4_4_data_longer_than_64_octets_with_a_short_key() {
    check(&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
}

#[test]
fn section_4_5_a_combined_length_over_64_octets() {
    let key: Vec<u8> = (1..=25).collect();
    check(&key, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
}

#[test]
fn section_4_6_truncated_to_128_bits() {
    check(&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b");
}

#[test]
fn section_4_7_a_key_larger_than_the_block() {
    check(
        &[0xaa; 131],
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    );
}

#[test]
fn section_4_8_key_and_data_larger_than_the_block() {
    check(
        &[0xaa; 131],
        b"This is a test using a larger than block-size key and a larger than block-size data. \
          The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    );
}

/// The signature begins with these octets, however the data is cut into parts, and each time.
fn check(key: &[u8], data: &[u8], expected: &str) {
    let key = SigningKey::new(key).expect("a key");
    for cut in 0..=data.len() {
        let (one, other) = data.split_at(cut);
        let signature = key.sign(&[one, b"", other]).expect("a signature");
        let signature: String = signature.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(signature[..expected.len()], *expected, "cut at {cut}");
    }
}
