//! How DHCP answers when all instances of a host ask.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv, send, socket,
};
use privnet_lab::{Instance, check_interrupts, octets, udp_packet};

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

/// Message types (RFC 2132 §9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// Where a frame's DHCP message begins, and in it its address and its options (RFC 2131 §2).
const MESSAGE: usize = 14 + 20 + 8;
const YIADDR: usize = 16;
const OPTIONS: usize = 240;

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
            bind(socket.as_raw_fd(), &device_address(if_nametoindex(DEVICE)?)?)?;
            Ok(socket)
        })?;
        Ok(Self { socket, mac })
    }

    /// A broadcast of this message type with these options.
    fn message(&self, kind: u8, options: &[u8]) -> Vec<u8> {
        let mut message = vec![1, 1, 6, 0, 0, 0, 0, 7];
        message.resize(28, 0);
        message.extend(&self.mac);
        message.resize(236, 0);
        message.extend([99, 130, 83, 99, 53, 1, kind]);
        message.extend(options);
        message.push(255);
        message.resize(300, 0);
        let packet = udp_packet(([0, 0, 0, 0].into(), 68), ([255, 255, 255, 255].into(), 67), &message);
        [&[0xff; 6][..], &self.mac, &[0x08, 0x00], &packet].concat()
    }

    fn send(&self, frame: Vec<u8>, began: Option<Instant>) -> Result<UnderWay> {
        let asked = Instant::now();
        send(self.socket.as_raw_fd(), &frame, MsgFlags::empty()).context("cannot send a DHCP request")?;
        Ok(UnderWay { began: began.unwrap_or(asked), asked, frame })
    }

    /// The type and the rest of the next message from a server, if there is one.
    fn receive(&self) -> Result<Option<(u8, Vec<u8>)>> {
        let mut frame = [0; 2048];
        loop {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) if is_answer(&frame[..length]) => {
                    let message = frame[MESSAGE..length].to_vec();
                    let kind = option(&message, 53).context("a message has a type")?[0];
                    return Ok(Some((kind, message)));
                }
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(io::Error::from(error)).context("cannot receive"),
            }
        }
    }

    /// What is under way after what has come; `None` when the lease is there.
    fn go_on(&self, mut state: UnderWay) -> Result<Option<UnderWay>> {
        while let Some((kind, message)) = self.receive()? {
            match kind {
                OFFER => {
                    let server = option(&message, 54).context("an offer names its server")?;
                    let address = &message[YIADDR..YIADDR + 4];
                    let options = [&[50, 4][..], address, &[54, 4], server].concat();
                    state = self.send(self.message(REQUEST, &options), Some(state.began))?;
                }
                ACK => return Ok(None),
                other => bail!("a client that asks for its lease is answered with message type {other}"),
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
            under_way.insert(number, client.send(client.message(DISCOVER, &[]), None)?);
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

/// UDP from a DHCP server.
fn is_answer(frame: &[u8]) -> bool {
    frame.len() > MESSAGE + OPTIONS && frame[12..14] == [0x08, 0x00] && frame[23] == 17 && frame[34..36] == [0, 67]
}

fn option(message: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = message.get(OPTIONS..)?;
    loop {
        match *rest {
            [0, ref after @ ..] => rest = after,
            [found, length, ref after @ ..] if found != 255 => {
                let (value, after) = after.split_at_checked(length.into())?;
                if found == code {
                    return Some(value);
                }
                rest = after;
            }
            _ => return None,
        }
    }
}

/// A device of the thread's network namespace, all protocols (packet(7)).
fn device_address(index: u32) -> Result<LinkAddr> {
    // SAFETY: all of a sockaddr_ll is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    // SAFETY: it is a whole sockaddr_ll, whose length is given.
    let address = unsafe {
        LinkAddr::from_raw((&raw const address).cast(), Some(size_of::<libc::sockaddr_ll>() as libc::socklen_t))
    };
    address.context("a packet socket's address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_behind_padding_and_not_behind_the_end() {
        let message = |options: &[u8]| [&[0; OPTIONS][..], options].concat();
        assert_eq!(option(&message(&[0, 53, 1, 2, 54, 2, 8, 9, 255]), 54), Some(&[8, 9][..]));
        assert_eq!(option(&message(&[53, 1, 2, 255, 54, 1, 8]), 54), None);
        assert_eq!(option(&message(&[54, 9, 8]), 54), None, "it is cut off");
    }
}
