//! Requests about instances.

use privnet_model::zone::{Command, HOST_LABEL, LaunchInstance, UpdateInstance};
use privnet_model::{Driver, HostName, HostNameError, InstanceProperties, Labels, Power, PublicIp};

use super::Reader;
use super::fields::{Fields, Given, cut};

/// As the real service limits user data (the client egoscale and the exo command know it as 32 KiB).
const USER_DATA_OCTETS_MAX: usize = 32_768;

impl Reader<'_> {
    /// Its driver is the server's to choose.
    pub(super) fn launch_instance(&mut self) -> Option<Command> {
        let mut fields = self.fields();
        let name = fields.name();
        let instance_type = fields.id_of("instance-type", "instance-type.");
        let template = fields.id_of("template", "template.");
        let (least, most) = (InstanceProperties::DISK_SIZE_GIB_MIN, InstanceProperties::DISK_SIZE_GIB_MAX);
        let disk_size = fields.number("disk-size", least..=most).required(&mut fields, "disk-size");
        let starts = fields.truth("auto-start").good().unwrap_or(true);
        let public_ip = fields.parsed("public-ip-assignment", public_ip).good().unwrap_or(PublicIp::None);
        let ssh_key = fields.name_of("ssh-key", "ssh-key.").good();
        let mut ssh_keys = fields.names_in("ssh-keys");
        if let Some(first) = ssh_key.filter(|first| !ssh_keys.contains(first)) {
            ssh_keys.insert(0, first);
        }
        let user_data = user_data(&mut fields).good().filter(|text| !text.is_empty());
        let labels = fields.labels().good().unwrap_or_default();
        let host = host(&labels, &mut fields);
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
            labels: fields.labels().good(),
        };
        Some(Command::UpdateInstance(id?, wish))
    }

    pub(super) fn reset_instance_field(&mut self) -> Option<Command> {
        let id = self.path_id();
        self.expect_labels();
        Some(Command::ResetInstanceLabels(id?))
    }
}

fn public_ip(text: &str) -> Result<PublicIp, String> {
    PublicIp::parse(text).ok_or_else(|| format!("\"{}\" is none of none, inet4 and dual", cut(text)))
}

fn user_data(fields: &mut Fields<'_>) -> Given<Box<str>> {
    fields.parsed("user-data", |text| match text.len() {
        0..=USER_DATA_OCTETS_MAX => Ok(Box::from(text)),
        octets => Err(format!("has {octets} octets, at most {USER_DATA_OCTETS_MAX} are allowed")),
    })
}

/// The host that the labels name.
fn host(labels: &Labels, fields: &mut Fields<'_>) -> Option<HostName> {
    let name = labels.get(HOST_LABEL)?;
    let host = HostName::try_from(name.as_str());
    host.map_err(|_| fields.fault(&format!("labels.{HOST_LABEL}"), HostNameError(cut(name)))).ok()
}
