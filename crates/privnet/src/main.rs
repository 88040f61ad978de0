//! The `privnet` command: see `privnet --help`.

mod args;
mod client;
mod cni;
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
    if cni::is_called(std::env::args_os().next().as_deref()) {
        return cni::main();
    }
    let (cli, settings) = match args::parse() {
        Ok(parsed) => parsed,
        Err(failure) => return failure.report(),
    };
    if matches!(cli.command, args::Command::Cni) {
        return cni::main();
    }
    match command::run(cli.command, &settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
