//! A server that is told to stop answers what it has accepted.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use privnet_lab::Lab;
use serde_json::{Value, json};

use crate::support::{eventually, hosts, in_lab, items, text};

/// A list of these is more than the kernel keeps for a client that does not read, 10 MiB at most (tcp(7)).
const NETWORKS: usize = 700;
const LABELS_PER_NETWORK: usize = 64;
const OCTETS_PER_LABEL: usize = 255;

fn address(lab: &Lab) -> &str {
    lab.api().url().trim_start_matches("http://")
}

/// Asks for the list of networks and reads no more than its beginning.
fn begin_to_list(lab: &Lab) -> Result<TcpStream> {
    let mut connection = TcpStream::connect(address(lab))?;
    let path = "/v2/private-network";
    let authorization = lab.api().authorization("GET", path, "")?.context("the server has made keys")?;
    write!(connection, "GET {path} HTTP/1.0\r\nauthorization: {authorization}\r\n\r\n")?;
    connection.read_exact(&mut [0; 16])?;
    Ok(connection)
}

fn rest_of_list(mut connection: TcpStream) -> Result<Value> {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).context("the list breaks off")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok(serde_json::from_str(body)?)
}

#[test]
fn what_is_under_way_is_answered_and_nothing_new_is_taken() {
    in_lab(hosts(1).server_args(["--operation-hold", "50s"]), |lab| {
        let labels: Value =
            (0..LABELS_PER_NETWORK).map(|n| (format!("label-{n}"), json!("x".repeat(OCTETS_PER_LABEL)))).collect();
        for n in 0..NETWORKS {
            lab.api().create_network(&json!({"name": format!("n{n}"), "labels": labels}))?;
        }
        let network = lab.api().create_network(&json!({"name": "n"}))?;
        let instance = lab.add_instance("web", 1)?;
        lab.api().attach(&network, &instance.id, None)?;

        let list = begin_to_list(lab)?;
        let api = lab.api().clone();
        let moving = std::thread::spawn(move || {
            // A namespace that never comes is waited for.
            let to = json!({"host": "h1", "netns": "pnlab-nowhere"});
            api.request(ureq::http::Method::PUT, &format!("/privnet/v1/instances/{}:move", instance.id), Some(&to))
        });
        let placed = || lab.api().get("/privnet/v1/instances");
        eventually("the move is under way", || Ok(items(&placed()?, "instances")[0]["netns"] == "pnlab-nowhere"))?;

        lab.server().context("a server")?.signal(Signal::SIGTERM)?;
        let moved = moving.join().expect("no panic")?.ok()?;
        ensure!(text(&moved, "state") == "pending", "held until it stopped: {moved}");
        eventually("nothing new is taken", || match TcpStream::connect(address(lab)) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => Err(error.into()),
        })?;
        ensure!(items(&rest_of_list(list)?, "private-networks").len() == NETWORKS + 1, "the list is not whole");
        lab.stop_server().context("it ends well")
    });
}
