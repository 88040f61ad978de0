//! A machine becomes a host: for a token it gets a certificate for a key that it makes itself.
//!
//! The key is on disk before the token leaves the machine. So whenever this ends early, doing it again with the same
//! token finishes it: the server lets whoever has used a token use it again with the same key.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use privnet_crypto::{CryptoError, Secret};
use privnet_datapath::{OpenError, underlay_mtu_bytes};
use privnet_model::{self as model, HostFacts, HostName};
use privnet_sync::proto::membership_client::MembershipClient;
use privnet_sync::{JoinRequest, PROTOCOL, proto};
use privnet_tls::{
    Certificate, CertificateError, Connector, Fingerprint, PrivateKey, SettingsError, SigningRequest, Trust,
};
use tonic::Status;
use tonic::transport::Endpoint;
use tracing::info;

use crate::RemoteAddress;
use crate::dial::{self, DialError};
use crate::identity::{HostIdentity, IdentityError, pending, read, remove, write_private};

/// How long the server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How a machine joins.
#[derive(Clone)]
pub struct JoinConfig {
    /// What it will be called; as it was invited.
    pub host: HostName,
    /// Where it joins.
    pub server: RemoteAddress,
    /// Of the authority of the server.
    pub fingerprint: Fingerprint,
    /// Of the invitation; a text.
    pub token: Secret,
    /// Where its identity is kept from then on.
    pub identity_file: PathBuf,
    /// The underlay address that other hosts send to.
    pub vtep: IpAddr,
}

/// Why a machine has not joined. Doing it again is no harm.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is no such token.
    #[error("the token is no text; take it from what `privnet host invite NAME` prints")]
    Token(#[source] io::Error),
    /// The host has no such address.
    #[error("the VTEP's address {vtep} is not usable")]
    Vtep {
        /// The address.
        vtep: IpAddr,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// This machine is a host already.
    #[error(
        "{} is the identity of host {found}: this machine has joined already. To let it join as {asked}, move the file away first",
        file.display()
    )]
    OtherHost {
        /// The file.
        file: PathBuf,
        /// Which host it is.
        found: String,
        /// Which it is to be.
        asked: HostName,
    },
    /// The file of the identity cannot be used.
    #[error(transparent)]
    File(#[from] IdentityError),
    /// The server is not reached, or not the one that was meant; it has not seen the token.
    #[error("the token has not left this machine")]
    Dial {
        /// Why.
        #[source]
        source: DialError,
    },
    /// The server does not let it join.
    #[error("the server lets this machine not join: {}", .0.message())]
    Refused(Status),
    /// The server may or may not have let it join.
    #[error("the server has not answered ({}); run the command again: the token is still good for this machine", .0.message())]
    Lost(Status),
    /// What the server has answered cannot be used.
    #[error("the certificate that the server has issued cannot be used")]
    Certificate(#[from] CertificateError),
    /// The certificate is another's.
    #[error("the server has issued a certificate for {0}, which is another name")]
    WrongName(String),
    /// The certificate's authority is another.
    #[error("the server has issued a certificate of another authority than its own")]
    WrongAuthority,
    /// The clocks differ too much.
    #[error(
        "this host's clock differs by {seconds} s from the server's, so that it would not take the certificate that it was issued: set the clocks, and run the command again"
    )]
    Clock {
        /// By how much, in seconds.
        seconds: u64,
    },
    /// Nothing can be computed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Settings(#[from] SettingsError),
}

