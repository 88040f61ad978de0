use serde_json::{Value, json};
use ureq::http::Method;

use super::Context;
use super::operation;
use super::resolve::{HOST, INSTANCE, NETWORK, ORGANIZATION, PLACED_INSTANCE};
use crate::args::InstanceCommand;
use crate::client::{Client, list, text};
use crate::exit::{Exit, Failure};
use crate::output::{properties, table};

pub(super) fn run(command: InstanceCommand, context: &Context) -> Result<(), Failure> {
    let Context { client, output } = context;
    match command {
        InstanceCommand::Create { name, host, netns, organization } => {
            let host = host.map_or_else(|| only_host(client), Ok)?;
            let netns = netns.as_deref().unwrap_or(&name);
            let mut body = json!({"name": name, "host": host, "kind": "netns", "netns": netns});
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
                description += &describe_ports(&instance, NETWORK.things(&networks));
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
        InstanceCommand::Delete { instance } => {
            let path = format!("/privnet/v1/instances/{}", PLACED_INSTANCE.id(client, &instance)?);
            let answer = client.request(Method::DELETE, &path, None)?;
            output.print(&answer, || format!("{instance} is deleted"))
        }
    }
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
    let row = |instance: &Value| ["name", "id", "host", "kind", "netns"].map(|key| text(instance, key).to_owned());
    table(["NAME", "ID", "HOST", "KIND", "NETNS"], instances.iter().map(row))
}

fn describe(placed: &Value, instance: &Value) -> String {
    let property = |key| text(placed, key).to_owned();
    properties([
        ("name", property("name")),
        ("id", property("id")),
        ("host", property("host")),
        ("kind", property("kind")),
        ("netns", property("netns")),
        ("state", text(instance, "state").to_owned()),
    ])
}

fn describe_ports(instance: &Value, networks: &[Value]) -> String {
    let ports = list(instance, "private-networks");
    if ports.is_empty() {
        return String::new();
    }
    let row = |port: &Value| {
        let network = networks.iter().find(|network| text(network, "id") == text(port, "id")).unwrap_or(port);
        let lease = list(network, "leases").iter().find(|lease| text(lease, "instance-id") == text(instance, "id"));
        [
            text(network, "name").to_owned(),
            text(port, "id").to_owned(),
            text(port, "mac-address").to_owned(),
            lease.map(|lease| text(lease, "ip").to_owned()).unwrap_or_default(),
        ]
    };
    format!("\n\n{}", table(["NETWORK", "NETWORK ID", "MAC", "ADDRESS"], ports.iter().map(row)))
}
