//! What it costs to verify who a request is from.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use privnet_lab::{Api, Lab};
use serde_json::json;

use crate::create::CLIENTS;
use crate::http::{drive, request, unsigned_get};
use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::Pairs;

const NAME: &str = "signed_request_overhead";

/// One run.
const RUN: Duration = Duration::from_millis(700);

pub(crate) static STEPS: [Step; 1] = [Step { what: "signed requests", names: &[NAME], seconds: 15 }];

/// The request that costs a server least beside its signature: one network of one. Each is sent many times, so
/// that the client's part is the same on both sides.
pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], || {
        let (guarded, open) = (server_with(&[])?, server_with(&["--insecure-no-auth"])?);
        let [to_guarded, to_open] = [path_of_a_network(guarded.api())?, path_of_a_network(open.api())?];
        let signed = request(guarded.api(), "GET", &to_guarded, None)?;
        let unsigned = unsigned_get(&to_open);
        let [ours, reference] = in_turn([&mut || answers_per_second(guarded.api(), &signed), &mut || {
            answers_per_second(open.api(), &unsigned)
        }])?;
        Ok(vec![Measurement::of_pairs(NAME, &Pairs { ours, reference })])
    })
}

/// A server that limits nobody and logs no requests.
fn server_with(more: &[&str]) -> Result<Lab> {
    let unlimited = ["--organization-requests-per-second", "0", "--address-requests-per-second", "0"];
    let words = unlimited.iter().chain(more).copied();
    let mut lab = Lab::builder().hosts(1).log("warn").server_args(words).prepare()?;
    lab.start_server()?;
    Ok(lab)
}

fn path_of_a_network(api: &Api) -> Result<String> {
    Ok(format!("/v2/private-network/{}", api.create_network(&json!({"name": "n"}))?))
}

fn answers_per_second(api: &Api, request: &[u8]) -> Result<f64> {
    let started = Instant::now();
    let requests = std::iter::repeat_with(|| Ok(request.to_vec())).take_while(|_| started.elapsed() < RUN);
    let mut answers = 0_u32;
    drive(api, CLIENTS, requests, |_, answer| {
        ensure!(answer.status() == 200, "a request is answered {}", answer.status());
        answers += 1;
        Ok(())
    })?;
    Ok(f64::from(answers) / started.elapsed().as_secs_f64())
}
