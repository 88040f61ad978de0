//! What holds for every request, and that nothing makes the parser fail in another way than it says.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    method: String,
    path: String,
    query: String,
    body: Vec<u8>,
    expires: u64,
}

impl Owned {
    fn signable(&self) -> Signable<'_> {
        Signable { method: &self.method, path: &self.path, query: &self.query, body: &self.body }
    }

    fn signed(&self) -> String {
        authorization("EXOk", &key("secret"), &self.signable(), self.expires).expect("signed")
    }

    /// The same with another octet in one place of method, path or body.
    fn with_a_change(&self, place: prop::sample::Index, to: u8) -> Self {
        let mut octets = [self.method.as_bytes(), self.path.as_bytes(), &self.body].concat();
        let at = place.index(octets.len());
        octets[at] = to;
        let (method, rest) = octets.split_at(self.method.len());
        let (path, body) = rest.split_at(self.path.len());
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("ASCII");
        Self { method: text(method), path: text(path), body: body.to_vec(), ..self.clone() }
    }
}

prop_compose! {
    fn requests()(
        method in "GET|HEAD|PUT|POST|DELETE",
        path in "/[-a-zA-Z0-9._~%:/]{0,40}",
        query in "([a-c;%+é]{0,3}(=[a-z0-9%+é]{0,4})?&?){0,6}",
        body: Vec<u8>,
        expires: u64,
    ) -> Owned {
        Owned { method, path, query, body, expires }
    }
}

proptest! {
    #[test]
    fn what_is_signed_is_verified_with_the_same_secret_alone(request in requests(), other in "[a-z]{1,44}") {
        let header = request.signed();
        prop_assert!(is_by(&header, &key("secret"), &request.signable()));
        prop_assert_eq!(is_by(&header, &key(&other), &request.signable()), other == "secret");
    }

    #[test]
    fn no_octet_of_method_path_and_body_can_be_changed(
        request in requests(), place: prop::sample::Index, to in b' '..=b'~',
    ) {
        let changed = request.with_a_change(place, to);
        prop_assert_eq!(is_by(&request.signed(), &key("secret"), &changed.signable()), changed == request);
    }

    #[test]
    fn nothing_can_be_added_to_a_body(request in requests(), more in prop::collection::vec(any::<u8>(), 1..4)) {
        let changed = Owned { body: [request.body.clone(), more].concat(), ..request.clone() };
        prop_assert!(!is_by(&request.signed(), &key("secret"), &changed.signable()));
    }

    #[test]
    fn no_value_that_is_named_can_be_replaced(
        values in prop::array::uniform3("[a-z]{1,3}"), place in 0..3_usize, to in "[a-z]{1,3}",
    ) {
        let query = |[one, other, third]: &[String; 3]| format!("a={one}&b={other}&c={third}");
        let signed = query(&values);
        let request = |query| Signable { method: "GET", path: "/v2/instance", query, body: b"" };
        let header = authorization("k", &key("secret"), &request(&signed), 1).expect("signed");
        let mut changed = values.clone();
        changed[place] = to;
        prop_assert_eq!(is_by(&header, &key("secret"), &request(&query(&changed))), changed == values);
    }

    /// Whoever asks without a key must not make the server compute more than was sent.
    #[test]
    fn what_is_signed_of_a_query_is_never_longer_than_it(
        request in requests(), names in prop::collection::vec("[a-c]{0,2}", 0..70),
    ) {
        prop_assert!(query::signed_values(&request.query, &names).len() <= request.query.len());
    }

    #[test]
    fn what_is_signed_with_many_arguments_is_verified(count in 0..200_usize) {
        let query: String = (0..count).map(|number| format!("a{number}={number}&")).collect();
        let request = Signable { method: "GET", path: "/v2/instance", query: &query, body: b"" };
        let header = authorization("k", &key("secret"), &request, 1).expect("signed");
        prop_assert!(is_by(&header, &key("secret"), &request));
    }

    #[test]
    fn the_time_of_expiry_cannot_be_changed(request in requests(), other: u64) {
        let part = |time: u64| format!(",expires={time},");
        let header = request.signed().replace(&part(request.expires), &part(other));
        prop_assert_eq!(is_by(&header, &key("secret"), &request.signable()), other == request.expires);
    }

    #[test]
    fn any_octets_are_refused_or_read(octets: Vec<u8>) {
        let _ = Authorization::parse(&octets);
    }

    #[test]
    fn what_looks_like_a_header_is_read_or_refused_and_verifies_nothing(
        parts in prop::collection::vec(parts(), 0..6), request in requests(),
    ) {
        let header = format!("{SCHEME} {}", parts.join(","));
        if let Ok(parsed) = Authorization::parse(header.as_bytes()) {
            prop_assert!(!parsed.is_by(&key("secret"), &request.signable()).expect("computed"));
        }
    }
}

/// Most are as they should be, so that many headers have all of them.
fn parts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "credential=[a-zA-Z0-9]{1,8}",
        2 => "signed-query-args=[a-c;%é]{0,8}",
        4 => "expires=[0-9]{1,20}",
        4 => "signature=[a-zA-Z0-9+/]{42}[AEIMQUYcgkosw048]=",
        1 => "[a-z=;,+/é\u{0} -]{0,44}",
    ]
}
