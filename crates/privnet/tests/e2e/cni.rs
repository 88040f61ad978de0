//! The CNI plugin as a container runtime drives it: by environment and standard input, in namespaces of the tests.
//! No runtime is involved.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use privnet_lab::{Lab, Namespace, cni, invariants};
use serde_json::{Value, json};

use crate::support::{OVERLAY_MTU_BYTES, PRIVNET, eventually, hosts, in_lab, items, managed, text};

/// A container runtime on one host: what it knows of the network.
#[derive(Debug)]
struct Runtime {
    config: Value,
    /// What no other test has in its containers' names.
    mark: String,
}

/// A container with one device to be attached.
#[derive(Debug, Clone)]
struct Container {
    id: String,
    namespace: Namespace,
    device: &'static str,
}

/// What the plugin has answered.
#[derive(Debug)]
struct Answer {
    success: bool,
    document: Value,
}

impl Answer {
    fn ok(self) -> Result<Value> {
        ensure!(self.success, "{}", self.document);
        Ok(self.document)
    }

    #[track_caller]
    fn refused(self, code: u64) -> Result<String> {
        let document = &self.document;
        ensure!(!self.success && document["code"] == code && document["msg"].is_string(), "{code}: {document}");
        ensure!(document["cniVersion"].is_string(), "{document}");
        Ok(format!("{} {}", text(document, "msg"), text(document, "details")))
    }
}

impl Runtime {
    /// One on that host, whose key is for its containers alone.
    fn on(lab: &Lab, host: usize, network: &str) -> Result<Self> {
        Ok(Self { config: cni::config(lab, host, network)?, mark: lab.id().to_owned() })
    }

    fn container(&self, lab: &mut Lab, number: usize) -> Result<Container> {
        Ok(Container { id: format!("{}-{number}", self.mark), namespace: lab.add_namespace()?, device: "eth0" })
    }

    fn with(&self, changes: Value) -> Value {
        let mut config = self.config.clone();
        for (key, value) in changes.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        config
    }

    fn add(&self, container: &Container) -> Result<Value> {
        call("ADD", Some(container), &self.config)?.ok()
    }

    fn del(&self, container: &Container) -> Result<()> {
        let document = call("DEL", Some(container), &self.config)?.ok()?;
        ensure!(document.is_null(), "DEL has no result: {document}");
        Ok(())
    }

    fn check(&self, container: &Container, result: &Value) -> Result<Answer> {
        call("CHECK", Some(container), &self.with(json!({"prevResult": result})))
    }

    fn gc(&self, valid: &[&Container]) -> Result<Answer> {
        let valid: Vec<_> =
            valid.iter().map(|valid| json!({"containerID": valid.id, "ifname": valid.device})).collect();
        call("GC", None, &self.with(json!({"cni.dev/valid-attachments": valid})))
    }
}

impl Container {
    fn path(&self) -> String {
        format!("/run/netns/{}", self.namespace.name())
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        cni::variables(&self.id, &self.namespace, self.device)
    }
}

fn start(command: &str, variables: &[(&str, String)], input: &str) -> Result<Child> {
    cni::start(Path::new(PRIVNET), command, variables, input)
}

fn run(command: &str, variables: &[(&str, String)], input: &str) -> Result<Answer> {
    let output = start(command, variables, input)?.wait_with_output()?;
    let printed = String::from_utf8(output.stdout)?;
    let document = if printed.trim().is_empty() { Value::Null } else { serde_json::from_str(&printed)? };
    Ok(Answer { success: output.status.success(), document })
}

fn call(command: &str, container: Option<&Container>, config: &Value) -> Result<Answer> {
    run(command, &container.map(Container::variables).unwrap_or_default(), &config.to_string())
}

fn instances(lab: &Lab) -> Result<Vec<Value>> {
    Ok(items(&lab.api().get("/v2/instance")?, "instances").to_vec())
}

/// A managed network with a router and name servers.
fn network(lab: &Lab) -> Result<String> {
    let mut network = managed("backend");
    network["options"] =
        json!({"routers": ["10.0.0.1"], "dns-servers": ["10.0.0.2"], "domain-search": ["example.net", "example.org"]});
    lab.api().create_network(&network)
}

