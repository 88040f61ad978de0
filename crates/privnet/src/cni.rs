//! The CNI plugin: a container runtime's networks are private networks, by the Container Network Interface
//! specification 1.1.0 (github.com/containernetworking/cni, SPEC.md).
//!
//! A runtime says what it wants in environment variables and in a JSON document on standard input, and reads a JSON
//! document from standard output. Each attachment, a container and the name of a device in it, is an instance of its
//! own; labels tell whose, so that nothing need be remembered here.

mod attachment;
mod check;
mod config;
mod error;
mod ledger;
mod parameters;
mod result;
mod server;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use self::config::Config;
use self::error::{CniError, Code};
use self::parameters::{Command, Parameters};

/// A program of this name is the plugin, however it is called otherwise.
const PLUGIN: &str = "privnet-cni";

/// More than any network configuration has.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Whether this process was started as the plugin, by the name of its program.
pub(crate) fn is_called(program: Option<&OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_name()).is_some_and(|name| name == PLUGIN)
}

/// Does what the environment asks, for the network that standard input describes.
pub(crate) fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut version = config::NEWEST.to_owned();
    let outcome = read_stdin().and_then(|input| run(variable, &input, &mut version));
    let (document, code) = match outcome {
        Ok(document) => (document, ExitCode::SUCCESS),
        Err(error) => (Some(error.document(&version)), ExitCode::FAILURE),
    };
    match document.map_or(Ok(()), |document| writeln!(std::io::stdout(), "{document:#}")) {
        Ok(()) => code,
        // The runtime has not heard of it, so it has not happened as far as it knows.
        Err(_) => ExitCode::FAILURE,
    }
}

fn read_stdin() -> Result<String, CniError> {
    let mut input = String::new();
    let read = std::io::stdin().lock().take(CONFIG_BYTES_MAX).read_to_string(&mut input);
    read.map_err(|error| CniError::new(Code::Io, "cannot read the network configuration", error))?;
    Ok(input)
}

/// What to print, if anything. `version` becomes that of the configuration as soon as it is known.
fn run(
    variable: impl Fn(&str) -> Option<String>,
    input: &str,
    version: &mut String,
) -> Result<Option<Value>, CniError> {
    let command = Command::of(&variable)?;
    if command == Command::Version {
        *version = config::version_asked(input)?;
        return Ok(Some(json!({"cniVersion": version, "supportedVersions": config::VERSIONS})));
    }
    let config = Config::read(input, version)?;
    config.refuse_older_than(command.since(), command)?;
    let parameters = || Parameters::of(&variable, command);
    match command {
        Command::Add => attachment::add(&config, &parameters()?).map(Some),
        Command::Del => attachment::delete(&config, &parameters()?).map(|()| None),
        Command::Check => check::check(&config, &parameters()?).map(|()| None),
        Command::Gc => attachment::collect(&config).map(|()| None),
        Command::Status => server::status(&config).map(|()| None),
        Command::Version => unreachable!("answered above"),
    }
}
