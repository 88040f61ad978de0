//! What the key of a host's container runtime is good for: reading, and the containers of its host in its organization.

use privnet_api::{Credentials, ENDPOINTS, Signer};
use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::client::Client;
use crate::support::{Agent, Setup, TestServer, managed};

/// All that it may ask for beside what every key may read.
const ALLOWED: [&str; 7] = [
    "list-hosts",
    "create-placed-instance",
    "attach-instance-to-private-network",
    "attach-instance-by-device",
    "detach-instance-from-private-network",
    "update-private-network-instance-ip",
    "delete-instance",
];

const REFUSAL: &str =
    "this key is for a container runtime: it registers, attaches and deletes containers of its host, and nothing else";

/// A server with the hosts h1 and h2, the organization acme, and a key for the containers of acme on h1.
struct Zone {
    server: TestServer,
    agents: [Agent; 2],
    acme: String,
    admin: Client,
    runtime: Client,
}

impl Zone {
    fn new() -> Self {
        let server = TestServer::start(Setup::WAITING);
        let agents = ["h1", "h2"].map(|host| Agent::connect(&server, host, acknowledge));
        let acme = text(&server.ask("POST", "/privnet/v1/organizations", json!({"name": "acme"})).body["id"]);
        let hosts = server.get("/privnet/v1/hosts");
        let hosts = hosts["hosts"].as_array().expect("hosts");
        let h1 = &hosts.iter().find(|host| host["name"] == "h1").expect("h1")["id"];
        let admin = holder(&server, json!({"name": "a", "role": "admin", "organization": acme}));
        let runtime = holder(&server, json!({"name": "r", "role": "runtime", "organization": acme, "host": h1}));
        Self { server, agents, acme, admin, runtime }
    }

    /// Registered by an operator.
    fn instance(&self, name: &str, host: &str, organization: Option<&str>) -> String {
        let body = placed(name, host, organization);
        text(&self.server.post("/privnet/v1/instances", body)["id"])
    }
}

fn placed(name: &str, host: &str, organization: Option<&str>) -> Value {
    let mut body = json!({"name": name, "host": host, "kind": "netns", "netns": name});
    organization.into_iter().for_each(|organization| body["organization"] = organization.into());
    body
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn holder(server: &TestServer, wish: Value) -> Client {
    let key = server.post("/privnet/v1/keys", wish);
    let [key, secret] = ["id", "secret"].map(|name| text(&key[name]));
    Client::of(server.address, Signer::new(&Credentials { key, secret }).expect("a signer"))
}

#[test]
fn no_endpoint_but_those_of_containers_takes_the_key() {
    let zone = Zone::new();
    let (network, own) = (zone.admin.network(managed(9)), zone.instance("web", "h1", Some(&zone.acme)));
    let all = || {
        let paths = ["/v2/private-network", "/v2/instance", "/privnet/v1/keys"];
        [&zone.admin, &zone.server as &Client].map(|client| paths.map(|path| client.get(path)))
    };
    let before = all();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.access.is_some()) {
        let is_read = endpoint.method.as_str() == "GET" && endpoint.path.starts_with("/v2/");
        if is_read || ALLOWED.contains(&endpoint.id) {
            continue;
        }
        let network = network.rsplit('/').next().expect("an id");
        for id in [&own, network] {
            let path = endpoint.path.replace("{id}", id).replace("{field}", "labels");
            let reply = zone.runtime.ask(endpoint.method.as_str(), &path, json!({"name": "n"}));
            assert_eq!((reply.status, reply.body), (403, json!({"message": REFUSAL})), "{}", endpoint.id);
        }
    }
    assert_eq!(all(), before);
}

#[test]
fn a_container_of_the_host_comes_and_goes_and_the_host_is_all_that_is_seen_of_hosts() {
    let zone = Zone::new();
    let network = zone.admin.network(managed(9));
    let hosts = zone.runtime.get("/privnet/v1/hosts");
    let names: Vec<_> = hosts["hosts"].as_array().expect("hosts").iter().map(|host| &host["name"]).collect();
    assert_eq!(names, ["h1"]);
    let container = zone.runtime.instance("web", "h1");
    let by_device = format!("/privnet/v1/private-networks/{}:attach", network.rsplit('/').next().expect("an id"));
    let wish = json!({"instance": {"id": container}, "device": "eth0", "configure": true});
    assert_eq!(zone.runtime.put(&by_device, wish)["state"], "success");
    zone.runtime.put(&format!("{network}:update-ip"), json!({"instance": {"id": container}}));
    zone.runtime.detach(&network, &container);
    zone.runtime.attach(&network, &container);
    zone.runtime.delete(&format!("/v2/instance/{container}"));
    assert_eq!(zone.admin.get("/v2/instance"), json!({"instances": []}));
}

#[test]
fn nothing_of_other_hosts_and_organizations_is_touched() {
    let zone = Zone::new();
    let (network, foreign_network) = (zone.admin.network(managed(9)), zone.server.network(managed(9)));
    let container = zone.runtime.instance("web", "h1");
    let elsewhere = zone.instance("elsewhere", "h2", Some(&zone.acme));
    let foreign = zone.instance("foreign", "h1", None);
    zone.admin.attach(&network, &elsewhere);
    zone.server.attach(&foreign_network, &foreign);
    let by_device = network.replace("/v2/private-network/", "/privnet/v1/private-networks/");
    let refused = |method: &str, path: &str, body: Value, status: u16, message: &str| {
        let reply = zone.runtime.ask(method, path, body);
        assert_eq!((reply.status, reply.body), (status, json!({"message": message})), "{method} {path}");
    };
    for (instance, status, message) in [
        (&elsewhere, 403, format!("instance {elsewhere} is no container of the host that this key is for")),
        (&foreign, 404, format!("instance {foreign} not found")),
    ] {
        let body = || json!({"instance": {"id": instance}});
        for action in ["attach", "detach", "update-ip"] {
            refused("PUT", &format!("{network}:{action}"), body(), status, &message);
        }
        refused("PUT", &format!("{by_device}:attach"), body(), status, &message);
        refused("DELETE", &format!("/v2/instance/{instance}"), json!({}), status, &message);
    }
    let id = foreign_network.rsplit('/').next().expect("an id");
    let message = format!("private network {id} not found");
    for action in ["attach", "detach", "update-ip"] {
        refused("PUT", &format!("{foreign_network}:{action}"), json!({"instance": {"id": container}}), 404, &message);
    }
    refused("POST", "/privnet/v1/instances", placed("x", "h2", None), 403, REFUSAL);
    let other = text(&zone.server.ask("POST", "/privnet/v1/organizations", json!({"name": "other"})).body["id"]);
    let message = format!("organization {other} not found");
    refused("POST", "/privnet/v1/instances", placed("x", "h1", Some(&other)), 404, &message);
    drop(zone.agents);
}
