//! Instances as clients create, read, change and delete them: the requests that they send, in their order.

use serde_json::{Value, json};

use crate::support::agent::{acknowledge, silent};
use crate::support::{Agent, Setup, TestServer, listed, managed};

const NO_HOST: &str = "no host can take the instance: there is none of the name in its label privnet/host or, without that label, none is connected whose agent makes instances";

fn server() -> (TestServer, [Agent; 2]) {
    let server = TestServer::start(Setup::WAITING);
    let agents = ["h1", "h2"].map(|name| Agent::connect(&server, name, acknowledge));
    (server, agents)
}

/// What Terraform sends for a `exoscale_compute_instance`: the whole instance type as it was listed, a template
/// with a date that nobody has set, and properties of which privnet knows nothing.
fn wish(server: &TestServer, name: &str) -> Value {
    let instance_type = server.get("/v2/instance-type")["instance-types"][1].clone();
    let template = server.get("/v2/template")["templates"][0]["id"].clone();
    json!({
        "name": name,
        "instance-type": instance_type,
        "template": {"created-at": "0001-01-01T00:00:00Z", "id": template},
        "disk-size": 10,
        "public-ip-assignment": "inet4",
        "labels": {"team": "db"},
        "ssh-key": {"name": "first"},
        "ssh-keys": [{"name": "first"}, {"name": "second"}],
        "user-data": "I2Nsb3VkLWNvbmZpZwo=",
        "application-consistent-snapshot-enabled": false,
        "security-groups": [{"id": "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50"}],
    })
}

/// Creates one and answers its path.
fn create(server: &TestServer, wish: Value) -> String {
    let operation = server.post("/v2/instance", wish);
    assert_eq!(operation["state"], "success", "{operation}");
    let reference = &operation["reference"];
    let id = reference["id"].as_str().expect("an id");
    assert_eq!(
        (&reference["command"], &reference["link"]),
        (&json!("get-instance"), &json!(format!("/v2/instance/{id}")))
    );
    format!("/v2/instance/{id}")
}

fn id_in(path: &str) -> &str {
    path.rsplit('/').next().expect("an id")
}

fn succeeds(operation: &Value, path: &str) {
    assert_eq!(
        (&operation["state"], &operation["reference"]["link"]),
        (&json!("success"), &json!(path)),
        "{operation}"
    );
}

#[test]
fn an_instance_shows_what_it_was_created_with() {
    let (server, _agents) = server();
    let wish = wish(&server, "web");
    let path = create(&server, wish.clone());
    let shown = server.get(&path);
    for property in ["name", "disk-size", "public-ip-assignment", "labels", "ssh-key", "ssh-keys", "user-data"] {
        assert_eq!(shown[property], wish[property], "{property}");
    }
    let expected = json!({
        "id": id_in(&path), "state": "running", "created-at": shown["created-at"],
        "instance-type": {"id": wish["instance-type"]["id"]}, "template": {"id": wish["template"]["id"]},
        "secureboot-enabled": false, "tpm-enabled": false,
    });
    for (property, value) in expected.as_object().expect("an object") {
        assert_eq!(shown[property], *value, "{property}");
    }
    assert_eq!(shown.get("private-networks"), None);
    assert_eq!(server.get("/v2/instance"), json!({"instances": [listed(&shown)]}));
}

