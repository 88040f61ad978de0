use std::fmt;

use privnet_model::zone::Usage;
use privnet_model::{HostId, KeyId, OrganizationId, Scope, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::limit;
use super::network::as_text;

/// All organizations.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "organizations")]
pub struct Organizations<'a> {
    /// In the order of their creation.
    pub organizations: Vec<Organization<'a>>,
}

/// An organization: what it may have, and what it has.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "organization")]
pub struct Organization<'a> {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("format" = "uuid"))]
    id: OrganizationId,
    /// Unique in the zone.
    #[schemars(length(min = 1, max = 64))]
    name: &'a str,
    quotas: OrganizationQuotas,
    usage: OrganizationUsage,
    /// When it was created.
    #[serde(serialize_with = "super::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
}

/// How much an organization may have; -1 is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "organization-quotas")]
pub struct OrganizationQuotas {
    /// Private networks.
    #[schemars(range(min = -1))]
    networks: i64,
    /// Instances attached to one of its private networks.
    #[schemars(range(min = -1))]
    ports_per_network: i64,
    /// Instances.
    #[schemars(range(min = -1))]
    instances: i64,
}

/// How much an organization has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "organization-usage")]
pub struct OrganizationUsage {
    /// Private networks.
    networks: usize,
    /// Instances.
    instances: usize,
    /// API keys, expired ones among them.
    keys: usize,
}

/// All keys that the caller may know of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "keys")]
pub struct Keys<'a> {
    /// In the order of their ids, which is none.
    pub keys: Vec<Key<'a>>,
}

/// An API key without its secret, which is not told again.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "key")]
pub struct Key<'a> {
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String", extend("pattern" = "^EXO[0-9a-f]{24}$"))]
    id: KeyId,
    #[schemars(length(min = 1, max = 255))]
    name: &'a str,
    /// What it is good for.
    #[schemars(extend("enum" = ["admin", "operator", "read-only", "runtime"]))]
    role: &'static str,
    /// Whose it is; absent where it is an operator's.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    organization: Option<OrganizationId>,
    /// The id of the host whose container runtime it is for.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    host: Option<HostId>,
    /// When it was created.
    #[serde(serialize_with = "super::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Timestamp,
    /// From when on it is good for nothing; absent where it never expires.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_rfc3339")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Timestamp>,
}

/// A new API key with its secret, which is told this once.
#[derive(Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "new-key")]
pub struct NewKey<'a> {
    /// The key.
    #[serde(flatten)]
    pub key: Key<'a>,
    /// What requests are signed with. Only its holder has it in the clear.
    pub secret: &'a str,
}

impl fmt::Debug for NewKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<'a> Organization<'a> {
    /// An organization with what it has.
    pub fn new(organization: &'a privnet_model::Organization, usage: Usage) -> Self {
        let quotas = &organization.quotas;
        Self {
            id: organization.id,
            name: organization.name.as_str(),
            quotas: OrganizationQuotas {
                networks: limit(quotas.networks),
                ports_per_network: limit(quotas.ports_per_network),
                instances: limit(quotas.instances),
            },
            usage: OrganizationUsage { networks: usage.networks, instances: usage.instances, keys: usage.keys },
            created_at: organization.created_at,
        }
    }
}

impl<'a> From<&'a privnet_model::Key> for Key<'a> {
    fn from(key: &'a privnet_model::Key) -> Self {
        let (role, organization, host) = match key.scope {
            Scope::Operator => ("operator", None, None),
            Scope::Organization(organization, role) => (role.as_str(), Some(organization), role.host()),
        };
        Self {
            id: key.id,
            name: key.name.as_str(),
            role,
            organization,
            host,
            created_at: key.created_at,
            expires_at: key.expires_at,
        }
    }
}

fn optional_text<S: serde::Serializer>(
    value: &Option<impl std::fmt::Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => as_text(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn optional_rfc3339<S: serde::Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => super::rfc3339(moment, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::{Name, Quota, Quotas, Role, SealedSecret};

    use super::*;

    fn key() -> privnet_model::Key {
        privnet_model::Key {
            id: KeyId::from_bytes([0xab; KeyId::OCTETS]),
            name: Name::try_from("deploy").expect("name"),
            scope: Scope::Organization(OrganizationId::DEFAULT, Role::ReadOnly),
            sealed_secret: SealedSecret::new([1, 2, 3]),
            created_at: Timestamp::from_unix_ms(1_790_000_000_999),
            expires_at: Some(Timestamp::from_unix_ms(1_790_000_060_000)),
        }
    }

    #[test]
    fn an_organization_shows_what_it_may_have_and_what_it_has() {
        let mut organization = privnet_model::Organization::default_at(Timestamp::from_unix_ms(1_790_000_000_999));
        organization.quotas = Quotas { instances: Quota::Unlimited, ..organization.quotas };
        let usage = Usage { networks: 3, instances: 5, keys: 1, ssh_keys: 1 };
        assert_eq!(
            serde_json::to_string(&Organization::new(&organization, usage)).expect("serializes"),
            concat!(
                r#"{"id":"70726976-6e65-4000-8000-0000000000c9","name":"default","#,
                r#""quotas":{"networks":32,"ports-per-network":256,"instances":-1},"#,
                r#""usage":{"networks":3,"instances":5,"keys":1},"created-at":"2026-09-21T14:13:20Z"}"#
            )
        );
    }

    #[test]
    fn a_key_is_shown_without_its_secret() {
        let expected = concat!(
            r#"{"id":"EXOabababababababababababab","name":"deploy","role":"read-only","#,
            r#""organization":"70726976-6e65-4000-8000-0000000000c9","#,
            r#""created-at":"2026-09-21T14:13:20Z","expires-at":"2026-09-21T14:14:20Z""#
        );
        let shown = serde_json::to_string(&Key::from(&key())).expect("serializes");
        assert_eq!(shown, format!("{expected}}}"));
        let new = serde_json::to_string(&NewKey { key: Key::from(&key()), secret: "s3cret" }).expect("serializes");
        assert_eq!(new, format!(r#"{expected},"secret":"s3cret"}}"#));
        let debugged = format!("{:?}", NewKey { key: Key::from(&key()), secret: "s3cret" });
        assert!(debugged.contains("deploy") && !debugged.contains("s3cret"), "{debugged}");
    }

    #[test]
    fn an_operators_key_has_no_organization() {
        let key = privnet_model::Key { scope: Scope::Operator, expires_at: None, ..key() };
        assert_eq!(
            serde_json::to_string(&Key::from(&key)).expect("serializes"),
            concat!(
                r#"{"id":"EXOabababababababababababab","name":"deploy","role":"operator","#,
                r#""created-at":"2026-09-21T14:13:20Z"}"#
            )
        );
    }
}
