//! Instances that are placed on another host, and hosts that are gone for good.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use privnet_lab::{DhcpClientKind, Lab, Namespace, invariants};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{
    Guest, assert_mesh, eventually, hosts, in_lab, items, log_lines, managed, managed_elsewhere, text,
};

/// Guests of a network, one on each of these hosts.
fn join_each(lab: &mut Lab, network: &str, hosts: &[usize]) -> Result<Vec<Guest>> {
    hosts.iter().map(|host| Guest::join(lab, network, &format!("guest-{host}"), *host)).collect()
}

/// Asks for a move, and answers the operation as it was accepted.
fn ask_to_move(lab: &Lab, guest: &Guest, host: usize, namespace: &str) -> Result<Value> {
    let body = json!({"host": lab.host(host).name, "netns": namespace});
    let path = format!("/privnet/v1/instances/{}:move", guest.instance.id);
    lab.api().request(Method::PUT, &path, Some(&body))?.ok()
}

/// Moves a guest into a namespace of a host, which must succeed.
fn move_to(lab: &Lab, network: &str, guest: &Guest, host: usize, namespace: &Namespace) -> Result<Guest> {
    let operation = lab.api().end_of(ask_to_move(lab, guest, host, namespace.name())?)?;
    ensure!(operation["state"] == "success", "{operation}");
    guest.moved(lab, network, host, namespace)
}

#[test]
fn a_moved_instance_keeps_its_mac_and_its_lease_and_everybody_reaches_it_at_once() {
    in_lab(hosts(3), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let mut guests = join_each(lab, &network, &[1, 3, 1, 2])?;
        for (round, to) in [2, 3, 1, 2].into_iter().enumerate() {
            let (left, arrived) = (guests[0].instance.namespace.clone(), lab.add_namespace()?);
            if round == 0 {
                let words = ["instance", "move", &guests[0].instance.id, "--to", "h2", "--netns", arrived.name()];
                let said = lab.privnet(&words)?;
                ensure!(said.trim_end().ends_with(" is on h2"), "{said}");
            } else {
                lab.api().end_of(ask_to_move(lab, &guests[0], to, arrived.name())?)?;
            }
            let moved = guests[0].moved(lab, &network, to, &arrived)?;
            ensure!((&moved.mac, moved.address) == (&guests[0].mac, guests[0].address), "{moved:?}");
            let leased = lab.api().lease(&network, &moved.instance.id)?.context("a lease")?;
            ensure!(leased == moved.address.to_string(), "leased {leased}");
            ensure!(!left.has_device(&moved.device)?, "the device is still in {}", left.name());
            guests[0] = moved;
            for other in &guests[1..] {
                // The very first packet: nobody has to find out.
                ensure!(other.instance.namespace.ping(guests[0].address, 1)? == 1, "{other:?} in round {round}");
            }
            assert_mesh(&guests)?;
            invariants::hold(lab)?;
        }
        // The DHCP server has moved with it.
        let moved = &guests[0];
        moved.instance.namespace.ip(&format!("address flush dev {}", moved.device))?;
        let client = lab.dhcp_client(&moved.instance, &moved.device, DhcpClientKind::Udhcpc)?;
        let namespace = moved.instance.namespace.clone();
        eventually("its DHCP client has its address", || Ok(namespace.addresses(&moved.device)? == [moved.address]))?;
        drop(client);
        Ok(())
    });
}

/// The hosts of a lab share the namespaces of their machine: the new host may look before the old one has let go.
#[test]
fn an_instance_moves_to_and_fro_with_its_namespace_where_hosts_share_it() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let mut guests = join_each(lab, &network, &[1, 2])?;
        let namespace = guests[0].instance.namespace.clone();
        for to in [2, 1].into_iter().cycle().take(8) {
            let said = lab.privnet(&["instance", "move", &guests[0].instance.id, "--to", &lab.host(to).name])?;
            ensure!(said.trim_end().ends_with(&format!(" is on h{to}")), "{said}");
            guests[0] = guests[0].moved(lab, &network, to, &namespace)?;
            assert_mesh(&guests)?;
        }
        invariants::hold(lab)
    });
}

#[test]
fn an_instance_moves_to_another_namespace_of_its_host() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let mut guests = join_each(lab, &network, &[1, 2])?;
        let arrived = lab.add_namespace()?;
        guests[0] = move_to(lab, &network, &guests[0], 1, &arrived)?;
        assert_mesh(&guests)?;
        invariants::hold(lab)
    });
}

