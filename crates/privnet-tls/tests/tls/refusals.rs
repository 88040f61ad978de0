//! Whoever is not who it should be is refused, and both ends say why.

use privnet_tls::{
    Acceptor, AltName, Certificate, CertificateFault, ClientCertificates, Connector, Fingerprint, Identity, Role,
    Subject, TlsError, Trust, Use, Validity,
};

use crate::common::*;

/// Why a client that trusts `authority` does not accept a server with this certificate under a name.
async fn fault_at_client(connector: &Connector, to: &str, identity: &Identity) -> CertificateFault {
    let (client, server) = meet_in_memory(connector, to, &asking_nothing(identity)).await;
    let by_alert = server.expect_err("the client leaves");
    assert!(matches!(by_alert, TlsError::Alert { by: Role::Client, .. }), "{by_alert}");
    match client.expect_err("the server is not accepted") {
        TlsError::Certificate { of: Role::Server, fault } => fault,
        other => panic!("{other}"),
    }
}

fn pinning(fingerprint: Fingerprint) -> Connector {
    Connector::new(&Trust::PinnedAuthority(fingerprint), None, &[]).expect("a connector")
}

#[tokio::test]
async fn a_server_is_accepted_only_while_its_certificate_is_valid() {
    let authority = authority();
    let connector = trusting(authority.certificate());
    let names = server_names();
    for (validity, expected) in [
        (Validity { not_before: now() - 2 * DAY, not_after: now() - DAY }, CertificateFault::Expired),
        (Validity { not_before: now() + DAY, not_after: now() + 2 * DAY }, CertificateFault::NotYetValid),
    ] {
        let identity = identity(&authority, &Subject { validity, ..server(&names) });
        assert_eq!(fault_at_client(&connector, "localhost", &identity).await, expected);
    }
}

#[tokio::test]
async fn a_server_is_accepted_only_under_a_name_of_its_certificate() {
    let authority = authority();
    let connector = trusting(authority.certificate());
    let names = [dns("one.example"), dns("*.two.example"), ip("192.0.2.1"), ip("2001:db8::1")];
    let identity = identity(&authority, &Subject { common_name: "three.example", ..server(&names) });
    for right in ["one.example", "ONE.example", "a.two.example", "192.0.2.1", "[2001:db8::1]"] {
        let (client, _) = meet_in_memory(&connector, right, &asking_nothing(&identity)).await;
        client.unwrap_or_else(|error| panic!("{right}: {error}"));
    }
    // The common name is none of its names, and a * stands for one label.
    for wrong in ["three.example", "two.example", "a.b.two.example", "192.0.2.2", "2001:db8::2"] {
        let fault = fault_at_client(&connector, wrong, &identity).await;
        assert_eq!(fault, CertificateFault::WrongName(wrong.into()));
    }
}

