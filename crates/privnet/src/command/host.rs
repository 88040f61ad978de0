use serde_json::Value;
use ureq::http::Method;

use super::Context;
use super::resolve::HOST;
use crate::args::HostCommand;
use crate::client::text;
use crate::exit::Failure;
use crate::output::{plain, properties, table};

pub(super) fn run(command: HostCommand, context: &Context) -> Result<(), Failure> {
    let Context { client, output } = context;
    let path = |host: &str| Ok::<_, Failure>(format!("/privnet/v1/hosts/{}", HOST.id(client, host)?));
    match command {
        HostCommand::List => {
            let answer = HOST.answer(client)?;
            output.print(&answer, || describe_all(HOST.things(&answer)))
        }
        HostCommand::Show { host } => {
            let host = client.get(&path(&host)?)?;
            output.print(&host, || describe(&host))
        }
        HostCommand::Remove { host, with_instances } => {
            let suffix = if with_instances { ":with-instances" } else { "" };
            let answer = client.request(Method::DELETE, &format!("{}{suffix}", path(&host)?), None)?;
            output.print(&answer, || format!("{host} is removed"))
        }
    }
}

fn describe_all(hosts: &[Value]) -> String {
    let row = |host: &Value| {
        [text(host, "name").to_owned(), text(host, "id").to_owned(), text(host, "vtep").to_owned(), connection(host)]
    };
    table(["NAME", "ID", "VTEP", "AGENT"], hosts.iter().map(row))
}

fn connection(host: &Value) -> String {
    match host["connected"].as_bool() {
        Some(true) => "connected".to_owned(),
        Some(false) => "away".to_owned(),
        None => String::new(),
    }
}

fn describe(host: &Value) -> String {
    let rows = host.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), plain(value)));
    properties(rows)
}
