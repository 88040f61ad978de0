//! What the server is told, one message after the other.

use privnet_datapath::Kernel;
use privnet_sync::FromAgent;
use tokio::sync::mpsc;

use super::{Agent, NotHeld};
use crate::declines::{DeclineReport, Declined};

impl<K: Kernel> Agent<K> {
    /// Tells the server, if it is there and hears. The log has it already.
    pub(crate) fn on_declined(&self, report: DeclineReport) {
        let DeclineReport { declined: Declined { network, port, address }, times } = report;
        if let Some(outbox) = &self.outbox {
            let _ = outbox.try_send(FromAgent::AddressDeclined { network, port, address, times });
        }
    }

    /// Where to tell the news, if there is any and a server to tell it to. Nothing is done as long as another
    /// version's programs have a say in it.
    pub(crate) fn outbox(&self) -> Option<mpsc::Sender<FromAgent>> {
        let is_removed = |not_held: &NotHeld| matches!(not_held, NotHeld::Needed) || self.unknown.is_empty();
        let has_news = self.has_other_mtu
            || !self.news.is_empty()
            || self.instances.has_news()
            || self.not_held.values().any(is_removed);
        self.outbox.clone().filter(|_| has_news && !self.is_outdated)
    }

    /// The next thing that the server does not know yet.
    pub(crate) fn tell(&mut self) -> Option<FromAgent> {
        if std::mem::take(&mut self.has_other_mtu) {
            return Some(FromAgent::UnderlayMtu { bytes: self.identity.facts.underlay_mtu_bytes });
        }
        if let Some(message) = self.instances.tell() {
            return Some(message);
        }
        while let Some(id) = self.news.first().copied() {
            let Some(carried) = self.networks.get_mut(&id) else {
                self.news.remove(&id);
                continue;
            };
            let message = carried.tell();
            let is_last = matches!(message, None | Some(FromAgent::Removed { .. }));
            if is_last && carried.is_gone() {
                self.networks.remove(&id);
            }
            if message.is_some() {
                return message;
            }
            self.news.remove(&id);
        }
        self.tell_not_held()
    }

    fn tell_not_held(&mut self) -> Option<FromAgent> {
        let is_clean = self.unknown.is_empty();
        let mut ready = self.not_held.iter().filter(|(_, what)| matches!(what, NotHeld::Needed) || is_clean);
        let network = *ready.next()?.0;
        Some(match self.not_held.remove(&network)? {
            NotHeld::Needed => FromAgent::NeedFull { network },
            NotHeld::Unwanted { removal } => FromAgent::Removed { network, removal },
        })
    }
}
