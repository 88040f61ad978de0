use std::fmt;
use std::net::Ipv4Addr;

use privnet_model::{DeviceName, Netns};

use super::error::{CniError, Code};

/// What a runtime asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

const COMMANDS: [(&str, Command); 6] = [
    ("ADD", Command::Add),
    ("DEL", Command::Del),
    ("CHECK", Command::Check),
    ("GC", Command::Gc),
    ("STATUS", Command::Status),
    ("VERSION", Command::Version),
];

impl Command {
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let text = variable("CNI_COMMAND").ok_or_else(|| {
            let advice = "a container runtime starts this program; see `privnet cni --help`";
            CniError::new(Code::Environment, "CNI_COMMAND is not set", advice)
        })?;
        let found = COMMANDS.into_iter().find(|(name, _)| *name == text);
        let names = || COMMANDS.map(|(name, _)| name).join(", ");
        let unknown = || CniError::say(Code::Environment, format_args!("CNI_COMMAND={text} is none of {}", names()));
        found.map(|(_, command)| command).ok_or_else(unknown)
    }

    /// The first version of the specification that has it.
    pub(super) fn since(self) -> &'static str {
        match self {
            Self::Add | Self::Del | Self::Version => "0.3.1",
            Self::Check => "0.4.0",
            Self::Gc | Self::Status => "1.1.0",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = COMMANDS.iter().find(|(_, command)| command == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

/// Which attachment a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) container: String,
    /// Where a DEL has none, the namespace is gone.
    pub(super) netns: Option<Netns>,
    pub(super) device: DeviceName,
    pub(super) arguments: Arguments,
}

/// What CNI_ARGS says that means something here; runtimes say more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) ip: Option<Ipv4Addr>,
    /// Of the pod, as labels.
    pub(super) labels: Vec<(&'static str, String)>,
}

impl Parameters {
    /// # Errors
    /// The first variable that is missing or breaks a rule.
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>, command: Command) -> Result<Self, CniError> {
        let required = |name: &str| {
            let missing =
                || CniError::say(Code::Environment, format_args!("{name} is not set, and {command} needs it"));
            variable(name).ok_or_else(missing)
        };
        let bad = |name: &str, why: &dyn fmt::Display| {
            CniError::new(Code::Environment, format_args!("{name} is invalid"), why)
        };
        let container = required("CNI_CONTAINERID")?;
        if !is_id(&container) {
            let rule = format_args!(
                "\"{container}\" is not a letter or digit and up to {} more, or _, . and -",
                ID_OCTETS_MAX - 1
            );
            return Err(bad("CNI_CONTAINERID", &rule));
        }
        let netns = match command {
            Command::Del => variable("CNI_NETNS"),
            _ => Some(required("CNI_NETNS")?),
        };
        let netns =
            netns.map(|netns| Netns::try_from(&*netns).map_err(|error| bad("CNI_NETNS", &error))).transpose()?;
        let device = required("CNI_IFNAME")?;
        let device = DeviceName::try_from(&*device).map_err(|error| bad("CNI_IFNAME", &error))?;
        let arguments = variable("CNI_ARGS").map(|text| Arguments::read(&text)).transpose();
        let arguments = arguments.map_err(|error| bad("CNI_ARGS", &error))?.unwrap_or_default();
        Ok(Self { container, netns, device, arguments })
    }
}

/// So that two of them and a device's name make a file's.
const ID_OCTETS_MAX: usize = 110;

/// The rule for ids of containers and names of networks.
pub(super) fn is_id(text: &str) -> bool {
    text.len() <= ID_OCTETS_MAX
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'.' | b'-'))
}

/// The arguments that Kubernetes' runtimes give, and the labels that tell them.
const POD_LABELS: [(&str, &str); 3] = [
    ("K8S_POD_NAMESPACE", "kubernetes/namespace"),
    ("K8S_POD_NAME", "kubernetes/pod"),
    ("K8S_POD_UID", "kubernetes/pod-uid"),
];

impl Arguments {
    fn read(text: &str) -> Result<Self, String> {
        let mut arguments = Self::default();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("\"{pair}\" is not KEY=VALUE"))?;
            if key == "IP" {
                arguments.ip = Some(address(value).ok_or_else(|| format!("IP={value} is not an IPv4 address"))?);
            }
            let label = POD_LABELS.iter().find(|(name, _)| *name == key).filter(|_| !value.is_empty());
            arguments.labels.extend(label.map(|(_, label)| (*label, value.to_owned())));
        }
        Ok(arguments)
    }
}

/// An address, perhaps with the length of its prefix, which the network knows.
pub(super) fn address(text: &str) -> Option<Ipv4Addr> {
    text.split('/').next()?.parse().ok()
}
