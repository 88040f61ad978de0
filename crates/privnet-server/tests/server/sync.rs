//! What an agent is told when it connects, and afterwards.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use privnet_model::zone::Snapshot;
use privnet_model::{Generation, NetworkDelta};
use privnet_server::Server;
use privnet_sync::{FromAgent, FromServer, Hello};
use serde_json::json;
use tonic::Code;

use crate::support::agent::{Held, acknowledge, hello, silent};
use crate::support::{Agent, PATIENCE, Setup, TestServer, config, folder, id_of, managed, wait_until};

#[test]
fn a_second_agent_of_one_host_is_refused() {
    let server = TestServer::start(Setup::WAITING);
    let first = Agent::connect(&server, "h1", acknowledge);
    let refusal = Agent::try_connect(&server, hello("h1", Held::new()), "h1", acknowledge).err().expect("refused");
    assert_eq!(refusal.code(), Code::AlreadyExists);
    assert_eq!(
        refusal.message(),
        "an agent for host h1 is connected already (on the server's socket); two agents cannot be one host: stop one of them, or give this host a name of its own"
    );
    assert_eq!(first.hear_what_it_lacked(), []);
    assert_eq!(first.hear(), FromServer::Rival { who: "on the server's socket".into(), serial: 1 });
    wait_until("the event", || {
        let log = server.get("/privnet/v1/events");
        let events = log["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| event["call"] == "connect-agent" && event["status"] == 409)
    });
    first.leave(&server);
    Agent::connect(&server, "h1", acknowledge);
}

/// Its older connection may be dead, and nobody know it yet.
#[test]
fn the_same_run_of_an_agent_takes_the_place_of_its_older_connection_at_once() {
    let server = TestServer::start(Setup::WAITING);
    let [hello, another] = [(); 2].map(|()| hello("h1", Held::new()));
    let older = Agent::try_connect(&server, hello.clone(), "h1", acknowledge).expect("accepted");
    let newer = Agent::try_connect(&server, hello, "h1", acknowledge).expect("accepted");
    let end = older.hear_the_end();
    let message = "another connection of this host's agent has taken this one's place";
    assert_eq!((end.code(), end.message()), (Code::Aborted, message));
    assert_eq!(newer.hear_what_it_lacked(), []);
    assert_eq!(server.host("h1").expect("a host")["connected"], true);
    let network = server.network(managed(9));
    let operation = server.attach(&network, &server.instance("web", "h1"));
    assert_eq!(operation["state"], "success", "the newer one is who is told");
    // And the older one's end has not made room for another.
    let refusal = Agent::try_connect(&server, another, "h1", acknowledge).err().expect("refused");
    assert_eq!(refusal.code(), Code::AlreadyExists);
}

#[test]
fn an_agent_that_does_not_say_that_it_is_still_there_loses_its_place() {
    let server = TestServer::start(Setup::WAITING);
    let dead = Agent::connect(&server, "h1", silent);
    let next = Agent::connect(&server, "h1", acknowledge);
    dead.hear_the_end();
    assert_eq!(next.hear_what_it_lacked(), []);
}

#[test]
fn an_older_agent_that_cannot_say_that_it_is_there_keeps_its_place() {
    let server = TestServer::start(Setup::WAITING);
    let older = Hello { protocol: 2, run: None, ..hello("h1", Held::new()) };
    let _first = Agent::try_connect(&server, older.clone(), "h1", silent).expect("accepted");
    for second in [older, hello("h1", Held::new())] {
        let refusal = Agent::try_connect(&server, second, "h1", silent).err().expect("refused");
        assert_eq!(refusal.code(), Code::AlreadyExists);
    }
}

#[test]
fn a_refused_agent_changes_nothing_of_the_host() {
    let server = TestServer::start(Setup::WAITING);
    let _first = Agent::connect(&server, "h1", acknowledge);
    let imposter = Hello { facts: hello("h9", Held::new()).facts, ..hello("h1", Held::new()) };
    let refusal = Agent::try_connect(&server, imposter, "h1", acknowledge).err().expect("refused");
    assert_eq!(refusal.code(), Code::AlreadyExists);
    assert_eq!(server.host("h1").expect("a host")["vtep"], "192.0.2.1");
}

#[test]
fn an_agent_whose_host_is_removed_registers_anew() {
    let server = TestServer::start(Setup::WAITING);
    let removed = Agent::connect(&server, "h1", acknowledge);
    let host = server.host("h1").expect("a host")["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.send("DELETE", &format!("/privnet/v1/hosts/{host}"), b"").status, 204);
    let end = removed.hear_the_end();
    assert_eq!((end.code(), end.message()), (Code::Aborted, "the host was removed"));
    let _back = Agent::connect(&server, "h1", acknowledge);
    assert_eq!(server.host("h1").expect("a host")["connected"], true);
}

/// As when the server's records are those of an earlier day.
#[test]
fn an_agent_that_is_ahead_is_told_all_and_what_it_had_applied_counts_for_nothing() {
    let server = TestServer::start(Setup::AT_ONCE);
    Agent::connect(&server, "h1", silent).leave(&server);
    let network = server.network(managed(9));
    let operation = server.attach(&network, &server.instance("web", "h1"));
    let ahead = Generation(99);
    let back = Agent::connect_holding(&server, "h1", Held::from([(id_of(&network), ahead)]), silent);
    back.say(FromAgent::Applied { network: id_of(&network), generation: ahead, failures: Vec::new() });
    let lacked = back.hear_what_it_lacked();
    assert!(matches!(&lacked[..], [FromServer::Full(state)] if state.generation == Generation(2)), "{lacked:?}");
    // What is asked for afterwards is sent after that has been heard.
    back.say(FromAgent::NeedFull { network: id_of(&network) });
    back.hear();
    assert_eq!(server.operation(&operation)["state"], "pending");
    back.say(FromAgent::Applied { network: id_of(&network), generation: Generation(2), failures: Vec::new() });
    assert_eq!(server.ended(&operation)["state"], "success");
}

#[test]
fn an_agent_that_never_says_hello_does_not_keep_the_server_from_stopping() {
    let mut server = TestServer::start(Setup::WAITING);
    let _quiet = Agent::say_nothing(&server);
    server.stop();
}

#[test]
fn an_agent_that_answers_nothing_any_more_does_not_keep_the_server_from_stopping() {
    let mut server = TestServer::start(Setup::WAITING);
    let _paused = paused_connection(&server);
    server.stop();
}

/// A connection of HTTP/2 to whose frames nobody answers (RFC 9113 §3.4).
fn paused_connection(server: &TestServer) -> UnixStream {
    let mut connection = UnixStream::connect(server.sync_socket()).expect("the server listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("a preface");
    connection.write_all(&frame(SETTINGS, 0, 0, &[])).expect("settings");
    // The server's own settings say that it follows the connection.
    assert_eq!(hear_frame(&mut connection).0, SETTINGS);
    connection
}

/// Kinds of frames (RFC 9113 §6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let octets = u8::try_from(payload.len()).expect("a short frame");
    [&[0, 0, octets, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The kind, the stream and the payload of the next frame.
fn hear_frame(connection: &mut UnixStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    connection.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    connection.read_exact(&mut payload).expect("its payload");
    (head[3], head[8], payload)
}

/// The beginning of a call of `Follow`, without a message: fields of the static table by their index, others as they
/// are (RFC 7541 §6).
fn call(stream: u8) -> Vec<u8> {
    const END_HEADERS: u8 = 4;
    const POST: u8 = 0x83;
    const HTTP: u8 = 0x86;
    let literal = |name: &[u8], value: &str| [name, &[value.len() as u8], value.as_bytes()].concat();
    let fields = [
        vec![POST, HTTP],
        literal(&[1], "server"),
        literal(&[4], "/privnet.sync.v1.Sync/Follow"),
        literal(&[0x0f, 31 - 15], "application/grpc"),
        literal(b"\x00\x02te", "trailers"),
    ];
    frame(HEADERS, END_HEADERS, stream, &fields.concat())
}

#[test]
fn a_connection_has_eight_calls_under_way_and_no_more() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let server = TestServer::start(Setup::WAITING);
    let mut connection = paused_connection(&server);
    let streams = [1, 3, 5, 7, 9, 11, 13, 15, 17];
    streams.iter().for_each(|stream| connection.write_all(&call(*stream)).expect("asked"));
    let mut answers = std::iter::repeat_with(|| hear_frame(&mut connection));
    let first = answers.find(|(kind, ..)| [HEADERS, RST_STREAM].contains(kind));
    assert_eq!(first, Some((RST_STREAM, 17, REFUSED_STREAM.to_vec())));
}

#[test]
fn two_hosts_are_not_one_vtep() {
    let server = TestServer::start(Setup::WAITING);
    let _first = Agent::connect(&server, "h1", acknowledge);
    let imposter = Hello { host: hello("h2", Held::new()).host, ..hello("h1", Held::new()) };
    let refusal = Agent::try_connect(&server, imposter, "h2", acknowledge).err().expect("refused");
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(refusal.message(), "host h1 already has the underlay address 192.0.2.1");
    assert_eq!(server.host("h2"), None);
}

#[test]
fn an_agent_that_lacks_nothing_is_told_nothing() {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    server.attach(&network, &web);
    agent.leave(&server);
    let held = Held::from([(id_of(&network), Generation(2))]);
    let back = Agent::connect_holding(&server, "h1", held, acknowledge);
    assert_eq!(back.hear_what_it_lacked(), []);
}

#[test]
fn an_agent_that_missed_a_thousand_changes_is_told_only_what_it_lacks() {
    let server = TestServer::start(Setup::AT_ONCE);
    let away = Agent::connect(&server, "h1", acknowledge);
    let _other = Agent::connect(&server, "h2", acknowledge);
    let (busy, quiet) = (server.network(managed(99)), server.network(managed(99)));
    let own = server.instance("own", "h1");
    let others: Vec<_> = (0..10).map(|number| server.instance(&format!("o{number}"), "h2")).collect();
    for network in [&busy, &quiet] {
        server.attach(network, &own);
        let attached = others.iter().map(|other| server.attach(network, other));
        assert_eq!(server.ended(&attached.last().expect("ten"))["state"], "success");
    }
    let held = Held::from([&busy, &quiet].map(|network| (id_of(network), Generation(12))));
    away.leave(&server);
    for round in 0..500 {
        let ip = format!("10.0.0.{}", 150 + round % 100);
        let body = json!({"instance": {"id": others[3]}, "ip": ip});
        server.put(&format!("{busy}:update-ip"), body);
        match round % 2 {
            0 => server.detach(&busy, &others[7]),
            _ => server.attach(&busy, &others[7]),
        };
    }
    server.detach(&busy, &others[9]);
    let back = Agent::connect_holding(&server, "h1", held, acknowledge);
    let lacked = back.hear_what_it_lacked();
    let [FromServer::Delta(NetworkDelta { id, base, generation, set, removed, .. })] = &lacked[..] else {
        panic!("told {lacked:?}");
    };
    assert_eq!((*id, *base, *generation), (id_of(&busy), Generation(12), Generation(1013)));
    // The one that moved and the one that came again; what that one was before and the one that left.
    assert_eq!((set.len(), removed.len()), (2, 251));
}

#[test]
fn the_hosts_of_a_network_are_told_the_mtu_that_all_of_them_have() {
    let server = TestServer::start(Setup::WAITING);
    let small = Agent::connect(&server, "h1", acknowledge);
    let mut hello = hello("h2", Held::new());
    hello.facts.underlay_mtu_bytes = 9000;
    let large = Agent::try_connect(&server, hello, "h2", acknowledge).expect("connected");
    let network = server.network(managed(9));
    server.attach(&network, &server.instance("web", "h2"));
    server.attach(&network, &server.instance("db", "h1"));
    assert_eq!([mtu_told(&large), mtu_told(&large)], [8950, 1450].map(Some));
    assert_eq!(mtu_told(&small), Some(1450));
    small.say(FromAgent::UnderlayMtu { bytes: 9000 });
    assert_eq!([&small, &large].map(mtu_told), [Some(8950); 2]);
    assert_eq!(server.host("h1").expect("a host")["underlay-mtu-bytes"], 9000);
}

/// What the agent's next full state or delta says.
fn mtu_told(agent: &Agent) -> Option<u32> {
    std::iter::repeat_with(|| agent.hear())
        .find_map(|message| match message {
            FromServer::Full(state) => Some(state.mtu_bytes),
            FromServer::Delta(delta) => Some(delta.mtu_bytes),
            _ => None,
        })
        .expect("endless")
}

#[test]
fn an_agent_whose_generation_is_too_old_is_told_all() {
    let mut server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(9));
    let (web, db) = (server.instance("web", "h1"), server.instance("db", "h1"));
    server.attach(&network, &web);
    server.attach(&network, &db);
    server.detach(&network, &db);
    agent.leave(&server);
    // Which ports were removed is not kept over a restart.
    server.restart();
    let held = Held::from([(id_of(&network), Generation(3))]);
    let back = Agent::connect_holding(&server, "h1", held, acknowledge);
    let lacked = back.hear_what_it_lacked();
    let [FromServer::Full(state)] = &lacked[..] else { panic!("told {lacked:?}") };
    assert_eq!((state.id, state.generation, state.members.len()), (id_of(&network), Generation(4), 1));
}

#[test]
fn an_agent_that_cannot_use_a_delta_is_told_all() {
    let server = TestServer::start(Setup::WAITING);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let network = server.network(managed(9));
    let web = server.instance("web", "h1");
    server.attach(&network, &web);
    assert_eq!(agent.hear_what_it_lacked(), []);
    let FromServer::Full(state) = agent.hear() else { panic!("a full state") };
    agent.say(FromAgent::NeedFull { network: state.id });
    assert_eq!(agent.hear(), FromServer::Full(state));
}

#[test]
fn an_agent_is_told_to_remove_what_it_shall_carry_no_more() {
    let server = TestServer::start(Setup::AT_ONCE);
    let agent = Agent::connect(&server, "h1", acknowledge);
    let [kept, left, deleted] = ["kept", "left", "deleted"].map(|name| server.network(json!({"name": name})));
    let web = server.instance("web", "h1");
    for network in [&kept, &left, &deleted] {
        server.ended(&server.attach(network, &web));
    }
    agent.leave(&server);
    server.detach(&left, &web);
    server.detach(&deleted, &web);
    server.delete(&deleted);
    let unknown = privnet_model::NetworkId::from_bytes([7; 16]);
    let held = [&kept, &left, &deleted].map(|network| id_of(network)).into_iter().chain([unknown]);
    let back = Agent::connect_holding(&server, "h1", held.map(|id| (id, Generation(2))).collect(), acknowledge);
    let lacked = back.hear_what_it_lacked();
    let removed = |message: &FromServer| match message {
        FromServer::Remove { network, .. } => *network,
        other => panic!("told {other:?}"),
    };
    let mut removed: Vec<_> = lacked.iter().map(removed).collect();
    removed.sort_unstable();
    let mut expected = vec![id_of(&left), id_of(&deleted), unknown];
    expected.sort_unstable();
    assert_eq!(removed, expected);
}

/// Invariant 2: a VNI is not reused while any host may still carry its old network.
#[test]
fn a_vni_is_held_until_every_host_that_had_it_has_confirmed_its_removal() {
    let mut server = TestServer::start(Setup::AT_ONCE);
    let agents = ["h1", "h2"].map(|name| Agent::connect(&server, name, acknowledge));
    let network = server.network(managed(9));
    let vni = server.get(&network)["vni"].as_u64().expect("a number");
    let instances = ["h1", "h2"].map(|name| server.instance(name, name));
    for instance in &instances {
        server.ended(&server.attach(&network, instance));
    }
    let [h1, h2] = agents;
    h1.leave(&server);
    h2.leave(&server);
    instances.iter().for_each(|instance| drop(server.detach(&network, instance)));
    server.delete(&network);
    server.stop();
    let held = |records: Snapshot| {
        let hosts = records.hosts;
        let holder = |carriage: &privnet_model::Carriage| {
            assert_eq!((carriage.network, u64::from(carriage.vni.get())), (id_of(&network), vni));
            hosts.iter().find(|host| host.id == carriage.host).expect("a host").name.to_string()
        };
        records.carriages.iter().map(holder).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(held(server.records()), ["h1", "h2"].map(str::to_owned).into());
    server.resume();
    let h1 = Agent::connect(&server, "h1", acknowledge);
    let h2 = Agent::connect(&server, "h2", silent);
    // What h1 is asked afterwards it answers after its confirmation.
    confirm(&server, &h1);
    drop(h2);
    server.stop();
    assert_eq!(held(server.records()), ["h2"].map(str::to_owned).into());
    server.resume();
    confirm(&server, &Agent::connect(&server, "h2", acknowledge));
    server.stop();
    assert_eq!(held(server.records()), [].into());
}

/// Waits until the server has taken what the agent has said so far.
fn confirm(server: &TestServer, agent: &Agent) {
    let lacked = agent.hear_what_it_lacked();
    assert!(matches!(lacked[..], [FromServer::Remove { .. }]), "{lacked:?}");
    let probe = server.network(json!({"name": "probe"}));
    let host = agent.name();
    let instance = server.instance("probe", host);
    server.ended(&server.attach(&probe, &instance));
    server.ended(&server.detach(&probe, &instance));
    server.ended(&server.delete(&probe));
    assert_eq!(server.send("DELETE", &format!("/privnet/v1/instances/{instance}"), b"").status, 204);
}

#[test]
fn only_the_owner_may_open_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = TestServer::start(Setup::WAITING);
    let mode = std::fs::metadata(server.sync_socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_where_the_socket_shall_be_is_left_alone() {
    let dir = folder();
    let config = config(Setup::WAITING, &dir);
    let [file, beside] = ["sync.sock", "sync.sock.new"].map(|name| dir.path().join(name));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for path in [file, beside] {
        std::fs::write(&path, "somebody's").expect("written");
        let refusal = runtime.block_on(Server::bind(config.clone())).err().expect("refused");
        assert_eq!(refusal.to_string(), format!("cannot listen on the socket {}", config.sync_socket.display()));
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "somebody's");
        std::fs::remove_file(&path).expect("removed");
    }
}
