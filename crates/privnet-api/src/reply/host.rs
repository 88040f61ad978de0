use std::net::IpAddr;

use privnet_model::{HostId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::network::as_text;

/// All hosts.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "hosts")]
pub struct Hosts<'a> {
    /// In the order in which they first reported.
    pub hosts: Vec<Host<'a>>,
}

/// A machine that runs an agent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "host")]
pub struct Host<'a> {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: HostId,
    /// The agent's own name for it.
    #[schemars(length(min = 1, max = 64))]
    name: &'a str,
    /// The underlay address that other hosts send to.
    vtep: IpAddr,
    /// The MTU of the underlay device, in octets.
    underlay_mtu_bytes: u32,
    /// The agent's version.
    version: &'a str,
    /// Whether its agent is connected now.
    connected: bool,
    /// How many instances it has.
    instances: usize,
    /// When its agent first reported.
    #[serde(serialize_with = "super::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
}

impl<'a> Host<'a> {
    /// A host, whether its agent is connected, and how many instances it has.
    pub fn new(host: &'a privnet_model::Host, connected: bool, instances: usize) -> Self {
        Self {
            id: host.id,
            name: host.name.as_str(),
            vtep: host.facts.vtep,
            underlay_mtu_bytes: host.facts.underlay_mtu_bytes,
            version: &host.facts.version,
            connected,
            instances,
            created_at: host.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::{HostCertificates, HostFacts, HostName};

    use super::*;

    #[test]
    fn a_host_shows_its_facts_and_whether_it_is_connected() {
        let host = privnet_model::Host {
            id: "0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50".parse().expect("id"),
            name: HostName::try_from("host1").expect("name"),
            facts: HostFacts {
                vtep: "192.0.2.1".parse().expect("address"),
                underlay_mtu_bytes: 1500,
                version: "0.1.0".into(),
            },
            certificates: HostCertificates::default(),
            created_at: Timestamp::from_unix_ms(1_790_000_000_000),
        };
        assert_eq!(
            serde_json::to_string(&Host::new(&host, true, 2)).expect("serializes"),
            concat!(
                r#"{"id":"0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50","name":"host1","vtep":"192.0.2.1","#,
                r#""underlay-mtu-bytes":1500,"version":"0.1.0","connected":true,"instances":2,"#,
                r#""created-at":"2026-09-21T14:13:20Z"}"#
            )
        );
    }
}
