//! Labs with this build's `privnet`, and guests in their networks.

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
pub use privnet_lab::json::{items, text};
use privnet_lab::{Api, Instance, Lab, LabBuilder, Namespace};
pub use privnet_lab::{octets, udp_packet};
use serde_json::{Value, json};

/// The binary under test.
pub const PRIVNET: &str = env!("CARGO_BIN_EXE_privnet");

/// What an underlay of 1500 octets leaves for the overlay.
pub const OVERLAY_MTU_BYTES: u32 = 1450;

/// The MAC address that means everybody.
pub const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";

/// A state that is reached at all is reached well within this.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A lab of so many hosts, to be changed or started.
pub fn hosts(count: u8) -> LabBuilder {
    Lab::builder().hosts(count).binary(PRIVNET)
}

/// Starts a lab and runs a test in it. When the test fails, the ends of all logs are printed.
pub fn in_lab(lab: LabBuilder, test: impl FnOnce(&mut Lab) -> Result<()>) {
    run_in(lab.start().expect("a lab"), test);
}

/// As [`in_lab`], in a lab where nothing has been started.
pub fn in_prepared_lab(lab: LabBuilder, test: impl FnOnce(&mut Lab) -> Result<()>) {
    run_in(lab.prepare().expect("a lab"), test);
}

fn run_in(mut lab: Lab, test: impl FnOnce(&mut Lab) -> Result<()>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&mut lab)));
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("{}\n", lab.log_tails());
    }
    match outcome {
        Ok(result) => result.expect("the test holds"),
        Err(panic) => resume_unwind(panic),
    }
    lab.remove().expect("the lab can be removed");
}

