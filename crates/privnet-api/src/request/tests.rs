mod hostile;

use std::net::Ipv4Addr;

use privnet_model::{Description, DhcpOptions, Labels, Name, Quota};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{ENDPOINTS, route};

const NETWORK: &str = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50";
const KEY: &str = "EXO00010203040506070809abff";
const INSTANCE: &str = "8b2f7c56-0d0b-4b7e-9a44-2f1d6f0c9e11";

fn ask(method: &str, path: &str, body: &[u8]) -> Result<Request, BadRequest> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    read(&route(method, path).expect("a route"), query, body)
}

fn network(action: &str) -> String {
    format!("/v2/private-network/{NETWORK}{action}")
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("address")
}

fn create(body: Value) -> Result<Request, BadRequest> {
    ask("POST", "/v2/private-network", body.to_string().as_bytes())
}

fn update(body: Value) -> Result<Request, BadRequest> {
    ask("PUT", &network(""), body.to_string().as_bytes())
}

fn attach(body: Value) -> Result<Request, BadRequest> {
    ask("PUT", &network(":attach"), body.to_string().as_bytes())
}

#[track_caller]
fn refused(answer: Result<Request, BadRequest>, message: &str) {
    assert_eq!(answer.expect_err("refused").to_string(), message);
}

#[test]
fn a_creation_needs_only_a_name() {
    let wish = zone::CreateNetwork {
        name: Name::try_from("n").expect("name"),
        description: Description::default(),
        range: RangeFields::default(),
        options: DhcpOptions::default(),
        labels: Labels::new(),
    };
    assert_eq!(create(json!({"name": "n"})).expect("accepted"), Request::Change(Command::CreateNetwork(wish.clone())));
    // What the exo client sends for the same wish, and what nobody asked for.
    let body = json!({"name": "n", "options": {}, "labels": {}, "description": "", "vni": 7, "leases": null});
    assert_eq!(create(body).expect("accepted"), Request::Change(Command::CreateNetwork(wish)));
}

#[test]
fn a_creation_takes_everything_at_once() {
    let body = json!({
        "name": "demo-net", "description": "d", "labels": {"team": "db"},
        "start-ip": "10.0.0.50", "end-ip": "10.0.0.250", "netmask": "255.255.255.0",
        "options": {"routers": ["10.0.0.1"], "dns-servers": ["10.0.0.2"], "ntp-servers": ["10.0.0.3"], "domain-search": ["a.example"]},
    });
    let Request::Change(Command::CreateNetwork(wish)) = create(body).expect("accepted") else { panic!("a creation") };
    assert_eq!(
        wish.range,
        RangeFields { start: Some(ip("10.0.0.50")), end: Some(ip("10.0.0.250")), netmask: Some(ip("255.255.255.0")) }
    );
    assert_eq!(wish.options.routers(), [ip("10.0.0.1")]);
    assert_eq!(wish.options.dns_servers(), [ip("10.0.0.2")]);
    assert_eq!(wish.options.ntp_servers(), [ip("10.0.0.3")]);
    assert_eq!(wish.options.domain_search()[0].as_str(), "a.example");
    assert_eq!(wish.labels.get("team").map(String::as_str), Some("db"));
}

#[test]
fn an_empty_body_is_an_empty_object() {
    assert_eq!(
        ask("PUT", &network(""), b"").expect("accepted"),
        Request::Change(Command::UpdateNetwork(NETWORK.parse().expect("id"), zone::UpdateNetwork::default()))
    );
    refused(ask("POST", "/v2/private-network", b""), "name: is required");
}

#[test]
fn an_update_tells_clearing_from_keeping() {
    let Request::Change(Command::UpdateNetwork(_, wish)) =
        update(json!({"description": "", "labels": {}, "options": {}})).expect("accepted")
    else {
        panic!("an update")
    };
    assert_eq!(wish.name, None);
    assert_eq!(wish.description, Some(Description::default()));
    assert_eq!(wish.labels, Some(Labels::new()));
    assert_eq!(wish.options, Some(DhcpOptions::default()));
}

