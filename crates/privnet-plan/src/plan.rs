use privnet_model::{MacAddr, Vni};

use crate::{Configuration, FdbTarget, KernelNetwork, KernelPort, NetOp, PortStage};

/// The operations that lead from `actual` to `wanted`, in the order in which they must be done.
/// An empty `wanted` leads to a host without the network.
///
/// Whatever differs is taken away before anything is added, so that nothing ever exists twice and no
/// entry points to what is not there any more: a device's index may be given to another network's
/// port, and a VTEP may have ceased to carry the network (invariant 3). A port is opened when all
/// else is in place, and closed before anything else of it is touched (invariant 4).
pub fn plan(vni: Vni, wanted: &KernelNetwork, actual: &KernelNetwork) -> Vec<NetOp> {
    let diff = Diff { vni, wanted, actual };
    let removals = diff
        .close()
        .chain(diff.remove_neighbors())
        .chain(diff.remove_fdb())
        .chain(diff.remove_vteps())
        .chain(diff.unplug())
        .chain(diff.remove_network());
    let additions = diff
        .set_network()
        .chain(diff.set_mtus())
        .chain(diff.add_vteps())
        .chain(diff.plug())
        .chain(diff.filter())
        .chain(diff.set_fdb())
        .chain(diff.set_neighbors())
        .chain(diff.configure())
        .chain(diff.open());
    removals.chain(additions).collect()
}

struct Diff<'a> {
    vni: Vni,
    wanted: &'a KernelNetwork,
    actual: &'a KernelNetwork,
}

