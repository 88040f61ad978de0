//! Traffic between two instances: what is sent and how it is measured.
//!
//! Both ends are threads of this process with sockets in the instances' namespaces, each pinned to a
//! core, so that the scheduler's luck is not measured along.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use privnet_lab::{Namespace, check_interrupts};

use crate::stats::median;

/// Traffic flows so long before it is measured, and is measured so long.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(1200);

/// What a stream's ends give to and take from their sockets at a time, as iperf3 does.
const STREAM_CHUNK_BYTES: usize = 128 << 10;

/// The payload of a small message.
const MESSAGE_BYTES: usize = 64;

/// How many small messages one system call sends or receives.
const BATCH_MESSAGES: usize = 64;

const WARM_UP_ROUNDS: usize = 2_000;
const MEASURED_ROUNDS: usize = 30_000;

/// What takes longer than this to arrive is lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// How often a receiver that gets nothing looks whether it shall end.
const IDLE: Duration = Duration::from_millis(100);

/// One of two instances that reach each other.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) namespace: Namespace,
    pub(crate) address: Ipv4Addr,
}

/// What some traffic came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) value: f64,
    /// CPU seconds of the whole machine, per gigabyte of streams, otherwise per million packets: most of
    /// the work is done in interrupts, on behalf of nobody.
    pub(crate) cpu: f64,
}

/// Gbit/s of one TCP stream from the first to the second, each on a core of its own.
pub(crate) fn tcp_stream(ends: &[End; 2]) -> Result<Flow> {
    tcp_streams(ends, 1)
}

/// Gbit/s of four TCP streams together, all senders on one core and all receivers on another.
pub(crate) fn tcp_streams_4(ends: &[End; 2]) -> Result<Flow> {
    tcp_streams(ends, 4)
}

fn tcp_streams([from, to]: &[End; 2], count: usize) -> Result<Flow> {
    let listener = to.namespace.within(|| Ok(TcpListener::bind((to.address, 0))?))?;
    let address = listener.local_addr()?;
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let sender = from.namespace.within(|| connect(address))?;
        let (receiver, _) = listener.accept()?;
        sender.set_write_timeout(Some(LOST_AFTER))?;
        receiver.set_read_timeout(Some(LOST_AFTER))?;
        streams.push((sender, receiver));
    }
    let (received, stop) = (&AtomicU64::new(0), &AtomicBool::new(false));
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(2 * count);
        for (sender, receiver) in streams {
            threads.push(scope.spawn(|| send_until(stop, sender)));
            threads.push(scope.spawn(|| receive_all(received, receiver)));
        }
        let measured = measure(received);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(join)?;
        let Measured { count: octets, cpu_seconds, seconds } = measured?;
        Ok(Flow { value: octets * 8.0 / seconds / 1e9, cpu: cpu_seconds / (octets / 1e9) })
    })
}

fn send_until(stop: &AtomicBool, mut sender: TcpStream) -> Result<()> {
    pin(Core::First)?;
    let chunk = vec![0; STREAM_CHUNK_BYTES];
    while !stop.load(Ordering::Relaxed) {
        sender.write_all(&chunk).context("a stream broke")?;
    }
    // The receiver sees the end.
    Ok(())
}

fn receive_all(received: &AtomicU64, mut receiver: TcpStream) -> Result<()> {
    pin(Core::Last)?;
    let mut chunk = vec![0; STREAM_CHUNK_BYTES];
    loop {
        match receiver.read(&mut chunk).context("a stream broke")? {
            0 => return Ok(()),
            octets => received.fetch_add(octets as u64, Ordering::Relaxed),
        };
    }
}

/// How many small UDP messages per second arrive at the second when the first sends as fast as it can,
/// each on a core of its own.
pub(crate) fn udp_per_second([from, to]: &[End; 2]) -> Result<Flow> {
    let receiver = to.namespace.within(|| Ok(UdpSocket::bind((to.address, 0))?))?;
    receiver.set_read_timeout(Some(IDLE))?;
    let sender = udp_towards(from, receiver.local_addr()?)?;
    let (received, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            pin(Core::First)?;
            let mut batch = Batch::new();
            while !stop.load(Ordering::Relaxed) {
                batch.send(&sender)?;
            }
            Ok(())
        });
        let receiving = scope.spawn(|| {
            pin(Core::Last)?;
            let mut batch = Batch::new();
            while !stop.load(Ordering::Relaxed) {
                received.fetch_add(batch.receive(&receiver)?, Ordering::Relaxed);
            }
            Ok(())
        });
        let measured = measure(&received);
        stop.store(true, Ordering::Relaxed);
        join(sending)?;
        join(receiving)?;
        let Measured { count: messages, cpu_seconds, seconds } = measured?;
        Ok(Flow { value: messages / seconds, cpu: cpu_seconds / (messages / 1e6) })
    })
}

