//! Addresses that clients have found in use (DHCPDECLINE), and when that is reported: a client that declines again
//! and again fills no log.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use privnet_model::{MacAddr, NetworkId};
use tokio::time::Instant;

/// At most so often for each port.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// A port that has reported nothing for this long is forgotten, and what it has declined since.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// A client says that the address it was given is in use by another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Declined {
    pub(crate) network: NetworkId,
    pub(crate) port: MacAddr,
    pub(crate) address: Ipv4Addr,
}

/// What is to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeclineReport {
    pub(crate) declined: Declined,
    /// How often since the report before.
    pub(crate) times: u32,
}

/// What clients have declined.
#[derive(Debug, Default)]
pub(crate) struct Declines(HashMap<MacAddr, Seen>);

#[derive(Debug)]
struct Seen {
    reported_at: Instant,
    unreported: u32,
}

impl Declines {
    /// Counts one, and returns what is to be reported now: the first of a port, then all of a minute together.
    pub(crate) fn count(&mut self, declined: Declined, now: Instant) -> Option<DeclineReport> {
        let seen = self.0.get_mut(&declined.port);
        let unreported = match seen {
            Some(seen) if now.duration_since(seen.reported_at) < REPORT_EVERY => {
                seen.unreported = seen.unreported.saturating_add(1);
                return None;
            }
            Some(seen) => seen.unreported,
            None => 0,
        };
        self.0.retain(|_, seen| now.duration_since(seen.reported_at) < FORGET_AFTER);
        self.0.insert(declined.port, Seen { reported_at: now, unreported: 0 });
        Some(DeclineReport { declined, times: unreported.saturating_add(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: MacAddr = MacAddr::for_port([0, 0, 0, 0, 1]);
    const OTHER_PORT: MacAddr = MacAddr::for_port([0, 0, 0, 0, 2]);

    fn by(port: MacAddr) -> Declined {
        Declined { network: NetworkId::from_bytes([1; 16]), port, address: Ipv4Addr::new(10, 0, 0, 7) }
    }

    #[test]
    fn the_first_of_a_port_is_reported_at_once_and_the_others_once_a_minute() {
        let (mut declines, start) = (Declines::default(), Instant::now());
        let mut times = |port, seconds| {
            let report = declines.count(by(port), start + Duration::from_secs(seconds));
            report.map(|report| (report.declined.port, report.times))
        };
        assert_eq!(times(PORT, 0), Some((PORT, 1)));
        assert_eq!([times(PORT, 1), times(PORT, 59)], [None; 2]);
        assert_eq!(times(OTHER_PORT, 59), Some((OTHER_PORT, 1)));
        assert_eq!(times(PORT, 60), Some((PORT, 3)));
        assert_eq!(times(PORT, 61), None);
        assert_eq!(times(OTHER_PORT, 119), Some((OTHER_PORT, 1)));
    }

    #[test]
    fn ports_that_are_gone_are_forgotten() {
        let (mut declines, start) = (Declines::default(), Instant::now());
        for number in 0..100 {
            declines.count(by(MacAddr::for_port([0, 0, 0, 1, number])), start);
        }
        assert!(declines.count(by(PORT), start + FORGET_AFTER).is_some());
        assert_eq!(declines.0.len(), 1);
    }
}
