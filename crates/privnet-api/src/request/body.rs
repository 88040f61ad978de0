//! What the bodies of requests look like, for the OpenAPI document and for clients written in Rust.
//! [`read`](crate::read) does not go through these types, as its messages tell more than a derived
//! deserialiser's; a test holds it to them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::fields::LABELS_MAX;

/// A new private network. The three address properties come together or not at all; with them the
/// network is managed: it leases addresses by DHCP.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "create-private-network-request")]
pub struct CreatePrivateNetwork {
    /// Not unique; no control characters.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// No control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub description: Option<String>,
    /// The first dynamic address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ip: Option<Ipv4Addr>,
    /// The last dynamic address, in the subnet of the first. The subnet's network and broadcast
    /// addresses and its last host address, which is the DHCP server's, may not lie between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_ip: Option<Ipv4Addr>,
    /// 128.0.0.0 to 255.255.255.252, ones before zeros. Static addresses may lie anywhere in the subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netmask: Option<Ipv4Addr>,
    /// What DHCP tells beside the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
    /// The user's own: keys of 1 to 255 characters, values of at most 255; no control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = LABELS_MAX))]
    pub labels: Option<BTreeMap<String, String>>,
}

/// The properties of a private network to change; those that are absent stay. The address
/// properties are merged with those that are set and must then obey the rules of a creation.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "update-private-network-request")]
pub struct UpdatePrivateNetwork {
    /// A new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// A new description; an empty one clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub description: Option<String>,
    /// The first dynamic address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ip: Option<Ipv4Addr>,
    /// The last dynamic address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_ip: Option<Ipv4Addr>,
    /// 128.0.0.0 to 255.255.255.252, ones before zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netmask: Option<Ipv4Addr>,
    /// Replace all options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
    /// Replace all labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = LABELS_MAX))]
    pub labels: Option<BTreeMap<String, String>>,
}

/// What a managed network's DHCP server tells its clients beside their address.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "private-network-options")]
pub struct Options {
    /// DHCP option 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 63))]
    pub routers: Vec<Ipv4Addr>,
    /// DHCP option 6.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 63))]
    pub dns_servers: Vec<Ipv4Addr>,
    /// DHCP option 42.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 63))]
    pub ntp_servers: Vec<Ipv4Addr>,
    /// DHCP option 119, at most 255 octets on the wire.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domain_search: Vec<String>,
}

/// The instance that a request is about. Other properties of an instance are ignored.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "instance-ref")]
pub struct InstanceRef {
    /// The instance's id.
    #[schemars(extend("format" = "uuid"))]
    pub id: String,
}

/// An attachment to make. The same one again is a success.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "attach-instance-request")]
pub struct AttachInstance {
    /// The instance.
    pub instance: InstanceRef,
    /// A static address in the network's subnet; one of the range if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
}

/// An attachment to make, with what the instance sees of it. The same one again is a success.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "attach-instance-by-device-request")]
pub struct AttachDevice {
    /// The instance.
    pub instance: InstanceRef,
    /// A static address in the network's subnet; one of the range if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// The name of the device in the instance; if absent, the first of `net0`, `net1` and so on that it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub device: Option<String>,
    /// Whether the host gives the device its address and the route by the network's first router, and keeps them as
    /// they shall be: no DHCP client is needed then. False if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configure: Option<bool>,
}

/// An attachment to end.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "detach-instance-request")]
pub struct DetachInstance {
    /// The instance.
    pub instance: InstanceRef,
}

/// An address to change.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "update-ip-request")]
pub struct UpdateIp {
    /// The instance.
    pub instance: InstanceRef,
    /// A static address in the network's subnet; if absent, a static one is given up for one of the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
}

/// An instance to create. Properties of the real service that are not here are ignored.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "create-instance-request")]
pub struct LaunchInstance {
    /// Not unique; no control characters. One with the id in it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// How large it is said to be: one of the list of instance types.
    pub instance_type: Ref,
    /// What it is said to be made of: one of the list of templates.
    pub template: Ref,
    /// In GiB; kept and shown.
    #[schemars(range(min = 10, max = 51200))]
    pub disk_size: u32,
    /// Whether it runs from the start; it does if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_start: Option<bool>,
    /// Kept and shown; `none` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["none", "inet4", "dual"]))]
    pub public_ip_assignment: Option<String>,
    /// Kept and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<Named>,
    /// Kept and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ssh_keys: Option<Vec<Named>>,
    /// Kept and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub user_data: Option<String>,
    /// The user's own: keys of 1 to 255 characters, values of at most 255; no control characters. `privnet/host` names the host that it is created on, and is for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = LABELS_MAX))]
    pub labels: Option<BTreeMap<String, String>>,
    /// Kept and shown; false if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secureboot_enabled: Option<bool>,
    /// Kept and shown; false if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_enabled: Option<bool>,
}

/// The properties of an instance to change; those that are absent stay.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "update-instance-request")]
pub struct UpdateInstance {
    /// A new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// Other user data; empty ones clear it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub user_data: Option<String>,
    /// Replace all labels; null is none. The host stays, whatever `privnet/host` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = LABELS_MAX))]
    pub labels: Option<BTreeMap<String, String>>,
    /// Kept and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["none", "inet4", "dual"]))]
    pub public_ip_assignment: Option<String>,
}

