//! Requests about instances.

use std::net::Ipv4Addr;

use privnet_model::zone::{Command, HOST_LABEL, LaunchInstance, UpdateInstance};
use privnet_model::{Driver, HostName, HostNameError, Instance, InstanceProperties, Labels, Power, PublicIp, UserData};

use super::Reader;
use super::fields::{Fields, Given, LABELS_MAX, cut};

/// As the real service limits user data (the client egoscale and the exo command know it as 32 KiB).
const USER_DATA_OCTETS_MAX: usize = 32_768;

/// Which instances a list is to have: those that all that is given fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    /// Whether only those are asked for that something else manages, such as an instance pool: there are none.
    pub is_managed: bool,
    /// An address that the instance has leased.
    pub address: Option<Ipv4Addr>,
    /// Keys of labels, and perhaps their values.
    pub labels: Vec<(String, Option<String>)>,
}

impl InstanceFilter {
    /// Whether an instance with these ports is asked for.
    pub fn fits(&self, instance: &Instance, mut addresses: impl Iterator<Item = Ipv4Addr>) -> bool {
        let labels = &instance.properties.labels;
        let has_label = |(key, value): &(String, Option<String>)| match (labels.get(key), value) {
            (Some(held), Some(value)) => held == value,
            (held, None) => held.is_some(),
            (None, Some(_)) => false,
        };
        !self.is_managed
            && self.labels.iter().all(has_label)
            && self.address.is_none_or(|asked| addresses.any(|held| held == asked))
    }
}

impl Reader<'_> {
    pub(super) fn instance_filter(&mut self) -> Option<InstanceFilter> {
        let mut fields = self.fields();
        let address = fields.address("ip-address").good();
        let text = |text: &str| Ok::<_, String>(text.to_owned());
        let labels = fields.parsed("labels", label_terms).good().unwrap_or_default();
        let is_given = |given: Given<String>| given.good().is_some();
        Some(InstanceFilter {
            is_managed: is_given(fields.parsed("manager-id", text)) || is_given(fields.parsed("manager-type", text)),
            address,
            labels,
        })
    }

    pub(super) fn register_ssh_key(&mut self) -> Option<Command> {
        let mut fields = self.fields();
        let name = fields.name().required(&mut fields, "name");
        let public_key = fields.parsed("public-key", |text| Ok::<_, String>(text.to_owned()));
        let public_key = public_key.required(&mut fields, "public-key");
        Some(Command::RegisterSshKey { name: name?, public_key: public_key? })
    }

    /// Its driver is the server's to choose.
    pub(super) fn launch_instance(&mut self) -> Option<Command> {
        let mut fields = self.fields();
        let name = fields.name();
        let instance_type = fields.id_of("instance-type", "instance-type.");
        let template = fields.id_of("template", "template.");
        let disk_size = disk_size(&mut fields);
        let starts = fields.truth("auto-start").good().unwrap_or(true);
        let public_ip = fields.parsed("public-ip-assignment", public_ip).good().unwrap_or(PublicIp::None);
        let ssh_key = fields.name_of("ssh-key", "ssh-key.").good();
        let mut ssh_keys = fields.names_in("ssh-keys");
        if let Some(first) = ssh_key.filter(|first| !ssh_keys.contains(first)) {
            ssh_keys.insert(0, first);
        }
        let user_data = user_data(&mut fields).good().filter(|data| !data.as_str().is_empty());
        let labels = fields.labels().good().unwrap_or_default();
        let host = host(&labels, &mut fields);
        // Terraform would read back none, and make the instance anew at every plan.
        if fields.has("deploy-target") {
            fields.fault("deploy-target", "there is none; leave the property out");
        }
        let has_secure_boot = fields.truth("secureboot-enabled").good().unwrap_or(false);
        let has_tpm = fields.truth("tpm-enabled").good().unwrap_or(false);
        Some(Command::LaunchInstance(LaunchInstance {
            name: name.good(),
            host,
            driver: Driver::Netns,
            power: if starts { Power::Running } else { Power::Stopped },
            properties: InstanceProperties {
                instance_type: instance_type?,
                template: template?,
                disk_size_gib: disk_size?,
                public_ip,
                ssh_keys,
                user_data,
                labels,
                has_secure_boot,
                has_tpm,
            },
        }))
    }

    pub(super) fn update_instance(&mut self) -> Option<Command> {
        let id = self.path_id();
        let mut fields = self.fields();
        let wish = UpdateInstance {
            name: fields.name().good(),
            user_data: user_data(&mut fields).good(),
            labels: if fields.is_null("labels") { Some(Labels::new()) } else { fields.labels().good() },
            public_ip: fields.parsed("public-ip-assignment", public_ip).good(),
            ..UpdateInstance::default()
        };
        Some(Command::UpdateInstance(id?, wish))
    }

    pub(super) fn scale_instance(&mut self) -> Option<Command> {
        let id = self.path_id();
        let instance_type = Some(self.fields().id_of("instance-type", "instance-type.")?);
        Some(Command::UpdateInstance(id?, UpdateInstance { instance_type, ..UpdateInstance::default() }))
    }

    pub(super) fn resize_disk(&mut self) -> Option<Command> {
        let id = self.path_id();
        let disk_size_gib = Some(disk_size(&mut self.fields())?);
        Some(Command::UpdateInstance(id?, UpdateInstance { disk_size_gib, ..UpdateInstance::default() }))
    }

    pub(super) fn enable_tpm(&mut self) -> Option<Command> {
        let wish = UpdateInstance { has_tpm: Some(true), ..UpdateInstance::default() };
        Some(Command::UpdateInstance(self.path_id()?, wish))
    }

    pub(super) fn reset_instance_field(&mut self) -> Option<Command> {
        let id = self.path_id();
        self.expect_labels();
        Some(Command::ResetInstanceLabels(id?))
    }
}

fn label_terms(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let term = |term: &str| match term.split_once([':', '=']) {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (term.to_owned(), None),
    };
    let terms: Vec<_> = text.split(',').filter(|term| !term.is_empty()).map(term).collect();
    match terms.len() {
        0..=LABELS_MAX => Ok(terms),
        count => Err(format!("has {count} terms, at most {LABELS_MAX} are allowed")),
    }
}

/// In GiB; it must be there.
fn disk_size(fields: &mut Fields<'_>) -> Option<u32> {
    let bounds = InstanceProperties::DISK_SIZE_GIB_MIN..=InstanceProperties::DISK_SIZE_GIB_MAX;
    fields.number("disk-size", bounds).required(fields, "disk-size")
}

fn public_ip(text: &str) -> Result<PublicIp, String> {
    PublicIp::parse(text).ok_or_else(|| format!("\"{}\" is none of none, inet4 and dual", cut(text)))
}

fn user_data(fields: &mut Fields<'_>) -> Given<UserData> {
    fields.parsed("user-data", |text| match text.len() {
        0..=USER_DATA_OCTETS_MAX => Ok(UserData::new(text)),
        octets => Err(format!("has {octets} octets, at most {USER_DATA_OCTETS_MAX} are allowed")),
    })
}

/// The host that the labels name.
fn host(labels: &Labels, fields: &mut Fields<'_>) -> Option<HostName> {
    let name = labels.get(HOST_LABEL)?;
    let host = HostName::try_from(name.as_str());
    host.map_err(|_| fields.fault(&format!("labels.{HOST_LABEL}"), HostNameError(cut(name)))).ok()
}