#[test]
fn an_update_may_give_one_address_property() {
    let Request::Change(Command::UpdateNetwork(_, wish)) = update(json!({"end-ip": "10.0.0.9"})).expect("accepted")
    else {
        panic!("an update")
    };
    assert_eq!(wish.range, RangeFields { end: Some(ip("10.0.0.9")), ..RangeFields::default() });
}

#[test]
fn the_actions_read_the_instance_and_the_address() {
    let (network, instance) = (NETWORK.parse().expect("id"), INSTANCE.parse().expect("id"));
    let address = Some(ip("10.0.0.10"));
    assert_eq!(
        attach(json!({"instance": {"id": INSTANCE}, "ip": "10.0.0.10"})).expect("accepted"),
        Request::Change(Command::Attach { network, instance, address, device: zone::DeviceWish::default() })
    );
    assert_eq!(
        attach(json!({"instance": {"id": INSTANCE}})).expect("accepted"),
        Request::Change(Command::Attach { network, instance, address: None, device: zone::DeviceWish::default() })
    );
    // What the Go clients send: a zero time is not left out (contract §2.1).
    let body = json!({"instance": {"created-at": "0001-01-01T00:00:00Z", "id": INSTANCE}}).to_string();
    assert_eq!(
        ask("PUT", &format!("/v2/private-network/{NETWORK}:detach"), body.as_bytes()).expect("accepted"),
        Request::Change(Command::Detach { network, instance })
    );
    let body = json!({"instance": {"id": INSTANCE}, "ip": "10.0.0.10"}).to_string();
    assert_eq!(
        ask("PUT", &format!("/v2/private-network/{NETWORK}:update-ip"), body.as_bytes()).expect("accepted"),
        Request::Change(Command::UpdateIp { network, instance, address })
    );
}

#[test]
fn an_instance_is_registered_with_its_placement() {
    let body = json!({"name": "web", "host": "h1", "kind": "netns", "netns": "web1", "labels": {"a": "b"}}).to_string();
    let Request::Change(Command::CreateInstance { name, host, placement, organization, labels }) =
        ask("POST", "/privnet/v1/instances", body.as_bytes()).expect("accepted")
    else {
        panic!("an instance")
    };
    assert_eq!((name.as_str(), host.as_str(), organization), ("web", "h1", None));
    assert_eq!(placement, Placement::Netns(Netns::try_from("web1").expect("netns")));
    assert_eq!(labels, [("a".to_owned(), "b".to_owned())].into_iter().collect());
}

#[test]
fn an_attach_by_device_reads_its_name_and_whether_the_host_configures_it() {
    let path = format!("/privnet/v1/private-networks/{NETWORK}:attach");
    let attach = |body: Value| ask("PUT", &path, body.to_string().as_bytes());
    let (network, instance) = (NETWORK.parse().expect("id"), INSTANCE.parse().expect("id"));
    let body = json!({"instance": {"id": INSTANCE}, "ip": "10.0.0.10", "device": "eth0", "configure": true});
    let name = Some(DeviceName::try_from("eth0").expect("valid"));
    let device = zone::DeviceWish { name, is_configured: true };
    let expected = Command::Attach { network, instance, address: Some(ip("10.0.0.10")), device };
    assert_eq!(attach(body).expect("accepted"), Request::Change(expected));
    let expected = Command::Attach { network, instance, address: None, device: zone::DeviceWish::default() };
    assert_eq!(attach(json!({"instance": {"id": INSTANCE}})).expect("accepted"), Request::Change(expected));
    let bad = attach(json!({"instance": {"id": INSTANCE}, "device": "eth/0", "configure": "yes"})).expect_err("bad");
    let said = "device: \"eth/0\" is not a network device name (1 to 15 octets without /, : or white space); \
                configure: must be a boolean";
    assert!(bad.to_string().starts_with(said), "{bad}");
}

#[test]
fn an_instance_is_registered_for_an_organization() {
    let body = json!({"name": "web", "host": "h1", "kind": "netns", "netns": "web1", "organization": NETWORK});
    let Ok(Request::Change(Command::CreateInstance { organization, .. })) =
        ask("POST", "/privnet/v1/instances", body.to_string().as_bytes())
    else {
        panic!("an instance")
    };
    assert_eq!(organization, Some(NETWORK.parse().expect("id")));
}

