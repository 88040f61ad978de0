//! Hosts, the invitations by which they join, and the networks they carry.

use privnet_model::{
    Carriage, Fingerprint, Host, HostCertificate, HostCertificates, HostFacts, HostId, HostName, Invitation,
    InvitationId, NetworkId, Vni,
};

use super::columns::{NULL, number, octets, optional_timestamp, text, timestamp};
use crate::StoreError;
use crate::sqlite::fields::Fields;
use crate::sqlite::table::{Column, Role, Table, Value};

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

fn certificate(fields: &mut Fields<'_>) -> Result<Option<HostCertificate>, StoreError> {
    let fingerprint = fields.get::<Option<[u8; Fingerprint::OCTETS]>>()?.map(Fingerprint::from_bytes);
    match (fingerprint, optional_timestamp(fields)?) {
        (None, None) => Ok(None),
        (Some(fingerprint), Some(expires_at)) => Ok(Some(HostCertificate { fingerprint, expires_at })),
        _ => Err(fields.invalid("only one of a certificate and its end is there")),
    }
}
