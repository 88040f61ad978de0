use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use privnet_model::{InstanceId, InstanceState, MacAddr, Netns, Vni};
use privnet_plan::{FdbTarget, KernelNetwork, NetOp, PortStage};
use tokio::sync::watch;

use crate::{ApplyError, DumpError, Kernel, KernelDump};

/// A host's kernel in memory, for tests and simulated fleets. Clones are the same host, so that a
/// test can look at it and change it by hand while an agent has it.
#[derive(Debug, Clone, Default)]
pub struct Simulated {
    state: Arc<watch::Sender<State>>,
    /// What it held when an agent began to read it.
    read: Option<KernelDump>,
}

#[derive(Debug, Default)]
struct State {
    held: KernelDump,
    missing: BTreeMap<MacAddr, Netns>,
    refused: BTreeSet<String>,
    applied: Vec<NetOp>,
    instances: BTreeMap<Netns, InstanceId>,
}

impl Simulated {
    /// A host without anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds.
    pub fn held(&self) -> KernelDump {
        self.state.borrow().held.clone()
    }

    /// Waits until what it holds is so.
    pub async fn until(&self, mut is_so: impl FnMut(&KernelDump) -> bool) {
        let mut states = self.state.subscribe();
        states.wait_for(|state| is_so(&state.held)).await.expect("the sender is here");
    }

    /// The operations carried out since the last call, in order.
    pub fn take_applied(&self) -> Vec<NetOp> {
        self.change(|state| std::mem::take(&mut state.applied))
    }

    /// From now on operations about this port fail, since this network namespace does not exist.
    pub fn fail(&self, port: MacAddr, missing: Netns) {
        self.change(|state| state.missing.insert(port, missing));
    }

    /// From now on operations fail that begin like this when they are printed, for what they need is gone. Those of
    /// instances are "make instance ID" and "remove instance ID"; they fail since somebody else has the namespace.
    pub fn refuse(&self, operations: &str) {
        self.change(|state| state.refused.insert(operations.to_owned()));
    }

    /// Operations about this port succeed again.
    pub fn heal(&self, port: MacAddr) {
        self.change(|state| state.missing.remove(&port));
    }

    /// All operations succeed again.
    pub fn heal_all(&self) {
        self.change(|state| {
            state.missing.clear();
            state.refused.clear();
        });
    }

    /// Changes what it holds of a network behind the agent's back.
    pub fn by_hand(&self, vni: Vni, change: impl FnOnce(&mut KernelNetwork)) {
        self.change(|state| {
            change(state.held.networks.entry(vni).or_default());
            state.forget_empty();
        });
    }

    /// Puts a device there that does not say whose it is.
    pub fn add_stray(&self, port: MacAddr) {
        self.change(|state| state.held.strays.insert(port));
    }

    /// Gives the underlay's device this MTU; `None` takes the device away.
    pub fn set_underlay_mtu(&self, mtu_bytes: impl Into<Option<u32>>) {
        self.change(|state| state.held.underlay_mtu_bytes = mtu_bytes.into());
    }

    /// Its agent becomes one of another version, whose maps are empty.
    pub fn outdate(&self) {
        self.change(|state| {
            for network in state.held.networks.values_mut() {
                let mut ports = std::mem::take(&mut network.ports);
                for port in ports.values_mut().filter(|port| port.stage >= PortStage::Filtered) {
                    port.stage = PortStage::Outdated;
                }
                *network = KernelNetwork { ports, ..KernelNetwork::default() };
            }
            state.held.is_outdated = true;
            state.forget_empty();
        });
    }

    /// Loses all that it holds.
    pub fn reboot(&self) {
        self.change(|state| {
            state.held = KernelDump::default();
            state.instances.clear();
        });
    }

    /// The instances that were made and not removed, by namespace.
    pub fn held_instances(&self) -> Vec<InstanceState> {
        let state = self.state.borrow();
        let instance = |(netns, id): (&Netns, &InstanceId)| InstanceState { id: *id, netns: netns.clone() };
        state.instances.iter().map(instance).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut changed = None;
        self.state.send_modify(|state| changed = Some(change(state)));
        changed.expect("send_modify has called it")
    }
}

impl Kernel for Simulated {
    /// In two parts, of which the first is all there is at that moment.
    async fn dump(&mut self) -> Result<Option<KernelDump>, DumpError> {
        let read = self.read.take();
        if read.is_none() {
            self.read = Some(self.held());
        }
        Ok(read)
    }

    async fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        self.change(|state| state.apply(op))
    }

    async fn make_instance(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        self.change(|held| {
            held.check_instance("make", state)?;
            held.instances.insert(state.netns.clone(), state.id);
            Ok(())
        })
    }

    async fn remove_instance(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        self.change(|held| {
            held.check_instance("remove", state)?;
            held.instances.remove(&state.netns);
            Ok(())
        })
    }

    async fn instances(&mut self) -> Result<Vec<InstanceState>, DumpError> {
        Ok(self.held_instances())
    }

    async fn upgrade(&mut self) -> Result<(), ApplyError> {
        self.change(|state| state.held.is_outdated = false);
        Ok(())
    }
}

impl State {
    fn is_refused(&self, printed: &str) -> bool {
        self.refused.iter().any(|operations| printed.starts_with(operations))
    }

    fn check_instance(&self, verb: &str, state: &InstanceState) -> Result<(), ApplyError> {
        if self.is_refused(&format!("{verb} instance {}", state.id)) {
            return Err(ApplyError::NetnsTaken(state.netns.clone()));
        }
        Ok(())
    }

    fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        let missing = op.port().and_then(|port| self.missing.get(&port));
        if let Some(netns) = missing.filter(|_| !matches!(op, NetOp::Close { .. } | NetOp::Unplug { .. })) {
            return Err(ApplyError::NetnsNotFound(netns.clone()));
        }
        if self.is_refused(&op.to_string()) {
            return Err(what_is_gone(op));
        }
        if !self.has_what_it_needs(op) {
            return Err(what_is_gone(op));
        }
        self.carry_out(op);
        self.applied.push(op.clone());
        Ok(())
    }

    /// Whether the kernel can do it: it filters and reaches no device that is not there, and opens no
    /// port that it would not filter.
    fn has_what_it_needs(&self, op: &NetOp) -> bool {
        let network = vni_of(op).and_then(|vni| self.held.networks.get(&vni));
        let stage = op.port().and_then(|port| Some(network?.ports.get(&port)?.stage));
        match op {
            NetOp::Filter { .. }
            | NetOp::SetMtu { .. }
            | NetOp::Configure { .. }
            | NetOp::SetFdb { target: FdbTarget::Local, .. } => stage.is_some(),
            NetOp::Open { .. } => {
                let has_settings = network.is_some_and(|network| network.settings.is_some());
                has_settings && stage >= Some(PortStage::Filtered)
            }
            _ => true,
        }
    }

    fn carry_out(&mut self, op: &NetOp) {
        match vni_of(op) {
            Some(vni) => self.held.networks.entry(vni).or_default().apply(op),
            None => self.held.networks.values_mut().for_each(|network| network.apply(op)),
        }
        if let NetOp::Unplug { mac } = op {
            self.held.strays.remove(mac);
        }
        self.forget_empty();
    }

    fn forget_empty(&mut self) {
        self.held.networks.retain(|_, network| !network.is_empty());
    }
}

fn what_is_gone(op: &NetOp) -> ApplyError {
    match (op.port(), vni_of(op)) {
        (None, Some(vni)) => ApplyError::NoSettings(vni),
        (Some(mac), _) => ApplyError::NotPlugged(mac),
        (None, None) => unreachable!("every operation is about a network or a port"),
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
        | NetOp::SetMtu { vni, .. }
        | NetOp::AddVtep { vni, .. }
        | NetOp::Plug { vni, .. }
        | NetOp::Filter { vni, .. }
        | NetOp::SetFdb { vni, .. }
        | NetOp::SetNeighbor { vni, .. }
        | NetOp::Configure { vni, .. }
        | NetOp::Open { vni, .. } => Some(*vni),
    }
}

#[cfg(test)]
mod tests {
    use privnet_model::{DeviceName, Placement};
    use privnet_plan::{NetworkSettings, PortSpec};

    use super::*;

    const MAC: MacAddr = MacAddr::for_port([1; 5]);

    fn vni() -> Vni {
        Vni::from_random(7)
    }

    fn web1() -> Netns {
        Netns::try_from("web1").expect("valid")
    }

    fn set_network() -> NetOp {
        NetOp::SetNetwork { vni: vni(), settings: NetworkSettings { managed: true, mtu_bytes: 1450 } }
    }

    fn plug() -> NetOp {
        let placement = Placement::Netns(web1());
        let spec = PortSpec {
            instance: InstanceId::new(1, [2; 10]),
            placement,
            device: DeviceName::of_port(0),
            mtu_bytes: 1450,
            reboots: 0,
            is_configured: false,
        };
        NetOp::Plug { vni: vni(), mac: MAC, spec }
    }

    #[tokio::test]
    async fn it_holds_what_was_applied_until_it_is_taken_away() {
        let mut host = Simulated::new();
        host.apply(&set_network()).await.expect("applied");
        assert_eq!(host.dump().await.expect("read"), None, "that was the first part");
        assert_eq!(host.dump().await.expect("read").expect("all").networks.len(), 1);
        host.by_hand(vni(), |network| network.settings = None);
        assert_eq!(host.held(), KernelDump::default());
        assert_eq!(host.take_applied(), [set_network()]);
    }

    #[tokio::test]
    async fn it_fails_for_the_port_it_is_told_to() {
        let mut host = Simulated::new();
        host.fail(MAC, web1());
        let refusal = host.apply(&plug()).await.expect_err("refused");
        assert!(refusal.is_not_found());
        assert_eq!(refusal.to_string(), "network namespace web1 does not exist on this host");
        host.heal(MAC);
        host.apply(&plug()).await.expect("applied");
    }

    #[tokio::test]
    async fn it_fails_in_the_operations_it_is_told_to() {
        let mut host = Simulated::new();
        host.refuse("~ network");
        host.apply(&set_network()).await.expect_err("refused");
        host.apply(&plug()).await.expect("something else");
        host.heal_all();
        host.apply(&set_network()).await.expect("applied");
    }

    #[tokio::test]
    async fn it_opens_only_what_is_plugged_in_and_filtered_in_a_network_with_settings() {
        let mut host = Simulated::new();
        let (filter, open) = (NetOp::Filter { vni: vni(), mac: MAC }, NetOp::Open { vni: vni(), mac: MAC });
        host.apply(&filter).await.expect_err("nothing is plugged in");
        host.apply(&plug()).await.expect("applied");
        host.apply(&set_network()).await.expect("applied");
        host.apply(&open).await.expect_err("not filtered");
        host.apply(&filter).await.expect("applied");
        host.by_hand(vni(), |network| network.settings = None);
        host.apply(&open).await.expect_err("no settings");
        host.apply(&set_network()).await.expect("applied");
        host.apply(&open).await.expect("applied");
    }
}
