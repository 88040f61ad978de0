//! What instances can be, as an operator's file says.

use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::{Agent, Setup, TestServer};

const OWN: &str = r#"
[[instance-type]]
id = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50"
family = "cpu"
size = "large"
cpus = 16
memory-mib = 1024

[[template]]
id = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f51"
name = "Somebody else's"
driver = "external"
default-user = "debian"
"#;

fn wish(instance_type: &str, template: &str) -> Value {
    json!({"name": "x", "disk-size": 10, "instance-type": {"id": instance_type}, "template": {"id": template}})
}

const BUILT_IN: [&str; 2] = ["70726976-6e65-4000-8000-000000000002", "70726976-6e65-4000-8000-000000000065"];
const OF_FILE: [&str; 2] = ["3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50", "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f51"];

#[test]
fn instances_are_what_the_catalogue_says_and_keep_what_it_said_before() {
    let mut server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let before = server.post("/v2/instance", wish(BUILT_IN[0], BUILT_IN[1]));
    assert_eq!(before["state"], "success");
    drop(agent);
    server.write_catalogue(OWN);
    server.restart();
    let _agent = Agent::connect(&server, "h1", acknowledge);

    let types = server.get("/v2/instance-type")["instance-types"].clone();
    let large = json!({
        "id": OF_FILE[0], "family": "cpu", "size": "large", "cpus": 16, "memory": 1 << 30, "authorized": true,
    });
    assert_eq!(types[0], large);
    assert_eq!(server.get(&format!("/v2/instance-type/{}", OF_FILE[0])), large);
    let templates = server.get("/v2/template")["templates"].clone();
    assert_eq!((templates.as_array().map(Vec::len), &templates[0]["default-user"]), (Some(1), &json!("debian")));

    // Clients look up the type and template of each instance they show.
    let shown = server.get(before["reference"]["link"].as_str().expect("a link"));
    assert_eq!(shown["instance-type"]["id"], BUILT_IN[0]);
    assert_eq!((&types[1]["id"], &types[1]["authorized"]), (&json!(BUILT_IN[0]), &json!(false)));
    assert_eq!(server.get(&format!("/v2/instance-type/{}", BUILT_IN[0]))["id"], BUILT_IN[0]);
    assert_eq!(server.get(&format!("/v2/template/{}", BUILT_IN[1]))["id"], BUILT_IN[1]);
    let unused = "/v2/instance-type/70726976-6e65-4000-8000-000000000003";
    assert_eq!(server.send("GET", unused, b"").status, 404, "nobody has it");
    let message = format!("instance type {} not found", BUILT_IN[0]);
    server.refused("POST", "/v2/instance", wish(BUILT_IN[0], OF_FILE[1]), 404, &message);

    let external = server.post("/v2/instance", wish(OF_FILE[0], OF_FILE[1]));
    assert_eq!(external["state"], "success", "nobody has to make it");
    let placed = server.get("/privnet/v1/instances")["instances"].clone();
    let drivers: Vec<_> = placed.as_array().expect("a list").iter().map(|one| one["driver"].clone()).collect();
    assert_eq!(drivers, ["netns", "external"]);
}

#[test]
fn nothing_is_created_with_what_is_not_offered_any_more() {
    let mut server = TestServer::start(Setup::WAITING);
    server.write_catalogue(&OWN.replace("cpus = 16", "cpus = 16\noffered = false"));
    server.restart();
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let message = format!("instance type {} is not offered any more; choose another one", OF_FILE[0]);
    server.refused("POST", "/v2/instance", wish(OF_FILE[0], OF_FILE[1]), 409, &message);
    let web = server.instance("web", "h1");
    let scale = json!({"instance-type": {"id": OF_FILE[0]}});
    server.refused("PUT", &format!("/v2/instance/{web}:scale"), scale, 409, &message);
    server.write_catalogue(&format!("{OWN}offered = false"));
    server.restart();
    let message = format!("template {} is not offered any more; choose another one", OF_FILE[1]);
    server.refused("POST", "/v2/instance", wish(OF_FILE[0], OF_FILE[1]), 409, &message);
    assert_eq!(server.get("/v2/template"), json!({"templates": []}));
}
