use privnet_model::{Account, InstanceId, Labels, MacAddr, NetworkId, Placement, Port, Timestamp, UserData};
use schemars::JsonSchema;
use serde::Serialize;

use super::catalogue::{InstanceTypeRef, TemplateRef};
use super::network::{as_text, label_texts, labels_is_empty};

/// All instances.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "instances")]
pub struct Instances<'a> {
    /// In the order of their registration.
    pub instances: Vec<ListedInstance<'a>>,
}

/// What a list tells of an instance, as the real service's does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "listed-instance")]
pub struct ListedInstance<'a> {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: InstanceId,
    #[schemars(length(min = 1, max = 255))]
    name: &'a str,
    /// Whether its ports are plugged in, or shall be.
    #[schemars(extend("enum" = ["running", "stopped"]))]
    state: &'static str,
    /// When it was registered.
    #[serde(serialize_with = "super::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
    instance_type: InstanceTypeRef,
    template: TemplateRef,
    /// As it was created or updated: nothing connects it to anything but private networks.
    #[schemars(extend("enum" = ["none", "inet4", "dual"]))]
    public_ip_assignment: &'static str,
    /// The user's own; absent when there are none.
    #[serde(skip_serializing_if = "labels_is_empty", serialize_with = "label_texts")]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    labels: &'a Labels,
    /// The first of `ssh-keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_key: Option<SshKeyRef<'a>>,
    /// As it was created; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh_keys: Vec<SshKeyRef<'a>>,
    /// What it is attached to; absent when that is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    private_networks: Vec<InstanceNetwork>,
}

/// An instance, as the clients of `/v2` see it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "instance")]
pub struct Instance<'a> {
    #[serde(flatten)]
    listed: ListedInstance<'a>,
    /// In GiB, as it was created.
    #[schemars(range(min = 10, max = 51200))]
    disk_size: u32,
    /// As it was given; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    user_data: Option<&'a str>,
    /// As it was created. The exo client reads it.
    secureboot_enabled: bool,
    /// As it was created. The exo client reads it.
    tpm_enabled: bool,
}

/// An SSH key that an instance was created with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ssh-key-ref")]
pub struct SshKeyRef<'a> {
    #[schemars(length(min = 1, max = 255))]
    name: &'a str,
}

/// One attachment of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "instance-private-network")]
pub struct InstanceNetwork {
    /// The private network's id.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: NetworkId,
    /// The MAC address of the instance's device in it.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("pattern" = "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"))]
    mac_address: MacAddr,
}

/// All instances with where they run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "placed-instances")]
pub struct PlacedInstances<'a> {
    /// In the order of their registration.
    pub instances: Vec<PlacedInstance<'a>>,
}

/// An instance, where it runs and how its ports are plugged in there.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "placed-instance")]
pub struct PlacedInstance<'a> {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: InstanceId,
    #[schemars(length(min = 1, max = 255))]
    name: &'a str,
    /// The host's name.
    host: &'a str,
    /// The port kind.
    #[schemars(extend("enum" = ["netns", "tap"]))]
    kind: &'static str,
    /// Of the kind `netns`: the network namespace, as it was given or as the host's agent makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<&'a str>,
    /// Of the kind `tap`: the user who may open the taps, by name or number, as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// Of the kind `tap`: the group whose members may open the taps, as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Of the kind `tap`: whether the taps have several queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_queue: Option<bool>,
    /// The devices of its ports; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<PlacedPort<'a>>,
    /// `external`: somebody else makes it. `netns`: the host's agent does.
    #[schemars(extend("enum" = ["external", "netns"]))]
    driver: &'static str,
    /// Whether its ports are plugged in, or shall be.
    #[schemars(extend("enum" = ["running", "stopped"]))]
    state: &'static str,
    /// When it was registered.
    #[serde(serialize_with = "super::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
}

/// A port, as its host has it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "placed-port")]
pub struct PlacedPort<'a> {
    /// The private network's id.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    network: NetworkId,
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("pattern" = "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"))]
    mac_address: MacAddr,
    /// The name of the device: in the network namespace or, of a tap, on the host.
    device: &'a str,
}

impl<'a> ListedInstance<'a> {
    /// An instance with its ports.
    pub fn new<P: std::borrow::Borrow<Port>>(
        instance: &'a privnet_model::Instance,
        ports: impl IntoIterator<Item = P>,
    ) -> Self {
        let properties = &instance.properties;
        let ssh_keys: Vec<_> = properties.ssh_keys.iter().map(|name| SshKeyRef { name: name.as_str() }).collect();
        Self {
            id: instance.id,
            name: instance.name.as_str(),
            state: instance.power.as_str(),
            created_at: instance.created_at,
            instance_type: InstanceTypeRef { id: properties.instance_type },
            template: TemplateRef { id: properties.template },
            public_ip_assignment: properties.public_ip.as_str(),
            labels: &properties.labels,
            ssh_key: ssh_keys.first().copied(),
            ssh_keys,
            private_networks: ports.into_iter().map(|port| InstanceNetwork::of(port.borrow())).collect(),
        }
    }
}

