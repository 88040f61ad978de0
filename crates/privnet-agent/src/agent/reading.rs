//! What the kernel has is read, and what somebody else has changed is found.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use privnet_datapath::{DumpError, Kernel, KernelDump};
use privnet_model::{MacAddr, NetworkId, Vni};
use privnet_plan::{KernelNetwork, NetOp, plan};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Agent, Meanwhile};
use crate::pass::carry_out;

/// How long somebody else's change may go unnoticed when no link event tells of it.
pub(crate) const VERIFY_EVERY: Duration = Duration::from_millis(500);

/// Link events come in bursts, most of them from the agent's own operations: one look serves them all.
const VERIFY_AFTER_LINK_EVENT: Duration = Duration::from_millis(100);

impl<K: Kernel> Agent<K> {
    /// When to read what the kernel has.
    pub(crate) fn next_verification(&self) -> Instant {
        self.verify_at
    }

    /// Some link of the host has changed.
    pub(crate) fn on_link_event(&mut self) {
        self.verify_at = self.verify_at.min(Instant::now() + VERIFY_AFTER_LINK_EVENT);
    }

    /// Whether some of what the kernel has was read, and some was not yet.
    pub(crate) fn is_verifying(&self) -> bool {
        self.meanwhile.is_some()
    }

    /// Whether a part of what the kernel has can be read now.
    pub(crate) fn is_to_verify(&self, now: Instant) -> bool {
        self.is_verifying() || self.verify_at <= now
    }

    /// Reads the next part of what the kernel has. After the last one, queues the networks in which somebody
    /// else has changed it, and returns true.
    ///
    /// What was read of networks that changed meanwhile is of no use: those wait for the next time.
    ///
    /// # Errors
    /// When the kernel cannot be read; nothing is changed then.
    pub(crate) async fn verify(&mut self) -> Result<bool, DumpError> {
        let meanwhile = self.meanwhile.take().unwrap_or_else(|| {
            self.verify_at = Instant::now() + VERIFY_EVERY;
            Meanwhile::default()
        });
        let Some(KernelDump { mut networks, strays, underlay_mtu_bytes, is_outdated }) = self.kernel.dump().await?
        else {
            self.meanwhile = Some(meanwhile);
            return Ok(false);
        };
        let Meanwhile { changed, is_upgraded } = meanwhile;
        self.is_outdated = is_outdated && !is_upgraded;
        self.follow_underlay(underlay_mtu_bytes);
        if changed.is_empty() {
            self.unplug(strays).await;
        }
        let instances = self.kernel.instances().await?;
        self.instances.compare(instances);
        self.bring_instances_about().await;
        // A network that has taken over another one's VNI comes before that one, which is unwanted.
        let compared = self.networks.iter().filter(|(_, carried)| !changed.contains(&carried.vni()));
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            compared.map(|(id, carried)| (*id, carried.vni())).partition(|(id, _)| self.is_wanted(*id));
        for (id, vni) in wanted.into_iter().chain(unwanted) {
            self.compare(id, networks.remove(&vni).unwrap_or_default());
        }
        networks.retain(|vni, _| !changed.contains(vni));
        self.unknown.retain(|vni, _| changed.contains(vni));
        self.unknown.append(&mut networks);
        self.remove_unknown().await;
        self.settle().await;
        Ok(true)
    }

    pub(super) fn note_change(&mut self, vni: Vni) {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.changed.insert(vni);
        }
    }

    /// A device that is away for a while comes back with an MTU of its own.
    fn follow_underlay(&mut self, mtu_bytes: Option<u32>) {
        let facts = &mut self.identity.facts;
        let Some(mtu_bytes) = mtu_bytes.filter(|mtu_bytes| *mtu_bytes != facts.underlay_mtu_bytes) else { return };
        info!(before = facts.underlay_mtu_bytes, now = mtu_bytes, "the underlay has another MTU");
        facts.underlay_mtu_bytes = mtu_bytes;
        self.has_other_mtu = true;
        for id in self.networks.keys().copied().collect::<Vec<_>>() {
            self.changed(id);
        }
    }

    fn is_wanted(&self, id: NetworkId) -> bool {
        self.networks.get(&id).is_some_and(|carried| carried.wanted().is_some())
    }

    fn compare(&mut self, id: NetworkId, found: KernelNetwork) {
        let Some(carried) = self.networks.get_mut(&id) else { return };
        if carried.compare(found) {
            warn!(network = %id, vni = %carried.vni(), "somebody else has changed this network on this host");
            self.queue(id);
        } else if carried.wanted().is_none() {
            self.news.insert(id);
        }
    }

    /// Devices of ours that belong to no network pass no frames; they only are in the way.
    async fn unplug(&mut self, strays: BTreeSet<MacAddr>) {
        for mac in strays {
            match self.kernel.apply(&NetOp::Unplug { mac }).await {
                Ok(()) => warn!(%mac, "a port's device that belongs to no network is removed"),
                Err(error) => error!(%mac, error = &error as &dyn Error, "cannot remove a device of no network"),
            }
        }
    }

    /// Takes away what the kernel has of networks that nobody wants, once it is known that nobody does.
    pub(super) async fn remove_unknown(&mut self) {
        if !self.knows_all {
            return;
        }
        for (vni, mut actual) in std::mem::take(&mut self.unknown) {
            warn!(%vni, "a network that nobody wants is removed from this host");
            self.note_change(vni);
            let plan = plan(vni, &KernelNetwork::default(), &actual);
            let outcome = carry_out(&mut self.kernel, plan, &mut actual).await;
            for failure in outcome.messages() {
                error!(%vni, failure, "cannot remove all of it");
            }
            if !actual.is_empty() {
                self.unknown.insert(vni, actual);
            }
        }
    }
}
