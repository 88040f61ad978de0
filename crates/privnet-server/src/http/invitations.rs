//! Invitations: the token is made here, and told here and nowhere else.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::StatusCode;
use privnet_api::{InviteHost, reply};
use privnet_model::Fingerprint;
use privnet_model::zone::{self, Caller, Command, Outcome};
use tracing::error;

use super::{Api, Body, Refused, json};
use crate::audit::Origin;
use crate::engine::now;
use crate::sync::TlsDoor;

/// What a token begins with: it can stand after a flag, and one that was leaked is known for what it is.
const TOKEN_PREFIX: &str = "pnj-";

/// Where a host goes that is invited.
#[derive(Debug, Clone)]
pub(crate) enum Invitations {
    /// Agents are served on the socket alone.
    Nowhere,
    /// Agents are served on every address of this machine, and nobody has said which one hosts reach.
    Anywhere,
    /// To the server of this URL, and of the authority with this fingerprint.
    To { server: String, fingerprint: String },
}

impl Invitations {
    /// To this door, at the URL that somebody gave or the address that it has.
    pub(crate) fn to(door: &TlsDoor, url: Option<&str>) -> Self {
        let own = door.address().filter(|address| !address.ip().is_unspecified());
        let server = url.map(str::to_owned).or_else(|| own.map(|address| format!("https://{address}")));
        match server {
            Some(server) => Self::To { server, fingerprint: door.fingerprint().to_string() },
            None => Self::Anywhere,
        }
    }

    fn destination(&self) -> Result<(&str, &str), Refused> {
        let refusal = match self {
            Self::To { server, fingerprint } => return Ok((server, fingerprint)),
            Self::Nowhere => {
                "this server serves agents on its own machine only: start it with --sync-listen ADDRESS:PORT, where hosts reach it"
            }
            Self::Anywhere => {
                "this server serves hosts on every address of its machine: start it with --sync-url https://NAME:PORT, so that they are told which one to use"
            }
        };
        Err(Refused::new(StatusCode::CONFLICT, refusal))
    }
}

impl Api {
    pub(super) async fn invite_host(&self, origin: &Origin, caller: Caller, wish: InviteHost) -> Result<Body, Refused> {
        let (server, fingerprint) = self.config.invitations.destination()?;
        let random = privnet_crypto::random::<32>().map_err(fault)?;
        let token = format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let digest = Fingerprint::from_bytes(privnet_crypto::sha256(token.as_bytes()).map_err(fault)?);
        let InviteHost { host, is_rejoin, lifetime } = wish;
        let command = Command::InviteHost(zone::InviteHost { host, token: digest, is_rejoin, lifetime });
        match self.engine.submit_for(origin.clone(), caller, command).await? {
            Outcome::Invitation(invitation) => Ok(json(&reply::NewInvitation {
                invitation: reply::Invitation::new(&invitation, now()),
                token: &token,
                server,
                fingerprint: fingerprint.to_owned(),
            })),
            other => unreachable!("inviting a host came to {other:?}"),
        }
    }
}

fn fault(cause: privnet_crypto::CryptoError) -> Refused {
    error!(%cause, "cannot make a token");
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot make a token; the server's log tells more")
}
