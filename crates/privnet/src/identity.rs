//! What requests are signed with, and where that comes from.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use nix::ifaddrs::getifaddrs;
use privnet_api::exo2::Signable;
use privnet_api::{Credentials, FirstCredentials, Signer};
use ureq::http::{Method, Uri};

use crate::exit::Failure;
use crate::settings::Settings;

/// Who a client is.
pub(crate) struct Identity {
    signer: Option<Signer>,
    source: Source,
}

enum Source {
    /// The variables of Exoscale's clients.
    Environment { key: String },
    /// What the server on this machine has written down.
    File { path: PathBuf, key: String },
    /// The server may run without authentication.
    Nowhere { path: PathBuf },
}

impl Identity {
    /// What the environment says, else the operator of the server whose data folder this is, else nobody. That
    /// server's API is on this machine, so that nobody else is sent what its operator's key has signed.
    ///
    /// # Errors
    /// The file in the data folder cannot be read, or is none of the server's; or the API at `url` cannot be its.
    pub(crate) fn of(settings: &Settings, url: &str) -> Result<Self, Failure> {
        if let Some(credentials) = settings.credentials() {
            return Self::new(credentials, |key| Source::Environment { key });
        }
        let path = file(settings)?;
        match read(&path)? {
            Some(_) if !is_here(url) => {
                let why = format_args!(
                    "not an address of this machine, and the key in {} is for its own server alone; set EXOSCALE_API_KEY and EXOSCALE_API_SECRET",
                    path.display()
                );
                Err(settings.refuse("api-url", why))
            }
            Some(first) => Self::new(&first.operator, |key| Source::File { path, key }),
            None => Ok(Self { signer: None, source: Source::Nowhere { path } }),
        }
    }

    fn new(credentials: &Credentials, source: impl FnOnce(String) -> Source) -> Result<Self, Failure> {
        let signer = Signer::new(credentials).context("cannot sign requests")?;
        Ok(Self { signer: Some(signer), source: source(credentials.key.clone()) })
    }

    /// The value of a request's `Authorization` header, if there is anything to sign with.
    pub(crate) fn authorization(&self, method: &Method, path: &str, body: &str) -> Result<Option<String>, Failure> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Signable { method: method.as_str(), path, query, body: body.as_bytes() };
        Ok(Some(signer.authorization(&request, SystemTime::now()).context("cannot sign a request")?))
    }
}

/// Where the key comes from, for who wonders that it is refused.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Environment { key } => write!(f, "signed with {key}, from EXOSCALE_API_KEY"),
            Source::File { path, key } => write!(f, "signed with {key}, from {}", path.display()),
            Source::Nowhere { path } => write!(
                f,
                "not signed: EXOSCALE_API_KEY is not set, and {} is not there, which a server makes in its data folder",
                path.display()
            ),
        }
    }
}

/// What an official client signs with: what the environment says, else the admin of the organization
/// `default`.
///
/// # Errors
/// There is none; the file cannot be read, or is none of the server's.
pub(crate) fn for_official_clients(settings: &Settings) -> Result<Credentials, Failure> {
    if let Some(credentials) = settings.credentials() {
        return Ok(credentials.clone());
    }
    let path = file(settings)?;
    let missing = || anyhow::anyhow!("{} is not there: run this where the server's data folder is", path.display());
    Ok(read(&path)?.ok_or_else(missing)?.default)
}

/// Whether a URL is of this machine: by `localhost`, a loopback address, or one that a device of this machine has.
pub(crate) fn is_here(url: &str) -> bool {
    names_one_of(url, || {
        let devices = getifaddrs().into_iter().flatten();
        let addresses = devices.filter_map(|device| device.address);
        addresses.filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
    })
}

fn names_one_of<I: Iterator<Item = IpAddr>>(url: &str, addresses: impl FnOnce() -> I) -> bool {
    let url = url.parse::<Uri>();
    let host = url.as_ref().ok().and_then(Uri::host).unwrap_or_default();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_own = |address: IpAddr| address.is_loopback() || addresses().any(|own| own == address);
    host.eq_ignore_ascii_case("localhost") || literal.parse().is_ok_and(is_own)
}

fn file(settings: &Settings) -> Result<PathBuf, Failure> {
    Ok(settings.require::<PathBuf>("data")?.join(FirstCredentials::FILE))
}

fn read(path: &Path) -> Result<Option<FirstCredentials>, Failure> {
    let json = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let advice = "run this as the server's user, or set EXOSCALE_API_KEY and EXOSCALE_API_SECRET";
            return Err(anyhow::Error::new(error).context(format!("cannot read {}: {advice}", path.display())).into());
        }
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let what = || format!("{} is not what a server writes there", path.display());
    Ok(Some(serde_json::from_slice(&json).with_context(what)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_in_the_data_folder_is_for_this_machine_alone() {
        let data = tempfile::tempdir().expect("a folder");
        let credentials = Credentials { key: "EXOk".to_owned(), secret: "s".to_owned() };
        let first = FirstCredentials { operator: credentials.clone(), default: credentials };
        let file = data.path().join(FirstCredentials::FILE);
        fs::write(&file, serde_json::to_string(&first).expect("texts")).expect("writable");
        let identity = |url: &str, variables: &[(&str, &str)]| {
            let flag = |name: &str| match name {
                "data" => Some(data.path().display().to_string()),
                "api-url" => Some(url.to_owned()),
                _ => None,
            };
            let variable =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let settings = Settings::load(flag, variable, Some("/dev/null".into()), false).expect("valid");
            Identity::of(&settings, url).map(|identity| identity.to_string()).map_err(|failure| failure.to_string())
        };
        for url in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost"] {
            assert_eq!(identity(url, &[]), Ok(format!("signed with EXOk, from {}", file.display())));
        }
        let own = [("EXOSCALE_API_KEY", "EXOown"), ("EXOSCALE_API_SECRET", "s")];
        for url in
            ["http://192.0.2.1:8080", "http://api.example", "http://127.0.0.1.example", "http://localhost@a.example"]
        {
            let refused = identity(url, &[]).expect_err(url);
            assert!(refused.ends_with("set EXOSCALE_API_KEY and EXOSCALE_API_SECRET"), "{refused}");
            assert_eq!(identity(url, &own), Ok("signed with EXOown, from EXOSCALE_API_KEY".to_owned()));
        }
    }

    #[test]
    fn an_address_of_a_device_is_this_machines() {
        let own = ["198.51.100.7", "2001:db8::7"].map(|address| address.parse::<IpAddr>().expect("valid"));
        for (url, is_own) in [
            ("https://198.51.100.7:8443", true),
            ("https://[2001:db8::7]:8443", true),
            ("https://198.51.100.8:8443", false),
            ("https://198.51.100.7.example", false),
            ("https://198.51.100.7@a.example", false),
        ] {
            assert_eq!(names_one_of(url, || own.into_iter()), is_own, "{url}");
        }
    }
}
