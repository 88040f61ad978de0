//! What goes wrong, in words for whoever has to mend it.

use std::fmt;

/// Which end of a connection somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that connected.
    Client,
    /// The end that was connected to.
    Server,
}

impl Role {
    /// The other end.
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// Why a TLS connection came to nothing, or ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A client speaks plain HTTP to us.
    #[error("this is plain HTTP, and this port speaks TLS: use https://")]
    PlainHttpRequest,
    /// A server answers us in plain HTTP.
    #[error("the server answers in plain HTTP: use http://, or the port on which it speaks TLS")]
    PlainHttpAnswer,
    /// What comes is no TLS record (RFC 8446 §5.1).
    #[error("what the {0} sends is not TLS")]
    NotTls(Role),
    /// We do not accept the certificate of the other end.
    #[error("the certificate of the {of} is not accepted: {fault}")]
    Certificate {
        /// Whose certificate it is.
        of: Role,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// The other end ended the connection by an alert (RFC 8446 §6.2).
    #[error("the {by} refuses the connection: {}", meaning(*number, name))]
    Alert {
        /// Who sent it.
        by: Role,
        /// Its AlertDescription.
        number: u8,
        /// The library's words for it.
        name: String,
    },
    /// The connection ended without a close_notify (RFC 8446 §6.1): what was read may be less than was sent.
    #[error("the {0} ended the connection without saying so in TLS: what came may not be all")]
    Truncated(Role),
    /// The connection ended before the handshake did.
    #[error("the {0} ended the connection before the TLS handshake was over")]
    EndedEarly(Role),
    /// The connection ended by a close_notify in the middle of a message, such as a key update.
    #[error("the {0} ended the connection in the middle of a TLS message")]
    EndedInMessage(Role),
    /// Something is to be sent on a connection that we have closed.
    #[error("cannot send: this end of the TLS connection is closed")]
    Closed,
    /// The library refused, or has no memory: `cause` is its own text.
    #[error("libssl cannot {doing}: {cause}")]
    Library {
        /// What was asked of it.
        doing: &'static str,
        /// The library's words for the first error it noted.
        cause: String,
    },
}

/// What is wrong with the certificate of the other end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It is over, or an authority's that it depends on is.
    #[error("it has expired; renew it, or set the clock of this machine right")]
    Expired,
    /// It begins in the future, or an authority's that it depends on does.
    #[error("it is not valid yet; wait, or set the clock of this machine right")]
    NotYetValid,
    /// Nobody we trust has signed it.
    #[error("its authority is unknown here; give the authority's certificate as a trusted one (--ca-file)")]
    UnknownAuthority,
    /// It is signed by itself, and is not one that we trust.
    #[error("it is signed by itself, and not one that is trusted here; give it as a trusted one (--ca-file)")]
    SelfSigned,
    /// It is not for the name or address that we connected to.
    #[error("it is not for \"{0}\"; connect by a name that it has, or have one made that has this name")]
    WrongName(String),
    /// The authority whose fingerprint we were given is not among those that the other end showed.
    #[error(
        "it does not come from the authority with the fingerprint that was given; it is another server, or its authority was made anew"
    )]
    NotPinned,
    /// Its extended key usage is another one, such as a client's certificate shown by a server.
    #[error("it is not made for this use (its extended key usage)")]
    WrongPurpose,
    /// Anything else, in the library's words.
    #[error("{0}")]
    Other(String),
}

/// What an alert means to whoever has to mend it.
fn meaning(number: u8, name: &str) -> String {
    match number {
        40 => "no cipher or key exchange that both take, or no certificate for it (handshake failure)".into(),
        42 | 43 | 46 => format!("it does not accept our certificate ({name})"),
        44 => "our certificate has been revoked".into(),
        45 => "our certificate has expired, or its clock is wrong".into(),
        48 => "the authority of our certificate is unknown there".into(),
        49 => "our certificate does not allow this (access denied)".into(),
        70 => "it speaks no version of TLS that we do (1.2 and 1.3)".into(),
        112 => "it does not know the name that we connected to (unrecognized name)".into(),
        116 => "it wants a certificate of ours".into(),
        120 => "it speaks no application protocol that we do (ALPN)".into(),
        _ => name.into(),
    }
}

/// Why a certificate, a key or a request cannot be read, made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is no such part in a PEM text.
    #[error("there is no {0} in it (a part that begins with \"-----BEGIN\", in PEM)")]
    Missing(&'static str),
    /// A part cannot be read.
    #[error("the {what} in it cannot be read: {cause}")]
    Damaged {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// A private key needs a passphrase, and nobody is there to type it.
    #[error("the private key is encrypted; take the passphrase away (openssl pkey -in KEY -out NEW)")]
    EncryptedKey,
    /// The key is of another certificate.
    #[error("the private key does not belong to the (first) certificate")]
    KeyMismatch,
    /// A key, an authority's or that of a request, is of another kind than we make.
    #[error("the key must be of P-256 (prime256v1)")]
    NotP256,
    /// A certificate that may sign no others is to be an authority's.
    #[error("the certificate is not an authority's (basic constraints)")]
    NotAnAuthority,
    /// A name cannot stand in a certificate.
    #[error("\"{0}\" cannot be a name in a certificate")]
    BadName(String),
    /// A point in time has no form in a certificate.
    #[error("a certificate cannot say the time {0} (seconds since 1970)")]
    BadTime(i64),
    /// The sender of a request does not have the key that it names.
    #[error("the certificate signing request is not signed by its own key")]
    ForgedRequest,
    /// The library refused, or has no memory: `cause` is its own text.
    #[error("libcrypto cannot {doing}: {cause}")]
    Library {
        /// What was asked of it.
        doing: &'static str,
        /// The library's words for the first error it noted.
        cause: String,
    },
}
