use std::convert::Infallible;

use privnet_sync::proto::membership_server::{MembershipServer, SERVICE_NAME};
use privnet_sync::proto::sync_server::SyncServer;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};

use super::Follower;
use super::membership::MembershipService;

/// Both services on one connection.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) sync: SyncServer<Follower>,
    /// Where agents come by TLS.
    pub(super) membership: Option<MembershipServer<MembershipService>>,
}

impl Service<http::Request<Body>> for Services {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// By the path, which is `/SERVICE/METHOD`; what neither has, the first says so of.
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match &mut self.membership {
            Some(membership) if service_of(&request) == SERVICE_NAME => membership.call(request),
            _ => self.sync.call(request),
        }
    }
}

fn service_of(request: &http::Request<Body>) -> &str {
    request.uri().path().split('/').nth(1).unwrap_or_default()
}
