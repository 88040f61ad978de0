//! Each kind of record as a row. In each table, the columns, what is written and what is read stand
//! in the same order.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use privnet_model::{
    Account, AddressRange, Applied, Carriage, Description, DeviceName, DhcpOptions, DomainName, Driver, Fingerprint,
    Generation, Host, HostCertificate, HostCertificates, HostFacts, HostId, HostName, Instance, InstanceId,
    InstanceProperties, InstanceTypeId, Invitation, InvitationId, Key, KeyId, Labels, Lease, LeaseKind, MacAddr, Name,
    Netns, Network, NetworkId, Operation, OperationId, OperationKind, OperationState, Organization, OrganizationId,
    OrganizationName, Placement, Port, Power, PublicIp, Quota, Quotas, Reason, RequestId, Role as KeyRole, Scope,
    SealedSecret, SignedRequest, SshKey, SshPublicKey, Subject, Tap, TemplateId, Timestamp, UserData, Vni, Wait,
    WaitPort,
};
use rusqlite::types::ValueRef;
use serde::Serialize;

use super::fields::Fields;
use super::table::{Column, Role, Table, Value};
use crate::StoreError;

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

impl Table for Host {
    const NAME: &'static str = "hosts";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("name", Role::Unique),
        Column::new("vtep", Role::Unique),
        Column::new("underlay_mtu_bytes", Role::Version),
        Column::new("version", Role::Version),
        Column::new("created_at_ms", Role::Plain),
        Column::new("certificate", Role::Version),
        Column::new("certificate_expires_at_ms", Role::Plain),
        Column::new("next_certificate", Role::Version),
        Column::new("next_certificate_expires_at_ms", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        let HostCertificates { current, next } = &self.certificates;
        vec![
            octets(self.id.as_bytes()),
            text(self.name.as_str()),
            Value::from(self.facts.vtep.to_string()),
            Value::from(self.facts.underlay_mtu_bytes),
            text(&self.facts.version),
            number(self.created_at.unix_ms),
            current.as_ref().map_or(NULL, |certificate| octets(certificate.fingerprint.as_bytes())),
            current.map_or(NULL, |certificate| number(certificate.expires_at.unix_ms)),
            next.as_ref().map_or(NULL, |certificate| octets(certificate.fingerprint.as_bytes())),
            next.map_or(NULL, |certificate| number(certificate.expires_at.unix_ms)),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: HostId::from_bytes(fields.get()?),
            name: fields.text(HostName::try_from)?,
            facts: HostFacts {
                vtep: fields.text(str::parse)?,
                underlay_mtu_bytes: fields.get()?,
                version: fields.get()?,
            },
            created_at: timestamp(fields)?,
            certificates: HostCertificates { current: certificate(fields)?, next: certificate(fields)? },
        })
    }
}

impl Table for Invitation {
    const NAME: &'static str = "invitations";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("host", Role::Plain),
        Column::new("token", Role::Unique),
        Column::new("is_rejoin", Role::Plain),
        Column::new("created_at_ms", Role::Plain),
        Column::new("expires_at_ms", Role::Plain),
        Column::new("used_by", Role::Version),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            octets(self.id.as_bytes()),
            text(self.host.as_str()),
            octets(self.token.as_bytes()),
            Value::from(self.is_rejoin),
            number(self.created_at.unix_ms),
            number(self.expires_at.unix_ms),
            self.used_by.as_ref().map_or(NULL, |key| octets(key.as_bytes())),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: InvitationId::from_bytes(fields.get()?),
            host: fields.text(HostName::try_from)?,
            token: Fingerprint::from_bytes(fields.get()?),
            is_rejoin: fields.get()?,
            created_at: timestamp(fields)?,
            expires_at: timestamp(fields)?,
            used_by: fields.get::<Option<[u8; Fingerprint::OCTETS]>>()?.map(Fingerprint::from_bytes),
        })
    }
}

