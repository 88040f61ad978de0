use crate::{Fingerprint, HostName, InvitationId, Timestamp};

/// That a machine may join as a host, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// For people to revoke it by.
    pub id: InvitationId,
    /// What the host will be called.
    pub host: HostName,
    /// Of the token that the machine shows; nobody but its holder has the token itself.
    pub token: Fingerprint,
    /// Whether it is for a host that there is, which loses the certificate that it has.
    pub is_rejoin: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is good for nothing.
    pub expires_at: Timestamp,
    /// The public key of the machine that has used it. That one may ask again, as it may not have heard the answer.
    pub used_by: Option<Fingerprint>,
}

impl Invitation {
    /// Whether nobody can use it any more who has not used it yet.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }
}
