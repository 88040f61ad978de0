//! What is changed by hand is put right and reported; what is not ours is left alone.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use privnet_lab::{Host, Lab};

use crate::support::{Guest, assert_mesh, eventually, hosts, in_lab, log_lines, managed};
use privnet_lab::bpf::Map;
use privnet_lab::invariants;

#[test]
fn a_device_that_is_deleted_or_set_down_by_hand_is_repaired_and_reported() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = [1, 2].map(|host| Guest::join(lab, &network, &format!("red-{host}"), host));
        let guests = guests.into_iter().collect::<Result<Vec<_>>>()?;
        let device = invariants::device_of(&guests[0].mac);
        let inner = guests[0].device.clone();
        let (on_host, in_instance) = (lab.host(1).namespace.clone(), guests[0].instance.namespace.clone());
        for (namespace, words, is_of_network) in [
            (&on_host, format!("link set {device} down"), true),
            (&on_host, format!("link delete {device}"), true),
            (&in_instance, format!("link delete {inner}"), true),
            (&on_host, "link set pnvxlan down".to_owned(), false),
            (&on_host, "link delete pnvxlan".to_owned(), false),
        ] {
            let before = reports(lab)?;
            namespace.ip(&words)?;
            invariants::hold(lab)?;
            let has_reported = || {
                let now = reports(lab)?;
                // The overlay's device is the host's, and only the host's log tells of it.
                Ok(now.agent > before.agent && (now.server > before.server || !is_of_network))
            };
            eventually(&format!("\"{words}\" is repaired and reported"), has_reported)?;
            in_instance.ip(&format!("address replace {}/24 dev {inner}", guests[0].address))?;
            assert_mesh(&guests)?;
        }
        Ok(())
    });
}

#[test]
fn map_entries_that_are_removed_by_hand_are_put_back_and_reported() {
    const MAPS: [&str; 7] = ["ports", "networks", "fdb", "neighbors", "vteps", "local_members", "remote_members"];
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = [1, 1, 2].map(|host| Guest::join(lab, &network, &format!("red-{host}"), host));
        let guests = guests.into_iter().collect::<Result<Vec<_>>>()?;
        for name in MAPS {
            let map = Map::of_host(lab.host(1), name)?;
            let keys = map.keys()?;
            ensure!(!keys.is_empty(), "{name} is empty: nothing is tested");
            let before = reports(lab)?;
            for key in &keys {
                map.remove(key)?;
            }
            eventually(&format!("the entries of {name} are put back and reported"), || {
                let now = reports(lab)?;
                Ok(map.keys()? == keys && now.agent > before.agent && now.server > before.server)
            })?;
        }
        assert_mesh(&guests)?;
        invariants::hold(lab)
    });
}

#[test]
fn programs_that_are_detached_by_hand_are_attached_again_and_reported() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = [1, 1, 2].map(|host| Guest::join(lab, &network, &format!("red-{host}"), host));
        let guests = guests.into_iter().collect::<Result<Vec<_>>>()?;
        let ports = guests[..2].iter().map(|guest| invariants::device_of(&guest.mac));
        for device in ports.chain(["pnvxlan".to_owned()]) {
            let before = reports(lab)?;
            ensure!(has_program(lab.host(1), &device)?, "{device} has no program to detach");
            detach_program(lab.host(1), &device)?;
            eventually(&format!("the program of {device} is back and reported"), || {
                Ok(has_program(lab.host(1), &device)? && reports(lab)?.agent > before.agent)
            })?;
            invariants::hold(lab)?;
            for guest in &guests[..2] {
                guest.instance.namespace.ip(&format!("address replace {}/24 dev {}", guest.address, guest.device))?;
            }
            assert_mesh(&guests)?;
        }
        Ok(())
    });
}

/// A program is attached by a pinned link or by a filter.
fn has_program(host: &Host, device: &str) -> Result<bool> {
    let filters = host.namespace.run("tc", &["filter", "show", "dev", device, "ingress"])?;
    Ok(link_pin(host, device).exists() || filters.contains("bpf"))
}

fn detach_program(host: &Host, device: &str) -> Result<()> {
    let pin = link_pin(host, device);
    if pin.exists() {
        return Ok(fs::remove_file(pin)?);
    }
    host.namespace.run("tc", &["qdisc", "del", "dev", device, "clsact"]).map(drop)
}