impl Table for Network {
    const NAME: &'static str = "networks";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("name", Role::Plain),
        Column::new("description", Role::Plain),
        Column::new("start_ip", Role::Plain),
        Column::new("end_ip", Role::Plain),
        Column::new("netmask", Role::Plain),
        Column::new("routers", Role::Plain),
        Column::new("dns_servers", Role::Plain),
        Column::new("ntp_servers", Role::Plain),
        Column::new("domain_search", Role::Plain),
        Column::new("labels", Role::Plain),
        Column::new("vni", Role::Unique),
        Column::new("generation", Role::Version),
        Column::new("last_address", Role::Plain),
        Column::new("created_at_ms", Role::Plain),
        Column::new("organization", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        let range = self.range.as_ref();
        let domains: Vec<_> = self.options.domain_search().iter().map(DomainName::as_str).collect();
        vec![
            octets(self.id.as_bytes()),
            text(self.name.as_str()),
            text(self.description.as_str()),
            optional(range.map(|range| range.start().to_bits())),
            optional(range.map(|range| range.end().to_bits())),
            optional(range.map(|range| range.subnet().netmask().to_bits())),
            list(self.options.routers()),
            list(self.options.dns_servers()),
            list(self.options.ntp_servers()),
            list(&domains),
            labels_json(&self.labels),
            Value::from(self.vni.get()),
            number(self.generation.0),
            optional(self.last_address.map(Ipv4Addr::to_bits)),
            number(self.created_at.unix_ms),
            octets(self.organization.as_bytes()),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: NetworkId::from_bytes(fields.get()?),
            name: fields.text(Name::try_from)?,
            description: fields.text(Description::try_from)?,
            range: range(fields)?,
            options: options(fields)?,
            labels: labels(fields)?,
            vni: fields.number(Vni::try_from)?,
            generation: generation(fields)?,
            last_address: address(fields)?,
            created_at: timestamp(fields)?,
            organization: organization(fields)?,
        })
    }
}

impl Table for Instance {
    const NAME: &'static str = "instances";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("name", Role::Plain),
        Column::new("host", Role::Version),
        Column::new("port_kind", Role::Plain),
        Column::new("netns", Role::Plain),
        Column::new("tap_owner", Role::Plain),
        Column::new("tap_group", Role::Plain),
        Column::new("tap_is_multi_queue", Role::Plain),
        Column::new("created_at_ms", Role::Plain),
        Column::new("organization", Role::Plain),
        Column::new("driver", Role::Plain),
        Column::new("power", Role::Version),
        Column::new("reboots", Role::Version),
        Column::new("is_protected", Role::Plain),
        Column::new("instance_type", Role::Plain),
        Column::new("template", Role::Plain),
        Column::new("disk_size_gib", Role::Plain),
        Column::new("public_ip", Role::Plain),
        Column::new("ssh_keys", Role::Plain),
        Column::new("user_data", Role::Plain),
        Column::new("labels", Role::Plain),
        Column::new("has_secure_boot", Role::Plain),
        Column::new("has_tpm", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        let [netns, tap_owner, tap_group, tap_is_multi_queue] = match &self.placement {
            Placement::Netns(netns) => [text(netns.as_str()), NULL, NULL, NULL],
            Placement::Tap(tap) => {
                let account = |account: &Option<Account>| optional(account.as_ref().map(Account::to_string));
                [NULL, account(&tap.owner), account(&tap.group), Value::from(tap.is_multi_queue)]
            }
        };
        let properties = &self.properties;
        let ssh_keys: Vec<_> = properties.ssh_keys.iter().map(Name::as_str).collect();
        vec![
            octets(self.id.as_bytes()),
            text(self.name.as_str()),
            octets(self.host.as_bytes()),
            text(self.placement.kind()),
            netns,
            tap_owner,
            tap_group,
            tap_is_multi_queue,
            number(self.created_at.unix_ms),
            octets(self.organization.as_bytes()),
            text(self.driver.as_str()),
            text(self.power.as_str()),
            Value::from(self.reboots),
            Value::from(self.is_protected),
            octets(properties.instance_type.as_bytes()),
            octets(properties.template.as_bytes()),
            Value::from(properties.disk_size_gib),
            text(properties.public_ip.as_str()),
            list(&ssh_keys),
            properties.user_data.as_ref().map_or(NULL, |data| text(data.as_str())),
            labels_json(&properties.labels),
            Value::from(properties.has_secure_boot),
            Value::from(properties.has_tpm),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: InstanceId::from_bytes(fields.get()?),
            name: fields.text(Name::try_from)?,
            host: HostId::from_bytes(fields.get()?),
            placement: placement(fields)?,
            created_at: timestamp(fields)?,
            organization: organization(fields)?,
            driver: fields.text(|text| Driver::parse(text).ok_or(UNKNOWN_WORD))?,
            power: fields.text(|text| Power::parse(text).ok_or(UNKNOWN_WORD))?,
            reboots: fields.get()?,
            is_protected: fields.get()?,
            properties: instance_properties(fields)?,
        })
    }
}

