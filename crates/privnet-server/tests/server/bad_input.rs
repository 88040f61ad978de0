//! What is refused, with which words, and that nothing changes by it.

use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::{Agent, Setup, TestServer, managed};

const NOBODY: &str = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50";
const UUID_RULE: &str = "is not a UUID such as 0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50";
const ADDRESS_RULE: &str = "is not an IPv4 address such as 10.0.0.10";

/// A managed network with room for two, of whom `web` has come; an unmanaged one; and `spare`, who is
/// attached to nothing.
struct Fixture {
    server: TestServer,
    managed: String,
    unmanaged: String,
    web: String,
    spare: String,
    _agent: Agent,
}

fn fixture() -> Fixture {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let managed = server.network(managed(2));
    let unmanaged = server.network(json!({"name": "unmanaged"}));
    let (web, spare) = (server.instance("web", "h1"), server.instance("spare", "h1"));
    server.attach(&managed, &web);
    Fixture { server, managed, unmanaged, web, spare, _agent: agent }
}

impl Fixture {
    #[track_caller]
    fn create(&self, body: Value, message: &str) {
        self.server.refused("POST", "/v2/private-network", body, 400, message);
    }

    #[track_caller]
    fn update(&self, body: Value, status: u16, message: &str) {
        self.server.refused("PUT", &self.managed, body, status, message);
    }

    #[track_caller]
    fn action(&self, network: &str, action: &str, instance: &str, ip: Option<&str>, status: u16, message: &str) {
        let mut body = json!({"instance": {"id": instance}});
        if let Some(ip) = ip {
            body["ip"] = ip.into();
        }
        self.server.refused("PUT", &format!("{network}:{action}"), body, status, message);
    }
}