#[test]
fn terraform_creates_plans_changes_and_destroys_an_instance_in_a_network() {
    let (server, _agents) = server();
    let network = server.network(managed(100));
    let instance_type = &server.get("/v2/instance-type")["instance-types"][1];
    let type_path = format!("/v2/instance-type/{}", instance_type["id"].as_str().expect("an id"));
    assert_eq!(server.get(&type_path), *instance_type);
    let path = create(&server, wish(&server, "web"));
    let body = |ip: &str| json!({"instance": {"id": id_in(&path)}, "ip": ip});
    let attach = |ip| assert_eq!(server.put(&format!("{network}:attach"), body(ip))["state"], "success");
    attach("10.0.0.200");
    // A plan reads, and must find what the configuration says.
    let read = |ip: Option<&str>| {
        let shown = server.get(&path);
        assert_eq!(shown["instance-type"]["id"], instance_type["id"]);
        assert_eq!((&shown["state"], &shown["disk-size"]), (&json!("running"), &json!(10)));
        let leases = server.get(&network)["leases"].clone();
        match ip {
            Some(ip) => {
                assert_eq!(shown["private-networks"][0]["id"], id_in(&network));
                assert_eq!(leases, json!([{"ip": ip, "instance-id": id_in(&path)}]));
            }
            None => assert_eq!((shown.get("private-networks"), leases), (None, Value::Null)),
        }
        assert_eq!(server.send("GET", &format!("/v2/reverse-dns/instance/{}", id_in(&path)), b"").status, 404);
        shown
    };
    let first = read(Some("10.0.0.200"));
    assert_eq!(read(Some("10.0.0.200")), first, "a second plan sees the same");
    // Another ip_address: detach, with the date that nobody has set, attach, and a protection that is not wanted.
    let detach = json!({"instance": {"created-at": "0001-01-01T00:00:00Z", "id": id_in(&path)}});
    assert_eq!(server.put(&format!("{network}:detach"), detach.clone())["state"], "success");
    attach("10.0.0.201");
    succeeds(&server.send("PUT", &format!("{path}:remove-protection"), b"").ok(), &path);
    read(Some("10.0.0.201"));
    // An update in place; labels are replaced whole, what is absent stays.
    succeeds(&server.put(&path, json!({"name": "web2", "labels": {"team": "web"}})), &path);
    let updated = read(Some("10.0.0.201"));
    assert_eq!((&updated["name"], &updated["labels"]), (&json!("web2"), &json!({"team": "web"})));
    assert_eq!(updated["user-data"], first["user-data"]);
    // What is shown is what was asked for last, else it would be planned again for ever.
    succeeds(&server.put(&path, json!({"public-ip-assignment": "dual"})), &path);
    assert_eq!(read(Some("10.0.0.201"))["public-ip-assignment"], "dual");
    succeeds(&server.put(&path, json!({"labels": null})), &path);
    assert_eq!(read(Some("10.0.0.201")).get("labels"), None);
    // The network_interface is removed; to detach again is answered as Terraform expects it.
    assert_eq!(server.put(&format!("{network}:detach"), detach.clone())["state"], "success");
    assert_eq!(server.ask("PUT", &format!("{network}:detach"), detach).status, 404);
    read(None);
    // Destroyed while attached.
    attach("10.0.0.202");
    assert_eq!(server.send("DELETE", &format!("/v2/reverse-dns/instance/{}", id_in(&path)), b"").status, 404);
    succeeds(&server.delete(&path), &path);
    assert_eq!(server.send("GET", &path, b"").status, 404);
    assert_eq!(server.send("DELETE", &path, b"").status, 404, "a DELETE that is sent again");
    assert_eq!(server.get(&network).get("leases"), None);
    assert_eq!(server.delete(&network)["state"], "success");
}

