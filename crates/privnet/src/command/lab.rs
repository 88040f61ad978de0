use std::convert::Infallible;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context;
use privnet_lab::{Cloud, Lab, Note, Place, catch_interrupts, demo, guard, remove_leftovers, start_detached};
use privnet_lab::{NETWORK, wait_for_interrupt};

use crate::args::LabCommand;
use crate::exit::{Exit, Failure};
use crate::output::{Output, print_line, table};
use crate::privilege;
use crate::settings::Settings;

pub(super) fn run(command: LabCommand, settings: &Settings) -> Result<(), Failure> {
    match command {
        LabCommand::Demo => {
            privilege::require("privnet lab demo")?;
            catch_interrupts()?;
            demo::run(&own_binary()?).context("the demo did not come to its end")?;
            Ok(())
        }
        LabCommand::Up { hosts, instances, detach } => {
            privilege::require("privnet lab up")?;
            catch_interrupts()?;
            if detach { up_detached(hosts, instances) } else { up(hosts, instances) }
        }
        LabCommand::Status => status(Output::of(settings)?),
        LabCommand::Exec { lab, name, command } => {
            privilege::require("privnet lab exec")?;
            exec(&place(Note::all()?, lab.as_deref(), &name)?, &command).map(|never| match never {})
        }
        LabCommand::Down { lab } => {
            privilege::require("privnet lab down")?;
            down(lab.as_deref())
        }
        LabCommand::Guard { id } => Ok(guard(&id)?),
    }
}

fn up(hosts: u8, instances: u8) -> Result<(), Failure> {
    let builder = Lab::builder().hosts(hosts).binary(own_binary()?);
    let cloud = Cloud::start(builder, instances).context("the lab did not come up")?;
    print_line(&format!("{}\nCtrl-C removes everything.", describe(cloud.note())))?;
    wait_for_interrupt();
    cloud.remove().context("the lab could not be removed")?;
    Ok(())
}

/// Another process keeps the lab.
fn up_detached(hosts: u8, instances: u8) -> Result<(), Failure> {
    let mut keeper = Command::new(own_binary()?);
    keeper.args(["lab", "up", "--hosts", &hosts.to_string(), "--instances", &instances.to_string()]);
    // A Ctrl-C in this shell is not meant for it.
    keeper.process_group(0);
    let note = start_detached(&mut keeper).context("the lab did not come up")?;
    print_line(&format!("{}\nprivnet lab down removes everything.", describe(&note)))
}

fn status(output: Output) -> Result<(), Failure> {
    let notes = Note::all()?;
    let json = serde_json::json!({"labs": notes});
    output.print(&json, || match &notes[..] {
        [] => "no lab is up".to_owned(),
        notes => {
            notes.iter().map(|note| format!("lab {}\n{}", note.lab, places(note))).collect::<Vec<_>>().join("\n\n")
        }
    })
}

/// Becomes the command, in the place's network namespace.
fn exec(place: &Place, words: &[String]) -> Result<Infallible, Failure> {
    let (program, arguments) = words.split_first().ok_or_else(|| Failure::say(Exit::Usage, "no command is given"))?;
    place.enter()?;
    let error = Command::new(program).args(arguments).exec();
    Err(anyhow::Error::new(error).context(format!("cannot run {program}")).into())
}

fn down(lab: Option<&str>) -> Result<(), Failure> {
    let mut removed = Vec::new();
    for note in up_labs(Note::all()?, lab)? {
        note.take_down()?;
        removed.push(note.lab);
    }
    if lab.is_none() {
        removed.extend(remove_leftovers()?);
    }
    print_line(&match removed.len() {
        0 => "no lab was up, and nothing was left behind".to_owned(),
        _ => format!("removed {}", removed.join(", ")),
    })
}

/// The lab of this id, or all.
fn up_labs(mut notes: Vec<Note>, lab: Option<&str>) -> Result<Vec<Note>, Failure> {
    if let Some(id) = lab {
        notes.retain(|note| note.lab == id);
        if notes.is_empty() {
            return Err(Failure::say(Exit::NotFound, format!("no lab {id} is up; privnet lab status lists them")));
        }
    }
    Ok(notes)
}