#[test]
fn malformed_json() {
    let Fixture { server, managed, .. } = fixture();
    let before = server.dump();
    let message = "the body is not JSON: EOF while parsing a value at line 1 column 8";
    for (method, path) in [
        ("POST", "/v2/private-network".to_owned()),
        ("POST", "/privnet/v1/instances".to_owned()),
        ("PUT", managed.clone()),
        ("PUT", format!("{managed}:attach")),
        ("PUT", format!("{managed}:detach")),
        ("PUT", format!("{managed}:update-ip")),
    ] {
        let reply = server.send(method, &path, br#"{"name":"#);
        assert_eq!((reply.status, reply.body), (400, json!({"message": message})), "{method} {path}");
    }
    assert_eq!(server.dump(), before);
}

#[test]
fn the_wrong_type() {
    let fixture = fixture();
    fixture.create(json!([]), "the body must be a JSON object, not an array");
    fixture.create(json!({"name": 5}), "name: must be a string, not 5");
    fixture.create(json!({"name": null}), "name: must be a string, not null");
    fixture.update(json!({"labels": ["a"]}), 400, "labels: must be an object, not an array");
    fixture.update(
        json!({"options": {"routers": "10.0.0.1"}}),
        400,
        "options.routers: must be an array of strings, not the string \"10.0.0.1\"",
    );
    let attach = format!("{}:attach", fixture.managed);
    fixture.server.refused("PUT", &attach, json!({"instance": 7}), 400, "instance: must be an object, not 7");
}

#[test]
fn a_name_that_is_missing_empty_or_too_long() {
    let fixture = fixture();
    fixture.create(json!({}), "name: is required");
    fixture.create(json!({"name": ""}), "name: must not be empty");
    fixture.create(json!({"name": "é".repeat(256)}), "name: has 256 characters, at most 255 are allowed");
    fixture.update(json!({"name": ""}), 400, "name: must not be empty");
    fixture.update(
        json!({"description": "x".repeat(256)}),
        400,
        "description: has 256 characters, at most 255 are allowed",
    );
}

#[test]
fn an_unknown_id() {
    let Fixture { server, managed, spare, .. } = fixture();
    let network = format!("/v2/private-network/{NOBODY}");
    let no_network = format!("private network {NOBODY} not found");
    let no_instance = format!("instance {NOBODY} not found");
    let no_host = format!("host {NOBODY} not found");
    server.refused("GET", &network, json!({}), 404, &no_network);
    server.refused("PUT", &network, json!({"name": "x"}), 404, &no_network);
    server.refused("DELETE", &network, json!({}), 404, &no_network);
    server.refused("DELETE", &format!("{network}/labels"), json!({}), 404, &no_network);
    for action in ["attach", "detach", "update-ip"] {
        let body = |id: &str| json!({"instance": {"id": id}, "ip": "10.0.0.20"});
        server.refused("PUT", &format!("{network}:{action}"), body(&spare), 404, &no_network);
        server.refused("PUT", &format!("{managed}:{action}"), body(NOBODY), 404, &no_instance);
    }
    let operation = format!("/v2/operation/{NOBODY}");
    server.refused("GET", &operation, json!({}), 404, &format!("operation {NOBODY} not found"));
    server.refused("GET", &format!("/v2/instance/{NOBODY}"), json!({}), 404, &no_instance);
    server.refused("DELETE", &format!("/privnet/v1/instances/{NOBODY}"), json!({}), 404, &no_instance);
    server.refused("GET", &format!("/privnet/v1/hosts/{NOBODY}"), json!({}), 404, &no_host);
    server.refused("DELETE", &format!("/privnet/v1/hosts/{NOBODY}"), json!({}), 404, &no_host);
    server.refused("DELETE", &format!("/privnet/v1/hosts/{NOBODY}:with-instances"), json!({}), 404, &no_host);
    let to = |host: &str| json!({"host": host});
    server.refused("PUT", &format!("/privnet/v1/instances/{NOBODY}:move"), to("h1"), 404, &no_instance);
    server.refused("PUT", &format!("/privnet/v1/instances/{spare}:move"), to("h9"), 404, "host h9 not found");
    let body = json!({"name": "n", "host": "h9", "kind": "netns", "netns": "n"});
    server.refused("POST", "/privnet/v1/instances", body, 404, "host h9 not found");
}

#[test]
fn a_malformed_id() {
    let fixture = fixture();
    let server = &fixture.server;
    let message = format!("id: \"nonsense\" {UUID_RULE}");
    for (method, path) in [
        ("GET", "/v2/private-network/nonsense"),
        ("PUT", "/v2/private-network/nonsense"),
        ("DELETE", "/v2/private-network/nonsense"),
        ("DELETE", "/v2/private-network/nonsense/labels"),
        ("GET", "/v2/operation/nonsense"),
        ("GET", "/v2/instance/nonsense"),
        ("GET", "/privnet/v1/hosts/nonsense"),
        ("DELETE", "/privnet/v1/hosts/nonsense"),
        ("DELETE", "/privnet/v1/instances/nonsense"),
    ] {
        server.refused(method, path, json!({}), 400, &message);
    }
    for action in ["attach", "detach", "update-ip"] {
        let message = format!("instance.id: \"web\" {UUID_RULE}");
        fixture.action(&fixture.managed, action, "web", None, 400, &message);
    }
}

#[test]
fn a_malformed_address() {
    let fixture = fixture();
    fixture.create(
        json!({"name": "n", "start-ip": "10.0.0.500", "end-ip": "10.0.0.9", "netmask": "255.255.255.0"}),
        &format!("start-ip: \"10.0.0.500\" {ADDRESS_RULE}"),
    );
    fixture.update(json!({"end-ip": "::1"}), 400, &format!("end-ip: \"::1\" {ADDRESS_RULE}"));
    for action in ["attach", "update-ip"] {
        let message = format!("ip: \"10.0.0\" {ADDRESS_RULE}");
        fixture.action(&fixture.managed, action, &fixture.web, Some("10.0.0"), 400, &message);
    }
}

#[test]
fn a_netmask_with_holes() {
    let message = "netmask: 255.0.255.0 is not contiguous: a netmask is ones followed by zeros, such as 255.255.255.0";
    let fixture = fixture();
    fixture
        .create(json!({"name": "n", "start-ip": "10.0.0.1", "end-ip": "10.0.0.9", "netmask": "255.0.255.0"}), message);
    fixture.update(json!({"netmask": "255.0.255.0"}), 400, message);
}

#[test]
fn address_properties_that_do_not_come_together() {
    let fixture = fixture();
    fixture.create(
        json!({"name": "n", "start-ip": "10.0.0.5"}),
        "start-ip, end-ip and netmask come together or not at all: end-ip, netmask are missing",
    );
    fixture.server.refused(
        "PUT",
        &fixture.unmanaged,
        json!({"start-ip": "10.0.0.5", "end-ip": "10.0.0.9"}),
        400,
        "start-ip, end-ip and netmask come together or not at all: netmask is missing",
    );
}

#[test]
fn a_range_that_ends_before_it_starts() {
    let fixture = fixture();
    fixture.create(
        json!({"name": "n", "start-ip": "10.0.0.9", "end-ip": "10.0.0.5", "netmask": "255.255.255.0"}),
        "start-ip 10.0.0.9 is after end-ip 10.0.0.5",
    );
    fixture.update(json!({"end-ip": "10.0.0.5"}), 400, "start-ip 10.0.0.10 is after end-ip 10.0.0.5");
}

#[test]
fn a_range_outside_one_subnet_or_over_a_reserved_address() {
    let fixture = fixture();
    for (start, end, message) in [
        ("10.0.0.9", "10.0.1.5", "end-ip 10.0.1.5 is outside 10.0.0.0/24, the subnet of start-ip 10.0.0.9"),
        ("10.0.0.0", "10.0.0.9", "10.0.0.0 to 10.0.0.9 covers 10.0.0.0, the network address of 10.0.0.0/24"),
        (
            "10.0.0.255",
            "10.0.0.255",
            "10.0.0.255 to 10.0.0.255 covers 10.0.0.255, the broadcast address of 10.0.0.0/24",
        ),
        (
            "10.0.0.9",
            "10.0.0.254",
            "10.0.0.9 to 10.0.0.254 covers 10.0.0.254, the DHCP server's address of 10.0.0.0/24",
        ),
    ] {
        fixture.create(json!({"name": "n", "start-ip": start, "end-ip": end, "netmask": "255.255.255.0"}), message);
        fixture.update(json!({"start-ip": start, "end-ip": end}), 400, message);
    }
}

#[test]
fn a_change_of_the_range_that_strands_a_lease() {
    let fixture = fixture();
    let web = &fixture.web;
    fixture.update(
        json!({"start-ip": "10.0.1.10", "end-ip": "10.0.1.20"}),
        409,
        &format!(
            "1 lease would lie outside the changed subnet or on a reserved address, the first being 10.0.0.10 of instance {web}; detach it or change its ip first"
        ),
    );
    // With this netmask, 10.0.0.10 is the last host address: the DHCP server's.
    fixture.update(
        json!({"start-ip": "10.0.0.9", "end-ip": "10.0.0.9", "netmask": "255.255.255.252"}),
        409,
        &format!(
            "1 lease would lie outside the changed subnet or on a reserved address, the first being 10.0.0.10 of instance {web}; detach it or change its ip first"
        ),
    );
}

#[test]
fn a_static_address_that_cannot_be_leased() {
    let fixture = fixture();
    let Fixture { managed, unmanaged, web, spare, .. } = &fixture;
    fixture.action(
        unmanaged,
        "attach",
        spare,
        Some("10.0.0.20"),
        400,
        "ip 10.0.0.20: the private network is unmanaged (it has no start-ip, end-ip and netmask) and leases no addresses",
    );
    for (ip, status, message) in [
        ("10.0.1.20", 400, "ip 10.0.1.20 is outside the network's subnet 10.0.0.0/24".to_owned()),
        ("10.0.0.0", 400, "ip 10.0.0.0 is the network address of 10.0.0.0/24".to_owned()),
        ("10.0.0.255", 400, "ip 10.0.0.255 is the broadcast address of 10.0.0.0/24".to_owned()),
        ("10.0.0.254", 400, "ip 10.0.0.254 is the DHCP server's address of 10.0.0.0/24".to_owned()),
        ("10.0.0.10", 409, format!("ip 10.0.0.10 is leased to instance {web}")),
    ] {
        fixture.action(managed, "attach", spare, Some(ip), status, &message);
    }
    fixture.server.attach(managed, spare);
    fixture.action(
        managed,
        "update-ip",
        spare,
        Some("10.0.1.20"),
        400,
        "ip 10.0.1.20 is outside the network's subnet 10.0.0.0/24",
    );
    let taken = format!("ip 10.0.0.10 is leased to instance {web}");
    fixture.action(managed, "update-ip", spare, Some("10.0.0.10"), 409, &taken);
}

#[test]
fn an_address_change_in_an_unmanaged_network() {
    let fixture = fixture();
    let Fixture { server, unmanaged, spare, .. } = &fixture;
    server.attach(unmanaged, spare);
    let rule = "the private network is unmanaged (it has no start-ip, end-ip and netmask) and leases no addresses";
    fixture.action(unmanaged, "update-ip", spare, Some("10.0.0.20"), 400, &format!("ip 10.0.0.20: {rule}"));
    fixture.action(unmanaged, "update-ip", spare, None, 400, rule);
}

#[test]
fn a_second_attachment_with_another_address() {
    let fixture = fixture();
    let Fixture { server, managed, web, .. } = &fixture;
    let before = server.dump();
    assert_eq!(server.attach(managed, web)["state"], "success");
    assert_eq!(server.attach_with_ip(managed, web, "10.0.0.10")["state"], "success");
    assert_eq!(server.dump(), before);
    let message =
        format!("instance {web} is already attached with ip 10.0.0.10, not 10.0.0.20; use update-ip to change it");
    fixture.action(managed, "attach", web, Some("10.0.0.20"), 409, &message);
}

#[test]
fn what_is_in_use_is_not_deleted() {
    let Fixture { server, managed, web, spare, .. } = fixture();
    let network = managed.rsplit('/').next().expect("an id");
    let message = format!("private network {network} has 1 instance attached; detach it first");
    server.refused("DELETE", &managed, json!({}), 409, &message);
    let message = format!("instance {web} is attached to 1 private network; detach it first");
    server.refused("DELETE", &format!("/privnet/v1/instances/{web}"), json!({}), 409, &message);
    let host = server.host("h1").expect("a host")["id"].as_str().expect("an id").to_owned();
    // In the order of their ids, which is that of their creation but within one millisecond.
    let names = if web < spare { "web, spare" } else { "spare, web" };
    let message =
        format!("host h1 has 2 instances ({names}); move or delete them first, or remove the host with its instances");
    server.refused("DELETE", &format!("/privnet/v1/hosts/{host}"), json!({}), 409, &message);
}

#[test]
fn what_is_not_attached_is_not_detached() {
    let fixture = fixture();
    let Fixture { managed, spare, .. } = &fixture;
    let network = managed.rsplit('/').next().expect("an id");
    let message = format!("instance {spare} is not attached to private network {network}");
    fixture.action(managed, "detach", spare, None, 404, &message);
    fixture.action(managed, "update-ip", spare, None, 404, &message);
}

#[test]
fn a_field_that_cannot_be_reset() {
    let Fixture { server, managed, .. } = fixture();
    let message = "field: \"description\" cannot be reset; labels is the only field that can";
    server.refused("DELETE", &format!("{managed}/description"), json!({}), 400, message);
}

#[test]
fn a_range_that_is_exhausted() {
    let fixture = fixture();
    let Fixture { server, managed, spare, .. } = &fixture;
    server.attach(managed, spare);
    let third = server.instance("third", "h1");
    let message = "all 2 addresses from 10.0.0.10 to 10.0.0.11 are leased; widen the range, detach an instance or give a static ip in 10.0.0.0/24";
    fixture.action(managed, "attach", &third, None, 409, message);
}

#[test]
fn a_path_or_a_method_that_is_unknown() {
    let Fixture { server, managed, .. } = fixture();
    let nothing = "there is nothing at this path; /v2/openapi.json lists what there is";
    for path in ["/", "/v2", "/v2/private-network/", "/v2/quotas", "/private-network"] {
        server.refused("GET", path, json!({}), 404, nothing);
    }
    server.refused("PUT", &format!("{managed}:explode"), json!({}), 404, nothing);
    server.refused("PATCH", &managed, json!({}), 405, "this path takes DELETE, GET, HEAD, PUT, not PATCH");
    let reply = server.ask("PATCH", &managed, json!({}));
    assert_eq!(reply.headers["allow"], "DELETE, GET, HEAD, PUT");
}

#[test]
fn an_action_that_is_posted() {
    let Fixture { server, managed, .. } = fixture();
    for action in ["attach", "detach", "update-ip"] {
        let message = format!("there is nothing at this path for POST; an action such as :{action} is called with PUT");
        server.refused("POST", &format!("{managed}:{action}"), json!({}), 404, &message);
    }
}

#[test]
fn everything_that_is_wrong_at_once() {
    let fixture = fixture();
    fixture.create(
        json!({"name": "", "start-ip": "x", "labels": {"a": 1}}),
        &format!("name: must not be empty; start-ip: \"x\" {ADDRESS_RULE}; labels.a: must be a string, not 1"),
    );
}
