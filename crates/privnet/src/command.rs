//! What each command does.

mod audit;
mod counters;
pub(crate) mod daemon;
mod env;
mod host;
mod instance;
mod join;
mod key;
mod lab;
mod network;
mod operation;
mod organization;
mod port;
pub(crate) mod resolve;
mod show_config;
mod span;

use clap_complete::generate;
use privnet_server::Catalogue;

use crate::args::{self, AgentArgs, AgentCommand, Command, ConfigCommand};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{Output, print_line};
use crate::settings::Settings;

/// What a client command needs: somebody to ask and a way to print the answer.
struct Context {
    client: Client,
    output: Output,
}

/// Runs a command to its end.
pub(crate) fn run(command: Command, settings: &Settings) -> Result<(), Failure> {
    let context = || Ok::<_, Failure>(Context { output: Output::of(settings)?, client: Client::of(settings)? });
    match command {
        Command::Up(up) => daemon::up(settings, &up.server),
        Command::Server(server) => daemon::server(settings, &server),
        Command::Agent(AgentArgs { command: Some(AgentCommand::Join(join)), .. }) => join::run(settings, &join),
        Command::Agent(agent) if agent.purge => daemon::purge(settings),
        Command::Agent(_) => daemon::agent(settings),
        Command::Counters(_) => counters::run(settings),
        Command::Network(command) => network::run(command, &context()?),
        Command::Instance(command) => instance::run(command, &context()?),
        Command::Attach { port, ip, device, wait } => port::attach(&port, ip.as_deref(), device, wait, &context()?),
        Command::Detach { port, wait } => port::detach(&port, wait, &context()?),
        Command::UpdateIp { port, ip, wait } => port::update_ip(&port, ip.as_deref(), wait, &context()?),
        Command::Operation(command) => operation::run(command, &context()?),
        Command::Host(command) => host::run(command, &context()?),
        Command::Org(command) => organization::run(command, &context()?),
        Command::Key(command) => key::run(command, &context()?),
        Command::Audit(args) => audit::run(&args, &context()?),
        Command::Cni => unreachable!("main has done it: it prints and exits as runtimes expect"),
        Command::Env => env::run(settings),
        Command::Lab(command) => lab::run(command, settings),
        Command::Catalogue => print_line(Catalogue::BUILT_IN),
        Command::Config(ConfigCommand::Show) => show_config::run(settings),
        Command::Completion { shell } => {
            // Printed from memory: written to standard output itself, a closed one would be a panic.
            let mut script = Vec::new();
            generate(shell, &mut args::definition(), "privnet", &mut script);
            print_line(&String::from_utf8_lossy(&script))
        }
    }
}
