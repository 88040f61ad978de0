//! Decisions about SSH keys.

use std::sync::Arc;

use super::{Change, Circumstances, Decision, Refusal, Row, Zone};
use crate::{Name, OperationKind, OperationState, SshKey, SshPublicKey, Subject};

/// How many SSH keys an organization has at most.
pub const SSH_KEYS_PER_ORGANIZATION_MAX: usize = 256;

impl Zone {
    /// The same key under the same name again is a success.
    pub(super) fn register_ssh_key(
        &self,
        name: &Name,
        public_key: &str,
        world: &mut Circumstances<'_>,
    ) -> Result<Decision, Refusal> {
        let organization = self.known_organization(world.caller.organization())?.id;
        let public_key = SshPublicKey::try_from(public_key).map_err(|_| Refusal::PublicKeyInvalid)?;
        let change = match self.seen_by(world.caller).ssh_key(name) {
            Some(present) if present.public_key == public_key => None,
            Some(_) => return Err(Refusal::SshKeyTaken(name.clone())),
            None if self.usage(organization).ssh_keys >= SSH_KEYS_PER_ORGANIZATION_MAX => {
                return Err(Refusal::TooManySshKeys);
            }
            None => {
                let key = SshKey { organization, name: name.clone(), public_key, created_at: world.now };
                Some(Change::SshKey(Row::insert(key)))
            }
        };
        Ok(self.done_at_once(OperationKind::RegisterSshKey, change, world))
    }

    pub(super) fn delete_ssh_key(&self, name: &Name, world: &mut Circumstances<'_>) -> Result<Decision, Refusal> {
        let key = self.seen_by(world.caller).ssh_key(name).ok_or_else(|| Refusal::SshKeyNotFound(name.clone()))?;
        let change = Change::SshKey(Row::remove(Arc::clone(key)));
        Ok(self.done_at_once(OperationKind::DeleteSshKey, Some(change), world))
    }

    fn done_at_once(&self, kind: OperationKind, change: Option<Change>, world: &mut Circumstances<'_>) -> Decision {
        let organization = world.caller.organization();
        let changes = change.into_iter().collect();
        self.add_operation(kind, organization, Subject::Nothing, OperationState::Success, changes, world)
    }
}
