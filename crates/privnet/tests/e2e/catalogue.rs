//! The file of instance types and templates, while a server runs.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use privnet_lab::Lab;

use crate::support::{eventually, hosts, in_lab, log_lines, text};

const OWN: &str = r#"
[[instance-type]]
id = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50"
family = "cpu"
size = "large"
cpus = 16
memory-mib = 1024

[[template]]
id = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f51"
name = "Somebody else's"
driver = "external"
"#;

fn hang_up(lab: &Lab) -> Result<()> {
    lab.server().context("a server")?.signal(Signal::SIGHUP)
}

/// The size of the first type.
fn size(lab: &Lab) -> Result<String> {
    Ok(text(&lab.api().get("/v2/instance-type")?["instance-types"][0], "size").to_owned())
}

#[test]
fn a_new_one_holds_from_sighup_on_and_a_bad_one_changes_nothing() {
    in_lab(hosts(1), |lab| {
        let file = lab.server_dir().join("catalogue.toml");
        lab.add_instance("red", 1)?;
        ensure!(size(lab)? == "micro");
        fs::write(&file, OWN)?;
        ensure!(size(lab)? == "micro", "nobody has said so");
        hang_up(lab)?;
        eventually("the new one holds", || Ok(size(lab)? == "large"))?;
        // What instances have is told of.
        let told = log_lines(lab, "server.log", &["WARN", "the catalogue lacks what instances have"])?;
        ensure!(told.iter().any(|line| line.contains("instance type 70726976-")), "{told:?}");

        fs::write(&file, OWN.replace("cpus = 16", "cpus = 0"))?;
        hang_up(lab)?;
        let words = ["ERROR", "the catalogue stays what it was", "catalogue.toml", "a whole number from 1 to 1024"];
        eventually("the log says what is wrong", || {
            let log = fs::read_to_string(lab.dir().join("server.log"))?;
            Ok(words.iter().all(|word| log.contains(word)))
        })?;
        ensure!(size(lab)? == "large", "the old one is in force");
        // It is mended, and then given up.
        fs::write(&file, OWN.replace("\"large\"", "\"huge\""))?;
        hang_up(lab)?;
        eventually("what is mended holds", || Ok(size(lab)? == "huge"))?;
        fs::remove_file(&file)?;
        hang_up(lab)?;
        eventually("the built-in one holds", || Ok(size(lab)? == "micro"))
    });
}
