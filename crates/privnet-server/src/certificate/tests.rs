use privnet_tls::{Connector, Handshake, Trust};
use tempfile::TempDir;

use super::*;
use crate::watching::left_behind;

const LISTEN: &str = "192.0.2.1:8080";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn served(encryption: &Encryption, dir: &TempDir, public_url: Option<&str>) -> Result<ServedCertificate, String> {
    let listen = LISTEN.parse().expect("an address");
    match ServedCertificate::of(encryption, dir.path(), listen, public_url) {
        Ok(served) => Ok(served.expect("TLS")),
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            Err(format!("{error}{cause}"))
        }
    }
}

fn self_signed_in(dir: &TempDir) -> Certificate {
    certificate_in(&dir.path().join(SELF_SIGNED_FILE))
}

/// Writes a certificate and its key, and says where they are.
fn files(dir: &TempDir, validity: Validity) -> (PathBuf, PathBuf) {
    let key = PrivateKey::generate().expect("a key");
    let names = [AltName::Dns("localhost".into())];
    let serial = privnet_crypto::random().expect("a number");
    let subject = Subject { serial, common_name: "x", names: &names, uses: Use::Server, validity };
    let certificate = self_signed(&key, &subject).expect("a certificate");
    let (certificate_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    write_private(&certificate_file, certificate.to_pem().as_bytes()).expect("written");
    write_private(&key_file, key.to_pem().expect("PEM").as_bytes()).expect("written");
    (certificate_file, key_file)
}

fn for_a_day() -> Validity {
    Validity { not_before: unix_seconds() - 60, not_after: unix_seconds() + 24 * 3600 }
}

/// Which of these certificates a client is shown.
fn shown(served: &ServedCertificate, of: &[&Certificate]) -> Fingerprint {
    let trust = Trust::Authorities(of.iter().map(|certificate| (*certificate).clone()).collect());
    let connector = Connector::new(&trust, None, &[]).expect("a connector");
    let mut client = connector.session(&"localhost".parse().expect("a name")).expect("a session");
    let mut server = served.acceptor().session().expect("a session");
    let mut octets = vec![0; 1 << 16];
    while client.handshake().expect("well") == Handshake::NeedsInput {
        let sent = client.take_outgoing(&mut octets);
        server.receive(&octets[..sent]).expect("taken");
        server.handshake().expect("well");
        let sent = server.take_outgoing(&mut octets);
        client.receive(&octets[..sent]).expect("taken");
    }
    client.peer().expect("a peer").certificates[0].fingerprint()
}

fn certificate_in(file: &Path) -> Certificate {
    let text = fs::read_to_string(file).expect("a file");
    Certificate::all_from_pem(&text).expect("a certificate").swap_remove(0)
}

#[test]
fn a_self_signed_certificate_is_made_once_and_kept_for_its_owner() {
    let dir = folder();
    let first = served(&Encryption::SelfSigned, &dir, None).expect("a certificate");
    let own = self_signed_in(&dir);
    assert_eq!(own.fingerprint(), first.fingerprint());
    for file in [SELF_SIGNED_FILE, SELF_SIGNED_KEY_FILE] {
        let mode = fs::metadata(dir.path().join(file)).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
    }
    let again = served(&Encryption::SelfSigned, &dir, None).expect("a certificate");
    assert_eq!(again.fingerprint(), first.fingerprint(), "whoever trusts it goes on to");
}

fn has(certificate: &Certificate, name: &str) -> bool {
    certificate.names().iter().any(|known| known.to_string() == name)
}

#[test]
fn a_name_that_the_operator_says_later_is_in_the_certificate_of_the_next_start() {
    let dir = folder();
    let start = |public_url| served(&Encryption::SelfSigned, &dir, public_url).expect("a certificate").fingerprint();
    let first = start(Some("https://one.example"));
    let second = start(Some("https://other.example"));
    assert_ne!(second, first);
    let own = self_signed_in(&dir);
    assert!(has(&own, "other.example") && has(&own, "one.example"), "{:?}", own.names());
    for earlier in [Some("https://one.example"), None, Some("https://other.example")] {
        assert_eq!(start(earlier), second, "it has both, and is good for both");
    }
}

#[test]
fn a_machine_that_is_called_otherwise_keeps_its_certificate() {
    let dir = folder();
    let (certificate, key) = (dir.path().join(SELF_SIGNED_FILE), dir.path().join(SELF_SIGNED_KEY_FILE));
    let called = |name: &str| {
        let names = Names { said: vec![AltName::Dns("api.example".into())], found: vec![AltName::Dns(name.into())] };
        keep_self_signed(&certificate, &key, &names).expect("a certificate");
        self_signed_in(&dir)
    };
    let first = called("one");
    assert_eq!(called("other"), first);
    assert!(has(&first, "one") && !has(&first, "other"));
}

#[test]
fn names_that_are_no_more_are_kept_up_to_a_limit() {
    let dir = folder();
    let start = |number: usize| {
        let url = format!("https://host-{number}.example");
        served(&Encryption::SelfSigned, &dir, Some(&url)).expect("a certificate");
        self_signed_in(&dir)
    };
    (0..SELF_SIGNED_NAMES_MAX).map(start).for_each(drop);
    let last = start(SELF_SIGNED_NAMES_MAX);
    assert_eq!(last.names().len(), SELF_SIGNED_NAMES_MAX);
    assert!(has(&last, "host-32.example") && has(&last, "localhost") && !has(&last, "host-0.example"));
}

#[test]
fn a_certificate_whose_key_was_made_for_the_next_one_is_made_anew() {
    let dir = folder();
    served(&Encryption::SelfSigned, &dir, Some("https://one.example")).expect("a certificate");
    let (_, key_of_next) = files(&dir, for_a_day());
    fs::rename(key_of_next, dir.path().join(SELF_SIGNED_KEY_FILE)).expect("moved");
    served(&Encryption::SelfSigned, &dir, None).expect("a certificate");
    assert!(has(&self_signed_in(&dir), "one.example"));
}

#[test]
fn a_self_signed_certificate_has_the_names_by_which_the_server_is_reached() {
    let dir = folder();
    served(&Encryption::SelfSigned, &dir, Some("https://API.example:8443/")).expect("a certificate");
    let names: Vec<_> = self_signed_in(&dir).names().iter().map(ToString::to_string).collect();
    for name in ["localhost", "127.0.0.1", "::1", "192.0.2.1", "api.example"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
}

#[test]
fn a_self_signed_certificate_that_has_expired_is_made_anew() {
    let dir = folder();
    let (certificate, key) = files(&dir, Validity { not_before: 1, not_after: 2 });
    fs::rename(certificate, dir.path().join(SELF_SIGNED_FILE)).expect("moved");
    fs::rename(key, dir.path().join(SELF_SIGNED_KEY_FILE)).expect("moved");
    let expired = self_signed_in(&dir).fingerprint();
    assert_ne!(served(&Encryption::SelfSigned, &dir, None).expect("a certificate").fingerprint(), expired);
}

#[test]
fn files_that_are_no_good_are_refused_by_name() {
    let dir = folder();
    let (certificate, key) = files(&dir, for_a_day());
    let other = folder();
    let (_, key_of_other) = files(&other, for_a_day());
    let missing = dir.path().join("missing.pem");
    let check = |certificate: &Path, key: &Path, expected: String| {
        let encryption = Encryption::Files { certificate: certificate.to_owned(), key: key.to_owned() };
        assert_eq!(served(&encryption, &dir, None).expect_err("no good"), expected);
    };
    let both = |certificate: &Path, key: &Path| {
        format!("cannot use the certificate {} with the key {}", certificate.display(), key.display())
    };
    let why = "No such file or directory (os error 2)";
    check(&missing, &key, format!("cannot read {}: {why}", missing.display()));
    check(&certificate, &missing, format!("cannot read {}: {why}", missing.display()));
    let why = "the private key does not belong to the (first) certificate";
    check(&certificate, &key_of_other, format!("{}: {why}", both(&certificate, &key_of_other)));
    let why = "there is no certificate in it (a part that begins with \"-----BEGIN\", in PEM)";
    check(&key, &certificate, format!("{}: {why}", both(&key, &certificate)));
}

#[test]
fn new_files_are_served_when_told() {
    let dir = folder();
    let (certificate, key) = files(&dir, for_a_day());
    let served = served(&Encryption::Files { certificate: certificate.clone(), key }, &dir, None).expect("good");
    let first = certificate_in(&certificate);
    files(&dir, for_a_day());
    let second = certificate_in(&certificate);
    assert_eq!(shown(&served, &[&first, &second]), first.fingerprint(), "nobody has said so");
    served.reload().expect("good files");
    assert_eq!(shown(&served, &[&first, &second]), second.fingerprint());
}

/// As they are while somebody writes them, or were put there by mistake.
#[test]
fn files_that_are_no_good_change_nothing_and_the_error_says_why() {
    let dir = folder();
    let (certificate, key) = files(&dir, for_a_day());
    let first = certificate_in(&certificate);
    let (own, its_key) = (fs::read(&certificate).expect("read"), fs::read(&key).expect("read"));
    let served = served(&Encryption::Files { certificate: certificate.clone(), key: key.clone() }, &dir, None);
    let served = served.expect("good");
    let other = folder();
    let (next, next_key) = files(&other, for_a_day());
    let (next, next_key) = (fs::read(next).expect("read"), fs::read(next_key).expect("read"));

    let half = |octets: &[u8]| octets[..octets.len() / 2].to_vec();
    let chain = [&own[..], &next[..next.len() / 2]].concat();
    let (no_certificate, no_key) = (
        "there is no certificate in it (a part that begins with \"-----BEGIN\", in PEM)",
        "there is no private key in it (a part that begins with \"-----BEGIN\", in PEM)",
    );
    let cut_off = "the certificate in it cannot be read: its end is missing";
    let another = "the private key does not belong to the (first) certificate";
    for (file, text, why) in [
        (&certificate, vec![], no_certificate),
        (&certificate, half(&own), cut_off),
        (&certificate, chain, cut_off),
        (&certificate, next.clone(), another),
        (&certificate, vec![0xff; 10], "stream did not contain valid UTF-8"),
        (&key, vec![], no_key),
        (&key, half(&its_key), "the private key in it cannot be read: its end is missing"),
        (&key, next_key.clone(), another),
    ] {
        let good = fs::read(file).expect("read");
        fs::write(file, &text).expect("written");
        let error = served.reload().expect_err("no good");
        let told = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(told.as_deref(), Some(why), "{error}");
        assert_eq!(shown(&served, &[&first]), first.fingerprint());
        fs::write(file, good).expect("written");
    }
    for file in [&certificate, &key] {
        let aside = dir.path().join("aside");
        fs::rename(file, &aside).expect("moved");
        assert_eq!(served.reload().expect_err("none").to_string(), format!("cannot read {}", file.display()));
        fs::create_dir(file).expect("made");
        assert_eq!(served.reload().expect_err("a folder").to_string(), format!("cannot read {}", file.display()));
        fs::remove_dir(file).expect("removed");
        fs::rename(&aside, file).expect("moved");
        assert_eq!(shown(&served, &[&first]), first.fingerprint());
    }
    served.reload().expect("all is well again");
}

#[test]
fn nothing_of_its_key_s_file_is_left_in_memory() {
    let dir = folder();
    let (certificate, key) = files(&dir, for_a_day());
    let text = fs::read_to_string(&key).expect("readable");
    let line = text.lines().nth(1).expect("its first line");
    let served = served(&Encryption::Files { certificate, key }, &dir, None).expect("good");
    // Where a P-256 key itself begins in PKCS#8.
    assert_eq!(left_behind(&line.as_bytes()[48..], || served.reload().expect("good")), 0);
}
