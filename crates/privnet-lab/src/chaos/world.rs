//! The lab under the plan: what goes wrong in it, and how all of it is put right.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use ureq::http::Method;

use super::Shared;
use super::canary::Canary;
use super::event::{Damage, HostNumber, InstanceSlot, MadeSlot, Upset};
use super::frame::{EVERYBODY, Purpose};
use super::relay::Relay;
use super::station::Station;
use super::traffic::send_probe;
use crate::bpf::Map;
use crate::json::{items, text};
use crate::lab::{Host, Lab};
use crate::namespace::Namespace;
use crate::process::Daemon;

/// What the server's and each agent's disk holds.
const DISK: &str = "size=64m,mode=700";

/// What fills a disk.
const FILLER: &str = "filler";
const FILL_BYTES: usize = 1 << 20;

/// The maps whose entries are changed by hand.
const MAPS: [&str; 7] = ["ports", "networks", "fdb", "neighbors", "vteps", "local_members", "remote_members"];

/// A lab with wires that can be cut, disks that can be filled, and things that are not ours.
pub(crate) struct World {
    pub(crate) lab: Lab,
    shared: Arc<Shared>,
    relays: Vec<Relay>,
    canaries: Vec<Canary>,
    /// Whose disk was full in this step: a daemon may have refused to start.
    full: Vec<PathBuf>,
    /// The hosts that join in this step. One whose join was cut off is nobody until it joins again.
    joining: BTreeSet<HostNumber>,
    cut_routes: Vec<(HostNumber, HostNumber)>,
    /// What instances have set down themselves, which is theirs to set up again.
    down_inside: Vec<InstanceSlot>,
}