#[test]
fn containers_of_two_hosts_are_added_checked_and_deleted() {
    in_lab(hosts(2), |lab| {
        let network = network(lab)?;
        let (one, two) = (Runtime::on(lab, 1, "backend")?, Runtime::on(lab, 2, &network)?);
        call("STATUS", None, &one.config)?.ok()?;
        let (a, b) = (one.container(lab, 1)?, two.container(lab, 2)?);
        let (added, other) = (one.add(&a)?, two.add(&b)?);
        let found = instances(lab)?;
        let instance = found.iter().find(|instance| text(instance, "name") == a.id).context("an instance")?;
        let mac = &items(instance, "private-networks")[0]["mac-address"];
        let address = lab.api().lease(&network, text(instance, "id"))?.context("a lease")?;
        let expected = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "eth0", "mac": mac, "mtu": OVERLAY_MTU_BYTES, "sandbox": a.path()}],
            "ips": [{"address": format!("{address}/24"), "gateway": "10.0.0.1", "interface": 0}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}],
            "dns": {
                "nameservers": ["10.0.0.2"],
                "domain": "example.net",
                "search": ["example.net", "example.org"],
            },
        });
        ensure!(added == expected, "{added:#} is not {expected:#}");
        let labels = json!({
            "cni/container": a.id, "cni/device": "eth0", "cni/network": "backend-net", "cni/host": lab.host(1).name,
        });
        ensure!(instance["labels"] == labels, "{instance}");
        let peer =
            text(&items(&other, "ips")[0], "address").split('/').next().context("an address")?.parse::<Ipv4Addr>()?;
        ensure!(a.namespace.reaches(peer)?, "they reach each other");
        ensure!(a.namespace.ping_sized(peer, OVERLAY_MTU_BYTES)?, "with packets as large as may be");
        ensure!(a.namespace.ip("-4 route show default")?.contains("via 10.0.0.1 dev eth0"));
        one.check(&a, &added)?.ok()?;
        invariants::hold(lab)?;
        let again = call("ADD", Some(&a), &one.config)?.refused(100)?;
        ensure!(again.contains("has a device eth0 already"), "{again}");
        one.del(&a)?;
        ensure!(!a.namespace.has_device("eth0")?);
        one.del(&a)?;
        two.del(&b)?;
        ensure!(instances(lab)?.is_empty());
        one.check(&a, &added)?.refused(3)?;
        invariants::hold(lab)
    });
}

/// As nerdctl gives it.
#[test]
fn the_namespace_of_a_process_is_that_processs_for_as_long_as_it_lives() {
    in_lab(hosts(1), |lab| {
        network(lab)?;
        let runtime = Runtime::on(lab, 1, "backend")?;
        let container = runtime.container(lab, 1)?;
        let mut process = container.namespace.command("sleep").arg("600").spawn()?;
        let path = format!("/proc/{}/ns/net", process.id());
        // `ip netns exec` becomes the process once it is in the namespace.
        eventually("the process is in its namespace", || {
            Ok(std::fs::metadata(&path)?.ino() == std::fs::metadata(container.path())?.ino())
        })?;
        let mut variables = container.variables();
        variables.retain(|(variable, _)| *variable != "CNI_NETNS");
        variables.push(("CNI_NETNS", path.clone()));
        let added = run("ADD", &variables, &runtime.config.to_string())?.ok()?;
        ensure!(container.namespace.has_device("eth0")?);
        ensure!(added["interfaces"].as_array().into_iter().flatten().any(|one| one["sandbox"] == *path), "{added}");
        let placed = lab.api().get("/privnet/v1/instances")?;
        let netns = text(&items(&placed, "instances")[0], "netns").to_owned();
        ensure!(netns.starts_with(&format!("pid:{}@", process.id())), "{netns}");
        process.kill()?;
        process.wait()?;
        runtime.del(&container)?;
        ensure!(instances(lab)?.is_empty());
        Ok(())
    });
}

