//! A client: carries out its requests, each until it has an answer, and writes down what it was told.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ureq::http::Method;

use super::Shared;
use super::event::{HostNumber, InstanceSlot, MadeSlot, NetworkSlot, Range, Request, Switch};
use super::ledger::{Instance, Made, Network, Port, PortIdentity};
use super::station::Station;
use crate::api::{Api, Reply};
use crate::bpf::Map;
use crate::frame::octets;
use crate::json::{items, text};
use crate::namespace::Namespace;

/// How long to wait before a request without an answer is sent again.
const RETRY: Duration = Duration::from_millis(20);

const NETMASK: &str = "255.255.255.0";

/// One of the clients that work side by side.
pub(crate) struct Client {
    pub(crate) api: Api,
    pub(crate) shared: Arc<Shared>,
}

/// An answer that says yes or no.
struct Answer {
    reply: Reply,
    /// Whether the request was sent before without an answer, so that it may have been carried out twice.
    is_repeated: bool,
}

impl Client {
    /// Works until nobody can send requests any more.
    pub(crate) fn run(self, requests: &Receiver<Request>) {
        for request in requests {
            if let Err(error) = self.carry_out(&request) {
                self.shared.violate(format!("\"{request}\": {error:#}"));
            }
            self.shared.answered();
        }
    }

    fn carry_out(&self, request: &Request) -> Result<()> {
        match *request {
            Request::CreateNetwork { network, is_managed } => self.create_network(network, is_managed),
            Request::Relabel { network, text } => self.relabel(network, text),
            Request::ResetLabels { network } => self.reset_labels(network),
            Request::SetRange { network, range } => self.set_range(network, range),
            Request::DeleteNetwork { network } => self.delete_network(network),
            Request::CreateInstance { instance, host } => self.create_instance(instance, host),
            Request::DeleteInstance { instance } => self.delete_instance(instance),
            Request::Move { instance, host, is_early } => self.move_instance(instance, host, is_early),
            Request::Attach { instance, network, address } => self.attach(instance, network, address),
            Request::Detach { instance, network } => self.detach(instance, network),
            Request::UpdateIp { instance, network, address } => self.update_ip(instance, network, address),
            Request::Make { made, host } => self.make(made, host),
            Request::Join { made, network } => self.join(made, network),
            Request::Power { made, switch } => self.power(made, switch),
            Request::Unmake { made } => self.unmake(made),
        }
    }

    fn create_network(&self, slot: NetworkSlot, is_managed: bool) -> Result<()> {
        if self.network_id(slot).is_some() {
            return Ok(());
        }
        let range = is_managed.then_some(Range { first: 10, last: 99 });
        let name = self.shared.new_name(&slot);
        let mut body = json!({"name": name});
        if let Some(range) = range {
            merge(&mut body, range_json(range));
        }
        let Some(id) = self.create("/v2/private-network", "private-networks", &name, &body)? else { return Ok(()) };
        let network = self.get(&format!("/v2/private-network/{id}"))?;
        let vni = network["vni"].as_u64().and_then(|vni| u32::try_from(vni).ok());
        let vni = vni.with_context(|| format!("an acknowledged network is {network}"))?;
        self.ensure_nobody_carries(vni)?;
        self.shared.ledger().networks[slot.0] = Some(Network { id, vni, range, text: None, has_labels: false });
        Ok(())
    }

    /// No host has anything of a network that nobody is attached to yet: what it had under this VNI would be
    /// another one's (invariant 2).
    fn ensure_nobody_carries(&self, vni: u32) -> Result<()> {
        for (host, pins) in self.shared.pin_dirs.iter().enumerate() {
            // A host that has just rebooted has no maps.
            let Ok(keys) = Map::in_pin_dir(pins, "networks").and_then(|map| map.keys()) else { continue };
            let is_carried = keys.iter().any(|key| **key == vni.to_ne_bytes());
            ensure!(!is_carried, "(2) a new network has VNI {vni}, under which h{} still carries another", host + 1);
        }
        Ok(())
    }

    fn relabel(&self, slot: NetworkSlot, text: u32) -> Result<()> {
        let body = json!({"description": format!("{text:08x}"), "labels": {"chaos": format!("{text:08x}")}});
        self.update(slot, &body, |network| (network.text, network.has_labels) = (Some(text), true))
    }

    fn set_range(&self, slot: NetworkSlot, range: Range) -> Result<()> {
        self.update(slot, &range_json(range), |network| network.range = Some(range))
    }

