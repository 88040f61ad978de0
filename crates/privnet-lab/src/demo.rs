//! The main job, step by step, on a lab of two hosts: for people who see privnet for the first time.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::api::{Api, succeeded};
use crate::dhcp::{DhcpClient, DhcpClientKind};
use crate::lab::{Instance, Lab};
use crate::leftovers;

/// What an underlay of 1500 octets leaves for the overlay.
const OVERLAY_MTU_BYTES: u32 = 1450;

/// The address that only `blue` has, to show that `red` has it not.
const ONLY_IN_BLUE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 200);

/// The address that an instance of `red` is given in the middle of its life.
const CHANGED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 150);

/// Runs the demo with this `privnet` binary and prints each step.
///
/// # Errors
/// A step does not hold. Nothing is left behind all the same.
pub fn run(binary: &Path) -> Result<()> {
    say("privnet demo: two hosts h1 and h2 on this machine, each a network namespace with an agent of its own\n");
    let started = Instant::now();
    let mut steps = Steps { count: 0 };
    let mut lab = steps.run(|| {
        let lab = Lab::builder().hosts(2).binary(binary).start()?;
        let text = format!("lab {} is up: an underlay, a server at {}, two agents", lab.id(), lab.api().url());
        Ok((lab, text))
    })?;
    let id = lab.id().to_owned();
    let shown = show(&mut lab, &mut steps);
    if shown.is_err() && crate::interrupt::check_interrupts().is_ok() {
        say(&format!("\n{}\n", lab.log_tails()));
    }
    // Removed also when a step did not hold.
    let removed = steps.run_always(|| {
        lab.remove()?;
        ensure!(!leftovers::are_there(&id)?, "something of the lab is still there");
        Ok(((), "the lab is gone: namespaces, devices, eBPF pins, processes and files".to_owned()))
    });
    shown.and(removed)?;
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("\nAll {} steps held, in {seconds:.1} s.", steps.count));
    Ok(())
}

/// Prints what each step came to and how long it took.
struct Steps {
    count: usize,
}

impl Steps {
    fn run<T>(&mut self, step: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        crate::interrupt::check_interrupts()?;
        self.run_always(step)
    }

    /// Also when the user has asked for an end.
    fn run_always<T>(&mut self, step: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        let started = Instant::now();
        let result = step();
        let time = readable(started.elapsed());
        match result {
            Ok((value, text)) => {
                self.count += 1;
                say(&format!("{:>3}  ok    {time:>8}  {text}", self.count));
                Ok(value)
            }
            Err(_) if crate::interrupt::check_interrupts().is_err() => bail!("interrupted after step {}", self.count),
            Err(error) => {
                say(&format!("{:>3}  FAIL  {time:>8}  {error:#}", self.count + 1));
                bail!("step {} did not hold", self.count + 1)
            }
        }
    }
}

fn readable(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

/// Prints a line. That nobody reads it any more is no reason to leave a lab behind.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say_json(value: &Value) {
    for line in format!("{value:#}").lines() {
        say(&format!("           {line}"));
    }
}

/// An instance and what it runs.
struct Guest {
    instance: Instance,
    address: Ipv4Addr,
    client: Option<DhcpClient>,
}

fn show(lab: &mut Lab, steps: &mut Steps) -> Result<()> {
    let api = lab.api().clone();
    let red = steps.run(|| create(&api, "red", managed("red")))?;
    let blue = steps.run(|| create(&api, "blue", managed("blue")))?;
    let grey = steps.run(|| create(&api, "grey", json!({"name": "grey", "description": "a bare Ethernet segment"})))?;

    let mut reds = show_managed(lab, steps, "red", &red, None)?;
    let blues = show_managed(lab, steps, "blue", &blue, Some(ONLY_IN_BLUE))?;
    let greys = show_unmanaged(lab, steps, &grey)?;

    for (name, guests) in [("red", &reds), ("blue", &blues), ("grey", &greys)] {
        steps.run(|| ping_both_ways(name, guests))?;
    }
    steps.run(|| full_size(&reds))?;
    steps.run(|| isolation(&reds, &blues))?;
    steps.run(|| Ok((say_network(&api, &red)?, "the API shows red with its vni and leases, as above".to_owned())))?;

    show_changes(&api, steps, &red, &mut reds)?;
    show_the_end(&api, steps, &[(&red, &reds), (&blue, &blues), (&grey, &greys)])
}

