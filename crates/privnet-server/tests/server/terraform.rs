//! Resources of Terraform's provider, 0.70: what it sends in their lives, and what it reads of them. What it reads is
//! what a plan compares with the configuration: a difference would be planned for ever.

use serde_json::{Map, Value, json};

use crate::support::agent::acknowledge;
use crate::support::replay::{Replay, TERRAFORM, id_in};
use crate::support::{Agent, Setup, TestServer};

fn server() -> (TestServer, Agent) {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    (server, agent)
}

fn range(start: &str, end: &str, netmask: &str) -> Value {
    json!({"name": "tf", "start-ip": start, "end-ip": end, "netmask": netmask})
}

/// A configuration with other values, by the API's names.
fn with(configured: &Value, more: Value) -> Value {
    let mut changed = configured.clone();
    let (of, more) = (changed.as_object_mut().expect("an object"), more.as_object().expect("an object").clone());
    of.extend(more);
    changed
}

/// What the provider reads of a network. Empty texts and absent properties are null; empty labels are not.
fn attributes(network: &Value) -> Value {
    let read = |name: &&str| Some(((*name).to_owned(), network.get(*name).filter(|value| **value != "")?.clone()));
    let names = ["description", "end-ip", "labels", "name", "netmask", "start-ip"];
    names.iter().filter_map(read).collect::<Map<_, _>>().into()
}

impl Replay<'_> {
    /// Sends what is configured, and nothing else.
    fn create_network(&self, configured: &Value) -> String {
        self.zone();
        format!("/v2/private-network/{}", self.change("POST", "/v2/private-network", &configured.to_string()))
    }

    /// What a refresh, an import and the two data sources read.
    #[track_caller]
    fn network_reads(&self, path: &str, expected: &Value) {
        for _ in ["refresh", "import"] {
            self.zone();
            assert_eq!(attributes(&self.get(path)), *expected);
        }
        self.zone();
        let list = self.get("/v2/private-network");
        let found = list["private-networks"].as_array().expect("a list").iter().find(|one| one["id"] == id_in(path));
        assert_eq!(found, Some(&self.get(path)), "the list tells what the network itself does");
    }

    /// What the provider reads of an instance: it fails where the type is not listed or a network is not there.
    fn read_instance(&self, path: &str) -> Value {
        self.zone();
        let instance = self.get(path);
        let attached = instance["private-networks"].as_array().into_iter().flatten();
        let interfaces: Vec<_> = attached
            .map(|attached| {
                let id = attached["id"].as_str().expect("an id");
                let network = self.get(&format!("/v2/private-network/{id}"));
                let leases = network["leases"].as_array().into_iter().flatten();
                let lease = leases.into_iter().find(|lease| lease["instance-id"] == id_in(path));
                let ip = lease.map(|lease| &lease["ip"]);
                json!({"network_id": id, "ip_address": ip, "mac_address": attached["mac-address"]})
            })
            .collect();
        assert_eq!(self.status("GET", &format!("/v2/reverse-dns/instance/{}", id_in(path)), "").0, 404);
        let types = self.get("/v2/instance-type");
        let of_its_id = |one: &&Value| one["id"] == instance["instance-type"]["id"];
        let own = types["instance-types"].as_array().expect("a list").iter().find(of_its_id).expect("its type");
        json!({
            "name": instance["name"], "disk_size": instance["disk-size"], "state": instance["state"],
            "type": format!("{}.{}", own["family"].as_str().expect("text"), own["size"].as_str().expect("text")),
            "template_id": instance["template"]["id"], "created_at": instance["created-at"],
            "labels": instance.get("labels"), "user_data": instance.get("user-data"),
            "ssh_keys": instance.get("ssh-keys"), "deploy_target_id": instance.get("deploy-target"),
            "ipv6_address": instance.get("ipv6-address"), "public_ip_address": instance.get("public-ip"),
            "enable_secure_boot": instance["secureboot-enabled"], "enable_tpm": instance["tpm-enabled"],
            "network_interface": interfaces,
        })
    }

    /// What is sent before and after the change of an instance, whatever it is.
    fn update_instance(&self, path: &str, change: impl FnOnce()) {
        self.zone();
        self.get(path);
        change();
        self.change("PUT", &format!("{path}:remove-protection"), "");
    }

    /// Its zero time is not left out.
    fn detach(&self, network: &str, instance: &str) -> (u16, Value) {
        let body = format!(r#"{{"instance":{{"created-at":"0001-01-01T00:00:00Z","id":"{}"}}}}"#, id_in(instance));
        self.status("PUT", &format!("{network}:detach"), &body)
    }
}

