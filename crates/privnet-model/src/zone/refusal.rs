use std::net::Ipv4Addr;

use super::decide::PENDING_OPERATIONS_MAX;
use super::joining::INVITATIONS_MAX;
use super::ssh_keys::SSH_KEYS_PER_ORGANIZATION_MAX;
use super::tenants::KEYS_PER_ORGANIZATION_MAX;
use crate::{
    DeviceName, HostName, InstanceId, InvitationId, KeyId, Name, Netns, NetworkId, OperationId, OrganizationId,
    OrganizationName, RangeError, StaticAddressError, Subnet,
};

/// Why a command is refused. Nothing has changed then. The text tells a user what is wrong, with the
/// values concerned, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller may read, and has asked for more.
    #[error("this key is read-only; what changes something, or is about keys, needs a key with the role admin")]
    ReadOnly,
    /// The caller is of an organization, and has asked about what organizations share.
    #[error("hosts, placements and organizations are managed with an operator's key, and this is an organization's")]
    NotOperator,
    /// A container runtime asked for what concerns more than containers.
    #[error(
        "this key is for a container runtime: it registers, attaches and deletes containers of its host, and nothing else"
    )]
    NotForRuntimes,
    /// A container runtime asked for something about an instance of another host, or one that a host makes.
    #[error("instance {0} is no container of the host that this key is for")]
    NotOnKeysHost(InstanceId),
    /// A container runtime asked for a namespace where no runtime has one, or for one that a host makes.
    #[error(
        "network namespace {0} is no container's: with the key of a container runtime it is a process's \
         (pid:NUMBER@TICKS), or in /run/netns, /var/run/netns, /run/docker/netns or /var/run/docker/netns by a name \
         that does not begin with \"privnet-\""
    )]
    NotOfRuntimes(Netns),
    /// The caller's key has been revoked, or has expired, since the request was admitted. In the words for a key
    /// that never was.
    #[error("Invalid request signature")]
    KeyGone,
    /// No such organization.
    #[error("organization {0} not found")]
    OrganizationNotFound(OrganizationId),
    /// Organizations have names of their own.
    #[error("there is an organization {0} already")]
    OrganizationNameTaken(OrganizationName),
    /// An organization that has something is not deleted.
    #[error("organization {organization} has {} and {}; delete them first", number_of(*networks, "private network"), number_of(*instances, "instance"))]
    OrganizationInUse {
        /// The organization.
        organization: OrganizationName,
        /// How many networks it has.
        networks: usize,
        /// How many instances it has.
        instances: usize,
    },
    /// The first organization stays.
    #[error("organization {0} stays: it is the one within which operators act")]
    OrganizationOfOperators(OrganizationName),
    /// One more would be more than the organization may have.
    #[error("quota exceeded: {whose} may have {}, and has {usage}; make room, or ask an operator for more", number_of(*limit as usize, what))]
    QuotaExceeded {
        /// What may have so many.
        whose: &'static str,
        /// Of what, one of them.
        what: &'static str,
        /// How many there may be.
        limit: u32,
        /// How many there are.
        usage: usize,
    },
    /// No such key.
    #[error("key {0} not found")]
    KeyNotFound(KeyId),
    /// A key has this id, which was to be drawn at random.
    #[error("there is a key {0} already")]
    KeyIdTaken(KeyId),
    /// Without it nobody could manage what organizations share, at once or when the others have expired.
    #[error("key {0} is the only operator's key that never expires; create another one first")]
    LastOperatorKey(KeyId),
    /// An organization has so many keys that nobody could tell what they are for.
    #[error("the organization has {KEYS_PER_ORGANIZATION_MAX} keys, the most there may be; revoke one first")]
    TooManyKeys,
    /// An organization has so much under way that hosts' reports would take long to compare with it.
    #[error(
        "{PENDING_OPERATIONS_MAX} operations of the organization are pending, the most there may be; wait until some have ended"
    )]
    TooManyPending,
    /// No such network.
    #[error("private network {0} not found")]
    NetworkNotFound(NetworkId),
    /// No such instance.
    #[error("instance {0} not found")]
    InstanceNotFound(InstanceId),
    /// No such host, by name or id.
    #[error("host {0} not found")]
    HostNotFound(String),
    /// No such operation.
    #[error("operation {0} not found")]
    OperationNotFound(OperationId),
    /// Only some of the three address properties are set.
    #[error(
        "start-ip, end-ip and netmask come together or not at all: {missing} {verb} missing",
        verb = if missing.contains(',') { "are" } else { "is" }
    )]
    HalfSetRange {
        /// Which, joined by commas.
        missing: String,
    },
    /// The three address properties do not make a range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// An address was given for a network that leases none.
    #[error(
        "ip {0}: the private network is unmanaged (it has no start-ip, end-ip and netmask) and leases no addresses"
    )]
    AddressOnUnmanaged(Ipv4Addr),
    /// An unmanaged network has no leases to change.
    #[error("the private network is unmanaged (it has no start-ip, end-ip and netmask) and leases no addresses")]
    Unmanaged,
    /// A static address that the network cannot lease.
    #[error("ip {0}")]
    StaticAddress(#[from] StaticAddressError),
    /// A static address that another instance holds.
    #[error("ip {address} is leased to instance {holder}")]
    AddressTaken {
        /// As given.
        address: Ipv4Addr,
        /// Who has it.
        holder: InstanceId,
    },
    /// Every dynamic address is leased.
    #[error(
        "all {count} addresses from {start} to {end} are leased; widen the range, detach an instance or give a static ip in {subnet}"
    )]
    RangeExhausted {
        /// The first dynamic address.
        start: Ipv4Addr,
        /// The last.
        end: Ipv4Addr,
        /// How many there are.
        count: u64,
        /// Where static ones may lie.
        subnet: Subnet,
    },
    /// The instance is attached already, with another address.
    #[error("instance {instance} is already attached with ip {held}, not {asked}; use update-ip to change it")]
    AttachedWithOtherAddress {
        /// The instance.
        instance: InstanceId,
        /// What it has.
        held: Ipv4Addr,
        /// What was asked for.
        asked: Ipv4Addr,
    },
    /// The instance is attached already, by another device.
    #[error(
        "instance {instance} is already attached by its device {device}, which its host {does}; detach it first to attach it otherwise",
        does = if *is_configured { "configures" } else { "does not configure" }
    )]
    AttachedWithOtherDevice {
        /// The instance.
        instance: InstanceId,
        /// What it has.
        device: DeviceName,
        /// Whether its host gives that its address.
        is_configured: bool,
    },
    /// The instance has another port whose device has that name.
    #[error("instance {instance} has a device {device} already, in private network {network}; give another name")]
    DeviceTaken {
        /// The instance.
        instance: InstanceId,
        /// As given.
        device: DeviceName,
        /// Where that leads.
        network: NetworkId,
    },
    /// The instance is not attached to the network.
    #[error("instance {instance} is not attached to private network {network}")]
    NotAttached {
        /// The instance.
        instance: InstanceId,
        /// The network.
        network: NetworkId,
    },
    /// A network with ports is not deleted.
    #[error("private network {network} has {count} instance{s} attached; detach {them} first", s = if *count == 1 { "" } else { "s" }, them = if *count == 1 { "it" } else { "them" })]
    NetworkInUse {
        /// The network.
        network: NetworkId,
        /// How many instances are attached.
        count: usize,
    },
    /// A change of the range would leave leases outside it.
    #[error("{count} lease{s} would lie outside the changed subnet or on a reserved address, the first being {address} of instance {instance}; detach it or change its ip first", s = if *count == 1 { "" } else { "s" })]
    LeaseStranded {
        /// How many.
        count: usize,
        /// The lowest.
        address: Ipv4Addr,
        /// Its holder.
        instance: InstanceId,
    },
    /// An instance with ports is not deleted.
    #[error("instance {instance} is attached to {count} private network{s}; detach it first", s = if *count == 1 { "" } else { "s" })]
    InstanceInUse {
        /// The instance.
        instance: InstanceId,
        /// How many networks.
        count: usize,
    },
    /// A protected instance is not deleted.
    #[error("instance {0} is protected; remove its protection first")]
    InstanceProtected(InstanceId),
    /// No such SSH key.
    #[error("SSH key \"{0}\" not found")]
    SshKeyNotFound(Name),
    /// Another SSH key has the name.
    #[error("SSH key \"{0}\" exists already")]
    SshKeyTaken(Name),
    /// No organization needs more.
    #[error(
        "quota exceeded: the organization has {SSH_KEYS_PER_ORGANIZATION_MAX} SSH keys, the most there may be; delete one first"
    )]
    TooManySshKeys,
    /// The text is no public key. In the words, and with the status, of the real service.
    #[error("Public key is invalid")]
    PublicKeyInvalid,
    /// As the real service, which grows a disk and never shrinks it.
    #[error("disk-size {asked_gib} is less than the {size_gib} GiB that the instance has; a disk does not shrink")]
    DiskShrinks {
        /// In GiB.
        asked_gib: u32,
        /// In GiB.
        size_gib: u32,
    },
    /// Only what runs is rebooted.
    #[error("instance {0} is stopped; start it instead")]
    InstanceStopped(InstanceId),
    /// The namespace of an instance that its host makes is the host's to name.
    #[error("instance {0} is a network namespace that its host makes; no other can be given")]
    NetnsIsMade(InstanceId),
    /// Another process may have the number later, in another organization's namespace.
    #[error(
        "network namespace {0} is whichever process has that number; name the process by its start, too, as \
         pid:NUMBER@TICKS, which `privnet instance create --pid` does"
    )]
    NetnsByNumber(Netns),
    /// A host has no hand in a virtual machine.
    #[error("instance {0} is a virtual machine, whose devices it configures itself; leave `configure` out")]
    TapConfigured(InstanceId),
    /// A tap is among the devices of its host, which are no organization's to name or to look for.
    #[error(
        "instance {0} is a virtual machine, whose devices are its host's: only an operator's key may name one; leave the \
         device's name out"
    )]
    TapNamed(InstanceId),
    /// What a port's device is called depends on its kind.
    #[error(
        "instance {instance} has {count} ports of kind {kind}; detach it from its networks before it becomes one of another kind"
    )]
    OtherPortKind {
        /// The instance.
        instance: InstanceId,
        /// Its ports' kind.
        kind: &'static str,
        /// How many it has.
        count: usize,
    },
    /// No host can take a new instance. An organization's caller need not learn which hosts there are.
    #[error(
        "no host can take the instance: there is none of the name in its label {} or, without that label, none is connected whose agent makes instances",
        super::HOST_LABEL
    )]
    NoHost,
    /// Where an instance runs is an operator's to say: an organization could learn by it which hosts there are.
    #[error("only an operator's key may choose the host of an instance; leave out the label {}", super::HOST_LABEL)]
    HostChosen,
    /// A host with instances is not removed.
    #[error("host {host} has {}; move or delete {them} first, or remove the host with its instances", some_of(instances), them = if instances.len() == 1 { "it" } else { "them" })]
    HostInUse {
        /// The host.
        host: HostName,
        /// The names of its instances.
        instances: Vec<Name>,
    },
    /// Hosts have names of their own, and whoever joins as one that there is takes its place.
    #[error(
        "there is a host {0} already: choose another name; or, if that host is to join again with a new key, say that it rejoins"
    )]
    HostNameTaken(HostName),
    /// Only a host that there is joins again.
    #[error("there is no host {0} that could join again: invite it as a new one")]
    NoHostToRejoin(HostName),
    /// Nobody has use for so many.
    #[error("there are {INVITATIONS_MAX} invitations, the most there may be; revoke one first")]
    TooManyInvitations,
    /// No such invitation.
    #[error("invitation {0} not found")]
    InvitationNotFound(InvitationId),
    /// There is no invitation with that token.
    #[error(
        "no invitation has this token: it was revoked, ended long ago or is another server's, or its host was removed or has joined again since; ask for a new one (privnet host invite)"
    )]
    TokenUnknown,
    /// The invitation has ended.
    #[error("the invitation of host {0} has expired; ask for a new one (privnet host invite {0})")]
    TokenExpired(HostName),
    /// Another machine, or this one with another key, has joined with the token.
    #[error(
        "the invitation of host {0} was used already, with another key; ask for a new one (privnet host invite {0})"
    )]
    TokenUsed(HostName),
    /// The machine takes itself for another host.
    #[error("the invitation is for host {invited}, and this one is named {named}: join as {invited}")]
    InvitedAsOther {
        /// As the invitation says.
        invited: HostName,
        /// As the machine says.
        named: HostName,
    },
    /// A certificate whose host there is not.
    #[error(
        "host {0} was removed, and its certificate is good for nothing: it can join again with a new invitation (privnet host invite {0})"
    )]
    HostRemoved(HostName),
    /// A certificate that its host has given up for another one.
    #[error(
        "this certificate of host {0} is good for nothing any more: the host has joined again or renewed it since. Where this machine is that host, let it join again (privnet host invite {0} --rejoin)"
    )]
    CertificateReplaced(HostName),
    /// Every VNI is taken or quarantined.
    #[error("all VNIs are in use or wait for hosts to confirm that they carry them no more")]
    VnisExhausted,
    /// One end of a tunnel cannot be IPv4 and the other IPv6.
    #[error(
        "host {host} has the VTEP {vtep}, and host {other}, which carries private network {network}, has {other_vtep}: a network's hosts need VTEPs of the same IP version"
    )]
    VtepFamilies {
        /// Of the instance.
        host: HostName,
        /// Its underlay address.
        vtep: std::net::IpAddr,
        /// The network.
        network: NetworkId,
        /// Another host of the network.
        other: HostName,
        /// That one's underlay address.
        other_vtep: std::net::IpAddr,
    },
    /// The same, told to an organization, which need not learn of hosts and their addresses.
    #[error(
        "the instance's host cannot reach those of private network {0}; ask an operator, who can move the instance"
    )]
    HostsApart(NetworkId),
    /// Two hosts cannot be one VTEP.
    #[error("host {holder} already has the underlay address {vtep}")]
    VtepTaken {
        /// The address.
        vtep: std::net::IpAddr,
        /// Who has it.
        holder: HostName,
    },
}

