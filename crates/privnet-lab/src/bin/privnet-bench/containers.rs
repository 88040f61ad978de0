//! How long a container runtime waits for its container's network.

use std::cell::RefCell;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use privnet_lab::{Lab, Namespace, check_interrupts, cni};
use serde_json::{Value, json};

use crate::report::Measurement;
use crate::runs::in_turn;
use crate::session::{Session, Step};
use crate::stats::{Pairs, percentile};

const NAMES: [&str; 2] = ["cni_add_ms", "cni_add_p50"];

pub(crate) static STEPS: [Step; 1] = [Step { what: "containers", names: &NAMES, seconds: 90 }];

/// As many in each run, each in a namespace that nothing has been in before.
const CONTAINERS_PER_RUN: usize = 50;

/// What the containers' devices are called.
const DEVICE: &str = "eth0";

/// What somebody does by hand who plugs a container into a bridge of its host, as one script: the same device, MTU,
/// address and routes. The address is chosen already, and nobody else is to be told.
const BY_HAND: &str = "set -e
ip link add port0 mtu 1450 type veth peer name $DEVICE mtu 1450 netns $NETNS
ip link set port0 master br0 up
ip -netns $NETNS address add 10.0.0.10/24 dev $DEVICE
ip -netns $NETNS link set $DEVICE up
ip -netns $NETNS route add default via 10.0.0.1
";

pub(crate) fn measure(session: &mut Session) -> Result<()> {
    session.measure(&STEPS[0], || {
        let bench = RefCell::new(Bench::start()?);
        let [ours, reference] = in_turn([&mut || bench.borrow_mut().containers(Bench::by_plugin), &mut || {
            bench.borrow_mut().containers(Bench::by_hand)
        }])?;
        let of = |name, percent| {
            let of_runs = |runs: &[Vec<f64>]| runs.iter().map(|run| percentile(run, percent)).collect();
            Measurement::of_pairs(name, &Pairs { ours: of_runs(&ours), reference: of_runs(&reference) })
        };
        Ok(vec![of(NAMES[0], 99), of(NAMES[1], 50)])
    })
}

/// Two hosts of a network, on the first of which containers come and go. Beside it, on that host, a bridge.
struct Bench {
    lab: Lab,
    config: Value,
}

impl Bench {
    fn start() -> Result<Self> {
        let mut lab = Lab::builder().hosts(2).start()?;
        let network = lab.api().create_network(&json!({
            "name": "backend",
            "start-ip": "10.0.0.10", "end-ip": "10.0.0.199", "netmask": "255.255.255.0",
            "options": {"routers": ["10.0.0.1"]},
        }))?;
        // So that another host has to follow each of them.
        let resident = lab.add_instance("resident", 2)?;
        lab.api().attach(&network, &resident.id, None)?;
        lab.host(1).namespace.ip("link add br0 up type bridge")?;
        let config = cni::config(&lab, 1, "backend")?;
        Ok(Self { lab, config })
    }

    /// Plugs in containers one after the other, each gone before the next comes: the milliseconds that each takes.
    fn containers(&mut self, add: fn(&Self, &Namespace) -> Result<Duration>) -> Result<Vec<f64>> {
        let one = |_| {
            check_interrupts()?;
            let namespace = self.lab.add_namespace()?;
            let took = add(self, &namespace)?;
            namespace.remove()?;
            Ok(took.as_secs_f64() * 1e3)
        };
        (0..CONTAINERS_PER_RUN).map(one).collect()
    }

    /// How long ADD takes. DEL follows it.
    fn by_plugin(&self, namespace: &Namespace) -> Result<Duration> {
        let started = Instant::now();
        self.plugin("ADD", namespace)?;
        let took = started.elapsed();
        ensure_configured(namespace)?;
        self.plugin("DEL", namespace)?;
        Ok(took)
    }

    fn plugin(&self, command: &str, namespace: &Namespace) -> Result<()> {
        let variables = cni::variables(namespace.name(), namespace, DEVICE);
        let plugin = cni::start(self.lab.binary(), command, &variables, &self.config.to_string())?;
        let output = plugin.wait_with_output()?;
        ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    /// How long the script takes. Its device is removed after it.
    fn by_hand(&self, namespace: &Namespace) -> Result<Duration> {
        let host = &self.lab.host(1).namespace;
        let mut script = host.command("sh");
        script.args(["-c", BY_HAND]).envs([("DEVICE", DEVICE), ("NETNS", namespace.name())]);
        script.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let output = script.output().context("cannot start sh")?;
        let took = started.elapsed();
        ensure!(output.status.success(), "by hand: {}", String::from_utf8_lossy(&output.stderr));
        ensure_configured(namespace)?;
        host.ip("link delete port0")?;
        Ok(took)
    }
}

fn ensure_configured(namespace: &Namespace) -> Result<()> {
    let is_routed = namespace.ip("-4 route show default")?.contains("via 10.0.0.1");
    ensure!(is_routed && namespace.addresses(DEVICE)?.len() == 1, "the container's device is not configured");
    Ok(())
}
