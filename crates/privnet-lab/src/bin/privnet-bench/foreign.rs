//! Whether the time of an answer tells what another organization has.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use privnet_api::Credentials;
use privnet_lab::{Lab, check_interrupts};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::http::{Connection, request};
use crate::report::Measurement;
use crate::runs::RUNS;
use crate::session::{Session, Step};
use crate::stats::{Pairs, median};

const NAME: &str = "foreign_id_timing";

/// The requests for each of the two ids in one run.
const REQUESTS: usize = 4_000;

/// An id that nothing has.
const NOBODYS: &str = "01a0c450-6c00-714d-8876-6b2ed10826c9";

pub(crate) static STEPS: [Step; 1] = [Step { what: "ids of another organization", names: &[NAME], seconds: 20 }];

/// One connection, one request at a time: the median of what is waited for a network of another organization, held
/// against one that nobody has.
///
/// The two are asked for in turn, request by request: what a wait is depends more on which cores a connection is
/// served by than on anything that is asked.
pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], || {
        let words = ["--organization-requests-per-second", "0", "--address-requests-per-second", "0"];
        let mut lab = Lab::builder().hosts(1).log("warn").server_args(words).prepare()?;
        lab.start_server()?;
        let foreign = foreign_network(&lab)?;
        let mut pairs = Pairs { ours: Vec::new(), reference: Vec::new() };
        for _ in 0..RUNS {
            let [ours, reference] = median_waits_us(&lab, [&foreign, NOBODYS])?;
            pairs.ours.push(ours);
            pairs.reference.push(reference);
        }
        Ok(vec![Measurement::of_pairs(NAME, &pairs)])
    })
}

/// A new organization's network, of which the operator's own one may not learn.
fn foreign_network(lab: &Lab) -> Result<String> {
    let create = |path: &str, wish: Value| lab.api().request(Method::POST, path, Some(&wish))?.ok();
    let text = |object: &Value, name: &str| object[name].as_str().map(str::to_owned).context("a text");
    let organization = text(&create("/privnet/v1/organizations", json!({"name": "foreign"}))?, "id")?;
    let key = json!({"name": "first", "role": "admin", "organization": organization});
    let key = create("/privnet/v1/keys", key)?;
    let credentials = Credentials { key: text(&key, "id")?, secret: text(&key, "secret")? };
    lab.api().with_key(&credentials)?.create_network(&json!({"name": "n"}))
}

fn median_waits_us(lab: &Lab, ids: [&str; 2]) -> Result<[f64; 2]> {
    let request = |id: &str| request(lab.api(), "GET", &format!("/v2/private-network/{id}"), None);
    let requests = [request(ids[0])?, request(ids[1])?];
    let mut connection = Connection::open(lab.api())?;
    let mut waits = [const { Vec::new() }; 2];
    for number in 0..2 * REQUESTS {
        check_interrupts()?;
        let which = number % 2;
        let asked = Instant::now();
        let status = connection.ask(&requests[which])?.status();
        waits[which].push(asked.elapsed().as_secs_f64() * 1e6);
        ensure!(status == 404, "{} is answered {status}", ids[which]);
    }
    Ok(waits.map(|waits| median(&waits)))
}