/// A number with its noun, in the plural but for one.
fn number_of(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// How many instances are named where there are many.
const NAMED_MAX: usize = 5;

/// How many instances these are, and the first of their names.
fn some_of(instances: &[Name]) -> String {
    let named: Vec<_> = instances.iter().take(NAMED_MAX).map(Name::as_str).collect();
    let plural = if instances.len() == 1 { "" } else { "s" };
    let rest = if instances.len() > named.len() { ", ..." } else { "" };
    format!("{} instance{plural} ({}{rest})", instances.len(), named.join(", "))
}

/// What kind of refusal it is, as HTTP distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The caller may not do that: 403.
    Forbidden,
    /// The values break a rule by themselves: 400.
    Invalid,
    /// What is named does not exist: 404.
    NotFound,
    /// The values do not fit what there is: 409.
    Conflict,
}

impl Refusal {
    /// What an organization may read of it, where that is not the same: an operator may have been refused in its name.
    pub fn for_organizations(&self) -> Option<Self> {
        match self {
            Self::VtepFamilies { network, .. } => Some(Self::HostsApart(*network)),
            _ => None,
        }
    }

    /// The kind of this refusal.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::ReadOnly
            | Self::NotOperator
            | Self::HostChosen
            | Self::NotForRuntimes
            | Self::NotOnKeysHost(_)
            | Self::NotOfRuntimes(_)
            | Self::TapNamed(_)
            | Self::KeyGone
            | Self::TokenUnknown
            | Self::TokenExpired(_)
            | Self::TokenUsed(_)
            | Self::InvitedAsOther { .. }
            | Self::HostRemoved(_)
            | Self::CertificateReplaced(_) => RefusalKind::Forbidden,
            Self::OrganizationNotFound(_)
            | Self::KeyNotFound(_)
            | Self::NetworkNotFound(_)
            | Self::InstanceNotFound(_)
            | Self::HostNotFound(_)
            | Self::InvitationNotFound(_)
            | Self::NoHostToRejoin(_)
            | Self::OperationNotFound(_)
            | Self::SshKeyNotFound(_)
            | Self::NotAttached { .. } => RefusalKind::NotFound,
            Self::HalfSetRange { .. }
            | Self::Range(_)
            | Self::AddressOnUnmanaged(_)
            | Self::Unmanaged
            | Self::NetnsByNumber(_)
            | Self::StaticAddress(_) => RefusalKind::Invalid,
            Self::OrganizationNameTaken(_)
            | Self::OrganizationInUse { .. }
            | Self::OrganizationOfOperators(_)
            | Self::QuotaExceeded { .. }
            | Self::KeyIdTaken(_)
            | Self::LastOperatorKey(_)
            | Self::TooManyKeys
            | Self::TooManyPending
            | Self::AddressTaken { .. }
            | Self::RangeExhausted { .. }
            | Self::AttachedWithOtherAddress { .. }
            | Self::AttachedWithOtherDevice { .. }
            | Self::DeviceTaken { .. }
            | Self::NetworkInUse { .. }
            | Self::LeaseStranded { .. }
            | Self::InstanceInUse { .. }
            | Self::InstanceProtected(_)
            | Self::InstanceStopped(_)
            | Self::DiskShrinks { .. }
            | Self::SshKeyTaken(_)
            | Self::TooManySshKeys
            | Self::PublicKeyInvalid
            | Self::NetnsIsMade(_)
            | Self::TapConfigured(_)
            | Self::OtherPortKind { .. }
            | Self::NoHost
            | Self::HostInUse { .. }
            | Self::HostNameTaken(_)
            | Self::TooManyInvitations
            | Self::VnisExhausted
            | Self::VtepFamilies { .. }
            | Self::HostsApart(_)
            | Self::VtepTaken { .. } => RefusalKind::Conflict,
        }
    }
}
