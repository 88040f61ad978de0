//! The examples of FIPS 180-4's published test vectors.

use privnet_crypto::sha256;

fn check(message: &[u8], expected: &str) {
    let digest = sha256(message).expect("a digest");
    assert_eq!(digest.map(|octet| format!("{octet:02x}")).concat(), expected);
}

#[test]
fn published_vectors() {
    check(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
