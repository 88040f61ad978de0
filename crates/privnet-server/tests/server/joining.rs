//! Machines that join, and the certificates that they show.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use privnet_model::Reason;
use privnet_server::Server;
use privnet_sync::proto::membership_client::MembershipClient;
use privnet_sync::{AGENT_MESSAGE_BYTES_MAX, FromAgent, FromServer, HELD_MAX, JoinRequest, PortFailure, proto};
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::support::agent::{Agent, Held, acknowledge, hello, invented, silent};
use crate::support::machine::{Machine, invite, invite_again};
use crate::support::{Setup, TestServer, config, managed, wait_until};

const BY_TLS: Setup = Setup { sync_by_tls: true, ..Setup::WAITING };

const REMOVED: &str = "host h1 was removed, and its certificate is good for nothing: it can join again with a new invitation (privnet host invite h1)";
const REPLACED: &str = "this certificate of host h1 is good for nothing any more: the host has joined again or renewed it since. Where this machine is that host, let it join again (privnet host invite h1 --rejoin)";

fn remove(server: &TestServer, host: &str) {
    let id = server.host(host).expect("a host")["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.send("DELETE", &format!("/privnet/v1/hosts/{id}"), b"").status, 204);
}

/// The events of the audit log with this call and status, once there is one.
fn wait_for_event(server: &TestServer, call: &str, status: u16) {
    wait_until("the event", || {
        let log = server.get("/privnet/v1/events");
        let events = log["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| event["call"] == call && event["status"] == status)
    });
}

#[test]
fn a_machine_with_the_token_becomes_a_host_that_is_served() {
    let server = TestServer::start(BY_TLS);
    let invitation = invite(&server, "h1");
    let address = server.sync_address();
    assert_eq!(invitation["server"], format!("https://{address}"));
    assert_eq!(invitation["fingerprint"], server.authority().fingerprint().to_string());
    assert_eq!((&invitation["host"], &invitation["state"]), (&json!("h1"), &json!("open")));
    let mut machine = Machine::new();
    machine.join(&server, &invitation, "h1").expect("joined");
    assert_eq!(server.host("h1").expect("a host")["connected"], false);
    let agent = machine.connect(&server, "h1", acknowledge).expect("accepted");
    let network = server.network(managed(9));
    assert_eq!(server.attach(&network, &server.instance("web", "h1"))["state"], "success");
    drop(agent);
    let listed = server.get("/privnet/v1/host-invitations");
    let listed = &listed["host-invitations"][0];
    assert_eq!((&listed["state"], &listed["token"]), (&json!("used"), &json!(null)));
    wait_for_event(&server, "invite-host", 201);
    wait_for_event(&server, "join-host", 200);
}

#[test]
fn a_server_that_serves_its_own_machine_alone_invites_nobody() {
    let server = TestServer::start(Setup::WAITING);
    let message = "this server serves agents on its own machine only: start it with --sync-listen ADDRESS:PORT, where hosts reach it";
    server.refused("POST", "/privnet/v1/host-invitations", json!({"host": "h1"}), 409, message);
}

#[test]
fn who_joins_has_a_token_that_is_good_for_that_name() {
    let server = TestServer::start(BY_TLS);
    let refusal = |invitation: &serde_json::Value, host| {
        let refusal = Machine::new().join(&server, invitation, host).expect_err("refused");
        (refusal.code(), refusal.message().to_owned())
    };
    let unknown = "no invitation has this token: it was revoked, ended long ago or is another server's, or its host was removed or has joined again since; ask for a new one (privnet host invite)";
    assert_eq!(refusal(&json!({"token": "pnj-0"}), "h1"), (Code::PermissionDenied, unknown.into()));
    let revoked = invite(&server, "h1");
    let path = format!("/privnet/v1/host-invitations/{}", revoked["id"].as_str().expect("an id"));
    assert_eq!(server.send("DELETE", &path, b"").status, 204);
    assert_eq!(refusal(&revoked, "h1"), (Code::PermissionDenied, unknown.into()));
    let invitation = invite(&server, "h1");
    let other = "the invitation is for host h1, and this one is named h2: join as h1";
    assert_eq!(refusal(&invitation, "h2"), (Code::PermissionDenied, other.into()));
    Machine::new().join(&server, &invitation, "h1").expect("joined");
    let used =
        "the invitation of host h1 was used already, with another key; ask for a new one (privnet host invite h1)";
    assert_eq!(refusal(&invitation, "h1"), (Code::PermissionDenied, used.into()));
    wait_for_event(&server, "join-host", 403);
}

#[test]
fn an_expired_token_is_told_so() {
    let server = TestServer::start(BY_TLS);
    let short = server.post("/privnet/v1/host-invitations", json!({"host": "h1", "expires-in-seconds": 1}));
    wait_until("its end", || {
        let listed = server.get("/privnet/v1/host-invitations");
        listed["host-invitations"][0]["state"] == "expired"
    });
    let refusal = Machine::new().join(&server, &short, "h1").expect_err("refused");
    let expected = "the invitation of host h1 has expired; ask for a new one (privnet host invite h1)";
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, expected));
}

