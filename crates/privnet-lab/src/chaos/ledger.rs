//! What the clients know from their answers. Each network and each instance is one client's, so that
//! what it knows of them is exact.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::event::{HostNumber, InstanceSlot, MadeSlot, NetworkSlot, Range};
use super::frame::Mac;
use super::plan::{INSTANCES_MAX, MADE_MAX, NETWORKS_MAX};
use crate::invariants::netns_made_by;
use crate::namespace::Namespace;

/// What was acknowledged, and who every MAC address is.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) networks: [Option<Network>; NETWORKS_MAX],
    pub(crate) instances: [Option<Instance>; INSTANCES_MAX],
    pub(crate) made: [Option<Made>; MADE_MAX],
    /// The namespaces of made instances that are gone: by then they are, too.
    pub(crate) unmade: BTreeSet<String>,
    /// Every port there ever was.
    pub(crate) ports: HashMap<Mac, PortIdentity>,
    /// Every address that a port ever had.
    pub(crate) leases: HashSet<(Mac, Ipv4Addr)>,
    /// The operations whose end is not known yet, and what each is about.
    pub(crate) pending: BTreeMap<String, String>,
    /// The networks that somebody was told are gone, which they must be.
    pub(crate) told_gone: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) vni: u32,
    pub(crate) range: Option<Range>,
    pub(crate) text: Option<u32>,
    pub(crate) has_labels: bool,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) host: HostNumber,
    /// What its namespace is called beside the lab's id.
    pub(crate) label: String,
    /// `None` while it is lost.
    pub(crate) namespace: Option<Namespace>,
    pub(crate) ports: BTreeMap<NetworkSlot, Port>,
}

/// An instance that its host makes.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) host: HostNumber,
    pub(crate) is_running: bool,
    /// The MAC address in each network.
    pub(crate) ports: BTreeMap<String, Mac>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) network: String,
    pub(crate) mac: Mac,
    pub(crate) address: Option<Ipv4Addr>,
}

/// Whose a MAC address is, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortIdentity {
    pub(crate) network: String,
    pub(crate) name: String,
}

/// A port that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LivePort {
    pub(crate) instance: InstanceSlot,
    pub(crate) host: HostNumber,
    pub(crate) slot: NetworkSlot,
    pub(crate) is_managed: bool,
    pub(crate) port: Port,
}

impl Ledger {
    pub(crate) fn network(&mut self, slot: NetworkSlot) -> Option<&mut Network> {
        self.networks[slot.0].as_mut()
    }

    pub(crate) fn instance(&mut self, slot: InstanceSlot) -> Option<&mut Instance> {
        self.instances[slot.0].as_mut()
    }

    pub(crate) fn made(&mut self, slot: MadeSlot) -> Option<&mut Made> {
        self.made[slot.0].as_mut()
    }

    /// It is gone, and its namespace is to be.
    pub(crate) fn unmake(&mut self, slot: MadeSlot) {
        if let Some(gone) = self.made[slot.0].take() {
            self.unmade.insert(netns_made_by(&gone.host.to_string(), &gone.id));
        }
    }

    /// The ports whose MAC addresses are known.
    pub(crate) fn live_ports(&self) -> Vec<LivePort> {
        let instances = self.instances.iter().enumerate();
        let ports = instances.flat_map(|(slot, instance)| instance.iter().map(move |one| (InstanceSlot(slot), one)));
        let ports =
            ports.flat_map(|(slot, one)| one.ports.iter().map(move |(network, port)| (slot, one, network, port)));
        ports
            .map(|(instance, record, slot, port)| LivePort {
                instance,
                host: record.host,
                slot: *slot,
                is_managed: self.networks[slot.0].as_ref().is_some_and(|network| network.range.is_some()),
                port: port.clone(),
            })
            .collect()
    }

    /// Notes a port, as the API describes it.
    pub(crate) fn attached(&mut self, instance: InstanceSlot, slot: NetworkSlot, port: Port) {
        let identity = PortIdentity { network: port.network.clone(), name: format!("{instance} in {slot}") };
        self.ports.insert(port.mac, identity);
        self.leases.extend(port.address.map(|address| (port.mac, address)));
        if let Some(instance) = self.instance(instance) {
            instance.ports.insert(slot, port);
        }
    }
}