#[test]
fn each_version_is_answered_in_its_own_words() {
    in_lab(hosts(1), |lab| {
        network(lab)?;
        let runtime = Runtime::on(lab, 1, "backend")?;
        let container = runtime.container(lab, 1)?;
        let supported = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
        for version in supported {
            let answer = run("VERSION", &[], &json!({"cniVersion": version}).to_string())?.ok()?;
            ensure!(answer == json!({"cniVersion": version, "supportedVersions": supported}), "{answer}");
            let config = runtime.with(json!({"cniVersion": version}));
            let added = call("ADD", Some(&container), &config)?.ok()?;
            let ip = &added["ips"][0];
            ensure!(added["cniVersion"] == version && ip["interface"] == 0, "{added}");
            ensure!((ip["version"] == "4") == (version < "1.0.0"), "{added}");
            ensure!(added["interfaces"][0]["mtu"].is_number() == (version == "1.1.0"), "{added}");
            let check =
                call("CHECK", Some(&container), &runtime.with(json!({"cniVersion": version, "prevResult": added})))?;
            let gc = call("GC", None, &runtime.with(json!({"cniVersion": version, "cni.dev/attachments": []})));
            let status = call("STATUS", None, &config)?;
            match version {
                "0.3.1" => drop(check.refused(1)?),
                _ => drop(check.ok()?),
            }
            match version {
                "1.1.0" => drop((gc?.ok()?, status.ok()?)),
                _ => drop((gc?.refused(1)?, status.refused(1)?)),
            }
            call("DEL", Some(&container), &config)?.ok()?;
        }
        for version in [json!("0.2.0"), json!("2.0.0"), json!("newest"), Value::Null] {
            let answer = call("ADD", Some(&container), &runtime.with(json!({"cniVersion": version})))?;
            let said = answer.refused(1)?;
            ensure!(said.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{said}");
        }
        ensure!(instances(lab)?.is_empty());
        Ok(())
    });
}

#[test]
fn what_is_wrong_is_told_with_the_code_of_the_specification() {
    in_lab(hosts(1), |lab| {
        network(lab)?;
        let runtime = Runtime::on(lab, 1, "backend")?;
        let container = runtime.container(lab, 1)?;
        let config = runtime.config.to_string();
        let changed = |name: &str, value: &str| {
            let mut variables = container.variables();
            variables.retain(|(variable, _)| *variable != name);
            if !value.is_empty() {
                variables.push((
                    ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"]
                        .into_iter()
                        .find(|known| *known == name)
                        .expect("a variable"),
                    value.to_owned(),
                ));
            }
            variables
        };
        for (name, value) in [
            ("CNI_CONTAINERID", ""),
            ("CNI_CONTAINERID", "-x"),
            ("CNI_CONTAINERID", "a/b"),
            ("CNI_NETNS", ""),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_IFNAME", ""),
            ("CNI_IFNAME", "a name"),
            ("CNI_ARGS", "IP=nowhere"),
            ("CNI_ARGS", "IgnoreUnknown"),
        ] {
            let said = run("ADD", &changed(name, value), &config)?.refused(4)?;
            ensure!(said.contains(name), "{name}={value}: {said}");
        }
        for command in ["", "EVAPORATE"] {
            let said = run(command, &container.variables(), &config)?.refused(4)?;
            ensure!(said.contains("CNI_COMMAND"), "{said}");
        }
        let gone = changed("CNI_NETNS", "/run/netns/privnet-test-no-such");
        run("ADD", &gone, &config)?.refused(3)?;
        for input in ["", "{", "[]"] {
            run("ADD", &container.variables(), input)?.refused(6)?;
        }
        for (change, expected) in [
            (json!({"ipam": {"type": "host-local"}}), "ipam: {\"type\":\"host-local\"}"),
            (json!({"ipMasq": true}), "ipMasq: true"),
            (json!({"runtimeConfig": {"mac": "02:00:00:00:00:01"}}), "runtimeConfig.mac: \"02:00:00:00:00:01\""),
        ] {
            let said = call("ADD", Some(&container), &runtime.with(change))?.refused(2)?;
            ensure!(said.contains(expected), "{said}");
        }
        for change in [
            json!({"name": "a/b"}),
            json!({"name": null}),
            json!({"network": "no-such"}),
            json!({"network": 7}),
            json!({"host": "no-such"}),
            json!({"runtimeConfig": {"ips": ["10.0.0.7/24", "10.0.0.8/24"]}}),
            json!({"runtimeConfig": {"ips": ["192.0.2.7/24"]}}),
        ] {
            let said = call("ADD", Some(&container), &runtime.with(change.clone()))?.refused(7)?;
            ensure!(!said.trim().is_empty(), "{change}");
        }
        call("CHECK", Some(&container), &runtime.config)?.refused(7)?;
        call("GC", None, &runtime.config)?.refused(7)?;
        let nowhere = json!({"api-url": "http://127.0.0.1:9"});
        for command in ["ADD", "DEL"] {
            call(command, Some(&container), &runtime.with(nowhere.clone()))?.refused(11)?;
        }
        let forbidden: PathBuf = lab.dir().join("forbidden.json");
        std::fs::write(&forbidden, json!({"key": "EXO000000000000000000000000", "secret": "s"}).to_string())?;
        call("ADD", Some(&container), &runtime.with(json!({"credentials": forbidden})))?.refused(102)?;
        ensure!(instances(lab)?.is_empty(), "nothing stays of what was refused");
        runtime.del(&container)
    });
}

#[test]
fn status_tells_whether_containers_can_be_added() {
    in_lab(hosts(1), |lab| {
        network(lab)?;
        let runtime = Runtime::on(lab, 1, "backend")?;
        let status = |config: &Value| call("STATUS", None, config);
        status(&runtime.config)?.ok()?;
        status(&runtime.with(json!({"network": "no-such"})))?.refused(50)?;
        lab.stop_agent(1)?;
        eventually("the agent is away", || Ok(!status(&runtime.config)?.success))?;
        let said = status(&runtime.config)?.refused(51)?;
        ensure!(said.contains("is not connected"), "{said}");
        lab.stop_server()?;
        status(&runtime.config)?.refused(50)?;
        Ok(())
    });
}

#[test]
fn an_add_that_was_killed_is_done_again_or_deleted_and_leaves_nothing() {
    in_lab(hosts(1), |lab| {
        let network = network(lab)?;
        let runtime = Runtime::on(lab, 1, "backend")?;
        for is_retried in [true, false] {
            let container = runtime.container(lab, usize::from(is_retried))?;
            // Without the agent the attach waits, and the plugin with it.
            lab.stop_agent(1)?;
            let mut plugin = start("ADD", &container.variables(), &runtime.config.to_string())?;
            eventually("the instance is attached", || {
                Ok(instances(lab)?.iter().any(|instance| !items(instance, "private-networks").is_empty()))
            })?;
            plugin.kill()?;
            plugin.wait()?;
            lab.start_agent(1)?;
            lab.wait_for_agents()?;
            if is_retried {
                eventually("the killed ADD's device is there", || container.namespace.has_device("eth0"))?;
                let added = runtime.add(&container)?;
                ensure!(instances(lab)?.len() == 1, "the first one is gone");
                runtime.check(&container, &added)?.ok()?;
            }
            runtime.del(&container)?;
            ensure!(instances(lab)?.is_empty() && !container.namespace.has_device("eth0")?);
        }
        ensure!(lab.api().get(&format!("/v2/private-network/{network}"))?["leases"].is_null(), "no lease stays");
        invariants::hold(lab)
    });
}

#[test]
fn gc_removes_what_a_killed_plugin_has_left_and_nothing_else() {
    in_lab(hosts(2), |lab| {
        network(lab)?;
        let (one, two) = (Runtime::on(lab, 1, "backend")?, Runtime::on(lab, 2, "backend")?);
        let (valid, elsewhere, gone) = (one.container(lab, 1)?, two.container(lab, 2)?, one.container(lab, 3)?);
        one.add(&valid)?;
        two.add(&elsewhere)?;
        let by_hand = lab.add_instance("by-hand", 1)?;
        lab.stop_agent(1)?;
        let mut killed = start("ADD", &gone.variables(), &one.config.to_string())?;
        eventually("its instance is there", || Ok(instances(lab)?.len() == 4))?;
        killed.kill()?;
        killed.wait()?;
        lab.start_agent(1)?;
        lab.wait_for_agents()?;
        let gc = one.gc(&[&valid])?.ok()?;
        ensure!(gc.is_null(), "GC has no result: {gc}");
        let left: BTreeSet<_> = instances(lab)?.iter().map(|instance| text(instance, "name").to_owned()).collect();
        ensure!(left == [valid.id.clone(), elsewhere.id.clone(), by_hand.name.clone()].into(), "{left:?}");
        eventually("its device is gone", || Ok(!gone.namespace.has_device("eth0")?))?;
        ensure!(valid.namespace.has_device("eth0")? && elsewhere.namespace.has_device("eth0")?);
        let other_network = one.with(json!({"name": "other-net", "cni.dev/valid-attachments": []}));
        call("GC", None, &other_network)?.ok()?;
        ensure!(instances(lab)?.len() == 3, "another network's are left alone");
        one.gc(&[])?.ok()?;
        ensure!(instances(lab)?.len() == 2);
        invariants::hold(lab)
    });
}

#[test]
fn an_add_that_fails_is_rolled_back() {
    in_lab(hosts(1), |lab| {
        network(lab)?;
        let runtime = Runtime::on(lab, 1, "backend")?;
        let (holder, container) = (runtime.container(lab, 1)?, runtime.container(lab, 2)?);
        let wish = runtime.with(json!({"runtimeConfig": {"ips": ["10.0.0.50/24"]}}));
        let added = call("ADD", Some(&holder), &wish)?.ok()?;
        ensure!(added["ips"][0]["address"] == "10.0.0.50/24", "{added}");
        let said = call("ADD", Some(&container), &wish)?.refused(100)?;
        ensure!(said.contains("10.0.0.50 is leased to instance"), "{said}");
        ensure!(instances(lab)?.len() == 1 && !container.namespace.has_device("eth0")?);
        let mut variables = container.variables();
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=42;IP=10.0.0.51";
        variables.push(("CNI_ARGS", arguments.to_owned()));
        let added = run("ADD", &variables, &runtime.config.to_string())?.ok()?;
        ensure!(added["ips"][0]["address"] == "10.0.0.51/24", "{added}");
        let found = instances(lab)?;
        let labels = &found.iter().find(|found| text(found, "name") == container.id).context("it")?["labels"];
        ensure!(labels["kubernetes/pod"] == "web-0" && labels["kubernetes/namespace"] == "shop", "{labels}");
        ensure!(labels["kubernetes/pod-uid"] == "42", "{labels}");
        invariants::hold(lab)
    });
}

#[test]
fn check_sees_what_is_damaged_and_follows_update_ip() {
    in_lab(hosts(1), |lab| {
        let network = network(lab)?;
        let runtime = Runtime::on(lab, 1, "backend")?;
        let container = runtime.container(lab, 1)?;
        let added = runtime.add(&container)?;
        let id = text(&instances(lab)?[0], "id").to_owned();
        lab.api().update_ip(&network, &id, Some("10.0.0.200"))?;
        ensure!(container.namespace.addresses("eth0")? == [Ipv4Addr::new(10, 0, 0, 200)]);
        runtime.check(&container, &added)?.ok()?;
        container.namespace.ip("address delete 10.0.0.200/24 dev eth0")?;
        runtime.check(&container, &added)?.ok().context("the host has repaired it")?;
        lab.stop_agent(1)?;
        for damage in ["route delete default", "link set eth0 down", "link set eth0 address 02:00:00:00:00:01"] {
            container.namespace.ip(damage)?;
            let said = runtime.check(&container, &added)?.refused(101)?;
            ensure!(said.contains("eth0"), "{said}");
        }
        container.namespace.ip("link delete eth0")?;
        let said = runtime.check(&container, &added)?.refused(101)?;
        ensure!(said.contains("is missing"), "{said}");
        runtime.del(&container)
    });
}

#[test]
fn many_containers_are_added_and_deleted_at_once() {
    const CONTAINERS: usize = 24;
    in_lab(hosts(2), |lab| {
        network(lab)?;
        let runtimes = [Runtime::on(lab, 1, "backend")?, Runtime::on(lab, 2, "backend")?];
        let mut containers = Vec::new();
        for number in 0..CONTAINERS {
            containers.push(runtimes[number % 2].container(lab, number)?);
        }
        let each = |act: &(dyn Fn(&Runtime, &Container) -> Result<Value> + Sync)| -> Result<Vec<Value>> {
            thread::scope(|scope| {
                let runtimes = &runtimes;
                let started: Vec<_> = containers
                    .iter()
                    .enumerate()
                    .map(|(number, container)| scope.spawn(move || act(&runtimes[number % 2], container)))
                    .collect();
                started.into_iter().map(|one| one.join().expect("no panic")).collect()
            })
        };
        let added = each(&|runtime, container| runtime.add(container))?;
        let addresses: BTreeSet<_> = added.iter().map(|one| one["ips"][0]["address"].to_string()).collect();
        ensure!(addresses.len() == CONTAINERS && instances(lab)?.len() == CONTAINERS, "{addresses:?}");
        invariants::hold(lab)?;
        each(&|runtime, container| runtime.del(container).map(|()| Value::Null))?;
        ensure!(instances(lab)?.is_empty());
        invariants::hold(lab)
    });
}

#[test]
fn a_program_that_is_called_privnet_cni_is_the_plugin() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("privnet-cni");
    symlink(PRIVNET, &plugin).expect("a link");
    let answered = Command::new(plugin).env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).output();
    let document: Value = serde_json::from_slice(&answered.expect("it runs").stdout).expect("JSON");
    assert_eq!(document["cniVersion"], "1.1.0");
}