fn organizations(method: &str, path: &str, body: Value) -> Result<Request, BadRequest> {
    ask(method, &format!("/privnet/v1/organizations{path}"), body.to_string().as_bytes())
}

#[test]
fn an_organization_is_created_with_the_default_quotas_unless_others_are_given() {
    let name = OrganizationName::try_from("acme").expect("name");
    let create = |quotas| Request::Change(Command::CreateOrganization { name: name.clone(), quotas });
    assert_eq!(organizations("POST", "", json!({"name": "acme"})).expect("accepted"), create(Quotas::default()));
    let body =
        json!({"name": "acme", "quotas": {"networks": 0, "ports-per-network": 4_294_967_295_u32, "instances": -1}});
    let quotas =
        Quotas { networks: Quota::AtMost(0), ports_per_network: Quota::AtMost(u32::MAX), instances: Quota::Unlimited };
    assert_eq!(organizations("POST", "", body).expect("accepted"), create(quotas));
}

#[test]
fn of_an_organization_only_what_is_given_is_changed() {
    let path = format!("/{NETWORK}");
    let update = |wish| Request::Change(Command::UpdateOrganization(NETWORK.parse().expect("id"), wish));
    let nothing = zone::UpdateOrganization::default();
    assert_eq!(organizations("PUT", &path, json!({})).expect("accepted"), update(nothing.clone()));
    let wish = zone::UpdateOrganization {
        name: Some(OrganizationName::try_from("acme").expect("name")),
        instances: Some(Quota::AtMost(7)),
        ..nothing
    };
    let body = json!({"name": "acme", "quotas": {"instances": 7}});
    assert_eq!(organizations("PUT", &path, body).expect("accepted"), update(wish));
}

#[test]
fn everything_wrong_with_an_organization_is_told() {
    let quotas = json!({"networks": -2, "ports-per-network": 4_294_967_296_u64, "instances": "7"});
    refused(
        organizations("POST", "", json!({"name": "a b", "quotas": quotas})),
        concat!(
            "name: \"a b\" is not an organization name (1 to 64 letters, digits, -, _ or .); ",
            "quotas.networks: must be a whole number from -1 to 4294967295, not -2; ",
            "quotas.ports-per-network: must be a whole number from -1 to 4294967295, not 4294967296; ",
            "quotas.instances: must be a whole number from -1 to 4294967295, not the string \"7\""
        ),
    );
}

fn create_key(body: Value) -> Result<Request, BadRequest> {
    ask("POST", "/privnet/v1/keys", body.to_string().as_bytes())
}

#[test]
fn a_key_is_asked_for_with_a_role_an_organization_and_a_lifetime() {
    let organization = Some(NETWORK.parse().expect("id"));
    let key = |grant, lifetime| {
        let name = Name::try_from("deploy").expect("name");
        Request::CreateKey(zone::CreateKey { name, grant, lifetime })
    };
    let cases = [
        (json!({"name": "deploy", "role": "operator"}), key(Grant::Operator, None)),
        (
            json!({"name": "deploy", "role": "runtime", "host": INSTANCE}),
            key(Grant::Runtime(None, INSTANCE.parse().expect("id")), None),
        ),
        (json!({"name": "deploy", "role": "admin"}), key(Grant::Organization(None, Role::Admin), None)),
        (
            json!({"name": "deploy", "role": "read-only", "organization": NETWORK, "expires-in-seconds": 60}),
            key(Grant::Organization(organization, Role::ReadOnly), Some(Duration::from_secs(60))),
        ),
    ];
    for (body, request) in cases {
        assert_eq!(create_key(body).expect("accepted"), request);
    }
}

#[test]
fn everything_wrong_with_a_key_is_told() {
    refused(
        create_key(json!({"role": "owner", "organization": "acme", "expires-in-seconds": 0})),
        concat!(
            "name: is required; ",
            "organization: \"acme\" is not a UUID such as 0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50; ",
            "role: \"owner\" is not a role; admin, operator, read-only and runtime are; ",
            "expires-in-seconds: must be a whole number from 1 to 3155760000, not 0"
        ),
    );
    refused(
        create_key(json!({"name": "n", "role": "operator", "organization": NETWORK})),
        "organization: an operator's key belongs to none; leave the property out",
    );
}

