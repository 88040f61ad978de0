use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use privnet_model::{DhcpOptions, DomainName, InstanceId, Labels, Network, NetworkId, Port, Vni};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// All private networks.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "private-networks")]
pub struct PrivateNetworks<'a> {
    /// In the order of their creation.
    pub private_networks: Vec<PrivateNetwork<'a>>,
}

/// A private network.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "private-network")]
pub struct PrivateNetwork<'a> {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: NetworkId,
    #[schemars(length(min = 1, max = 255))]
    name: &'a str,
    /// Absent when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schemars(length(max = 255))]
    description: &'a str,
    /// The first dynamic address; absent while the network is unmanaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_ip: Option<Ipv4Addr>,
    /// The last dynamic address; absent while the network is unmanaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_ip: Option<Ipv4Addr>,
    /// Absent while the network is unmanaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    netmask: Option<Ipv4Addr>,
    /// Its VXLAN network identifier.
    #[serde(serialize_with = "number")]
    #[schemars(with = "u32", range(min = 1, max = 16_777_215))]
    vni: Vni,
    /// What DHCP tells beside the address; absent when nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "crate::body::Options")]
    options: Option<Options<'a>>,
    /// The user's own; absent when there are none.
    #[serde(skip_serializing_if = "labels_is_empty", serialize_with = "label_texts")]
    #[schemars(with = "BTreeMap<String, String>")]
    labels: &'a Labels,
    /// The addresses of attached instances; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leases: Vec<Lease>,
}

/// What a managed network's DHCP server tells its clients beside their address.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Options<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    routers: &'a [Ipv4Addr],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_servers: &'a [Ipv4Addr],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ntp_servers: &'a [Ipv4Addr],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "domain_names")]
    domain_search: &'a [DomainName],
}

/// The address of an attached instance.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "private-network-lease")]
pub struct Lease {
    ip: Ipv4Addr,
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    instance_id: InstanceId,
}

impl<'a> PrivateNetwork<'a> {
    /// A network with its ports.
    pub fn new<P: Borrow<Port>>(network: &'a Network, ports: impl IntoIterator<Item = P>) -> Self {
        let range = network.range;
        Self {
            id: network.id,
            name: network.name.as_str(),
            description: network.description.as_str(),
            start_ip: range.map(|range| range.start()),
            end_ip: range.map(|range| range.end()),
            netmask: range.map(|range| range.subnet().netmask()),
            vni: network.vni,
            options: Options::of(&network.options),
            labels: &network.labels,
            leases: ports.into_iter().filter_map(|port| Lease::of(port.borrow())).collect(),
        }
    }
}

impl<'a> Options<'a> {
    fn of(options: &'a DhcpOptions) -> Option<Self> {
        let present = Self {
            routers: options.routers(),
            dns_servers: options.dns_servers(),
            ntp_servers: options.ntp_servers(),
            domain_search: options.domain_search(),
        };
        (!options.is_empty()).then_some(present)
    }
}

impl Lease {
    fn of(port: &Port) -> Option<Self> {
        port.lease.map(|lease| Self { ip: lease.address, instance_id: port.instance })
    }
}

pub(super) fn as_text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn number<S: Serializer>(vni: &Vni, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(vni.get())
}

fn domain_names<S: Serializer>(names: &&[DomainName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(DomainName::as_str))
}

pub(super) fn label_texts<S: Serializer>(labels: &&Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}

pub(super) fn labels_is_empty(labels: &&Labels) -> bool {
    labels.is_empty()
}

#[cfg(test)]
mod tests {
    use privnet_model::{
        AddressRange, Description, DeviceName, Generation, Lease as Held, LeaseKind, MacAddr, Name, OrganizationId,
        Timestamp,
    };

    use super::*;

    fn network() -> Network {
        Network {
            id: "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50".parse().expect("id"),
            organization: OrganizationId::DEFAULT,
            name: Name::try_from("demo-net").expect("name"),
            description: Description::default(),
            range: None,
            options: DhcpOptions::default(),
            labels: Labels::new(),
            vni: Vni::try_from(6_477_919).expect("vni"),
            generation: Generation::FIRST,
            last_address: None,
            created_at: Timestamp::from_unix_ms(0),
        }
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn port(lease: Option<Held>) -> Port {
        Port {
            network: network().id,
            instance: "8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11".parse().expect("id"),
            mac: MacAddr::for_port([1; 5]),
            lease,
            device: DeviceName::of_port(0),
            is_configured: false,
            changed: Generation::FIRST,
        }
    }

    fn check(network: &Network, ports: &[Port], expected: &str) {
        assert_eq!(serde_json::to_string(&PrivateNetwork::new(network, ports)).expect("serializes"), expected);
    }

    #[test]
    fn what_is_empty_is_absent() {
        check(
            &network(),
            &[port(None)],
            r#"{"id":"3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50","name":"demo-net","vni":6477919}"#,
        );
    }

    #[test]
    fn a_managed_network_has_the_recorded_properties() {
        let range = AddressRange::new(ip(50), ip(250), Ipv4Addr::new(255, 255, 255, 0)).expect("range");
        let description = Description::try_from("for the demo").expect("description");
        check(
            &Network { range: Some(range), description, ..network() },
            &[],
            concat!(
                r#"{"id":"3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50","name":"demo-net","description":"for the demo","#,
                r#""start-ip":"10.0.0.50","end-ip":"10.0.0.250","netmask":"255.255.255.0","vni":6477919}"#
            ),
        );
    }

    #[test]
    fn options_labels_and_leases_are_told_where_there_are_some() {
        let domain = DomainName::try_from("lab.example.net").expect("domain");
        let options = DhcpOptions::new(vec![ip(1)], vec![ip(2), ip(3)], vec![], vec![domain]).expect("options");
        let labels = Labels::from([("team".to_owned(), "db".to_owned())]);
        let lease = Held { address: ip(101), kind: LeaseKind::Dynamic };
        check(
            &Network { options, labels, ..network() },
            &[port(Some(lease))],
            concat!(
                r#"{"id":"3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50","name":"demo-net","vni":6477919,"#,
                r#""options":{"routers":["10.0.0.1"],"dns-servers":["10.0.0.2","10.0.0.3"],"domain-search":["lab.example.net"]},"#,
                r#""labels":{"team":"db"},"#,
                r#""leases":[{"ip":"10.0.0.101","instance-id":"8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11"}]}"#
            ),
        );
    }
}
