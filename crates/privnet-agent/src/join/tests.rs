//! What a machine makes of what the server answers, and the files in which it keeps who it is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use privnet_tls::{Authority, SERIAL_OCTETS, Subject, Use, Validity};
use tempfile::TempDir;

use super::*;
use crate::identity::remove_all;
use crate::watching::left_behind;

const DAY_SECONDS: i64 = 86_400;

fn seconds_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().try_into().expect("few")
}

/// From so many days after now to so many.
fn days(from: i64, to: i64) -> Validity {
    Validity { not_before: seconds_now() + from * DAY_SECONDS, not_after: seconds_now() + to * DAY_SECONDS }
}

fn authority() -> Authority {
    Authority::create("hosts", [1; SERIAL_OCTETS], days(-9, 9)).expect("an authority")
}

fn certify(authority: &Authority, key: &PrivateKey, name: &str, validity: Validity) -> Certificate {
    let subject = Subject { serial: [2; SERIAL_OCTETS], common_name: name, names: &[], uses: Use::Client, validity };
    let request = SigningRequest::new(key, name).expect("a request");
    authority.sign(&request, &subject).expect("signed")
}

fn identity(authority: &Authority, name: &str, validity: Validity) -> HostIdentity {
    let key = PrivateKey::generate().expect("a key");
    let certificate = certify(authority, &key, name, validity);
    HostIdentity::new(key, certificate, authority.certificate().clone(), Some(digest("one").expect("a digest")))
        .expect("an identity")
}

/// Of host `h1`, by the token `one`, at a server that nobody reaches.
fn config(dir: &TempDir, authority: &Authority) -> JoinConfig {
    JoinConfig {
        host: host("h1"),
        server: "https://127.0.0.1:1".parse().expect("an address"),
        fingerprint: authority.certificate().fingerprint(),
        token: Secret::of(&[b"one"]),
        identity_file: dir.path().join("identity.pem"),
        vtep: [127, 0, 0, 1].into(),
    }
}

fn host(name: &str) -> HostName {
    HostName::try_from(name).expect("a name")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("there").permissions().mode() & 0o777
}

#[test]
fn a_token_has_its_key_again_and_another_one_has_another() {
    let dir = folder();
    let file = dir.path().join("identity.pem.joining");
    let pem = |token: &str| {
        let key = pending_key(&file, &digest(token).expect("a digest")).expect("a key");
        key.to_pem().expect("encoded").as_bytes().to_vec()
    };
    let first = pem("one");
    assert_eq!(pem("one"), first);
    assert_eq!(mode(&file), 0o600);
    assert_ne!(pem("two"), first);
    assert!(!fs::read_to_string(&file).expect("readable").contains("two"));
}

#[test]
fn nothing_of_a_key_is_left_in_memory_by_its_files() {
    let dir = folder();
    let (pending, file) = (dir.path().join("pending"), dir.path().join("identity.pem"));
    let identity = identity(&authority(), "h1", days(-1, 1));
    identity.write(&file).expect("written");
    pending_key(&pending, "digest").expect("made");
    for (file, use_it) in [
        (&file, &(|| drop(HostIdentity::read(&file).expect("read"))) as &dyn Fn()),
        (&file, &|| identity.write(&file).expect("written again")),
        (&pending, &|| drop(pending_key(&pending, "digest").expect("known"))),
    ] {
        let text = fs::read_to_string(file).expect("readable");
        let (_, key) = text.split_once("PRIVATE KEY-----\n").expect("a key");
        // Where a P-256 key itself begins in PKCS#8.
        assert_eq!(left_behind(&key.as_bytes()[48..64], use_it), 0);
    }
}

#[test]
fn the_answer_is_a_certificate_for_this_host_and_key_of_the_authority_that_was_meant() {
    let (dir, authority, key) = (folder(), authority(), PrivateKey::generate().expect("a key"));
    let answered = |by: &Authority, key_of: &PrivateKey, name: &str, validity: Validity| {
        let reply = proto::JoinReply {
            certificate: certify(by, key_of, name, validity).der().to_vec(),
            authority: by.certificate().der().to_vec(),
            now_unix_ms: 0,
        };
        identity_of(&config(&dir, &authority), key.clone(), "digest", &reply).map(|identity| identity.name().to_owned())
    };
    assert_eq!(answered(&authority, &key, "h1", days(-1, 1)).expect("taken"), "h1");
    let refused = |answered: Result<String, JoinError>| answered.expect_err("refused").to_string();
    assert_eq!(
        refused(answered(&self::authority(), &key, "h1", days(-1, 1))),
        "the server has issued a certificate of another authority than its own"
    );
    assert_eq!(
        refused(answered(&authority, &key, "h2", days(-1, 1))),
        "the server has issued a certificate for h2, which is another name"
    );
    for (from, to) in [(-2, -1), (1, 2)] {
        let refusal = answered(&authority, &key, "h1", days(from, to)).expect_err("refused");
        assert!(matches!(refusal, JoinError::Clock { .. }), "{refusal}");
    }
    let other = PrivateKey::generate().expect("a key");
    let refusal = answered(&authority, &other, "h1", days(-1, 1)).expect_err("refused");
    assert!(matches!(refusal, JoinError::Certificate(CertificateError::KeyMismatch)), "{refusal}");
}

