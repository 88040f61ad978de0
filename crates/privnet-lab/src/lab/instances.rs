//! Instances: namespaces, guests of virtual machines, and those that hosts make.

use anyhow::{Context, Result};
use serde_json::json;
use ureq::http::Method;

use super::Lab;
use crate::api::{succeeded, text};
use crate::machine::{Machine, Plug};
use crate::namespace::Namespace;

/// One registered instance. Its namespace goes with its lab.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The API's id.
    pub id: String,
    /// The API's name.
    pub name: String,
    /// Its host's number, from 1.
    pub host: usize,
    /// What its ports are plugged into.
    pub namespace: Namespace,
}

impl Lab {
    /// Makes a namespace and registers it as an instance on host `host`, from 1.
    ///
    /// # Errors
    /// The namespace cannot be made, or the API refuses.
    pub fn add_instance(&mut self, name: &str, host: usize) -> Result<Instance> {
        let namespace = self.add_namespace()?;
        self.register_instance(name, host, namespace)
    }

    /// Makes a namespace that is no instance yet.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn add_namespace(&mut self) -> Result<Namespace> {
        self.instances += 1;
        Namespace::create(self.id(), &format!("i{}", self.instances))
    }

    /// Registers a namespace as an instance on host `host`, from 1.
    ///
    /// # Errors
    /// The API refuses.
    pub fn register_instance(&self, name: &str, host: usize, namespace: Namespace) -> Result<Instance> {
        let body = json!({"name": name, "host": self.host(host).name, "kind": "netns", "netns": namespace.name()});
        let created = self.api.request(Method::POST, "/privnet/v1/instances", Some(&body))?.ok()?;
        Ok(Instance { id: text(&created, "id")?, name: name.to_owned(), host, namespace })
    }

    /// Makes a namespace for a guest's kernel and registers a virtual machine on host `host`, from 1, which is off.
    ///
    /// # Errors
    /// The namespace cannot be made, or the API refuses.
    pub fn add_machine(&mut self, name: &str, host: usize) -> Result<Instance> {
        let namespace = self.add_namespace()?;
        let body = json!({"name": name, "host": self.host(host).name, "kind": "tap"});
        let created = self.api.request(Method::POST, "/privnet/v1/instances", Some(&body))?.ok()?;
        Ok(Instance { id: text(&created, "id")?, name: name.to_owned(), host, namespace })
    }

    /// Switches on a virtual machine that is attached to one network. Its guest's device is called net0.
    ///
    /// # Errors
    /// It has no port, or is on.
    pub fn switch_on(&self, machine: &Instance) -> Result<Machine> {
        let all = self.api.get("/privnet/v1/instances")?;
        let placed = all["instances"].as_array().into_iter().flatten().find(|one| one["id"] == *machine.id);
        let placed = placed.with_context(|| format!("instance {} is not there", machine.name))?;
        let (tap, mac) = (text(&placed["ports"][0], "device")?, text(&placed["ports"][0], "mac-address")?);
        let host = &self.host(machine.host).namespace;
        let links = host.links()?;
        let link = links.iter().find(|link| link["ifname"] == *tap).with_context(|| format!("no tap {tap}"))?;
        Machine::on(Plug {
            host,
            tap: &tap,
            guest: &machine.namespace,
            device: "net0",
            mac: &mac,
            mtu_bytes: u32::try_from(link["mtu"].as_u64().context("a device has an MTU")?)?,
            is_multi_queue: placed["multi-queue"] == true,
        })
    }

    /// Has an instance made on host `host`, from 1, or on the one that the server chooses.
    ///
    /// # Errors
    /// The API refuses, or the operation does not succeed.
    pub fn launch_instance(&self, name: &str, host: Option<usize>) -> Result<Instance> {
        let catalogue = |path: &str, list: &str| text(&self.api.get(path)?[list][0], "id");
        let mut body = json!({
            "name": name,
            "instance-type": {"id": catalogue("/v2/instance-type", "instance-types")?},
            "template": {"id": catalogue("/v2/template", "templates")?},
            "disk-size": 10,
        });
        if let Some(host) = host {
            body["labels"] = json!({"privnet/host": self.host(host).name});
        }
        let operation = succeeded(self.api.operate(Method::POST, "/v2/instance", Some(&body))?)?;
        self.made_instance(&text(&operation["reference"], "id")?)
    }

    /// An instance that a host has made, as it is now.
    ///
    /// # Errors
    /// There is none, or its namespace is not there.
    pub fn made_instance(&self, id: &str) -> Result<Instance> {
        let all = self.api.get("/privnet/v1/instances")?;
        let placed = all["instances"].as_array().into_iter().flatten().find(|one| one["id"] == id);
        let placed = placed.with_context(|| format!("instance {id} is not there"))?;
        let host = self.hosts.iter().position(|host| placed["host"] == *host.name).context("its host is there")?;
        let namespace = self.namespace_of(&text(placed, "netns")?)?;
        Ok(Instance { id: id.to_owned(), name: text(placed, "name")?, host: host + 1, namespace })
    }

    /// A namespace that an agent of the lab has made, by its name.
    ///
    /// # Errors
    /// It is not there.
    pub fn namespace_of(&self, netns: &str) -> Result<Namespace> {
        Namespace::made(self.id(), netns)
    }
}