#[test]
fn a_key_is_revoked_by_its_id() {
    let revoke = |key: &str| ask("DELETE", &format!("/privnet/v1/keys/{key}"), b"");
    let request = Request::Change(Command::RevokeKey(KEY.parse().expect("id")));
    assert_eq!(revoke(KEY).expect("accepted"), request);
    refused(revoke("EXO1"), "key: \"EXO1\" is not the id of a key (EXO and 24 digits from 0 to 9 and a to f)");
}

#[test]
fn an_instance_is_registered_with_its_taps() {
    let account = |text| Some(Account::try_from(text).expect("valid"));
    let bare = json!({"name": "vm", "host": "h1", "kind": "tap"});
    let full =
        json!({"name": "vm", "host": "h1", "kind": "tap", "owner": "libvirt-qemu", "group": "36", "multi-queue": true});
    let all = Tap { owner: account("libvirt-qemu"), group: account("36"), is_multi_queue: true };
    for (body, tap) in [(bare, Tap::default()), (full, all)] {
        let asked = ask("POST", "/privnet/v1/instances", body.to_string().as_bytes());
        let Ok(Request::Change(Command::CreateInstance { placement, .. })) = asked else { panic!("{asked:?}") };
        assert_eq!(placement, Placement::Tap(tap.clone()));
        let asked = ask("PUT", &format!("/privnet/v1/instances/{INSTANCE}:move"), body.to_string().as_bytes());
        let Ok(Request::Change(Command::MoveInstance { placement, .. })) = asked else { panic!("{asked:?}") };
        assert_eq!(placement, Some(Placement::Tap(tap)));
    }
    let body = json!({"name": "vm", "host": "h1", "kind": "tap", "owner": "a b", "group": 7, "multi-queue": "yes"});
    refused(
        ask("POST", "/privnet/v1/instances", body.to_string().as_bytes()),
        concat!(
            "owner: \"a b\" is neither a number from 0 to 4294967294 nor a name of 1 to 32 octets of printable ASCII ",
            "without \":\", \"/\" and white space; group: must be a string, not 7; multi-queue: must be a boolean, not the string \"yes\""
        ),
    );
}

#[test]
fn an_instance_is_moved_to_a_host_and_keeps_its_placement_unless_another_is_given() {
    let instance = INSTANCE.parse().expect("id");
    let path = format!("/privnet/v1/instances/{INSTANCE}:move");
    let netns = || Some(Placement::Netns(Netns::try_from("web2").expect("netns")));
    for (body, placement) in [
        (json!({"host": "h2"}), None),
        (json!({"host": "h2", "kind": "netns"}), None),
        (json!({"host": "h2", "netns": "web2"}), netns()),
        (json!({"host": "h2", "kind": "netns", "netns": "web2"}), netns()),
    ] {
        let host = HostName::try_from("h2").expect("host");
        let request = ask("PUT", &path, body.to_string().as_bytes()).expect("accepted");
        assert_eq!(request, Request::Change(Command::MoveInstance { instance, host, placement }));
    }
    refused(ask("PUT", &path, b"{}"), "host: is required");
    let body = json!({"host": "a b", "kind": "qemu", "netns": "../x"}).to_string();
    refused(
        ask("PUT", "/privnet/v1/instances/x:move", body.as_bytes()),
        concat!(
            "id: \"x\" is not a UUID such as 0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50; ",
            "host: \"a b\" is not a host name (1 to 64 letters, digits, -, _ or .); ",
            "netns: \"../x\" is neither a network namespace's name (1 to 255 octets without \"/\") nor an absolute path to one; ",
            "kind: \"qemu\" is not a port kind; there are netns and tap"
        ),
    );
}

#[test]
fn a_host_is_removed_alone_unless_the_path_says_with_its_instances() {
    let host = NETWORK.parse().expect("id");
    for (suffix, with_instances) in [("", false), (":with-instances", true)] {
        let request = ask("DELETE", &format!("/privnet/v1/hosts/{NETWORK}{suffix}"), b"").expect("accepted");
        assert_eq!(request, Request::Change(Command::RemoveHost { host, with_instances }));
    }
}

