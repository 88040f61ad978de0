//! Settings: from flags, the environment and a TOML file, in that order, and what holds otherwise.
//!
//! A setting has one name everywhere: `public-url` is the flag `--public-url`, the variable
//! `PRIVNET_PUBLIC_URL` and the key `public-url` of the file. Values stay text here, with where each
//! came from; whoever needs one parses it by [`Settings::parse`], whose refusal names that place.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use privnet_api::Credentials;

use crate::exit::{Exit, Failure};

/// One thing that can be set.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name, as in the module's doc.
    pub(crate) name: &'static str,
    /// What holds when nobody sets it.
    pub(crate) default: Fallback,
}

/// What holds when nobody sets a setting.
#[derive(Debug)]
pub(crate) enum Fallback {
    /// This.
    Value(&'static str),
    /// A file in the folder that `data` names.
    InData { file: &'static str, prefix: &'static str },
    /// Worked out when it is needed; the text says how.
    Derived(&'static str),
}

/// The folder that `data` names unless told otherwise.
const DATA_DIR: &str = "/var/lib/privnet";

/// All settings, in the order in which `privnet config show` lists them.
pub(crate) const SETTINGS: [Setting; 43] = [
    Setting { name: "api-url", default: Fallback::Value("http://127.0.0.1:8080") },
    Setting { name: "ca-file", default: Fallback::Derived("the authorities that the system trusts") },
    Setting { name: "output", default: Fallback::Value("table") },
    Setting { name: "log", default: Fallback::Value("info") },
    Setting { name: "log-format", default: Fallback::Value("text") },
    Setting { name: "listen", default: Fallback::Value("127.0.0.1:8080") },
    Setting { name: "tls-cert", default: Fallback::Derived("none, plain HTTP is served") },
    Setting { name: "tls-key", default: Fallback::Derived("none") },
    Setting { name: "data", default: Fallback::Value(DATA_DIR) },
    Setting { name: "catalogue", default: Fallback::InData { file: "catalogue.toml", prefix: "" } },
    Setting { name: "zone", default: Fallback::Value("ch-dk-2") },
    Setting { name: "public-url", default: Fallback::Derived("the listen address, as http:// or https://") },
    Setting { name: "operation-hold", default: Fallback::Value("250ms") },
    Setting { name: "auth-leeway", default: Fallback::Value("60s") },
    Setting { name: "sync-socket", default: Fallback::InData { file: "sync.sock", prefix: "" } },
    Setting { name: "sync-listen", default: Fallback::Derived("none, agents use the socket") },
    Setting { name: "sync-url", default: Fallback::Derived("https:// and the address of sync-listen") },
    Setting { name: "certificate-lifetime", default: Fallback::Value("30d") },
    Setting { name: "audit-days", default: Fallback::Value("90") },
    Setting { name: "audit-events-max", default: Fallback::Value("1000000") },
    Setting { name: "connections-max", default: Fallback::Value("4096") },
    Setting { name: "connections-per-address-max", default: Fallback::Value("2048") },
    Setting { name: "requests-max", default: Fallback::Value("8192") },
    Setting { name: "head-bytes-max", default: Fallback::Value("65536") },
    Setting { name: "headers-max", default: Fallback::Value("100") },
    Setting { name: "body-bytes-max", default: Fallback::Value("1048576") },
    Setting { name: "bodies-bytes-max", default: Fallback::Value("268435456") },
    Setting { name: "organization-requests-per-second", default: Fallback::Value("50000") },
    Setting { name: "address-requests-per-second", default: Fallback::Value("50000") },
    Setting { name: "idle-timeout", default: Fallback::Value("120s") },
    Setting { name: "head-timeout", default: Fallback::Value("10s") },
    Setting { name: "body-timeout", default: Fallback::Value("30s") },
    Setting { name: "request-timeout", default: Fallback::Value("60s") },
    Setting { name: "send-timeout", default: Fallback::Value("30s") },
    Setting { name: "stop-timeout", default: Fallback::Value("10s") },
    Setting { name: "name", default: Fallback::Derived("the machine's host name") },
    Setting { name: "vtep", default: Fallback::Derived("the source address of the default route") },
    Setting { name: "server", default: Fallback::InData { file: "sync.sock", prefix: "unix://" } },
    Setting { name: "identity", default: Fallback::InData { file: "identity.pem", prefix: "" } },
    Setting { name: "state", default: Fallback::InData { file: "agent", prefix: "" } },
    Setting { name: "bpf-dir", default: Fallback::Value("/sys/fs/bpf/privnet") },
    Setting { name: "vxlan-port", default: Fallback::Value("4789") },
    Setting { name: "bum-copies-per-second", default: Fallback::Value("200000") },
];

/// The file that is read when neither `--config` nor `PRIVNET_CONFIG` names one. It may be missing.
const CONFIG_FILE: &str = "/etc/privnet/privnet.toml";

impl Setting {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("PRIVNET_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// The variable of Exoscale's own clients that sets it where ours does not.
    pub(crate) fn exoscale_variable(&self) -> Option<&'static str> {
        (self.name == "api-url").then_some("EXOSCALE_API_ENDPOINT")
    }

    /// What `--help` says about its default.
    pub(crate) fn default_text(&self) -> String {
        match self.default {
            Fallback::Value(value) => value.to_owned(),
            Fallback::InData { file, prefix } => format!("{prefix}DATA/{file}"),
            Fallback::Derived(how) => how.to_owned(),
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The flag of this name.
    Flag(&'static str),
    /// This environment variable.
    Environment(String),
    /// This file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting's value in force.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    /// `None`: worked out when it is needed.
    pub(crate) text: Option<String>,
    pub(crate) source: Source,
}

/// Every setting's value in force, and what else the environment says.
#[derive(Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Value>,
    file: PathBuf,
    credentials: Option<Credentials>,
}

/// The variables of Exoscale's clients for a key and its secret. They are no settings, as a secret is nothing
/// for a command line or for a file that others read.
const KEY_VARIABLES: [&str; 2] = ["EXOSCALE_API_KEY", "EXOSCALE_API_SECRET"];

impl Settings {
    /// Takes each setting from the first of `flag`, `variable` and `file` that has it.
    ///
    /// A file that is named must be there, unless it is to be written.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a key that is no setting; there is a key without its
    /// secret, or a secret without its key.
    pub(crate) fn load(
        flag: impl Fn(&str) -> Option<String>,
        variable: impl Fn(&str) -> Option<String>,
        file: Option<PathBuf>,
        is_to_be_written: bool,
    ) -> Result<Self, Failure> {
        let named = file.or_else(|| variable("PRIVNET_CONFIG").map(PathBuf::from));
        let may_be_missing = named.is_none() || is_to_be_written;
        let file = named.unwrap_or_else(|| PathBuf::from(CONFIG_FILE));
        let from_file = if may_be_missing && !file.exists() { BTreeMap::new() } else { read_file(&file)? };
        let mut values = BTreeMap::new();
        for setting in &SETTINGS {
            let from_flag = || Some((flag(setting.name)?, Source::Flag(setting.name)));
            let from_one = |name: String| Some((variable(&name)?, Source::Environment(name)));
            let from_exoscales = || from_one(setting.exoscale_variable()?.to_owned());
            let from_variable = || from_one(setting.variable()).or_else(from_exoscales);
            let from_file = || Some((from_file.get(setting.name)?.clone(), Source::File(file.clone())));
            let value = match from_flag().or_else(from_variable).or_else(from_file) {
                Some((text, source)) => Value { text: Some(text), source },
                None => Value { text: default_value(setting, &values), source: Source::Default },
            };
            values.insert(setting.name, value);
        }
        let credentials = match KEY_VARIABLES.map(variable) {
            [Some(key), Some(secret)] => Some(Credentials { key, secret }),
            [None, None] => None,
            _ => return Err(Failure::say(Exit::Usage, format_args!("set both of {}", KEY_VARIABLES.join(" and ")))),
        };
        Ok(Self { values, file, credentials })
    }

    /// The file that was read, or would have been if it were there.
    pub(crate) fn config_file(&self) -> &Path {
        &self.file
    }

    /// The key and secret that the environment has.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// A setting's value in force.
    pub(crate) fn get(&self, name: &str) -> &Value {
        &self.values[name]
    }

    /// A setting's value as a `T`; `None` if it is to be worked out.
    ///
    /// # Errors
    /// The text is empty or no `T`; the message names the setting, the text and where it came from.
    pub(crate) fn parse<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: fmt::Display,
    {
        let value = self.get(name);
        let Some(text) = &value.text else { return Ok(None) };
        if text.is_empty() {
            return Err(self.refuse(name, "must not be empty"));
        }
        text.parse().map(Some).map_err(|error| self.refuse(name, error))
    }

    /// As [`parse`](Self::parse), for a setting that has a default.
    pub(crate) fn require<T: FromStr>(&self, name: &str) -> Result<T, Failure>
    where
        T::Err: fmt::Display,
    {
        self.parse(name)?.ok_or_else(|| self.refuse(name, "must be given"))
    }

    /// The refusal of a setting's value.
    pub(crate) fn refuse(&self, name: &str, why: impl fmt::Display) -> Failure {
        let value = self.get(name);
        let text = value.text.as_deref().unwrap_or_default();
        Failure::say(Exit::Usage, format_args!("{name} = \"{text}\" ({}): {why}", value.source))
    }
}

fn default_value(setting: &Setting, earlier: &BTreeMap<&'static str, Value>) -> Option<String> {
    match setting.default {
        Fallback::Value(value) => Some(value.to_owned()),
        Fallback::InData { file, prefix } => {
            let data = earlier["data"].text.as_deref().unwrap_or(DATA_DIR);
            Some(format!("{prefix}{}", Path::new(data).join(file).display()))
        }
        Fallback::Derived(_) => None,
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let refuse = |why: &dyn fmt::Display| Failure::say(Exit::Usage, format_args!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&error))?;
    let table: toml::Table = text.parse().map_err(|error| refuse(&error))?;
    table.into_iter().map(|(key, value)| file_value(&key, value).map_err(|why| refuse(&why))).collect()
}

fn file_value(key: &str, value: toml::Value) -> Result<(String, String), String> {
    if !SETTINGS.iter().any(|setting| setting.name == key) {
        let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        return Err(format!("unknown key \"{key}\"; known are {}", known.join(", ")));
    }
    match value {
        toml::Value::String(text) => Ok((key.to_owned(), text)),
        toml::Value::Integer(number) => Ok((key.to_owned(), number.to_string())),
        other => Err(format!("{key} = {other}: a text is expected")),
    }
}

/// A duration as people write it: `250ms`, `5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HumanDuration(pub(crate) Duration);

impl FromStr for HumanDuration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "a number with ms or s is expected, such as 250ms";
        let (number, unit): (_, fn(u64) -> Duration) = match text.strip_suffix("ms") {
            Some(number) => (number, Duration::from_millis),
            None => (text.strip_suffix('s').ok_or(RULE)?, Duration::from_secs),
        };
        number.trim_end().parse().map(|n| Self(unit(n))).map_err(|_| RULE)
    }
}

/// The address of an API, to which paths that start with `/v2` or `/privnet/v1` are added. Written with or
/// without `/v2`, which Exoscale's clients expect at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(pub(crate) String);

impl FromStr for BaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = text.trim_end_matches('/');
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("a URL that starts with http:// or https:// is expected");
        }
        Ok(Self(url.strip_suffix("/v2").unwrap_or(url).to_owned()))
    }
}

