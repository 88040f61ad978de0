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
use nix::unistd::Pid;
use privnet_lab::{Namespace, check_interrupts};

use crate::stats::median;

/// Traffic flows so long before it is measured, and is measured so long.
const WARM_UP: Duration = Duration::from_millis(250);
const MEASURED: Duration = Duration::from_millis(1500);

/// What a stream's ends give to and take from their sockets at a time, as iperf3 does.
const STREAM_CHUNK_BYTES: usize = 128 << 10;

/// The payload of a small message.
const MESSAGE_BYTES: usize = 64;

/// How many small messages one system call sends or receives.
const BATCH_MESSAGES: usize = 64;

const WARM_UP_ROUNDS: usize = 2_000;
const MEASURED_ROUNDS: usize = 20_000;

/// What takes longer than this to arrive is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// How often a receiver that gets nothing looks whether it shall end.
const IDLE: Duration = Duration::from_millis(100);

/// One of two instances that reach each other.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) namespace: Namespace,
    pub(crate) address: Ipv4Addr,
}

/// What one TCP stream came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) gbit_per_second: f64,
    /// Of the whole machine: most of the work is done in interrupts, on behalf of nobody.
    pub(crate) cpu_seconds_per_gb: f64,
}

/// One TCP stream from the first to the second, each on a core of its own.
pub(crate) fn tcp_stream([from, to]: &[End; 2]) -> Result<Stream> {
    let listener = to.namespace.within(|| Ok(TcpListener::bind((to.address, 0))?))?;
    let address = listener.local_addr()?;
    let mut sender = from.namespace.within(|| connect(address))?;
    let (mut receiver, _) = listener.accept()?;
    sender.set_write_timeout(Some(LOST_AFTER))?;
    receiver.set_read_timeout(Some(LOST_AFTER))?;
    let (received, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            pin(Core::First)?;
            let chunk = vec![0; STREAM_CHUNK_BYTES];
            while !stop.load(Ordering::Relaxed) {
                sender.write_all(&chunk).context("the stream broke")?;
            }
            // The receiver sees the end.
            drop(sender);
            Ok(())
        });
        let receiving = scope.spawn(|| {
            pin(Core::Last)?;
            let mut chunk = vec![0; STREAM_CHUNK_BYTES];
            loop {
                match receiver.read(&mut chunk).context("the stream broke")? {
                    0 => return Ok(()),
                    octets => received.fetch_add(octets as u64, Ordering::Relaxed),
                };
            }
        });
        let measured = measure(&received);
        stop.store(true, Ordering::Relaxed);
        join(sending)?;
        join(receiving)?;
        let (octets, cpu_seconds, seconds) = measured?;
        ensure!(octets > 0.0, "nothing arrived");
        Ok(Stream { gbit_per_second: octets * 8.0 / seconds / 1e9, cpu_seconds_per_gb: cpu_seconds / (octets / 1e9) })
    })
}

/// How many small UDP messages per second arrive at the second when the first sends as fast as it can,
/// each on a core of its own.
pub(crate) fn udp_per_second([from, to]: &[End; 2]) -> Result<f64> {
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
        let (messages, _, seconds) = measured?;
        ensure!(messages > 0.0, "nothing arrived");
        Ok(messages / seconds)
    })
}

/// The median time in microseconds from sending a small UDP message to its answer, both ends on one core.
pub(crate) fn round_trip([from, to]: &[End; 2]) -> Result<f64> {
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
            let mut message = [0; MESSAGE_BYTES];
            let mut microseconds = Vec::with_capacity(WARM_UP_ROUNDS + MEASURED_ROUNDS);
            for _ in 0..WARM_UP_ROUNDS + MEASURED_ROUNDS {
                let sent = Instant::now();
                asker.send(&message)?;
                asker.recv(&mut message).context("an answer is lost")?;
                microseconds.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            Ok(median(&microseconds[WARM_UP_ROUNDS..]))
        });
        join(answering)?;
        join(asking)
    })
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))
}

fn udp_towards(from: &End, address: SocketAddr) -> Result<UdpSocket> {
    let socket = from.namespace.within(|| Ok(UdpSocket::bind((from.address, 0))?))?;
    socket.connect(address)?;
    Ok(socket)
}

/// How far the counter goes, how many CPU seconds the machine spends and how many seconds pass.
fn measure(counter: &AtomicU64) -> Result<(f64, f64, f64)> {
    thread::sleep(WARM_UP);
    let (count, cpu, started) = (counter.load(Ordering::Relaxed), cpu_seconds()?, Instant::now());
    thread::sleep(MEASURED);
    let seconds = started.elapsed().as_secs_f64();
    let measured = (counter.load(Ordering::Relaxed) - count) as f64;
    let cpu = cpu_seconds()? - cpu;
    check_interrupts()?;
    Ok((measured, cpu, seconds))
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
enum Core {
    First,
    Last,
}

/// Keeps this thread on one of the cores that this process may use.
fn pin(core: Core) -> Result<()> {
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

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
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
