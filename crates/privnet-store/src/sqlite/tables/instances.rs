//! Instances: where their ports are, and what a client said of them.

use privnet_model::{
    Account, Driver, HostId, Instance, InstanceId, InstanceProperties, InstanceTypeId, Name, Netns, Placement, Power,
    PublicIp, Tap, TemplateId, UserData,
};

use super::columns::{
    NULL, UNKNOWN_WORD, labels, labels_json, list, number, octets, optional, organization, text, timestamp,
};
use crate::StoreError;
use crate::sqlite::fields::Fields;
use crate::sqlite::table::{Column, Role, Table, Value};

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