    fn update(&self, slot: NetworkSlot, body: &Value, note: impl FnMut(&mut Network)) -> Result<()> {
        let Some(id) = self.network_id(slot) else { return Ok(()) };
        let answer = self.ask(Method::PUT, &format!("/v2/private-network/{id}"), Some(body))?;
        match answer.reply.status {
            200 => self.shared.ledger().network(slot).into_iter().for_each(note),
            // The new range has too few addresses for those who are attached.
            409 => {}
            _ => bail!("{:?}", answer.reply),
        }
        Ok(())
    }

    fn reset_labels(&self, slot: NetworkSlot) -> Result<()> {
        let Some(id) = self.network_id(slot) else { return Ok(()) };
        self.ask(Method::DELETE, &format!("/v2/private-network/{id}/labels"), None)?.reply.ok()?;
        self.shared.ledger().network(slot).into_iter().for_each(|network| network.has_labels = false);
        Ok(())
    }

    fn delete_network(&self, slot: NetworkSlot) -> Result<()> {
        let Some(id) = self.network_id(slot) else { return Ok(()) };
        let answer = self.ask(Method::DELETE, &format!("/v2/private-network/{id}"), None)?;
        match answer.reply.status {
            200 => {}
            404 if answer.is_repeated => {}
            // Somebody is attached.
            409 => return Ok(()),
            _ => bail!("{:?}", answer.reply),
        }
        let mut ledger = self.shared.ledger();
        ledger.networks[slot.0] = None;
        ledger.told_gone.insert(id);
        Ok(())
    }

    fn create_instance(&self, slot: InstanceSlot, host: HostNumber) -> Result<()> {
        if self.instance_id(slot).is_some() {
            return Ok(());
        }
        let name = self.shared.new_name(&slot);
        let namespace = Namespace::create(&self.shared.lab, &name)?;
        let body = json!({"name": name, "host": host.to_string(), "kind": "netns", "netns": namespace.name()});
        let Some(id) = self.create("/privnet/v1/instances", "instances", &name, &body)? else {
            return namespace.remove();
        };
        let station = Station::open(namespace.clone())?;
        let record = Instance { id, host, label: name, namespace: Some(namespace), ports: Default::default() };
        self.shared.ledger().instances[slot.0] = Some(record);
        self.shared.stations_mut().insert(slot, station);
        Ok(())
    }

    fn move_instance(&self, slot: InstanceSlot, host: HostNumber, is_early: bool) -> Result<()> {
        let Some(id) = self.instance_id(slot) else { return Ok(()) };
        let label = self.shared.new_name(&slot);
        let make = || Namespace::create(&self.shared.lab, &label);
        let arrived = if is_early { None } else { Some(make()?) };
        let netns = Namespace::name_of(&self.shared.lab, &label);
        let body = json!({"host": host.to_string(), "kind": "netns", "netns": netns});
        let answer = self.ask(Method::PUT, &format!("/privnet/v1/instances/{id}:move"), Some(&body))?;
        match answer.reply.status {
            200 => {}
            // The host has been removed and is not back.
            404 => return arrived.map_or(Ok(()), Namespace::remove),
            _ => bail!("{:?}", answer.reply),
        }
        let namespace = arrived.map_or_else(make, Ok)?;
        let station = Station::open(namespace.clone())?;
        let mut ledger = self.shared.ledger();
        let record = ledger.instance(slot).context("its client has it")?;
        (record.host, record.label) = (host, label);
        let left = record.namespace.replace(namespace);
        drop(self.shared.stations_mut().insert(slot, station));
        left.map_or(Ok(()), Namespace::remove)
    }

    fn delete_instance(&self, slot: InstanceSlot) -> Result<()> {
        let Some(id) = self.instance_id(slot) else { return Ok(()) };
        let answer = self.ask(Method::DELETE, &format!("/privnet/v1/instances/{id}"), None)?;
        match answer.reply.status {
            200..300 => {}
            404 if answer.is_repeated => {}
            409 if self.has_ports(slot) => return Ok(()),
            _ => bail!("{:?}", answer.reply),
        }
        let gone = self.shared.ledger().instances[slot.0].take();
        self.shared.stations_mut().remove(&slot);
        match gone.and_then(|instance| instance.namespace) {
            Some(namespace) => namespace.remove(),
            None => Ok(()),
        }
    }

    fn has_ports(&self, slot: InstanceSlot) -> bool {
        self.shared.ledger().instance(slot).is_some_and(|instance| !instance.ports.is_empty())
    }

    fn attach(&self, instance: InstanceSlot, slot: NetworkSlot, address: Option<u8>) -> Result<()> {
        let Some(network) = self.network_id(slot) else { return Ok(()) };
        let answer = self.act_on_port("attach", instance, &network, address)?;
        match answer.map(|answer| answer.reply) {
            None => Ok(()),
            Some(Reply { status: 200, .. }) => self.learn_port(instance, slot, &network),
            Some(Reply { status: 404, .. }) => self.note_gone(network),
            // The address is taken, all are, or the instance has another one.
            Some(Reply { status: 409, .. }) => Ok(()),
            // A static address in a network that the plan takes for a managed one.
            Some(Reply { status: 400, .. }) if address.is_some() => Ok(()),
            Some(other) => bail!("{other:?}"),
        }
    }