fn link_pin(host: &Host, device: &str) -> PathBuf {
    host.pin_dir.join("links").join(device)
}

/// How many repairs are in the log of h1's agent, and how many of h1 in the server's.
struct Reports {
    agent: usize,
    server: usize,
}

fn reports(lab: &Lab) -> Result<Reports> {
    Ok(Reports {
        agent: log_lines(lab, "h1.log", &["repaired"])?.len(),
        server: log_lines(lab, "server.log", &["repaired", "host=h1"])?.len(),
    })
}

#[test]
fn nothing_is_repaired_where_nobody_has_touched_anything() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        for at in 0..6 {
            let guest = Guest::join(lab, &network, &format!("red-{at}"), 1 + at % 2)?;
            if at % 3 == 0 {
                lab.api().detach(&network, &guest.instance.id)?;
            }
        }
        lab.kill_agent(1);
        lab.start_agent(1)?;
        lab.wait_for_agents()?;
        invariants::hold(lab)?;
        for log in ["h1.log", "h2.log", "server.log"] {
            let repairs = log_lines(lab, log, &["repaired"])?;
            ensure!(repairs.is_empty(), "{log}: {repairs:#?}");
        }
        Ok(())
    });
}

#[test]
fn purge_removes_everything_of_ours_and_nothing_else() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = [1, 1, 2].map(|host| Guest::join(lab, &network, "guest", host));
        let guests = guests.into_iter().collect::<Result<Vec<_>>>()?;
        let (namespace, pin_dir) = (lab.host(1).namespace.clone(), lab.host(1).pin_dir.clone());
        // Somebody else's: a device, one whose name only looks like ours, a VXLAN, a folder beside our pins.
        namespace.ip("link add other0 type veth peer name pnic0")?;
        namespace.ip("link add vx0 type vxlan id 7 dstport 4790 local 192.0.2.1 dev under0")?;
        let foreign_pins = Folder::make(pin_dir.with_file_name(format!("privnet-lab-{}-other", lab.id())))?;
        // Its agent runs: that is refused, as it would make everything again.
        ensure!(lab.purge(1).is_err(), "a running agent is purged under its feet");
        invariants::hold(lab)?;
        lab.stop_agent(1)?;
        // As joining may leave it where it is killed.
        let identity = lab.dir().join("h1.pem");
        ensure!(identity.exists(), "the host has not joined");
        fs::write(lab.dir().join("h1.pem.joining"), "")?;
        let printed = lab.purge(1)?;
        for told in ["pnvxlan", "h1.pem: to join again it needs a new invitation (privnet host invite NAME --rejoin)"] {
            ensure!(printed.contains(told), "what was removed is not told: {printed}");
        }
        ensure!(!identity.exists() && !lab.dir().join("h1.pem.joining").exists(), "its key is left");

        let devices: Vec<_> =
            namespace.links()?.iter().map(|link| link["ifname"].as_str().unwrap_or("").to_owned()).collect();
        for device in ["lo", "under0", "mgmt0", "other0", "pnic0", "vx0"] {
            ensure!(devices.iter().any(|one| one == device), "{device} is gone: {devices:?}");
        }
        ensure!(devices.len() == 6, "more than what is not ours is left: {devices:?}");
        ensure!(!guests[0].instance.namespace.has_device("net0")?, "the instance's device is still there");
        ensure!(!pin_dir.exists(), "pins are left");
        ensure!(foreign_pins.0.exists(), "a folder that is not ours is gone");
        let left: Vec<_> = fs::read_dir(&lab.host(1).state_dir).into_iter().flatten().collect();
        ensure!(left.is_empty(), "state is left: {left:?}");
        // The other host goes on, and this one can come back.
        lab.start_agent(1)?;
        lab.wait_for_agents()?;
        invariants::hold(lab)?;
        for guest in &guests[..2] {
            guest.instance.namespace.ip(&format!("address replace {}/24 dev {}", guest.address, guest.device))?;
        }
        assert_mesh(&guests)?;
        // A second time there is nothing to do.
        lab.stop_agent(1)?;
        lab.purge(1)?;
        lab.purge(1).map(drop)
    });
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The lab removes it as well.
        let _ = fs::remove_dir(&self.0);
    }
}
