//! Networks and the ports in them.

use std::net::Ipv4Addr;

use privnet_model::{
    AddressRange, Description, DeviceName, DhcpOptions, DomainName, InstanceId, Lease, LeaseKind, Name, Network,
    NetworkId, Port, Vni,
};

use super::columns::{
    UNKNOWN_WORD, address, generation, labels, labels_json, list, mac, mac_bits, number, octets, optional,
    organization, text, timestamp,
};
use crate::StoreError;
use crate::sqlite::fields::Fields;
use crate::sqlite::table::{Column, Role, Table, Value};

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

fn addresses(fields: &mut Fields<'_>) -> Result<Vec<Ipv4Addr>, StoreError> {
    Ok(fields.optional_text(serde_json::from_str)?.unwrap_or_default())
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