    fn detach(&self, instance: InstanceSlot, slot: NetworkSlot) -> Result<()> {
        let Some(port) = self.port(instance, slot) else { return Ok(()) };
        let Some(answer) = self.act_on_port("detach", instance, &port.network, None)? else { return Ok(()) };
        match answer.reply.status {
            200 => {}
            404 if answer.is_repeated => {}
            _ => bail!("{:?}", answer.reply),
        }
        if let Some(instance) = self.shared.ledger().instance(instance) {
            instance.ports.remove(&slot);
        }
        Ok(())
    }

    fn update_ip(&self, instance: InstanceSlot, slot: NetworkSlot, address: Option<u8>) -> Result<()> {
        let Some(port) = self.port(instance, slot) else { return Ok(()) };
        let Some(answer) = self.act_on_port("update-ip", instance, &port.network, address)? else { return Ok(()) };
        match answer.reply.status {
            200 => self.learn_port(instance, slot, &port.network),
            // Taken or exhausted; or the network is unmanaged.
            409 | 400 => Ok(()),
            _ => bail!("{:?}", answer.reply),
        }
    }

    fn act_on_port(
        &self,
        action: &str,
        instance: InstanceSlot,
        network: &str,
        address: Option<u8>,
    ) -> Result<Option<Answer>> {
        let Some(id) = self.instance_id(instance) else { return Ok(None) };
        let mut body = json!({"instance": {"id": id}});
        if let Some(octet) = address {
            body["ip"] = json!(Ipv4Addr::new(10, 0, 0, octet));
        }
        self.ask(Method::PUT, &format!("/v2/private-network/{network}:{action}"), Some(&body)).map(Some)
    }

    /// Reads the MAC address and the lease of a port that was acknowledged.
    fn learn_port(&self, instance: InstanceSlot, slot: NetworkSlot, network: &str) -> Result<()> {
        let id = self.instance_id(instance).context("its client has it")?;
        let found = self.get(&format!("/v2/instance/{id}"))?;
        let port = items(&found, "private-networks").iter().find(|port| port["id"] == *network);
        let port = port.with_context(|| format!("(5) an acknowledged port is not there: {found}"))?;
        let mac = octets(text(port, "mac-address")).try_into().ok().context("a MAC address has six octets")?;
        let found = self.get(&format!("/v2/private-network/{network}"))?;
        let lease = items(&found, "leases").iter().find(|lease| lease["instance-id"] == *id);
        let address = lease.map(|lease| text(lease, "ip").parse()).transpose()?;
        self.shared.ledger().attached(instance, slot, Port { network: network.to_owned(), mac, address });
        Ok(())
    }

    fn make(&self, slot: MadeSlot, host: HostNumber) -> Result<()> {
        if self.made_id(slot).is_some() {
            return Ok(());
        }
        let first = |path: &str, list: &str| Ok::<_, anyhow::Error>(items(&self.get(path)?, list)[0]["id"].clone());
        let name = self.shared.new_name(&slot);
        let body = json!({
            "name": name, "disk-size": 10, "labels": {"privnet/host": host.to_string()},
            "instance-type": {"id": first("/v2/instance-type", "instance-types")?},
            "template": {"id": first("/v2/template", "templates")?},
        });
        let Some(id) = self.create("/v2/instance", "made", &name, &body)? else { return Ok(()) };
        let made = Made { id, host, is_running: true, ports: Default::default() };
        self.shared.ledger().made[slot.0] = Some(made);
        Ok(())
    }

    fn join(&self, slot: MadeSlot, network: NetworkSlot) -> Result<()> {
        let (Some(id), Some(network)) = (self.made_id(slot), self.network_id(network)) else { return Ok(()) };
        let body = json!({"instance": {"id": id}});
        let answer = self.ask(Method::PUT, &format!("/v2/private-network/{network}:attach"), Some(&body))?;
        match answer.reply.status {
            200 => {}
            404 => return self.note_gone(network),
            // All addresses are taken.
            409 => return Ok(()),
            _ => bail!("{:?}", answer.reply),
        }
        let found = self.get(&format!("/v2/instance/{id}"))?;
        let port = items(&found, "private-networks").iter().find(|port| port["id"] == *network);
        let port = port.with_context(|| format!("(5) an acknowledged port is not there: {found}"))?;
        let mac = octets(text(port, "mac-address")).try_into().ok().context("a MAC address has six octets")?;
        let mut ledger = self.shared.ledger();
        let identity = PortIdentity { network: network.clone(), name: format!("{slot} in {network}") };
        ledger.ports.insert(mac, identity);
        ledger.made(slot).context("its client has it")?.ports.insert(network, mac);
        Ok(())
    }