/// The first is the provider's own acceptance test. The others are those of its predecessors, with what `tfunm` is in
/// the contract's §2.3: an update in place sends all that is configured.
#[test]
fn a_network_is_read_as_it_is_configured() {
    let (server, _agent) = server();
    let terraform = Replay::new(&server, TERRAFORM);
    let first = with(
        &range("10.0.0.10", "10.0.0.250", "255.255.255.0"),
        json!({"description": "description-test", "labels": {"A": "B"}}),
    );
    let wider = with(
        &range("10.0.0.5", "10.0.0.254", "255.255.0.0"),
        json!({"description": "description-test-updated", "labels": {"A": "C"}}),
    );
    for life in [
        &[first, wider][..],
        &[
            range("10.0.0.10", "10.0.0.50", "255.255.255.0"),
            range("10.0.0.1", "10.0.0.50", "255.255.255.0"),
            range("10.0.0.1", "10.0.0.50", "255.255.0.0"),
            range("10.0.0.1", "10.0.0.50", "255.0.0.0"),
        ],
        &[range("10.0.0.1", "10.0.0.1", "255.255.255.248"), range("10.0.0.1", "10.0.0.1", "255.255.255.252")],
        &[json!({"name": "tfunm"}), json!({"name": "other"}), range("10.0.0.10", "10.0.0.50", "255.255.255.0")],
    ] {
        let network = terraform.create_network(&life[0]);
        terraform.network_reads(&network, &life[0]);
        for configured in &life[1..] {
            terraform.zone();
            terraform.change("PUT", &network, &configured.to_string());
            terraform.network_reads(&network, configured);
        }
        terraform.zone();
        terraform.change("DELETE", &network, "");
        for method in ["GET", "DELETE"] {
            assert_eq!(terraform.status(method, &network, "").0, 404, "what is gone is dropped from the state");
        }
    }
}

/// By the provider's next version; up to 0.70 they stay.
#[test]
fn labels_that_are_configured_no_more_are_taken_away() {
    let (server, _agent) = server();
    let terraform = Replay::new(&server, TERRAFORM);
    let configured = range("10.0.0.10", "10.0.0.50", "255.255.255.0");
    let network = terraform.create_network(&with(&configured, json!({"labels": {"A": "B"}})));
    for _ in ["with labels", "and without"] {
        terraform.zone();
        terraform.change("DELETE", &format!("{network}/labels"), "");
        terraform.change("PUT", &network, &configured.to_string());
        terraform.network_reads(&network, &configured);
    }
}

#[test]
fn an_instance_is_read_as_it_is_configured() {
    let (server, _agent) = server();
    let terraform = Replay::new(&server, TERRAFORM);
    let [lan, dmz] = [(); 2].map(|()| terraform.network());
    let path = terraform.instance_with(json!({
        "labels": {"team": "db"}, "name": "web", "secureboot-enabled": true, "ssh-keys": [{"name": "own"}],
        "tpm-enabled": true, "user-data": "I2Nsb3VkLWNvbmZpZwo=",
    }));
    terraform.attach(&lan, &path, Some("10.0.0.200"));
    terraform.attach(&dmz, &path, None);
    let created = terraform.read_instance(&path);
    let types = terraform.get("/v2/instance-type");
    let expected = json!({
        "name": "web", "disk_size": 10, "state": "running", "labels": {"team": "db"},
        "type": format!("standard.{}", types["instance-types"][1]["size"].as_str().expect("a size")),
        "template_id": terraform.get("/v2/template?visibility=public")["templates"][0]["id"],
        "user_data": "I2Nsb3VkLWNvbmZpZwo=", "ssh_keys": [{"name": "own"}], "enable_secure_boot": true,
        "enable_tpm": true, "deploy_target_id": null, "ipv6_address": null, "public_ip_address": null,
        "created_at": created["created_at"],
        "network_interface": [
            {"network_id": id_in(&lan), "ip_address": "10.0.0.200",
             "mac_address": created["network_interface"][0]["mac_address"]},
            {"network_id": id_in(&dmz), "ip_address": "10.0.0.10",
             "mac_address": created["network_interface"][1]["mac_address"]},
        ],
    });
    assert_eq!(created, expected);
    assert_eq!(terraform.read_instance(&path), created, "a refresh and an import see what the creation saw");
    // The data source, by name or id.
    terraform.zone();
    let list = terraform.get("/v2/instance");
    let listed = &list["instances"][0];
    assert_eq!((&listed["id"], &listed["name"]), (&json!(id_in(&path)), &json!("web")));
    let instance_type = terraform.get(&path)["instance-type"]["id"].as_str().expect("an id").to_owned();
    terraform.get(&format!("/v2/instance-type/{instance_type}"));
}

