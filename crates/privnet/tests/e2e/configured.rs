//! Devices in instances that their hosts configure: no DHCP client is needed.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use privnet_lab::{Instance, Lab, invariants};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{OVERLAY_MTU_BYTES, eventually, hosts, in_lab, managed};

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
