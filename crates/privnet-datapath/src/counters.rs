use std::collections::BTreeMap;
use std::ops::AddAssign;

use privnet_model::MacAddr;

use crate::layout::{self, DROP_REASONS};
use crate::{Datapath, KernelError};

/// What passed a port since it was filtered, as its instance sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames from the instance that went somewhere.
    pub sent_frames: u64,
    /// Their octets.
    pub sent_octets: u64,
    /// Frames to the instance.
    pub received_frames: u64,
    /// Their octets.
    pub received_octets: u64,
    /// Requests handed to the agent.
    pub dhcp_requests: u64,
    /// Requests answered in place.
    pub arp_replies: u64,
    /// Frames that were too big, answered by ICMP; they count as dropped, too.
    pub icmp_replies: u64,
    /// Frames that were dropped, by reason. Reasons without any are left out.
    pub drops: BTreeMap<&'static str, u64>,
}

impl Datapath {
    /// What passed a port; `None` if it is not filtered on this host.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn counters(&mut self, port: MacAddr) -> Result<Option<PortCounters>, KernelError> {
        match self.device(port)? {
            Some(link) => self.counters_of(link.index),
            None => Ok(None),
        }
    }

    /// What the overlay brought for no port of this host.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn overlay_counters(&mut self) -> Result<PortCounters, KernelError> {
        Ok(self.counters_of(layout::OVERLAY_ROW)?.unwrap_or_default())
    }

    fn counters_of(&self, row: u32) -> Result<Option<PortCounters>, KernelError> {
        let Some(by_processor) = self.tables.counters.get(row)? else { return Ok(None) };
        let mut sum = PortCounters::default();
        by_processor.into_iter().for_each(|counters| sum += counters);
        sum.drops.retain(|_, frames| *frames > 0);
        Ok(Some(sum))
    }
}

impl AddAssign<layout::Counters> for PortCounters {
    fn add_assign(&mut self, more: layout::Counters) {
        self.sent_frames += more.sent_frames;
        self.sent_octets += more.sent_octets;
        self.received_frames += more.received_frames;
        self.received_octets += more.received_octets;
        self.dhcp_requests += more.dhcp_requests;
        self.arp_replies += more.arp_replies;
        self.icmp_replies += more.icmp_replies;
        for (reason, frames) in DROP_REASONS.into_iter().zip(more.drops) {
            *self.drops.entry(reason).or_default() += frames;
        }
    }
}