impl<'a> Instance<'a> {
    /// An instance with its ports.
    pub fn new<P: std::borrow::Borrow<Port>>(
        instance: &'a privnet_model::Instance,
        ports: impl IntoIterator<Item = P>,
    ) -> Self {
        let properties = &instance.properties;
        Self {
            listed: ListedInstance::new(instance, ports),
            disk_size: properties.disk_size_gib,
            user_data: properties.user_data.as_ref().map(UserData::as_str),
            secureboot_enabled: properties.has_secure_boot,
            tpm_enabled: properties.has_tpm,
        }
    }
}

impl InstanceNetwork {
    fn of(port: &Port) -> Self {
        Self { id: port.network, mac_address: port.mac }
    }
}

impl<'a> PlacedPort<'a> {
    fn of(port: &'a Port) -> Self {
        Self { network: port.network, mac_address: port.mac, device: port.device.as_str() }
    }
}

impl<'a> PlacedInstance<'a> {
    /// An instance with its ports, on the host with this name.
    pub fn new(
        instance: &'a privnet_model::Instance,
        host: &'a str,
        ports: impl IntoIterator<Item = &'a Port>,
    ) -> Self {
        let (netns, tap) = match &instance.placement {
            Placement::Netns(netns) => (Some(netns.as_str()), None),
            Placement::Tap(tap) => (None, Some(tap)),
        };
        let text = |account: &Option<Account>| account.as_ref().map(Account::to_string);
        Self {
            id: instance.id,
            name: instance.name.as_str(),
            host,
            kind: instance.placement.kind(),
            netns,
            owner: tap.and_then(|tap| text(&tap.owner)),
            group: tap.and_then(|tap| text(&tap.group)),
            multi_queue: tap.map(|tap| tap.is_multi_queue),
            ports: ports.into_iter().map(PlacedPort::of).collect(),
            driver: instance.driver.as_str(),
            state: instance.power.as_str(),
            created_at: instance.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::{
        DeviceName, Driver, Generation, HostId, InstanceProperties, Name, Netns, OrganizationId, Power,
    };

    use super::*;

    fn instance() -> privnet_model::Instance {
        privnet_model::Instance {
            id: "8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11".parse().expect("id"),
            organization: OrganizationId::DEFAULT,
            name: Name::try_from("web1").expect("name"),
            host: HostId::from_bytes([0; 16]),
            placement: Placement::Netns(Netns::try_from("web1").expect("netns")),
            driver: Driver::External,
            power: Power::Running,
            reboots: 0,
            is_protected: false,
            properties: InstanceProperties::unknown(),
            created_at: Timestamp::from_unix_ms(1_790_000_000_999),
        }
    }

    #[test]
    fn an_instance_shows_its_networks_with_its_mac_addresses() {
        let port = Port {
            network: "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50".parse().expect("id"),
            instance: instance().id,
            mac: MacAddr::for_port([1, 2, 3, 4, 5]),
            lease: None,
            device: DeviceName::of_port(0),
            is_configured: false,
            changed: Generation::FIRST,
        };
        assert_eq!(
            serde_json::to_string(&Instance::new(&instance(), [port])).expect("serializes"),
            concat!(
                r#"{"id":"8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11","name":"web1","state":"running","#,
                r#""created-at":"2026-09-21T14:13:20Z","#,
                r#""instance-type":{"id":"70726976-6e65-4000-8000-000000000001"},"#,
                r#""template":{"id":"70726976-6e65-4000-8000-000000000065"},"#,
                r#""public-ip-assignment":"none","#,
                r#""private-networks":[{"id":"3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50","mac-address":"0a:01:02:03:04:05"}],"#,
                r#""disk-size":10,"secureboot-enabled":false,"tpm-enabled":false}"#
            )
        );
    }

    #[test]
    fn an_instance_that_is_attached_to_nothing_shows_no_networks() {
        let reply = serde_json::to_value(Instance::new::<Port>(&instance(), [])).expect("serializes");
        assert_eq!(reply.get("private-networks"), None);
    }

    #[test]
    fn a_placed_instance_shows_what_it_was_registered_with() {
        assert_eq!(
            serde_json::to_string(&PlacedInstance::new(&instance(), "host1", [])).expect("serializes"),
            concat!(
                r#"{"id":"8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11","name":"web1","host":"host1","#,
                r#""kind":"netns","netns":"web1","driver":"external","state":"running","created-at":"2026-09-21T14:13:20Z"}"#
            )
        );
    }
}
