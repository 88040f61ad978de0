use super::{Command, Refusal};
use crate::{HostId, KeyId, OrganizationId, Role, Scope};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The server itself, for what agents report and for the ends of operations.
    Server,
    /// Somebody outside.
    Client {
        /// What the request was signed with; `None` where nothing needs to be signed.
        key: Option<KeyId>,
        /// What it is good for.
        scope: Scope,
    },
}

/// What a request needs its caller to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Any key: it reads what the caller's organization has.
    Read,
    /// An admin: it changes what the caller's organization has, or is about its keys.
    Admin,
    /// An admin, or for the containers of its host a container runtime: it is about an instance.
    Attach,
    /// An operator, or for the containers of its host a container runtime: it is about what is on a host.
    Place,
    /// An operator: it is about what organizations share.
    Operator,
    /// The server itself.
    Server,
}

impl Caller {
    /// Somebody who has not said who they are: reads what an organization has that there is not.
    pub const NOBODY: Self =
        Self::Client { key: None, scope: Scope::Organization(OrganizationId::MIN, Role::ReadOnly) };

    /// An operator without a key.
    pub const OPERATOR: Self = Self::Client { key: None, scope: Scope::Operator };

    /// The organization whose networks and instances it sees, and to which those belong that it makes.
    pub const fn organization(&self) -> OrganizationId {
        match self {
            Self::Client { scope: Scope::Organization(organization, _), .. } => *organization,
            Self::Client { scope: Scope::Operator, .. } | Self::Server => OrganizationId::DEFAULT,
        }
    }

    /// What its request was signed with.
    pub const fn key(&self) -> Option<KeyId> {
        match self {
            Self::Client { key, .. } => *key,
            Self::Server => None,
        }
    }

    /// The host that it is the container runtime of.
    pub const fn host(&self) -> Option<HostId> {
        match self {
            Self::Client { scope: Scope::Organization(_, role), .. } => role.host(),
            Self::Client { scope: Scope::Operator, .. } | Self::Server => None,
        }
    }

    /// Whether it manages what organizations share, the server among them.
    pub const fn is_operator(&self) -> bool {
        matches!(self, Self::Server | Self::Client { scope: Scope::Operator, .. })
    }

    /// Whether it may do what needs this access.
    ///
    /// # Errors
    /// [`Refusal::ReadOnly`], [`Refusal::NotForRuntimes`], [`Refusal::NotOperator`].
    pub fn check(&self, access: Access) -> Result<(), Refusal> {
        match (self, access) {
            (Self::Server, _) | (_, Access::Read) => Ok(()),
            (Self::Client { scope: Scope::Operator, .. }, _) if access != Access::Server => Ok(()),
            (Self::Client { scope: Scope::Organization(_, role), .. }, _) => match (role, access) {
                (Role::Admin, Access::Admin | Access::Attach) => Ok(()),
                (Role::Runtime(_), Access::Attach | Access::Place) => Ok(()),
                (Role::Runtime(_), _) => Err(Refusal::NotForRuntimes),
                (Role::ReadOnly, Access::Admin | Access::Attach) => Err(Refusal::ReadOnly),
                (Role::Admin | Role::ReadOnly, _) => Err(Refusal::NotOperator),
            },
            (Self::Client { scope: Scope::Operator, .. }, _) => Err(Refusal::NotOperator),
        }
    }
}

impl Command {
    /// Who may give it.
    pub fn access(&self) -> Access {
        match self {
            Self::CreateNetwork(_)
            | Self::UpdateNetwork(..)
            | Self::DeleteNetwork(_)
            | Self::ResetLabels(_)
            | Self::LaunchInstance(_)
            | Self::UpdateInstance(..)
            | Self::ResetInstanceLabels(_)
            | Self::SetPower(..)
            | Self::RebootInstance(_)
            | Self::ProtectInstance(..)
            | Self::CreateKey { .. }
            | Self::RevokeKey(_)
            | Self::RegisterSshKey { .. }
            | Self::DeleteSshKey(_) => Access::Admin,
            Self::Attach { .. } | Self::Detach { .. } | Self::UpdateIp { .. } | Self::DestroyInstance(_) => {
                Access::Attach
            }
            Self::CreateInstance { .. } => Access::Place,
            Self::MoveInstance { .. }
            | Self::DeleteInstance(_)
            | Self::RemoveHost { .. }
            | Self::InviteHost(_)
            | Self::RevokeInvitation(_)
            | Self::CreateOrganization { .. }
            | Self::UpdateOrganization(..)
            | Self::DeleteOrganization(_) => Access::Operator,
            Self::JoinHost(_)
            | Self::AdmitHost { .. }
            | Self::RenewCertificate { .. }
            | Self::RegisterHost { .. }
            | Self::ConfirmAbsent { .. }
            | Self::FinishOperation(..) => Access::Server,
        }
    }
}