#[tokio::test]
async fn a_server_without_names_is_accepted_under_none() {
    let authority = authority();
    let identity = identity(&authority, &Subject { common_name: "localhost", ..server(&[]) });
    let fault = fault_at_client(&trusting(authority.certificate()), "localhost", &identity).await;
    assert_eq!(fault, CertificateFault::WrongName("localhost".into()));
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_not_accepted() {
    let identity = identity(&authority(), &server(&server_names()));
    let fault = fault_at_client(&trusting(authority().certificate()), "localhost", &identity).await;
    assert_eq!(fault, CertificateFault::UnknownAuthority);
    let system = Connector::new(&Trust::SystemRoots, None, &[]).expect("a connector");
    assert_eq!(fault_at_client(&system, "localhost", &identity).await, CertificateFault::UnknownAuthority);
    let besides = Trust::SystemRootsAnd(vec![identity.chain()[1].clone()]);
    let system_and_it = Connector::new(&besides, None, &[]).expect("a connector");
    let (client, _) = meet_in_memory(&system_and_it, "localhost", &asking_nothing(&identity)).await;
    client.expect("it is trusted");
}

#[tokio::test]
async fn a_self_signed_server_is_accepted_by_who_trusts_this_one() {
    let names = server_names();
    let signed = |serial| {
        let key = privnet_tls::PrivateKey::generate().expect("a key");
        let certificate = privnet_tls::self_signed(&key, &Subject { serial, ..server(&names) }).expect("a certificate");
        Identity::new(vec![certificate], key).expect("an identity")
    };
    let (one, other) = (signed([3; 16]), signed([4; 16]));
    let connector = trusting(one.certificate());
    let (client, _) = meet_in_memory(&connector, "localhost", &asking_nothing(&one)).await;
    client.expect("it is trusted");
    assert_eq!(fault_at_client(&connector, "localhost", &other).await, CertificateFault::SelfSigned);
    let (client, _) =
        meet_in_memory(&pinning(one.certificate().fingerprint()), "localhost", &asking_nothing(&one)).await;
    client.expect("it is pinned");
}

#[tokio::test]
async fn a_pin_accepts_the_one_authority_and_still_verifies_all_else() {
    let authority = authority();
    let names = server_names();
    let good = identity(&authority, &server(&names));
    let connector = pinning(authority.certificate().fingerprint());
    let (client, _) = meet_in_memory(&connector, "localhost", &asking_nothing(&good)).await;
    let shown = client.expect("it is pinned").peer().expect("a peer").certificates.clone();
    assert_eq!(shown[1], *authority.certificate(), "who was pinned is known from now on");

    let over = Subject { validity: Validity { not_before: now() - 2 * DAY, not_after: now() - DAY }, ..server(&names) };
    let over = identity(&authority, &over);
    assert_eq!(fault_at_client(&connector, "localhost", &over).await, CertificateFault::Expired);
    assert_eq!(
        fault_at_client(&connector, "example.org", &good).await,
        CertificateFault::WrongName("example.org".into())
    );
}

#[tokio::test]
async fn a_pin_refuses_whoever_only_shows_the_pinned_authority() {
    let (pinned, own) = (authority(), authority());
    let impostor = identity(&own, &server(&server_names()));
    let connector = pinning(pinned.certificate().fingerprint());
    assert_eq!(fault_at_client(&connector, "localhost", &impostor).await, CertificateFault::NotPinned);
    let chain = vec![impostor.certificate().clone(), pinned.certificate().clone()];
    let impostor = Identity::new(chain, impostor.key().clone()).expect("an identity");
    let fault = fault_at_client(&connector, "localhost", &impostor).await;
    assert!(!matches!(fault, CertificateFault::NotPinned), "{fault}");
}

#[tokio::test]
async fn a_clients_certificate_makes_no_server() {
    let authority = authority();
    let names = server_names();
    let identity = identity(&authority, &Subject { uses: Use::Client, ..server(&names) });
    let fault = fault_at_client(&trusting(authority.certificate()), "localhost", &identity).await;
    assert_eq!(fault, CertificateFault::WrongPurpose);
}

/// What becomes of a client with this identity at a server that knows `authority`: who the server takes it for.
async fn taken_for(
    known: &Certificate,
    server: &Identity,
    client: Option<&Identity>,
) -> Result<Vec<Certificate>, TlsError> {
    let acceptor = Acceptor::new(server, &ClientCertificates::Optional(vec![known.clone()]), &[]).expect("an acceptor");
    let trust = Trust::PinnedAuthority(server.chain()[1].fingerprint());
    let connector = Connector::new(&trust, client, &[]).expect("a connector");
    let (_client, server) = meet_in_memory(&connector, "localhost", &acceptor).await;
    server.map(|stream| stream.peer().expect("a peer").certificates.clone())
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate_and_may_have_none() {
    let authority = authority();
    let server = identity(&authority, &server(&server_names()));
    let uri = [AltName::Uri("privnet:host:0192".into())];
    let host = identity(&authority, &client(&uri));
    let known = authority.certificate();
    let shown = taken_for(known, &server, Some(&host)).await.expect("it is accepted");
    assert_eq!(shown[0], *host.certificate());
    assert_eq!((shown[0].names(), shown[0].common_name()), (&uri[..], Some("privnet-test client")));
    assert_eq!(shown[0].serial(), "02".repeat(16).trim_start_matches('0'));
    assert_eq!(taken_for(known, &server, None).await, Ok(vec![]));
}

#[tokio::test]
async fn a_client_with_a_bad_certificate_is_refused_and_told() {
    let (authority, stranger) = (authority(), authority());
    let server = identity(&authority, &server(&server_names()));
    let over = Subject { validity: Validity { not_before: now() - 2 * DAY, not_after: now() - DAY }, ..client(&[]) };
    for (bad, expected) in [
        (identity(&stranger, &client(&[])), CertificateFault::UnknownAuthority),
        (identity(&authority, &over), CertificateFault::Expired),
        (identity(&authority, &Subject { uses: Use::Server, ..client(&[]) }), CertificateFault::WrongPurpose),
    ] {
        let refused = taken_for(authority.certificate(), &server, Some(&bad)).await.expect_err("it is refused");
        assert_eq!(refused, TlsError::Certificate { of: Role::Client, fault: expected });
    }
}

#[tokio::test]
async fn a_client_reads_why_it_is_refused() {
    use tokio::io::AsyncReadExt as _;
    let (authority, stranger) = (authority(), authority());
    let server = identity(&authority, &server(&server_names()));
    let clients = ClientCertificates::Optional(vec![authority.certificate().clone()]);
    let acceptor = Acceptor::new(&server, &clients, &[]).expect("an acceptor");
    let trust = Trust::Authorities(vec![authority.certificate().clone()]);
    let bad = identity(&stranger, &client(&[]));
    let connector = Connector::new(&trust, Some(&bad), &[]).expect("a connector");
    let (client, served) = meet_in_memory(&connector, "localhost", &acceptor).await;
    served.expect_err("it is refused");
    // In TLS 1.3 a client is done before the server has looked at its certificate.
    let error = client.expect("done").read(&mut [0; 1]).await.expect_err("it is told");
    let told = privnet_tls::tls_error(&error).expect("an error of TLS");
    assert_eq!(
        told.to_string(),
        "the server refuses the connection: the authority of our certificate is unknown there"
    );
}