/// The same addresses in every managed network of this demo, as tenants have them.
fn managed(name: &str) -> Value {
    json!({
        "name": name,
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.99", "netmask": "255.255.255.0",
        "options": {"dns-servers": ["10.0.0.2"], "domain-search": [format!("{name}.example")]},
        "labels": {"color": name},
    })
}

fn create(api: &Api, name: &str, body: Value) -> Result<(String, String)> {
    let id = api.create_network(&body)?;
    let range = match (body["start-ip"].as_str(), body["end-ip"].as_str()) {
        (Some(start), Some(end)) => format!("managed network {name}, {start} to {end}"),
        _ => format!("unmanaged network {name}"),
    };
    Ok((id, format!("created {range}")))
}

/// Registers an instance on each host, attaches both and lets each ask for its address by DHCP.
fn show_managed(
    lab: &mut Lab,
    steps: &mut Steps,
    name: &str,
    network: &str,
    ip: Option<Ipv4Addr>,
) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for (host, ip, kind) in [(1, None, DhcpClientKind::Udhcpc), (2, ip, DhcpClientKind::Dhclient)] {
        let guest_name = format!("{name}-{host}");
        let instance = steps.run(|| register(lab, &guest_name, host))?;
        let address = steps.run(|| attach(lab.api(), network, &instance, name, ip))?;
        let address = address.context("a managed network leases an address")?;
        let client = steps.run(|| dhcp(lab, &instance, kind, address))?;
        guests.push(Guest { instance, address, client: Some(client) });
    }
    Ok(guests)
}

/// The same in an unmanaged network, where addresses are the instances' own business.
fn show_unmanaged(lab: &mut Lab, steps: &mut Steps, network: &str) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for host in [1, 2] {
        let instance = steps.run(|| register(lab, &format!("grey-{host}"), host))?;
        steps.run(|| attach(lab.api(), network, &instance, "grey", None))?;
        let address = Ipv4Addr::new(10, 0, 0, 9 + host as u8);
        instance.namespace.ip(&format!("address add {address}/24 dev net0"))?;
        guests.push(Guest { instance, address, client: None });
    }
    Ok(guests)
}

fn register(lab: &mut Lab, name: &str, host: usize) -> Result<(Instance, String)> {
    let instance = lab.add_instance(name, host)?;
    let text = format!("registered instance {name}: namespace {} on h{host}", instance.namespace.name());
    Ok((instance, text))
}

fn attach(
    api: &Api,
    network: &str,
    instance: &Instance,
    name: &str,
    ip: Option<Ipv4Addr>,
) -> Result<(Option<Ipv4Addr>, String)> {
    let wanted = ip.map(|ip| ip.to_string());
    let address = api.attach(network, &instance.id, wanted.as_deref())?;
    let address: Option<Ipv4Addr> = address.map(|text| text.parse()).transpose()?;
    ensure!(ip.is_none() || ip == address, "asked for {ip:?}, got {address:?}");
    let lease = match (ip, address) {
        (Some(ip), _) => format!(", static address {ip}"),
        (None, Some(address)) => format!(", address {address}"),
        (None, None) => String::new(),
    };
    Ok((address, format!("attached {} to {name}{lease}", instance.name)))
}

fn dhcp(lab: &mut Lab, instance: &Instance, kind: DhcpClientKind, wanted: Ipv4Addr) -> Result<(DhcpClient, String)> {
    let client = lab.dhcp_client(instance, "net0", kind)?;
    let lease = client.wait_for_lease()?;
    ensure!(lease.address == wanted, "the client was leased {}, the API says {wanted}", lease.address);
    let kind = format!("{kind:?}").to_lowercase();
    Ok((client, format!("{kind} in {} leased {wanted} by DHCP", instance.name)))
}

fn ping_both_ways(network: &str, guests: &[Guest]) -> Result<((), String)> {
    for (from, to) in [(0, 1), (1, 0)] {
        let (from, to) = (&guests[from], &guests[to]);
        let reaches = from.instance.namespace.reaches(to.address)?;
        ensure!(reaches, "{} does not reach {} of {}", from.instance.name, to.address, to.instance.name);
    }
    Ok(((), format!("ping in {network} from h1 to h2 and from h2 to h1")))
}

fn full_size(guests: &[Guest]) -> Result<((), String)> {
    let (namespace, to) = (&guests[0].instance.namespace, guests[1].address);
    ensure!(namespace.ping_sized(to, OVERLAY_MTU_BYTES)?, "{OVERLAY_MTU_BYTES} octets do not cross unfragmented");
    Ok(((), format!("packets of {OVERLAY_MTU_BYTES} octets cross in one piece (underlay 1500)")))
}

