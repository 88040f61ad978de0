//! How DHCP answers when all instances of a host ask.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket};
use privnet_lab::dhcp_message::{ACK, DISCOVER, DhcpAnswer, OFFER, REQUEST, dhcp_broadcast, selection};
use privnet_lab::{Instance, check_interrupts, device_address, octets};

use crate::ports::Hosts;
use crate::report::Measurement;
use crate::runs::RUNS;
use crate::session::{Session, Step};
use crate::stats::{median, percentile, spread};

/// A client that is not answered within this asks again.
const RETRY: Duration = Duration::from_secs(1);

/// A client that has no lease by then gets none.
const LEASE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many clients are under way at a time where the number of exchanges per second is measured.
const AT_A_TIME: usize = 32;

/// A port may ask 20 times at once and then 4 times a second (the agent's limits): after this it may do so again.
const REST: Duration = Duration::from_secs(5);

/// Measures exchanges of the instances of host 1, each of which has a port `net0`.
pub(crate) fn measure(session: &mut Session, [storms, exchanges]: [&'static Step; 2], hosts: &Hosts) -> Result<()> {
    if !session.wants(storms) && !session.wants(exchanges) {
        return Ok(());
    }
    let mut clients = hosts.members[0].iter().map(Client::on).collect::<Result<Vec<_>>>()?;
    session.measure(storms, || {
        let all = clients.len();
        let runs = (0..RUNS).map(|_| exchange(&mut clients, all)).collect::<Result<Vec<_>>>()?;
        let seconds: Vec<_> = runs.iter().map(|run| run.seconds).collect();
        Ok(vec![Measurement::alone("dhcp_storm_1000_s", median(&seconds), spread(seconds))])
    })?;
    session.measure(exchanges, || {
        std::thread::sleep(REST);
        let runs = (0..RUNS).map(|_| exchange(&mut clients, AT_A_TIME)).collect::<Result<Vec<_>>>()?;
        let rates: Vec<_> = runs.iter().map(|run| run.milliseconds.len() as f64 / run.seconds).collect();
        let p99: Vec<_> = runs.iter().map(|run| percentile(&run.milliseconds, 99)).collect();
        Ok(vec![
            Measurement::alone("dhcp_exchanges_per_second", median(&rates), spread(rates)),
            Measurement::alone("dhcp_p99_ms", median(&p99), spread(p99)),
        ])
    })
}

/// A DHCP client as far as an exchange of four messages goes (RFC 2131 §3.1).
struct Client {
    socket: OwnedFd,
    mac: Vec<u8>,
}

/// One exchange of every client.
struct Exchanges {
    /// From the first message to the last.
    seconds: f64,
    /// What each exchange took.
    milliseconds: Vec<f64>,
}

/// An exchange that has begun.
struct UnderWay {
    began: Instant,
    asked: Instant,
    frame: Vec<u8>,
}

impl Client {
    fn on(instance: &Instance) -> Result<Self> {
        const DEVICE: &str = "net0";
        let links = instance.namespace.links()?;
        let link = links.iter().find(|link| link["ifname"] == DEVICE).context("the instance has no port")?;
        let mac = octets(link["address"].as_str().context("an Ethernet device")?);
        let socket = instance.namespace.within(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
            bind(socket.as_raw_fd(), &device_address(if_nametoindex(DEVICE)?))?;
            Ok(socket)
        })?;
        Ok(Self { socket, mac })
    }

    fn send(&self, frame: Vec<u8>, began: Option<Instant>) -> Result<UnderWay> {
        let asked = Instant::now();
        send(self.socket.as_raw_fd(), &frame, MsgFlags::empty()).context("cannot send a DHCP request")?;
        Ok(UnderWay { began: began.unwrap_or(asked), asked, frame })
    }

    /// The next message from a server, if there is one.
    fn receive(&self) -> Result<Option<DhcpAnswer>> {
        let mut frame = [0; 2048];
        loop {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => {
                    if let Some(answer) = DhcpAnswer::in_frame(&frame[..length]) {
                        return Ok(Some(answer));
                    }
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(io::Error::from(error)).context("cannot receive"),
            }
        }
    }

    /// What is under way after what has come; `None` when the lease is there.
    fn go_on(&self, mut state: UnderWay) -> Result<Option<UnderWay>> {
        while let Some(answer) = self.receive()? {
            match answer.kind() {
                Some(OFFER) => {
                    let options = selection(&answer).context("an offer names its server")?;
                    state = self.send(dhcp_broadcast(REQUEST, &self.mac, &options), Some(state.began))?;
                }
                Some(ACK) => return Ok(None),
                other => bail!("a client that asks for its lease is answered with message type {other:?}"),
            }
        }
        if state.asked.elapsed() > RETRY {
            ensure!(state.began.elapsed() < LEASE_TIMEOUT, "a client has no lease after {LEASE_TIMEOUT:?}");
            state = self.send(state.frame, Some(state.began))?;
        }
        Ok(Some(state))
    }
}

/// Has every client ask for its lease, so many at a time.
fn exchange(clients: &mut [Client], at_a_time: usize) -> Result<Exchanges> {
    let started = Instant::now();
    let mut waiting = clients.iter().enumerate();
    let mut under_way = HashMap::new();
    let mut milliseconds = Vec::with_capacity(clients.len());
    while milliseconds.len() < clients.len() {
        check_interrupts()?;
        for (number, client) in waiting.by_ref().take(at_a_time - under_way.len()) {
            under_way.insert(number, client.send(dhcp_broadcast(DISCOVER, &client.mac, &[]), None)?);
        }
        for number in readable_or_late(clients, &under_way)? {
            let state = under_way.remove(&number).context("it is under way")?;
            let began = state.began;
            match clients[number].go_on(state)? {
                Some(state) => drop(under_way.insert(number, state)),
                None => milliseconds.push(began.elapsed().as_secs_f64() * 1e3),
            }
        }
    }
    Ok(Exchanges { seconds: started.elapsed().as_secs_f64(), milliseconds })
}

/// Those under way who have something to read, or have to ask again.
fn readable_or_late(clients: &[Client], under_way: &HashMap<usize, UnderWay>) -> Result<Vec<usize>> {
    const PAUSE_MS: u16 = 100;
    let numbers: Vec<_> = under_way.keys().copied().collect();
    let mut fds: Vec<_> =
        numbers.iter().map(|number| PollFd::new(clients[*number].socket.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut fds, PollTimeout::from(PAUSE_MS)).context("cannot wait for answers")?;
    let is_due = |(fd, number): &(&PollFd, usize)| fd.any() == Some(true) || under_way[number].asked.elapsed() > RETRY;
    Ok(fds.iter().zip(numbers.iter().copied()).filter(is_due).map(|(_, number)| number).collect())
}
