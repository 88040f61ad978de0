//! The server as a runtime's plugin sees it: networks by name, and attachments as instances.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use privnet_agent::start_of_process;
use privnet_api::Credentials;
use privnet_model::Netns;
use serde_json::{Value, json};
use ureq::http::Method;

use super::config::Config;
use super::error::{CniError, Code};
use super::parameters::Parameters;
use crate::client::{Client, escaped, list, text};
use crate::command::daemon::host_name;
use crate::command::resolve::{HOST, INSTANCE, NETWORK};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// Where the key is read from where the configuration names no file and the environment has none.
const CREDENTIALS: &str = "/etc/privnet/cni-credentials.json";

/// What labels tell of an attachment.
const CONTAINER: &str = "cni/container";
const DEVICE: &str = "cni/device";
const NAME: &str = "cni/network";
const ON_HOST: &str = "cni/host";

/// How long the end of a removal is waited for. It is certain as soon as the server has answered; a host that is away
/// makes up for it.
const REMOVAL_WAIT: Duration = Duration::from_secs(5);
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Server {
    pub(super) client: Client,
    settings: Settings,
}

impl Server {
    /// Connects at the first request.
    ///
    /// # Errors
    /// The key cannot be read, or a setting breaks a rule.
    pub(super) fn of(config: &Config) -> Result<Self, CniError> {
        let connect = || {
            let credentials = credentials(config.credentials.as_deref())?;
            let flag = |name: &str| config.api_url.clone().filter(|_| name == "api-url");
            let variable = |name: &str| match (name, &credentials) {
                ("EXOSCALE_API_KEY", Some(credentials)) => Some(credentials.key.clone()),
                ("EXOSCALE_API_SECRET", Some(credentials)) => Some(credentials.secret.clone()),
                _ => std::env::var(name).ok().filter(|value| !value.is_empty()),
            };
            let settings = Settings::load(flag, variable, None, false)?;
            Ok::<_, Failure>(Self { client: Client::of(&settings)?, settings })
        };
        connect().map_err(|failure| CniError::of(&failure, "use the server's API"))
    }

    /// The id of the private network.
    pub(super) fn network(&self, config: &Config) -> Result<String, CniError> {
        let found = NETWORK.id(&self.client, &config.network);
        found.map_err(|failure| CniError::of(&failure, format_args!("find the private network \"{}\"", config.network)))
    }

    /// A private network as the API shows it.
    pub(super) fn shown(&self, network: &str) -> Result<Value, CniError> {
        let shown = self.client.get(&format!("/v2/private-network/{}", escaped(network)));
        shown.map_err(|failure| CniError::of(&failure, "look at the private network"))
    }

    /// This host, as the zone has it: the one that is named, the only one that the key is told of, or else the one
    /// with this machine's name.
    pub(super) fn host(&self, config: &Config) -> Result<Value, CniError> {
        let answer = HOST.answer(&self.client).map_err(|failure| CniError::of(&failure, "look for this host"))?;
        let hosts = HOST.things(&answer);
        let own = match &config.host {
            Some(host) => host.clone(),
            None if hosts.len() == 1 => text(&hosts[0], "name").to_owned(),
            None => {
                let name = host_name(&self.settings).map(|name| name.to_string());
                name.map_err(|failure| CniError::of(&failure, "tell this host's name"))?
            }
        };
        hosts.iter().find(|host| text(host, "name") == own).cloned().ok_or_else(|| {
            let advice = "join this machine to the zone, or name its host by the key \"host\" of the configuration";
            CniError::new(Code::InvalidConfig, format_args!("the zone has no host \"{own}\""), advice)
        })
    }

    /// Registers an attachment, and returns the instance's id.
    pub(super) fn register(&self, config: &Config, parameters: &Parameters, host: &str) -> Result<String, CniError> {
        let netns = parameters.netns.as_ref().map(by_process);
        let mut labels = json!({
            CONTAINER: parameters.container,
            DEVICE: parameters.device.as_str(),
            NAME: config.name,
            ON_HOST: host,
        });
        for (label, value) in &parameters.arguments.labels {
            labels[label] = value.as_str().into();
        }
        let body = json!({"name": parameters.container, "host": host, "kind": "netns", "netns": netns.as_ref().map(Netns::as_str), "labels": labels});
        let made = self.client.request(Method::POST, "/privnet/v1/instances", Some(&body));
        let made = made.map_err(|failure| CniError::of(&failure, "register the container as an instance"))?;
        Ok(text(&made, "id").to_owned())
    }

    /// Attaches an instance, and waits until its device is as it shall be.
    pub(super) fn attach(
        &self,
        network: &str,
        instance: &str,
        config: &Config,
        parameters: &Parameters,
    ) -> Result<(), CniError> {
        let mut body = json!({"instance": {"id": instance}, "device": parameters.device.as_str(), "configure": true});
        if let Some(ip) = parameters.arguments.ip.or(config.ip) {
            body["ip"] = ip.to_string().into();
        }
        let path = format!("/privnet/v1/private-networks/{network}:attach");
        let attached = self.client.request(Method::PUT, &path, Some(&body));
        let attached = attached.and_then(|operation| self.client.wait(operation));
        attached.map(drop).map_err(|failure| CniError::of(&failure, "attach the container to the private network"))
    }

