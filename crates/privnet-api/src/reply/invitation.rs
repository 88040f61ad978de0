use std::fmt;

use privnet_model::{InvitationId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::network::as_text;

/// All invitations that are remembered: those that have ended are for a day.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "host-invitations")]
pub struct Invitations<'a> {
    /// In the order of their creation.
    pub host_invitations: Vec<Invitation<'a>>,
}

/// That a machine may join as a host, once.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "host-invitation")]
pub struct Invitation<'a> {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: InvitationId,
    /// What the host will be called, or is if it was used.
    #[schemars(length(min = 1, max = 64))]
    host: &'a str,
    /// Whether it is for a host that there is.
    rejoin: bool,
    /// What has become of it.
    #[schemars(extend("enum" = ["expired", "open", "used"]))]
    state: &'static str,
    /// When it was made.
    #[serde(serialize_with = "super::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
    /// From when on it is good for nothing.
    #[serde(serialize_with = "super::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    expires_at: Timestamp,
}

/// A new invitation with all that a machine needs to join.
#[derive(Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "new-host-invitation")]
pub struct NewInvitation<'a> {
    /// The invitation.
    #[serde(flatten)]
    pub invitation: Invitation<'a>,
    /// What the machine joins with, once. It is told this once.
    pub token: &'a str,
    /// Where it joins.
    pub server: &'a str,
    /// The SHA-256 of the certificate of the server's authority, by which the machine knows the server.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub fingerprint: String,
}

impl<'a> Invitation<'a> {
    /// An invitation as it is now.
    pub fn new(invitation: &'a privnet_model::Invitation, now: Timestamp) -> Self {
        let state = match invitation.used_by {
            Some(_) => "used",
            None if invitation.is_expired(now) => "expired",
            None => "open",
        };
        Self {
            id: invitation.id,
            host: invitation.host.as_str(),
            rejoin: invitation.is_rejoin,
            state,
            created_at: invitation.created_at,
            expires_at: invitation.expires_at,
        }
    }
}

impl fmt::Debug for NewInvitation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewInvitation").field("invitation", &self.invitation).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::{Fingerprint, HostName};

    use super::*;

    #[test]
    fn an_invitation_is_shown_without_its_token_and_a_new_one_with_it() {
        let mut record = privnet_model::Invitation {
            id: "0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50".parse().expect("id"),
            host: HostName::try_from("h1").expect("name"),
            token: Fingerprint::from_bytes([1; 32]),
            is_rejoin: false,
            created_at: Timestamp::from_unix_ms(1_790_000_000_000),
            expires_at: Timestamp::from_unix_ms(1_790_003_600_000),
            used_by: None,
        };
        let shown = |record: &privnet_model::Invitation, now| {
            serde_json::to_string(&Invitation::new(record, Timestamp::from_unix_ms(now))).expect("serializes")
        };
        let expected = |state| {
            format!(
                concat!(
                    r#"{{"id":"0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50","host":"h1","rejoin":false,"state":"{}","#,
                    r#""created-at":"2026-09-21T14:13:20Z","expires-at":"2026-09-21T15:13:20Z"}}"#
                ),
                state
            )
        };
        assert_eq!(shown(&record, 1_790_003_599_999), expected("open"));
        assert_eq!(shown(&record, 1_790_003_600_000), expected("expired"));
        record.used_by = Some(Fingerprint::from_bytes([2; 32]));
        assert_eq!(shown(&record, 1_790_003_600_000), expected("used"));
        let new = NewInvitation {
            invitation: Invitation::new(&record, record.created_at),
            token: "t0ken",
            server: "https://192.0.2.1:4443",
            fingerprint: "00".repeat(32),
        };
        assert!(serde_json::to_string(&new).expect("serializes").contains(r#""token":"t0ken""#));
        assert!(!format!("{new:?}").contains("t0ken"));
    }
}
