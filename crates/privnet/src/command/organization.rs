use serde_json::{Value, json};
use ureq::http::Method;

use super::Context;
use super::resolve::ORGANIZATION;
use crate::args::{OrganizationCommand, QuotaArgs};
use crate::client::text;
use crate::exit::{Exit, Failure};
use crate::output::{properties, table};

const PATH: &str = "/privnet/v1/organizations";

pub(super) fn run(command: OrganizationCommand, context: &Context) -> Result<(), Failure> {
    let Context { client, output } = context;
    let path = |organization: &str| Ok::<_, Failure>(format!("{PATH}/{}", ORGANIZATION.id(client, organization)?));
    match command {
        OrganizationCommand::List => {
            let answer = ORGANIZATION.answer(client)?;
            output.print(&answer, || describe_all(ORGANIZATION.things(&answer)))
        }
        OrganizationCommand::Create { name, quotas } => {
            let body = json!({"name": name, "quotas": given(&quotas)});
            let created = client.request(Method::POST, PATH, Some(&body))?;
            output.print(&created, || describe(&created))
        }
        OrganizationCommand::Show { organization } => {
            let organization = client.get(&path(&organization)?)?;
            output.print(&organization, || describe(&organization))
        }
        OrganizationCommand::SetQuota { organization, quotas } => {
            let quotas = given(&quotas);
            if quotas == json!({}) {
                let rule = "give what to change: --networks, --ports-per-network or --instances";
                return Err(Failure::say(Exit::Usage, rule));
            }
            let changed = client.request(Method::PUT, &path(&organization)?, Some(&json!({"quotas": quotas})))?;
            output.print(&changed, || describe(&changed))
        }
        OrganizationCommand::Rename { organization, name } => {
            let changed = client.request(Method::PUT, &path(&organization)?, Some(&json!({"name": name})))?;
            output.print(&changed, || describe(&changed))
        }
        OrganizationCommand::Delete { organization } => {
            let answer = client.request(Method::DELETE, &path(&organization)?, None)?;
            output.print(&answer, || format!("{organization} is deleted"))
        }
    }
}

/// The quotas that are given, as the API takes them.
fn given(quotas: &QuotaArgs) -> Value {
    let QuotaArgs { networks, ports_per_network, instances } = quotas;
    let all = [("networks", networks), ("ports-per-network", ports_per_network), ("instances", instances)];
    all.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), json!((*limit)?)))).collect()
}

fn describe_all(organizations: &[Value]) -> String {
    let row = |organization: &Value| {
        let [name, id] = ["name", "id"].map(|key| text(organization, key).to_owned());
        let [networks, instances] = ["networks", "instances"].map(|key| share(organization, key));
        [name, id, networks, instances, limit(organization, "ports-per-network")]
    };
    table(["NAME", "ID", "NETWORKS", "INSTANCES", "PORTS PER NETWORK"], organizations.iter().map(row))
}

fn describe(organization: &Value) -> String {
    properties([
        ("name", text(organization, "name").to_owned()),
        ("id", text(organization, "id").to_owned()),
        ("networks", share(organization, "networks")),
        ("instances", share(organization, "instances")),
        ("ports per network", limit(organization, "ports-per-network")),
        ("keys", organization["usage"]["keys"].to_string()),
        ("created-at", text(organization, "created-at").to_owned()),
    ])
}

/// How many there are of how many there may be.
fn share(organization: &Value, key: &str) -> String {
    format!("{} of {}", organization["usage"][key], limit(organization, key))
}

fn limit(organization: &Value, key: &str) -> String {
    match &organization["quotas"][key] {
        limit if *limit == json!(-1) => "unlimited".to_owned(),
        limit => limit.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_quotas_that_are_given_are_sent() {
        let quotas = QuotaArgs { networks: Some(7), ports_per_network: None, instances: Some(-1) };
        assert_eq!(given(&quotas), json!({"networks": 7, "instances": -1}));
    }

    #[test]
    fn an_organization_shows_what_it_has_of_what_it_may_have() {
        let organization = json!({
            "name": "acme", "id": "i", "created-at": "t", "usage": {"networks": 3, "instances": 5, "keys": 1},
            "quotas": {"networks": 32, "instances": -1, "ports-per-network": 256},
        });
        assert_eq!(
            describe(&organization),
            "name               acme\nid                 i\nnetworks           3 of 32\n\
             instances          5 of unlimited\nports per network  256\nkeys               1\n\
             created-at         t"
        );
        assert_eq!(
            describe_all(&[organization]),
            "NAME  ID  NETWORKS  INSTANCES       PORTS PER NETWORK\nacme  i   3 of 32   5 of unlimited  256"
        );
    }
}
