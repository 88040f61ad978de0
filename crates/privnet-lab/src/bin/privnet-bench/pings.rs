//! Whether frames are lost while agents and servers die, return and are replaced.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use privnet_lab::{Daemon, Lab, check_interrupts};
use serde_json::json;

use crate::ports::configure;
use crate::report::Measurement;
use crate::session::{Session, Step};

/// How many echo requests are sent, and how far apart.
const PINGS: u32 = 27_950;
const INTERVAL_SECONDS: &str = "0.001";

/// How long everything runs undisturbed between two disturbances.
const REST: Duration = Duration::from_millis(200);

pub(crate) static STEPS: [Step; 2] = [
    Step { what: "pings while agents and server restart", names: &["restart_lost_pings"], seconds: 35 },
    Step { what: "pings while agents are upgraded", names: &["upgrade_lost_pings"], seconds: 35 },
];

/// Measures lost pings.
pub(crate) fn measure(session: &mut Session) -> Result<()> {
    let [restarts, upgrades] = &STEPS;
    session
        .measure(restarts, || Ok(vec![lost("restart_lost_pings", &[restart_agent, stop_agent, restart_server])?]))?;
    session.measure(upgrades, || Ok(vec![lost("upgrade_lost_pings", &[upgrade_agent])?]))
}

/// Something that happens to one of the hosts.
type Disturbance = fn(&mut Lab, usize) -> Result<()>;

/// How many pings between two hosts are lost while these happen to either host, over and over.
fn lost(name: &str, disturbances: &[Disturbance]) -> Result<Measurement> {
    let mut lab = Lab::builder().hosts(2).start()?;
    let network = lab.api().create_network(&json!({
        "name": "pings",
        "start-ip": "10.0.0.10", "end-ip": "10.0.0.99", "netmask": "255.255.255.0",
    }))?;
    let mut ends = Vec::new();
    for host in [1, 2] {
        let instance = lab.add_instance(&format!("end-{host}"), host)?;
        lab.api().attach(&network, &instance.id, None)?;
        ends.push(configure(&lab, &network, &instance)?);
    }
    ensure!(ends[0].namespace.reaches(ends[1].address)?, "the hosts do not reach each other");
    let (count, to) = (PINGS.to_string(), ends[1].address.to_string());
    let mut command = ends[0].namespace.command("ping");
    command.args(["-n", "-q", "-i", INTERVAL_SECONDS, "-c", &count, "-W", "2", &to]);
    let mut ping = lab.daemon("ping", &mut command)?;
    let mut happened = 0;
    let mut hosts = [1, 2].into_iter().cycle();
    'pinging: loop {
        for disturbance in disturbances {
            std::thread::sleep(REST);
            check_interrupts()?;
            if ping.check().is_err() {
                break 'pinging;
            }
            disturbance(&mut lab, hosts.next().context("hosts without end")?)?;
            happened += 1;
        }
    }
    eprintln!("  {happened} disturbances");
    let lost = f64::from(lost_of(&ping)?);
    Ok(Measurement::alone(name, lost, (lost, lost)))
}

/// How many requests had no answer, by what ping says at its end.
fn lost_of(ping: &Daemon) -> Result<u32> {
    let log = ping.log();
    let Some((sent, received)) = summary(&log) else { anyhow::bail!("ping printed no summary: {log}") };
    ensure!(sent == PINGS, "ping sent {sent} requests instead of {PINGS}: {log}");
    ensure!(!log.contains("duplicates"), "some requests were answered twice: {log}");
    Ok(sent - received)
}

/// "3 packets transmitted, 2 received, 33% packet loss, time 204ms"
fn summary(log: &str) -> Option<(u32, u32)> {
    let line = log.lines().find(|line| line.contains(" packets transmitted, "))?;
    let (sent, rest) = line.split_once(" packets transmitted, ")?;
    Some((sent.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
}

fn restart_agent(lab: &mut Lab, host: usize) -> Result<()> {
    lab.kill_agent(host);
    start_agent(lab, host)
}

fn stop_agent(lab: &mut Lab, host: usize) -> Result<()> {
    lab.stop_agent(host)?;
    start_agent(lab, host)
}

fn restart_server(lab: &mut Lab, _: usize) -> Result<()> {
    lab.kill_server();
    std::thread::sleep(REST);
    lab.start_server()?;
    lab.wait_for_agents()
}

/// What the agent finds is what one of another version would have left: other programs in maps of another layout.
fn upgrade_agent(lab: &mut Lab, host: usize) -> Result<()> {
    lab.kill_agent(host);
    let pins = &lab.host(host).pin_dir;
    for entry in fs::read_dir(pins)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok()) {
            fs::rename(&path, pins.join("v0"))?;
        }
    }
    start_agent(lab, host)
}

fn start_agent(lab: &mut Lab, host: usize) -> Result<()> {
    lab.start_agent(host)?;
    lab.wait_for_agents()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_ping_says_what_was_sent_and_what_came_back() {
        let log = "PING 10.0.0.10 (10.0.0.10) 56(84) bytes of data.\n\n--- 10.0.0.10 ping statistics ---\n\
                   27950 packets transmitted, 27948 received, 0.00715564% packet loss, time 28037ms\n\
                   rtt min/avg/max/mdev = 0.030/0.052/1.102/0.020 ms\n";
        assert_eq!(summary(log), Some((27_950, 27_948)));
        assert_eq!(summary("ping: connect: Network is unreachable\n"), None);
    }
}