#[test]
fn each_attribute_of_an_instance_is_updated_in_place() {
    let (server, _agent) = server();
    let terraform = Replay::new(&server, TERRAFORM);
    let network = terraform.network();
    let path = terraform.instance("web");
    terraform.attach(&network, &path, Some("10.0.0.200"));
    let mut expected = terraform.read_instance(&path);
    let types = terraform.get("/v2/instance-type")["instance-types"].clone();
    let huge = types.as_array().expect("a list").iter().find(|one| one["size"] == "huge").expect("a type");
    let larger = json!({"instance-type": huge}).to_string();
    // What is configured nowhere is null, and not empty.
    for attribute in ["labels", "user_data", "ssh_keys"] {
        assert_eq!(expected[attribute], Value::Null, "{attribute}");
    }
    for (action, body, attribute, value) in [
        ("", r#"{"name":"web2"}"#, "name", json!("web2")),
        ("", r#"{"labels":{"team":"db","tier":"1"}}"#, "labels", json!({"team": "db", "tier": "1"})),
        ("", r#"{"labels":{"team":"web"}}"#, "labels", json!({"team": "web"})),
        ("", r#"{"user-data":"I2Nsb3VkLWNvbmZpZwo="}"#, "user_data", json!("I2Nsb3VkLWNvbmZpZwo=")),
        (":stop", "", "state", json!("stopped")),
        (":resize-disk", r#"{"disk-size":20}"#, "disk_size", json!(20)),
        (":scale", &larger, "type", json!("standard.huge")),
        (":enable-tpm", "", "enable_tpm", json!(true)),
        (":start", "{}", "state", json!("running")),
    ] {
        let method = if action == ":enable-tpm" { "POST" } else { "PUT" };
        terraform.update_instance(&path, || drop(terraform.change(method, &format!("{path}{action}"), body)));
        expected[attribute] = value;
        assert_eq!(terraform.read_instance(&path), expected, "{attribute}");
    }
    // Destroyed, protected or not.
    terraform.change("PUT", &format!("{path}:add-protection"), "");
    terraform.zone();
    assert_eq!(terraform.status("DELETE", &format!("/v2/reverse-dns/instance/{}", id_in(&path)), "").0, 404);
    assert_eq!(terraform.status("DELETE", &path, "").0, 409);
    terraform.change("PUT", &format!("{path}:remove-protection"), "");
    terraform.change("DELETE", &path, "");
    assert_eq!(terraform.status("GET", &path, "").0, 404);
    terraform.change("DELETE", &network, "");
}

/// Each interface is detached and attached anew, never `:update-ip`; the others stay as they are.
#[test]
fn the_address_of_an_interface_is_changed_and_the_interface_removed() {
    let (server, _agent) = server();
    let terraform = Replay::new(&server, TERRAFORM);
    let [lan, dmz] = [(); 2].map(|()| terraform.network());
    let unmanaged = terraform.create_network(&json!({"name": "tfunm"}));
    let path = terraform.instance("web");
    for network in [&lan, &dmz, &unmanaged] {
        terraform.attach(network, &path, None);
    }
    let interface = |network: &str| {
        let read = terraform.read_instance(&path);
        let all = read["network_interface"].as_array().expect("a list").clone();
        all.into_iter().find(|interface| interface["network_id"] == id_in(network))
    };
    let others = [interface(&dmz), interface(&unmanaged)];
    assert_eq!(
        others.clone().map(|other| other.expect("attached")["ip_address"].clone()),
        [json!("10.0.0.10"), Value::Null,]
    );
    for ip in [Some("10.0.0.200"), Some("10.0.0.1"), Some("10.0.0.50"), None] {
        terraform.update_instance(&path, || {
            assert_eq!(terraform.detach(&lan, &path).0, 200);
            terraform.attach(&lan, &path, ip);
        });
        let changed = interface(&lan).expect("attached");
        assert!(ip.is_none_or(|ip| changed["ip_address"] == ip) && changed["ip_address"].is_string(), "{changed}");
        assert_eq!(interface(&lan), Some(changed), "a second plan sees the same");
        assert_eq!([interface(&dmz), interface(&unmanaged)], others);
    }
    terraform.update_instance(&path, || assert_eq!(terraform.detach(&lan, &path).0, 200));
    assert_eq!((interface(&lan), terraform.detach(&lan, &path).0), (None, 404), "it takes that for detached already");
    assert_eq!([interface(&dmz), interface(&unmanaged)], others);
}

/// It would read back none, and replace the instance at every plan.
#[test]
fn a_deploy_target_is_refused() {
    let (server, _agent) = server();
    let terraform = Replay::new(&server, TERRAFORM);
    let mut body = terraform.wish(json!({"name": "web"}));
    body["deploy-target"] = json!({"id": "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50"});
    let message = "deploy-target: there is none; leave the property out";
    assert_eq!(terraform.status("POST", "/v2/instance", &body.to_string()), (400, json!({"message": message})));
    assert_eq!(terraform.get("/v2/instance"), json!({"instances": []}));
}
