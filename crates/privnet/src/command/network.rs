use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::Context;
use super::operation;
use super::resolve::{INSTANCE, NETWORK};
use crate::args::{NetworkCommand, NetworkFields};
use crate::client::{escaped, list, text};
use crate::exit::Failure;
use crate::output::{plain, properties, table};

pub(super) fn run(command: NetworkCommand, context: &Context) -> Result<(), Failure> {
    let Context { client, output } = context;
    let path = |network: &str| Ok::<_, Failure>(format!("/v2/private-network/{}", NETWORK.id(client, network)?));
    match command {
        NetworkCommand::Create { name, fields, wait } => {
            let body = body(Some(name), fields);
            let accepted = client.request(Method::POST, "/v2/private-network", Some(&body))?;
            operation::finish(accepted, wait, context, |operation| describe_reference(operation, context))
        }
        NetworkCommand::List => {
            let answer = NETWORK.answer(client)?;
            output.print(&answer, || describe_all(NETWORK.things(&answer)))
        }
        NetworkCommand::Show { network } => {
            let network = client.get(&path(&network)?)?;
            output.print(&network, || describe(&network, context))
        }
        NetworkCommand::Update { network, name, fields, wait } => {
            let accepted = client.request(Method::PUT, &path(&network)?, Some(&body(name, fields)))?;
            operation::finish(accepted, wait, context, |operation| describe_reference(operation, context))
        }
        NetworkCommand::Delete { network, wait } => {
            let accepted = client.request(Method::DELETE, &path(&network)?, None)?;
            operation::finish(accepted, wait, context, |_| format!("{network} is deleted"))
        }
        NetworkCommand::ResetField { network, field, wait } => {
            let path = format!("{}/{}", path(&network)?, escaped(&field));
            let accepted = client.request(Method::DELETE, &path, None)?;
            operation::finish(accepted, wait, context, |operation| describe_reference(operation, context))
        }
    }
}

fn body(name: Option<String>, fields: NetworkFields) -> Value {
    let mut body = Map::new();
    let texts = [
        ("name", name),
        ("description", fields.description),
        ("start-ip", fields.start_ip),
        ("end-ip", fields.end_ip),
        ("netmask", fields.netmask),
    ];
    body.extend(texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?)))));
    let lists = [
        ("routers", fields.routers),
        ("dns-servers", fields.dns_servers),
        ("ntp-servers", fields.ntp_servers),
        ("domain-search", fields.domain_search),
    ];
    let options: Map<_, _> = (lists.into_iter().filter(|(_, values)| !values.is_empty()))
        .map(|(key, values)| (key.to_owned(), json!(values)))
        .collect();
    if !options.is_empty() {
        body.insert("options".to_owned(), Value::Object(options));
    }
    if !fields.labels.is_empty() {
        let labels = fields.labels.into_iter().map(|(key, value)| (key, Value::String(value)));
        body.insert("labels".to_owned(), Value::Object(labels.collect()));
    }
    Value::Object(body)
}

fn describe_all(networks: &[Value]) -> String {
    let row = |network: &Value| {
        [
            text(network, "name").to_owned(),
            text(network, "id").to_owned(),
            plain(&network["vni"]),
            range(network),
            list(network, "leases").len().to_string(),
        ]
    };
    table(["NAME", "ID", "VNI", "ADDRESSES", "LEASES"], networks.iter().map(row))
}

/// The network that an operation is about, as it is now.
fn describe_reference(operation: &Value, context: &Context) -> String {
    let id = text(&operation["reference"], "id");
    match context.client.get(&format!("/v2/private-network/{id}")) {
        Ok(network) => describe(&network, context),
        // Somebody else was quicker and deleted it; the operation succeeded all the same.
        Err(_) => properties([("id", id.to_owned())]),
    }
}

fn describe(network: &Value, context: &Context) -> String {
    let options = &network["options"];
    let mut description = properties([
        ("name", text(network, "name").to_owned()),
        ("id", text(network, "id").to_owned()),
        ("description", text(network, "description").to_owned()),
        ("vni", plain(&network["vni"])),
        ("addresses", range(network)),
        ("netmask", text(network, "netmask").to_owned()),
        ("routers", plain(&options["routers"])),
        ("dns servers", plain(&options["dns-servers"])),
        ("ntp servers", plain(&options["ntp-servers"])),
        ("domain search", plain(&options["domain-search"])),
        ("labels", plain(&network["labels"])),
    ]);
    let leases = list(network, "leases");
    if !leases.is_empty() {
        let instances = INSTANCE.answer(&context.client).unwrap_or_default();
        let name_of = |id: &str| INSTANCE.things(&instances).iter().find(|i| text(i, "id") == id);
        let row = |lease: &Value| {
            let id = text(lease, "instance-id");
            let name = name_of(id).map(|instance| text(instance, "name")).unwrap_or_default();
            [text(lease, "ip").to_owned(), name.to_owned(), id.to_owned()]
        };
        description += "\n\n";
        description += &table(["LEASE", "INSTANCE", "INSTANCE ID"], leases.iter().map(row));
    }
    description
}

fn range(network: &Value) -> String {
    match (text(network, "start-ip"), text(network, "end-ip")) {
        ("", _) | (_, "") => "unmanaged".to_owned(),
        (start, end) => format!("{start} to {end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_sent() {
        assert_eq!(body(None, NetworkFields::default()), json!({}));
        let fields = NetworkFields {
            end_ip: Some("10.0.0.9".into()),
            dns_servers: vec!["10.0.0.2".into()],
            labels: vec![("team".into(), "db".into())],
            ..NetworkFields::default()
        };
        assert_eq!(
            body(Some("n".into()), fields),
            json!({"name": "n", "end-ip": "10.0.0.9", "options": {"dns-servers": ["10.0.0.2"]}, "labels": {"team": "db"}})
        );
    }
}
