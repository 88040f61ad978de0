//! CHECK: whether a container's device is as ADD has left it, or as the network is by now.

use std::time::{Duration, Instant};

use privnet_agent::inspect_device;
use serde_json::Value;

use super::attachment::of_namespace;
use super::config::Config;
use super::error::{CniError, Code};
use super::parameters::Parameters;
use super::result::Addressing;
use super::server::Server;
use crate::client::{list, text};

/// How long what is missing may take to come: the host repairs what it configures.
const CONVERGENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn check(config: &Config, parameters: &Parameters) -> Result<(), CniError> {
    let missing = || CniError::say(Code::InvalidConfig, "prevResult: it is missing, and CHECK needs it");
    let previous = config.previous.as_ref().ok_or_else(missing)?;
    let mac = mac_told(previous, parameters)?;
    let server = Server::of(config)?;
    let network = server.network(config)?;
    let found = server.attachments(config, &parameters.container, parameters.device.as_str())?;
    let [instance] = &found[..] else {
        let message = format_args!("container {} has no such attachment", parameters.container);
        return Err(CniError::say(Code::UnknownContainer, message));
    };
    let ports = list(instance, "private-networks");
    if !ports.iter().any(|port| text(port, "id") == network) {
        let message = format_args!("the container is not attached to the private network \"{}\"", config.network);
        return Err(CniError::say(Code::NotAsAdded, message));
    }
    let started = Instant::now();
    loop {
        let addressing = Addressing::of(&server.shown(&network)?, text(instance, "id"));
        match compare(parameters, mac, addressing.as_ref()) {
            Err(error) if error.code() == Code::NotAsAdded && started.elapsed() < CONVERGENCE => {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// The MAC address that the device has by the chain's last result: a later plugin may have changed it.
fn mac_told<'a>(previous: &'a Value, parameters: &Parameters) -> Result<&'a str, CniError> {
    let (netns, device) = (parameters.netns.as_ref().expect("CHECK has one"), parameters.device.as_str());
    let is_it = |interface: &&Value| text(interface, "name") == device && text(interface, "sandbox") == netns.as_str();
    let told = list(previous, "interfaces").iter().find(is_it).map(|interface| text(interface, "mac"));
    let missing = format_args!("prevResult: it has no interface {device} in {netns}");
    told.ok_or_else(|| CniError::say(Code::InvalidConfig, missing))
}

fn compare(parameters: &Parameters, mac: &str, addressing: Option<&Addressing>) -> Result<(), CniError> {
    let (netns, name) = (parameters.netns.as_ref().expect("CHECK has one"), parameters.device.as_str());
    let differs = |what: &str| CniError::say(Code::NotAsAdded, format_args!("device {name} in {netns} {what}"));
    let device = inspect_device(netns, name).map_err(|error| of_namespace(&error))?;
    let device = device.ok_or_else(|| differs("is missing"))?;
    if !device.is_up {
        return Err(differs("is down"));
    }
    if !device.mac.is_some_and(|held| mac.eq_ignore_ascii_case(&held.to_string())) {
        return Err(differs("has another MAC address"));
    }
    match addressing {
        Some(addressing) if !addressing.is_on(&device) => Err(differs("lacks its address or a route")),
        _ => Ok(()),
    }
}
