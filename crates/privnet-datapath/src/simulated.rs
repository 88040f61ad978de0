use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use privnet_model::{MacAddr, Netns, Vni};
use privnet_plan::{KernelNetwork, NetOp};

use crate::{ApplyError, DumpError, Kernel, KernelDump};

/// A host's kernel in memory, for tests and simulated fleets. Clones are the same host, so that a
/// test can look at it and change it by hand while an agent has it.
#[derive(Debug, Clone, Default)]
pub struct Simulated(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    held: KernelDump,
    missing: BTreeMap<MacAddr, Netns>,
    applied: Vec<NetOp>,
}

impl Simulated {
    /// A host without anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds.
    pub fn held(&self) -> KernelDump {
        self.state().held.clone()
    }

    /// The operations carried out since the last call, in order.
    pub fn take_applied(&self) -> Vec<NetOp> {
        std::mem::take(&mut self.state().applied)
    }

    /// From now on operations about this port fail, since this network namespace does not exist.
    pub fn fail(&self, port: MacAddr, missing: Netns) {
        self.state().missing.insert(port, missing);
    }

    /// Operations about this port succeed again.
    pub fn heal(&self, port: MacAddr) {
        self.state().missing.remove(&port);
    }

    /// Changes what it holds of a network behind the agent's back.
    pub fn by_hand(&self, vni: Vni, change: impl FnOnce(&mut KernelNetwork)) {
        let mut state = self.state();
        change(state.held.networks.entry(vni).or_default());
        state.held.networks.retain(|_, network| !network.is_empty());
    }

    /// Puts a device there that does not say whose it is.
    pub fn add_stray(&self, port: MacAddr) {
        self.state().held.strays.insert(port);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel for Simulated {
    async fn dump(&mut self) -> Result<KernelDump, DumpError> {
        Ok(self.held())
    }

    async fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        self.state().apply(op)
    }
}

impl State {
    fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        let missing = op.port().and_then(|port| self.missing.get(&port));
        if let Some(netns) = missing.filter(|_| !matches!(op, NetOp::Close { .. } | NetOp::Unplug { .. })) {
            return Err(ApplyError::NetnsNotFound(netns.clone()));
        }
        self.change(op);
        self.applied.push(op.clone());
        Ok(())
    }

    fn change(&mut self, op: &NetOp) {
        match vni_of(op) {
            Some(vni) => self.held.networks.entry(vni).or_default().apply(op),
            None => self.held.networks.values_mut().for_each(|network| network.apply(op)),
        }
        if let NetOp::Unplug { mac } = op {
            self.held.strays.remove(mac);
        }
        self.held.networks.retain(|_, network| !network.is_empty());
    }
}

/// The network that the operation names; a port is unplugged from whichever it is in.
fn vni_of(op: &NetOp) -> Option<Vni> {
    match op {
        NetOp::Unplug { .. } => None,
        NetOp::RemoveNeighbor { vni, .. }
        | NetOp::RemoveFdb { vni, .. }
        | NetOp::RemoveVtep { vni, .. }
        | NetOp::Close { vni, .. }
        | NetOp::RemoveNetwork { vni }
        | NetOp::SetNetwork { vni, .. }
        | NetOp::AddVtep { vni, .. }
        | NetOp::Plug { vni, .. }
        | NetOp::Filter { vni, .. }
        | NetOp::SetFdb { vni, .. }
        | NetOp::SetNeighbor { vni, .. }
        | NetOp::Open { vni, .. } => Some(*vni),
    }
}

#[cfg(test)]
mod tests {
    use privnet_plan::NetworkSettings;

    use super::*;

    fn set_network(vni: Vni) -> NetOp {
        NetOp::SetNetwork { vni, settings: NetworkSettings { managed: true, mtu_bytes: 1450 } }
    }

    #[tokio::test]
    async fn it_holds_what_was_applied_until_it_is_taken_away() {
        let mut host = Simulated::new();
        let vni = Vni::from_random(7);
        host.apply(&set_network(vni)).await.expect("applied");
        assert_eq!(host.clone().dump().await.expect("read").networks.len(), 1);
        host.by_hand(vni, |network| network.settings = None);
        assert_eq!(host.held(), KernelDump::default());
        assert_eq!(host.take_applied(), [set_network(vni)]);
    }

    #[tokio::test]
    async fn it_fails_for_the_port_it_is_told_to() {
        let mut host = Simulated::new();
        let mac = MacAddr::for_port([1; 5]);
        let open = NetOp::Open { vni: Vni::from_random(7), mac };
        host.fail(mac, Netns::try_from("web1").expect("valid"));
        let refusal = host.apply(&open).await.expect_err("refused");
        assert!(refusal.is_not_found());
        assert_eq!(refusal.to_string(), "network namespace web1 does not exist on this host");
        host.heal(mac);
        host.apply(&open).await.expect("applied");
    }
}
