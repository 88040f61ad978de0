//! Server and agents are killed at any moment: nothing acknowledged is lost, and frames flow on.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use privnet_lab::{Api, Instance, Lab};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{Guest, assert_mesh, eventually, hosts, in_lab, items, managed, managed_elsewhere, text};
use privnet_lab::invariants;

/// How many instances are attached while something is killed.
const ATTACHES: usize = 24;

/// How many attaches go on at the same time.
const CLIENTS: usize = 4;

#[test]
fn attaches_survive_kill_9_of_the_server() {
    in_lab(hosts(2), |lab| {
        attach_while(lab, |lab, acknowledged| {
            for count in [3, 9] {
                acknowledged(count)?;
                lab.kill_server();
                lab.start_server()?;
            }
            Ok(())
        })
    });
}

#[test]
fn attaches_survive_kill_9_of_an_agent() {
    in_lab(hosts(2), |lab| {
        attach_while(lab, |lab, acknowledged| {
            for (count, host) in [(3, 1), (7, 2), (11, 1)] {
                acknowledged(count)?;
                lab.kill_agent(host);
                lab.start_agent(host)?;
            }
            Ok(())
        })
    });
}

#[test]
fn attaches_survive_kill_9_of_server_and_agents_together() {
    in_lab(hosts(2), |lab| {
        attach_while(lab, |lab, acknowledged| {
            for count in [3, 9] {
                acknowledged(count)?;
                lab.kill_agent(1);
                lab.kill_server();
                lab.kill_agent(2);
                lab.start_agent(1)?;
                lab.start_server()?;
                lab.start_agent(2)?;
            }
            Ok(())
        })
    });
}

/// Attaches instances to two networks from several threads, each until it is acknowledged, while
/// `kill` does its work; its second argument waits until so many were. Then everything must be as
/// acknowledged, on both hosts.
fn attach_while(lab: &mut Lab, kill: impl FnOnce(&mut Lab, &dyn Fn(usize) -> Result<()>) -> Result<()>) -> Result<()> {
    let networks = [lab.api().create_network(&managed("red"))?, lab.api().create_network(&managed_elsewhere("blue"))?];
    let instances = (0..ATTACHES).map(|at| lab.add_instance(&format!("guest-{at}"), 1 + at % 2));
    let instances = instances.collect::<Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let acknowledged = Mutex::new(BTreeMap::new());
    let api = lab.api().clone();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(instance) = instances.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let network = &networks[instance.host - 1];
                        let operation = attach_until_acknowledged(&api, network, instance)?;
                        acknowledged.lock().expect("no panic").insert(instance.id.clone(), operation);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        let count = || acknowledged.lock().expect("no panic").len();
        kill(lab, &|wanted| eventually("attaches are acknowledged", || Ok(count() >= wanted)))?;
        clients.into_iter().try_for_each(|client| client.join().expect("no panic"))
    })?;
    lab.wait_for_agents()?;
    let operations = acknowledged.into_inner().expect("no panic");
    ensure!(operations.len() == ATTACHES);
    invariants::all_final(lab, operations.values().map(String::as_str))?;
    invariants::hold(lab)?;
    // One network's members are all on one host; each is attached to the other network as well now,
    // which has frames cross.
    for network in &networks {
        let some = [&instances[0], &instances[1], &instances[2], &instances[3]];
        let guests = some.map(|instance| Guest::attach(lab, network, instance.clone()));
        assert_mesh(&guests.into_iter().collect::<Result<Vec<_>>>()?)?;
    }
    invariants::hold(lab)
}

/// Asks until there is an answer, and returns the operation's id. Asking again is no error: attached
/// is attached.
fn attach_until_acknowledged(api: &Api, network: &str, instance: &Instance) -> Result<String> {
    let body = json!({"instance": {"id": instance.id}});
    let mut answer = None;
    eventually("the server answers", || {
        answer = api.request(Method::PUT, &format!("/v2/private-network/{network}:attach"), Some(&body)).ok();
        Ok(answer.is_some())
    })?;
    let operation = answer.context("an answer")?.ok()?;
    Ok(text(&operation, "id").to_owned())
}

#[test]
fn a_host_that_reboots_without_the_server_has_its_ports_from_its_own_copy() {
    in_lab(hosts(2), |lab| {
        let red = lab.api().create_network(&managed("red"))?;
        let blue = lab.api().create_network(&managed("blue"))?;
        let guests = [(&red, 1), (&red, 2), (&blue, 1)].map(|(network, host)| Guest::join(lab, network, "guest", host));
        let guests = guests.into_iter().collect::<Result<Vec<_>>>()?;
        lab.kill_server();
        reboot(lab, 1)?;
        lab.start_agent(1)?;
        for guest in [&guests[0], &guests[2]] {
            let namespace = &guest.instance.namespace;
            eventually("the device is back", || namespace.has_device(&guest.device))?;
            namespace.ip(&format!("address replace {}/24 dev {}", guest.address, guest.device))?;
        }
        assert_mesh(&guests[..2])?;
        lab.start_server()?;
        lab.wait_for_agents()?;
        assert_mesh(&guests[..2])?;
        invariants::hold(lab)
    });
}

