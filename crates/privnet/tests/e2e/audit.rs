//! What is told of requests, by the audit log and by the logs: who did what, and no secret.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use privnet_lab::Lab;
use serde_json::json;
use ureq::http::Method;

use crate::support::{hosts, in_lab, managed};

/// What must be told nowhere.
const USER_DATA: &str = "dXNlci1kYXRhLWh1bnRlcjI=";
const SIGNATURE: &str = "c2lnbmF0dXJlLWh1bnRlcjI=";

/// Sends a request that is signed as if by somebody.
fn send_signed(lab: &Lab, method: &str, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(lab.api().url().trim_start_matches("http://"))?;
    let signed = format!("EXO2-HMAC-SHA256 credential=EXO000102030405060708090a0b,expires=1,signature={SIGNATURE}");
    let body = json!({"name": "n", "user-data": USER_DATA}).to_string();
    let length = body.len();
    write!(
        connection,
        "{method} {path} HTTP/1.0\r\nhost: x\r\nauthorization: {signed}\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn no_log_tells_a_secret_at_any_level() {
    in_lab(hosts(1).log("trace"), |lab| {
        let instance = json!({
            "name": "web", "disk-size": 10, "user-data": USER_DATA,
            "instance-type": {"id": "70726976-6e65-4000-8000-000000000001"},
            "template": {"id": "70726976-6e65-4000-8000-000000000065"},
        });
        for body in [instance, json!({"user-data": USER_DATA}), json!({"user-data": [USER_DATA], "name": 5})] {
            lab.api().request(Method::POST, "/v2/instance", Some(&body))?;
        }
        send_signed(lab, "POST", "/v2/private-network")?;
        send_signed(lab, "GET", &format!("/v2/private-network?x={SIGNATURE}"))?;
        lab.api().create_network(&managed("red"))?;
        let told = lab.privnet(&["audit", "--output", "json"])?;
        ensure!(told.contains("create-instance") && told.contains("create-private-network"), "{told}");
        lab.stop_agent(1)?;
        lab.stop_server()?;
        for (name, text) in
            [("audit", Ok(told)), ("server.log", read(lab, "server.log")), ("h1.log", read(lab, "h1.log"))]
        {
            let text = text?;
            ensure!(!text.is_empty(), "{name} is empty");
            for secret in [USER_DATA, SIGNATURE, "hunter2"] {
                let line = text.lines().find(|line| line.contains(secret));
                ensure!(line.is_none(), "{name} tells {secret}: {line:?}");
            }
        }
        Ok(())
    });
}

fn read(lab: &Lab, file: &str) -> Result<String> {
    Ok(std::fs::read_to_string(lab.dir().join(file))?)
}

#[test]
fn privnet_audit_shows_who_has_changed_what() {
    in_lab(hosts(1), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        lab.api().delete_network(&network)?;
        let shown = lab.privnet(&["audit"])?;
        // The lab itself has lifted the quotas before.
        let rows: Vec<_> = shown.lines().filter(|line| line.contains("-private-network ")).collect();
        let [created, deleted] = rows[..] else { anyhow::bail!("two rows are expected: {shown}") };
        ensure!(created.contains(" create-private-network "), "{shown}");
        ensure!(deleted.contains(" delete-private-network "), "{shown}");
        ensure!(deleted.contains(&format!(" /v2/private-network/{network} ")), "{shown}");
        let of_default = lab.privnet(&["audit", "--organization", "default"])?;
        ensure!(of_default.contains(" delete-private-network "), "{of_default}");
        let later = lab.privnet(&["audit", "--since", "0s"])?;
        ensure!(later.lines().count() == 1, "{later}");
        Ok(())
    });
}
