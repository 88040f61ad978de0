//! How long an attach takes, from the request to the final answer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use privnet_lab::{Instance, Lab, check_interrupts};
use serde_json::{Value, json};

use crate::http::{Connection, address_of, request};
use crate::report::Measurement;
use crate::runs::RUNS;
use crate::session::{Session, Step};
use crate::stats::{percentile, spread};

/// Each has an instance on either host that stays, so that every attach concerns both hosts.
const NETWORKS: usize = 4;

/// Instances that come and go, on each of the two hosts.
const GUESTS_PER_HOST: usize = 8;

/// How long to wait before an operation that is pending is asked for again.
const POLL_PAUSE: Duration = Duration::from_millis(1);

pub(crate) static STEPS: [Step; 1] = [Step { what: "attaches", names: &["attach_p50", "attach_p99"], seconds: 30 }];

pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], measure_attaches)
}

fn measure_attaches() -> Result<Vec<Measurement>> {
    let mut lab = Lab::builder().hosts(2).start()?;
    let networks = (0..NETWORKS).map(|number| spanning_network(&mut lab, number)).collect::<Result<Vec<_>>>()?;
    let mut guests = Vec::new();
    for number in 0..2 * GUESTS_PER_HOST {
        guests.push(lab.add_instance(&format!("guest-{number}"), 1 + number % 2)?);
    }
    let mut connection = Connection::open(address_of(lab.api())?)?;
    let rounds = (0..RUNS).map(|_| round(&mut connection, &networks, &guests)).collect::<Result<Vec<_>>>()?;
    let all = rounds.concat();
    let of = |name, percent| {
        let per_round = rounds.iter().map(|round| percentile(round, percent));
        Measurement::alone(name, percentile(&all, percent), spread(per_round))
    };
    Ok(vec![of("attach_p50", 50), of("attach_p99", 99)])
}

/// A managed network with an instance on both hosts that reach each other.
fn spanning_network(lab: &mut Lab, number: usize) -> Result<String> {
    let api = lab.api().clone();
    let network = api.create_network(&json!({
        "name": format!("net-{number}"),
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.199", "netmask": "255.255.255.0",
    }))?;
    let mut members = Vec::new();
    for host in [1, 2] {
        let member = lab.add_instance(&format!("member-{number}-{host}"), host)?;
        members.push(crate::overlay::attach_and_configure(&api, &network, &member)?);
    }
    ensure!(members[0].namespace.reaches(members[1].address)?, "the hosts do not reach each other");
    Ok(network)
}

/// Attaches every guest to every network, then detaches all; the milliseconds of each attach.
fn round(connection: &mut Connection, networks: &[String], guests: &[Instance]) -> Result<Vec<f64>> {
    let mut milliseconds = Vec::with_capacity(networks.len() * guests.len());
    for (network, guest) in networks.iter().flat_map(|network| guests.iter().map(move |guest| (network, guest))) {
        check_interrupts()?;
        let attach = action(network, "attach", guest);
        let started = Instant::now();
        operate(connection, &attach)?;
        milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
    }
    for (network, guest) in networks.iter().flat_map(|network| guests.iter().map(move |guest| (network, guest))) {
        check_interrupts()?;
        operate(connection, &action(network, "detach", guest))?;
    }
    Ok(milliseconds)
}

fn action(network: &str, action: &str, guest: &Instance) -> Vec<u8> {
    let body = json!({"instance": {"id": guest.id}});
    request("PUT", &format!("/v2/private-network/{network}:{action}"), Some(&body))
}

/// Sends a mutation and returns when its operation is final, which must be in success.
fn operate(connection: &mut Connection, mutation: &[u8]) -> Result<()> {
    let mut operation: Value = connection.ask(mutation)?.json()?;
    while operation["state"] == "pending" {
        check_interrupts()?;
        std::thread::sleep(POLL_PAUSE);
        let path = format!("/v2/operation/{}", operation["id"].as_str().unwrap_or_default());
        operation = connection.ask(&request("GET", &path, None))?.json()?;
    }
    ensure!(operation["state"] == "success", "the operation did not succeed: {operation}");
    Ok(())
}
