//! Instances that hosts make: network namespaces, from the request to their end.

use anyhow::{Result, ensure};
use privnet_lab::{DhcpClientKind, Lab, invariants};
use serde_json::Value;
use ureq::http::Method;

use crate::support::{eventually, hosts, in_lab, managed};

/// Sends a mutation of an instance, which must succeed and refer to it.
fn operate(lab: &Lab, method: Method, id: &str, action: &str) -> Result<Value> {
    let operation = lab.api().operate(method, &format!("/v2/instance/{id}{action}"), None)?;
    ensure!(operation["state"] == "success" && operation["reference"]["id"] == *id, "{operation}");
    Ok(operation)
}

fn exists(netns: &str) -> bool {
    std::path::Path::new("/run/netns").join(netns).exists()
}

#[test]
fn an_instance_is_made_attached_and_gone_when_it_is_deleted() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let [one, two] = [lab.launch_instance("one", None)?, lab.launch_instance("two", None)?];
        ensure!(one.host != two.host, "the least loaded host takes it: {one:?} {two:?}");
        ensure!(one.namespace.ip("-oneline link show up")?.contains("lo:"), "its loopback device is up");
        for instance in [&one, &two] {
            lab.api().attach(&network, &instance.id, None)?;
            let client = lab.dhcp_client(instance, "net0", DhcpClientKind::Udhcpc)?;
            let leased = lab.api().lease(&network, &instance.id)?.unwrap_or_default();
            let has_it = || Ok(instance.namespace.addresses("net0")?.iter().any(|held| held.to_string() == leased));
            eventually("DHCP gives it its address", has_it)?;
            drop(client);
        }
        invariants::hold(lab)?;
        let peer: std::net::Ipv4Addr = lab.api().lease(&network, &two.id)?.unwrap_or_default().parse()?;
        ensure!(one.namespace.reaches(peer)?, "they reach each other");
        let names = [one.namespace.name().to_owned(), two.namespace.name().to_owned()];
        operate(lab, Method::DELETE, &one.id, "")?;
        ensure!(!exists(&names[0]) && exists(&names[1]), "one is gone, and only that");
        ensure!(lab.api().lease(&network, &one.id)?.is_none(), "its lease is gone");
        ensure!(lab.api().request(Method::GET, &format!("/v2/instance/{}", one.id), None)?.status == 404);
        operate(lab, Method::DELETE, &two.id, "")?;
        lab.api().delete_network(&network)?;
        ensure!(!exists(&names[1]));
        invariants::hold(lab)
    });
}
