//! Authorities, identities and connections for tests.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use privnet_tls::{
    Acceptor, AltName, Authority, Certificate, ClientCertificates, Connector, Identity, PrivateKey, ServerName,
    SigningRequest, Subject, TlsError, TlsStream, Trust, Use, Validity,
};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) const DAY: i64 = 24 * 3600;

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the end of time")
}

/// From an hour ago for some days.
pub(crate) fn days(days: i64) -> Validity {
    Validity { not_before: now() - 3600, not_after: now() + days * DAY }
}

pub(crate) fn authority() -> Authority {
    Authority::create("privnet-test authority", [7; 16], days(30)).expect("an authority")
}

pub(crate) fn dns(name: &str) -> AltName {
    AltName::Dns(name.into())
}

pub(crate) fn ip(address: &str) -> AltName {
    AltName::Ip(address.parse::<IpAddr>().expect("an address"))
}

/// What servers of tests are called.
pub(crate) fn server_names() -> [AltName; 3] {
    [dns("localhost"), ip("127.0.0.1"), ip("::1")]
}

/// A server's certificate as most tests want it.
pub(crate) fn server<'a>(names: &'a [AltName]) -> Subject<'a> {
    Subject { serial: [1; 16], common_name: "privnet-test server", names, uses: Use::Server, validity: days(7) }
}

/// A client's certificate as most tests want it.
pub(crate) fn client<'a>(names: &'a [AltName]) -> Subject<'a> {
    Subject { serial: [2; 16], common_name: "privnet-test client", names, uses: Use::Client, validity: days(7) }
}

/// An identity with a certificate of this authority, whose own is shown with it.
pub(crate) fn identity(authority: &Authority, subject: &Subject<'_>) -> Identity {
    let key = PrivateKey::generate().expect("a key");
    let request = SigningRequest::new(&key, "anything").expect("a request");
    let certificate = authority.sign(&request, subject).expect("a certificate");
    Identity::new(vec![certificate, authority.certificate().clone()], key).expect("an identity")
}

pub(crate) fn name(text: &str) -> ServerName {
    text.parse().expect("a name")
}

pub(crate) fn trusting(authority: &Certificate) -> Connector {
    Connector::new(&Trust::Authorities(vec![authority.clone()]), None, &[]).expect("a connector")
}

pub(crate) fn asking_nothing(identity: &Identity) -> Acceptor {
    Acceptor::new(identity, &ClientCertificates::None, &[]).expect("an acceptor")
}

/// What became of a handshake at the client, and at the server.
pub(crate) type Met<S> = (Result<TlsStream<S>, TlsError>, Result<TlsStream<S>, TlsError>);

/// Has both make their handshake over these two ends of a connection.
pub(crate) async fn meet<S>(connector: &Connector, to: &str, acceptor: &Acceptor, client: S, server: S) -> Met<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let client = connector.stream(&name(to), client).expect("a session");
    let server = acceptor.stream(server).expect("a session");
    let (client, server) = tokio::join!(client.handshake(), server.handshake());
    let told = |error: privnet_tls::HandshakeError<S>| error.tls().cloned().expect("an error of TLS");
    (client.map_err(told), server.map_err(told))
}

/// As [`meet`], in memory.
pub(crate) async fn meet_in_memory(
    connector: &Connector,
    to: &str,
    acceptor: &Acceptor,
) -> Met<tokio::io::DuplexStream> {
    let (client, server) = tokio::io::duplex(4096);
    meet(connector, to, acceptor, client, server).await
}