/// How large an instance is said to be from now on.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "scale-instance-request")]
pub struct ScaleInstance {
    /// One of the list of instance types.
    pub instance_type: Ref,
}

/// How large an instance's disk is said to be from now on.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "resize-instance-disk-request")]
pub struct ResizeInstanceDisk {
    /// In GiB; not less than it is.
    #[schemars(range(min = 10, max = 51200))]
    pub disk_size: u32,
}

/// A public SSH key to register. The same one again is a success.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "register-ssh-key-request")]
pub struct RegisterSshKey {
    /// Unique; no control characters.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// As a line of an authorized_keys file: type, base64, perhaps a comment.
    pub public_key: String,
}

/// Something of the catalogue, by its id. Other properties of it are ignored.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "ref")]
pub struct Ref {
    /// Its id.
    #[schemars(extend("format" = "uuid"))]
    pub id: String,
}

/// Something by its name. Other properties of it are ignored.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "named")]
pub struct Named {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
}

/// An instance that exists on a host.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "create-placed-instance-request")]
pub struct CreateInstance {
    /// Not unique; no control characters.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The host's name.
    #[schemars(length(min = 1, max = 64))]
    pub host: String,
    /// How its ports are plugged in: `netns`, in a network namespace of the host; `tap`, as taps of the host, which
    /// a virtual machine's monitor opens.
    #[schemars(extend("enum" = ["netns", "tap"]))]
    pub kind: String,
    /// The network namespace: a name that `ip netns` shows, or an absolute path. Must be there for the kind `netns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub netns: Option<String>,
    /// The user who may open its taps, by name or number. Root if neither this nor `group` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub owner: Option<String>,
    /// The group whose members may open its taps, by name or number. With `owner`, one must be both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub group: Option<String>,
    /// Whether its taps have several queues, each opened on its own with IFF_MULTI_QUEUE; no if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_queue: Option<bool>,
    /// The id of the organization whose it is; the caller's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "uuid"))]
    pub organization: Option<String>,
    /// The user's own: keys of 1 to 255 characters, values of at most 255; no control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Where an instance is from now on. MAC addresses, leases and attachments stay.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "move-placed-instance-request")]
pub struct MoveInstance {
    /// The host's name.
    #[schemars(length(min = 1, max = 64))]
    pub host: String,
    /// How its ports are plugged in there; as before if absent. Another kind is refused while it has ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["netns", "tap"]))]
    pub kind: Option<String>,
    /// The network namespace there: a name that `ip netns` shows, or an absolute path. As before if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub netns: Option<String>,
    /// With the kind `tap`: as when an instance is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub owner: Option<String>,
    /// With the kind `tap`: as when an instance is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub group: Option<String>,
    /// With the kind `tap`: as when an instance is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_queue: Option<bool>,
}

/// A machine that may join as a host.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "invite-host-request")]
pub struct InviteHost {
    /// What it will be called: letters, digits, `-`, `_` and `.`; no host may have the name, unless it rejoins.
    #[schemars(length(min = 1, max = 64))]
    pub host: String,
    /// Whether the host is there already and is to join again, with a new key: the one that it has is good for nothing
    /// from then on. No by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejoin: Option<bool>,
    /// For how long, in seconds, at most 30 days; an hour if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000_u64))]
    pub expires_in_seconds: Option<u64>,
}

/// A new organization.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "create-organization-request")]
pub struct CreateOrganization {
    /// Unique in the zone: letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// How much it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

/// What of an organization to change.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "update-organization-request")]
pub struct UpdateOrganization {
    /// A new name, unique in the zone: letters, digits, `-`, `_` and `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// How much it may have. Where that is less than what it has, nothing goes and nothing more comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

/// How much an organization may have: -1 is any number. What is absent stays or, for a new organization, is the
/// default.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "organization-quotas-request")]
pub struct Quotas {
    /// Private networks; 32 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub networks: Option<i64>,
    /// Instances attached to one private network; 256 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub ports_per_network: Option<i64>,
    /// Instances; 256 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub instances: Option<i64>,
}

/// A new API key.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "create-key-request")]
pub struct CreateKey {
    /// For people; not unique, no control characters.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// What it is good for: `admin`, all that the organization may do; `read-only`, seeing what it has;
    /// `operator`, hosts, placements, organizations and keys; `runtime`, seeing what the organization has, and
    /// registering, attaching and deleting containers of one host, which only operators may ask for.
    #[schemars(extend("enum" = ["admin", "operator", "read-only", "runtime"]))]
    pub role: String,
    /// The id of the host whose container runtime it is for; `runtime` needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "uuid"))]
    pub host: Option<String>,
    /// The id of the organization whose it is; the caller's if absent. A key for operators has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "uuid"))]
    pub organization: Option<String>,
    /// How long it is good for, in seconds, at most 100 years; until it is revoked if absent. It ends with the key it is made with at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_155_760_000_u64))]
    pub expires_in_seconds: Option<u64>,
}