impl Table for Port {
    const NAME: &'static str = "ports";

    const COLUMNS: &'static [Column] = &[
        Column::new("network", Role::Key),
        Column::new("instance", Role::Key),
        Column::new("mac", Role::Unique),
        Column::new("address", Role::Unique),
        Column::new("lease_kind", Role::Plain),
        Column::new("device", Role::Unique),
        Column::new("changed", Role::Version),
        Column::new("is_configured", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            octets(self.network.as_bytes()),
            octets(self.instance.as_bytes()),
            number(mac_bits(self.mac)),
            optional(self.lease.map(|lease| lease.address.to_bits())),
            optional(self.lease.map(|lease| lease_kind(lease.kind).to_owned())),
            text(self.device.as_str()),
            number(self.changed.0),
            Value::from(self.is_configured),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            network: NetworkId::from_bytes(fields.get()?),
            instance: InstanceId::from_bytes(fields.get()?),
            mac: mac(fields)?.ok_or_else(|| fields.invalid("it is missing"))?,
            lease: lease(fields)?,
            device: fields.text(DeviceName::try_from)?,
            changed: generation(fields)?,
            is_configured: fields.get()?,
        })
    }
}

impl Table for Operation {
    const NAME: &'static str = "operations";

    const COLUMNS: &'static [Column] = &[
        Column::new("id", Role::Key),
        Column::new("kind", Role::Plain),
        Column::new("network", Role::Plain),
        Column::new("instance", Role::Plain),
        Column::new("created_at_ms", Role::Plain),
        Column::new("state", Role::Version),
        Column::new("wait_network", Role::Plain),
        Column::new("wait_generation", Role::Plain),
        Column::new("wait_host", Role::Plain),
        Column::new("wait_mac", Role::Plain),
        Column::new("deadline_ms", Role::Plain),
        Column::new("reason", Role::Plain),
        Column::new("message", Role::Plain),
        Column::new("organization", Role::Plain),
        Column::new("request", Role::Plain),
        Column::new("requested_at_ms", Role::Plain),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        let (network, instance) = match &self.subject {
            Subject::Network(id) => (octets(id.as_bytes()), NULL),
            Subject::Instance(id) => (NULL, octets(id.as_bytes())),
            Subject::Nothing => (NULL, NULL),
        };
        let (applied, host, deadline) = match &self.state {
            OperationState::Pending { wait, deadline } => match wait {
                Wait::Applied(applied) => (Some(applied), applied.port.as_ref().map(|port| &port.host), Some(deadline)),
                Wait::Placed(_) => (None, None, Some(deadline)),
                Wait::Removed { host, .. } => (None, Some(host), Some(deadline)),
            },
            _ => (None, None, None),
        };
        let (reason, message) = match &self.state {
            OperationState::Failure { reason, message } => (Some(reason.as_str()), Some(message.as_str())),
            OperationState::Timeout { message } => (None, Some(message.as_str())),
            OperationState::Pending { .. } | OperationState::Success => (None, None),
        };
        let port = applied.and_then(|applied| applied.port.as_ref());
        vec![
            octets(self.id.as_bytes()),
            text(self.kind.as_str()),
            network,
            instance,
            number(self.created_at.unix_ms),
            text(state(&self.state)),
            applied.map_or(NULL, |applied| octets(applied.network.as_bytes())),
            applied.map_or(NULL, |applied| number(applied.generation.0)),
            host.map_or(NULL, |host| octets(host.as_bytes())),
            port.map_or(NULL, |port| number(mac_bits(port.mac))),
            deadline.map_or(NULL, |deadline| number(deadline.unix_ms)),
            reason.map_or(NULL, text),
            message.map_or(NULL, text),
            octets(self.organization.as_bytes()),
            self.request.as_ref().map_or(NULL, |request| octets(request.id.as_bytes())),
            self.request.map_or(NULL, |request| number(request.at.unix_ms)),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        let id = OperationId::from_bytes(fields.get()?);
        let kind = fields.text(|text| OperationKind::parse(text).ok_or(UNKNOWN_WORD))?;
        let subject = subject(fields)?;
        let created_at = timestamp(fields)?;
        let state = operation_state(fields, subject)?;
        let organization = organization(fields)?;
        let request = fields.get::<Option<_>>()?.map(RequestId::from_bytes);
        let request = request.zip(optional_timestamp(fields)?).map(|(id, at)| SignedRequest { id, at });
        Ok(Self { id, organization, kind, subject, created_at, request, state })
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

impl Table for Carriage {
    const NAME: &'static str = "carriages";

    const COLUMNS: &'static [Column] =
        &[Column::new("host", Role::Key), Column::new("network", Role::Key), Column::new("vni", Role::Unique)];

    fn values(&self) -> Vec<Value<'_>> {
        vec![octets(self.host.as_bytes()), octets(self.network.as_bytes()), Value::from(self.vni.get())]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            host: HostId::from_bytes(fields.get()?),
            network: NetworkId::from_bytes(fields.get()?),
            vni: fields.number(Vni::try_from)?,
        })
    }
}

