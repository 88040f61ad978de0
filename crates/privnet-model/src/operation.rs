use crate::{
    Generation, HostId, InstanceId, MacAddr, NetworkId, OperationId, OrganizationId, SignedRequest, Timestamp,
};

/// A mutation that was accepted, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Given when it was accepted.
    pub id: OperationId,
    /// Whose it is: that of what it is about.
    pub organization: OrganizationId,
    /// What was asked.
    pub kind: OperationKind,
    /// What it is about.
    pub subject: Subject,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What asked for it; `None` where nothing was signed.
    pub request: Option<SignedRequest>,
    /// How far it is.
    pub state: OperationState,
}

impl Operation {
    /// Whether it has come to its end.
    pub fn is_final(&self) -> bool {
        !matches!(self.state, OperationState::Pending { .. })
    }

    /// Whether it is pending and ends when this does.
    pub(crate) fn waits_for(&self, other: Wait) -> bool {
        matches!(self.state, OperationState::Pending { wait, .. } if wait == other)
    }
}

/// What an operation is about. It may have been deleted since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One network, or one port of it.
    Network(NetworkId),
    /// An instance, with its ports in every network.
    Instance(InstanceId),
    /// What has no id, such as an SSH key.
    Nothing,
}

/// What an operation was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// create-private-network
    CreateNetwork,
    /// update-private-network
    UpdateNetwork,
    /// delete-private-network
    DeleteNetwork,
    /// reset-private-network-field
    ResetNetworkField,
    /// attach-instance-to-private-network
    Attach,
    /// detach-instance-from-private-network
    Detach,
    /// update-private-network-instance-ip
    UpdateIp,
    /// move-placed-instance
    Move,
    /// create-instance
    CreateInstance,
    /// update-instance
    UpdateInstance,
    /// delete-instance
    DeleteInstance,
    /// reset-instance-field
    ResetInstanceField,
    /// start-instance
    StartInstance,
    /// stop-instance
    StopInstance,
    /// reboot-instance
    RebootInstance,
    /// add-instance-protection
    AddInstanceProtection,
    /// remove-instance-protection
    RemoveInstanceProtection,
    /// register-ssh-key
    RegisterSshKey,
    /// delete-ssh-key
    DeleteSshKey,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::CreateNetwork,
        Self::UpdateNetwork,
        Self::DeleteNetwork,
        Self::ResetNetworkField,
        Self::Attach,
        Self::Detach,
        Self::UpdateIp,
        Self::Move,
        Self::CreateInstance,
        Self::UpdateInstance,
        Self::DeleteInstance,
        Self::ResetInstanceField,
        Self::StartInstance,
        Self::StopInstance,
        Self::RebootInstance,
        Self::AddInstanceProtection,
        Self::RemoveInstanceProtection,
        Self::RegisterSshKey,
        Self::DeleteSshKey,
    ];

    /// The operation's id in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateNetwork => "create-private-network",
            Self::UpdateNetwork => "update-private-network",
            Self::DeleteNetwork => "delete-private-network",
            Self::ResetNetworkField => "reset-private-network-field",
            Self::Attach => "attach-instance-to-private-network",
            Self::Detach => "detach-instance-from-private-network",
            Self::UpdateIp => "update-private-network-instance-ip",
            Self::Move => "move-placed-instance",
            Self::CreateInstance => "create-instance",
            Self::UpdateInstance => "update-instance",
            Self::DeleteInstance => "delete-instance",
            Self::ResetInstanceField => "reset-instance-field",
            Self::StartInstance => "start-instance",
            Self::StopInstance => "stop-instance",
            Self::RebootInstance => "reboot-instance",
            Self::AddInstanceProtection => "add-instance-protection",
            Self::RemoveInstanceProtection => "remove-instance-protection",
            Self::RegisterSshKey => "register-ssh-key",
            Self::DeleteSshKey => "delete-ssh-key",
        }
    }

    /// The kind whose [`as_str`](Self::as_str) is `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How far an operation is. Pending -> Success when the hosts have applied what it waits for;
/// Pending -> Failure when a host reports that it cannot, or the instance is detached or removed before;
/// Pending -> Timeout at the deadline. The other three are final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationState {
    /// Accepted and durable, not yet in force on the hosts.
    Pending {
        /// What makes it succeed.
        wait: Wait,
        /// When it becomes `Timeout`.
        deadline: Timestamp,
    },
    /// In force.
    Success,
    /// A host could not apply it, or what it was about has gone before it was in force.
    Failure {
        /// One word for programs.
        reason: Reason,
        /// A sentence for people.
        message: String,
    },
    /// The port's own host was away until the deadline, or the workload had not arrived there. What was
    /// asked stays wanted.
    Timeout {
        /// A sentence for people.
        message: String,
    },
}

/// What a pending operation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// One generation of one network.
    Applied(Applied),
    /// The instance, if its host makes it, and every port of it, at the generation of its last change. A
    /// workload that has not arrived on its host yet is waited for too.
    Placed(InstanceId),
    /// The host has nothing left of an instance that it has lost.
    Removed {
        /// The instance.
        instance: InstanceId,
        /// The host it was on.
        host: HostId,
    },
}

/// The port's own host (if it is about a port), and every other host that is connected and carries the
/// network, have applied this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Applied {
    /// The network.
    pub network: NetworkId,
    /// The generation that contains the change.
    pub generation: Generation,
    /// The port it is about, whose host is waited for even while it is away.
    pub port: Option<WaitPort>,
}

/// The port that a pending operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitPort {
    /// The host that plugs it in.
    pub host: HostId,
    /// Its MAC address.
    pub mac: MacAddr,
}

/// Why an operation failed (the API's `reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A host could not apply it.
    Fault,
    /// What it names does not exist on the host, such as a network namespace, or has been removed.
    NotFound,
    /// Something else has what it needs in the workload's own place, such as a device's name in its namespace.
    Conflict,
    /// The host is away.
    Unavailable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fault, Self::NotFound, Self::Conflict, Self::Unavailable];

    /// The word the API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether it may pass as the workload arrives, or what was there before goes.
    pub const fn is_about_arrival(self) -> bool {
        matches!(self, Self::NotFound | Self::Conflict)
    }

    /// The reason whose [`as_str`](Self::as_str) is `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
