//! What keys leave in memory that is given back.

#[path = "../../privnet-crypto/tests/watching/mod.rs"]
mod watching;

use privnet_crypto::Secret;
use privnet_tls::{Authority, Identity, PrivateKey, SERIAL_OCTETS, Validity};

use self::watching::{TRACE_OCTETS, left_behind};

/// Of the lines of a key in PEM, and of the PKCS#8 (RFC 5958) that they stand for: the first octets of the key itself,
/// which begin at the same place in every P-256 key.
fn traces(key: &Secret) -> [Vec<u8>; 2] {
    const KEY_AT: usize = 36;
    let text = key.text().expect("PEM");
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let digits = |c: char| "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".find(c);
    let bits: Vec<_> = body.chars().filter_map(digits).collect();
    let der: Vec<u8> = bits
        .chunks_exact(4)
        .flat_map(|four| four.iter().fold(0, |all, six| all << 6 | *six as u32).to_be_bytes()[1..].to_vec())
        .collect();
    [body.as_bytes()[KEY_AT / 3 * 4..][..TRACE_OCTETS].to_vec(), der[KEY_AT..][..TRACE_OCTETS].to_vec()]
}

#[test]
fn no_text_of_a_key_is_left_that_was_read_or_written() {
    let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
    let authority = Authority::create("authority", [1; SERIAL_OCTETS], validity).expect("an authority");
    let (certificate, pem) = (authority.certificate().to_pem(), authority.key().to_pem().expect("PEM"));
    let text = pem.text().expect("PEM");
    let cut = text.replace("-----END", "!-----END");
    for trace in traces(&pem) {
        let check = |what: &str, run: &dyn Fn()| assert_eq!(left_behind(&trace, run), 0, "{what}");
        check("a key that is read", &|| drop(PrivateKey::from_pem(text).expect("a key")));
        check("one that is damaged", &|| drop(PrivateKey::from_pem(&cut).expect_err("no Base64")));
        check("one that is written", &|| drop(authority.key().to_pem().expect("PEM")));
        check("an authority's", &|| drop(Authority::from_pem(&certificate, text).expect("an authority")));
        check("an identity's", &|| drop(Identity::from_pem(&certificate, text).expect("an identity")));
    }
}