#[test]
fn what_is_not_a_json_object_is_refused_with_its_position_or_kind() {
    let ask = |body: &[u8]| ask("POST", "/v2/private-network", body);
    refused(ask(b"{\"name\": }"), "the body is not JSON: expected value at line 1 column 10");
    refused(ask(b"{\"name\": \"x\""), "the body is not JSON: EOF while parsing an object at line 1 column 12");
    refused(ask(b"{} {}"), "the body is not JSON: trailing characters at line 1 column 4");
    refused(ask(b"{\"a\": \"\xff\"}"), "the body is not JSON: invalid unicode code point at line 1 column 8");
    refused(ask(b"null"), "the body must be a JSON object, not null");
    refused(ask(b"[]"), "the body must be a JSON object, not an array");
    refused(ask(b"\"name\""), "the body must be a JSON object, not the string \"name\"");
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    refused(ask(deep.as_bytes()), "the body is not JSON: recursion limit exceeded at line 1 column 128");
}

#[test]
fn a_wrong_type_is_named() {
    refused(create(json!({"name": null})), "name: must be a string, not null");
    refused(create(json!({"name": 5})), "name: must be a string, not 5");
    refused(create(json!({"name": true})), "name: must be a string, not true");
    refused(create(json!({"name": ["n"]})), "name: must be a string, not an array");
    refused(create(json!({"name": "n", "labels": []})), "labels: must be an object, not an array");
    refused(create(json!({"name": "n", "labels": null})), "labels: must be an object, not null");
    refused(create(json!({"name": "n", "labels": {"a": 1.5}})), "labels.a: must be a string, not 1.5");
    refused(create(json!({"name": "n", "options": null})), "options: must be an object, not null");
    refused(
        create(json!({"name": "n", "options": {"routers": "10.0.0.1"}})),
        "options.routers: must be an array of strings, not the string \"10.0.0.1\"",
    );
    refused(
        create(json!({"name": "n", "options": {"routers": ["10.0.0.1", null]}})),
        "options.routers[1]: must be a string, not null",
    );
    refused(
        attach(json!({"instance": INSTANCE})),
        &format!("instance: must be an object, not the string \"{INSTANCE}\""),
    );
    refused(attach(json!({"instance": {"id": 7}})), "instance.id: must be a string, not 7");
    refused(attach(json!({"instance": {"id": INSTANCE}, "ip": null})), "ip: must be a string, not null");
}

#[test]
fn a_name_is_there_and_neither_empty_nor_too_long() {
    refused(create(json!({})), "name: is required");
    refused(create(json!({"name": ""})), "name: must not be empty");
    refused(update(json!({"name": ""})), "name: must not be empty");
    refused(create(json!({"name": "x".repeat(256)})), "name: has 256 characters, at most 255 are allowed");
    refused(create(json!({"name": "a\u{7}"})), "name: has the control character U+0007 at position 1");
    refused(
        create(json!({"name": "n", "description": "x".repeat(256)})),
        "description: has 256 characters, at most 255 are allowed",
    );
}

#[test]
fn an_address_is_a_dotted_quad() {
    for bad in ["10.0.0", "10.0.0.500", "010.0.0.1", "10.0.0.1/24", " 10.0.0.1", "::1", "0x0a.0.0.1", "bogus"] {
        refused(
            attach(json!({"instance": {"id": INSTANCE}, "ip": bad})),
            &format!("ip: \"{bad}\" is not an IPv4 address such as 10.0.0.10"),
        );
    }
    refused(
        update(json!({"start-ip": ""})),
        "start-ip: \"\" is not an IPv4 address; leave the property out if there is none",
    );
}

#[test]
fn a_netmask_is_ones_before_zeros_and_leaves_room() {
    refused(
        update(json!({"netmask": "255.0.255.0"})),
        "netmask: 255.0.255.0 is not contiguous: a netmask is ones followed by zeros, such as 255.255.255.0",
    );
    for bad in ["0.0.0.0", "255.255.255.254", "255.255.255.255"] {
        refused(
            update(json!({"netmask": bad})),
            &format!("netmask: {bad} is not between 128.0.0.0 (/1) and 255.255.255.252 (/30)"),
        );
    }
}