#[test]
fn of_many_that_race_for_one_token_one_joins_and_may_ask_again() {
    let server = TestServer::start(BY_TLS);
    let invitation = invite(&server, "h1");
    let token = invitation["token"].as_str().expect("a token");
    let machines: Vec<_> = (0..8).map(|_| Machine::new()).collect();
    let joined: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = machines
            .iter()
            .map(|machine| scope.spawn(|| machine.ask_to_join(&server, machine.join_request(token, "h1")).is_ok()))
            .collect();
        asking.into_iter().map(|asked| asked.join().expect("no panic")).collect()
    });
    assert_eq!(joined.iter().filter(|has_joined| **has_joined).count(), 1, "{joined:?}");
    for (machine, has_joined) in machines.iter().zip(joined) {
        let again = machine.ask_to_join(&server, machine.join_request(token, "h1"));
        assert_eq!(again.is_ok(), has_joined, "the answer may have been lost");
    }
}

#[test]
fn a_request_without_a_key_of_its_own_is_refused() {
    let server = TestServer::start(BY_TLS);
    let invitation = invite(&server, "h1");
    let machine = Machine::new();
    let mut request = machine.join_request(invitation["token"].as_str().expect("a token"), "h1");
    let last = request.request.last_mut().expect("octets");
    *last ^= 1;
    let refusal = machine.ask_to_join(&server, request).expect_err("refused");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}

/// Which somebody may have made with much care.
#[test]
fn the_request_of_who_has_no_token_is_not_looked_at() {
    let server = TestServer::start(BY_TLS);
    let machine = Machine::new();
    let request = JoinRequest { request: b"none".to_vec(), ..machine.join_request("pnj-0", "h1") };
    let refusal = machine.ask_to_join(&server, request).expect_err("refused");
    assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
    let invitation = invite(&server, "h1");
    let token = invitation["token"].as_str().expect("a token");
    let request = JoinRequest { request: b"none".to_vec(), ..machine.join_request(token, "h1") };
    let refusal = machine.ask_to_join(&server, request).expect_err("refused");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}

#[test]
fn a_client_that_asks_often_is_told_so_and_may_ask_again() {
    let server = TestServer::start(BY_TLS);
    let invitation = invite(&server, "h1");
    let mut machine = Machine::new();
    let channel = machine.open(&server).expect("a connection");
    let ask = || {
        let mut client = MembershipClient::new(channel.clone());
        let request = proto::JoinRequest::from(machine.join_request("pnj-0", "h1"));
        server.runtime().spawn(async move { client.join(request).await.expect_err("refused") })
    };
    let heard = |asked: JoinHandle<Status>| server.runtime().block_on(asked).expect("no panic");
    // From its answer on, the client knows how many calls may be under way.
    assert_eq!(heard(ask()).code(), Code::PermissionDenied);
    // Many at once, so that they are more than the rate on a slow machine, too.
    let ask_often = || {
        let asked: Vec<_> = (0..100).map(|_| ask()).collect();
        let told: Vec<_> = asked.into_iter().map(heard).collect();
        told.into_iter().find(|told| told.code() != Code::PermissionDenied)
    };
    let refusal = std::iter::repeat_with(ask_often).flatten().next().expect("it is too much at last");
    let expected = "too many machines ask to join from this address: ask again in a second";
    assert_eq!((refusal.code(), refusal.message()), (Code::ResourceExhausted, expected));
    wait_until("a turn", || machine.join(&server, &invitation, "h1").is_ok());
}