/// Joins, and writes the identity that the agent needs. A machine that has joined with the same token does nothing.
///
/// # Errors
/// [`JoinError`].
pub async fn join(config: &JoinConfig) -> Result<(), JoinError> {
    let JoinConfig { host, server, fingerprint, token, identity_file, vtep } = config;
    let underlay_mtu_bytes = underlay_mtu_bytes(*vtep).map_err(|source| JoinError::Vtep { vtep: *vtep, source })?;
    let token = token.text().map_err(JoinError::Token)?;
    let digest = digest(token)?;
    let pending = pending(identity_file);
    if let Some(there) = HostIdentity::read(identity_file)? {
        if there.name() != host.as_str() {
            let (file, found) = (identity_file.clone(), there.name().to_owned());
            return Err(JoinError::OtherHost { file, found, asked: host.clone() });
        }
        if there.joined_with() == Some(&digest) && there.authority().fingerprint() == *fingerprint {
            info!(%host, "this machine has joined with this token already");
            // Or it has ended before it came to that.
            remove(&pending)?;
            return Ok(());
        }
    }
    let key = pending_key(&pending, &digest)?;
    let request = SigningRequest::new(&key, host.as_str())?.der().to_vec();

    let connector = Connector::new(&Trust::PinnedAuthority(*fingerprint), None, &[PROTOCOL])?;
    let stream = dial::dial(server, &connector).await.map_err(|source| JoinError::Dial { source })?;
    let endpoint = Endpoint::from_static("https://server").timeout(ANSWER_TIMEOUT);
    let channel = dial::channel(endpoint, server, stream).await.map_err(|source| JoinError::Dial { source })?;
    let facts = HostFacts { vtep: *vtep, underlay_mtu_bytes, version: env!("CARGO_PKG_VERSION").to_owned() };
    let request = JoinRequest { token: token.to_owned(), host: host.clone(), request, facts };
    let answer = MembershipClient::new(channel).join(proto::JoinRequest::from(request)).await;
    let reply = answer.map_err(failure)?.into_inner();

    let identity = identity_of(config, key, &digest, &reply)?;
    identity.write(identity_file)?;
    // Its key is in the identity now.
    remove(&pending)?;
    Ok(())
}

fn identity_of(
    config: &JoinConfig,
    key: PrivateKey,
    digest: &str,
    reply: &proto::JoinReply,
) -> Result<HostIdentity, JoinError> {
    let authority = Certificate::from_der(&reply.authority)?;
    if authority.fingerprint() != config.fingerprint {
        return Err(JoinError::WrongAuthority);
    }
    let certificate = Certificate::from_der(&reply.certificate)?;
    if certificate.common_name() != Some(config.host.as_str()) {
        return Err(JoinError::WrongName(certificate.common_name().unwrap_or_default().to_owned()));
    }
    expect_clock(&certificate, reply.now_unix_ms, SystemTime::now())?;
    Ok(HostIdentity::new(key, certificate, authority, Some(digest.to_owned()))?)
}

/// Certificates are looked at by this machine's clock.
fn expect_clock(certificate: &Certificate, server_ms: u64, now: SystemTime) -> Result<(), JoinError> {
    let own = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let validity = certificate.validity();
    let is_valid = (validity.not_before..=validity.not_after).contains(&i64::try_from(own).unwrap_or(i64::MAX));
    if is_valid { Ok(()) } else { Err(JoinError::Clock { seconds: own.abs_diff(server_ms / 1000) }) }
}

/// The key that was made for this token, or one that is made now.
fn pending_key(file: &Path, digest: &str) -> Result<PrivateKey, JoinError> {
    if let Some(read) = read(file)?
        && let Ok(text) = read.text()
        && text.lines().next() == Some(digest)
        && let Ok(key) = PrivateKey::from_pem(text)
    {
        return Ok(key);
    }
    let key = PrivateKey::generate()?;
    write_private(file, &Secret::of(&[digest.as_bytes(), b"\n", key.to_pem()?.as_bytes()]))?;
    Ok(key)
}

/// A token's, by which it is known again and nobody joins.
fn digest(token: &str) -> Result<String, CryptoError> {
    Ok(model::Fingerprint::from_bytes(privnet_crypto::sha256(token.as_bytes())?).to_string())
}

/// Whether the server has refused, or nobody knows.
fn failure(status: Status) -> JoinError {
    use tonic::Code;
    match status.code() {
        Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::Unimplemented
        | Code::ResourceExhausted => JoinError::Refused(status),
        _ => JoinError::Lost(status),
    }
}

#[cfg(test)]
mod tests;
