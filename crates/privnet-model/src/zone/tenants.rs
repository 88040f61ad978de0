//! Organizations and their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decide::{done, random_octets};
use super::{
    Caller, Change, Circumstances, CreateKey, Decision, Grant, Outcome, Refusal, Row, UpdateOrganization, Usage, Zone,
};
use crate::{Key, KeyId, Organization, OrganizationId, OrganizationName, Quotas, Role, Scope, SealedSecret, Timestamp};

/// How many keys an organization has at most.
pub const KEYS_PER_ORGANIZATION_MAX: usize = 256;

impl Zone {
    pub(super) fn create_organization(
        &self,
        name: &OrganizationName,
        quotas: Quotas,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        self.refuse_organization_name_taken(name)?;
        let id = OrganizationId::new(world.now.unix_ms, random_octets(world));
        let organization = Arc::new(Organization { id, name: name.clone(), quotas, created_at: world.now });
        let row = Row { before: None, after: Some(Arc::clone(&organization)) };
        Ok(Decision { changes: vec![Change::Organization(row)], outcome: Outcome::Organization(organization) })
    }

    pub(super) fn update_organization(
        &self,
        id: OrganizationId,
        wish: &UpdateOrganization,
    ) -> Result<Decision, Refusal> {
        let before = self.organization(id).ok_or(Refusal::OrganizationNotFound(id))?;
        let mut after = Organization::clone(before);
        if let Some(name) = wish.name.as_ref().filter(|name| **name != before.name) {
            self.refuse_organization_name_taken(name)?;
            after.name = name.clone();
        }
        let quotas = &mut after.quotas;
        quotas.networks = wish.networks.unwrap_or(quotas.networks);
        quotas.ports_per_network = wish.ports_per_network.unwrap_or(quotas.ports_per_network);
        quotas.instances = wish.instances.unwrap_or(quotas.instances);
        if after == **before {
            return Ok(Decision { changes: Vec::new(), outcome: Outcome::Organization(Arc::clone(before)) });
        }
        let after = Arc::new(after);
        let row = Row { before: Some(Arc::clone(before)), after: Some(Arc::clone(&after)) };
        Ok(Decision { changes: vec![Change::Organization(row)], outcome: Outcome::Organization(after) })
    }

    /// Its keys of either kind, which are good for nothing any more, go with it, and so do its operations; those that
    /// are pending when they have come to their end.
    pub(super) fn delete_organization(&self, id: OrganizationId) -> Result<Decision, Refusal> {
        let organization = self.organization(id).ok_or(Refusal::OrganizationNotFound(id))?;
        if id == OrganizationId::DEFAULT {
            return Err(Refusal::OrganizationOfOperators(organization.name.clone()));
        }
        let Usage { networks, instances, .. } = self.usage(id);
        if networks + instances > 0 {
            return Err(Refusal::OrganizationInUse { organization: organization.name.clone(), networks, instances });
        }
        let holdings = || self.holdings.get(&id).into_iter();
        let keys = holdings().flat_map(|holdings| &holdings.keys).filter_map(|key| self.key(*key));
        let mut changes: Vec<_> = keys.map(|key| Change::Key(Row::remove(Arc::clone(key)))).collect();
        let finished = holdings().flat_map(|holdings| &holdings.finished).filter_map(|id| self.operation(*id));
        changes.extend(finished.map(|operation| Change::Operation(Row::remove(Arc::clone(operation)))));
        let ssh_keys = self.ssh_keys.get(&id).into_iter().flat_map(BTreeMap::values);
        changes.extend(ssh_keys.map(|key| Change::SshKey(Row::remove(Arc::clone(key)))));
        changes.push(Change::Organization(Row::remove(Arc::clone(organization))));
        Ok(done(changes))
    }

    fn refuse_organization_name_taken(&self, name: &OrganizationName) -> Result<(), Refusal> {
        match self.organization_by_name(name) {
            Some(_) => Err(Refusal::OrganizationNameTaken(name.clone())),
            None => Ok(()),
        }
    }

    /// A request may wait behind the revocation of the key that it was admitted with.
    pub(super) fn refuse_gone_key(&self, caller: Caller, now: Timestamp) -> Result<(), Refusal> {
        let Caller::Client { key: Some(id), scope } = caller else { return Ok(()) };
        let is_good = |key: &Arc<Key>| key.scope == scope && !key.is_expired(now);
        if self.key(id).is_some_and(is_good) { Ok(()) } else { Err(Refusal::KeyGone) }
    }

    pub(super) fn create_key(
        &self,
        id: KeyId,
        sealed_secret: &SealedSecret,
        wish: &CreateKey,
        world: &Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let CreateKey { name, grant, lifetime } = wish;
        let scope = self.granted(*grant, world.caller)?;
        if self.key(id).is_some() {
            return Err(Refusal::KeyIdTaken(id));
        }
        let asked = lifetime.map(|lifetime| world.now.plus(lifetime));
        let callers = world.caller.key().and_then(|id| self.key(id)?.expires_at);
        let key = Arc::new(Key {
            id,
            name: name.clone(),
            scope,
            sealed_secret: sealed_secret.clone(),
            created_at: world.now,
            expires_at: asked.into_iter().chain(callers).min(),
        });
        let row = Row { before: None, after: Some(Arc::clone(&key)) };
        Ok(Decision { changes: vec![Change::Key(row)], outcome: Outcome::Key(key) })
    }

    /// What a key that a caller may make is good for: never more than the caller.
    fn granted(&self, grant: Grant, caller: Caller) -> Result<Scope, Refusal> {
        let (organization, role) = match grant {
            Grant::Operator if caller.is_operator() => return Ok(Scope::Operator),
            Grant::Operator => return Err(Refusal::NotOperator),
            Grant::Organization(organization, role) => (organization, role),
            Grant::Runtime(organization, host) if caller.is_operator() => {
                self.host(host).ok_or_else(|| Refusal::HostNotFound(host.to_string()))?;
                (organization, Role::Runtime(host))
            }
            Grant::Runtime(..) => return Err(Refusal::NotOperator),
        };
        let organization = organization.unwrap_or(caller.organization());
        let is_seen = caller.is_operator() || organization == caller.organization();
        if !is_seen || self.organization(organization).is_none() {
            return Err(Refusal::OrganizationNotFound(organization));
        }
        if self.usage(organization).keys >= KEYS_PER_ORGANIZATION_MAX {
            return Err(Refusal::TooManyKeys);
        }
        Ok(Scope::Organization(organization, role))
    }

    pub(super) fn revoke_key(&self, id: KeyId, caller: Caller) -> Result<Decision, Refusal> {
        let key = self.seen_by(caller).key(id).ok_or(Refusal::KeyNotFound(id))?;
        let is_lasting = |key: &Arc<Key>| key.scope == Scope::Operator && key.expires_at.is_none();
        if is_lasting(key) && self.keys().filter(|key| is_lasting(key)).count() == 1 {
            return Err(Refusal::LastOperatorKey(id));
        }
        Ok(done(vec![Change::Key(Row::remove(Arc::clone(key)))]))
    }
}