/// An address to listen on, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenAddress(pub(crate) SocketAddr);

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "an IP address and a port are expected, such as 127.0.0.1:8080")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)], variables: &[(&str, &str)], file: Option<&Path>) -> Result<Settings, String> {
        let find = |pairs: &[(&str, &str)], name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::load(|name| find(flags, name), |name| find(variables, name), file.map(Path::to_owned), false)
            .map_err(|failure| failure.to_string())
    }

    fn config(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("writable");
        file
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
        let file = config("zone = \"file\"\n");
        let zone = |flags: &[_], variables: &[_], file| {
            let settings = load(flags, variables, file).expect("valid");
            settings.get("zone").text.clone().expect("set")
        };
        let (flag, variable) = (("zone", "flag"), ("PRIVNET_ZONE", "environment"));
        assert_eq!(zone(&[flag], &[variable], Some(file.path())), "flag");
        assert_eq!(zone(&[], &[variable], Some(file.path())), "environment");
        assert_eq!(zone(&[], &[], Some(file.path())), "file");
        assert_eq!(zone(&[], &[], Some(config("").path())), "ch-dk-2");
    }

    #[test]
    fn what_exoscales_clients_are_told_counts_unless_we_are_told_otherwise() {
        let endpoint = ("EXOSCALE_API_ENDPOINT", "http://exoscale/v2");
        let url = |variables: &[_]| {
            let settings = load(&[], variables, Some(config("").path())).expect("valid");
            settings.require::<BaseUrl>("api-url").map(|url| url.0).ok()
        };
        assert_eq!(url(&[endpoint]).as_deref(), Some("http://exoscale"));
        assert_eq!(url(&[endpoint, ("PRIVNET_API_URL", "http://ours")]).as_deref(), Some("http://ours"));
    }

    #[test]
    fn a_key_and_its_secret_come_together() {
        let (key, secret) = (("EXOSCALE_API_KEY", "EXOk"), ("EXOSCALE_API_SECRET", "s"));
        let load = |variables: &[_]| load(&[], variables, Some(config("").path()));
        let both = load(&[key, secret]).expect("both");
        assert_eq!(both.credentials(), Some(&Credentials { key: "EXOk".into(), secret: "s".into() }));
        assert_eq!(load(&[]).expect("none").credentials(), None);
        for one in [key, secret] {
            let refusal = load(&[one]).expect_err("one of two");
            assert_eq!(refusal, "set both of EXOSCALE_API_KEY and EXOSCALE_API_SECRET");
        }
    }

    #[test]
    fn what_lies_in_the_data_folder_follows_it() {
        let settings = load(&[("data", "/srv/p")], &[], Some(config("").path())).expect("valid");
        assert_eq!(settings.get("sync-socket").text.as_deref(), Some("/srv/p/sync.sock"));
        assert_eq!(settings.get("server").text.as_deref(), Some("unix:///srv/p/sync.sock"));
        assert_eq!(settings.get("state").text.as_deref(), Some("/srv/p/agent"));
    }

    #[test]
    fn a_number_in_the_file_is_as_good_as_its_text() {
        let settings = load(&[], &[], Some(config("vxlan-port = 4790").path())).expect("valid");
        assert_eq!(settings.require::<u16>("vxlan-port").ok(), Some(4790));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let refusal = load(&[], &[], Some(config("lisen = \"127.0.0.1:1\"").path())).expect_err("unknown");
        assert!(refusal.contains("unknown key \"lisen\"; known are api-url, "), "{refusal}");
    }

    #[test]
    fn a_refused_value_names_its_setting_and_where_it_came_from() {
        let settings = load(&[], &[("PRIVNET_VXLAN_PORT", "many")], Some(config("").path())).expect("text");
        let refusal = settings.require::<u16>("vxlan-port").expect_err("no number").to_string();
        assert!(refusal.contains("vxlan-port = \"many\" (environment PRIVNET_VXLAN_PORT)"), "{refusal}");
    }

    #[test]
    fn an_empty_value_is_refused() {
        for (name, file) in [("data", "data = \"\""), ("zone", "zone = \"\""), ("public-url", "public-url = \"\"")] {
            let settings = load(&[], &[], Some(config(file).path())).expect("texts");
            let refusal = settings.parse::<String>(name).expect_err("empty").to_string();
            assert!(refusal.ends_with("must not be empty"), "{refusal}");
        }
    }

    #[test]
    fn an_api_s_url_has_a_scheme_and_perhaps_the_path_of_the_api() {
        for good in ["", "/", "/v2", "/v2/"].map(|end| format!("http://127.0.0.1:8080{end}")) {
            assert_eq!(good.parse(), Ok(BaseUrl("http://127.0.0.1:8080".to_owned())));
        }
        for bad in ["127.0.0.1:8080", "ftp://api", ""] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_written_with_their_unit() {
        assert_eq!("250ms".parse(), Ok(HumanDuration(Duration::from_millis(250))));
        assert_eq!("3s".parse(), Ok(HumanDuration(Duration::from_secs(3))));
        for bad in ["", "250", "ms", "-1s", "1m", "1.5s"] {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad}");
        }
    }
}