#[test]
fn the_address_properties_of_a_creation_come_together() {
    refused(
        create(json!({"name": "n", "start-ip": "10.0.0.5"})),
        "start-ip, end-ip and netmask come together or not at all: end-ip, netmask are missing",
    );
    refused(
        create(json!({"name": "n", "start-ip": "10.0.0.5", "end-ip": "10.0.0.9"})),
        "start-ip, end-ip and netmask come together or not at all: netmask is missing",
    );
}

#[test]
fn a_range_lies_in_one_subnet_and_spares_its_own_addresses() {
    let create = |start: &str, end: &str| {
        create(json!({"name": "n", "start-ip": start, "end-ip": end, "netmask": "255.255.255.0"}))
    };
    refused(create("10.0.0.9", "10.0.0.5"), "start-ip 10.0.0.9 is after end-ip 10.0.0.5");
    refused(create("10.0.0.9", "10.0.1.5"), "end-ip 10.0.1.5 is outside 10.0.0.0/24, the subnet of start-ip 10.0.0.9");
    refused(create("10.0.0.0", "10.0.0.9"), "10.0.0.0 to 10.0.0.9 covers 10.0.0.0, the network address of 10.0.0.0/24");
    refused(
        create("10.0.0.9", "10.0.0.254"),
        "10.0.0.9 to 10.0.0.254 covers 10.0.0.254, the DHCP server's address of 10.0.0.0/24",
    );
    refused(create("224.0.0.1", "224.0.0.9"), "224.0.0.0/24 is multicast, which instances cannot use");
}

#[test]
fn options_fit_in_dhcp() {
    let create = |options: Value| create(json!({"name": "n", "options": options}));
    refused(
        create(json!({"dns-servers": vec!["10.0.0.1"; 64]})),
        "options: dns-servers has 64 addresses, at most 63 fit in one DHCP option",
    );
    refused(
        create(json!({"domain-search": ["a b"]})),
        "options.domain-search[0]: \"a b\" is not a domain name such as example.net (labels of 1 to 63 letters, digits, - or _, joined by dots)",
    );
    refused(
        create(json!({"domain-search": vec!["x".repeat(63); 4]})),
        "options: domain-search takes 260 octets, at most 255 are allowed",
    );
    refused(
        create(json!({"ntp-servers": [""]})),
        "options.ntp-servers[0]: \"\" is not an IPv4 address; leave the property out if there is none",
    );
}

#[test]
fn labels_have_no_control_characters() {
    refused(
        create(json!({"name": "n", "labels": {"a": "\u{0}"}})),
        "labels.a: has the control character U+0000 at position 0",
    );
    refused(
        create(json!({"name": "n", "labels": {"a\n": "b"}})),
        "labels.a\u{fffd}: the key has the control character U+000A at position 1",
    );
}

#[test]
fn an_id_is_a_uuid() {
    let bad = "is not a UUID such as 0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50";
    refused(ask("GET", "/v2/private-network/x", b""), &format!("id: \"x\" {bad}"));
    refused(ask("DELETE", "/v2/private-network/x", b""), &format!("id: \"x\" {bad}"));
    refused(ask("GET", "/v2/operation/x", b""), &format!("id: \"x\" {bad}"));
    refused(ask("GET", "/v2/instance/x", b""), &format!("id: \"x\" {bad}"));
    refused(ask("GET", "/privnet/v1/hosts/x", b""), &format!("id: \"x\" {bad}"));
    refused(attach(json!({"instance": {"id": "x"}})), &format!("instance.id: \"x\" {bad}"));
    refused(attach(json!({"instance": {}})), "instance.id: is required");
    refused(attach(json!({})), "instance: is required");
    // Any version will do: the real service gives out versions 1 and 4.
    assert!(ask("GET", "/v2/operation/e2047130-b86e-11ef-83b3-0d8312b2c2d7", b"").is_ok());
}

