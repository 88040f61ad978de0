use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::{CniError, Code};
use super::parameters::{Command, address, is_id};

/// The versions of the specification that are spoken, the oldest first.
pub(super) const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", NEWEST];
pub(super) const NEWEST: &str = "1.1.0";

/// What a configuration without a version is of (specification 0.2.0 and before).
const VERSION_OF_NONE: &str = "0.1.0";

/// A network's configuration as a runtime hands it to one plugin.
#[derive(Debug)]
pub(super) struct Config {
    /// One of [`VERSIONS`].
    pub(super) version: &'static str,
    /// Of the network, for the runtime.
    pub(super) name: String,
    /// The private network, by name or id.
    pub(super) network: String,
    pub(super) api_url: Option<String>,
    /// The file with the key that requests are signed with.
    pub(super) credentials: Option<PathBuf>,
    /// This host, as the zone calls it.
    pub(super) host: Option<String>,
    /// The address that the runtime wants for the container.
    pub(super) ip: Option<Ipv4Addr>,
    /// What to tell of DNS where the network says nothing.
    pub(super) dns: Option<Value>,
    pub(super) previous: Option<Value>,
    /// Which attachments there are; `None` where the runtime has not said.
    pub(super) valid_attachments: Option<Vec<(String, String)>>,
}

/// The version that a VERSION command is asked in. What has none is answered all the same.
pub(super) fn version_asked(input: &str) -> Result<String, CniError> {
    if input.trim().is_empty() {
        return Ok(NEWEST.to_owned());
    }
    let config = object(input)?;
    Ok(config.get("cniVersion").and_then(Value::as_str).unwrap_or(NEWEST).to_owned())
}

impl Config {
    /// `told` becomes the version that the configuration says, as errors repeat it.
    pub(super) fn read(input: &str, told: &mut String) -> Result<Self, CniError> {
        let config = object(input)?;
        let version = text(&config, "cniVersion")?.unwrap_or(VERSION_OF_NONE);
        version.clone_into(told);
        let known = VERSIONS.into_iter().find(|known| *known == version);
        let version = known.ok_or_else(|| {
            let spoken = format_args!("versions {} are supported", VERSIONS.join(", "));
            CniError::new(Code::IncompatibleVersion, format_args!("cniVersion \"{version}\" is not supported"), spoken)
        })?;
        refuse_unsupported(&config)?;
        let name = text(&config, "name")?.ok_or_else(|| invalid("name: it is missing"))?;
        if !is_id(name) {
            return Err(invalid(format_args!(
                "name: \"{name}\" is not a letter or digit and more of them, or _, . and -"
            )));
        }
        let valid_attachments = ["cni.dev/valid-attachments", "cni.dev/attachments"].into_iter().find_map(|key| {
            let list = config.get(key)?;
            Some(
                attachments(list)
                    .ok_or_else(|| invalid(format_args!("{key}: a list of containerID and ifname is expected"))),
            )
        });
        Ok(Self {
            version,
            name: name.to_owned(),
            network: text(&config, "network")?.unwrap_or(name).to_owned(),
            api_url: text(&config, "api-url")?.map(str::to_owned),
            credentials: text(&config, "credentials")?.map(PathBuf::from),
            host: text(&config, "host")?.map(str::to_owned),
            ip: wanted_ip(&config)?,
            dns: config.get("dns").filter(|dns| dns.as_object().is_some_and(|dns| !dns.is_empty())).cloned(),
            previous: config.get("prevResult").filter(|result| !result.is_null()).cloned(),
            valid_attachments: valid_attachments.transpose()?,
        })
    }

    /// Refuses what the configuration's version of the specification does not have.
    pub(super) fn refuse_older_than(&self, since: &str, command: Command) -> Result<(), CniError> {
        let place = |version: &str| VERSIONS.iter().position(|known| *known == version);
        if place(self.version) >= place(since) {
            return Ok(());
        }
        let message = format_args!("there is no {command} in version {}", self.version);
        Err(CniError::new(Code::IncompatibleVersion, message, format_args!("it came with version {since}")))
    }
}

fn object(input: &str) -> Result<Map<String, Value>, CniError> {
    let cannot =
        |why: &dyn std::fmt::Display| CniError::new(Code::Decode, "cannot decode the network configuration", why);
    match serde_json::from_str(input).map_err(|error| cannot(&error))? {
        Value::Object(object) => Ok(object),
        _ => Err(cannot(&"it is not a JSON object")),
    }
}

fn text<'a>(config: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, CniError> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(invalid(format_args!("{key}: a text is expected, not {other}"))),
    }
}

/// What would not be as the runtime wants it if it were ignored.
fn refuse_unsupported(config: &Map<String, Value>) -> Result<(), CniError> {
    let is_set = |value: &&Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Object(object) => !object.is_empty(),
        _ => true,
    };
    let refuse = |key: &str, value: Option<&Value>, why: &str| match value.filter(is_set) {
        Some(value) => Err(CniError::new(Code::UnsupportedField, format_args!("{key}: {value} is not supported"), why)),
        None => Ok(()),
    };
    let runtime = |key: &str| config.get("runtimeConfig").and_then(|capabilities| capabilities.get(key));
    refuse("ipam", config.get("ipam"), "the private network leases the addresses")?;
    refuse("ipMasq", config.get("ipMasq"), "a private network has no masquerading; an instance may be its router")?;
    refuse("runtimeConfig.mac", runtime("mac"), "a port has the MAC address that it is given")?;
    refuse("runtimeConfig.portMappings", runtime("portMappings"), "chain the plugin portmap for that")
}

/// By the capability `ips`, or by the older convention args.cni.ips (CONVENTIONS.md); an attachment has one.
fn wanted_ip(config: &Map<String, Value>) -> Result<Option<Ipv4Addr>, CniError> {
    let of = |path: &[&str]| {
        path.iter()
            .try_fold(config.get(path[0])?, |value, key| if *key == path[0] { Some(value) } else { value.get(key) })
            .cloned()
    };
    let lists = [of(&["runtimeConfig", "ips"]), of(&["args", "cni", "ips"])];
    let ips: Vec<_> = lists.into_iter().flatten().filter_map(|list| list.as_array().cloned()).flatten().collect();
    match &ips[..] {
        [] => Ok(None),
        [ip] => {
            let parsed = ip.as_str().and_then(address);
            parsed.map(Some).ok_or_else(|| invalid(format_args!("ips: {ip} is not an IPv4 address")))
        }
        _ => Err(invalid(format_args!("ips: {} addresses are asked for, and an attachment has one", ips.len()))),
    }
}

fn attachments(list: &Value) -> Option<Vec<(String, String)>> {
    let text = |of: &Value, key: &str| Some(of.get(key)?.as_str()?.to_owned());
    list.as_array()?.iter().map(|one| Some((text(one, "containerID")?, text(one, "ifname")?))).collect()
}

fn invalid(message: impl std::fmt::Display) -> CniError {
    CniError::new(Code::InvalidConfig, "the network configuration is invalid", message)
}
