//! More of what Exoscale's clients send: instances with their networks, imports, requests that are sent again, and
//! what is refused or fails.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::agent::{acknowledge, silent};
use crate::support::replay::{EXO, JAVA, PYTHON, Replay, TERRAFORM, TYPESCRIPT};
use crate::support::{Agent, Setup, TestServer};

const MANAGED: &str = r#"{"end-ip":"10.0.0.99","name":"n","netmask":"255.255.255.0","start-ip":"10.0.0.10"}"#;

fn server() -> (TestServer, Agent) {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    (server, agent)
}

impl Replay<'_> {
    fn network(&self) -> String {
        format!("/v2/private-network/{}", self.change("POST", "/v2/private-network", MANAGED))
    }

    /// What Terraform sends for a `exoscale_compute_instance`, and exo with other headers.
    fn instance(&self, name: &str) -> String {
        self.zone();
        let instance_type = self.get("/v2/instance-type")["instance-types"][1].clone();
        let template = self.get("/v2/template?visibility=public")["templates"][0]["id"].clone();
        let body = json!({
            "disk-size": 10, "instance-type": instance_type, "name": name, "public-ip-assignment": "inet4",
            "template": {"created-at": "0001-01-01T00:00:00Z", "id": template},
        });
        format!("/v2/instance/{}", self.change("POST", "/v2/instance", &body.to_string()))
    }

    /// Attaches, with an address if there is one, and waits.
    fn attach(&self, network: &str, instance: &str, ip: Option<&str>) {
        let mut body = json!({"instance": {"id": id_in(instance)}});
        if let Some(ip) = ip {
            body["ip"] = ip.into();
        }
        self.change("PUT", &format!("{network}:attach"), &body.to_string());
    }

    /// What Terraform makes of an instance when it refreshes or imports one: the attributes that a plan compares.
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
                json!({"network_id": id, "ip_address": lease.map(|lease| &lease["ip"])})
            })
            .collect();
        assert_eq!(self.status("GET", &format!("/v2/reverse-dns/instance/{}", id_in(path)), "").0, 404);
        let types = self.get("/v2/instance-type");
        let of_its_id = |one: &&Value| one["id"] == instance["instance-type"]["id"];
        let own = types["instance-types"].as_array().expect("a list").iter().find(of_its_id).expect("its type");
        json!({
            "name": instance["name"], "disk_size": instance["disk-size"], "state": instance["state"],
            "type": format!("{}.{}", own["family"].as_str().expect("text"), own["size"].as_str().expect("text")),
            "template_id": instance["template"]["id"], "labels": instance.get("labels"),
            "user_data": instance.get("user-data"), "ssh_keys": instance.get("ssh-keys"),
            "public_ip_assignment": instance["public-ip-assignment"], "network_interface": interfaces,
        })
    }
}

fn id_in(path: &str) -> &str {
    path.rsplit('/').next().expect("an id")
}

