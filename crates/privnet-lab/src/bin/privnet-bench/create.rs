//! How fast networks are created, durably.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use privnet_lab::{Api, Lab};
use serde_json::json;

use crate::disk::SyncedFile;
use crate::http::{drive, request};
use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::Pairs;

/// How many clients create at a time, each waiting for its answer.
pub(crate) const CLIENTS: usize = 32;

/// One run.
const RUN: Duration = Duration::from_millis(700);

pub(crate) static STEPS: [Step; 1] = [Step { what: "creates", names: &["create_per_second"], seconds: 15 }];

pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], || {
        let lab = server_alone()?;
        // In the folder of the server's own files: the same file system.
        let mut file = SyncedFile::create(&lab.dir().join("synced"))?;
        let [ours, reference] =
            in_turn([&mut || creates_per_second(lab.api(), RUN), &mut || file.syncs_per_second(RUN)])?;
        Ok(vec![Measurement::of_pairs("create_per_second", &Pairs { ours, reference })])
    })
}

/// A lab whose host runs no agent.
pub(crate) fn server_alone() -> Result<Lab> {
    let mut lab = Lab::builder().hosts(1).prepare()?;
    lab.start_server()?;
    Ok(lab)
}

fn creates_per_second(api: &Api, time: Duration) -> Result<f64> {
    let started = Instant::now();
    let created = create(api, (0..).take_while(|_| started.elapsed() < time))?.len();
    Ok(created as f64 / started.elapsed().as_secs_f64())
}

/// Creates a network for each number, and returns their ids.
pub(crate) fn create(api: &Api, numbers: impl IntoIterator<Item = usize>) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let creations = numbers.into_iter().map(|number| creation(api, number));
    drive(api, CLIENTS, creations, |number, answer| {
        let operation = answer.json()?;
        ensure!(operation["state"] == "success", "a network is not created: {operation}");
        ids.resize(ids.len().max(number + 1), String::new());
        ids[number] = operation["reference"]["id"].as_str().unwrap_or_default().to_owned();
        Ok(())
    })?;
    Ok(ids)
}

/// A managed network with what people usually give it.
pub(crate) fn creation(api: &Api, number: usize) -> Result<Vec<u8>> {
    let body = json!({
        "name": format!("network-{number:06}"),
        "description": "made to be measured",
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.199", "netmask": "255.255.255.0",
        "options": {"dns-servers": ["10.0.0.2"], "domain-search": ["example.com"]},
        "labels": {"team": "measuring", "stage": "test"},
    });
    request(api, "POST", "/v2/private-network", Some(&body))
}
