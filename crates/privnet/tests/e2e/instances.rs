//! Instances that hosts make: network namespaces, from the request to their end.

use anyhow::{Context, Result, ensure};
use privnet_lab::{DhcpClientKind, Instance, Lab, invariants};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{Guest, eventually, hosts, in_lab, managed};

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

/// The device of an instance's port in a network, if it is plugged in: its index and MAC address.
fn device(instance: &Instance) -> Result<Option<(u64, String)>> {
    let links = instance.namespace.links()?;
    let device = links.iter().find(|link| link["ifname"] == "net0");
    Ok(device.and_then(|link| Some((link["ifindex"].as_u64()?, link["address"].as_str()?.to_owned()))))
}

#[test]
fn a_stopped_instance_has_no_devices_and_a_rebooted_one_has_new_ones() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let [one, two] = [lab.launch_instance("one", Some(1))?, lab.launch_instance("two", Some(2))?];
        ensure!([one.host, two.host] == [1, 2], "as their labels say");
        let two = Guest::attach(lab, &network, two)?;
        let leased = lab.api().attach(&network, &one.id, None)?;
        let plugged = device(&one)?.context("it is plugged in")?;
        operate(lab, Method::PUT, &one.id, ":stop")?;
        ensure!(device(&one)?.is_none(), "a stopped instance has no device");
        ensure!(lab.api().get(&format!("/v2/instance/{}", one.id))?["state"] == "stopped");
        ensure!(lab.api().lease(&network, &one.id)? == leased, "its lease stays");
        let refusal = lab.api().request(Method::PUT, &format!("/v2/instance/{}:reboot", one.id), None)?;
        ensure!(refusal.status == 409, "{refusal:?}");
        invariants::hold(lab)?;
        operate(lab, Method::PUT, &one.id, ":start")?;
        let started = device(&one)?.context("it is plugged in again")?;
        ensure!(started.1 == plugged.1, "with its MAC address");
        operate(lab, Method::PUT, &one.id, ":reboot")?;
        let rebooted = device(&one)?.context("it is plugged in again")?;
        ensure!(rebooted.1 == plugged.1 && rebooted.0 != started.0, "{rebooted:?} after {started:?}");
        one.namespace.ip(&format!("address add {}/24 dev net0", leased.context("a lease")?))?;
        ensure!(one.namespace.reaches(two.address)?, "frames flow again");
        invariants::hold(lab)
    });
}

#[test]
fn what_is_missing_is_made_again_whoever_is_away() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let one = lab.launch_instance("one", None)?;
        lab.api().attach(&network, &one.id, None)?;
        let (id, name) = (one.id.clone(), one.namespace.name().to_owned());
        let is_back = |lab: &Lab| {
            eventually("the instance is back with its device", || {
                Ok(exists(&name)
                    && lab.namespace_of(&name).is_ok_and(|netns| netns.has_device("net0").unwrap_or(false)))
            })
        };
        drop(one);
        lab.namespace_of(&name)?.remove()?;
        is_back(lab)?;
        // As when the host is rebooted and the server is away.
        lab.stop_server()?;
        lab.kill_agent(1);
        lab.namespace_of(&name)?.remove()?;
        lab.start_agent(1)?;
        is_back(lab)?;
        lab.start_server()?;
        lab.wait_for_agents()?;
        invariants::hold(lab)?;
        operate(lab, Method::DELETE, &id, "")?;
        ensure!(!exists(&name));
        Ok(())
    });
}

#[test]
fn what_is_deleted_while_its_host_is_away_goes_when_that_is_back() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let [one, two] = [lab.launch_instance("one", Some(1))?, lab.launch_instance("two", Some(1))?];
        lab.api().attach(&network, &one.id, None)?;
        lab.stop_agent(1)?;
        let operation = lab.api().request(Method::DELETE, &format!("/v2/instance/{}", one.id), None)?.ok()?;
        ensure!(operation["state"] == "pending" && exists(one.namespace.name()), "{operation}");
        lab.start_agent(1)?;
        let ended = lab.api().end_of(operation)?;
        ensure!(ended["state"] == "success", "{ended}");
        ensure!(!exists(one.namespace.name()) && exists(two.namespace.name()));
        invariants::hold(lab)?;
        lab.stop_agent(1)?;
        let said = lab.purge(1)?;
        ensure!(said.contains(two.namespace.name()) && !exists(two.namespace.name()), "{said}");
        Ok(())
    });
}

#[test]
fn a_made_instance_is_made_on_the_host_that_it_moves_to() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let one = lab.launch_instance("one", Some(1))?;
        let leased = lab.api().attach(&network, &one.id, None)?;
        let two = Guest::join(lab, &network, "two", 1)?;
        let mac = device(&one)?.context("it is plugged in")?.1;
        let said = lab.privnet(&["instance", "move", "one", "--to", "h2"])?;
        ensure!(said.trim_end().ends_with(" is on h2"), "{said}");
        eventually("the old namespace is gone", || Ok(!exists(one.namespace.name())))?;
        let moved = lab.made_instance(&one.id)?;
        ensure!(moved.host == 2 && device(&moved)?.is_some_and(|device| device.1 == mac), "{moved:?}");
        ensure!(lab.api().lease(&network, &one.id)? == leased);
        moved.namespace.ip(&format!("address add {}/24 dev net0", leased.context("a lease")?))?;
        ensure!(moved.namespace.reaches(two.address)?, "frames flow");
        let wish = json!({"host": "h1", "netns": "elsewhere"});
        let refusal = lab.api().request(Method::PUT, &format!("/privnet/v1/instances/{}:move", one.id), Some(&wish))?;
        ensure!(refusal.status == 409, "{refusal:?}");
        invariants::hold(lab)
    });
}

#[test]
fn the_command_makes_lists_starts_stops_and_deletes() {
    in_lab(hosts(1), |lab| {
        let said = lab.privnet(&["instance", "create", "web", "--make"])?;
        ensure!(said.contains("driver") && said.contains("netns"), "{said}");
        lab.privnet(&["network", "create", "red"])?;
        lab.privnet(&["attach", "web", "red"])?;
        for (action, state) in [("stop", "stopped"), ("start", "running"), ("reboot", "running")] {
            lab.privnet(&["instance", action, "web"])?;
            let listed = lab.privnet(&["instance", "list"])?;
            ensure!(listed.contains(state), "{action}: {listed}");
        }
        ensure!(lab.privnet(&["instance", "delete", "web"]).is_err(), "it is attached");
        lab.privnet(&["instance", "delete", "web", "--detach"])?;
        let listed = lab.privnet(&["instance", "list"])?;
        ensure!(!listed.contains("web"), "{listed}");
        Ok(())
    });
}
