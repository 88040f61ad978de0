use privnet_model::MacAddr;

use crate::{Configuration, KernelNetwork, KernelPort, NetOp, PortStage};

impl KernelNetwork {
    /// What an operation on this network leaves behind when it succeeds: the meaning of [`NetOp`],
    /// for whoever records what was done and for simulations. An operation on a port that is not
    /// plugged in leaves nothing.
    pub fn apply(&mut self, op: &NetOp) {
        match op {
            NetOp::RemoveNeighbor { address, .. } => drop(self.neighbors.remove(address)),
            NetOp::RemoveFdb { mac, .. } => drop(self.fdb.remove(mac)),
            NetOp::RemoveVtep { vtep, .. } => drop(self.vteps.remove(vtep)),
            NetOp::Close { mac, .. } => self.change_stage(mac, |stage| stage.min(PortStage::Filtered)),
            NetOp::Unplug { mac } => drop(self.ports.remove(mac)),
            NetOp::RemoveNetwork { .. } => self.settings = None,
            NetOp::SetNetwork { settings, .. } => self.settings = Some(*settings),
            NetOp::SetMtu { mac, mtu_bytes, .. } => {
                if let Some(port) = self.ports.get_mut(mac) {
                    port.spec.mtu_bytes = *mtu_bytes;
                }
            }
            NetOp::AddVtep { vtep, .. } => drop(self.vteps.insert(*vtep)),
            NetOp::Plug { mac, spec, .. } => {
                let plugged = KernelPort {
                    spec: spec.clone(),
                    stage: PortStage::Plugged,
                    configuration: Configuration::of_new_port(spec),
                };
                self.ports.entry(*mac).or_insert(plugged);
            }
            NetOp::Filter { mac, .. } => self.change_stage(mac, |stage| stage.max(PortStage::Filtered)),
            NetOp::SetFdb { mac, target, .. } => drop(self.fdb.insert(*mac, *target)),
            NetOp::SetNeighbor { address, mac, .. } => drop(self.neighbors.insert(*address, *mac)),
            NetOp::Configure { mac, configuration, .. } => {
                if let Some(port) = self.ports.get_mut(mac) {
                    port.configuration = configuration.clone();
                }
            }
            NetOp::Open { mac, .. } => self.change_stage(mac, |_| PortStage::Open),
        }
    }

    /// Whether a host with this state has anything of the network at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn change_stage(&mut self, mac: &MacAddr, change: impl Fn(PortStage) -> PortStage) {
        if let Some(port) = self.ports.get_mut(mac) {
            port.stage = change(port.stage);
        }
    }
}