/// The median time in microseconds from sending a small UDP message to its answer, both ends on one core.
pub(crate) fn round_trip([from, to]: &[End; 2]) -> Result<Flow> {
    let echo = to.namespace.within(|| Ok(UdpSocket::bind((to.address, 0))?))?;
    let asker = udp_towards(from, echo.local_addr()?)?;
    echo.connect(asker.local_addr()?)?;
    for socket in [&echo, &asker] {
        socket.set_read_timeout(Some(LOST_AFTER))?;
    }
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            pin(Core::Last)?;
            let mut message = [0; MESSAGE_BYTES];
            for _ in 0..WARM_UP_ROUNDS + MEASURED_ROUNDS {
                echo.recv(&mut message).context("a question is lost")?;
                echo.send(&message)?;
            }
            Ok(())
        });
        let asking = scope.spawn(|| {
            pin(Core::Last)?;
            ask(&asker, WARM_UP_ROUNDS)?;
            let cpu = cpu_seconds()?;
            let microseconds = ask(&asker, MEASURED_ROUNDS)?;
            let packets = 2.0 * MEASURED_ROUNDS as f64;
            Ok(Flow { value: median(&microseconds), cpu: (cpu_seconds()? - cpu) / (packets / 1e6) })
        });
        join(answering)?;
        join(asking)
    })
}

/// The microseconds of so many round trips.
fn ask(asker: &UdpSocket, rounds: usize) -> Result<Vec<f64>> {
    let mut message = [0; MESSAGE_BYTES];
    let mut microseconds = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let sent = Instant::now();
        asker.send(&message)?;
        asker.recv(&mut message).context("an answer is lost")?;
        microseconds.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    Ok(microseconds)
}

/// How many TCP connections per second the first makes to the second, one after the other, both ends on
/// one core. The second closes what it has accepted; the first answers that with a reset, so that no
/// connection stays in TIME-WAIT and keeps its port.
pub(crate) fn tcp_connects_per_second([from, to]: &[End; 2]) -> Result<Flow> {
    let listener = to.namespace.within(|| Ok(TcpListener::bind((to.address, 0))?))?;
    let address = listener.local_addr()?;
    let (made, stop, is_last) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let packets = || from.namespace.within(packets_of_devices).map(|(received, sent)| received + sent);
    thread::scope(|scope| {
        let accepting = scope.spawn(|| {
            pin(Core::Last)?;
            while !is_last.load(Ordering::Relaxed) {
                listener.accept()?;
            }
            Ok(())
        });
        let connecting = scope.spawn(|| {
            from.namespace.within(|| {
                pin(Core::Last)?;
                while !stop.load(Ordering::Relaxed) {
                    connect_and_reset(address)?;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let measured = measure_along(&made, packets);
        stop.store(true, Ordering::Relaxed);
        let connected = join(connecting);
        // The accepting end waits for one more connection, or is about to.
        is_last.store(true, Ordering::Relaxed);
        from.namespace.within(|| connect(address))?;
        connected?;
        join(accepting)?;
        let (Measured { count: connections, cpu_seconds, seconds }, packets) = measured?;
        Ok(Flow { value: connections / seconds, cpu: cpu_seconds / (packets / 1e6) })
    })
}

fn connect_and_reset(address: SocketAddr) -> Result<()> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(LOST_AFTER))?;
    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &reset).context("cannot have a connection end by a reset")?;
    let octets = stream.read(&mut [0]).context("a connection is not closed")?;
    ensure!(octets == 0, "a connection carries something");
    Ok(())
}

/// How many packets the devices of this thread's network namespace have received and sent.
pub(crate) fn packets_of_devices() -> Result<(f64, f64)> {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    // "net0: octets packets errs drop fifo frame compressed multicast octets packets ...", in, then out.
    let counts = devices.lines().filter_map(|line| {
        let (device, numbers) = line.split_once(':')?;
        let numbers: Vec<f64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
        (device.trim() != "lo").then(|| Some((*numbers.get(1)?, *numbers.get(9)?))).flatten()
    });
    Ok(counts.fold((0.0, 0.0), |(received, sent), (in_, out)| (received + in_, sent + out)))
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))
}

