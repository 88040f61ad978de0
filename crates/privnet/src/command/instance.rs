use privnet_model::Netns;
use serde_json::{Value, json};
use ureq::http::Method;

use super::Context;
use super::operation;
use super::resolve::{HOST, INSTANCE, NETWORK, ORGANIZATION, PLACED_INSTANCE};
use crate::args::{InstanceCommand, WaitArgs};
use crate::client::{Client, list, text};
use crate::exit::{Exit, Failure};
use crate::output::{properties, table};

pub(super) fn run(command: InstanceCommand, context: &Context) -> Result<(), Failure> {
    let Context { client, output } = context;
    match command {
        InstanceCommand::Create { name, host, make: true, wait, .. } => make(&name, host.as_deref(), wait, context),
        InstanceCommand::Create { name, host, netns, pid, tap, owner, group, multi_queue, organization, .. } => {
            let host = host.map_or_else(|| only_host(client), Ok)?;
            let netns = pid.map(namespace_of).transpose()?.or(netns);
            let mut body = json!({"name": name, "host": host});
            if tap {
                body["kind"] = "tap".into();
                body["multi-queue"] = multi_queue.into();
                for (property, account) in [("owner", owner), ("group", group)] {
                    if let Some(account) = account {
                        body[property] = account.into();
                    }
                }
            } else {
                body["kind"] = "netns".into();
                body["netns"] = netns.as_deref().unwrap_or(&name).into();
            }
            if let Some(organization) = organization {
                body["organization"] = ORGANIZATION.id(client, &organization)?.into();
            }
            let created = client.request(Method::POST, "/privnet/v1/instances", Some(&body))?;
            output.print(&created, || describe(&created, &Value::Null))
        }
        InstanceCommand::List => {
            // Where they run is told to operators alone.
            let answer = PLACED_INSTANCE.answer(client).or_else(|_| INSTANCE.answer(client))?;
            output.print(&answer, || describe_all(INSTANCE.things(&answer)))
        }
        InstanceCommand::Show { instance } => {
            let id = INSTANCE.id(client, &instance)?;
            let instance = client.get(&format!("/v2/instance/{id}"))?;
            output.print(&instance, || {
                let all = PLACED_INSTANCE.answer(client).unwrap_or_default();
                let placed = INSTANCE.things(&all).iter().find(|placed| text(placed, "id") == id);
                let networks = NETWORK.answer(client).unwrap_or_default();
                let mut description = describe(placed.unwrap_or(&instance), &instance);
                description += &describe_ports(&instance, placed.unwrap_or(&Value::Null), NETWORK.things(&networks));
                description
            })
        }
        InstanceCommand::Move { instance, to, netns, wait } => {
            let path = format!("/privnet/v1/instances/{}:move", PLACED_INSTANCE.id(client, &instance)?);
            let mut body = json!({"host": to});
            if let Some(netns) = netns {
                body["netns"] = netns.into();
            }
            let accepted = client.request(Method::PUT, &path, Some(&body))?;
            operation::finish(accepted, wait, context, |_| format!("{instance} is on {to}"))
        }
        InstanceCommand::Start { instance, wait } => operate(&instance, "start", "is running", wait, context),
        InstanceCommand::Stop { instance, wait } => operate(&instance, "stop", "is stopped", wait, context),
        InstanceCommand::Reboot { instance, wait } => operate(&instance, "reboot", "is rebooted", wait, context),
        InstanceCommand::Delete { instance, detach: true, wait } => {
            let path = format!("/v2/instance/{}", INSTANCE.id(client, &instance)?);
            let accepted = client.request(Method::DELETE, &path, None)?;
            operation::finish(accepted, wait, context, |_| format!("{instance} is deleted"))
        }
        InstanceCommand::Delete { instance, .. } => {
            let path = format!("/privnet/v1/instances/{}", PLACED_INSTANCE.id(client, &instance)?);
            let answer = client.request(Method::DELETE, &path, None)?;
            output.print(&answer, || format!("{instance} is deleted"))
        }
    }
}

/// The network namespace of a process of this machine, told from one that has its number later.
fn namespace_of(pid: u32) -> Result<String, Failure> {
    let missing = || Failure::say(Exit::NotFound, format_args!("there is no process {pid} on this machine"));
    let started_ticks = privnet_agent::start_of_process(pid).ok_or_else(missing)?;
    Ok(Netns::of_process(pid, started_ticks).as_str().to_owned())
}

