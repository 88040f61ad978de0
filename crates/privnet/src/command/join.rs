//! Joining: what is checked before anything leaves the machine, and the file that the agent finds its settings in.

mod token;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use privnet_agent::{DialError, JoinConfig, JoinError, RemoteAddress};

use super::daemon;
use crate::args::JoinArgs;
use crate::exit::{Exit, Failure};
use crate::output::print_line;
use crate::privilege;
use crate::settings::{Settings, Source};

/// The settings of a host that a file has where flags or variables have set them.
const WRITTEN_IF_GIVEN: [&str; 7] =
    ["data", "vtep", "identity", "state", "bpf-dir", "vxlan-port", "bum-copies-per-second"];

pub(super) fn run(settings: &Settings, args: &JoinArgs) -> Result<(), Failure> {
    let server = settings.require::<RemoteAddress>("server")?;
    let host = daemon::host_name(settings)?;
    let vtep = match settings.parse("vtep")? {
        Some(vtep) => vtep,
        None => privnet_agent::default_vtep().map_err(|error| {
            let advice = "this host has no default route: give its underlay address by --vtep";
            Failure::new(Exit::Usage, anyhow::Error::new(error).context(advice))
        })?,
    };
    privilege::require("privnet agent join")?;
    let config = ConfigFile::plan(settings, [("name", host.to_string()), ("server", server.to_string())])?;
    let join = JoinConfig {
        host,
        server,
        fingerprint: args.fingerprint,
        token: token::read(args.token_file.as_deref())?,
        identity_file: settings.require("identity")?,
        vtep,
    };
    daemon::runtime()?.block_on(privnet_agent::join(&join)).map_err(failure)?;
    config.write()?;
    let file = config.path.display();
    if args.no_start {
        return print_line(&format!("{} has joined; `privnet agent --config {file}` runs its agent", join.host));
    }
    print_line(&format!("{} has joined; its settings are in {file}", join.host))?;
    daemon::agent(settings)
}

fn failure(error: JoinError) -> Failure {
    let exit = match &error {
        JoinError::Dial { source: DialError::Unreachable { .. } } | JoinError::Lost(_) => Exit::Unavailable,
        JoinError::Refused(_) => Exit::Conflict,
        JoinError::OtherHost { .. } | JoinError::Vtep { .. } | JoinError::Token(_) => Exit::Usage,
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}

/// The file of settings, and the lines that it lacks.
struct ConfigFile {
    path: PathBuf,
    present: String,
    missing: String,
}

impl ConfigFile {
    /// What is to be written, which is nothing that would change what the file says.
    fn plan(settings: &Settings, certain: [(&'static str, String); 2]) -> Result<Self, Failure> {
        let path = settings.config_file().to_owned();
        let refuse = |why: &dyn std::fmt::Display| Failure::say(Exit::Usage, format_args!("{}: {why}", path.display()));
        let present = match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => {
                return Err(refuse(
                    &"it is no regular file, and settings are to be written to it; name another by --config",
                ));
            }
            Ok(_) => fs::read_to_string(&path).map_err(|error| refuse(&error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(refuse(&error)),
        };
        let table: toml::Table = present.parse().map_err(|error| refuse(&error))?;
        let given = WRITTEN_IF_GIVEN.into_iter().filter_map(|name| {
            let value = settings.get(name);
            let is_given = matches!(value.source, Source::Flag(_) | Source::Environment(_));
            value.text.clone().filter(|_| is_given).map(|text| (name, text))
        });
        let mut missing = String::new();
        for (name, text) in certain.into_iter().chain(given) {
            let there = table.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            match there {
                Some(there) if there == text => {}
                Some(there) => {
                    return Err(refuse(&format_args!(
                        "it says {name} = \"{there}\", and this host is to have \"{text}\": change it, or name another file by --config"
                    )));
                }
                None => missing += &format!("{name} = {}\n", toml::Value::String(text)),
            }
        }
        Ok(Self { path, present, missing })
    }

    /// Adds the lines, or leaves the file as it was.
    fn write(&self) -> Result<(), Failure> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let gap = if self.present.is_empty() || self.present.ends_with('\n') { "" } else { "\n" };
        let text = format!("{}{gap}{}", self.present, self.missing);
        write_whole(&self.path, &text).map_err(|error| {
            let what = format!("this host has joined, but cannot write {}; run the command again", self.path.display());
            Failure::new(Exit::Failure, anyhow::Error::new(error).context(what))
        })
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let new = PathBuf::from(format!("{}.new", path.display()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    if let Ok(there) = fs::metadata(path) {
        file.set_permissions(there.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &Path, flags: &[(&str, &str)]) -> Settings {
        let flag = |name: &str| flags.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
        Settings::load(flag, |_| None, Some(file.to_owned()), true).expect("valid")
    }

    fn certain() -> [(&'static str, String); 2] {
        [("name", "h1".to_owned()), ("server", "https://192.0.2.1:4443".to_owned())]
    }

    #[test]
    fn what_is_in_the_file_stays_and_what_is_missing_is_added_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("etc/privnet.toml");
        let plan = || ConfigFile::plan(&settings(&file, &[("vtep", "192.0.2.7")]), certain()).expect("a plan");
        plan().write().expect("written");
        let text = fs::read_to_string(&file).expect("readable");
        assert_eq!(text, "name = \"h1\"\nserver = \"https://192.0.2.1:4443\"\nvtep = \"192.0.2.7\"\n");
        fs::write(&file, "# mine\nlog = \"debug\"").expect("written");
        plan().write().expect("written");
        let added = format!("# mine\nlog = \"debug\"\n{text}");
        assert_eq!(fs::read_to_string(&file).expect("readable"), added);
        plan().write().expect("written");
        assert_eq!(fs::read_to_string(&file).expect("readable"), added);
    }

    #[test]
    fn a_file_that_others_may_not_read_stays_so() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("privnet.toml");
        fs::write(&file, "# mine\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        ConfigFile::plan(&settings(&file, &[]), certain()).expect("a plan").write().expect("written");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_says_otherwise_is_not_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("privnet.toml");
        fs::write(&file, "name = \"h2\"\n").expect("written");
        let refusal = ConfigFile::plan(&settings(&file, &[]), certain()).err().expect("refused").to_string();
        let expected =
            "it says name = \"h2\", and this host is to have \"h1\": change it, or name another file by --config";
        assert_eq!(refusal, format!("{}: {expected}", file.display()));
    }

    /// It would be replaced, for everybody.
    #[test]
    fn a_device_is_no_file_of_settings() {
        let settings = settings(Path::new("/dev/null"), &[]);
        let refusal = ConfigFile::plan(&settings, certain()).err().expect("refused").to_string();
        assert!(refusal.starts_with("/dev/null: it is no regular file"), "{refusal}");
    }
}
