//! ADD, DEL and GC.

use privnet_agent::{ApplyError, inspect_device};
use privnet_model::Netns;
use serde_json::Value;

use super::config::Config;
use super::error::{CniError, Code};
use super::ledger::{self, Entry};
use super::parameters::Parameters;
use super::result;
use super::server::Server;
use crate::client::text;

/// Attaches a container. Whatever fails, nothing stays.
pub(super) fn add(config: &Config, parameters: &Parameters) -> Result<Value, CniError> {
    let Parameters { container, device, .. } = parameters;
    let netns = parameters.netns.as_ref().expect("ADD has one");
    look(netns, device.as_str())?;
    let entry = Entry::take(config, container, device.as_str())?;
    let server = Server::of(config)?;
    if entry.is_leftover {
        remove_all(&server, config, parameters)?;
    }
    let outcome = refuse_taken(netns, device.as_str()).and_then(|()| attach(&server, config, parameters));
    entry.close()?;
    outcome
}

fn attach(server: &Server, config: &Config, parameters: &Parameters) -> Result<Value, CniError> {
    let network = server.network(config)?;
    let host = server.host(config)?;
    let instance = server.register(config, parameters, text(&host, "name"))?;
    let attached = server
        .attach(&network, &instance, config, parameters)
        .and_then(|()| result::of_attachment(config, parameters, &server.shown(&network)?, &instance));
    attached.map_err(|error| match server.remove(&instance) {
        Ok(()) => error,
        Err(left) => error.and(format_args!("instance {instance} is left: {left}")),
    })
}

/// Detaches a container. What is gone already is no error.
pub(super) fn delete(config: &Config, parameters: &Parameters) -> Result<(), CniError> {
    let entry = Entry::take(config, &parameters.container, parameters.device.as_str())?;
    remove_all(&Server::of(config)?, config, parameters)?;
    entry.close()
}

fn remove_all(server: &Server, config: &Config, parameters: &Parameters) -> Result<(), CniError> {
    let found = server.attachments(config, &parameters.container, parameters.device.as_str())?;
    found.iter().try_for_each(|instance| server.remove(text(instance, "id")))
}

/// Removes what is left of containers of this host that there are no more: as much as can be.
pub(super) fn collect(config: &Config) -> Result<(), CniError> {
    let missing = || CniError::say(Code::InvalidConfig, "cni.dev/valid-attachments: it is missing, and GC needs it");
    let valid = config.valid_attachments.as_ref().ok_or_else(missing)?;
    let server = Server::of(config)?;
    let host = server.host(config)?;
    let mut failure = None;
    for attachment in server.all_attachments(config, text(&host, "name"))? {
        let is_valid = valid.iter().any(|(id, device)| *id == attachment.container && *device == attachment.device);
        if is_valid || ledger::is_busy(config, &attachment.container, &attachment.device) {
            continue;
        }
        match server.remove(&attachment.instance) {
            Ok(()) => ledger::forget(config, &attachment.container, &attachment.device),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// The container's namespace is there and another one than the host's.
fn look(netns: &Netns, device: &str) -> Result<bool, CniError> {
    inspect_device(netns, device).map(|device| device.is_some()).map_err(|error| of_namespace(&error))
}

fn refuse_taken(netns: &Netns, device: &str) -> Result<(), CniError> {
    if !look(netns, device)? {
        return Ok(());
    }
    let advice = "a DEL for the container removes it if it is this plugin's";
    Err(CniError::new(Code::Conflict, format_args!("CNI_IFNAME: {netns} has a device {device} already"), advice))
}

pub(super) fn of_namespace(error: &ApplyError) -> CniError {
    match error {
        ApplyError::NetnsNotFound(_) | ApplyError::ProcessGone(_) => {
            CniError::new(Code::UnknownContainer, "the container's network namespace does not exist", error)
        }
        ApplyError::OwnNetns(_) => CniError::new(Code::Environment, "CNI_NETNS is the host's own", error),
        _ => CniError::new(Code::Failed, "cannot look into the container's network namespace", error),
    }
}
