//! What hosts with few and with many ports do: how long an attach takes there, how large an agent is and
//! how soon it is back, what a broadcast costs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use privnet_lab::{Api, Instance, Lab, check_interrupts};
use serde_json::{Value, json};

use crate::dhcp;
use crate::fanout;
use crate::http::{Connection, drive, request};
use crate::machine::resident_mib;
use crate::report::Measurement;
use crate::runs::RUNS;
use crate::session::{Session, Step};
use crate::stats::{median, percentile, spread};
use crate::traffic::End;

/// How many ports of each host are in one network. Its hosts have the same networks, so that every attach
/// concerns both.
const PORTS_PER_NETWORK: usize = 5;

/// Instances that come and go, on each of the two hosts.
const GUESTS_PER_HOST: usize = 8;

/// How often all of them come and go in one run, to one network after the other.
const VISITS_PER_RUN: usize = 4;

/// How many ports are attached at a time while their number grows.
const GROWING_CLIENTS: usize = 8;

/// How long to wait before an operation that is pending is asked for again.
const POLL_PAUSE: Duration = Duration::from_millis(1);

/// What an agent says when it has compared everything with the kernel and nothing is left to do.
const SETTLED: &str = "this host carries all that it shall";

/// An agent that takes longer than this to say so will not.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) static STEPS: [Step; 12] = [
    Step { what: "attaches to hosts with 1 port", names: &["attach_p50", "attach_p99"], seconds: 20 },
    Step { what: "100 ports on each host", names: &HUNDRED, seconds: 3 },
    Step { what: "attaches to hosts with 100 ports", names: &["attach_p99_100"], seconds: 20 },
    Step { what: "1,000 ports on each host", names: &THOUSAND, seconds: 40 },
    Step { what: "attaches to hosts with 1,000 ports", names: &["attach_p99_1000"], seconds: 25 },
    Step { what: "an agent's memory", names: &["ports_1000_agent_rss"], seconds: 1 },
    Step { what: "restarts of an agent", names: &["ports_1000_restart_s"], seconds: 10 },
    Step { what: "1,000 DHCP clients at once", names: &["dhcp_storm_1000_s"], seconds: 5 },
    Step { what: "DHCP exchanges", names: &["dhcp_exchanges_per_second", "dhcp_p99_ms"], seconds: 10 },
    Step { what: "broadcasts to 2 ports", names: &["broadcast_fanout_2"], seconds: 15 },
    Step { what: "broadcasts to 100 ports", names: &["broadcast_fanout_100"], seconds: 15 },
    Step { what: "broadcasts to 1,000 ports", names: &["broadcast_fanout_1000"], seconds: 25 },
];

/// What needs a hundred ports on each host, and what needs a thousand.
const HUNDRED: [&str; 1] = ["attach_p99_100"];
const THOUSAND: [&str; 9] = [
    "attach_p99_1000",
    "ports_1000_agent_rss",
    "ports_1000_restart_s",
    "dhcp_storm_1000_s",
    "dhcp_exchanges_per_second",
    "dhcp_p99_ms",
    "broadcast_fanout_2",
    "broadcast_fanout_100",
    "broadcast_fanout_1000",
];

/// Measures the benchmarks of few and many ports, while their number grows.
pub(crate) fn measure(session: &mut Session) -> Result<()> {
    let [few, hundred, attaches_100, thousand, attaches_1000, memory, restarts, storms, exchanges, fanouts @ ..] =
        &STEPS;
    let mut hosts = Hosts::start()?;
    session.measure(few, || {
        hosts.grow(1)?;
        let rounds = hosts.attach_rounds()?;
        Ok(vec![of_rounds("attach_p50", 50, &rounds), of_rounds("attach_p99", 99, &rounds)])
    })?;
    if session.wants(hundred) {
        session.prepare(hundred, || hosts.grow(100))?;
    }
    session.measure(attaches_100, || Ok(vec![of_rounds("attach_p99_100", 99, &hosts.attach_rounds()?)]))?;
    if session.wants(thousand) {
        session.prepare(thousand, || hosts.grow(1000))?;
    }
    session.measure(attaches_1000, || Ok(vec![of_rounds("attach_p99_1000", 99, &hosts.attach_rounds()?)]))?;
    session.measure(memory, || {
        let mib = resident_mib(hosts.lab.host(1).agent().context("the agent runs")?.pid())?;
        Ok(vec![Measurement::alone("ports_1000_agent_rss", mib, (mib, mib))])
    })?;
    session.measure(restarts, || {
        let seconds = (0..RUNS).map(|_| hosts.restart_agent()).collect::<Result<Vec<_>>>()?;
        Ok(vec![Measurement::alone("ports_1000_restart_s", median(&seconds), spread(seconds))])
    })?;
    dhcp::measure(session, [storms, exchanges], &hosts)?;
    fanout::measure(session, fanouts, &mut hosts)
}

fn of_rounds(name: &str, percent: usize, rounds: &[Vec<f64>]) -> Measurement {
    let per_round = rounds.iter().map(|round| percentile(round, percent));
    Measurement::alone(name, percentile(&rounds.concat(), percent), spread(per_round))
}

/// Two hosts with as many ports each.
pub(crate) struct Hosts {
    pub(crate) lab: Lab,
    /// The instances on host 1, in the order in which they came, and those on host 2.
    pub(crate) members: [Vec<Instance>; 2],
    networks: Vec<String>,
    guests: Vec<Instance>,
}

