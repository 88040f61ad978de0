//! How machines become hosts, and how hosts prove who they are.

use std::sync::Arc;
use std::time::Duration;

use super::decide::{done, random_octets};
use super::hosts::new_host;
use super::{Change, Circumstances, Decision, InviteHost, JoinHost, Outcome, Refusal, Row, Zone};
use crate::{
    Fingerprint, Host, HostCertificate, HostCertificates, HostFacts, HostName, Invitation, InvitationId, Timestamp,
};

/// How many invitations there are at most, used and expired ones among them.
pub const INVITATIONS_MAX: usize = 256;

/// For how long an invitation is remembered after its end: whoever comes late is told so, and whoever has used it
/// may ask again.
const REMEMBERED_FOR: Duration = Duration::from_secs(86_400);

impl Zone {
    pub(super) fn invite_host(&self, wish: &InviteHost, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let InviteHost { host, token, is_rejoin, lifetime } = wish;
        self.refuse_other_host(host, *is_rejoin)?;
        let (forgotten, kept): (Vec<_>, Vec<_>) =
            self.invitations().partition(|invitation| is_forgotten(invitation, world.now));
        if kept.len() >= INVITATIONS_MAX {
            return Err(Refusal::TooManyInvitations);
        }
        let invitation = Arc::new(Invitation {
            id: InvitationId::new(world.now.unix_ms, random_octets(world)),
            host: host.clone(),
            token: *token,
            is_rejoin: *is_rejoin,
            created_at: world.now,
            expires_at: world.now.plus(*lifetime),
            used_by: None,
        });
        let row = Row { before: None, after: Some(Arc::clone(&invitation)) };
        let mut changes = remove_all(forgotten);
        changes.push(Change::Invitation(row));
        Ok(Decision { changes, outcome: Outcome::Invitation(invitation) })
    }

    pub(super) fn revoke_invitation(&self, id: InvitationId) -> Result<Decision, Refusal> {
        let invitation = self.invitations.get(&id).ok_or(Refusal::InvitationNotFound(id))?;
        Ok(done(remove_all([invitation])))
    }

    /// The invitations of a host that is removed: who has used one shall not be able to ask again.
    pub(super) fn invitations_to_forget(&self, host: &HostName) -> Vec<Change> {
        remove_all(self.invitations().filter(|invitation| invitation.host == *host))
    }

    /// The invitation of whoever shows a token and takes itself for `name`. Decided before anything else that it sends
    /// is looked at; which key it may be used with, [`invitation_for`](Self::invitation_for) tells.
    ///
    /// # Errors
    /// [`Refusal::TokenUnknown`], also a day after its end; [`Refusal::TokenExpired`], unless it was used before;
    /// [`Refusal::InvitedAsOther`].
    pub fn invitation(&self, token: Fingerprint, name: &HostName, now: Timestamp) -> Result<&Arc<Invitation>, Refusal> {
        let invitation = self
            .invitations()
            .find(|invitation| invitation.token == token && !is_forgotten(invitation, now))
            .ok_or(Refusal::TokenUnknown)?;
        if invitation.used_by.is_none() && invitation.is_expired(now) {
            return Err(Refusal::TokenExpired(invitation.host.clone()));
        }
        if invitation.host != *name {
            return Err(Refusal::InvitedAsOther { invited: invitation.host.clone(), named: name.clone() });
        }
        Ok(invitation)
    }

    /// The same for whoever has this key, too: the first one that uses an invitation may use it again.
    ///
    /// # Errors
    /// Those of [`invitation`](Self::invitation), and [`Refusal::TokenUsed`].
    pub fn invitation_for(
        &self,
        token: Fingerprint,
        key: Fingerprint,
        name: &HostName,
        now: Timestamp,
    ) -> Result<&Arc<Invitation>, Refusal> {
        let invitation = self.invitation(token, name, now)?;
        match invitation.used_by {
            Some(used_by) if used_by != key => Err(Refusal::TokenUsed(invitation.host.clone())),
            Some(_) | None => Ok(invitation),
        }
    }

    pub(super) fn join_host(&self, wish: &JoinHost, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let JoinHost { token, name, key, certificate, facts } = wish;
        let invitation = self.invitation_for(*token, *key, name, world.now)?;
        let certificates = HostCertificates::joined(*certificate);
        let is_again = invitation.used_by.is_some();
        self.refuse_other_host(name, invitation.is_rejoin || is_again)?;
        self.refuse_vtep_taken(name, facts)?;
        let mut decision = match self.host_by_name(name) {
            Some(before) => {
                self.update_host(before, Host { facts: facts.clone(), certificates, ..Host::clone(before) })
            }
            None => new_host(name, facts, certificates, world),
        };
        if !is_again {
            // Whoever has the host's earlier key shall not be able to ask again with it.
            let earlier = self.invitations().filter(|other| other.host == *name && other.used_by.is_some());
            decision.changes.extend(remove_all(earlier));
            let used = Invitation { used_by: Some(*key), ..Invitation::clone(invitation) };
            decision.changes.push(Change::Invitation(Row::replace(Arc::clone(invitation), used)));
        }
        Ok(decision)
    }

    pub(super) fn admit_host(
        &self,
        name: &HostName,
        certificate: Fingerprint,
        facts: &HostFacts,
    ) -> Result<Decision, Refusal> {
        let (before, certificates) = self.host_that_shows(name, certificate)?;
        self.refuse_vtep_taken(name, facts)?;
        Ok(self.update_host(before, Host { facts: facts.clone(), certificates, ..Host::clone(before) }))
    }

    pub(super) fn renew_certificate(
        &self,
        name: &HostName,
        shown: Fingerprint,
        next: HostCertificate,
    ) -> Result<Decision, Refusal> {
        let (before, certificates) = self.host_that_shows(name, shown)?;
        let certificates = HostCertificates { next: Some(next), ..certificates };
        Ok(self.update_host(before, Host { certificates, ..Host::clone(before) }))
    }

    /// The host whose certificate this is, and what it has of them once it has shown this one.
    ///
    /// # Errors
    /// [`Refusal::HostRemoved`], [`Refusal::CertificateReplaced`].
    pub fn host_that_shows(
        &self,
        name: &HostName,
        certificate: Fingerprint,
    ) -> Result<(&Arc<Host>, HostCertificates), Refusal> {
        let host = self.host_by_name(name).ok_or_else(|| Refusal::HostRemoved(name.clone()))?;
        let shown = host.certificates.shown(certificate);
        Ok((host, shown.ok_or_else(|| Refusal::CertificateReplaced(name.clone()))?))
    }

    /// Who joins takes the place of a host that there is only where that is meant.
    fn refuse_other_host(&self, name: &HostName, is_rejoin: bool) -> Result<(), Refusal> {
        match (self.host_by_name(name), is_rejoin) {
            (Some(_), false) => Err(Refusal::HostNameTaken(name.clone())),
            (None, true) => Err(Refusal::NoHostToRejoin(name.clone())),
            (Some(_), true) | (None, false) => Ok(()),
        }
    }
}

fn is_forgotten(invitation: &Invitation, now: Timestamp) -> bool {
    invitation.expires_at.plus(REMEMBERED_FOR) <= now
}

fn remove_all<'a>(invitations: impl IntoIterator<Item = &'a Arc<Invitation>>) -> Vec<Change> {
    invitations.into_iter().map(|invitation| Change::Invitation(Row::remove(Arc::clone(invitation)))).collect()
}
