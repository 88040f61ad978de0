//! The audit log: who has changed what, and was refused to.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use privnet_model::{Event, EventText, OrganizationId, Timestamp};
use privnet_server::AuditConfig;
use privnet_store::{Keep, NewEvents, SqliteStore, Store};
use serde_json::{Value, json};

use crate::support::agent::acknowledge;
use crate::support::{Agent, Connection, Setup, TestServer, managed, wait_until};

/// What must be in no event, wherever a request has it.
const SECRET: &str = "hunter2";

fn log(server: &TestServer) -> Vec<Value> {
    server.get("/privnet/v1/events")["events"].as_array().expect("a list").clone()
}

/// What each event is about and what came of it.
fn results(events: &[Value]) -> Vec<(String, u64)> {
    let result = |event: &Value| {
        (event["call"].as_str().expect("a text").to_owned(), event["status"].as_u64().expect("a number"))
    };
    events.iter().map(result).collect()
}

#[test]
fn a_change_is_in_the_log_when_it_is_answered() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    let attached = server.attach(&network, &web);
    let events = log(&server);
    let expected = [("create-private-network", 200), ("create-placed-instance", 201)];
    let expected = expected.into_iter().chain([("attach-instance-to-private-network", 200)]);
    assert_eq!(results(&events), expected.map(|(call, status)| (call.to_owned(), status)).collect::<Vec<_>>());
    let last = &events[2];
    assert_eq!(last["source"], "127.0.0.1");
    assert_eq!(last["path"], format!("{network}:attach"));
    assert_eq!(last["operation"], attached["id"]);
    assert_eq!(last.get("message"), None);
}

#[test]
fn an_organization_reads_of_what_is_its_own_in_exoscale_s_shape() {
    let server = TestServer::start(Setup::WAITING);
    let _agent = Agent::connect(&server, "h1", acknowledge);
    let operation = server.post("/v2/private-network", managed(9));
    server.instance("web", "h1");
    let events = server.get("/v2/event");
    let timestamp = events[0]["timestamp"].as_str().expect("a time");
    let key = server.first_credentials().operator.key;
    let expected = json!([{
        "timestamp": timestamp,
        "source-ip": "127.0.0.1",
        "iam-api-key": {"key": key, "name": "first operator"},
        "handler": "create-private-network",
        "uri": "/v2/private-network",
        "status": 200,
        "request-id": operation["id"],
        "iam-api-key": {"key": server.first_credentials().operator.key, "name": "first operator"},
        "zone": "ch-dk-2",
    }]);
    assert_eq!(events, expected);
    assert_eq!(server.get("/v2/event?to=2026-01-01T00:00:00Z"), json!([]));
    assert_eq!(server.get(&format!("/v2/event?from={timestamp}")), expected);
    let message = "from: \"x\" is not a date and time such as 2026-11-24T12:00:00Z";
    server.refused("GET", "/v2/event?from=x", json!({}), 400, message);
}

#[test]
fn a_refusal_is_in_the_log_with_its_reason_and_those_alike_are_counted() {
    let mut server = TestServer::start(Setup::WAITING);
    for _ in 0..5 {
        server.refused("POST", "/v2/private-network", json!({}), 400, "name: is required");
    }
    server.send("PUT", "/v2/nothing", b"{}");
    wait_until("it is written down", || !log(&server).is_empty());
    server.restart();
    let events = log(&server);
    assert_eq!(
        results(&events),
        [("create-private-network".to_owned(), 400), ("create-private-network".to_owned(), 400)]
    );
    assert_eq!(events[0]["message"], "name: is required");
    assert_eq!([&events[0]["times"], &events[1]["times"]], [&json!(1), &json!(4)]);
    assert_eq!(server.get("/v2/event")[1]["message"], "name: is required (4 times)");
}

#[test]
fn what_was_changed_before_a_restart_is_still_told() {
    let mut server = TestServer::start(Setup::WAITING);
    server.network(managed(9));
    let before = log(&server);
    server.restart();
    assert_eq!(log(&server), before);
    server.network(managed(9));
    assert_eq!(log(&server).len(), 2);
}

#[test]
fn a_log_has_no_more_events_than_it_may() {
    let audit = AuditConfig { events_max: 10, ..AuditConfig::DEFAULT };
    let server = TestServer::start(Setup { audit, ..Setup::WAITING });
    let made: Vec<_> = (0..30).map(|_| server.post("/v2/private-network", managed(9))["id"].clone()).collect();
    let told: Vec<_> = log(&server).iter().map(|event| event["operation"].clone()).collect();
    assert_eq!(told, made[20..]);
}

