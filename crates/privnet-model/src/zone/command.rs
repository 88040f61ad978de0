use std::net::Ipv4Addr;
use std::time::Duration;

use crate::{
    Description, DeviceName, DhcpOptions, Driver, Fingerprint, HostCertificate, HostFacts, HostId, HostName,
    InstanceId, InstanceProperties, InstanceTypeId, InvitationId, KeyId, Labels, Name, NetworkId, OperationId,
    OperationState, OrganizationId, OrganizationName, Placement, Power, PublicIp, Quota, Quotas, Role, SealedSecret,
    UserData,
};

/// A wish that changes a zone. Its values have passed their own rules; whether they fit the zone is
/// what `Zone::decide` finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// create-private-network
    CreateNetwork(CreateNetwork),
    /// update-private-network
    UpdateNetwork(NetworkId, UpdateNetwork),
    /// delete-private-network
    DeleteNetwork(NetworkId),
    /// reset-private-network-field, whose only field is `labels`
    ResetLabels(NetworkId),
    /// attach-instance-to-private-network
    Attach {
        /// The network.
        network: NetworkId,
        /// The instance.
        instance: InstanceId,
        /// A static address, or one of the range.
        address: Option<Ipv4Addr>,
        /// What the instance sees of it.
        device: DeviceWish,
    },
    /// detach-instance-from-private-network
    Detach {
        /// The network.
        network: NetworkId,
        /// The instance.
        instance: InstanceId,
    },
    /// update-private-network-instance-ip
    UpdateIp {
        /// The network.
        network: NetworkId,
        /// The instance.
        instance: InstanceId,
        /// A static address; `None` gives up a static one for one of the range.
        address: Option<Ipv4Addr>,
    },
    /// A workload that exists on a host and may be attached from now on.
    CreateInstance {
        /// Not unique.
        name: Name,
        /// The host, by name.
        host: HostName,
        /// How its ports are plugged in.
        placement: Placement,
        /// Whose it is; `None`: the caller's.
        organization: Option<OrganizationId>,
        /// The user's own.
        labels: Labels,
    },
    /// create-instance: an instance is made on one of the hosts.
    LaunchInstance(LaunchInstance),
    /// update-instance
    UpdateInstance(InstanceId, UpdateInstance),
    /// reset-instance-field, whose only field is `labels`
    ResetInstanceLabels(InstanceId),
    /// start-instance and stop-instance
    SetPower(InstanceId, Power),
    /// reboot-instance
    RebootInstance(InstanceId),
    /// add-instance-protection and remove-instance-protection
    ProtectInstance(InstanceId, bool),
    /// delete-instance: it is detached from all networks and taken away.
    DestroyInstance(InstanceId),
    /// register-ssh-key
    RegisterSshKey {
        /// Unique in the organization.
        name: Name,
        /// As it was given.
        public_key: String,
    },
    /// delete-ssh-key
    DeleteSshKey(Name),
    /// The workload is on this host from now on, with all its ports.
    MoveInstance {
        /// The instance.
        instance: InstanceId,
        /// The host, by name.
        host: HostName,
        /// How its ports are plugged in there; `None` keeps what it has.
        placement: Option<Placement>,
    },
    /// Forget an instance that is attached to nothing.
    DeleteInstance(InstanceId),
    /// A tenant that has nothing yet.
    CreateOrganization {
        /// Unique in the zone.
        name: OrganizationName,
        /// How much it may have.
        quotas: Quotas,
    },
    /// Change an organization's name or quotas.
    UpdateOrganization(OrganizationId, UpdateOrganization),
    /// Forget an organization that has no networks and no instances, with its keys.
    DeleteOrganization(OrganizationId),
    /// A key for somebody, whose secret is made and sealed by whoever gives the command.
    CreateKey {
        /// Drawn at random.
        id: KeyId,
        /// Told to the user once, in the clear.
        sealed_secret: SealedSecret,
        /// What was asked for.
        wish: CreateKey,
    },
    /// A key is good for nothing from now on.
    RevokeKey(KeyId),
    /// A machine may join as a host.
    InviteHost(InviteHost),
    /// An invitation is good for nothing from now on.
    RevokeInvitation(InvitationId),
    /// A machine that was invited is a host from now on, and has a certificate.
    JoinHost(JoinHost),
    /// An agent reported that has shown a certificate with this host's name: bring its facts up to date, if the
    /// certificate is the host's. One that was issued last is its only one then.
    AdmitHost {
        /// The host.
        name: HostName,
        /// Of the certificate.
        certificate: Fingerprint,
        /// What the agent reported.
        facts: HostFacts,
    },
    /// A host that has shown a certificate gets another one.
    RenewCertificate {
        /// The host.
        name: HostName,
        /// Of the certificate that it has shown.
        shown: Fingerprint,
        /// The other one.
        next: HostCertificate,
    },
    /// An agent reported on the server's socket: make its host's record, or bring its facts up to date.
    RegisterHost {
        /// The agent's own name for its host.
        name: HostName,
        /// What it reported.
        facts: HostFacts,
    },
    /// Forget a host; what it may still carry counts as gone.
    RemoveHost {
        /// The host.
        host: HostId,
        /// Whether its instances, with all their ports, are forgotten too; otherwise it must have none.
        with_instances: bool,
    },
    /// A host has confirmed that it carries nothing of a network in which it has no ports.
    ConfirmAbsent {
        /// The host.
        host: HostId,
        /// The network, which may have been deleted.
        network: NetworkId,
    },
    /// Give a pending operation its final state.
    FinishOperation(OperationId, OperationState),
}

