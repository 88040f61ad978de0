//! Whether the time of an answer tells what another organization has.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use privnet_api::Credentials;
use privnet_lab::Lab;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::http::{Connection, request};
use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::{Pairs, median};

const NAME: &str = "foreign_id_timing";

/// The requests of one run.
const REQUESTS: usize = 4_000;

/// An id that nothing has.
const NOBODYS: &str = "01a0c450-6c00-714d-8876-6b2ed10826c9";

pub(crate) static STEPS: [Step; 1] = [Step { what: "ids of another organization", names: &[NAME], seconds: 20 }];

/// One connection, one request at a time: the median of what is waited for a network of another organization, held
/// against one that nobody has.
pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], || {
        let words = ["--organization-requests-per-second", "0", "--address-requests-per-second", "0"];
        let mut lab = Lab::builder().hosts(1).log("warn").server_args(words).prepare()?;
        lab.start_server()?;
        let foreign = foreign_network(&lab)?;
        let waited = |id: &str| median_wait_us(&lab, id);
        let [ours, reference] = in_turn([&mut || waited(&foreign), &mut || waited(NOBODYS)])?;
        Ok(vec![Measurement::of_pairs(NAME, &Pairs { ours, reference })])
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

fn median_wait_us(lab: &Lab, id: &str) -> Result<f64> {
    let request = request(lab.api(), "GET", &format!("/v2/private-network/{id}"), None)?;
    let mut connection = Connection::open(lab.api())?;
    let mut waits = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let asked = Instant::now();
        let status = connection.ask(&request)?.status();
        waits.push(asked.elapsed().as_secs_f64() * 1e6);
        ensure!(status == 404, "{id} is answered {status}");
    }
    Ok(median(&waits))
}
