//! Lists of what privnet has none of. Clients ask for them on their way to an instance.

use schemars::JsonSchema;
use serde::Serialize;

/// No anti-affinity groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "anti-affinity-groups")]
pub struct AntiAffinityGroups {
    anti_affinity_groups: [NoSuchThing; 0],
}

/// No security groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "security-groups")]
pub struct SecurityGroups {
    security_groups: [NoSuchThing; 0],
}

/// No elastic IPs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "elastic-ips")]
pub struct ElasticIps {
    elastic_ips: [NoSuchThing; 0],
}

/// No deploy targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "deploy-targets")]
pub struct DeployTargets {
    deploy_targets: [NoSuchThing; 0],
}

/// What no list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "no-such-thing")]
struct NoSuchThing {}