    fn power(&self, slot: MadeSlot, switch: Switch) -> Result<()> {
        let Some(id) = self.made_id(slot) else { return Ok(()) };
        let answer = self.ask(Method::PUT, &format!("/v2/instance/{id}:{}", switch.as_str()), None)?;
        let mut ledger = self.shared.ledger();
        let made = ledger.made(slot).context("its client has it")?;
        match (answer.reply.status, switch) {
            (200, Switch::Start) => made.is_running = true,
            (200, Switch::Stop) => made.is_running = false,
            (200, Switch::Reboot) if made.is_running => {}
            (409, Switch::Reboot) if !made.is_running => {}
            _ => bail!("{:?}", answer.reply),
        }
        Ok(())
    }

    fn unmake(&self, slot: MadeSlot) -> Result<()> {
        let Some(id) = self.made_id(slot) else { return Ok(()) };
        let answer = self.ask(Method::DELETE, &format!("/v2/instance/{id}"), None)?;
        match answer.reply.status {
            200 => {}
            404 if answer.is_repeated => {}
            _ => bail!("{:?}", answer.reply),
        }
        self.shared.ledger().unmake(slot);
        Ok(())
    }

    fn made_id(&self, slot: MadeSlot) -> Option<String> {
        Some(self.shared.ledger().made(slot)?.id.clone())
    }

    fn note_gone(&self, network: String) -> Result<()> {
        self.shared.ledger().told_gone.insert(network);
        Ok(())
    }

    fn network_id(&self, slot: NetworkSlot) -> Option<String> {
        Some(self.shared.ledger().network(slot)?.id.clone())
    }

    fn instance_id(&self, slot: InstanceSlot) -> Option<String> {
        Some(self.shared.ledger().instance(slot)?.id.clone())
    }

    fn port(&self, instance: InstanceSlot, slot: NetworkSlot) -> Option<Port> {
        self.shared.ledger().instance(instance)?.ports.get(&slot).cloned()
    }

    /// Makes something whose name is its own, and returns its id; `None` if there is no VNI or host for it.
    fn create(&self, path: &str, list: &str, name: &str, body: &Value) -> Result<Option<String>> {
        loop {
            match self.try_once(Method::POST, path, Some(body))? {
                // All VNIs are taken, or the host has been removed and is not back.
                Some(Reply { status: 404, .. }) => return Ok(None),
                Some(reply) if reply.status == 409 && text(&reply.body, "message").contains("VNI") => return Ok(None),
                Some(reply) if reply.status == 409 && text(&reply.body, "message").contains("no host") => {
                    return Ok(None);
                }
                Some(reply) => {
                    let created = reply.ok()?;
                    let id = [text(&created["reference"], "id"), text(&created, "id")];
                    let id = if list == "instances" { id[1] } else { id[0] };
                    return Ok(Some(id.to_owned()));
                }
                // It may have been carried out all the same.
                None => {
                    let all = self.get(path)?;
                    if let Some(found) = items(&all, if list == "made" { "instances" } else { list })
                        .iter()
                        .find(|one| text(one, "name") == name)
                    {
                        return Ok(Some(text(found, "id").to_owned()));
                    }
                }
            }
        }
    }

    /// The answer to a GET, asked for until it comes.
    fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None)?.reply.ok()
    }

    /// Sends a request until it is answered, and follows the operation that the answer names.
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut is_repeated = false;
        loop {
            if let Some(reply) = self.try_once(method.clone(), path, body)? {
                return Ok(Answer { reply, is_repeated });
            }
            is_repeated = true;
        }
    }

    /// `None` after a pause if there is no answer, or one that asks to try again.
    fn try_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Reply>> {
        self.shared.check_stopping()?;
        let is_mutation = method != Method::GET;
        match self.api.request(method.clone(), path, body) {
            Ok(reply) if reply.status != 503 => {
                if is_mutation && reply.status == 200 && reply.body["state"].is_string() {
                    self.shared.ledger().pending.insert(text(&reply.body, "id").to_owned(), format!("{method} {path}"));
                }
                Ok(Some(reply))
            }
            _ => {
                std::thread::sleep(RETRY);
                Ok(None)
            }
        }
    }
}

fn range_json(range: Range) -> Value {
    let address = |octet| Ipv4Addr::new(10, 0, 0, octet);
    json!({"start-ip": address(range.first), "end-ip": address(range.last), "netmask": NETMASK})
}

fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