#[test]
fn nobody_is_served_without_the_certificate_of_the_host() {
    let server = TestServer::start(BY_TLS);
    let (one, other) = (Machine::joined(&server, "h1"), Machine::joined(&server, "h2"));
    let refusal = |machine: &Machine, host| {
        let refusal = machine.connect(&server, host, silent).err().expect("refused");
        (refusal.code(), refusal.message().to_owned())
    };
    let none = "a host shows its certificate here, and this agent has none: join first (privnet agent join)";
    assert_eq!(refusal(&Machine::new(), "h1"), (Code::Unauthenticated, none.into()));
    let others = "the certificate is host h2's, and the agent is named h1: a host speaks for itself alone";
    assert_eq!(refusal(&other, "h1"), (Code::PermissionDenied, others.into()));
    wait_for_event(&server, "connect-agent", 403);
    one.connect(&server, "h1", silent).expect("accepted");
}

/// Nothing that it says is read before.
#[test]
fn who_shows_no_certificate_is_refused_before_it_is_heard() {
    let server = TestServer::start(BY_TLS);
    let no_hello = || Some(FromAgent::Present { serial: 1 });
    let told = |machine: &Machine| machine.follow(&server, no_hello()).expect_err("refused").code();
    assert_eq!(told(&Machine::new()), Code::Unauthenticated);
    assert_eq!(told(&Machine::joined(&server, "h1")), Code::InvalidArgument);
}

#[test]
fn a_replaced_certificate_is_refused_before_the_host_s_agent_is_asked() {
    let server = TestServer::start(Setup { operation_hold: Duration::ZERO, ..BY_TLS });
    let lost = Machine::joined(&server, "h1");
    let mut found = Machine::new();
    found.join(&server, &invite_again(&server, "h1"), "h1").expect("joined");
    let agent = found.connect(&server, "h1", silent).expect("accepted");
    assert_eq!(agent.hear_what_it_lacked(), []);
    let refusal = lost.connect(&server, "h1", silent).err().expect("refused");
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, REPLACED));
    server.attach(&server.network(managed(9)), &server.instance("web", "h1"));
    let heard = agent.hear();
    assert!(matches!(heard, FromServer::Full(_)), "{heard:?}");
}

/// The key purposes of RFC 5280 §4.2.1.12, by the last octet of their identifiers.
#[test]
fn the_certificate_of_a_host_is_a_client_s_and_makes_no_server() {
    const SERVER_AUTH: u8 = 1;
    const CLIENT_AUTH: u8 = 2;
    let server = TestServer::start(BY_TLS);
    let machine = Machine::joined(&server, "h1");
    let purposes = [SERVER_AUTH, CLIENT_AUTH].map(|purpose| {
        let identifier = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, purpose];
        machine.certificate().der().windows(identifier.len()).any(|octets| octets == identifier)
    });
    assert_eq!(purposes, [false, true]);
}

#[test]
fn a_certificate_of_another_server_is_not_taken() {
    let (server, elsewhere) = (TestServer::start(BY_TLS), TestServer::start(BY_TLS));
    let stranger = Machine::joined(&elsewhere, "h1");
    Machine::joined(&server, "h1");
    let refusal = stranger.connect(&server, "h1", silent).err().expect("refused");
    assert_ne!(refusal.code(), Code::Ok);
    assert_eq!(server.host("h1").expect("a host")["connected"], false);
}

#[test]
fn a_host_that_is_removed_is_cut_off_at_once_and_stays_out() {
    let server = TestServer::start(BY_TLS);
    let machine = Machine::joined(&server, "h1");
    let agent = machine.connect(&server, "h1", acknowledge).expect("accepted");
    remove(&server, "h1");
    let end = agent.hear_the_end();
    assert_eq!((end.code(), end.message()), (Code::PermissionDenied, REMOVED));
    let refusal = machine.connect(&server, "h1", silent).err().expect("refused");
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, REMOVED));
    assert_eq!(machine.renewed(&server).err().expect("refused").message(), REMOVED);
    assert_eq!(server.host("h1"), None);
    // And its next one is not taken for it.
    let next = Machine::joined(&server, "h1");
    let refusal = machine.connect(&server, "h1", silent).err().expect("refused");
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, REPLACED));
    next.connect(&server, "h1", silent).expect("accepted");
}