/// The host or instance of this name, in this lab or in the only one.
fn place(notes: Vec<Note>, lab: Option<&str>, name: &str) -> Result<Place, Failure> {
    let note = match &up_labs(notes, lab)?[..] {
        [] => return Err(Failure::say(Exit::NotFound, "no lab is up; privnet lab up starts one")),
        [note] => note.clone(),
        several => {
            let ids = several.iter().map(|note| note.lab.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Failure::say(Exit::Conflict, format!("several labs are up, {ids}: say which by --lab")));
        }
    };
    let names = note.places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>().join(", ");
    let missing = || Failure::say(Exit::NotFound, format!("lab {} has no {name}; it has {names}", note.lab));
    note.places.iter().find(|place| place.name == name).cloned().ok_or_else(missing)
}

fn own_binary() -> Result<std::path::PathBuf, Failure> {
    Ok(std::env::current_exe().context("cannot tell where the privnet binary is")?)
}

fn places(note: &Note) -> String {
    let row = |place: &Place| {
        [place.name.clone(), place.host.clone().unwrap_or_default(), place.address.clone(), place.netns.clone()]
    };
    table(["NAME", "HOST", "ADDRESS", "NETWORK NAMESPACE"], note.places.iter().map(row))
}

fn describe(note: &Note) -> String {
    let Note { lab, url, dir, server_dir, places: parts, .. } = note;
    let mut instances = parts.iter().filter(|place| place.host.is_some());
    let hint = match (instances.next(), instances.next_back()) {
        (Some(first), Some(last)) => format!(
            "The instances are on the network \"{NETWORK}\". In another shell, for example:\n\
            \x20 privnet lab exec {} -- ping {}\n\
            \x20 export PRIVNET_API_URL={url}\n\
            \x20 export PRIVNET_DATA={server_dir}\n\
            \x20 privnet network show {NETWORK}\n\
            \x20 eval \"$(privnet env)\"                     (for exo, Terraform and other clients of Exoscale's)",
            first.name, last.address
        ),
        _ => format!(
            "In another shell, for example:\n\
            \x20 export PRIVNET_API_URL={url}\n\
            \x20 export PRIVNET_DATA={server_dir}\n\
            \x20 ip netns add pnlab-{lab}-red              (namespaces of this name go with the lab)\n\
            \x20 privnet instance create red --host h1 --netns pnlab-{lab}-red\n\
            \x20 privnet network create backend\n\
            \x20 privnet attach red backend"
        ),
    };
    format!("lab {lab} is up\n\n{}\n\n{hint}\n\nLogs are in {dir}.", places(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(lab: &str) -> Note {
        let place = |name: &str, host: Option<&str>| Place {
            name: name.to_owned(),
            host: host.map(str::to_owned),
            address: "10.0.0.10".to_owned(),
            netns: format!("pnlab-{lab}-{name}"),
        };
        Note {
            lab: lab.to_owned(),
            pid: 1,
            url: "http://127.0.0.9:8080".to_owned(),
            dir: "/tmp".to_owned(),
            server_dir: "/tmp/server".to_owned(),
            places: vec![place("h1", None), place("i1", Some("h1"))],
        }
    }

    fn found(labs: &[&str], lab: Option<&str>, name: &str) -> Result<String, String> {
        let notes = labs.iter().map(|lab| note(lab)).collect();
        place(notes, lab, name).map(|place| place.netns).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_place_is_found_by_its_name_in_the_only_lab_or_in_the_one_that_is_named() {
        assert_eq!(found(&["aa"], None, "i1"), Ok("pnlab-aa-i1".to_owned()));
        assert_eq!(found(&["aa", "bb"], Some("bb"), "h1"), Ok("pnlab-bb-h1".to_owned()));
    }

    #[test]
    fn what_is_not_found_is_told_with_what_there_is() {
        assert_eq!(found(&[], None, "i1"), Err("no lab is up; privnet lab up starts one".to_owned()));
        assert_eq!(found(&["aa"], None, "i2"), Err("lab aa has no i2; it has h1, i1".to_owned()));
        assert_eq!(found(&["aa"], Some("bb"), "i1"), Err("no lab bb is up; privnet lab status lists them".to_owned()));
        assert_eq!(found(&["aa", "bb"], None, "i1"), Err("several labs are up, aa, bb: say which by --lab".to_owned()));
    }
}