const NULL: Value<'static> = Value::Borrowed(ValueRef::Null);

/// The role of a key that belongs to no organization.
const OPERATOR: &str = "operator";
/// What is wrong with a word that this version does not know.
const UNKNOWN_WORD: &str = "it is none of ours";

fn octets(octets: &[u8]) -> Value<'_> {
    Value::Borrowed(ValueRef::Blob(octets))
}

fn text(text: &str) -> Value<'_> {
    Value::Borrowed(ValueRef::Text(text.as_bytes()))
}

fn number(number: u64) -> Value<'static> {
    Value::from(number.cast_signed())
}

fn optional<T>(value: Option<T>) -> Value<'static>
where
    Value<'static>: From<T>,
{
    value.map_or(NULL, Value::from)
}

fn list<T: Serialize>(items: &[T]) -> Value<'static> {
    optional((!items.is_empty()).then(|| json(items)))
}

fn labels_json(labels: &Labels) -> Value<'static> {
    optional((!labels.is_empty()).then(|| json(&labels.iter().collect::<BTreeMap<_, _>>())))
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and addresses have a JSON form")
}

fn quota_value(quota: Quota) -> Value<'static> {
    match quota {
        Quota::Unlimited => NULL,
        Quota::AtMost(limit) => Value::from(limit),
    }
}

fn quota(fields: &mut Fields<'_>) -> Result<Quota, StoreError> {
    Ok(fields.get::<Option<u32>>()?.map_or(Quota::Unlimited, Quota::AtMost))
}