#[test]
fn an_instance_in_several_networks_moves_in_all_of_them() {
    in_lab(hosts(2), |lab| {
        let networks =
            [lab.api().create_network(&managed("red"))?, lab.api().create_network(&managed_elsewhere("blue"))?];
        let mut meshes = Vec::new();
        let moves = lab.add_instance("moves", 1)?;
        let arrived = lab.add_namespace()?;
        for network in &networks {
            let stays = Guest::join(lab, network, "stays", 2)?;
            meshes.push([Guest::attach(lab, network, moves.clone())?, stays]);
        }
        let operation = lab.api().end_of(ask_to_move(lab, &meshes[0][0], 2, arrived.name())?)?;
        ensure!(operation["state"] == "success" && operation["reference"]["id"] == moves.id, "{operation}");
        for (network, mesh) in networks.iter().zip(&mut meshes) {
            mesh[0] = mesh[0].moved(lab, network, 2, &arrived)?;
            assert_mesh(mesh)?;
        }
        invariants::hold(lab)
    });
}

#[test]
fn an_instance_is_moved_before_its_workload_arrives() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = join_each(lab, &network, &[1, 2])?;
        let netns = format!("pnlab-{}-late", lab.id());
        let operation = ask_to_move(lab, &guests[0], 2, &netns)?;
        eventually("the new host misses the namespace", || {
            Ok(!log_lines(lab, "h2.log", &["not as wanted", &netns])?.is_empty())
        })?;
        let now = lab.api().get(&format!("/v2/operation/{}", text(&operation, "id")))?;
        ensure!(now["state"] == "pending", "{now}");
        ensure!(!guests[0].instance.namespace.has_device(&guests[0].device)?, "the old host has not let go");
        guests[1].instance.namespace.run("ip", &["netns", "add", &netns])?;
        let ended = lab.api().end_of(operation)?;
        ensure!(ended["state"] == "success", "{ended}");
        invariants::hold(lab)
    });
}

#[test]
fn an_instance_is_moved_off_a_host_that_is_dead_and_that_lets_go_when_it_returns() {
    in_lab(hosts(3), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let mut guests = join_each(lab, &network, &[1, 2, 3, 1])?;
        let old = guests[0].instance.namespace.clone();
        cut_off(lab, 1)?;
        let arrived = lab.add_namespace()?;
        guests[0] = move_to(lab, &network, &guests[0], 2, &arrived)?;
        assert_mesh(&guests[..3])?;
        ensure!(old.has_device(&guests[0].device)?, "a dead host lets go of nothing");
        let uplink = lab.host(1).name.clone();
        lab.underlay().context("an underlay")?.ip(&format!("link set {uplink} up"))?;
        // Its VTEP is still one of the network, and the port is still open there.
        ensure!(guests[3].reaches(&guests[2])?, "its other instance is not heard");
        ensure!(old.ping(guests[2].address, 2)? == 0, "the old port is heard");
        lab.start_agent(1)?;
        lab.wait_for_agents()?;
        invariants::hold(lab)?;
        ensure!(!old.has_device(&guests[0].device)?, "it has not let go");
        assert_mesh(&guests)
    });
}

/// Kills a host's agent and pulls its plug.
fn cut_off(lab: &mut Lab, host: usize) -> Result<()> {
    lab.kill_agent(host);
    let uplink = lab.host(host).name.clone();
    lab.underlay().context("an underlay")?.ip(&format!("link set {uplink} down"))?;
    eventually("the server knows that it is away", || Ok(!is_connected(lab, &uplink)?))
}

fn is_connected(lab: &Lab, host: &str) -> Result<bool> {
    let hosts = lab.api().get("/privnet/v1/hosts")?;
    Ok(items(&hosts, "hosts").iter().any(|one| one["name"] == host && one["connected"] == true))
}

