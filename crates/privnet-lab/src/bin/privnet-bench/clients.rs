//! A thousand clients at a time: whether they get as much done as a few, how long they wait, and whether
//! what they were told is true.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use privnet_lab::Api;
use serde_json::Value;

use crate::create::{CLIENTS, create, creation, server_alone};
use crate::http::{drive, request};
use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::{Pairs, percentile, spread};

/// How many clients ask at a time, each with a connection of its own.
const MANY_CLIENTS: usize = 1_000;

/// For how long they begin requests in one run.
const RUN: Duration = Duration::from_secs(2);

pub(crate) static STEPS: [Step; 1] = [Step {
    what: "a thousand clients",
    names: &["clients_1000", "clients_1000_p99", "clients_1000_errors"],
    seconds: 40,
}];

/// What one run has come to.
struct Run {
    /// Answers per second.
    rate: f64,
    /// From the request sent to its whole answer, in milliseconds.
    latencies: Vec<f64>,
    /// Answers that are no success.
    errors: usize,
    /// The networks that were said to be made.
    created: Vec<String>,
}

pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], || {
        let lab = server_alone()?;
        let api = lab.api();
        let network = create(api, [0])?.pop().context("a network to read")?;
        let [many, few] = in_turn([&mut || run(api, MANY_CLIENTS, &network), &mut || run(api, CLIENTS, &network)])?;
        ensure_made(&api.get("/v2/private-network")?, many.iter().chain(&few))?;
        let rates = |runs: &[Run]| runs.iter().map(|run| run.rate).collect::<Vec<_>>();
        let latencies = |run: &Run| percentile(&run.latencies, 99);
        let all: Vec<f64> = many.iter().flat_map(|run| &run.latencies).copied().collect();
        let errors: usize = many.iter().map(|run| run.errors).sum();
        let (p99, errors) = (percentile(&all, 99), errors as f64);
        Ok(vec![
            Measurement::of_pairs("clients_1000", &Pairs { ours: rates(&many), reference: rates(&few) }),
            Measurement::alone("clients_1000_p99", p99, spread(many.iter().map(latencies))),
            Measurement::alone("clients_1000_errors", errors, spread(many.iter().map(|run| run.errors as f64))),
        ])
    })
}

/// So many clients create networks and read one by turns. Each one's first request, for which it connects, is not
/// looked at.
fn run(api: &Api, clients: usize, network: &str) -> Result<Run> {
    let read = request(api, "GET", &format!("/v2/private-network/{network}"), None)?;
    let (started, mut all_connected) = (Instant::now(), None);
    // Both ends of an exchange look at it.
    let sent = RefCell::new(Vec::new());
    let mut run = Run { rate: 0.0, latencies: Vec::new(), errors: 0, created: Vec::new() };
    let requests = (0..).take_while(|_| started.elapsed() < RUN).map(|number| {
        let request = if is_creation(number) { creation(api, number) } else { Ok(read.clone()) };
        sent.borrow_mut().push(Instant::now());
        request
    });
    drive(api, clients, requests, |number, answer| {
        if number >= clients {
            all_connected.get_or_insert_with(Instant::now);
            run.latencies.push(sent.borrow()[number].elapsed().as_secs_f64() * 1e3);
        }
        match answer.status() {
            200 if is_creation(number) => run.created.push(reference(&answer.json()?)?),
            200 => {}
            _ => run.errors += 1,
        }
        Ok(())
    })?;
    let since = all_connected.context("no client has asked twice")?;
    run.rate = run.latencies.len() as f64 / since.elapsed().as_secs_f64();
    Ok(run)
}

fn is_creation(number: usize) -> bool {
    number.is_multiple_of(2)
}

fn reference(operation: &Value) -> Result<String> {
    let id = operation["reference"]["id"].as_str();
    Ok(id.with_context(|| format!("a creation has no reference: {operation}"))?.to_owned())
}

/// Every network that was said to be made is there.
fn ensure_made<'a>(list: &Value, runs: impl Iterator<Item = &'a Run>) -> Result<()> {
    let networks = list["private-networks"].as_array().context("a list of networks")?;
    let there: HashSet<_> = networks.iter().filter_map(|network| network["id"].as_str()).collect();
    let lost = runs.flat_map(|run| &run.created).filter(|id| !there.contains(id.as_str())).count();
    ensure!(lost == 0, "{lost} networks are lost that were said to be made");
    Ok(())
}
