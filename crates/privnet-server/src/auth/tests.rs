use hyper::header::{HOST, HeaderValue};
use privnet_api::exo2;
use privnet_crypto::{SealingKey, Secret, SigningKey};
use privnet_model::zone::{Change, Row};
use privnet_model::{Key, Name, Scope};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_ms(1_790_000_000_000);
const NOW_S: u64 = NOW.unix_ms / 1000;
const REQUEST: Signable<'_> = Signable { method: "GET", path: "/v2/instance", query: "", body: b"" };

/// A zone with one key, and the gate before it.
struct Place {
    zone: Zone,
    gate: Gate,
    key: Key,
}

impl Place {
    fn new(expires_at: Option<Timestamp>) -> Self {
        let mut zone = Zone::default();
        let keys = KeyRing::new(SealingKey::new(Secret::of(&[&[7; 32]])).expect("32 octets"), &zone).expect("a ring");
        let id = KeyId::from_bytes([1; KeyId::OCTETS]);
        let key = Key {
            id,
            name: Name::try_from("k").expect("a name"),
            scope: Scope::Operator,
            sealed_secret: keys.seal(id, "secret").expect("sealed"),
            created_at: NOW,
            expires_at,
        };
        zone.apply(&Change::Key(Row::insert(key.clone())));
        Self { zone, gate: Gate::Guarded { keys, leeway: Duration::from_secs(60) }, key }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<Caller, String> {
        let claim = self.gate.claim(headers, NOW);
        claim.and_then(|claim| claim.verify(&REQUEST, || &self.zone, NOW)).map_err(|denied| denied.to_string())
    }

    /// Asks with the key's id and what is signed with this secret.
    fn ask(&self, secret: &str) -> Result<Caller, String> {
        self.admit(&signed(&self.key.id.to_string(), secret, NOW_S))
    }
}

fn signed(credential: &str, secret: &str, expires: u64) -> HeaderMap {
    let key = SigningKey::new(secret.as_bytes()).expect("a key");
    headers(&[&exo2::authorization(credential, &key, &REQUEST, expires).expect("signed")])
}

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).expect("a value"))).collect()
}

/// What everybody hears who does not sign with a key of the zone.
fn refused() -> Result<Caller, String> {
    Err("Invalid request signature".to_owned())
}

#[test]
fn who_signs_is_who_the_key_is() {
    let place = Place::new(None);
    let caller = Caller::Client { key: Some(place.key.id), scope: Scope::Operator };
    assert_eq!(place.ask("secret"), Ok(caller));
    assert_eq!(place.ask("secret"), Ok(caller), "a second time as well");
    assert_eq!(place.ask("another"), refused());
}

#[test]
fn a_key_that_there_is_not_is_answered_as_a_wrong_secret() {
    let place = Place::new(None);
    for credential in ["EXO010101010101010101010102", "EXO", "foo", "EXO0101010101010101010101é1"] {
        assert_eq!(place.admit(&signed(credential, "secret", NOW_S)), refused(), "{credential}");
    }
}

#[test]
fn a_revoked_key_is_answered_as_a_wrong_secret() {
    let mut place = Place::new(None);
    assert!(place.ask("secret").is_ok());
    place.zone.apply(&Change::Key(Row { before: Some(place.key.clone().into()), after: None }));
    assert_eq!(place.ask("secret"), refused());
}

#[test]
fn an_expired_key_is_answered_as_a_wrong_secret() {
    let end = |unix_ms| Some(Timestamp::from_unix_ms(unix_ms));
    assert_eq!(Place::new(end(NOW.unix_ms)).ask("secret"), refused());
    assert!(Place::new(end(NOW.unix_ms + 1)).ask("secret").is_ok());
}

#[test]
fn a_header_says_what_is_wrong_with_it() {
    let place = Place::new(None);
    let missing = "requests are signed here (EXO2-HMAC-SHA256), and this one has no Authorization header";
    assert_eq!(place.admit(&HeaderMap::new()), Err(missing.to_owned()));
    assert_eq!(
        place.admit(&headers(&["EXO2-HMAC-SHA256", "EXO2-HMAC-SHA256"])),
        Err("the request has more than one Authorization header".to_owned())
    );
    assert_eq!(
        place.admit(&headers(&["EXO2-HMAC-SHA256 credential=k"])),
        Err("the Authorization header has no expires".to_owned())
    );
}

#[test]
fn a_signature_is_good_until_its_expiry_and_the_leeway_after() {
    let place = Place::new(None);
    let at = |expires| place.admit(&signed(&place.key.id.to_string(), "secret", expires));
    assert!(at(NOW_S - 60).is_ok());
    assert!(at(NOW_S - 61).expect_err("expired").starts_with("the signature has expired: "));
    // The time can be told to everybody, so it is told before the key is looked at.
    let unknown = place.admit(&signed("foo", "secret", NOW_S - 61));
    assert!(unknown.expect_err("expired").starts_with("the signature has expired: "));
}

#[test]
fn without_authentication_everybody_is_an_operator() {
    let gate = Gate::Open { own_host: None };
    let mut with_nonsense = headers(&["nonsense"]);
    with_nonsense.insert(HOST, HeaderValue::from_static("localhost"));
    let claim = gate.claim(&with_nonsense, NOW);
    let caller = claim.and_then(|claim| claim.verify(&REQUEST, || -> &Zone { panic!("not looked at") }, NOW));
    assert_eq!(caller.map_err(|denied| denied.to_string()), Ok(Caller::OPERATOR));
}
