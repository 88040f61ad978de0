//! A connection that lasts, and feels it when frames are lost for long.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::Guest;

/// A connection on which nothing happens for so long is broken.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Octets from one guest to another, until it is ended.
pub struct Stream {
    is_ending: Arc<AtomicBool>,
    sender: JoinHandle<Result<usize>>,
    receiver: JoinHandle<Result<usize>>,
}

/// What is sent, over and over. Its length is a prime, so that what is missing or comes twice shows.
fn pattern() -> Vec<u8> {
    (0..8191u32).map(|number| (number * number % 251) as u8).collect()
}

impl Stream {
    /// Connects the one to the other.
    pub fn start(from: &Guest, to: &Guest) -> Result<Self> {
        const PACE: Duration = Duration::from_millis(5);
        let address = (to.address, 5000);
        let listener = to.instance.namespace.within(|| Ok(TcpListener::bind(address)?))?;
        let mut sending = from.instance.namespace.within(|| Ok(TcpStream::connect(address)?))?;
        let mut receiving = listener.accept()?.0;
        sending.set_write_timeout(Some(STALL_TIMEOUT))?;
        receiving.set_read_timeout(Some(STALL_TIMEOUT))?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_ending);
        let sender = std::thread::spawn(move || {
            let (mut sent, pattern) = (0, pattern());
            while !is_over.load(Ordering::Relaxed) {
                sending.write_all(&pattern).context("the stream breaks")?;
                sent += pattern.len();
                std::thread::sleep(PACE);
            }
            sending.shutdown(Shutdown::Write)?;
            Ok(sent)
        });
        let receiver = std::thread::spawn(move || {
            let (mut received, pattern, mut buffer) = (0, pattern(), [0; 65536]);
            loop {
                let octets = receiving.read(&mut buffer).context("the stream stalls")?;
                if octets == 0 {
                    return Ok(received);
                }
                let expected = pattern.iter().cycle().skip(received % pattern.len());
                ensure!(buffer[..octets].iter().eq(expected.take(octets)), "other octets after {received}");
                received += octets;
            }
        });
        Ok(Self { is_ending, sender, receiver })
    }

    /// All that was sent has arrived.
    pub fn end(self) -> Result<()> {
        self.is_ending.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("no panic")?;
        let received = self.receiver.join().expect("no panic")?;
        ensure!(sent > 0 && received == sent, "of {sent} octets, {received} have arrived");
        Ok(())
    }
}