#[test]
fn labels_are_so_many_and_so_long() {
    let labels = |count: usize| (0..count).map(|n| (n.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>();
    create(json!({"name": "n", "labels": labels(64)})).expect("accepted");
    let too_many = "labels: has 65 labels, at most 64 are allowed";
    refused(create(json!({"name": "n", "labels": labels(65)})), too_many);
    let [most, more] = [255, 256].map(|count| "é".repeat(count));
    create(json!({"name": "n", "labels": {&*most: most}})).expect("accepted");
    let [long_value, long_key] = [json!({"k": more}), json!({&*more: "v"})];
    let excess = "has 256 characters, at most 255 are allowed";
    refused(create(json!({"name": "n", "labels": long_value})), &format!("labels.k: {excess}"));
    let start = "é".repeat(64);
    refused(create(json!({"name": "n", "labels": long_key})), &format!("labels.{start}…: the key {excess}"));
    refused(create(json!({"name": "n", "labels": {"": "v"}})), "labels.: the key must not be empty");
}

#[test]
fn only_labels_can_be_reset() {
    let reset = |field: &str| ask("DELETE", &network(&format!("/{field}")), b"");
    assert_eq!(reset("labels").expect("accepted"), Request::Change(Command::ResetLabels(NETWORK.parse().expect("id"))));
    refused(reset("description"), "field: \"description\" cannot be reset; labels is the only field that can");
    refused(reset("Labels"), "field: \"Labels\" cannot be reset; labels is the only field that can");
}

#[test]
fn a_placement_is_refused_by_property() {
    let body = json!({"name": "", "host": "a b", "kind": "qemu", "netns": "../x"}).to_string();
    refused(
        ask("POST", "/privnet/v1/instances", body.as_bytes()),
        concat!(
            "name: must not be empty; ",
            "host: \"a b\" is not a host name (1 to 64 letters, digits, -, _ or .); ",
            "netns: \"../x\" is neither a network namespace's name (1 to 255 octets without \"/\") nor an absolute path to one; ",
            "kind: \"qemu\" is not a port kind; there are netns and tap"
        ),
    );
    let missing = "name: is required; host: is required; kind: is required";
    refused(ask("POST", "/privnet/v1/instances", b"{}"), missing);
    let body = json!({"name": "n", "host": "h", "kind": "netns"}).to_string();
    refused(ask("POST", "/privnet/v1/instances", body.as_bytes()), "netns: is required");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let body = json!({"name": "", "netmask": "255.0.255.0", "start-ip": "x", "labels": {"a": null}, "options": 1});
    refused(
        ask("PUT", "/v2/private-network/nonsense", body.to_string().as_bytes()),
        concat!(
            "id: \"nonsense\" is not a UUID such as 0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50; ",
            "name: must not be empty; ",
            "start-ip: \"x\" is not an IPv4 address such as 10.0.0.10; ",
            "netmask: 255.0.255.0 is not contiguous: a netmask is ones followed by zeros, such as 255.255.255.0; ",
            "options: must be an object, not 1; ",
            "labels.a: must be a string, not null"
        ),
    );
}

#[test]
fn a_message_is_short_however_long_the_request() {
    let refusal = create(json!({"name": "n", "start-ip": "9".repeat(100_000)})).expect_err("refused").to_string();
    assert_eq!(refusal, format!("start-ip: \"{}…\" is not an IPv4 address such as 10.0.0.10", "9".repeat(64)));
    let names = vec!["-".repeat(1000); 1000];
    let refusal = create(json!({"name": "n", "options": {"domain-search": names}})).expect_err("refused").to_string();
    assert!(refusal.len() < 8192, "{} octets", refusal.len());
    assert!(refusal.ends_with("; and 980 more"), "{refusal}");
}

/// The document promises what reading keeps: each property that a schema describes is read, and
/// each that it requires is missed.
#[test]
fn bodies_are_read_as_the_document_says() {
    let document = crate::document();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.request.is_some()) {
        let path = endpoint.path.replace("{id}", NETWORK);
        let method = endpoint.method.as_str();
        let operation = &document["paths"][endpoint.path][method.to_ascii_lowercase()];
        let reference = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let schema = document.pointer(&reference.as_str().expect("a reference")[1..]).expect("a schema");
        let ask = |body: Value| ask(method, &path, body.to_string().as_bytes());
        for property in schema["properties"].as_object().expect("properties").keys() {
            let wrong = if schema["properties"][property]["type"] == "integer" { json!(true) } else { json!(1) };
            let refusal = ask(json!({ property: wrong })).expect_err("it has another type").to_string();
            assert!(refusal.contains(&format!("{property}: must be a")), "{}: {refusal}", endpoint.id);
        }
        let missed = ask(json!({})).map(|_| String::new()).unwrap_or_else(|refusal| refusal.to_string());
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(missed.contains(&format!("{required}: is required")), "{}: {missed}", endpoint.id);
        }
    }
}