#[test]
fn exo_creates_an_instance_with_a_key_of_its_own() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f exo";
    let (server, _agents) = server();
    for (path, list) in [
        ("/v2/anti-affinity-group", "anti-affinity-groups"),
        ("/v2/security-group", "security-groups"),
        ("/v2/elastic-ip", "elastic-ips"),
        ("/v2/deploy-target", "deploy-targets"),
        ("/v2/ssh-key", "ssh-keys"),
    ] {
        assert_eq!(server.get(path), json!({list: []}), "{path}");
    }
    let network = server.network(managed(100));
    let registered = server.post("/v2/ssh-key", json!({"name": "exo-1", "public-key": KEY}));
    assert_eq!((&registered["state"], registered.get("reference")), (&json!("success"), None));
    assert_eq!(server.operation(&registered), registered, "python-exoscale asks for it");
    let shown = json!({"name": "exo-1", "fingerprint": "0f:a2:0a:d7:38:3e:65:45:08:6b:63:84:1c:ff:dc:ba"});
    assert_eq!(server.get("/v2/ssh-key/exo-1"), shown);
    assert_eq!(server.get("/v2/ssh-key"), json!({"ssh-keys": [shown]}));
    let mut wish = wish(&server, "web");
    wish["ssh-keys"] = json!([{"name": "exo-1"}]);
    let path = create(&server, wish);
    let attached = server.put(&format!("{network}:attach"), json!({"instance": {"id": id_in(&path)}}));
    assert_eq!(attached["state"], "success");
    assert_eq!(server.delete("/v2/ssh-key/exo-1")["state"], "success");
    // Then it shows what it has made.
    let instance = server.get(&path);
    assert_eq!(server.get("/v2/instance")["instances"], json!([listed(&instance)]));
    for (property, list) in [("instance-type", "/v2/instance-type"), ("template", "/v2/template")] {
        let id = instance[property]["id"].as_str().expect("an id");
        assert_eq!(server.get(&format!("{list}/{id}"))["id"], id);
    }
    assert_eq!(instance["private-networks"][0]["id"], id_in(&network));
    succeeds(&server.delete(&path), &path);
}

#[test]
fn keys_are_refused_as_the_real_service_does() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let (server, _agents) = server();
    let key = |name: &str, key: &str| json!({"name": name, "public-key": key});
    server.refused("POST", "/v2/ssh-key", key("k", "no key"), 409, "Public key is invalid");
    server.post("/v2/ssh-key", key("k", KEY));
    assert_eq!(server.post("/v2/ssh-key", key("k", KEY))["state"], "success", "the same again");
    let other = format!("{KEY} other");
    server.refused("POST", "/v2/ssh-key", key("k", &other), 409, "SSH key \"k\" exists already");
    server.refused("DELETE", "/v2/ssh-key/other", json!({}), 404, "SSH key \"other\" not found");
    assert_eq!(server.send("GET", "/v2/ssh-key/other", b"").status, 404);
}

#[test]
fn an_instance_goes_to_the_host_with_the_fewest_or_to_the_one_that_its_label_names() {
    let (server, _agents) = server();
    let on = |path: &str| {
        let placed = server.get("/privnet/v1/instances");
        let instances = placed["instances"].as_array().expect("a list");
        let placed = instances.iter().find(|placed| placed["id"] == id_in(path)).expect("it is there");
        assert_eq!(placed["driver"], "netns");
        let host = placed["host"].as_str().expect("a name").to_owned();
        assert_eq!(placed["netns"], format!("privnet-{host}-{}", id_in(path)));
        host
    };
    let labelled = |host: &str| {
        let mut wish = wish(&server, "web");
        wish["labels"] = json!({"privnet/host": host});
        wish
    };
    for _ in 0..2 {
        assert_eq!(on(&create(&server, labelled("h2"))), "h2");
    }
    for _ in 0..2 {
        assert_eq!(on(&create(&server, wish(&server, "web"))), "h1");
    }
    server.refused("POST", "/v2/instance", labelled("h9"), 409, NO_HOST);
    let message = "labels.privnet/host: \"h 1\" is not a host name (1 to 64 letters, digits, -, _ or .)";
    server.refused("POST", "/v2/instance", labelled("h 1"), 400, message);
}

#[test]
fn without_a_host_that_makes_instances_none_is_created() {
    let server = TestServer::start(Setup::WAITING);
    server.refused("POST", "/v2/instance", wish(&server, "web"), 409, NO_HOST);
}

