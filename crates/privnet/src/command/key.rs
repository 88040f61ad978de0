use serde_json::{Value, json};
use ureq::http::Method;

use super::Context;
use super::resolve::{HOST, ORGANIZATION};
use super::span::lifetime_seconds;
use crate::args::KeyCommand;
use crate::client::{escaped, list, text};
use crate::exit::Failure;
use crate::output::{properties, table};

const PATH: &str = "/privnet/v1/keys";

pub(super) fn run(command: KeyCommand, context: &Context) -> Result<(), Failure> {
    let Context { client, output } = context;
    match command {
        KeyCommand::List => {
            let answer = client.get(PATH)?;
            output.print(&answer, || describe_all(list(&answer, "keys")))
        }
        KeyCommand::Create { name, role, host, organization, expires_in } => {
            let mut body = json!({"name": name, "role": role});
            if let Some(organization) = organization {
                body["organization"] = ORGANIZATION.id(client, &organization)?.into();
            }
            if let Some(host) = host {
                body["host"] = HOST.id(client, &host)?.into();
            }
            if let Some(text) = expires_in {
                body["expires-in-seconds"] = lifetime_seconds(&text)?.into();
            }
            let created = client.request(Method::POST, PATH, Some(&body))?;
            output.print(&created, || describe_new(&created))
        }
        KeyCommand::Revoke { key } => {
            let answer = client.request(Method::DELETE, &format!("{PATH}/{}", escaped(&key)), None)?;
            output.print(&answer, || format!("{key} is revoked"))
        }
    }
}

fn describe_all(keys: &[Value]) -> String {
    let row = |key: &Value| ["id", "name", "role", "organization", "expires-at"].map(|name| text(key, name).to_owned());
    table(["KEY", "NAME", "ROLE", "ORGANIZATION", "EXPIRES"], keys.iter().map(row))
}

fn describe_new(key: &Value) -> String {
    let property = |name| text(key, name).to_owned();
    let shown = properties([
        ("key", property("id")),
        ("secret", property("secret")),
        ("name", property("name")),
        ("role", property("role")),
        ("organization", property("organization")),
        ("expires-at", property("expires-at")),
    ]);
    format!("{shown}\n\nKeep the secret: it is not shown again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_shown_with_its_secret() {
        let key = json!({"id": "EXO1", "secret": "s3cret", "name": "deploy", "role": "operator"});
        assert_eq!(
            describe_new(&key),
            "key     EXO1\nsecret  s3cret\nname    deploy\nrole    operator\n\nKeep the secret: it is not shown again."
        );
    }
}