    /// The instances of an attachment: one, or none, or what a killed ADD has left.
    pub(super) fn attachments(&self, config: &Config, container: &str, device: &str) -> Result<Vec<Value>, CniError> {
        let found = self.labelled(CONTAINER, container)?;
        let is_it = |instance: &Value| label(instance, DEVICE) == device && label(instance, NAME) == config.name;
        Ok(found.into_iter().filter(is_it).collect())
    }

    /// The attachments of the network on this host.
    pub(super) fn all_attachments(&self, config: &Config, host: &str) -> Result<Vec<Attachment>, CniError> {
        let found = self.labelled(NAME, &config.name)?;
        let here = found.iter().filter(|instance| label(instance, ON_HOST) == host);
        let attachment = |instance: &Value| Attachment {
            instance: text(instance, "id").to_owned(),
            container: label(instance, CONTAINER).to_owned(),
            device: label(instance, DEVICE).to_owned(),
        };
        Ok(here.map(attachment).collect())
    }

    fn labelled(&self, key: &str, value: &str) -> Result<Vec<Value>, CniError> {
        let answer = self.client.get(&format!("/v2/instance?labels={}", escaped(&format!("{key}:{value}"))));
        let answer = answer.map_err(|failure| CniError::of(&failure, "look for attachments"))?;
        Ok(INSTANCE.things(&answer).to_vec())
    }

    /// Removes an instance with its port. One that is gone is no error.
    pub(super) fn remove(&self, instance: &str) -> Result<(), CniError> {
        let doing = |failure: &Failure| CniError::of(failure, "remove the container's instance");
        let mut operation = match self.client.request(Method::DELETE, &format!("/v2/instance/{instance}"), None) {
            Err(failure) if failure.exit() == Exit::NotFound => return Ok(()),
            answer => answer.map_err(|failure| doing(&failure))?,
        };
        let started = Instant::now();
        while text(&operation, "state") == "pending" && started.elapsed() < REMOVAL_WAIT {
            std::thread::sleep(REMOVAL_PAUSE);
            let asked = self.client.get(&format!("/v2/operation/{}", text(&operation, "id")));
            operation = asked.map_err(|failure| doing(&failure))?;
        }
        Ok(())
    }
}

/// An attachment that the server knows of.
pub(super) struct Attachment {
    pub(super) instance: String,
    pub(super) container: String,
    pub(super) device: String,
}

/// Whether containers can be added.
///
/// # Errors
/// [`Code::Unavailable`]; [`Code::UnavailableAndLimited`] while this host's agent is away: it learns of no change.
pub(super) fn status(config: &Config) -> Result<(), CniError> {
    let unavailable = |error: CniError| error.coded(Code::Unavailable);
    let server = Server::of(config).map_err(unavailable)?;
    server.network(config).map_err(unavailable)?;
    let host = server.host(config).map_err(unavailable)?;
    if host["connected"] == true {
        return Ok(());
    }
    let message = format_args!("the agent of host {} is not connected to the server", text(&host, "name"));
    let details = "containers go on as they are, and learn of no change until it is back";
    Err(CniError::new(Code::UnavailableAndLimited, message, details))
}

fn label<'a>(instance: &'a Value, key: &str) -> &'a str {
    text(&instance["labels"], key)
}

/// The address that an instance has leased.
pub(super) fn lease<'a>(network: &'a Value, instance: &str) -> Option<&'a str> {
    let leases = list(network, "leases").iter();
    leases.filter(|lease| text(lease, "instance-id") == instance).map(|lease| text(lease, "ip")).next()
}

fn credentials(path: Option<&Path>) -> Result<Option<Credentials>, Failure> {
    let file = path.unwrap_or(Path::new(CREDENTIALS));
    if path.is_none() && !file.exists() {
        return Ok(None);
    }
    let json = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let what = || format!("{} is not {{\"key\": ..., \"secret\": ...}}", file.display());
    let read = serde_json::from_slice(&json).with_context(what);
    Ok(Some(read.map_err(|error| Failure::new(Exit::Usage, error))?))
}

/// The path of a process's namespace, as nerdctl gives it, stands for that process and none that has its number later.
fn by_process(netns: &Netns) -> Netns {
    let number = netns.as_str().strip_prefix("/proc/").and_then(|rest| rest.strip_suffix("/ns/net")?.parse().ok());
    let started = number.and_then(|number| Some((number, start_of_process(number)?)));
    started.map_or_else(|| netns.clone(), |(number, started_ticks)| Netns::of_process(number, started_ticks))
}