impl Hosts {
    fn start() -> Result<Self> {
        // Broadcasts are limited; here it shall be seen what they cost. That each one is judged stays.
        let mut lab = Lab::builder().hosts(2).agent_args(["--bum-copies-per-second", "100000000"]).start()?;
        let guests =
            (0..2 * GUESTS_PER_HOST).map(|number| lab.add_instance(&format!("guest-{number}"), 1 + number % 2));
        let guests = guests.collect::<Result<Vec<_>>>()?;
        Ok(Self { lab, members: Default::default(), networks: Vec::new(), guests })
    }

    /// Adds ports until each host has so many, a few in each network, which reach each other.
    fn grow(&mut self, ports_per_host: usize) -> Result<()> {
        let mut attaches = Vec::new();
        for number in self.members[0].len()..ports_per_host {
            check_interrupts()?;
            let network = number / PORTS_PER_NETWORK;
            if network == self.networks.len() {
                self.networks.push(managed_network(&self.lab, network)?);
            }
            for host in [1, 2] {
                let member = self.lab.add_instance(&format!("member-{host}-{number}"), host)?;
                attaches.push(action(self.lab.api(), &self.networks[network], "attach", &member));
                self.members[host - 1].push(member);
            }
        }
        self.attach_all(attaches)?;
        let last = self.networks.last().context("at least one network")?;
        let [one, two] = [0, 1].map(|host| self.members[host].last().cloned());
        let one = configure(&self.lab, last, &one.context("a member")?)?;
        let two = configure(&self.lab, last, &two.context("a member")?)?;
        ensure!(one.namespace.reaches(two.address)?, "the hosts do not reach each other");
        Ok(())
    }

    /// Makes requests to attach, several at a time, and returns when all are done.
    pub(crate) fn attach_all(&self, attaches: impl IntoIterator<Item = Result<Vec<u8>>>) -> Result<()> {
        let mut operations = Vec::new();
        drive(self.lab.api(), GROWING_CLIENTS, attaches, |_, answer| {
            operations.push(answer.json()?);
            Ok(())
        })?;
        let mut connection = Connection::open(self.lab.api())?;
        operations.into_iter().try_for_each(|operation| finish(self.lab.api(), &mut connection, operation))
    }

    /// The milliseconds that the attaches of each run take.
    fn attach_rounds(&self) -> Result<Vec<Vec<f64>>> {
        (0..RUNS).map(|_| self.attach_round()).collect()
    }

    /// All guests come to a few networks and go again; the milliseconds that each attach takes.
    fn attach_round(&self) -> Result<Vec<f64>> {
        let api = self.lab.api();
        // The server closes a connection that was idle for long.
        let mut connection = Connection::open(self.lab.api())?;
        let mut milliseconds = Vec::with_capacity(VISITS_PER_RUN * self.guests.len());
        for visit in 0..VISITS_PER_RUN {
            let network = &self.networks[visit % self.networks.len()];
            for guest in &self.guests {
                let attach = action(api, network, "attach", guest)?;
                let started = Instant::now();
                operate(api, &mut connection, &attach)?;
                milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
            }
            for guest in &self.guests {
                operate(api, &mut connection, &action(api, network, "detach", guest)?)?;
            }
        }
        Ok(milliseconds)
    }

    /// Kills an agent and starts it; the seconds until it has verified everything.
    fn restart_agent(&mut self) -> Result<f64> {
        self.lab.kill_agent(1);
        let mut log = NewLines::of(self.lab.dir().join("h1.log"))?;
        let started = Instant::now();
        self.lab.start_agent(1)?;
        while !log.have(SETTLED)? {
            check_interrupts()?;
            ensure!(started.elapsed() < SETTLE_TIMEOUT, "the agent has not verified everything in time");
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(started.elapsed().as_secs_f64())
    }
}

/// What a log says from here on.
struct NewLines {
    file: File,
    text: String,
}

impl NewLines {
    fn of(path: PathBuf) -> Result<Self> {
        let mut file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, text: String::new() })
    }

    /// Whether it has these words by now.
    fn have(&mut self, words: &str) -> Result<bool> {
        self.file.read_to_string(&mut self.text)?;
        Ok(self.text.contains(words))
    }
}

fn managed_network(lab: &Lab, number: usize) -> Result<String> {
    lab.api().create_network(&json!({
        "name": format!("net-{number}"),
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.199", "netmask": "255.255.255.0",
    }))
}

/// The end of an instance that is attached, with its address on its device.
pub(crate) fn configure(lab: &Lab, network: &str, instance: &Instance) -> Result<End> {
    let address = lab.api().lease(network, &instance.id)?.context("a managed network leases an address")?;
    instance.namespace.ip(&format!("address replace {address}/24 dev net0"))?;
    Ok(End { namespace: instance.namespace.clone(), address: address.parse()? })
}

/// A request about an instance's port.
pub(crate) fn action(api: &Api, network: &str, action: &str, instance: &Instance) -> Result<Vec<u8>> {
    let body = json!({"instance": {"id": instance.id}});
    request(api, "PUT", &format!("/v2/private-network/{network}:{action}"), Some(&body))
}

/// Sends a mutation and returns when its operation is final, which must be in success.
pub(crate) fn operate(api: &Api, connection: &mut Connection, mutation: &[u8]) -> Result<()> {
    let operation = connection.ask(mutation)?.json()?;
    finish(api, connection, operation)
}

fn finish(api: &Api, connection: &mut Connection, mut operation: Value) -> Result<()> {
    check_interrupts()?;
    while operation["state"] == "pending" {
        check_interrupts()?;
        std::thread::sleep(POLL_PAUSE);
        let path = format!("/v2/operation/{}", operation["id"].as_str().unwrap_or_default());
        operation = connection.ask(&request(api, "GET", &path, None)?)?.json()?;
    }
    if operation["state"] != "success" {
        bail!("the operation did not succeed: {operation}");
    }
    Ok(())
}