fn udp_towards(from: &End, address: SocketAddr) -> Result<UdpSocket> {
    let socket = from.namespace.within(|| Ok(UdpSocket::bind((from.address, 0))?))?;
    socket.connect(address)?;
    Ok(socket)
}

/// What happened while it was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// How far the counter went.
    count: f64,
    /// Of the whole machine.
    pub(crate) cpu_seconds: f64,
    seconds: f64,
}

fn measure(counter: &AtomicU64) -> Result<Measured> {
    Ok(measure_along(counter, || Ok(0.0))?.0)
}

/// Measures along how far another number goes.
pub(crate) fn measure_along(counter: &AtomicU64, other: impl Fn() -> Result<f64>) -> Result<(Measured, f64)> {
    thread::sleep(WARM_UP);
    let other_before = other()?;
    let (count, cpu, started) = (counter.load(Ordering::Relaxed), cpu_seconds()?, Instant::now());
    thread::sleep(MEASURED);
    let seconds = started.elapsed().as_secs_f64();
    let count = (counter.load(Ordering::Relaxed) - count) as f64;
    let cpu_seconds = cpu_seconds()? - cpu;
    let other = other()? - other_before;
    check_interrupts()?;
    ensure!(count > 0.0, "nothing arrived");
    Ok((Measured { count, cpu_seconds, seconds }, other))
}

/// The CPU seconds that this machine has spent otherwise than idle or waiting for a disk (proc_stat(5)).
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    // "cpu  user nice system idle iowait irq softirq steal guest guest_nice", the last two in the first two.
    let ticks: Vec<f64> = stat.split_whitespace().skip(1).take(8).map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, _steal] = ticks[..] else {
        anyhow::bail!("/proc/stat has other fields than expected")
    };
    // SAFETY: sysconf(3) has no preconditions.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok((user + nice + system + irq + softirq) / ticks_per_second)
}

#[derive(Clone, Copy)]
pub(crate) enum Core {
    First,
    Last,
}

/// Keeps this thread on one of the cores that this process may use.
pub(crate) fn pin(core: Core) -> Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).context("cannot learn which cores there are")?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    let core = match core {
        Core::First => cores.next(),
        Core::Last => cores.next_back(),
    };
    let mut one = CpuSet::new();
    one.set(core.context("there is no core")?)?;
    sched_setaffinity(own, &one).context("cannot choose a core")
}

pub(crate) fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Small messages that go with one system call.
struct Batch {
    messages: Box<[[u8; MESSAGE_BYTES]; BATCH_MESSAGES]>,
}

impl Batch {
    fn new() -> Self {
        Self { messages: Box::new([[0; MESSAGE_BYTES]; BATCH_MESSAGES]) }
    }

    fn send(&mut self, socket: &UdpSocket) -> Result<()> {
        let sent = self.with_headers(|headers| {
            // SAFETY: the headers point to buffers that outlive the call.
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0) }
        });
        count(sent).context("cannot send").map(drop)
    }

    /// How many came; none when nothing comes for a while.
    fn receive(&mut self, socket: &UdpSocket) -> Result<u64> {
        let received = self.with_headers(|headers| {
            let (fd, none) = (socket.as_raw_fd(), std::ptr::null_mut());
            // SAFETY: the headers point to buffers that outlive the call.
            unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), headers.len() as u32, libc::MSG_WAITFORONE, none) }
        });
        count(received).context("cannot receive")
    }

    fn with_headers<T>(&mut self, call: impl FnOnce(&mut [libc::mmsghdr]) -> T) -> T {
        let mut parts = self
            .messages
            .each_mut()
            .map(|message| libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() });
        let mut headers = parts.each_mut().map(|part| {
            // SAFETY: all zero is a header without address, data and flags.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (part, 1);
            header
        });
        call(&mut headers)
    }
}

fn count(result: libc::c_int) -> std::io::Result<u64> {
    match u64::try_from(result) {
        Ok(count) => Ok(count),
        Err(_) => match std::io::Error::last_os_error() {
            error if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            error => Err(error),
        },
    }
}