fn isolation(reds: &[Guest], blues: &[Guest]) -> Result<((), String)> {
    ensure!(reds[0].address == blues[0].address, "red and blue do not have the same addresses");
    ensure!(blues[0].instance.namespace.reaches(ONLY_IN_BLUE)?, "{ONLY_IN_BLUE} is not there in blue");
    for red in reds {
        let answers = red.instance.namespace.ping(ONLY_IN_BLUE, 3)?;
        ensure!(answers == 0, "{} in red reaches {ONLY_IN_BLUE} of blue", red.instance.name);
    }
    let twice = reds[0].address;
    Ok(((), format!("red and blue both have a {twice}; {ONLY_IN_BLUE} of blue is not to be seen from red")))
}

fn say_network(api: &Api, network: &str) -> Result<()> {
    let network = api.get(&format!("/v2/private-network/{network}"))?;
    let leases = network["leases"].as_array().map_or(0, Vec::len);
    ensure!(network["vni"].is_u64() && leases == 2, "vni and two leases are expected in {network}");
    say_json(&network);
    Ok(())
}

fn show_changes(api: &Api, steps: &mut Steps, red: &str, reds: &mut [Guest]) -> Result<()> {
    let changed = CHANGED.to_string();
    steps.run(|| {
        api.update_ip(red, &reds[0].instance.id, Some(&changed))?;
        Ok(((), format!("update-ip: {} has {CHANGED} from now on", reds[0].instance.name)))
    })?;
    steps.run(|| {
        let client = reds[0].client.as_ref().context("red-1 runs a DHCP client")?;
        client.renew()?;
        client.wait_for_address(CHANGED)?;
        Ok(((), format!("{} renewed its lease and uses {CHANGED}", reds[0].instance.name)))
    })?;
    reds[0].address = CHANGED;
    steps.run(|| ping_both_ways("red", reds))?;
    steps.run(|| {
        succeeded(api.operate(Method::DELETE, &format!("/v2/private-network/{red}/labels"), None)?)?;
        let network = api.get(&format!("/v2/private-network/{red}"))?;
        ensure!(network.get("labels").is_none(), "labels are still there: {network}");
        Ok(((), "reset-field: red has no labels any more".to_owned()))
    })?;
    steps.run(|| {
        let [left, away] = reds else { bail!("two instances are expected") };
        api.detach(red, &away.instance.id)?;
        ensure!(!away.instance.namespace.has_device("net0")?, "{} still has its device", away.instance.name);
        ensure!(left.instance.namespace.ping(away.address, 3)? == 0, "{} still answers", away.address);
        Ok(((), format!("detached {}: its device is gone and nobody answers at {}", away.instance.name, away.address)))
    })
}

fn show_the_end(api: &Api, steps: &mut Steps, networks: &[(&str, &[Guest])]) -> Result<()> {
    steps.run(|| {
        let (network, guests) = networks[1];
        let refused = api.request(Method::DELETE, &format!("/v2/private-network/{network}"), None)?;
        ensure!(
            refused.status == 409,
            "deleting blue with {} instances attached answers {}",
            guests.len(),
            refused.status
        );
        Ok(((), format!("delete of blue is refused: {}", refused.body["message"].as_str().unwrap_or_default())))
    })?;
    steps.run(|| {
        for (at, (network, guests)) in networks.iter().enumerate() {
            // red-2 is detached already.
            for guest in &guests[..if at == 0 { 1 } else { guests.len() }] {
                api.detach(network, &guest.instance.id)?;
            }
            api.delete_network(network)?;
        }
        Ok(((), "detached the rest and deleted all networks".to_owned()))
    })?;
    steps.run(|| {
        for guest in networks.iter().flat_map(|(_, guests)| guests.iter()) {
            api.request(Method::DELETE, &format!("/privnet/v1/instances/{}", guest.instance.id), None)?.ok()?;
        }
        let (networks, instances) = (api.get("/v2/private-network")?, api.get("/v2/instance")?);
        ensure!(networks == json!({"private-networks": []}), "networks are left: {networks}");
        ensure!(instances == json!({"instances": []}), "instances are left: {instances}");
        Ok(((), "deleted all instances; the API lists nothing any more".to_owned()))
    })
}
