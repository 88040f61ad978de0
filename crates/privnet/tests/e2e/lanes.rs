//! Single frames and segments take ways of their own between hosts, whatever becomes of the underlay.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use privnet_lab::{Lab, invariants};
use serde_json::Value;

use crate::stream::{STALL_TIMEOUT, Stream};
use crate::support::{Guest, eventually, hosts, in_lab, managed};

const OVERLAY_DEVICE: &str = "pnvxlan";

#[test]
fn requests_and_streams_go_on_while_neighbours_are_forgotten_and_routes_move() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let [a, b] = [1, 2].map(|host| Guest::join(lab, &network, &format!("red-{host}"), host));
        let (a, b) = (a?, b?);
        let requests = Requests::start(&a, &b)?;
        requests.take_the_fast_lane(lab)?;
        let stream = Stream::start(&a, &b)?;
        let before = packets(lab, 1, OVERLAY_DEVICE, "tx")?;
        eventually("segments take the offload lane", || Ok(packets(lab, 1, OVERLAY_DEVICE, "tx")? > before))?;

        for _ in 0..10 {
            for host in [1, 2] {
                lab.host(host).namespace.ip("neighbor flush dev under0")?;
            }
            requests.go_on()?;
        }

        add_uplink(lab)?;
        for host in [1, 2] {
            lab.kill_agent(host);
        }
        let before = packets(lab, 1, "under1", "tx")?;
        for (host, other) in [(1, 2), (2, 1)] {
            let route = format!("{} via 198.51.100.{other}", lab.host(other).vtep);
            lab.host(host).namespace.ip(&format!("route replace {route}"))?;
        }
        eventually("frames take the new route", || Ok(packets(lab, 1, "under1", "tx")? > before))?;
        requests.go_on()?;
        for host in [1, 2] {
            lab.start_agent(host)?;
        }
        lab.wait_for_agents()?;
        requests.go_on()?;
        stream.end()?;
        // Here, too, the agents let frames in past the overlay device.
        requests.take_the_fast_lane(lab)?;
        requests.end()?;
        invariants::hold(lab)
    });
}

/// A second wire between both hosts, which no route uses yet.
fn add_uplink(lab: &Lab) -> Result<()> {
    let [one, two] = [1, 2].map(|host| &lab.host(host).namespace);
    one.ip(&format!("link add under1 type veth peer name under1 netns {}", two.name()))?;
    for (number, namespace) in [(1, one), (2, two)] {
        // One host's route moves before the other's.
        for devices in ["all", "under0", "under1"] {
            namespace.run("sysctl", &["-q", &format!("net.ipv4.conf.{devices}.rp_filter=0")])?;
        }
        namespace.ip(&format!("address add 198.51.100.{number}/24 dev under1"))?;
        namespace.ip("link set under1 up")?;
    }
    Ok(())
}

/// How many packets have passed a device of a host, one way.
fn packets(lab: &Lab, host: usize, device: &str, way: &str) -> Result<u64> {
    let shown = lab.host(host).namespace.ip(&format!("-statistics -json link show dev {device}"))?;
    let shown: Value = serde_json::from_str(&shown)?;
    shown[0]["stats64"][way]["packets"].as_u64().with_context(|| format!("no counters: {shown}"))
}

/// Datagrams from one guest to another and back, one after the other, until it is ended.
struct Requests {
    is_ending: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    asker: JoinHandle<Result<()>>,
    answerer: JoinHandle<Result<()>>,
}

impl Requests {
    fn start(from: &Guest, to: &Guest) -> Result<Self> {
        const PACE: Duration = Duration::from_millis(1);
        let socket = |guest: &Guest, port: u16| -> Result<UdpSocket> {
            let address = (guest.address, port);
            let socket = guest.instance.namespace.within(|| Ok(UdpSocket::bind(address)?))?;
            socket.set_read_timeout(Some(STALL_TIMEOUT))?;
            Ok(socket)
        };
        let (asking, answering, to) = (socket(from, 6000)?, socket(to, 6001)?, (to.address, 6001));
        let (is_ending, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (is_over, count) = (Arc::clone(&is_ending), Arc::clone(&answered));
        let asker = std::thread::spawn(move || {
            let mut answer = [0; 64];
            for number in 0u32.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                asking.send_to(&number.to_be_bytes(), to)?;
                let octets = asking.recv(&mut answer).with_context(|| format!("request {number} is not answered"))?;
                ensure!(answer[..octets] == number.to_be_bytes(), "another answer to request {number}");
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PACE);
            }
            asking.send_to(&[], to)?;
            Ok(())
        });
        let answerer = std::thread::spawn(move || {
            let mut request = [0; 64];
            loop {
                let (octets, from) = answering.recv_from(&mut request).context("no request")?;
                if octets == 0 {
                    return Ok(());
                }
                answering.send_to(&request[..octets], from)?;
            }
        });
        Ok(Self { is_ending, answered, asker, answerer })
    }

    fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Some more are answered.
    fn go_on(&self) -> Result<()> {
        const SOME: u32 = 20;
        let before = self.answered();
        eventually("requests are answered", || {
            ensure!(!self.asker.is_finished(), "a request is not answered");
            Ok(self.answered() >= before + SOME)
        })
    }

    /// They come to pass by the overlay devices of both hosts, if nobody else is talking.
    fn take_the_fast_lane(&self, lab: &Lab) -> Result<()> {
        let passed = || -> Result<Vec<u64>> {
            let ways = [(1, "tx"), (1, "rx"), (2, "tx"), (2, "rx")];
            ways.into_iter().map(|(host, way)| packets(lab, host, OVERLAY_DEVICE, way)).collect()
        };
        eventually("requests and answers take the fast lane", || {
            let before = passed()?;
            self.go_on()?;
            Ok(passed()? == before)
        })
    }

    /// All were answered.
    fn end(self) -> Result<()> {
        self.is_ending.store(true, Ordering::Relaxed);
        self.asker.join().expect("no panic")?;
        self.answerer.join().expect("no panic")
    }
}