#[tokio::test]
async fn a_machine_that_has_joined_does_not_ask_again_with_the_same_token_and_is_no_other_host() {
    let (dir, authority) = (folder(), authority());
    let config = config(&dir, &authority);
    identity(&authority, "h1", days(-1, 1)).write(&config.identity_file).expect("written");
    let written = fs::read_to_string(&config.identity_file).expect("readable");
    let pending = pending(&config.identity_file);
    fs::write(&pending, "a key").expect("written");
    join(&config).await.expect("nothing is to be done");
    assert!(!pending.exists(), "a key is left that nobody needs");
    let other_host = join(&JoinConfig { host: host("h2"), ..config.clone() }).await.expect_err("refused");
    assert!(matches!(&other_host, JoinError::OtherHost { found, .. } if found == "h1"), "{other_host}");
    let other_token = JoinConfig { token: Secret::of(&[b"two"]), ..config.clone() };
    let other_server = JoinConfig { fingerprint: Fingerprint::new([0; 32]), ..config.clone() };
    for asking in [other_token, other_server] {
        let refusal = join(&asking).await.expect_err("it asks a server that is not there");
        assert!(matches!(refusal, JoinError::Dial { .. }), "{refusal}");
    }
    assert_eq!(fs::read_to_string(&config.identity_file).expect("readable"), written);
}

/// Whoever was refused has to do something, and whoever has no answer asks again.
#[test]
fn a_refusal_is_told_from_an_answer_that_is_lost() {
    for refusal in [Status::permission_denied("no"), Status::invalid_argument("no"), Status::resource_exhausted("no")] {
        assert_eq!(failure(refusal).to_string(), "the server lets this machine not join: no");
    }
    for lost in [Status::unavailable("?"), Status::internal("?"), Status::unknown("?")] {
        assert!(matches!(failure(lost), JoinError::Lost(_)));
    }
}

#[test]
fn an_agent_is_the_host_of_its_identity_and_no_other() {
    let dir = folder();
    let file = dir.path().join("identity.pem");
    let found = |name| HostIdentity::of(&host(name), &file).map(|identity| identity.name().to_owned());
    assert!(matches!(found("h1"), Err(IdentityError::Missing(_))));
    identity(&authority(), "h1", days(-1, 1)).write(&file).expect("written");
    assert_eq!(found("h1").expect("its own"), "h1");
    assert!(matches!(found("h2"), Err(IdentityError::OtherHost { .. })));
}

#[test]
fn a_certificate_is_due_when_two_thirds_of_its_life_are_over() {
    let identity = identity(&authority(), "h1", Validity { not_before: 1000, not_after: 1900 });
    let due_in = |seconds| identity.due_in(UNIX_EPOCH + Duration::from_secs(seconds)).as_secs();
    assert_eq!([1000, 1599, 1600, 1800, 2000].map(due_in), [600, 1, 0, 0, 0]);
}

/// A crash may have left a file under the name that is written first, and whoever could open it has it open.
#[test]
fn an_identity_is_its_owner_s_alone_whatever_was_there_before() {
    let dir = folder();
    let file = dir.path().join("data/identity.pem");
    let identity = identity(&authority(), "h1", days(-1, 1));
    identity.write(&file).expect("written");
    assert_eq!([mode(&file), mode(file.parent().expect("a folder"))], [0o600, 0o700]);
    let left = PathBuf::from(format!("{}.new", file.display()));
    fs::write(&left, "left").expect("written");
    fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).expect("set");
    identity.write(&file).expect("written again");
    assert_eq!((mode(&file), left.exists()), (0o600, false));
}

#[test]
fn nothing_of_an_identity_is_left_where_it_is_removed() {
    let dir = folder();
    let file = dir.path().join("identity.pem");
    assert!(!remove_all(&file).expect("nothing is there"));
    for name in ["identity.pem", "identity.pem.new", "identity.pem.joining", "identity.pem.joining.new"] {
        fs::write(dir.path().join(name), "").expect("written");
        assert!(remove_all(&file).expect("removed"), "{name}");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0, "{name}");
    }
    fs::write(dir.path().join("identity.pem.mine"), "").expect("written");
    assert!(!remove_all(&file).expect("nothing of ours is there"));
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
}
