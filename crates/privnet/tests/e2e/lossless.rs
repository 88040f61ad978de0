//! Server and agents die, return and are replaced: those who talk meanwhile feel nothing of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use privnet_lab::{Daemon, DhcpClient, DhcpClientKind, Lab, invariants};

use crate::stream::Stream;
use crate::support::{Guest, eventually, hosts, in_lab, log_lines, managed, text};

/// One each millisecond.
const PINGS: u32 = 27_950;

/// No agent has such maps, and each one that starts takes them for another version's.
const OTHER_VERSION: &str = "v999";

#[test]
fn nothing_is_lost_while_agents_and_server_die_return_and_are_replaced() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = [1, 2, 1].map(|host| Guest::join(lab, &network, &format!("red-{host}"), host));
        let guests = guests.into_iter().collect::<Result<Vec<_>>>()?;
        let leased = lab.add_instance("leased", 1)?;
        lab.api().attach(&network, &leased.id, None)?;
        let client = lab.dhcp_client(&leased, "net0", DhcpClientKind::Udhcpc)?;
        client.wait_for_lease()?;
        let [a, b, c] = [&guests[0], &guests[1], &guests[2]];
        let stream = Stream::start(a, b)?;
        let pings = [(a, b), (b, a), (c, a)].map(|(from, to)| start_pings(lab, from, to));
        let mut pings = pings.into_iter().collect::<Result<Vec<_>>>()?;

        server_stands_still(lab, &client)?;
        let events = [kill_server, kill_agents, upgrade_agents, stop_agents, change_network, upgrade_agents_alone];
        // Each at least once, and again for as long as there are pings.
        for (number, event) in events.into_iter().cycle().enumerate() {
            if number >= events.len() && pings.iter_mut().all(|ping| ping.check().is_err()) {
                break;
            }
            event(lab, &network, &client)?;
        }
        for ping in &pings {
            let log = ping.log();
            ensure!(log.contains(&format!("{PINGS} packets transmitted, {PINGS} received, 0% packet loss")), "{log}");
            ensure!(!log.contains("duplicates"), "{log}");
        }
        stream.end()?;
        invariants::hold(lab)
    });
}

/// It says nothing any more, and its connections stand: the agents notice that all the same.
fn server_stands_still(lab: &mut Lab, client: &DhcpClient) -> Result<()> {
    let server = lab.server().context("a server")?;
    server.signal(Signal::SIGSTOP)?;
    for log in ["h1.log", "h2.log"] {
        let words = ["no connection to the server"];
        eventually("its silence is noticed", || Ok(!log_lines(lab, log, &words)?.is_empty()))?;
    }
    renew(client)?;
    server.signal(Signal::SIGCONT)?;
    lab.wait_for_agents()
}

fn kill_server(lab: &mut Lab, _: &str, client: &DhcpClient) -> Result<()> {
    lab.kill_server();
    renew(client)?;
    lab.start_server()?;
    lab.wait_for_agents()
}

fn kill_agents(lab: &mut Lab, _: &str, _: &DhcpClient) -> Result<()> {
    for host in [1, 2] {
        lab.kill_agent(host);
        lab.start_agent(host)?;
        lab.wait_for_agents()?;
    }
    Ok(())
}

/// Without a server they fill their maps from their own copies.
fn upgrade_agents_alone(lab: &mut Lab, network: &str, client: &DhcpClient) -> Result<()> {
    lab.kill_server();
    for host in [1, 2] {
        lab.kill_agent(host);
        outdate_pins(lab, host)?;
        lab.start_agent(host)?;
        eventually("it is upgraded", || is_upgraded(lab, host))?;
    }
    kill_server(lab, network, client)
}

fn stop_agents(lab: &mut Lab, _: &str, _: &DhcpClient) -> Result<()> {
    for host in [1, 2] {
        lab.stop_agent(host)?;
        lab.start_agent(host)?;
    }
    lab.wait_for_agents()
}

fn upgrade_agents(lab: &mut Lab, _: &str, client: &DhcpClient) -> Result<()> {
    for host in [1, 2] {
        lab.kill_agent(host);
        outdate_pins(lab, host)?;
        // Killed at once, it is completed by the next one.
        lab.start_agent(host)?;
        lab.kill_agent(host);
        lab.start_agent(host)?;
        lab.wait_for_agents()?;
        eventually("it is upgraded", || is_upgraded(lab, host))?;
    }
    renew(client)
}

/// What changes in the network is not felt by those who stay.
fn change_network(lab: &mut Lab, network: &str, _: &DhcpClient) -> Result<()> {
    let passer_by = Guest::join(lab, network, "passer-by", 2)?;
    lab.api().detach(network, &passer_by.instance.id)
}

/// Another version's agent, which pins its maps elsewhere, would have left programs that use these maps. The
/// first one gave a port's device the MTU of its network, and did not note it.
fn outdate_pins(lab: &Lab, host: usize) -> Result<()> {
    let namespace = &lab.host(host).namespace;
    for link in namespace.links()? {
        let (device, alias) = (text(&link, "ifname"), link["ifalias"].as_str().unwrap_or_default());
        if let Some((earlier, mtu_bytes)) = alias.rsplit_once(" mtu=") {
            namespace.run("ip", &["link", "set", "dev", device, "mtu", mtu_bytes, "alias", earlier])?;
        }
    }
    for entry in fs::read_dir(&lab.host(host).pin_dir)? {
        let path = entry?.path();
        if is_of_a_version(&path) {
            fs::rename(&path, path.with_file_name(OTHER_VERSION)).context("cannot rename the maps' folder")?;
        }
    }
    Ok(())
}

fn is_of_a_version(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok())
}

fn is_upgraded(lab: &Lab, host: usize) -> Result<bool> {
    Ok(!lab.host(host).pin_dir.join(OTHER_VERSION).exists())
}

/// The client renews its lease, whoever of the control plane is away.
fn renew(client: &DhcpClient) -> Result<()> {
    let before = client.events().len();
    client.renew()?;
    eventually("the lease is renewed", || Ok(client.events()[before..].iter().any(|event| event.what == "renew")))
}

fn start_pings(lab: &mut Lab, from: &Guest, to: &Guest) -> Result<Daemon> {
    let mut ping = from.instance.namespace.command("ping");
    ping.args(["-n", "-q", "-i", "0.001", "-c", &PINGS.to_string(), &to.address.to_string()]);
    lab.daemon("ping", &mut ping)
}