#[test]
fn moves_attaches_and_detaches_with_kills_between_them_leave_nothing_stale() {
    let seed = std::env::var("PRIVNET_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("PRIVNET_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    in_lab(hosts(3).server_args(["--operation-hold", "1ms"]), |lab| {
        let networks =
            [lab.api().create_network(&managed("red"))?, lab.api().create_network(&managed_elsewhere("blue"))?];
        let instances = (0..4).map(|at| lab.add_instance(&format!("guest-{at}"), 1 + at % 3));
        let instances = instances.collect::<Result<Vec<_>>>()?;
        // Each has a namespace of its own on every host.
        let mut places = BTreeMap::new();
        for instance in &instances {
            places.insert(instance.id.clone(), [lab.add_namespace()?, lab.add_namespace()?, lab.add_namespace()?]);
        }
        let mut operations = Vec::new();
        for round in 0..60 {
            let instance = &instances[random.random_range(0..instances.len())];
            let network = &networks[random.random_range(0..networks.len())];
            let body = json!({"instance": {"id": instance.id}});
            let reply = match random.random_range(0..4) {
                0 => lab.api().request(Method::PUT, &format!("/v2/private-network/{network}:attach"), Some(&body))?,
                1 => lab.api().request(Method::PUT, &format!("/v2/private-network/{network}:detach"), Some(&body))?,
                _ => {
                    let host = random.random_range(1..=3);
                    let body = json!({"host": lab.host(host).name, "netns": places[&instance.id][host - 1].name()});
                    let path = format!("/privnet/v1/instances/{}:move", instance.id);
                    lab.api().request(Method::PUT, &path, Some(&body))?
                }
            };
            ensure!(matches!(reply.status, 200 | 404), "{reply:?}");
            operations.extend(reply.body["id"].as_str().map(str::to_owned));
            if round % 12 == 11 {
                let host = random.random_range(1..=3);
                lab.kill_agent(host);
                lab.start_agent(host)?;
            }
            if round % 20 == 19 {
                lab.kill_server();
                lab.start_server()?;
            }
        }
        lab.wait_for_agents()?;
        invariants::all_final(lab, operations.iter().map(String::as_str))?;
        invariants::hold(lab)?;
        for (instance, places) in &places {
            let shown = lab.api().get(&format!("/v2/instance/{instance}"))?;
            let ports = items(&shown, "private-networks").len();
            let devices = places.iter().map(|place| place.links()).collect::<Result<Vec<_>>>()?.concat();
            let devices = devices.iter().filter(|link| text(link, "ifname").starts_with("net")).count();
            ensure!(devices == ports, "{devices} devices for {ports} ports of {instance}");
        }
        Ok(())
    });
}

#[test]
fn those_who_stay_notice_nothing_of_a_move() {
    in_lab(hosts(3), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let mut guests = join_each(lab, &network, &[1, 2, 3, 1])?;
        let mut pingers = Vec::new();
        for (from, to) in [(1, 2), (2, 3), (3, 1)] {
            let namespace = guests[from].instance.namespace.clone();
            pingers.push(lab.pinger(&namespace, guests[to].address, Duration::from_millis(2))?);
        }
        for to in [2, 3, 1, 3] {
            let arrived = lab.add_namespace()?;
            guests[0] = move_to(lab, &network, &guests[0], to, &arrived)?;
            pingers.iter_mut().try_for_each(|pinger| pinger.wait_for_answers(20))?;
        }
        for pinger in pingers {
            pinger.stop()?;
        }
        Ok(())
    });
}

#[test]
fn a_host_that_is_gone_for_good_takes_its_entries_with_it() {
    in_lab(hosts(3), |lab| {
        let networks =
            [lab.api().create_network(&managed("red"))?, lab.api().create_network(&managed_elsewhere("blue"))?];
        let guests = join_each(lab, &networks[0], &[1, 2, 3])?;
        Guest::join(lab, &networks[1], "also-on-3", 3)?;
        cut_off(lab, 3)?;
        let refused = lab.privnet(&["host", "remove", "h3"]).expect_err("it has instances");
        let message = "host h3 has 2 instances (guest-3, also-on-3); move or delete them first";
        ensure!(format!("{refused:#}").contains(message), "{refused:#}");
        invariants::hold(lab)?;
        lab.privnet(&["host", "remove", "h3", "--with-instances"])?;
        // The checker finds no entry, VTEP or BUM member of it on the others: the API knows it no more.
        invariants::hold(lab)?;
        assert_mesh(&guests[..2])?;
        // What its kernel still has is shut out, even where it can reach them again.
        lab.underlay().context("an underlay")?.ip("link set h3 up")?;
        ensure!(guests[2].instance.namespace.ping(guests[0].address, 2)? == 0, "a removed host is heard");
        // The one network is gone and its VNI may be another's by the time it comes back.
        lab.api().delete_network(&networks[1])?;
        lab.start_agent(3)?;
        lab.wait_for_agents()?;
        invariants::hold(lab)?;
        ensure!(!guests[2].instance.namespace.has_device(&guests[2].device)?, "it has not let go");
        let back = Guest::join(lab, &networks[0], "back", 3)?;
        ensure!(back.reaches(&guests[0])?, "it is no host as any other");
        invariants::hold(lab)
    });
}

#[test]
fn a_host_that_is_removed_while_its_agent_runs_lets_go_when_it_joins_again() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = join_each(lab, &network, &[1, 2])?;
        lab.privnet(&["host", "remove", "h2", "--with-instances"])?;
        eventually("its agent is cut off", || Ok(!log_lines(lab, "h2.log", &["host h2 was removed"])?.is_empty()))?;
        lab.stop_agent(2)?;
        lab.start_agent(2)?;
        let left = &guests[1].instance.namespace;
        eventually("it has let go", || Ok(!left.has_device(&guests[1].device)?))?;
        lab.wait_for_agents()?;
        invariants::hold(lab)
    });
}