#[test]
fn terraform_imports_a_network_as_it_is() {
    let (server, _agent) = server();
    let terraform = Replay { server: &server, manner: TERRAFORM };
    let labelled = r#"{"description":"d","end-ip":"10.0.0.99","labels":{"team":"db"},"name":"tf","netmask":"255.255.255.0","start-ip":"10.0.0.10"}"#;
    for (wish, absent) in [
        (labelled, &[][..]),
        (MANAGED, &["description", "labels", "options", "leases"][..]),
        (r#"{"name":"tf"}"#, &["start-ip", "end-ip", "netmask", "description", "labels"][..]),
    ] {
        let id = terraform.change("POST", "/v2/private-network", wish);
        terraform.zone();
        let imported = terraform.get(&format!("/v2/private-network/{id}"));
        let wish: Value = serde_json::from_str(wish).expect("JSON");
        for (property, value) in wish.as_object().expect("an object") {
            assert_eq!(imported[property], *value, "else a plan changes it: {imported}");
        }
        // What is not configured may not be there, not even empty: a plan would take it away for ever.
        for property in absent {
            assert_eq!(imported.get(*property), None, "{imported}");
        }
    }
    let (status, refusal) = terraform.status("GET", "/v2/private-network/01a0c450-6c00-714d-8876-6b2ed10826c9", "");
    assert_eq!(status, 404, "what is gone is dropped from the state: {refusal}");
}

#[test]
fn terraforms_data_source_finds_a_network_by_its_name_or_id() {
    let (server, _agent) = server();
    let terraform = Replay { server: &server, manner: TERRAFORM };
    let network = terraform.network();
    terraform.change("POST", "/v2/private-network", r#"{"name":"other"}"#);
    terraform.zone();
    let list = terraform.get("/v2/private-network");
    let named: Vec<_> =
        list["private-networks"].as_array().expect("a list").iter().filter(|one| one["name"] == "n").collect();
    assert_eq!(named, [&terraform.get(&network)], "the list tells what the network itself does");
}

#[test]
fn terraform_imports_an_instance_and_plans_nothing() {
    let (server, _agent) = server();
    let terraform = Replay { server: &server, manner: TERRAFORM };
    let (first, second) = (terraform.network(), terraform.network());
    let path = terraform.instance("web");
    terraform.attach(&first, &path, Some("10.0.0.200"));
    terraform.attach(&second, &path, None);
    let created = terraform.read_instance(&path);
    assert_eq!(created["labels"], Value::Null);
    assert_eq!(created["user_data"], Value::Null);
    assert_eq!(created["network_interface"].as_array().map(Vec::len), Some(2));
    assert_eq!(terraform.read_instance(&path), created, "an import sees what a refresh sees");
    // An update in place: each property by itself leaves the others as they are.
    for (body, attribute, value) in [
        (json!({"name": "web2"}), "name", json!("web2")),
        (json!({"labels": {"team": "db"}}), "labels", json!({"team": "db"})),
        (json!({"user-data": "I2Nsb3VkLWNvbmZpZwo="}), "user_data", json!("I2Nsb3VkLWNvbmZpZwo=")),
        (json!({"public-ip-assignment": "dual"}), "public_ip_assignment", json!("dual")),
    ] {
        let mut expected = terraform.read_instance(&path);
        terraform.zone();
        terraform.get(&path);
        terraform.change("PUT", &path, &body.to_string());
        terraform.change("PUT", &format!("{path}:remove-protection"), "");
        expected[attribute] = value;
        assert_eq!(terraform.read_instance(&path), expected, "{attribute}");
    }
    terraform.change("PUT", &format!("{path}:stop"), "");
    assert_eq!(terraform.read_instance(&path)["state"], "stopped");
    terraform.change("PUT", &format!("{path}:start"), "");
    terraform.zone();
    assert_eq!(terraform.status("DELETE", &format!("/v2/reverse-dns/instance/{}", id_in(&path)), "").0, 404);
    terraform.change("DELETE", &path, "");
    assert_eq!(terraform.status("GET", &path, "").0, 404);
    for network in [first, second] {
        terraform.change("DELETE", &network, "");
    }
}

#[test]
fn exo_lists_and_shows_what_there_is() {
    let (server, _agent) = server();
    let exo = Replay { server: &server, manner: EXO };
    let (network, path) = (exo.network(), exo.instance("web"));
    exo.attach(&network, &path, None);
    // exo compute private-network show: the instance of each lease is looked up, and must be there.
    exo.zone();
    exo.get("/v2/private-network");
    for lease in exo.get(&network)["leases"].as_array().expect("leases") {
        let holder = exo.get(&format!("/v2/instance/{}", lease["instance-id"].as_str().expect("an id")));
        assert_eq!(holder["name"], "web");
    }
    // exo compute instance list: the type of each.
    exo.zone();
    for instance in exo.get("/v2/instance")["instances"].as_array().expect("a list") {
        let id = instance["instance-type"]["id"].as_str().expect("an id");
        assert!(exo.get(&format!("/v2/instance-type/{id}"))["size"].is_string());
    }
    // exo compute instance create --protection, delete.
    exo.change("PUT", &format!("{path}:add-protection"), "");
    let (status, refusal) = exo.status("DELETE", &path, "");
    assert_eq!(status, 409, "{refusal}");
    exo.change("PUT", &format!("{path}:remove-protection"), "");
    exo.change("PUT", &format!("{path}:reboot"), "");
    exo.change("DELETE", &path, "");
    exo.zone();
    exo.get("/v2/private-network");
    exo.change("DELETE", &network, "");
    // exo api: any operation that there is, as JSON.
    assert_eq!(exo.get("/v2/event").as_array().map(Vec::is_empty), Some(false));
}

/// Go's clients send a request again after a fault, octet by octet the same, whatever its method. What comes a second
/// later is answered as the first one was; this is what comes at once.
#[test]
fn what_is_sent_twice_does_no_harm() {
    let (server, _agent) = server();
    let exo = Replay { server: &server, manner: EXO };
    let (network, path) = (exo.network(), exo.instance("web"));
    let attach = format!(r#"{{"instance":{{"id":"{}"}},"ip":"10.0.0.60"}}"#, id_in(&path));
    let detach = format!(r#"{{"instance":{{"created-at":"0001-01-01T00:00:00Z","id":"{}"}}}}"#, id_in(&path));
    let update = r#"{"description":"d"}"#;
    // A detach or delete that was carried out and whose answer was lost is answered as Terraform takes for done.
    for (method, target, body, again) in [
        ("PUT", format!("{network}:attach"), &*attach, 200),
        ("PUT", network.clone(), update, 200),
        ("PUT", format!("{network}:update-ip"), &attach, 200),
        ("PUT", format!("{network}:detach"), &detach, 404),
        ("PUT", format!("{path}:stop"), "", 200),
        ("PUT", format!("{path}:start"), "", 200),
        ("DELETE", format!("{network}/labels"), "", 200),
        ("DELETE", network.clone(), "", 404),
        ("DELETE", path.clone(), "", 404),
    ] {
        let authorization = exo.authorization(method, &target, body);
        let headers = [("authorization", &*authorization), ("content-type", "application/json")];
        let send = || server.send_with(method, &target, body.as_bytes(), &headers).status;
        assert_eq!(send(), 200, "{method} {target}");
        assert!([again, 200].contains(&send()), "{method} {target}");
    }
}

/// `Client.wait` reads `reason` and `message` of what did not succeed.
#[test]
fn python_waits_for_an_operation_that_does_not_succeed() {
    let setup = Setup { operation_timeout: Duration::from_millis(50), ..Setup::AT_ONCE };
    let server = TestServer::start(setup);
    let _agent = Agent::connect(&server, "h1", silent);
    let python = Replay { server: &server, manner: PYTHON };
    let instance = server.instance("web", "h1");
    let created = python.ask("POST", "/v2/private-network", r#"{"name": "n"}"#);
    let network = format!("/v2/private-network/{}", created["reference"]["id"].as_str().expect("an id"));
    let body = format!(r#"{{"instance": {{"id": "{instance}"}}}}"#);
    let operation = python.ask("PUT", &format!("{network}:attach"), &body);
    assert_eq!(operation["state"], "pending");
    let ended = server.ended(&operation);
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("timeout"), &json!("unavailable")), "{ended}");
    assert!(ended["message"].is_string(), "{ended}");
    // A 4xx ends the wait at once.
    assert_eq!(python.status("GET", "/v2/operation/01a0c450-6c00-714d-8876-6b2ed10826c9", "").0, 404);
}

/// What each client shows of a refusal is `message`; the status decides what it makes of it.
#[test]
fn every_client_finds_the_message_of_a_refusal() {
    let (server, _agent) = server();
    for manner in [EXO, TERRAFORM, PYTHON, JAVA, TYPESCRIPT] {
        let client = Replay { server: &server, manner };
        let network = client.network();
        for (method, path, body, status) in [
            ("POST", "/v2/private-network", r#"{"name":""}"#, 400),
            (
                "POST",
                "/v2/private-network",
                r#"{"name":"n","start-ip":"10.0.0.9","end-ip":"10.0.0.1","netmask":"255.255.255.0"}"#,
                400,
            ),
            ("GET", "/v2/private-network/nonsense", "", 400),
            ("GET", "/v2/instance/01a0c450-6c00-714d-8876-6b2ed10826c9", "", 404),
            ("GET", "/v2/sks-cluster", "", 404),
            ("POST", &format!("{network}:attach"), "{}", 404),
        ] {
            let (answered, refusal) = client.status(method, path, body);
            assert_eq!(answered, status, "{method} {path}: {refusal}");
            assert!(refusal["message"].as_str().is_some_and(|message| !message.is_empty()), "{refusal}");
        }
    }
}

#[test]
fn typescript_walks_through_a_networks_life() {
    let (server, _agent) = server();
    let typescript = Replay { server: &server, manner: TYPESCRIPT };
    typescript.zone();
    let (network, path) = (typescript.network(), typescript.instance("web"));
    typescript.attach(&network, &path, Some("10.0.0.20"));
    // Query arguments are sorted by name, encoded and signed.
    let found = typescript.get("/v2/instance?ip-address=10.0.0.20&labels=");
    assert_eq!(found["instances"][0]["id"], id_in(&path));
    let detach = json!({"instance": typescript.get(&path)}).to_string();
    typescript.change("PUT", &format!("{network}:detach"), &detach);
    typescript.change("DELETE", &format!("{network}/labels"), "");
    typescript.change("DELETE", &network, "");
    typescript.change("DELETE", &path, "");
}