impl Diff<'_> {
    fn close(&self) -> impl Iterator<Item = NetOp> {
        let stays_open = |mac| self.keeps_port(mac) && self.wanted.ports[&mac].stage == PortStage::Open;
        let open = self.actual.ports.iter().filter(|(_, port)| port.stage == PortStage::Open);
        open.filter(move |(mac, _)| !stays_open(**mac)).map(|(mac, _)| NetOp::Close { vni: self.vni, mac: *mac })
    }

    fn remove_neighbors(&self) -> impl Iterator<Item = NetOp> {
        let differs = |(address, mac): &(_, _)| self.wanted.neighbors.get(*address) != Some(*mac);
        let stale = self.actual.neighbors.iter().filter(differs);
        stale.map(|(address, _)| NetOp::RemoveNeighbor { vni: self.vni, address: *address })
    }

    fn remove_fdb(&self) -> impl Iterator<Item = NetOp> {
        let stale = self.actual.fdb.keys().filter(|mac| !self.keeps_fdb(**mac));
        stale.map(|mac| NetOp::RemoveFdb { vni: self.vni, mac: *mac })
    }

    fn remove_vteps(&self) -> impl Iterator<Item = NetOp> {
        let stale = self.actual.vteps.difference(&self.wanted.vteps);
        stale.map(|vtep| NetOp::RemoveVtep { vni: self.vni, vtep: *vtep })
    }

    fn unplug(&self) -> impl Iterator<Item = NetOp> {
        self.actual.ports.keys().filter(|mac| !self.keeps_port(**mac)).map(|mac| NetOp::Unplug { mac: *mac })
    }

    fn remove_network(&self) -> impl Iterator<Item = NetOp> {
        let gone = self.wanted.settings.is_none() && self.actual.settings.is_some();
        gone.then_some(NetOp::RemoveNetwork { vni: self.vni }).into_iter()
    }

    fn set_network(&self) -> impl Iterator<Item = NetOp> {
        let new = self.wanted.settings.filter(|_| self.wanted.settings != self.actual.settings);
        new.map(|settings| NetOp::SetNetwork { vni: self.vni, settings }).into_iter()
    }

    fn set_mtus(&self) -> impl Iterator<Item = NetOp> {
        let kept = self.wanted.ports.iter().filter(|(mac, _)| self.keeps_port(**mac));
        let differs = kept.map(|(mac, port)| (mac, port.spec.mtu_bytes));
        let differs = differs.filter(|(mac, mtu_bytes)| self.actual.ports[*mac].spec.mtu_bytes != *mtu_bytes);
        differs.map(|(mac, mtu_bytes)| NetOp::SetMtu { vni: self.vni, mac: *mac, mtu_bytes })
    }

    fn add_vteps(&self) -> impl Iterator<Item = NetOp> {
        let missing = self.wanted.vteps.difference(&self.actual.vteps);
        missing.map(|vtep| NetOp::AddVtep { vni: self.vni, vtep: *vtep })
    }

    fn plug(&self) -> impl Iterator<Item = NetOp> {
        let missing = self.wanted.ports.iter().filter(|(mac, _)| !self.keeps_port(**mac));
        missing.map(|(mac, port)| NetOp::Plug { vni: self.vni, mac: *mac, spec: port.spec.clone() })
    }

    fn filter(&self) -> impl Iterator<Item = NetOp> {
        self.ports_to_raise_to(PortStage::Filtered).map(|mac| NetOp::Filter { vni: self.vni, mac })
    }

    fn set_fdb(&self) -> impl Iterator<Item = NetOp> {
        let missing = self.wanted.fdb.iter().filter(|(mac, _)| !self.keeps_fdb(**mac));
        missing.map(|(mac, target)| NetOp::SetFdb { vni: self.vni, mac: *mac, target: *target })
    }

    fn set_neighbors(&self) -> impl Iterator<Item = NetOp> {
        let differs = |(address, mac): &(_, _)| self.actual.neighbors.get(*address) != Some(*mac);
        let missing = self.wanted.neighbors.iter().filter(differs);
        missing.map(|(address, mac)| NetOp::SetNeighbor { vni: self.vni, address: *address, mac: *mac })
    }

    /// What is plugged in anew has nothing of it yet.
    fn configure(&self) -> impl Iterator<Item = NetOp> {
        let differs = |(mac, wanted): &(&MacAddr, &KernelPort)| {
            let actual = self.actual.ports.get(*mac).filter(|_| self.keeps_port(**mac));
            let actual = actual.map(|actual| actual.configuration.clone());
            actual.unwrap_or_else(|| Configuration::of_new_port(&wanted.spec)) != wanted.configuration
        };
        self.wanted.ports.iter().filter(differs).map(|(mac, wanted)| NetOp::Configure {
            vni: self.vni,
            mac: *mac,
            configuration: wanted.configuration.clone(),
        })
    }

    fn open(&self) -> impl Iterator<Item = NetOp> {
        self.ports_to_raise_to(PortStage::Open).map(|mac| NetOp::Open { vni: self.vni, mac })
    }

    /// The wanted ports that shall reach `stage` and are below it, or are plugged in anew.
    fn ports_to_raise_to(&self, stage: PortStage) -> impl Iterator<Item = MacAddr> {
        let is_below = move |mac: &MacAddr| !self.keeps_port(*mac) || self.actual.ports[mac].stage < stage;
        let wanted = self.wanted.ports.iter().filter(move |(_, port)| port.stage >= stage);
        wanted.map(|(mac, _)| *mac).filter(is_below)
    }

    /// Whether the port stays plugged in, with another MTU or as it is. No operation takes the programs off again, so a
    /// port that is further than `Plugged` and shall not be is plugged in anew.
    fn keeps_port(&self, mac: MacAddr) -> bool {
        match (self.wanted.ports.get(&mac), self.actual.ports.get(&mac)) {
            (Some(wanted), Some(actual)) => wanted.spec.is_same_device(&actual.spec) && can_lower_to(wanted, actual),
            _ => false,
        }
    }

    /// Whether the entry stays as it is. One for a port that is plugged in anew would point to the
    /// device that is gone.
    fn keeps_fdb(&self, mac: MacAddr) -> bool {
        match (self.wanted.fdb.get(&mac), self.actual.fdb.get(&mac)) {
            (Some(FdbTarget::Local), Some(FdbTarget::Local)) => self.keeps_port(mac),
            (Some(wanted), actual) => actual == Some(wanted),
            (None, _) => false,
        }
    }
}

fn can_lower_to(wanted: &KernelPort, actual: &KernelPort) -> bool {
    wanted.stage >= actual.stage.min(PortStage::Filtered)
}