#[test]
fn the_table_asks_for_the_access_that_the_commands_need() {
    let instance = json!({"id": INSTANCE});
    let body = json!({
        "name": "n", "host": "h1", "kind": "netns", "netns": "n", "instance": instance, "role": "admin",
        "instance-type": instance, "template": instance, "disk-size": 10, "public-key": "k",
    });
    for endpoint in &ENDPOINTS {
        let path = endpoint.path.replace("{id}", NETWORK).replace("{field}", "labels").replace("{key}", KEY);
        let path = path.replace("{name}", "n");
        let mut body = body.clone();
        if endpoint.id == "create-key" {
            body["host"] = INSTANCE.into();
        }
        let request = ask(endpoint.method.as_str(), &path, body.to_string().as_bytes()).expect(endpoint.id);
        if let Request::Change(command) = request {
            assert_eq!(endpoint.access, Some(command.access()), "{}", endpoint.id);
        }
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        segment in "\\PC{0,40}",
        query in "((from|to|organization|key|\\PC{0,3})=[0-9TZ:.+%-]{0,24}&?){0,4}",
    ) {
        for endpoint in &ENDPOINTS {
            let path = endpoint.path.replace("{id}", &segment.replace(['/', ':'], "x")).replace("{field}", "labels").replace("{name}", "n");
            if let Ok(route) = route(endpoint.method.as_str(), &path)
                && let Err(refusal) = read(&route, &query, &body)
            {
                prop_assert!(!refusal.to_string().is_empty());
            }
        }
    }
}

#[test]
fn events_are_asked_for_by_time_organization_and_key() {
    assert_eq!(ask("GET", "/v2/event", b"").expect("accepted"), Request::ListEvents(EventFilter::default()));
    let key = format!("EXO{}", "0a".repeat(KeyId::OCTETS));
    let path = format!(
        "/privnet/v1/events?from=2026-11-24T12:00:00.5Z&to=2026-11-24T13%3A00%3A01%2B01%3A00&organization={NETWORK}&key={key}&before=7&x=y"
    );
    let filter = EventFilter {
        from: Some(Timestamp::from_unix_ms(1_795_521_600_500)),
        to: Some(Timestamp::from_unix_ms(1_795_521_601_000)),
        organization: NETWORK.parse().ok(),
        key: Some(KeyId::from_bytes([10; KeyId::OCTETS])),
        before: Some(7),
    };
    assert_eq!(ask("GET", &path, b"").expect("accepted"), Request::ListLog(filter));
    let long_ago = EventFilter { from: Some(Timestamp::from_unix_ms(0)), ..EventFilter::default() };
    assert_eq!(
        ask("GET", "/v2/event?from=1066-10-14T09:00:00Z", b"").expect("accepted"),
        Request::ListEvents(long_ago)
    );
}

#[test]
fn what_is_no_time_organization_or_key_is_refused_together() {
    refused(
        ask("GET", "/privnet/v1/events?from=yesterday&to=7&organization=acme&key=k&before=-1", b""),
        "from: \"yesterday\" is not a date and time such as 2026-11-24T12:00:00Z; \
         to: \"7\" is not a date and time such as 2026-11-24T12:00:00Z; \
         organization: \"acme\" is not a UUID such as 0192d3a8-7c1e-7b2a-9f34-5b1c2d3e4f50; \
         key: \"k\" is not the id of a key (EXO and 24 digits from 0 to 9 and a to f); \
         before: \"-1\" is not the number of an event",
    );
    refused(ask("GET", "/v2/event?from=2026-11-24T12:00:00Z&to=2026-11-23T12:00:00Z", b""), "from is after to");
}