fn organization(fields: &mut Fields<'_>) -> Result<OrganizationId, StoreError> {
    Ok(OrganizationId::from_bytes(fields.get()?))
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

fn certificate(fields: &mut Fields<'_>) -> Result<Option<HostCertificate>, StoreError> {
    let fingerprint = fields.get::<Option<[u8; Fingerprint::OCTETS]>>()?.map(Fingerprint::from_bytes);
    match (fingerprint, optional_timestamp(fields)?) {
        (None, None) => Ok(None),
        (Some(fingerprint), Some(expires_at)) => Ok(Some(HostCertificate { fingerprint, expires_at })),
        _ => Err(fields.invalid("only one of a certificate and its end is there")),
    }
}

fn optional_timestamp(fields: &mut Fields<'_>) -> Result<Option<Timestamp>, StoreError> {
    Ok(fields.get::<Option<i64>>()?.map(|ms| Timestamp::from_unix_ms(ms.cast_unsigned())))
}

fn timestamp(fields: &mut Fields<'_>) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_unix_ms(fields.get::<i64>()?.cast_unsigned()))
}

fn generation(fields: &mut Fields<'_>) -> Result<Generation, StoreError> {
    Ok(Generation(fields.get::<i64>()?.cast_unsigned()))
}

fn address(fields: &mut Fields<'_>) -> Result<Option<Ipv4Addr>, StoreError> {
    Ok(fields.get::<Option<u32>>()?.map(Ipv4Addr::from_bits))
}

fn range(fields: &mut Fields<'_>) -> Result<Option<AddressRange>, StoreError> {
    match (address(fields)?, address(fields)?, address(fields)?) {
        (None, None, None) => Ok(None),
        (Some(start), Some(end), Some(netmask)) => {
            AddressRange::new(start, end, netmask).map(Some).map_err(|cause| fields.invalid(cause))
        }
        _ => Err(fields.invalid("only some of start_ip, end_ip and netmask are there")),
    }
}

fn options(fields: &mut Fields<'_>) -> Result<DhcpOptions, StoreError> {
    let routers = addresses(fields)?;
    let dns_servers = addresses(fields)?;
    let ntp_servers = addresses(fields)?;
    let names = fields.optional_text(serde_json::from_str::<Vec<String>>)?.unwrap_or_default();
    let names = names.iter().map(|name| DomainName::try_from(name.as_str())).collect::<Result<_, _>>();
    let domain_search = names.map_err(|cause| fields.invalid(cause))?;
    DhcpOptions::new(routers, dns_servers, ntp_servers, domain_search).map_err(|cause| fields.invalid(cause))
}

fn labels(fields: &mut Fields<'_>) -> Result<Labels, StoreError> {
    let labels = fields.optional_text(serde_json::from_str::<BTreeMap<String, String>>)?;
    Ok(labels.into_iter().flatten().collect())
}

fn instance_properties(fields: &mut Fields<'_>) -> Result<InstanceProperties, StoreError> {
    Ok(InstanceProperties {
        instance_type: InstanceTypeId::from_bytes(fields.get()?),
        template: TemplateId::from_bytes(fields.get()?),
        disk_size_gib: fields.get()?,
        public_ip: fields.text(|text| PublicIp::parse(text).ok_or(UNKNOWN_WORD))?,
        ssh_keys: names(fields)?,
        user_data: fields.get::<Option<Box<str>>>()?.map(UserData::new),
        labels: labels(fields)?,
        has_secure_boot: fields.get()?,
        has_tpm: fields.get()?,
    })
}

fn names(fields: &mut Fields<'_>) -> Result<Vec<Name>, StoreError> {
    let names = fields.optional_text(serde_json::from_str::<Vec<String>>)?.unwrap_or_default();
    let names = names.iter().map(|name| Name::try_from(name.as_str())).collect::<Result<_, _>>();
    names.map_err(|cause| fields.invalid(cause))
}

fn addresses(fields: &mut Fields<'_>) -> Result<Vec<Ipv4Addr>, StoreError> {
    Ok(fields.optional_text(serde_json::from_str)?.unwrap_or_default())
}

fn placement(fields: &mut Fields<'_>) -> Result<Placement, StoreError> {
    let is_tap = fields.text(|kind| match kind {
        "netns" => Ok(false),
        "tap" => Ok(true),
        _ => Err("it is not a kind of port we know"),
    })?;
    let netns = match is_tap {
        true => fields.get::<Option<Box<str>>>().map(|_| None),
        false => fields.text(Netns::try_from).map(Some),
    }?;
    let tap = Tap {
        owner: fields.optional_text(Account::try_from)?,
        group: fields.optional_text(Account::try_from)?,
        is_multi_queue: fields.get::<Option<bool>>()?.unwrap_or_default(),
    };
    Ok(netns.map_or(Placement::Tap(tap), Placement::Netns))
}

fn mac_bits(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn mac(fields: &mut Fields<'_>) -> Result<Option<MacAddr>, StoreError> {
    let Some(bits) = fields.get::<Option<i64>>()? else { return Ok(None) };
    match bits.to_be_bytes() {
        [0, 0, a, b, c, d, e, f] => Ok(Some(MacAddr::new([a, b, c, d, e, f]))),
        _ => Err(fields.invalid("it does not fit in 48 bits")),
    }
}

const fn lease_kind(kind: LeaseKind) -> &'static str {
    match kind {
        LeaseKind::Dynamic => "dynamic",
        LeaseKind::Static => "static",
    }
}

fn lease(fields: &mut Fields<'_>) -> Result<Option<Lease>, StoreError> {
    let address = address(fields)?;
    let kinds = [LeaseKind::Dynamic, LeaseKind::Static];
    let parse = |text: &str| kinds.into_iter().find(|kind| lease_kind(*kind) == text).ok_or(UNKNOWN_WORD);
    match (address, fields.optional_text(parse)?) {
        (None, None) => Ok(None),
        (Some(address), Some(kind)) => Ok(Some(Lease { address, kind })),
        _ => Err(fields.invalid("only one of address and lease_kind is there")),
    }
}

const fn state(state: &OperationState) -> &'static str {
    match state {
        OperationState::Pending { .. } => "pending",
        OperationState::Success => "success",
        OperationState::Failure { .. } => "failure",
        OperationState::Timeout { .. } => "timeout",
    }
}

