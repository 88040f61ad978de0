//! Many clients at once in one small range, against a server that is killed and started again at random.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use privnet_lab::{Api, Instance, Lab, Reply};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::support::{hosts, in_lab, items, text};
use privnet_lab::invariants;

const CLIENTS: usize = 64;

/// How many requests each client gets answered.
const REQUESTS_PER_CLIENT: usize = 20;

/// How often the server is killed.
const KILLS: usize = 8;

/// The range: fewer addresses than clients.
const FIRST_ADDRESS: u8 = 10;
const LAST_ADDRESS: u8 = 49;

/// A client that gets no answer asks again after this.
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn what_64_clients_were_told_is_so_whenever_the_server_is_killed() {
    // The same seed makes the same clients; what the kills hit differs all the same.
    let seed = std::env::var("PRIVNET_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("PRIVNET_TEST_SEED={seed}");
    in_lab(hosts(2).log("warn"), |lab| {
        let networks = ["red", "blue"].map(|name| lab.api().create_network(&small_range(name)));
        let networks = networks.into_iter().collect::<Result<Vec<_>>>()?;
        let clients = (0..CLIENTS).map(|number| {
            let instance = lab.add_instance(&format!("guest-{number}"), 1 + number % 2)?;
            Ok(Client::new(number, seed, lab.api().clone(), instance, &networks))
        });
        let clients = clients.collect::<Result<Vec<_>>>()?;
        let clients = run_and_kill(lab, clients, StdRng::seed_from_u64(seed))?;
        lab.wait_for_agents()?;
        for client in &clients {
            client.check().with_context(|| format!("client {}", client.number))?;
        }
        let operations = clients.iter().flat_map(|client| client.operations.iter().map(String::as_str));
        invariants::all_final(lab, operations)?;
        invariants::hold(lab)
    });
}

fn small_range(name: &str) -> Value {
    json!({
        "name": name, "netmask": "255.255.255.0",
        "start-ip": format!("10.0.0.{FIRST_ADDRESS}"), "end-ip": format!("10.0.0.{LAST_ADDRESS}"),
    })
}

/// Lets all clients work to their end, and kills the server now and then.
fn run_and_kill(lab: &mut Lab, clients: Vec<Client>, mut random: StdRng) -> Result<Vec<Client>> {
    let answered = AtomicUsize::new(0);
    let answered = &answered;
    std::thread::scope(|scope| {
        let running = clients.into_iter().map(|client| scope.spawn(|| client.run(answered))).collect::<Vec<_>>();
        let total = CLIENTS * REQUESTS_PER_CLIENT;
        for kill in 0..KILLS {
            let at = total * kill / KILLS + random.random_range(1..total / KILLS);
            while answered.load(Ordering::Relaxed) < at && !running.iter().any(|client| client.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            lab.kill_server();
            lab.start_server()?;
        }
        running.into_iter().map(|client| client.join().expect("no panic")).collect()
    })
}

/// What a client knows of a port or a network from the answers that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Absent,
    /// A port with its static address, if it was told one.
    Present(Option<u8>),
    /// A request got no answer: it was carried out, or not.
    Unknown,
}

/// One client with an instance of its own, so that only itself changes what it knows.
struct Client {
    number: usize,
    random: StdRng,
    api: Api,
    instance: Instance,
    ports: BTreeMap<String, Known>,
    own_networks: BTreeMap<String, Known>,
    operations: Vec<String>,
}

impl Client {
    fn new(number: usize, seed: u64, api: Api, instance: Instance, networks: &[String]) -> Self {
        Self {
            number,
            random: StdRng::seed_from_u64(seed.wrapping_add(1 + number as u64)),
            api,
            instance,
            ports: networks.iter().map(|network| (network.clone(), Known::Absent)).collect(),
            own_networks: BTreeMap::new(),
            operations: Vec::new(),
        }
    }

    fn run(mut self, answered: &AtomicUsize) -> Result<Self> {
        let mut requests = 0;
        while requests < REQUESTS_PER_CLIENT {
            if self.step().with_context(|| format!("client {}", self.number))? {
                requests += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(self)
    }

    /// Sends one request. Whether it was answered.
    fn step(&mut self) -> Result<bool> {
        match self.random.random_range(0..10) {
            0 => self.create_network(),
            1 => self.delete_network(),
            2..6 => self.act_on_port("attach"),
            6..8 => self.act_on_port("update-ip"),
            _ => self.act_on_port("detach"),
        }
    }

    fn act_on_port(&mut self, action: &str) -> Result<bool> {
        let at = self.random.random_range(0..self.ports.len());
        let network = self.ports.keys().nth(at).context("there are networks")?.clone();
        let address = self.random.random_bool(0.5).then(|| self.random.random_range(FIRST_ADDRESS..=LAST_ADDRESS));
        let address = address.filter(|_| action != "detach");
        let mut body = json!({"instance": {"id": self.instance.id}});
        if let Some(address) = address {
            body["ip"] = format!("10.0.0.{address}").into();
        }
        let before = self.ports[&network];
        let reply = self.request(Method::PUT, &format!("/v2/private-network/{network}:{action}"), Some(&body))?;
        let after = match reply.as_ref().map(|reply| reply.status) {
            None => Known::Unknown,
            Some(200) if action == "detach" => Known::Absent,
            // Attached is attached: asked again without an address, it keeps the one that it has.
            Some(200) if action == "attach" && address.is_none() => match before {
                Known::Present(address) => Known::Present(address),
                Known::Absent | Known::Unknown => Known::Present(None),
            },
            Some(200) => Known::Present(address),
            Some(404) if !matches!(before, Known::Present(_)) => Known::Absent,
            Some(409) => before,
            Some(_) => bail!("{before:?}, {action} {address:?} is answered by {reply:?}"),
        };
        self.ports.insert(network, after);
        Ok(reply.is_some())
    }

    fn create_network(&mut self) -> Result<bool> {
        let body = small_range(&format!("of-{}", self.number));
        let reply = self.request(Method::POST, "/v2/private-network", Some(&body))?;
        let Some(reply) = reply else { return Ok(false) };
        let operation = reply.ok()?;
        self.own_networks.insert(text(&operation["reference"], "id").to_owned(), Known::Present(None));
        Ok(true)
    }

    fn delete_network(&mut self) -> Result<bool> {
        let wanted = |(id, known): (&String, &Known)| (*known != Known::Absent).then(|| (id.clone(), *known));
        let Some((id, before)) = self.own_networks.iter().find_map(wanted) else { return self.create_network() };
        let reply = self.request(Method::DELETE, &format!("/v2/private-network/{id}"), None)?;
        let after = match reply.as_ref().map(|reply| reply.status) {
            None => Known::Unknown,
            Some(200) => Known::Absent,
            Some(404) if before == Known::Unknown => Known::Absent,
            Some(_) => bail!("{before:?}, delete is answered by {reply:?}"),
        };
        self.own_networks.insert(id, after);
        Ok(reply.is_some())
    }

    /// The answer, or `None` if there is none.
    fn request(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Reply>> {
        let Ok(reply) = self.api.request(method, path, body) else { return Ok(None) };
        if reply.status == 200 {
            self.operations.push(text(&reply.body, "id").to_owned());
        }
        Ok(Some(reply))
    }

    /// What this client knows is so.
    fn check(&self) -> Result<()> {
        let instance = self.api.get(&format!("/v2/instance/{}", self.instance.id))?;
        for (network, known) in &self.ports {
            let attached = items(&instance, "private-networks").iter().any(|port| port["id"] == **network);
            let lease = self.api.lease(network, &self.instance.id)?;
            let holds = match known {
                Known::Absent => !attached && lease.is_none(),
                Known::Present(None) => attached && lease.is_some(),
                Known::Present(Some(address)) => attached && lease == Some(format!("10.0.0.{address}")),
                Known::Unknown => true,
            };
            ensure!(holds, "{known:?} was told, attached: {attached}, lease: {lease:?}");
        }
        for (id, known) in &self.own_networks {
            let status = self.api.request(Method::GET, &format!("/v2/private-network/{id}"), None)?.status;
            let holds = match known {
                Known::Absent => status == 404,
                Known::Present(_) => status == 200,
                Known::Unknown => true,
            };
            ensure!(holds, "network {id}: {known:?} was told, GET answers {status}");
        }
        Ok(())
    }
}