/// The properties of a new invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteHost {
    /// What the host will be called.
    pub host: HostName,
    /// Of its token, which is told to the user once.
    pub token: Fingerprint,
    /// Whether it is for a host that there is.
    pub is_rejoin: bool,
    /// For how long it is good.
    pub lifetime: Duration,
}

/// How a machine joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinHost {
    /// Of the token that it has shown.
    pub token: Fingerprint,
    /// What it takes itself for.
    pub name: HostName,
    /// Of its public key.
    pub key: Fingerprint,
    /// What it is given if it joins.
    pub certificate: HostCertificate,
    /// What it is like.
    pub facts: HostFacts,
}

/// What a port's device shall be in the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceWish {
    /// Its name; `None`: the first of `net0`, `net1` and so on that the instance has not.
    pub name: Option<DeviceName>,
    /// Whether the host gives it its address and routes, so that no DHCP client is needed.
    pub is_configured: bool,
}

/// What an instance shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchInstance {
    /// Not unique; `None`: one with its id in it.
    pub name: Option<Name>,
    /// The host to make it on, by name; `None` leaves the choice to the zone.
    pub host: Option<HostName>,
    /// Who makes it there.
    pub driver: Driver,
    /// Whether it is running from the start.
    pub power: Power,
    /// What it is said to be.
    pub properties: InstanceProperties,
}

/// The properties of an instance to change; `None` keeps one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateInstance {
    /// A new name.
    pub name: Option<Name>,
    /// Other user data; an empty text clears it.
    pub user_data: Option<UserData>,
    /// Replace all labels.
    pub labels: Option<Labels>,
    /// Which public addresses it is said to have.
    pub public_ip: Option<PublicIp>,
    /// How large it is said to be; it is one of the catalogue.
    pub instance_type: Option<InstanceTypeId>,
    /// A disk that is not smaller.
    pub disk_size_gib: Option<u32>,
    /// Whether it is said to have a TPM.
    pub has_tpm: Option<bool>,
}

/// The properties of a new network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateNetwork {
    /// Required.
    pub name: Name,
    /// Empty unless given.
    pub description: Description,
    /// All three or none.
    pub range: RangeFields,
    /// Empty unless given.
    pub options: DhcpOptions,
    /// Empty unless given.
    pub labels: Labels,
}

/// The properties of a network to change; `None` keeps one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateNetwork {
    /// A new name.
    pub name: Option<Name>,
    /// A new description; an empty one clears it.
    pub description: Option<Description>,
    /// Merged with what is set, field by field.
    pub range: RangeFields,
    /// Replace all options.
    pub options: Option<DhcpOptions>,
    /// Replace all labels.
    pub labels: Option<Labels>,
}

/// The properties of an organization to change; `None` keeps one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateOrganization {
    /// A new name.
    pub name: Option<OrganizationName>,
    /// How many networks it may have.
    pub networks: Option<Quota>,
    /// How many ports each of its networks may have.
    pub ports_per_network: Option<Quota>,
    /// How many instances it may have.
    pub instances: Option<Quota>,
}

/// The properties of a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateKey {
    /// For people; not unique.
    pub name: Name,
    /// What it is to be good for.
    pub grant: Grant,
    /// For how long; `None`: until it is revoked. It ends with the caller's key at the latest.
    pub lifetime: Option<Duration>,
}

/// What a new key is to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// All that operators may do; only they may ask for it.
    Operator,
    /// A role within an organization: that of the caller, unless it is named.
    Organization(Option<OrganizationId>, Role),
    /// What the container runtime of this host needs, within an organization as above; only operators may
    /// ask for it.
    Runtime(Option<OrganizationId>, HostId),
}

/// The three address properties as a request gives them: each may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RangeFields {
    /// `start-ip`
    pub start: Option<Ipv4Addr>,
    /// `end-ip`
    pub end: Option<Ipv4Addr>,
    /// `netmask`
    pub netmask: Option<Ipv4Addr>,
}
