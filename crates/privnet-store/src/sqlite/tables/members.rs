//! What belongs to people: organizations, their API keys and their SSH keys.

use privnet_model::{
    HostId, Key, KeyId, Name, Organization, OrganizationId, OrganizationName, Quota, Quotas, Role as KeyRole, Scope,
    SealedSecret, SshKey, SshPublicKey,
};

use super::columns::{NULL, number, octets, optional_timestamp, organization, text, timestamp};
use crate::StoreError;
use crate::sqlite::fields::Fields;
use crate::sqlite::table::{Column, Role, Table, Value};

impl Table for Organization {
    const NAME: &'static str = "organizations";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("name", Role::Unique),
        Column::new("networks_max", Role::Version),
        Column::new("ports_per_network_max", Role::Version),
        Column::new("instances_max", Role::Version),
        Column::new("created_at_ms", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        let Quotas { networks, ports_per_network, instances } = self.quotas;
        vec![
            octets(self.id.as_bytes()),
            text(self.name.as_str()),
            quota_value(networks),
            quota_value(ports_per_network),
            quota_value(instances),
            number(self.created_at.unix_ms),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: OrganizationId::from_bytes(fields.get()?),
            name: fields.text(OrganizationName::try_from)?,
            quotas: Quotas { networks: quota(fields)?, ports_per_network: quota(fields)?, instances: quota(fields)? },
            created_at: timestamp(fields)?,
        })
    }
}

impl Table for Key {
    const NAME: &'static str = "keys";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("name", Role::Plain),
        Column::new("organization", Role::Plain),
        Column::new("host", Role::Plain),
        Column::new("role", Role::Plain),
        Column::new("sealed_secret", Role::Plain),
        Column::new("created_at_ms", Role::Plain),
        Column::new("expires_at_ms", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        let (organization, role, host) = match &self.scope {
            Scope::Operator => (NULL, OPERATOR, NULL),
            Scope::Organization(id, KeyRole::Runtime(host)) => {
                (octets(id.as_bytes()), KeyRole::RUNTIME, octets(host.as_bytes()))
            }
            Scope::Organization(id, role) => (octets(id.as_bytes()), role.as_str(), NULL),
        };
        vec![
            octets(self.id.as_bytes()),
            text(self.name.as_str()),
            organization,
            host,
            text(role),
            octets(self.sealed_secret.as_bytes()),
            number(self.created_at.unix_ms),
            self.expires_at.map_or(NULL, |end| number(end.unix_ms)),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: KeyId::from_bytes(fields.get()?),
            name: fields.text(Name::try_from)?,
            scope: scope(fields)?,
            sealed_secret: SealedSecret::new(fields.get::<Vec<u8>>()?),
            created_at: timestamp(fields)?,
            expires_at: optional_timestamp(fields)?,
        })
    }
}

impl Table for SshKey {
    const NAME: &'static str = "ssh_keys";

    const COLUMNS: &'static [Column] = &[
        Column::new("organization", Role::Key),
        Column::new("name", Role::Key),
        Column::new("public_key", Role::Version),
        Column::new("created_at_ms", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            octets(self.organization.as_bytes()),
            text(self.name.as_str()),
            text(self.public_key.as_str()),
            number(self.created_at.unix_ms),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            organization: organization(fields)?,
            name: fields.text(Name::try_from)?,
            public_key: fields.text(SshPublicKey::try_from)?,
            created_at: timestamp(fields)?,
        })
    }
}

/// The role of a key that belongs to no organization.
const OPERATOR: &str = "operator";

fn quota_value(quota: Quota) -> Value<'static> {
    match quota {
        Quota::Unlimited => NULL,
        Quota::AtMost(limit) => Value::from(limit),
    }
}

fn quota(fields: &mut Fields<'_>) -> Result<Quota, StoreError> {
    Ok(fields.get::<Option<u32>>()?.map_or(Quota::Unlimited, Quota::AtMost))
}

fn scope(fields: &mut Fields<'_>) -> Result<Scope, StoreError> {
    let organization = fields.get::<Option<[u8; 16]>>()?.map(OrganizationId::from_bytes);
    let host = fields.get::<Option<[u8; 16]>>()?.map(HostId::from_bytes);
    let role = fields.get::<String>()?;
    match (organization, KeyRole::parse(&role, host)) {
        (None, None) if role == OPERATOR && host.is_none() => Ok(Scope::Operator),
        (Some(organization), Some(role)) => Ok(Scope::Organization(organization, role)),
        _ => Err(fields.invalid(format!("\"{role}\" does not go with the organization and the host"))),
    }
}