#[test]
fn a_host_that_joins_again_keeps_what_it_has_and_its_old_key_is_good_for_nothing() {
    let server = TestServer::start(BY_TLS);
    let lost = Machine::joined(&server, "h1");
    let agent = lost.connect(&server, "h1", acknowledge).expect("accepted");
    server.instance("web", "h1");
    let taken = "there is a host h1 already: choose another name; or, if that host is to join again with a new key, say that it rejoins";
    server.refused("POST", "/privnet/v1/host-invitations", json!({"host": "h1"}), 409, taken);
    let mut found = Machine::new();
    found.join(&server, &invite_again(&server, "h1"), "h1").expect("joined");
    let end = agent.hear_the_end();
    assert_eq!((end.code(), end.message()), (Code::PermissionDenied, REPLACED));
    let refusal = lost.connect(&server, "h1", silent).err().expect("refused");
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, REPLACED));
    found.connect(&server, "h1", silent).expect("accepted");
    assert_eq!(server.host("h1").expect("a host")["instances"], 1);
}

/// As somebody would who has a host's key and wants to stay: there is always something that it has not been told.
#[test]
fn a_host_that_is_removed_is_cut_off_at_once_though_it_takes_nothing() {
    let server = TestServer::start(BY_TLS);
    let machine = Machine::joined(&server, "h1");
    let deaf = machine.connect_deaf(&server, "h1", invented(1500)).expect("accepted");
    remove(&server, "h1");
    deaf.hear_the_end();
    let next = Machine::joined(&server, "h1");
    next.connect(&server, "h1", silent).expect("accepted");
}

#[test]
fn a_certificate_that_is_replaced_keeps_no_place_for_who_takes_nothing() {
    let server = TestServer::start(BY_TLS);
    let lost = Machine::joined(&server, "h1");
    let deaf = lost.connect_deaf(&server, "h1", invented(1500)).expect("accepted");
    assert_eq!(server.host("h1").expect("a host")["connected"], true);
    let mut found = Machine::new();
    found.join(&server, &invite_again(&server, "h1"), "h1").expect("joined");
    wait_until("its end", || server.host("h1").expect("a host")["connected"] == false);
    deaf.hear_the_end();
    found.connect(&server, "h1", silent).expect("accepted");
}

#[test]
fn a_host_that_renews_often_is_told_so_and_keeps_no_other_from_it() {
    let server = TestServer::start(BY_TLS);
    let (often, other) = (Machine::joined(&server, "h1"), Machine::joined(&server, "h2"));
    let refusal = (0..100).find_map(|_| often.renewed(&server).err()).expect("it is too much at last");
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    other.renewed(&server).expect("renewed");
    wait_until("a turn", || often.renewed(&server).is_ok());
}

#[test]
fn a_certificate_is_good_until_the_next_one_was_used() {
    let server = TestServer::start(BY_TLS);
    let first = Machine::joined(&server, "h1");
    let lost = first.renewed(&server).expect("renewed");
    let second = first.renewed(&server).expect("renewed");
    first.connect(&server, "h1", silent).expect("accepted").leave(&server);
    assert_eq!(lost.connect(&server, "h1", silent).err().expect("refused").message(), REPLACED);
    second.connect(&server, "h1", silent).expect("accepted").leave(&server);
    assert_eq!(first.connect(&server, "h1", silent).err().expect("refused").message(), REPLACED);
    assert_eq!(first.renewed(&server).err().expect("refused").message(), REPLACED);
    second.connect(&server, "h1", silent).expect("accepted");
}

#[test]
fn a_certificate_that_has_expired_is_not_taken() {
    let lifetime = Duration::from_secs(3);
    let server = TestServer::start(Setup { certificate_lifetime: lifetime, ..BY_TLS });
    let machine = Machine::joined(&server, "h1");
    wait_until("its end", || machine.connect(&server, "h1", silent).is_err());
    // The server has renewed its own meanwhile: whoever shows none is heard.
    let refusal = Machine::new().connect(&server, "h1", silent).err().expect("refused");
    assert_eq!(refusal.code(), Code::Unauthenticated, "{refusal}");
}