#[test]
fn what_breaks_a_rule_is_told_at_once() {
    let (server, _agents) = server();
    let message = "instance-type: is required; template: is required; disk-size: is required";
    server.refused("POST", "/v2/instance", json!({}), 400, message);
    let with = |property: &str, value: Value| {
        let mut wish = wish(&server, "web");
        wish[property] = value;
        wish
    };
    for (property, value, message) in [
        ("disk-size", json!(9), "disk-size: must be a whole number from 10 to 51200, not 9"),
        ("disk-size", json!(51201), "disk-size: must be a whole number from 10 to 51200, not 51201"),
        ("public-ip-assignment", json!("all"), "public-ip-assignment: \"all\" is none of none, inet4 and dual"),
        ("ssh-keys", json!(["k"]), "ssh-keys: has the string \"k\" where an object must be"),
        ("ssh-keys", json!(vec![json!({"name": "k"}); 65]), "ssh-keys: has 65 items, at most 64 are allowed"),
        ("labels", (0..65).map(|n| (n.to_string(), "v")).collect(), "labels: has 65 labels, at most 64 are allowed"),
        ("user-data", json!("x".repeat(32769)), "user-data: has 32769 octets, at most 32768 are allowed"),
    ] {
        server.refused("POST", "/v2/instance", with(property, value), 400, message);
    }
    let unknown = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50";
    for (property, message) in [("instance-type", "instance type"), ("template", "template")] {
        let message = format!("{message} {unknown} not found");
        server.refused("POST", "/v2/instance", with(property, json!({"id": unknown})), 404, &message);
    }
    assert_eq!(server.get("/v2/instance"), json!({"instances": []}));
}

#[test]
fn a_protected_instance_stays() {
    let (server, _agents) = server();
    let path = create(&server, wish(&server, "web"));
    succeeds(&server.send("PUT", &format!("{path}:add-protection"), b"").ok(), &path);
    let message = format!("instance {} is protected; remove its protection first", id_in(&path));
    server.refused("DELETE", &path, json!({}), 409, &message);
    server.refused("DELETE", &format!("/privnet/v1/instances/{}", id_in(&path)), json!({}), 409, &message);
    succeeds(&server.send("PUT", &format!("{path}:remove-protection"), b"").ok(), &path);
    succeeds(&server.delete(&path), &path);
}

#[test]
fn an_instance_is_stopped_started_and_rebooted_and_loses_its_labels() {
    let (server, _agents) = server();
    let mut wish = wish(&server, "web");
    wish["auto-start"] = false.into();
    let path = create(&server, wish);
    assert_eq!(server.get(&path)["state"], "stopped");
    // A body is ignored, as start may carry a rescue profile.
    succeeds(&server.put(&format!("{path}:start"), json!({"rescue-profile": "netboot"})), &path);
    succeeds(&server.send("PUT", &format!("{path}:start"), b"").ok(), &path);
    assert_eq!(server.get(&path)["state"], "running");
    succeeds(&server.send("PUT", &format!("{path}:reboot"), b"").ok(), &path);
    succeeds(&server.send("PUT", &format!("{path}:stop"), b"").ok(), &path);
    let message = format!("instance {} is stopped; start it instead", id_in(&path));
    server.refused("PUT", &format!("{path}:reboot"), json!({}), 409, &message);
    succeeds(&server.delete(&format!("{path}/labels")), &path);
    assert_eq!(server.get(&path).get("labels"), None);
    let message = "field: \"name\" cannot be reset; labels is the only field that can";
    server.refused("DELETE", &format!("{path}/name"), json!({}), 400, message);
}

#[test]
fn an_instance_takes_another_type_and_a_larger_disk_and_keeps_the_rest() {
    let (server, _agents) = server();
    let path = create(&server, wish(&server, "web"));
    let mut expected = server.get(&path);
    let larger = server.get("/v2/instance-type")["instance-types"][3]["id"].clone();
    succeeds(&server.put(&format!("{path}:scale"), json!({"instance-type": {"id": larger}})), &path);
    succeeds(&server.put(&format!("{path}:resize-disk"), json!({"disk-size": 51200})), &path);
    succeeds(&server.send("POST", &format!("{path}:enable-tpm"), b"").ok(), &path);
    for (property, value) in
        [("instance-type", json!({"id": larger})), ("disk-size", json!(51200)), ("tpm-enabled", json!(true))]
    {
        expected[property] = value;
    }
    assert_eq!(server.get(&path), expected);
    let unknown = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50";
    for (path, action, body, status, message) in [
        (&*path, "scale", json!({}), 400, "instance-type: is required".to_owned()),
        (&path, "scale", json!({"instance-type": {"id": unknown}}), 404, format!("instance type {unknown} not found")),
        (&path, "resize-disk", json!({}), 400, "disk-size: is required".to_owned()),
        (
            &path,
            "resize-disk",
            json!({"disk-size": 51201}),
            400,
            "disk-size: must be a whole number from 10 to 51200, not 51201".to_owned(),
        ),
        (
            &path,
            "resize-disk",
            json!({"disk-size": 51199}),
            409,
            "disk-size 51199 is less than the 51200 GiB that the instance has; a disk does not shrink".to_owned(),
        ),
        (
            &format!("/v2/instance/{unknown}"),
            "resize-disk",
            json!({"disk-size": 20}),
            404,
            format!("instance {unknown} not found"),
        ),
    ] {
        server.refused("PUT", &format!("{path}:{action}"), body, status, &message);
    }
}