/// Has a host make an instance, of the first type and template there are.
fn make(name: &str, host: Option<&str>, wait: WaitArgs, context: &Context) -> Result<(), Failure> {
    let client = &context.client;
    let first = |path: &str, key: &str| {
        let answer = client.get(path)?;
        let id = list(&answer, key).first().map(|first| text(first, "id").to_owned());
        id.ok_or_else(|| Failure::say(Exit::NotFound, format_args!("the server's list {path} is empty")))
    };
    let mut body = json!({
        "name": name,
        "instance-type": {"id": first("/v2/instance-type", "instance-types")?},
        "template": {"id": first("/v2/template", "templates")?},
        "disk-size": 10,
    });
    if let Some(host) = host {
        body["labels"] = json!({"privnet/host": host});
    }
    let accepted = client.request(Method::POST, "/v2/instance", Some(&body))?;
    operation::finish(accepted, wait, context, |operation| {
        let id = text(&operation["reference"], "id");
        let all = PLACED_INSTANCE.answer(client).unwrap_or_default();
        let made = INSTANCE.things(&all).iter().find(|instance| text(instance, "id") == id);
        made.map_or_else(|| format!("{name} is made"), |made| describe(made, made))
    })
}

/// Does something to an instance by one of its actions.
fn operate(instance: &str, action: &str, outcome: &str, wait: WaitArgs, context: &Context) -> Result<(), Failure> {
    let path = format!("/v2/instance/{}:{action}", INSTANCE.id(&context.client, instance)?);
    let accepted = context.client.request(Method::PUT, &path, None)?;
    operation::finish(accepted, wait, context, |_| format!("{instance} {outcome}"))
}

/// The host that is meant when none is named.
fn only_host(client: &Client) -> Result<String, Failure> {
    let answer = HOST.answer(client)?;
    let names: Vec<_> = HOST.things(&answer).iter().map(|host| text(host, "name")).collect();
    match names[..] {
        [name] => Ok(name.to_owned()),
        [] => Err(Failure::say(
            Exit::NotFound,
            "there is no host yet: start `privnet agent` on one, or `privnet up` here",
        )),
        _ => Err(Failure::say(Exit::Usage, format_args!("give --host, one of {}", names.join(", ")))),
    }
}

fn describe_all(instances: &[Value]) -> String {
    let keys = ["name", "id", "host", "state", "driver", "kind", "netns"];
    let row = |instance: &Value| keys.map(|key| text(instance, key).to_owned());
    table(["NAME", "ID", "HOST", "STATE", "DRIVER", "KIND", "NETNS"], instances.iter().map(row))
}

fn describe(placed: &Value, instance: &Value) -> String {
    let property = |key| text(placed, key).to_owned();
    let queues = match placed["multi-queue"].as_bool() {
        Some(true) => "several",
        Some(false) => "one",
        None => "",
    };
    properties([
        ("name", property("name")),
        ("id", property("id")),
        ("host", property("host")),
        ("driver", property("driver")),
        ("kind", property("kind")),
        ("netns", property("netns")),
        ("owner", property("owner")),
        ("group", property("group")),
        ("queues", queues.to_owned()),
        ("state", text(instance, "state").to_owned()),
    ])
}

fn describe_ports(instance: &Value, placed: &Value, networks: &[Value]) -> String {
    let ports = list(instance, "private-networks");
    if ports.is_empty() {
        return String::new();
    }
    let row = |port: &Value| {
        let network = networks.iter().find(|network| text(network, "id") == text(port, "id")).unwrap_or(port);
        let lease = list(network, "leases").iter().find(|lease| text(lease, "instance-id") == text(instance, "id"));
        let device = list(placed, "ports").iter().find(|device| text(device, "network") == text(port, "id"));
        [
            text(network, "name").to_owned(),
            text(port, "id").to_owned(),
            text(port, "mac-address").to_owned(),
            device.map(|device| text(device, "device").to_owned()).unwrap_or_default(),
            lease.map(|lease| text(lease, "ip").to_owned()).unwrap_or_default(),
        ]
    };
    format!("\n\n{}", table(["NETWORK", "NETWORK ID", "MAC", "DEVICE", "ADDRESS"], ports.iter().map(row)))
}
