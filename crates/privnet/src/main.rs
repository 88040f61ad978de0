//! The `privnet` command: see `privnet --help`.

mod args;
mod client;
mod command;
mod exit;
mod identity;
mod logging;
mod open_files;
mod output;
mod privilege;
mod settings;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    let (cli, settings) = match args::parse() {
        Ok(parsed) => parsed,
        Err(failure) => return failure.report(),
    };
    match command::run(cli.command, &settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
