//! Devices in instances that their hosts configure: no DHCP client is needed.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context, Result, ensure};
use privnet_lab::{Instance, Lab, invariants};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{OVERLAY_MTU_BYTES, eventually, hosts, in_lab, log_lines, managed};

/// A managed network with this router.
fn routed(name: &str, router: &str) -> Value {
    let mut network = managed(name);
    network["options"] = json!({"routers": [router]});
    network
}

/// Attaches an instance by a device that its host configures, and returns its address.
fn attach(lab: &Lab, network: &str, instance: &Instance, device: &str) -> Result<Ipv4Addr> {
    let body = json!({"instance": {"id": instance.id}, "device": device, "configure": true});
    let path = format!("/privnet/v1/private-networks/{network}:attach");
    let operation = lab.api().operate(Method::PUT, &path, Some(&body))?;
    ensure!(operation["state"] == "success", "{operation}");
    leased(lab, network, instance)
}

fn leased(lab: &Lab, network: &str, instance: &Instance) -> Result<Ipv4Addr> {
    Ok(lab.api().lease(network, &instance.id)?.context("a managed network leases an address")?.parse()?)
}

fn default_route(instance: &Instance) -> Result<String> {
    Ok(instance.namespace.ip("-4 route show default")?.trim().to_owned())
}

#[test]
fn an_instance_has_its_address_as_soon_as_the_attach_has_succeeded() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&routed("red", "10.0.0.1"))?;
        let [one, two] = [lab.add_instance("one", 1)?, lab.add_instance("two", 2)?];
        let addresses = [attach(lab, &network, &one, "eth0")?, attach(lab, &network, &two, "eth0")?];
        for (instance, address) in [&one, &two].into_iter().zip(addresses) {
            ensure!(instance.namespace.addresses("eth0")? == [address]);
            ensure!(default_route(instance)? == "default via 10.0.0.1 dev eth0 proto 112", "{instance:?}");
            let link = instance.namespace.ip("-oneline link show dev eth0")?;
            ensure!(link.contains(&format!("mtu {OVERLAY_MTU_BYTES} ")), "{link}");
        }
        ensure!(one.namespace.reaches(addresses[1])?, "they reach each other");
        ensure!(one.namespace.ping_sized(addresses[1], OVERLAY_MTU_BYTES)?, "with packets as large as may be");
        invariants::hold(lab)
    });
}

#[test]
fn another_address_and_other_routers_are_there_as_soon_as_the_change_has_succeeded() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&routed("red", "10.0.0.1"))?;
        let [one, two] = [lab.add_instance("one", 1)?, lab.add_instance("two", 2)?];
        attach(lab, &network, &one, "eth0")?;
        let peer = attach(lab, &network, &two, "eth0")?;
        lab.api().update_ip(&network, &one.id, Some("10.0.0.200"))?;
        ensure!(one.namespace.addresses("eth0")? == [Ipv4Addr::new(10, 0, 0, 200)]);
        ensure!(default_route(&one)? == "default via 10.0.0.1 dev eth0 proto 112");
        ensure!(one.namespace.reaches(peer)?, "from the new address");
        let path = format!("/v2/private-network/{network}");
        let options = json!({"options": {"routers": ["192.0.2.1"]}});
        lab.api().operate(Method::PUT, &path, Some(&options))?;
        ensure!(default_route(&one)? == "default via 192.0.2.1 dev eth0 proto 112", "a router outside of the subnet");
        lab.api().operate(Method::PUT, &path, Some(&json!({"options": {}})))?;
        ensure!(default_route(&one)?.is_empty() && default_route(&two)?.is_empty(), "no router, no route");
        invariants::hold(lab)
    });
}

#[test]
fn what_is_damaged_is_repaired_whoever_has_restarted_and_what_the_instance_set_stays() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&routed("red", "10.0.0.1"))?;
        let one = lab.add_instance("one", 1)?;
        let address = attach(lab, &network, &one, "eth0")?;
        let of_its_own = Ipv4Addr::new(10, 0, 0, 77);
        one.namespace.ip(&format!("address add {of_its_own}/24 dev eth0"))?;
        let is_whole = || {
            let mut held = one.namespace.addresses("eth0")?;
            held.sort();
            let mut wanted = [address, of_its_own];
            wanted.sort();
            Ok(held == wanted && !default_route(&one)?.is_empty())
        };
        ensure!(is_whole()?);
        one.namespace.ip(&format!("address delete {address}/24 dev eth0"))?;
        eventually("the address is back", is_whole)?;
        lab.kill_agent(1);
        one.namespace.ip("route delete default")?;
        lab.start_agent(1)?;
        eventually("the route is back", is_whole)?;
        lab.api().detach(&network, &one.id)?;
        ensure!(!one.namespace.has_device("eth0")?);
        invariants::hold(lab)
    });
}

#[test]
fn the_command_attaches_by_a_device_that_the_host_configures() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let one = lab.add_instance("one", 1)?;
        let said = lab.privnet(&["attach", "one", "red", "--device", "eth7", "--configure"])?;
        let address = leased(lab, &network, &one)?;
        ensure!(said.contains(&address.to_string()), "{said}");
        ensure!(one.namespace.addresses("eth7")? == [address]);
        let refusal = lab.privnet(&["attach", "one", "red", "--device", "eth8"]).expect_err("another device");
        ensure!(format!("{refusal:#}").contains("already attached by its device eth7"), "{refusal:#}");
        Ok(())
    });
}

#[test]
fn an_instance_by_a_process_is_that_process_and_none_that_has_its_number_later() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let namespace = lab.add_namespace()?;
        let mut process = namespace.command("sleep").arg("600").spawn()?;
        let pid = process.id().to_string();
        // `ip netns exec` becomes the process once it is in the namespace.
        eventually("the process is in its namespace", || {
            let of = |path: &str| Ok::<_, anyhow::Error>(std::fs::metadata(path)?.ino());
            Ok(of(&format!("/proc/{pid}/ns/net"))? == of(&format!("/run/netns/{}", namespace.name()))?)
        })?;
        lab.privnet(&["instance", "create", "one", "--pid", &pid])?;
        lab.privnet(&["attach", "one", "red", "--device", "eth0", "--configure"])?;
        ensure!(namespace.has_device("eth0")?);
        lab.privnet(&["instance", "stop", "one"])?;
        // As if another process had the number: that one has started at another time.
        let other = format!("pid:{pid}@1");
        let body = json!({"name": "two", "host": lab.host(1).name, "kind": "netns", "netns": other});
        let two = lab.api().request(Method::POST, "/privnet/v1/instances", Some(&body))?.ok()?;
        let path = format!("/v2/private-network/{network}:attach");
        lab.api().request(Method::PUT, &path, Some(&json!({"instance": {"id": two["id"]}})))?.ok()?;
        let is_said = || Ok(!log_lines(lab, "h1.log", &["is gone; if there is one with its number"])?.is_empty());
        eventually("the host says so", is_said)?;
        ensure!(!namespace.has_device("net0")?);
        process.kill()?;
        process.wait()?;
        let refusal = lab.privnet(&["instance", "create", "three", "--pid", &pid]).expect_err("it is gone");
        ensure!(format!("{refusal:#}").contains("there is no process"), "{refusal:#}");
        Ok(())
    });
}
