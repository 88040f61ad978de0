//! A host that has joined has its certificate renewed before it expires.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use privnet_sync::proto;
use privnet_sync::proto::membership_client::MembershipClient;
use privnet_tls::{Certificate, CertificateError, PrivateKey, SettingsError, SigningRequest};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Endpoint;
use tracing::{error, info, warn};

use crate::RemoteAddress;
use crate::backoff::jittered;
use crate::dial::{self, DialError};
use crate::identity::{HostIdentity, IdentityError};

/// The longest time after which it is looked again whether renewal is due: the clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// A renewal that has failed is tried again when this part of what is left of the certificate's life is over.
const RETRY_PART: u32 = 8;
const RETRY_MIN: Duration = Duration::from_millis(500);

/// How long the server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no next certificate.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server does not renew the certificate")]
    Refused(#[source] Status),
    #[error("the next certificate cannot be used")]
    Certificate(#[from] CertificateError),
    #[error("cannot connect with the certificate")]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    File(#[from] IdentityError),
}

/// Renews a host's certificate for as long as somebody uses it.
pub(crate) async fn keep_renewed(server: RemoteAddress, file: PathBuf, identity: watch::Sender<HostIdentity>) {
    loop {
        let current = identity.borrow().clone();
        let due_in = current.due_in(SystemTime::now());
        if !due_in.is_zero() {
            tokio::time::sleep(due_in.min(LOOK_EVERY)).await;
            continue;
        }
        match renew(&server, &current).await.and_then(|renewed| Ok(renewed.write(&file).map(|()| renewed)?)) {
            Ok(renewed) => {
                info!(
                    expires_in_s = renewed.expires_in(SystemTime::now()).as_secs(),
                    "this host has a new certificate"
                );
                identity.send_replace(renewed);
            }
            Err(cause) => {
                let left = current.expires_in(SystemTime::now());
                tell(&cause, left);
                let wait = (left / RETRY_PART).clamp(RETRY_MIN, LOOK_EVERY);
                tokio::time::sleep(jittered(wait, rand::random())).await;
            }
        }
    }
}

fn tell(cause: &RenewalError, left: Duration) {
    let error = cause as &dyn std::error::Error;
    match left.is_zero() {
        true => error!(
            error,
            "this host's certificate has expired, and the host must join again (privnet host invite NAME --rejoin)"
        ),
        false => warn!(error, left_s = left.as_secs(), "this host's certificate is not renewed yet"),
    }
}

async fn renew(server: &RemoteAddress, current: &HostIdentity) -> Result<HostIdentity, RenewalError> {
    let key = PrivateKey::generate()?;
    let request = SigningRequest::new(&key, current.name())?.der().to_vec();
    let stream = dial::dial(server, &current.connector()?).await?;
    let endpoint = Endpoint::from_static("https://server").timeout(ANSWER_TIMEOUT);
    let channel = dial::channel(endpoint, server, stream).await?;
    let answer = MembershipClient::new(channel).renew(proto::RenewRequest { request }).await;
    let proto::RenewReply { certificate } = answer.map_err(RenewalError::Refused)?.into_inner();
    Ok(current.renewed(key, Certificate::from_der(&certificate)?)?)
}
