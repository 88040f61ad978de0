//! The only door to TLS (1.2, RFC 5246, and 1.3, RFC 8446) and to X.509 certificates (RFC 5280).
//!
//! The protocol and the cryptography are the system's libssl and libcrypto (OpenSSL 3.0 or newer); `libssl.rs` and
//! `x509.rs` are the two files that know so, and the only ones with unsafe code. What is left to the system are the
//! ciphers, the curves and the authorities that it trusts.
//!
//! A [`Session`] is one end of a connection without I/O; [`TlsStream`] puts it on anything of Tokio's, [`BlockingStream`]
//! on anything that blocks. Both are made by an [`Acceptor`] or a [`Connector`]. Nothing of one connection is taken
//! over into the next one: there are no session tickets.
//!
//! Certificates are made of what is given, time and serial numbers as well; keys are made by the library's own random
//! numbers. Whether a certificate that is shown is valid now, the library asks the system's clock.

mod authority;
mod blocking;
mod certificate;
mod der;
mod error;
mod key;
mod libssl;
mod pem;
mod session;
mod settings;
mod stream;
mod x509;

pub use authority::{Authority, COMMON_NAME_CHARS_MAX, SERIAL_OCTETS, SigningRequest, Subject, Use, self_signed};
pub use blocking::BlockingStream;
pub use certificate::{AltName, Certificate, FINGERPRINT_OCTETS, Fingerprint, NoFingerprint, Validity};
pub use error::{CertificateError, CertificateFault, Role, TlsError};
pub use key::{Identity, PrivateKey};
pub use session::{Handshake, OUTGOING_OCTETS_MAX, Peer, Read, Session, Write};
pub use settings::{Acceptor, ClientCertificates, Connector, DnsName, NoServerName, ServerName, SettingsError, Trust};
pub use stream::{HandshakeError, TlsStream, tls_error};
