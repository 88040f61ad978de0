//! What connections are made with: who we are, whom we trust, which protocols are spoken inside.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use crate::authority::is_dns_name;
use crate::certificate::{Certificate, Fingerprint};
use crate::error::{CertificateError, Role, TlsError};
use crate::key::Identity;
use crate::libssl::{Anchors, Connection, Context};
use crate::session::Session;
use crate::stream::TlsStream;
use crate::x509::X509;

/// Why connections cannot be made with what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A certificate or key is not good for it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The library refuses.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Whether a server asks its clients for certificates.
#[derive(Debug, Clone)]
pub enum ClientCertificates {
    /// It does not.
    None,
    /// It does; a client may have none, and who shows one has it verified against these authorities. A client
    /// whose certificate is not accepted is not served.
    Optional(Vec<Certificate>),
}

/// Whose certificates a client accepts from a server.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Of the authorities that the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    SystemRoots,
    /// Of those, and of these.
    SystemRootsAnd(Vec<Certificate>),
    /// Of these authorities. A certificate that is signed by itself is its own.
    Authorities(Vec<Certificate>),
    /// Of the authority that has this fingerprint and whose certificate the server shows with its own.
    PinnedAuthority(Fingerprint),
}

/// The name or address of a server, which its certificate has to have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// A DNS name, which is also told to the server (SNI).
    Dns(DnsName),
    /// An address.
    Ip(IpAddr),
}

/// A DNS name that is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is no name of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither a host name nor an address")]
pub struct NoServerName(String);

impl FromStr for ServerName {
    type Err = NoServerName;

    /// Takes what stands in a URL: an IPv6 address may have its brackets, a name its dot at the end.
    fn from_str(text: &str) -> Result<Self, NoServerName> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if is_dns_name(name) { Ok(Self::Dns(DnsName(name.to_owned()))) } else { Err(NoServerName(text.to_owned())) }
    }
}

impl From<IpAddr> for ServerName {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_str()),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// Makes the server's end of connections. Clones share what they are made with, which can be replaced.
#[derive(Clone)]
pub struct Acceptor(Arc<RwLock<Context>>);

impl Acceptor {
    /// A server that is `identity`, and speaks one of the protocols (ALPN ids such as `http/1.1`, the most wanted
    /// first; each has 1 to 255 octets). A client that offers only others is not served; one that offers none is.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(identity: &Identity, clients: &ClientCertificates, protocols: &[&str]) -> Result<Self, SettingsError> {
        let authorities = match clients {
            ClientCertificates::None => None,
            ClientCertificates::Optional(authorities) => Some(to_x509(authorities)?),
        };
        let anchors = authorities.as_deref().map_or(Anchors::NotAsked, Anchors::These);
        Ok(Self(Arc::new(RwLock::new(context(Role::Server, Some(identity), &anchors, protocols)?))))
    }

    /// Has connections that begin from now on be made as `newer` would make them; those that there are stay.
    pub fn replace(&self, newer: &Self) {
        let newer = newer.context();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = newer;
    }

    /// The server's end of a connection, without the connection.
    ///
    /// # Errors
    /// [`TlsError::Library`].
    pub fn session(&self) -> Result<Session, TlsError> {
        Ok(Session::new(Connection::accept(&self.context())?))
    }

    /// The server's end of a connection. The handshake is made when it is first read from or written to, or by
    /// [`TlsStream::handshake`].
    ///
    /// # Errors
    /// [`TlsError::Library`].
    pub fn stream<S>(&self, stream: S) -> Result<TlsStream<S>, TlsError> {
        Ok(TlsStream::new(self.session()?, stream))
    }

    fn context(&self) -> Context {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

/// Makes the client's end of connections. Clones share what they are made with.
#[derive(Clone)]
pub struct Connector(Context);

impl Connector {
    /// A client that accepts the servers that `trust` says, is `identity` to those who ask, and offers the
    /// protocols (as in [`Acceptor::new`]).
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(trust: &Trust, identity: Option<&Identity>, protocols: &[&str]) -> Result<Self, SettingsError> {
        let context = match trust {
            Trust::SystemRoots => context(Role::Client, identity, &Anchors::System(&[]), protocols)?,
            Trust::SystemRootsAnd(besides) => {
                context(Role::Client, identity, &Anchors::System(&to_x509(besides)?), protocols)?
            }
            Trust::Authorities(authorities) => {
                context(Role::Client, identity, &Anchors::These(&to_x509(authorities)?), protocols)?
            }
            Trust::PinnedAuthority(pin) => context(Role::Client, identity, &Anchors::Pinned(*pin.octets()), protocols)?,
        };
        Ok(Self(context))
    }

    /// The client's end of a connection to the server of this name, without the connection.
    ///
    /// # Errors
    /// [`TlsError::Library`].
    pub fn session(&self, name: &ServerName) -> Result<Session, TlsError> {
        Ok(Session::new(Connection::connect(&self.0, name)?))
    }

    /// The client's end of a connection to the server of this name. The handshake is made when it is first read
    /// from or written to, or by [`TlsStream::handshake`].
    ///
    /// # Errors
    /// [`TlsError::Library`].
    pub fn stream<S>(&self, name: &ServerName, stream: S) -> Result<TlsStream<S>, TlsError> {
        Ok(TlsStream::new(self.session(name)?, stream))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

fn context(
    role: Role,
    identity: Option<&Identity>,
    anchors: &Anchors<'_>,
    protocols: &[&str],
) -> Result<Context, SettingsError> {
    let identity =
        identity.map(|identity| Ok::<_, CertificateError>((identity.to_x509()?, identity.key()))).transpose()?;
    let identity = identity.as_ref().map(|(chain, key)| (&chain[..], key.raw()));
    Ok(Context::new(role, identity, anchors, on_the_wire(protocols))?)
}

fn to_x509(certificates: &[Certificate]) -> Result<Vec<X509>, CertificateError> {
    certificates.iter().map(Certificate::to_x509).collect()
}

/// Each protocol after its length (RFC 7301 §3.1).
fn on_the_wire(protocols: &[&str]) -> Box<[u8]> {
    let with_length = |protocol: &&str| {
        let length = u8::try_from(protocol.len()).ok().filter(|length| *length > 0);
        let length = length.expect("the id of a protocol has 1 to 255 octets");
        [&[length], protocol.as_bytes()].concat()
    };
    protocols.iter().flat_map(with_length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_name_is_a_host_name_or_an_address() {
        let name = |text: &str| text.parse::<ServerName>().map(|name| name.to_string());
        assert_eq!(name("api.example.org").as_deref(), Ok("api.example.org"));
        assert_eq!(name("localhost.").as_deref(), Ok("localhost"));
        assert_eq!(name("[2001:db8::1]"), Ok("2001:db8::1".into()));
        assert_eq!("192.0.2.7".parse(), Ok(ServerName::Ip([192, 0, 2, 7].into())));
        // The library takes an empty name as "any", and one that begins with a dot as "any below".
        for bad in ["", ".", ".example.org", "a..b", "*.example.org", "a b", "a\0b", "[x]", "ä.example"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