/// A server whose log has had an event at each of these times.
fn with_events(times: impl Iterator<Item = u64>) -> TestServer {
    let event = |at: u64| Event {
        at: Timestamp::from_unix_ms(at),
        source: Ipv4Addr::LOCALHOST.into(),
        key: None,
        organization: Some(OrganizationId::DEFAULT),
        call: "list-zones".into(),
        path: EventText::cut("/v2/zone"),
        status: 200,
        operation: None,
        message: None,
        times: NonZeroU32::MIN,
    };
    let audit = AuditConfig { age_max: Duration::MAX, ..AuditConfig::DEFAULT };
    let log = |mut store: SqliteStore| -> Box<dyn Store> {
        let events: Vec<_> = times.map(event).collect();
        let keep = Keep { since: Timestamp::from_unix_ms(0), count_max: u64::MAX };
        store.commit_with_events(&[], &NewEvents { events: &events, keep }).expect("kept");
        Box::new(store)
    };
    TestServer::start_on(log, Setup { audit, ..Setup::WAITING })
}

#[test]
fn an_answer_has_the_newest_thousand_and_earlier_ones_can_be_asked_for() {
    let server = with_events(0..1001);
    let times = |query: &str| {
        let answer = server.get(&format!("/v2/event?from=1970-01-01T00:00:00Z&{query}"));
        let times = answer.as_array().expect("a list").iter().map(|event| event["timestamp"].clone());
        (times.len(), times.map(|time| time.as_str().expect("a text").to_owned()).next().expect("an event"))
    };
    assert_eq!(times("to=1970-01-02T00:00:00Z"), (1000, "1970-01-01T00:00:00.001Z".to_owned()));
    assert_eq!(times("to=1970-01-01T00:00:00.001Z"), (1, "1970-01-01T00:00:00.000Z".to_owned()));
}

/// As after a clock was set back.
#[test]
fn operators_read_a_log_part_by_part_though_all_events_have_one_time() {
    let server = with_events(std::iter::repeat_n(0, 2500));
    let mut numbers = Vec::new();
    let mut before = String::new();
    loop {
        let answer = server.get(&format!("/privnet/v1/events?from=1970-01-01T00:00:00Z{before}"));
        let events = answer["events"].as_array().expect("a list");
        let page: Vec<_> = events.iter().map(|event| event["number"].as_u64().expect("a number")).collect();
        let Some(first) = page.first() else { break };
        assert!(numbers.first().is_none_or(|read| page.iter().all(|number| number < read)), "{page:?}");
        before = format!("&before={first}");
        numbers.splice(0..0, page);
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(numbers.len(), 2500);
}

#[test]
fn reading_changes_nothing_and_is_not_told() {
    let server = TestServer::start(Setup::WAITING);
    server.get("/v2/private-network");
    server.send("GET", "/v2/private-network/nonsense", b"");
    server.network(managed(9));
    assert_eq!(log(&server).len(), 1);
}

#[test]
fn nothing_of_a_body_or_a_header_or_a_query_is_told() {
    let mut server = TestServer::start(Setup::WAITING);
    let target = format!("/v2/private-network?secret={SECRET}");
    let good = json!({"name": SECRET, "description": SECRET, "labels": {SECRET: SECRET}, "user-data": SECRET});
    let bad = json!({"name": "", "user-data": SECRET, "secret": {"key": SECRET}});
    let mut connection = Connection::open(&server);
    for (body, is_signed) in [(&good, true), (&bad, true), (&good, false)] {
        let body = body.to_string();
        let signed = server.authorization("POST", &target, body.as_bytes());
        let authorization = if is_signed { &signed } else { SECRET };
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: {length}\r\n\r\n"
        );
        connection.send(head.as_bytes());
        connection.send(body.as_bytes());
        connection.answer();
    }
    server.restart();
    let events = log(&server);
    let statuses: Vec<_> = results(&events).into_iter().map(|(_, status)| status).collect();
    assert_eq!(statuses, [200, 400, 403]);
    assert!(!json!(events).to_string().contains(SECRET), "{events:?}");
}

#[test]
fn a_request_that_is_nobody_s_is_told_to_operators_alone() {
    let mut server = TestServer::start(Setup::WAITING);
    for _ in 0..3 {
        assert_eq!(server.send_with("GET", "/v2/private-network", b"", &[]).status, 403);
    }
    server.restart();
    let events = log(&server);
    assert_eq!(
        results(&events),
        [("list-private-networks".to_owned(), 403), ("list-private-networks".to_owned(), 403)]
    );
    assert_eq!([&events[0]["times"], &events[1]["times"]], [&json!(1), &json!(2)]);
    assert_eq!((events[0].get("key"), events[0].get("organization")), (None, None));
    assert_eq!(server.get("/v2/event"), json!([]));
}