/// What a host says of another one's port counts for nothing.
#[test]
fn a_host_reports_on_the_networks_that_it_was_told_of_alone() {
    let server = TestServer::start(Setup { operation_hold: Duration::ZERO, ..BY_TLS });
    let (one, other) = (Machine::joined(&server, "h1"), Machine::joined(&server, "h2"));
    let own = one.connect(&server, "h1", silent).expect("accepted");
    let liar = other.connect(&server, "h2", silent).expect("accepted");
    assert_eq!((own.hear_what_it_lacked(), liar.hear_what_it_lacked()), (vec![], vec![]));
    let network = server.network(managed(9));
    let operation = server.attach(&network, &server.instance("web", "h1"));
    let FromServer::Full(state) = own.hear() else { panic!("it is not told") };
    let mac = *state.members.keys().next().expect("the port");
    let failure = PortFailure { mac, reason: Reason::Fault, message: "so I say".to_owned() };
    liar.say(FromAgent::Applied { network: state.id, generation: state.generation, failures: vec![failure] });
    // What is asked for afterwards is sent after that has been heard.
    liar.say(FromAgent::NeedFull { network: state.id });
    assert!(matches!(liar.hear(), FromServer::Remove { network, .. } if network == state.id));
    // From here on it would be believed.
    server.attach(&network, &server.instance("other", "h2"));
    let FromServer::Full(told) = liar.hear() else { panic!("it is not told") };
    for host in [&own, &liar] {
        assert_eq!(server.operation(&operation)["state"], "pending");
        host.say(FromAgent::Applied { network: told.id, generation: told.generation, failures: vec![] });
    }
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn a_second_machine_with_the_key_of_a_host_is_refused_while_the_first_is_there() {
    let server = TestServer::start(BY_TLS);
    let machine = Machine::joined(&server, "h1");
    let first = machine.connect(&server, "h1", acknowledge).expect("accepted");
    let refusal = machine.connect(&server, "h1", silent).err().expect("refused");
    assert_eq!(refusal.code(), Code::AlreadyExists);
    assert_eq!(first.hear_what_it_lacked(), []);
    let FromServer::Rival { who, .. } = first.hear() else { panic!("it is not told") };
    assert!(who.starts_with("at 127.0.0.1:"), "{who}");
}

#[test]
fn a_host_that_is_removed_is_refused_before_it_says_anything() {
    let server = TestServer::start(BY_TLS);
    let machine = Machine::joined(&server, "h1");
    remove(&server, "h1");
    let refusal = machine.follow(&server, None).expect_err("refused");
    assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, REMOVED));
}

#[test]
fn a_message_that_is_larger_than_any_agent_has_is_refused() {
    let server = TestServer::start(BY_TLS);
    let mut hello = hello("h1", Held::new());
    hello.facts.version = "x".repeat(AGENT_MESSAGE_BYTES_MAX);
    let refusal = Machine::joined(&server, "h1").follow(&server, Some(FromAgent::Hello(hello))).expect_err("refused");
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal}");
}

#[test]
fn an_agent_that_holds_more_than_any_host_can_is_refused() {
    let server = TestServer::start(BY_TLS);
    let hello = hello("h1", invented(HELD_MAX as u64 + 1));
    let refusal = Machine::joined(&server, "h1").follow(&server, Some(FromAgent::Hello(hello))).expect_err("refused");
    let expected = "held has 65537 entries, and at most 65536 are taken";
    assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, expected));
    assert_eq!(server.host("h1").expect("a host")["connected"], false);
}

#[test]
fn a_connection_has_one_stream_of_an_agent() {
    let server = TestServer::start(BY_TLS);
    let machine = Machine::joined(&server, "h1");
    let connection = machine.open(&server).expect("accepted");
    let follow = || Machine::follow_on(connection.clone(), &server, Some(FromAgent::Hello(hello("h1", Held::new()))));
    follow().expect("accepted");
    let refusal = follow().expect_err("refused");
    let expected = "a connection has one stream of an agent: connect anew";
    assert_eq!((refusal.code(), refusal.message()), (Code::FailedPrecondition, expected));
    wait_until("the end of the first", || server.host("h1").expect("a host")["connected"] == false);
    machine.connect(&server, "h1", silent).expect("another connection has its own");
}

