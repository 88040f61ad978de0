use serde_json::{Value, json};
use ureq::http::Method;

use super::Context;
use super::resolve::HOST;
use super::span::lifetime_seconds;
use crate::args::HostCommand;
use crate::client::{escaped, list, text};
use crate::exit::Failure;
use crate::output::{plain, properties, table};

const INVITATIONS: &str = "/privnet/v1/host-invitations";

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
        HostCommand::Invite { name, expires_in, rejoin } => {
            let body = json!({
                "host": name, "rejoin": rejoin, "expires-in-seconds": lifetime_seconds(&expires_in)?,
            });
            let invitation = client.request(Method::POST, INVITATIONS, Some(&body))?;
            output.print(&invitation, || describe_invitation(&invitation))
        }
        HostCommand::Invitations => {
            let answer = client.get(INVITATIONS)?;
            output.print(&answer, || describe_invitations(list(&answer, "host-invitations")))
        }
        HostCommand::RevokeInvitation { id } => {
            let path = format!("{INVITATIONS}/{}", escaped(&id));
            let answer = client.request(Method::DELETE, &path, None)?;
            output.print(&answer, || format!("invitation {id} is revoked"))
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

/// The command alone is printed, so that a script can hand it over. The token is an argument of `echo`, which shells
/// carry out themselves, and so of no process.
fn describe_invitation(invitation: &Value) -> String {
    let [server, host, fingerprint, token] =
        ["server", "host", "fingerprint", "token"].map(|name| text(invitation, name));
    format!("echo {token} | privnet agent join --server {server} --name {host} --fingerprint {fingerprint}")
}

fn describe_invitations(invitations: &[Value]) -> String {
    let row = |one: &Value| ["host", "state", "expires-at", "id"].map(|name| text(one, name).to_owned());
    table(["HOST", "STATE", "EXPIRES", "ID"], invitations.iter().map(row))
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