/// One of a lab's hosts as a machine of its own, with nothing of the lab's running on it.
#[derive(Clone)]
pub struct Machine {
    pub namespace: Namespace,
    /// For what is on its disk.
    pub dir: PathBuf,
    settings: [(&'static str, String); 3],
}

impl Machine {
    /// Host `number`, from 1, whose file of settings is not there yet.
    pub fn of(lab: &Lab, number: usize) -> Result<Self> {
        let dir = lab.dir().join(format!("machine-{number}"));
        std::fs::create_dir(&dir)?;
        let settings = [
            ("PRIVNET_CONFIG", dir.join("privnet.toml").display().to_string()),
            ("PRIVNET_DATA", dir.join("data").display().to_string()),
            ("PRIVNET_BPF_DIR", lab.host(number).pin_dir.display().to_string()),
        ];
        Ok(Self { namespace: lab.host(number).namespace.clone(), dir, settings })
    }

    /// The same, with a file of settings that sets nothing.
    pub fn configured(lab: &Lab, number: usize) -> Result<Self> {
        let machine = Self::of(lab, number)?;
        std::fs::write(machine.dir.join("privnet.toml"), "")?;
        Ok(machine)
    }

    /// `privnet` with these words, on this machine.
    pub fn privnet(&self, words: &[&str]) -> Command {
        let mut command = self.command(PRIVNET);
        command.args(words);
        command
    }

    /// Another program.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command(program);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end, which must be good, and returns what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        finish(&mut self.privnet(words))
    }
}

/// Runs a command to its end, which must be good, and returns what it printed.
pub fn finish(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// A managed network, with the same addresses whatever its name.
pub fn managed(name: &str) -> Value {
    json!({"name": name, "start-ip": "10.0.0.10", "end-ip": "10.0.0.99", "netmask": "255.255.255.0"})
}

/// A managed network with addresses that no [`managed`] one has, for instances that are in both.
pub fn managed_elsewhere(name: &str) -> Value {
    json!({"name": name, "start-ip": "10.0.1.10", "end-ip": "10.0.1.99", "netmask": "255.255.255.0"})
}

/// An instance in a network, with its address on its device.
#[derive(Debug)]
pub struct Guest {
    pub instance: Instance,
    /// The device's name in the instance.
    pub device: String,
    pub mac: String,
    pub address: Ipv4Addr,
}

impl Guest {
    /// Registers an instance and attaches it.
    pub fn join(lab: &mut Lab, network: &str, name: &str, host: usize) -> Result<Self> {
        let instance = lab.add_instance(name, host)?;
        Self::attach(lab, network, instance)
    }

    /// Attaches an instance to a managed network and gives its device the leased address.
    pub fn attach(lab: &Lab, network: &str, instance: Instance) -> Result<Self> {
        let address = lab.api().attach(network, &instance.id, None)?.context("a managed network leases an address")?;
        Self::configure(lab, network, instance, address.parse()?)
    }

    /// Attaches an instance to an unmanaged network and gives its device this address.
    pub fn attach_unmanaged(lab: &Lab, network: &str, instance: Instance, address: Ipv4Addr) -> Result<Self> {
        lab.api().attach(network, &instance.id, None)?;
        Self::configure(lab, network, instance, address)
    }

    /// What it is once its instance has been moved into this namespace of a host.
    pub fn moved(&self, lab: &Lab, network: &str, host: usize, namespace: &Namespace) -> Result<Self> {
        let instance = Instance { host, namespace: namespace.clone(), ..self.instance.clone() };
        Self::configure(lab, network, instance, self.address)
    }

    fn configure(lab: &Lab, network: &str, instance: Instance, address: Ipv4Addr) -> Result<Self> {
        let mac = port_mac(lab.api(), network, &instance.id)?;
        let device = device_with(&instance, &mac)?;
        instance.namespace.ip(&format!("address replace {address}/24 dev {device}"))?;
        Ok(Self { device, mac, address, instance })
    }

    /// Whether it reaches another, soon.
    pub fn reaches(&self, other: &Self) -> Result<bool> {
        self.instance.namespace.reaches(other.address)
    }

    /// A frame from this guest's MAC address.
    pub fn frame(&self, to: &str, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        frame(to, &self.mac, ethertype, payload)
    }

    /// Sends such a frame.
    pub fn send(&self, to: &str, ethertype: u16, payload: &[u8]) -> Result<()> {
        self.instance.namespace.send_frame(&self.device, &self.frame(to, ethertype, payload))
    }
}

/// An Ethernet frame.
pub fn frame(to: &str, from: &str, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&octets(to)[..], &octets(from), &ethertype.to_be_bytes(), payload].concat()
}

/// Every guest reaches every other.
pub fn assert_mesh(guests: &[Guest]) -> Result<()> {
    for from in guests {
        for to in guests.iter().filter(|to| to.instance.id != from.instance.id) {
            ensure!(from.reaches(to)?, "{} does not reach {}", from.instance.name, to.instance.name);
        }
    }
    Ok(())
}

/// The MAC address of an instance's port in a network.
pub fn port_mac(api: &Api, network: &str, instance: &str) -> Result<String> {
    let instance = api.get(&format!("/v2/instance/{instance}"))?;
    let ports = items(&instance, "private-networks");
    let port = ports.iter().find(|port| port["id"] == network).with_context(|| format!("not attached: {instance}"))?;
    Ok(text(port, "mac-address").to_owned())
}

/// The device of an instance that has this MAC address.
fn device_with(instance: &Instance, mac: &str) -> Result<String> {
    let links = instance.namespace.links()?;
    let device = links.iter().find(|link| link["address"] == mac);
    Ok(text(device.with_context(|| format!("no device with {mac} in {}", instance.name))?, "ifname").to_owned())
}

/// Asks again and again until it is so.
pub fn eventually(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, || Ok(ask()?.then_some(())))
}

/// Asks again and again until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(10);
    let started = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if started.elapsed() > SETTLE_TIMEOUT {
            bail!("{what}: not within {} s", SETTLE_TIMEOUT.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

/// The lines of a log file of the lab, such as `h1.log`, that have all of these words.
pub fn log_lines(lab: &Lab, file: &str, words: &[&str]) -> Result<Vec<String>> {
    let path = lab.dir().join(file);
    let log = read(&path)?;
    Ok(log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What `privnet counters --output json` says on a host.
#[derive(Debug)]
pub struct Counters {
    pub ports: Vec<Value>,
    pub overlay: Value,
}

pub fn counters(lab: &Lab, host: usize) -> Result<Counters> {
    let host = lab.host(host);
    let pin_dir = host.pin_dir.display().to_string();
    let words = ["--config", "/dev/null", "--output", "json", "counters", "--bpf-dir", &pin_dir];
    let said: Value = serde_json::from_str(&host.namespace.run(PRIVNET, &words)?)?;
    Ok(Counters { ports: items(&said, "ports").to_vec(), overlay: said["overlay"].clone() })
}

impl Counters {
    /// What passed the port with this MAC address.
    pub fn of(&self, mac: &str) -> Result<&Value> {
        self.ports.iter().find(|port| port["mac-address"] == mac).with_context(|| format!("no port {mac}: {self:?}"))
    }

    /// What was dropped there, by reason.
    pub fn drops(&self, mac: &str) -> Result<Value> {
        Ok(self.of(mac)?["drops"].clone())
    }
}
