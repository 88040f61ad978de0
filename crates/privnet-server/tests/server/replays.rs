//! More of what Exoscale's clients send: what they wait for, requests that are sent again, and what is refused or
//! fails.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::agent::{acknowledge, fail, silent};
use crate::support::replay::{EVERYBODY, EXO, EXO_API, PYTHON, Replay, TYPESCRIPT, id_in};
use crate::support::{Agent, Setup, TestServer};

fn server() -> (TestServer, Agent) {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    (server, agent)
}

#[test]
fn exo_lists_and_shows_what_there_is() {
    let (server, _agent) = server();
    let exo = Replay::new(&server, EXO);
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
}

/// Go's clients send a request again after a fault, octet by octet the same, whatever its method. What comes a second
/// later is answered as the first one was; this is what comes at once.
#[test]
fn what_is_sent_twice_does_no_harm() {
    let (server, _agent) = server();
    let exo = Replay::new(&server, EXO);
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
        let send = || exo.send(method, &target, body, Some(&authorization)).0;
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
    let python = Replay::new(&server, PYTHON);
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
    for manner in EVERYBODY {
        let client = Replay::new(&server, manner);
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
    let typescript = Replay::new(&server, TYPESCRIPT);
    typescript.zone();
    let (network, path) = (typescript.network(), typescript.instance("web"));
    typescript.attach(&network, &path, Some("10.0.0.20"));
    // Query arguments are sorted by name, encoded and signed.
    let found = typescript.get("/v2/instance?ip-address=10.0.0.20&labels=");
    assert_eq!(found["instances"][0]["id"], id_in(&path));
    let events = typescript.get("/v2/event?from=2020-01-01T00%3A00%3A00Z&to=2100-01-01T00%3A00%3A00Z");
    assert_eq!(events.as_array().map(Vec::len), Some(3), "the network, the instance and its attachment");
    let detach = json!({"instance": typescript.get(&path)}).to_string();
    typescript.change("PUT", &format!("{network}:detach"), &detach);
    typescript.change("DELETE", &format!("{network}/labels"), "");
    typescript.change("DELETE", &network, "");
    typescript.change("DELETE", &path, "");
}

/// Until then it is pending, and its reference is there from the first answer on.
#[test]
fn every_client_waits_for_an_operation() {
    for manner in EVERYBODY {
        let server = TestServer::start(Setup::AT_ONCE);
        let agent = Agent::connect(&server, "h1", silent);
        assert_eq!(agent.hear_what_it_lacked(), []);
        let client = Replay::new(&server, manner);
        let (network, web) = (client.network(), server.instance("web", "h1"));
        let on_web = format!(r#"{{"instance":{{"id":"{web}"}}}}"#);
        for action in ["attach", "detach"] {
            let first = client.ask("PUT", &format!("{network}:{action}"), &on_web);
            assert_eq!((&first["state"], &first["reference"]["link"]), (&json!("pending"), &json!(network)));
            agent.say(acknowledge(&agent.hear()).expect("what the host shall carry"));
            assert_eq!(client.wait(&first)["state"], "success", "{action}");
        }
    }
}

/// What a host refuses at once is pending at first, since exo looks no further at what is not, and then says why.
#[test]
fn every_client_is_told_what_fails() {
    for manner in EVERYBODY {
        let server = TestServer::start(Setup::WAITING);
        let _agent = Agent::connect(&server, "h1", fail);
        let client = Replay::new(&server, manner);
        let (network, web) = (client.network(), server.instance("web", "h1"));
        let on_web = format!(r#"{{"instance":{{"id":"{web}"}}}}"#);
        let first = client.ask("PUT", &format!("{network}:attach"), &on_web);
        assert_eq!(first["state"], "pending");
        let ended = client.wait(&first);
        assert_eq!((&ended["state"], &ended["reason"]), (&json!("failure"), &json!("not-found")), "{ended}");
        assert!(ended["message"].is_string(), "{ended}");
    }
}

/// It drops what it cannot parse, and checks nothing else.
#[test]
fn exo_sends_what_it_makes_of_its_flags() {
    let (server, _agent) = server();
    let exo = Replay::new(&server, EXO);
    let network = |body: &str| format!("/v2/private-network/{}", exo.change("POST", "/v2/private-network", body));
    // --start-ip 10.0.0.500
    let unmanaged = network(r#"{"name":"bad","options":{}}"#);
    let shown = exo.get(&unmanaged);
    assert_eq!(shown, json!({"id": id_in(&unmanaged), "name": "bad", "vni": shown["vni"]}));
    // --start-ip bogus, --description ""
    assert_eq!(exo.change("PUT", &unmanaged, "{}"), id_in(&unmanaged));
    assert_eq!(exo.get(&unmanaged), shown);
    // --start-ip 10.0.0.5
    let (status, refusal) =
        exo.status("POST", "/v2/private-network", r#"{"name":"n","options":{},"start-ip":"10.0.0.5"}"#);
    let message = "start-ip, end-ip and netmask come together or not at all: end-ip, netmask are missing";
    assert_eq!((status, refusal), (400, json!({"message": message})));
    // --dns-server 10.0.0.2 --router 10.0.0.1, and then --dns-server "": the options that the list tells, without it.
    let managed = network(
        r#"{"end-ip":"10.0.0.99","name":"n","netmask":"255.255.255.0","options":{"dns-servers":["10.0.0.2"],"routers":["10.0.0.1"]},"start-ip":"10.0.0.10"}"#,
    );
    let options = || {
        let list = exo.get("/v2/private-network");
        let found =
            list["private-networks"].as_array().expect("a list").iter().find(|one| one["id"] == id_in(&managed));
        found.expect("the network")["options"].clone()
    };
    let mut changed = options();
    changed.as_object_mut().expect("options").remove("dns-servers").expect("they are there");
    exo.change("PUT", &managed, &json!({"options": changed}).to_string());
    assert_eq!(options(), json!({"routers": ["10.0.0.1"]}));
    exo.change("PUT", &managed, r#"{"options":{}}"#);
    assert_eq!(options(), Value::Null);
    // Two of one name are no fault of theirs: who looks one up by it is told so by exo itself.
    network(r#"{"name":"n","options":{}}"#);
    let names = |list: &Value| {
        list["private-networks"].as_array().expect("a list").iter().filter(|one| one["name"] == "n").count()
    };
    assert_eq!(names(&exo.get("/v2/private-network")), 2);
}

/// `exo compute instance create --private-network lan web`.
#[test]
fn exo_creates_an_instance_in_a_network() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f exo";
    let (server, _agent) = server();
    let exo = Replay::new(&server, EXO);
    let network = exo.network();
    let mut wish = exo.wish(json!({"name": "web", "ssh-keys": [{"name": "throw-away"}]}));
    assert_eq!(exo.get("/v2/private-network")["private-networks"][0]["id"], id_in(&network));
    let registered = exo.ask("POST", "/v2/ssh-key", &json!({"name": "throw-away", "public-key": KEY}).to_string());
    assert_eq!((&registered["state"], registered.get("reference")), (&json!("success"), None));
    wish["ssh-key"] = json!({"name": "throw-away"});
    let path = format!("/v2/instance/{}", exo.change("POST", "/v2/instance", &wish.to_string()));
    exo.attach(&network, &path, None);
    exo.ask("DELETE", "/v2/ssh-key/throw-away", "");
    assert_eq!(exo.get(&path)["private-networks"][0]["id"], id_in(&network));
}

/// It prints the answer to any operation that there is, and what refuses it as `HTTP 404: BODY`.
#[test]
fn exo_api_calls_what_the_other_commands_do_not() {
    let (server, _agent) = server();
    let exo = Replay::new(&server, EXO_API);
    exo.zone();
    let path = format!(
        "/v2/private-network/{}",
        exo.change("POST", "/v2/private-network", r#"{"name":"n","labels":{"a":"b"}}"#)
    );
    assert_eq!(exo.get(&path)["labels"], json!({"a": "b"}));
    exo.change("DELETE", &format!("{path}/labels"), "");
    assert_eq!(exo.get("/v2/event").as_array().map(Vec::len), Some(2));
    assert_eq!(exo.get("/v2/quota/private-network")["usage"], 1);
    exo.change("DELETE", &path, "");
    let message = format!("private network {} not found", id_in(&path));
    assert_eq!(exo.status("GET", &path, ""), (404, json!({"message": message})));
}