#[test]
fn a_certificate_has_a_few_connections_and_no_more() {
    let server = TestServer::start(BY_TLS);
    let (one, other) = (Machine::joined(&server, "h1"), Machine::joined(&server, "h2"));
    let open: Vec<_> = (0..4).map(|_| one.open(&server).expect("accepted")).collect();
    let fifth = one.connect(&server, "h1", silent).err().expect("refused");
    assert_ne!(fifth.code(), Code::Ok);
    other.connect(&server, "h2", silent).expect("the others have theirs");
    drop(open);
    wait_until("a place", || one.connect(&server, "h1", silent).is_ok());
}

#[test]
fn a_client_that_says_nothing_takes_its_own_places_alone() {
    let server = TestServer::start(BY_TLS);
    let silent: Vec<_> =
        (0..64).map(|_| TcpStream::connect(server.sync_address()).expect("the server listens")).collect();
    // The 65th of one address: it is turned away at once, while there are places for others.
    assert!(Machine::new().open(&server).is_err());
    drop(silent);
    wait_until("a place", || Machine::new().open(&server).is_ok());
}

#[test]
fn what_is_no_tls_is_told_so_and_harms_nobody() {
    let server = TestServer::start(BY_TLS);
    let mut connection = TcpStream::connect(server.sync_address()).expect("the server listens");
    connection.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // It is closed, by an alert or without.
    let _ = connection.read_to_end(&mut answer);
    Machine::joined(&server, "h1");
}

#[test]
fn the_authority_stays_when_the_server_is_started_again() {
    let mut server = TestServer::start(BY_TLS);
    let machine = Machine::joined(&server, "h1");
    let fingerprint = server.authority().fingerprint();
    server.restart();
    assert_eq!(server.authority().fingerprint(), fingerprint);
    machine.connect(&server, "h1", silent).expect("accepted");
}

#[test]
fn the_key_of_the_authority_is_not_on_disk_in_the_clear_and_its_certificate_is_for_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = TestServer::start(BY_TLS);
    for (file, mode) in [("authority.json", 0o600), ("authority.pem", 0o644)] {
        let path = server.dir().join(file);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, mode, "{file}");
        assert!(!fs::read_to_string(&path).expect("readable").contains("PRIVATE KEY"), "{file}");
    }
}

#[test]
fn a_server_without_the_authority_of_its_hosts_does_not_make_another_one() {
    let mut server = TestServer::start(BY_TLS);
    Machine::joined(&server, "h1");
    server.stop();
    let file = server.dir().join("authority.json");
    let moved = server.dir().join("elsewhere");
    let start = || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let bound = runtime.block_on(Server::bind(config(BY_TLS, server.dir_handle())));
        bound.err().map(|error| error.to_string())
    };
    fs::rename(&file, &moved).expect("moved");
    let refusal = start().expect("refused");
    let expected = format!("{} is missing, and 1 hosts have certificates", file.display());
    assert!(refusal.starts_with(&expected) && refusal.contains("--rejoin"), "{refusal}");
    assert!(!file.exists());
    fs::write(&file, "{}").expect("written");
    assert!(start().expect("refused").contains("is not the file of an authority"));
    fs::rename(&moved, &file).expect("put back");
    // Of another server.
    let other = TestServer::start(BY_TLS);
    fs::copy(other.dir().join("authority.json"), &file).expect("copied");
    assert!(start().expect("refused").contains("is not encrypted with the master key beside it"));
}

#[test]
fn a_missing_master_key_is_told_before_the_authority() {
    let mut server = TestServer::start(BY_TLS);
    Machine::joined(&server, "h1");
    server.stop();
    fs::remove_file(server.dir().join("master.key")).expect("removed");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let refusal = runtime.block_on(Server::bind(config(BY_TLS, server.dir_handle()))).err().expect("refused");
    assert!(refusal.to_string().contains("master.key is missing"), "{refusal}");
}

#[test]
fn a_host_on_the_socket_needs_no_certificate() {
    let server = TestServer::start(BY_TLS);
    let _local = Agent::connect(&server, "h1", acknowledge);
    let _remote = Machine::joined(&server, "h2").connect(&server, "h2", acknowledge).expect("accepted");
    let network = server.network(managed(9));
    server.attach(&network, &server.instance("a", "h1"));
    assert_eq!(server.attach(&network, &server.instance("b", "h2"))["state"], "success");
}
