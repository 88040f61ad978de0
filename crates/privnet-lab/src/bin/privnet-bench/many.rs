//! A server with very many networks: how fast it still is, and how large.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use privnet_lab::{Api, Lab, check_interrupts};
use serde_json::{Value, json};

use crate::create::{create, server_alone};
use crate::http::{Connection, drive, request};
use crate::machine::resident_mib;
use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::Pairs;

const NETWORKS: usize = 100_000;

/// Each with a port in two networks, so that each network has two ports.
const INSTANCES: usize = NETWORKS;

/// More than measure, so that more is made durable at a time.
const FILLING_CLIENTS: usize = 128;

/// How many networks one run of `create_at_100k` creates: few, as the empty server is not to fill up.
const CREATED_PER_RUN: usize = 1_000;

pub(crate) static STEPS: [Step; 4] = [
    Step {
        what: "a server with 100,000 networks",
        names: &["create_at_100k", "list_100k", "server_rss_100k"],
        seconds: 100,
    },
    Step { what: "creates there", names: &["create_at_100k"], seconds: 3 },
    Step { what: "its list", names: &["list_100k"], seconds: 3 },
    Step { what: "its memory", names: &["server_rss_100k"], seconds: 1 },
];

/// Measures the benchmarks of a full server.
pub(crate) fn measure(session: &mut Session) -> Result<()> {
    let [full, creates, list, memory] = &STEPS;
    let lab = session.prepare(full, full_server)?;
    session.measure(creates, || Ok(vec![measure_creates(lab.api())?]))?;
    session.measure(list, || Ok(vec![measure_list(lab.api())?]))?;
    session.measure(memory, || {
        let mib = resident_mib(lab.server().context("the server runs")?.pid())?;
        Ok(vec![Measurement::alone("server_rss_100k", mib, (mib, mib))])
    })
}

fn measure_creates(full: &Api) -> Result<Measurement> {
    let empty = server_alone()?;
    let [ours, reference] = in_turn([&mut || creates_per_second(full), &mut || creates_per_second(empty.api())])?;
    Ok(Measurement::of_pairs("create_at_100k", &Pairs { ours, reference }))
}

fn creates_per_second(api: &Api) -> Result<f64> {
    let started = Instant::now();
    create(api, 0..CREATED_PER_RUN)?;
    Ok(CREATED_PER_RUN as f64 / started.elapsed().as_secs_f64())
}

fn measure_list(api: &Api) -> Result<Measurement> {
    let list = request(api, "GET", "/v2/private-network", None)?;
    let mut server = Connection::open(api)?;
    let answer = server.ask(&list)?;
    ensure!(answer.status() == 200, "the list is refused: {}", answer.status());
    let mut memory = Connection::open_to(serve_from_memory(answer.octets().to_vec())?)?;
    let milliseconds = |connection: &mut Connection| {
        let started = Instant::now();
        connection.ask(&list)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    let [ours, reference] = in_turn([&mut || milliseconds(&mut server), &mut || milliseconds(&mut memory)])?;
    Ok(Measurement::of_pairs("list_100k", &Pairs { ours, reference }))
}

/// Answers every request of one connection with these octets, until it is closed.
fn serve_from_memory(octets: Vec<u8>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        // Requests are small and come one at a time, so each comes in one piece.
        let mut request = [0; 4096];
        while stream.read(&mut request)? > 0 {
            stream.write_all(&octets)?;
        }
        Ok(())
    });
    Ok(address)
}

/// A server with all networks and ports. Their host has reported once and is away, so that no kernel
/// has to carry 200,000 ports for this.
fn full_server() -> Result<Lab> {
    let mut lab = Lab::builder().hosts(1).server_args(["--operation-hold", "0s"]).prepare()?;
    lab.start_server()?;
    lab.start_agent(1)?;
    lab.wait_for_agents()?;
    lab.stop_agent(1)?;
    let api = lab.api();
    eprintln!("  creating {NETWORKS} networks");
    let networks = create(api, 0..NETWORKS)?;
    eprintln!("  registering {INSTANCES} instances");
    let instances = register(api, &lab.host(1).name)?;
    eprintln!("  attaching {} ports", 2 * INSTANCES);
    let last = attach(api, &networks, &instances)?;
    eprintln!("  waiting for the operations' deadline");
    wait_for_end(api, &last)?;
    ensure_full(api)?;
    Ok(lab)
}

fn register(api: &Api, host: &str) -> Result<Vec<String>> {
    let mut ids = vec![String::new(); INSTANCES];
    let registration = |number: usize| {
        let name = format!("instance-{number:06}");
        let body = json!({"name": name, "host": host, "kind": "netns", "netns": name});
        request(api, "POST", "/privnet/v1/instances", Some(&body))
    };
    drive(api, FILLING_CLIENTS, (0..INSTANCES).map(registration), |number, answer| {
        ids[number] = answer.json()?["id"].as_str().context("an instance has an id")?.to_owned();
        Ok(())
    })?;
    Ok(ids)
}

/// Returns the operation that ends last.
fn attach(api: &Api, networks: &[String], instances: &[String]) -> Result<Value> {
    let port = |number: usize| {
        let network = &networks[number / 2];
        let instance = &instances[(number / 2 + number % 2) % instances.len()];
        let body = json!({"instance": {"id": instance}});
        request(api, "PUT", &format!("/v2/private-network/{network}:attach"), Some(&body))
    };
    let mut last = Value::Null;
    drive(api, FILLING_CLIENTS, (0..2 * INSTANCES).map(port), |_, answer| {
        last = answer.json()?;
        Ok(())
    })?;
    Ok(last)
}

/// The attaches wait for a host that is away, and time out. What waits is no part of what is measured.
fn wait_for_end(api: &Api, operation: &Value) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(500);
    let path = format!("/v2/operation/{}", operation["id"].as_str().context("an operation has an id")?);
    while api.get(&path)?["state"] == "pending" {
        check_interrupts()?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn ensure_full(api: &Api) -> Result<()> {
    let list = api.get("/v2/private-network")?;
    let networks = list["private-networks"].as_array().context("a list of networks")?;
    let leases: usize = networks.iter().map(|network| network["leases"].as_array().map_or(0, Vec::len)).sum();
    ensure!((networks.len(), leases) == (NETWORKS, 2 * INSTANCES), "{} networks, {leases} leases", networks.len());
    Ok(())
}
