//! How machines become hosts, and how hosts get their next certificates.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use privnet_model::zone::{Caller, Command, JoinHost};
use privnet_model::{Fingerprint, HostName};
use privnet_sync::proto::membership_server::Membership;
use privnet_sync::{JoinRequest, proto};
use privnet_tls::SigningRequest;
use tonic::{Code, Request, Response, Status};
use tracing::{error, info};

use super::peer::Peer;
use super::refused;
use super::tls::STRANGERS_PER_CLIENT_MAX;
use crate::admission::Client;
use crate::audit::Origin;
use crate::auth::HostAuthority;
use crate::engine::{Engine, now};
use crate::rate::Buckets;
use crate::seldom::Seldom;

/// How many machines of one client may ask to join in a second, and twice as many at once: no fewer than have
/// connections at a time, so that none is refused of a fleet behind one address. A token has 256 bits, which nobody
/// guesses at any rate; what is limited is how much of the server's time and log it takes to refuse.
const JOINS_PER_SECOND: NonZeroU32 = NonZeroU32::new(32).expect("not zero");
const _: () = assert!(JOINS_PER_SECOND.get() as usize >= STRANGERS_PER_CLIENT_MAX);

/// How often in a second a host may renew its certificate, and twice as often at once. It has to once in weeks; each is
/// signed, and written down.
const RENEWALS_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

pub(super) struct MembershipService {
    engine: Engine,
    authority: Arc<HostAuthority>,
    joins: Buckets<Client>,
    renewals: Buckets<HostName>,
    refused: Seldom,
}

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::JoinReply>, Status> {
        let peer = Peer::of(&request, true)?;
        let origin = Origin::of_agent(peer.ip(), "join-host", "Join");
        let often = "too many machines ask to join from this address: ask again in a second";
        let joined = match take_turn(&self.joins, Client::from(peer.ip()), often) {
            Ok(()) => self.join_host(request.into_inner(), &origin).await,
            Err(status) => Err(status),
        };
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
    pub(super) fn new(engine: Engine, authority: Arc<HostAuthority>) -> Self {
        let joins = Buckets::per_second(Some(JOINS_PER_SECOND));
        let renewals = Buckets::per_second(Some(RENEWALS_PER_SECOND));
        Self { engine, authority, joins, renewals, refused: Seldom::new("refused to make a host") }
    }

    async fn join_host(&self, request: proto::JoinRequest, origin: &Origin) -> Result<proto::JoinReply, Status> {
        let JoinRequest { token, host, request, facts } =
            JoinRequest::parse(request).map_err(|cause| Status::invalid_argument(cause.to_string()))?;
        let token = digest(token.as_bytes())?;
        // Before anything else is looked at: whoever has no token costs no more than that.
        self.engine.view().invitation(token, &host, now()).map_err(|refusal| refused(refusal.into()))?;
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
        take_turn(
            &self.renewals,
            shown.host.clone(),
            "the host renews its certificate too often: ask again in a second",
        )?;
        let request = signing_request(&request.request)?;
        let (certificate, next) = self.authority.certify(&shown.host, &request, now()).map_err(fault)?;
        let command = Command::RenewCertificate { name: shown.host.clone(), shown: shown.fingerprint, next };
        self.engine.submit_for(origin.clone(), Caller::Server, command).await.map_err(refused)?;
        info!(host = %shown.host, "a host has a new certificate");
        Ok(proto::RenewReply { certificate: certificate.der().to_vec() })
    }

    fn note_refusal(&self, peer: &Peer, origin: Origin, status: &Status) {
        self.refused.note(format_args!("{peer}: {}", status.message()));
        let event = origin.refused(Some(Caller::Server), http_status(status.code()), status.message(), now());
        self.engine.log().refused(event);
    }
}

fn take_turn<C: Eq + Hash>(turns: &Buckets<C>, whose: C, refusal: &'static str) -> Result<(), Status> {
    turns.take(whose, Instant::now()).map_err(|_| Status::resource_exhausted(refusal))
}

/// As HTTP would say it, for the audit log.
pub(super) fn http_status(code: Code) -> u16 {
    match code {
        Code::InvalidArgument => 400,
        Code::NotFound => 404,
        Code::PermissionDenied | Code::Unauthenticated => 403,
        Code::AlreadyExists | Code::FailedPrecondition => 409,
        Code::ResourceExhausted => 429,
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