impl World {
    /// Starts everything in a lab where nothing has been started.
    pub(crate) fn start(mut lab: Lab, shared: Arc<Shared>) -> Result<Self> {
        let mut relays = Vec::new();
        let mut canaries = Vec::new();
        make_disk(&lab.server_dir())?;
        for number in 1..=lab.hosts().len() {
            let relay = Relay::start(&lab.host(number).namespace, lab.sync_address())?;
            lab.connect_by(number, relay.address());
            relays.push(relay);
            make_disk(&lab.host(number).state_dir)?;
            canaries.push(Canary::put_on(lab.id(), lab.host(number))?);
        }
        lab.start_server()?;
        for number in 1..=lab.hosts().len() {
            lab.start_agent(number)?;
        }
        lab.wait_for_agents()?;
        Ok(Self {
            lab,
            shared,
            relays,
            canaries,
            full: Vec::new(),
            joining: BTreeSet::new(),
            cut_routes: Vec::new(),
            down_inside: Vec::new(),
        })
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub(crate) fn remove(self) -> Result<()> {
        // They hold the hosts' namespaces.
        drop(self.relays);
        self.lab.remove()
    }

    /// # Errors
    /// What must always work does not.
    pub(crate) fn upset(&mut self, upset: Upset) -> Result<()> {
        match upset {
            Upset::KillAgent(host) => self.lab.kill_agent(host.0),
            // A join that has failed has ended otherwise than an agent that is asked to.
            Upset::StopAgent(host) if self.joining.contains(&host) => self.lab.kill_agent(host.0),
            Upset::StopAgent(host) => {
                self.signal_agent(host, Signal::SIGCONT)?;
                self.lab.stop_agent(host.0)?;
            }
            Upset::StartAgent(host) => self.start_agent(host)?,
            Upset::PauseAgent(host) => self.signal_agent(host, Signal::SIGSTOP)?,
            Upset::ResumeAgent(host) => self.signal_agent(host, Signal::SIGCONT)?,
            Upset::KillServer => self.lab.kill_server(),
            Upset::StopServer => {
                self.signal_server(Signal::SIGCONT)?;
                self.lab.stop_server()?;
            }
            Upset::StartServer => self.spawn_server()?,
            Upset::RestartServerWhileConnecting(pause) => self.restart_server_while_connecting(pause)?,
            Upset::PauseServer => self.signal_server(Signal::SIGSTOP)?,
            Upset::ResumeServer => self.signal_server(Signal::SIGCONT)?,
            Upset::CutStream(host) => self.relay(host).cut(),
            Upset::HoldStream(host) => self.relay(host).hold(true),
            Upset::ReleaseStream(host) => self.relay(host).hold(false),
            Upset::LinkDown(host) => self.set_link(host, "down")?,
            Upset::LinkUp(host) => self.set_link(host, "up")?,
            Upset::Unplug(host) => self.set_plug(host, "down")?,
            Upset::PlugIn(host) => self.set_plug(host, "up")?,
            Upset::Blackhole(from, to) => self.blackhole(from, to)?,
            Upset::Heal(from, to) => self.heal(from, to)?,
            Upset::Reboot(host) => self.reboot(host)?,
            Upset::RemoveHost(host) => self.remove_host(host)?,
            Upset::ReplaceCertificate(host) => self.replace_certificate(host)?,
            Upset::Damage(host, damage, pick) => self.damage(host, damage, pick)?,
            Upset::LoseNamespace(instance) => self.lose_namespace(instance)?,
            Upset::RemakeNamespace(instance) => self.remake_namespace(instance)?,
            Upset::FillServerDisk => self.fill(self.lab.server_dir())?,
            Upset::FreeServerDisk => free(&self.lab.server_dir())?,
            Upset::FillAgentDisk(host) => self.fill(self.lab.host(host.0).state_dir.clone())?,
            Upset::FreeAgentDisk(host) => free(&self.lab.host(host.0).state_dir)?,
            Upset::Storm(instance, frames) => self.storm(instance, frames),
        }
        Ok(())
    }

    /// Puts right all that may be wrong, and returns when everything runs and is connected.
    ///
    /// # Errors
    /// Something does not come up, or has ended by itself.
    pub(crate) fn repair(&mut self) -> Result<()> {
        let hosts: Vec<_> = (1..=self.lab.hosts().len()).map(HostNumber).collect();
        free(&self.lab.server_dir())?;
        self.signal_server(Signal::SIGCONT)?;
        for host in &hosts {
            free(&self.lab.host(host.0).state_dir)?;
            self.signal_agent(*host, Signal::SIGCONT)?;
            self.relay(*host).hold(false);
            self.set_plug(*host, "up")?;
            self.set_link(*host, "up")?;
        }
        for (from, to) in std::mem::take(&mut self.cut_routes) {
            self.lab.host(from.0).namespace.ip(&format!("route del blackhole {}", self.vtep(to)))?;
        }
        for slot in 0..super::plan::INSTANCES_MAX {
            self.remake_namespace(InstanceSlot(slot))?;
        }
        for slot in std::mem::take(&mut self.down_inside) {
            self.set_devices_inside(slot, "set", "up")?;
        }
        self.ensure_server()?;
        for host in &hosts {
            self.ensure_agent(*host)?;
        }
        self.full.clear();
        self.lab.wait_for_agents()?;
        self.joining.clear();
        Ok(())
    }

    /// What is not ours is as it was.
    pub(crate) fn check_canaries(&self) -> Result<()> {
        self.canaries.iter().try_for_each(Canary::check)
    }

    fn relay(&self, host: HostNumber) -> &Relay {
        &self.relays[host.0 - 1]
    }

    fn host(&self, host: HostNumber) -> &Host {
        self.lab.host(host.0)
    }

    fn vtep(&self, host: HostNumber) -> std::net::IpAddr {
        self.host(host).vtep
    }

    /// A host that may not have joined yet has to wait for the end of the step, when the server is there.
    fn start_agent(&mut self, host: HostNumber) -> Result<()> {
        match self.host(host).agent() {
            None if !self.joining.contains(&host) => self.lab.run_agent(host.0),
            _ => Ok(()),
        }
    }

    fn spawn_server(&mut self) -> Result<()> {
        match self.lab.server() {
            Some(_) => Ok(()),
            None => self.lab.spawn_server(),
        }
    }

    fn signal_agent(&self, host: HostNumber, signal: Signal) -> Result<()> {
        self.host(host).agent().map_or(Ok(()), |agent| agent.signal(signal))
    }

    fn signal_server(&self, signal: Signal) -> Result<()> {
        self.lab.server().map_or(Ok(()), |server| server.signal(signal))
    }

    /// A server that was started while its disk was full may have refused to; otherwise it runs.
    fn ensure_server(&mut self) -> Result<()> {
        let disk = self.lab.server_dir();
        let may_have_ended = self.full.contains(&disk);
        match self.lab.server_mut().map(Daemon::check) {
            Some(Ok(())) => return self.lab.wait_for_server(),
            Some(Err(error)) if !may_have_ended => return Err(error),
            Some(Err(_)) | None => {}
        }
        self.lab.start_server()
    }

    fn ensure_agent(&mut self, host: HostNumber) -> Result<()> {
        let is_joining = self.joining.contains(&host);
        let may_have_ended = is_joining || self.full.contains(&self.host(host).state_dir);
        match self.lab.agent_mut(host.0).map(Daemon::check) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) if !may_have_ended => return Err(error),
            Some(_) | None => {}
        }
        if is_joining { self.lab.join(host.0) } else { self.lab.run_agent(host.0) }
    }

    fn set_link(&self, host: HostNumber, state: &str) -> Result<()> {
        let host = self.host(host);
        host.namespace.ip(&format!("link set {} {state}", host.underlay_device)).map(drop)
    }

    fn set_plug(&self, host: HostNumber, state: &str) -> Result<()> {
        let underlay = self.lab.underlay().context("a lab has an underlay")?;
        underlay.ip(&format!("link set {} {state}", self.host(host).name)).map(drop)
    }

    fn blackhole(&mut self, from: HostNumber, to: HostNumber) -> Result<()> {
        if self.cut_routes.contains(&(from, to)) {
            return Ok(());
        }
        self.host(from).namespace.ip(&format!("route add blackhole {}", self.vtep(to)))?;
        self.cut_routes.push((from, to));
        Ok(())
    }

    fn heal(&mut self, from: HostNumber, to: HostNumber) -> Result<()> {
        let Some(at) = self.cut_routes.iter().position(|route| *route == (from, to)) else { return Ok(()) };
        self.cut_routes.remove(at);
        self.host(from).namespace.ip(&format!("route del blackhole {}", self.vtep(to))).map(drop)
    }

    /// Takes from a host what a reboot takes, but for its namespaces.
    fn reboot(&mut self, host: HostNumber) -> Result<()> {
        self.lab.kill_agent(host.0);
        let rebooted = self.host(host);
        for device in devices(&rebooted.namespace, "pn")? {
            if device != "pnic0" {
                // One whose instance has just moved away, or been deleted, goes by itself.
                let _ = rebooted.namespace.ip(&format!("link delete {device}"));
            }
        }
        remove_all(&rebooted.pin_dir)?;
        self.start_agent(host)
    }

    /// Has all hosts connect at once, and kills the server at it.
    fn restart_server_while_connecting(&mut self, pause: Duration) -> Result<()> {
        self.relays.iter().for_each(Relay::cut);
        std::thread::sleep(pause);
        self.lab.kill_server();
        self.spawn_server()
    }

    /// Has the server there, which may be paused, without a disk, or gone.
    fn need_server(&mut self) -> Result<()> {
        self.signal_server(Signal::SIGCONT)?;
        free(&self.lab.server_dir())?;
        self.ensure_server()
    }

    /// Has a host join anew, as itself: its agent goes on with what it has, by another certificate.
    fn replace_certificate(&mut self, host: HostNumber) -> Result<()> {
        self.need_server()?;
        self.lab.kill_agent(host.0);
        self.join(host)
    }

    fn join(&mut self, host: HostNumber) -> Result<()> {
        self.joining.insert(host);
        self.lab.join(host.0)
    }

    /// Forgets the host with its instances, and invites it anew: its agent finds out when it comes back.
    fn remove_host(&mut self, host: HostNumber) -> Result<()> {
        self.need_server()?;
        // A client that still waits for an answer does not know yet what would go.
        if self.shared.unanswered.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.lab.kill_agent(host.0);
        let hosts = self.lab.api().get("/privnet/v1/hosts")?;
        let found = items(&hosts, "hosts").iter().find(|one| one["name"] == self.host(host).name);
        let id = text(found.with_context(|| format!("{host} is not registered"))?, "id");
        let path = format!("/privnet/v1/hosts/{id}:with-instances");
        self.lab.api().request(Method::DELETE, &path, None)?.ok()?;
        let mut ledger = self.shared.ledger();
        for (slot, place) in ledger.instances.iter_mut().enumerate() {
            let Some(gone) = place.take_if(|instance| instance.host == host) else { continue };
            self.shared.stations_mut().remove(&InstanceSlot(slot));
            gone.namespace.map_or(Ok(()), Namespace::remove)?;
        }
        for slot in 0..ledger.made.len() {
            if ledger.made[slot].as_ref().is_some_and(|made| made.host == host) {
                ledger.unmake(MadeSlot(slot));
            }
        }
        drop(ledger);
        self.join(host)
    }

    fn damage(&mut self, host: HostNumber, damage: Damage, pick: u32) -> Result<()> {
        let damaged = self.lab.host(host.0);
        let by_ip = |words: String| {
            // The agent may be at it as well: what is gone already needs no damage.
            let _ = damaged.namespace.ip(&words);
        };
        let port = port_devices(&damaged.namespace).map(|all| choose(all, pick))?;
        match damage {
            Damage::DeleteDevice => port.into_iter().for_each(|device| by_ip(format!("link delete {device}"))),
            Damage::SetDeviceDown => port.into_iter().for_each(|device| by_ip(format!("link set {device} down"))),
            Damage::ChangeDeviceMtu => {
                port.into_iter().for_each(|device| by_ip(format!("link set {device} mtu 1300")));
            }
            Damage::DeleteInnerDevice => drop(self.damage_inside(host, pick, "delete", "")?),
            Damage::SetInnerDeviceDown => {
                let instance = self.damage_inside(host, pick, "set", "down")?;
                self.down_inside.extend(instance);
            }
            Damage::DeleteOverlay => by_ip("link delete pnvxlan".to_owned()),
            Damage::SetOverlayDown => by_ip("link set pnvxlan down".to_owned()),
            Damage::RemoveFilter => {
                if let Some(device) = port {
                    let _ = damaged.namespace.run("tc", &["qdisc", "del", "dev", &device, "clsact"]);
                }
            }
            Damage::RemoveOverlayProgram => {
                // By a pinned link or by a filter.
                let _ = fs::remove_file(damaged.pin_dir.join("links/pnvxlan"));
                let _ = damaged.namespace.run("tc", &["qdisc", "del", "dev", "pnvxlan", "clsact"]);
            }
            Damage::RemoveEntry => each_map(damaged, Some(pick), |map, keys| {
                choose(keys, pick / 7).map_or(Ok(()), |key| map.remove(&key))
            })?,
            Damage::AddEntry => each_map(damaged, Some(pick), |map, keys| {
                choose(keys, pick / 7).map_or(Ok(()), |key| add_beside(map, &key))
            })?,
            Damage::EmptyMaps => {
                each_map(damaged, None, |map, keys| keys.iter().try_for_each(|key| map.remove(key)))?;
            }
            Damage::RemovePins => remove_files(&damaged.pin_dir)?,
            Damage::AddStrayDevice => by_ip(format!("link add pn{pick:010x} type dummy")),
        }
        Ok(())
    }

    /// Does something to all devices of ports in one of the host's instances, and says which.
    fn damage_inside(&self, host: HostNumber, pick: u32, verb: &str, rest: &str) -> Result<Option<InstanceSlot>> {
        let ports = self.shared.ledger().live_ports();
        let instances = ports.iter().filter(|port| port.host == host).map(|port| port.instance).collect();
        let instance = choose(instances, pick);
        instance.map(|slot| self.set_devices_inside(slot, verb, rest)).transpose()?;
        Ok(instance)
    }

    fn set_devices_inside(&self, slot: InstanceSlot, verb: &str, rest: &str) -> Result<()> {
        let mut ledger = self.shared.ledger();
        let namespace = ledger.instance(slot).and_then(|one| one.namespace.as_ref());
        for device in namespace.map(|namespace| devices(namespace, "net")).transpose()?.into_iter().flatten() {
            // The agent may be at it as well: what is gone already needs nothing.
            let _ = namespace.map(|namespace| namespace.ip(&format!("link {verb} {device} {rest}")));
        }
        Ok(())
    }

    fn lose_namespace(&self, slot: InstanceSlot) -> Result<()> {
        let mut ledger = self.shared.ledger();
        let Some(namespace) = ledger.instance(slot).and_then(|one| one.namespace.take()) else { return Ok(()) };
        self.shared.stations_mut().remove(&slot);
        namespace.remove()
    }

    fn remake_namespace(&self, slot: InstanceSlot) -> Result<()> {
        let mut ledger = self.shared.ledger();
        let Some(instance) = ledger.instance(slot).filter(|one| one.namespace.is_none()) else { return Ok(()) };
        let namespace = Namespace::create(&self.shared.lab, &instance.label)?;
        let station = Station::open(namespace.clone())?;
        instance.namespace = Some(namespace);
        self.shared.stations_mut().insert(slot, station);
        Ok(())
    }

    fn fill(&mut self, disk: PathBuf) -> Result<()> {
        let filler = disk.join(FILLER);
        let mut file = OpenOptions::new().create(true).append(true).open(&filler)?;
        let chunk = vec![1; FILL_BYTES];
        for octets in [FILL_BYTES, 4096, 1] {
            while file.write_all(&chunk[..octets]).is_ok() {}
        }
        self.full.push(disk);
        Ok(())
    }

    fn storm(&self, slot: InstanceSlot, frames: u32) {
        let ports = self.shared.ledger().live_ports();
        if let Some(port) = ports.iter().find(|port| port.instance == slot) {
            for _ in 0..frames {
                send_probe(&self.shared, port, EVERYBODY, Purpose::Noise);
            }
        }
    }
}

