//! Certificates say what they were told to say, and private keys are told to nobody.

use privnet_tls::{
    AltName, Authority, Certificate, CertificateError, Identity, PrivateKey, SigningRequest, Subject, Use, Validity,
    self_signed,
};

use crate::common::*;

fn key() -> PrivateKey {
    PrivateKey::generate().expect("a key")
}

fn pem_of(key: &PrivateKey) -> String {
    key.to_pem().expect("PEM").text().expect("a text").to_owned()
}

#[test]
fn a_certificate_says_what_its_authority_was_told() {
    let names = [
        dns("a.example"),
        dns("*.b.example"),
        ip("192.0.2.1"),
        ip("2001:db8::1"),
        AltName::Uri("privnet:host:1".into()),
    ];
    let validity = Validity { not_before: 1_700_000_000, not_after: 4_000_000_000 };
    let serial = *b"\x00\xff456789abcdef01";
    let subject = Subject { serial, common_name: "Zürich, 1", names: &names, uses: Use::Both, validity };
    let request = SigningRequest::new(&key(), "whatever").expect("a request");
    let certificate = authority().sign(&request, &subject).expect("a certificate");
    assert_eq!(certificate.names(), names);
    assert_eq!(certificate.common_name(), Some("Zürich, 1"));
    assert_eq!(certificate.validity(), validity);
    assert_eq!(certificate.serial(), "ff343536373839616263646566303".to_owned() + "1");
}

#[test]
fn what_cannot_stand_in_a_certificate_is_refused() {
    let sign = |subject: &Subject<'_>| self_signed(&key(), subject).map(|_| ());
    for bad in ["", "a b", "a,b", "a\0.example", "192.0.2.1", "a..b", ".a", "*", "*.*.a", "a*.b"] {
        let error = sign(&server(&[dns(bad)])).expect_err(bad);
        assert_eq!(error, CertificateError::BadName(bad.into()));
    }
    for bad in ["", "a b", "ä"] {
        let names = [AltName::Uri(bad.into())];
        assert_eq!(sign(&server(&names)), Err(CertificateError::BadName(bad.into())));
    }
    for bad in ["", "a\nb", &"x".repeat(65)] {
        let subject = Subject { common_name: bad, ..server(&[]) };
        assert_eq!(sign(&subject), Err(CertificateError::BadName(bad.into())));
    }
    let validity = Validity { not_before: 0, not_after: i64::MAX };
    assert_eq!(sign(&Subject { validity, ..server(&[]) }), Err(CertificateError::BadTime(i64::MAX)));
}

#[test]
fn an_authority_is_the_same_after_a_way_through_pem() {
    let before = authority();
    let key = pem_of(before.key());
    let after = Authority::from_pem(&before.certificate().to_pem(), &key).expect("an authority");
    assert_eq!(after.certificate(), before.certificate());
    let request = SigningRequest::new(&self::key(), "host").expect("a request");
    let request = SigningRequest::from_pem(&request.to_pem()).expect("a request");
    after.sign(&request, &client(&[])).expect("a certificate");
}

#[test]
fn an_authority_has_its_own_key_and_may_sign() {
    let (one, other) = (authority(), authority());
    let mismatch = Authority::from_pem(&one.certificate().to_pem(), &pem_of(other.key()));
    assert_eq!(mismatch.expect_err("another key"), CertificateError::KeyMismatch);
    let end = identity(&one, &server(&[]));
    let no_authority = Authority::from_pem(&end.certificate().to_pem(), &pem_of(end.key()));
    assert_eq!(no_authority.expect_err("an end"), CertificateError::NotAnAuthority);
}

#[test]
fn a_request_that_its_key_has_not_signed_is_refused() {
    let request = SigningRequest::new(&key(), "host").expect("a request");
    let mut forged = request.der().to_vec();
    let at = forged.windows(4).position(|window| window == b"host").expect("its name");
    forged[at] = b'm';
    assert_eq!(SigningRequest::from_der(&forged).expect_err("forged"), CertificateError::ForgedRequest);
    let mut longer = request.der().to_vec();
    longer.push(0);
    assert!(matches!(SigningRequest::from_der(&longer), Err(CertificateError::Damaged { .. })));
    for octets in 0..request.der().len() {
        SigningRequest::from_der(&request.der()[..octets]).expect_err("cut off");
    }
}

/// A key of another kind is one that nobody has to be able to read.
#[test]
fn a_request_for_a_key_of_another_kind_is_refused_by_how_the_key_begins() {
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let request = SigningRequest::new(&key(), "host").expect("a request");
    let mut other = request.der().to_vec();
    let at = other.windows(P256.len()).position(|window| window == P256).expect("the name of the curve");
    // prime239v3, whose points have other lengths.
    other[at + P256.len() - 1] = 6;
    assert_eq!(SigningRequest::from_der(&other).expect_err("another curve"), CertificateError::NotP256);
}

#[test]
fn an_identity_is_a_certificate_and_its_own_key() {
    let authority = authority();
    let (one, other) = (identity(&authority, &server(&[])), identity(&authority, &server(&[])));
    let certificates = one.certificate().to_pem() + &authority.certificate().to_pem();
    let key = pem_of(one.key());
    let read = Identity::from_pem(&certificates, &key).expect("an identity");
    assert_eq!(read.chain(), one.chain());
    let both = format!("{key}{certificates}");
    assert_eq!(Identity::from_pem(&both, &both).expect("one file for both").chain(), one.chain());
    let check = |certificates: &str, key: &str, expected: CertificateError| {
        assert_eq!(Identity::from_pem(certificates, key).expect_err("refused"), expected);
    };
    check(&certificates, &pem_of(other.key()), CertificateError::KeyMismatch);
    check("", &key, CertificateError::Missing("certificate"));
    check(&certificates, &certificates, CertificateError::Missing("private key"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    check(&certificates, encrypted, CertificateError::EncryptedKey);
    let damaged = key.replacen('A', "B", 3);
    assert!(Identity::from_pem(&certificates, &damaged).is_err());
    assert!(matches!(Certificate::from_der(b"none"), Err(CertificateError::Damaged { .. })));
}

/// Else a certificate would be shown without those above it.
#[test]
fn certificates_of_which_the_last_is_cut_off_are_refused() {
    let (one, other) = (authority().certificate().to_pem(), authority().certificate().to_pem());
    assert_eq!(Certificate::all_from_pem(&format!("{one}{other}")).expect("both").len(), 2);
    let cause = "its end is missing".to_owned();
    let refused = Err(CertificateError::Damaged { what: "certificate", cause });
    for octets in ["-----BEGIN ".len(), other.len() / 2, other.len() - 2] {
        let read = Certificate::all_from_pem(&format!("{one}{}", &other[..octets]));
        assert_eq!(read.map(|all| all.len()), refused, "{octets}");
    }
}

#[test]
fn a_private_key_is_never_printed() {
    let identity = identity(&authority(), &server(&[]));
    let key = pem_of(identity.key());
    let secret = key.lines().nth(1).expect("its first line");
    for shown in [format!("{identity:?}"), format!("{:?}", identity.key()), format!("{:?}", authority())] {
        assert!(shown.contains("PrivateKey(secret)") && !shown.contains(secret), "{shown}");
    }
}