#[test]
fn a_list_has_what_all_arguments_fit() {
    let (server, _agents) = server();
    let network = server.network(managed(100));
    let [one, two] = ["one", "two"].map(|name| create(&server, wish(&server, name)));
    server.put(&two, json!({"labels": {"team": "web", "tier": "1"}}));
    server.put(&format!("{network}:attach"), json!({"instance": {"id": id_in(&two)}, "ip": "10.0.0.200"}));
    for (query, expected) in [
        ("", vec![&one, &two]),
        ("?labels=&ip-address=", vec![&one, &two]),
        ("?labels=team", vec![&one, &two]),
        ("?labels=team%3Dweb", vec![&two]),
        ("?labels=team:web,tier:1", vec![&two]),
        ("?labels=team:web,tier:2", vec![]),
        ("?ip-address=10.0.0.200", vec![&two]),
        ("?ip-address=10.0.0.201", vec![]),
        ("?labels=team%3Ddb&ip-address=10.0.0.200", vec![]),
        ("?manager-type=instance-pool", vec![]),
        ("?manager-id=3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50", vec![]),
    ] {
        let listed = server.get(&format!("/v2/instance{query}"));
        let mut found: Vec<_> = listed["instances"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
        found.sort_by_key(|id| id.to_string());
        let mut expected: Vec<_> = expected.iter().map(|path| json!(id_in(path))).collect();
        expected.sort_by_key(Value::to_string);
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{query}");
    }
    server.refused(
        "GET",
        "/v2/instance?ip-address=x",
        json!({}),
        400,
        "ip-address: \"x\" is not an IPv4 address such as 10.0.0.10",
    );
    let terms = |count| format!("/v2/instance?labels={}", vec!["team"; count].join(","));
    assert_eq!(server.get(&terms(64))["instances"].as_array().map(Vec::len), Some(2));
    server.refused("GET", &terms(65), json!({}), 400, "labels: has 65 terms, at most 64 are allowed");
}

#[test]
fn an_instance_is_pending_until_its_host_has_made_it_and_deleted_until_that_has_nothing_of_it() {
    let server = TestServer::start(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", silent);
    let created = server.post("/v2/instance", wish(&server, "web"));
    assert_eq!(created["state"], "pending", "{created}");
    agent.leave(&server);
    // Told again to an agent that knows nothing, which makes it.
    let agent = Agent::connect(&server, "h1", acknowledge);
    assert_eq!(server.ended(&created)["state"], "success");
    let path = created["reference"]["link"].as_str().expect("a link").to_owned();
    let network = server.network(managed(9));
    assert_eq!(server.ended(&server.attach(&network, id_in(&path)))["state"], "success");
    agent.leave(&server);
    let deleted = server.delete(&path);
    assert_eq!(deleted["state"], "pending", "its host is away");
    // exo fails where the holder of a lease is not there.
    assert_eq!((server.send("GET", &path, b"").status, server.get(&network).get("leases")), (404, None));
    let _agent = Agent::connect(&server, "h1", acknowledge);
    assert_eq!(server.ended(&deleted)["state"], "success");
}