fn subject(fields: &mut Fields<'_>) -> Result<Subject, StoreError> {
    let network = fields.get::<Option<[u8; 16]>>()?.map(NetworkId::from_bytes);
    let instance = fields.get::<Option<[u8; 16]>>()?.map(InstanceId::from_bytes);
    match (network, instance) {
        (Some(network), None) => Ok(Subject::Network(network)),
        (None, Some(instance)) => Ok(Subject::Instance(instance)),
        (None, None) => Ok(Subject::Nothing),
        (Some(_), Some(_)) => Err(fields.invalid("it is about a network or an instance, one of them")),
    }
}

fn operation_state(fields: &mut Fields<'_>, subject: Subject) -> Result<OperationState, StoreError> {
    let state = fields.get::<String>()?;
    let wait = wait(fields, subject, &state)?;
    let deadline = optional_timestamp(fields)?;
    let reason = fields.optional_text(|text| Reason::parse(text).ok_or(UNKNOWN_WORD))?;
    let message = fields.get::<Option<String>>()?;
    match (state.as_str(), wait, deadline, reason, message) {
        ("pending", Some(wait), Some(deadline), None, None) => Ok(OperationState::Pending { wait, deadline }),
        ("success", None, None, None, None) => Ok(OperationState::Success),
        ("failure", None, None, Some(reason), Some(message)) => Ok(OperationState::Failure { reason, message }),
        ("timeout", None, None, None, Some(message)) => Ok(OperationState::Timeout { message }),
        _ => Err(fields.invalid(format!("the columns since state do not make a state \"{state}\""))),
    }
}

/// What a pending operation waits for: a network at a generation; or, where it is about an instance, that the host
/// has nothing left of it, or, without a host, that it is where it shall be.
fn wait(fields: &mut Fields<'_>, subject: Subject, state: &str) -> Result<Option<Wait>, StoreError> {
    let network = fields.get::<Option<[u8; 16]>>()?.map(NetworkId::from_bytes);
    let generation = fields.get::<Option<i64>>()?.map(|number| Generation(number.cast_unsigned()));
    let host = fields.get::<Option<[u8; 16]>>()?.map(HostId::from_bytes);
    let mac = mac(fields)?;
    match (subject, network, generation, host, mac) {
        (Subject::Network(_), Some(network), Some(generation), None, None) => {
            Ok(Some(Wait::Applied(Applied { network, generation, port: None })))
        }
        (Subject::Network(_), Some(network), Some(generation), Some(host), Some(mac)) => {
            let port = Some(WaitPort { host, mac });
            Ok(Some(Wait::Applied(Applied { network, generation, port })))
        }
        (Subject::Instance(instance), None, None, Some(host), None) => Ok(Some(Wait::Removed { instance, host })),
        (Subject::Instance(instance), None, None, None, None) if state == "pending" => Ok(Some(Wait::Placed(instance))),
        (_, None, None, None, None) => Ok(None),
        _ => Err(fields.invalid("only some of what a pending operation waits for is there")),
    }
}
