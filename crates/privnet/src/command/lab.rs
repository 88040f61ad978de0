use anyhow::Context;
use privnet_lab::{Lab, catch_interrupts, demo, guard, remove_leftovers, wait_for_interrupt};

use crate::args::LabCommand;
use crate::exit::Failure;
use crate::output::print_line;
use crate::privilege;

pub(super) fn run(command: LabCommand) -> Result<(), Failure> {
    match command {
        LabCommand::Demo => {
            privilege::require("privnet lab demo")?;
            catch_interrupts()?;
            demo::run(&own_binary()?).context("the demo did not come to its end")?;
            Ok(())
        }
        LabCommand::Up { hosts } => {
            privilege::require("privnet lab up")?;
            catch_interrupts()?;
            let lab = Lab::builder().hosts(hosts).binary(own_binary()?).start().context("the lab did not come up")?;
            print_line(&describe(&lab))?;
            wait_for_interrupt();
            lab.remove().context("the lab could not be removed")?;
            Ok(())
        }
        LabCommand::Down => {
            privilege::require("privnet lab down")?;
            let removed = remove_leftovers()?;
            print_line(&match removed.len() {
                0 => "nothing was left behind".to_owned(),
                count => format!("removed what {count} labs had left: {}", removed.join(", ")),
            })
        }
        LabCommand::Guard { id } => Ok(guard(&id)?),
    }
}

fn own_binary() -> Result<std::path::PathBuf, Failure> {
    Ok(std::env::current_exe().context("cannot tell where the privnet binary is")?)
}

fn describe(lab: &Lab) -> String {
    let (url, id) = (lab.api().url(), lab.id());
    let hosts =
        lab.hosts().iter().map(|host| format!("  {}, VTEP {}: {}", host.name, host.vtep, host.namespace.name()));
    format!(
        "lab {id} is up, with these hosts (in network namespaces):\n{}\n\
        \n\
        In another shell, for example:\n\
        \x20 export PRIVNET_API_URL={url}\n\
        \x20 ip netns add pnlab-{id}-red              (namespaces of this name go with the lab)\n\
        \x20 privnet instance create red --host h1 --netns pnlab-{id}-red\n\
        \x20 privnet network create backend\n\
        \x20 privnet attach red backend\n\
        \n\
        Logs are in {}. Ctrl-C removes everything.",
        hosts.collect::<Vec<_>>().join("\n"),
        lab.dir().display()
    )
}