/// Takes from a host what a reboot takes: its agent, our devices and everything that is pinned.
fn reboot(lab: &mut Lab, host: usize) -> Result<()> {
    lab.kill_agent(host);
    let host = lab.host(host);
    for link in host.namespace.links()? {
        let device = text(&link, "ifname");
        if device.starts_with("pn") {
            host.namespace.ip(&format!("link delete {device}"))?;
        }
    }
    fs::remove_dir_all(&host.pin_dir).context("cannot remove the pins")
}

#[test]
fn an_agent_that_missed_hundreds_of_changes_catches_up() {
    // Most operations wait for the agent, so there is no use in waiting for them.
    in_lab(hosts(2).server_args(["--operation-hold", "1ms"]), |lab| {
        let instances = (0..6).map(|at| lab.add_instance(&format!("guest-{at}"), 1 + at % 2));
        let instances = instances.collect::<Result<Vec<_>>>()?;
        let before = lab.api().create_network(&managed("before"))?;
        for instance in &instances {
            lab.api().attach(&before, &instance.id, None)?;
        }
        lab.kill_agent(2);
        eventually("the server knows that h2 is away", || {
            let hosts = lab.api().get("/privnet/v1/hosts")?;
            Ok(items(&hosts, "hosts").iter().any(|host| host["name"] == "h2" && host["connected"] == false))
        })?;
        let operations = change_much(lab.api(), &before, &instances)?;
        lab.start_agent(2)?;
        lab.wait_for_agents()?;
        invariants::all_final(lab, operations.iter().map(|asked| asked.operation.as_str()))?;
        for asked in &operations {
            let operation = lab.api().get(&format!("/v2/operation/{}", asked.operation))?;
            let (is_success, is_overtaken) = (operation["state"] == "success", operation["reason"] == "not-found");
            let is_right = match asked.detached_on {
                None => is_success,
                Some(1) => is_success || is_overtaken,
                Some(_) => is_overtaken,
            };
            ensure!(is_right, "{asked:?} came to {operation}");
        }
        invariants::hold(lab)
    });
}

/// What was asked for while an agent was away.
#[derive(Debug)]
struct Asked {
    operation: String,
    /// The host of a port that was wanted, and detached right afterwards: one that is there may have been quick
    /// enough to plug it in, one that is away has not.
    detached_on: Option<usize>,
}

/// Makes, changes and removes networks and ports.
fn change_much(api: &Api, before: &str, instances: &[Instance]) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    let mut act = |detached_on: Option<usize>, method: Method, path: &str, body: Option<Value>| {
        let operation = api.request(method, path, body.as_ref())?.ok()?;
        asked.push(Asked { operation: text(&operation, "id").to_owned(), detached_on });
        anyhow::Ok(text(&operation["reference"], "id").to_owned())
    };
    let on_port = |instance: &Instance| Some(json!({"instance": {"id": instance.id}}));
    for round in 0..20 {
        let network = act(None, Method::POST, "/v2/private-network", Some(managed(&format!("round-{round}"))))?;
        let path = format!("/v2/private-network/{network}");
        let (detached, others) = instances.split_at(round % instances.len());
        let is_deleted = round % 3 == 0;
        for instance in detached {
            act(Some(instance.host), Method::PUT, &format!("{path}:attach"), on_port(instance))?;
        }
        for instance in others {
            let detached_on = is_deleted.then_some(instance.host);
            act(detached_on, Method::PUT, &format!("{path}:attach"), on_port(instance))?;
        }
        for instance in detached {
            act(Some(instance.host), Method::PUT, &format!("{path}:update-ip"), on_port(instance))?;
            act(None, Method::PUT, &format!("{path}:detach"), on_port(instance))?;
        }
        act(None, Method::PUT, &path, Some(json!({"options": {"routers": ["10.0.0.1"]}})))?;
        if is_deleted {
            for instance in others {
                act(None, Method::PUT, &format!("{path}:detach"), on_port(instance))?;
            }
            act(None, Method::DELETE, &path, None)?;
        }
    }
    for instance in instances {
        act(None, Method::PUT, &format!("/v2/private-network/{before}:detach"), on_port(instance))?;
    }
    act(None, Method::DELETE, &format!("/v2/private-network/{before}"), None)?;
    Ok(asked)
}

#[test]
fn an_instance_whose_namespace_comes_late_is_attached_when_it_comes() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let early = Guest::join(lab, &network, "early", 1)?;
        let netns = format!("pnlab-{}-late", lab.id());
        let body = json!({"name": "late", "host": "h1", "kind": "netns", "netns": netns});
        let late = lab.api().request(Method::POST, "/privnet/v1/instances", Some(&body))?.ok()?;
        let path = format!("/v2/private-network/{network}:attach");
        let attach = json!({"instance": {"id": text(&late, "id")}});
        let operation = lab.api().operate(Method::PUT, &path, Some(&attach))?;
        ensure!(operation["state"] == "failure" && operation["reason"] == "not-found", "{operation}");
        ensure!(text(&operation, "message").contains(&netns), "the message does not name the namespace: {operation}");
        // The attach stays wanted, and the others are not disturbed.
        ensure!(lab.api().lease(&network, text(&late, "id"))?.is_some(), "the lease is gone");
        Guest::join(lab, &network, "third", 1)?;

        early.instance.namespace.run("ip", &["netns", "add", &netns])?;
        invariants::hold(lab)?;
        let again = lab.api().operate(Method::PUT, &path, Some(&attach))?;
        ensure!(again["state"] == "success", "{again}");
        Ok(())
    });
}
