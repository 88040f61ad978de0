//! How machines become hosts, and how hosts get their next certificates.

use std::sync::Arc;

use privnet_model::Fingerprint;
use privnet_model::zone::{Caller, Command, JoinHost};
use privnet_sync::proto::membership_server::Membership;
use privnet_sync::{JoinRequest, proto};
use privnet_tls::SigningRequest;
use tonic::{Code, Request, Response, Status};
use tracing::{error, info, warn};

use super::peer::Peer;
use super::refused;
use crate::audit::Origin;
use crate::auth::HostAuthority;
use crate::engine::{Engine, now};

pub(super) struct MembershipService {
    pub(super) engine: Engine,
    pub(super) authority: Arc<HostAuthority>,
}

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::JoinReply>, Status> {
        let peer = Peer::of(&request, true)?;
        let origin = Origin::of_agent(peer.ip(), "join-host", "Join");
        let joined = self.join_host(request.into_inner(), &origin).await;
        joined.map(Response::new).inspect_err(|status| self.note_refusal(&peer, origin, status))
    }

    async fn renew(&self, request: Request<proto::RenewRequest>) -> Result<Response<proto::RenewReply>, Status> {
        let peer = Peer::of(&request, true)?;
        let origin = Origin::of_agent(peer.ip(), "renew-host-certificate", "Renew");
        let renewed = self.renew_certificate(&peer, request.into_inner(), &origin).await;
        renewed.map(Response::new).inspect_err(|status| self.note_refusal(&peer, origin, status))
    }
}

impl MembershipService {
    async fn join_host(&self, request: proto::JoinRequest, origin: &Origin) -> Result<proto::JoinReply, Status> {
        let JoinRequest { token, host, request, facts } =
            JoinRequest::parse(request).map_err(|cause| Status::invalid_argument(cause.to_string()))?;
        let token = digest(token.as_bytes())?;
        let request = signing_request(&request)?;
        let key = digest(request.public_key())?;
        // Before anything is signed. It is decided again with the record.
        self.engine.view().invitation_for(token, key, &host, now()).map_err(|refusal| refused(refusal.into()))?;
        let now = now();
        let (certificate, record) = self.authority.certify(&host, &request, now).map_err(fault)?;
        let facts_vtep = facts.vtep;
        let wish = JoinHost { token, name: host.clone(), key, certificate: record, facts };
        self.engine.submit_for(origin.clone(), Caller::Server, Command::JoinHost(wish)).await.map_err(refused)?;
        info!(%host, vtep = %facts_vtep, "a host has joined");
        Ok(proto::JoinReply {
            certificate: certificate.der().to_vec(),
            authority: self.authority.certificate().der().to_vec(),
            now_unix_ms: now.unix_ms,
        })
    }

    async fn renew_certificate(
        &self,
        peer: &Peer,
        request: proto::RenewRequest,
        origin: &Origin,
    ) -> Result<proto::RenewReply, Status> {
        let shown = match peer {
            Peer::Remote(remote) => remote.certificate.clone(),
            Peer::Socket => None,
        };
        let shown = shown.ok_or_else(|| Status::unauthenticated("a host shows the certificate that it renews"))?;
        self.engine
            .view()
            .host_that_shows(&shown.host, shown.fingerprint)
            .map_err(|refusal| refused(refusal.into()))?;
        let request = signing_request(&request.request)?;
        let (certificate, next) = self.authority.certify(&shown.host, &request, now()).map_err(fault)?;
        let command = Command::RenewCertificate { name: shown.host.clone(), shown: shown.fingerprint, next };
        self.engine.submit_for(origin.clone(), Caller::Server, command).await.map_err(refused)?;
        info!(host = %shown.host, "a host has a new certificate");
        Ok(proto::RenewReply { certificate: certificate.der().to_vec() })
    }

    fn note_refusal(&self, peer: &Peer, origin: Origin, status: &Status) {
        warn!(%peer, reason = status.message(), "refused to make a host");
        let event = origin.refused(Some(Caller::Server), http_status(status.code()), status.message(), now());
        self.engine.log().refused(event);
    }
}

/// As HTTP would say it, for the audit log.
pub(super) fn http_status(code: Code) -> u16 {
    match code {
        Code::InvalidArgument => 400,
        Code::NotFound => 404,
        Code::PermissionDenied | Code::Unauthenticated => 403,
        Code::AlreadyExists | Code::FailedPrecondition => 409,
        Code::Unavailable => 503,
        _ => 500,
    }
}

fn signing_request(der: &[u8]) -> Result<SigningRequest, Status> {
    SigningRequest::from_der(der)
        .map_err(|cause| Status::invalid_argument(format!("the request for a certificate cannot be taken: {cause}")))
}

fn digest(octets: &[u8]) -> Result<Fingerprint, Status> {
    privnet_crypto::sha256(octets).map(Fingerprint::from_bytes).map_err(fault)
}

/// The server's log tells more than whoever asked needs to know.
fn fault(cause: impl std::error::Error + 'static) -> Status {
    error!(error = &cause as &dyn std::error::Error, "cannot make a certificate");
    Status::internal("the server cannot make a certificate; its log tells more")
}