fn make_disk(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mounted = mount(Some("privnet-lab"), dir, Some("tmpfs"), MsFlags::empty(), Some(DISK));
    mounted.with_context(|| format!("cannot mount a disk at {}", dir.display()))
}

fn free(disk: &Path) -> Result<()> {
    match fs::remove_file(disk.join(FILLER)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot free a disk"),
        _ => Ok(()),
    }
}

fn devices(namespace: &Namespace, prefix: &str) -> Result<Vec<String>> {
    let links = namespace.links()?;
    Ok(links.iter().map(|link| text(link, "ifname").to_owned()).filter(|name| name.starts_with(prefix)).collect())
}

fn port_devices(namespace: &Namespace) -> Result<Vec<String>> {
    Ok(devices(namespace, "pn")?.into_iter().filter(|name| crate::invariants::is_port(name)).collect())
}

fn choose<T>(mut choices: Vec<T>, pick: u32) -> Option<T> {
    let count = choices.len();
    (count > 0).then(|| choices.swap_remove(pick as usize % count))
}

/// Does something to the host's maps, or the one that `pick` selects. A host that has just started has none.
fn each_map(host: &Host, pick: Option<u32>, act: impl Fn(&Map, Vec<Vec<u8>>) -> Result<()>) -> Result<()> {
    let chosen = |at: &usize| pick.is_none_or(|pick| pick as usize % MAPS.len() == *at);
    for at in (0..MAPS.len()).filter(chosen) {
        let Ok(map) = Map::of_host(host, MAPS[at]) else { continue };
        // The agent may be at it as well.
        let _ = map.keys().and_then(|keys| act(&map, keys));
    }
    Ok(())
}

/// Gives another key the value of this one: one that differs in an octet that belongs to nobody.
fn add_beside(map: &Map, key: &[u8]) -> Result<()> {
    let mut other = key.to_vec();
    // The last octet of an address, the middle one of a lone number, the lowest of a slot.
    let at = match key.len() {
        4 => 2,
        8 => 4,
        12 => 9,
        20 => 19,
        octets => bail!("keys of {octets} octets are of no map"),
    };
    other[at] ^= 0x40;
    map.copy(key, &other)
}

fn remove_files(dir: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { remove_files(&path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

fn remove_all(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    ensure!(!dir.exists(), "{} is still there", dir.display());
    Ok(())
}
