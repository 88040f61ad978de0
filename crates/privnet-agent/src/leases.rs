use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use privnet_model::{DhcpSettings, LocalPort, MacAddr, Member, Name, NetworkId, NetworkState, Vni};

/// What DHCP answers with, for this host's own ports. Whoever answers reads it at any time and never
/// waits for a pass.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_port: RwLock<ByPort>,
}

#[derive(Debug, Default)]
struct ByPort {
    leases: HashMap<MacAddr, PortLease>,
    ports: HashMap<NetworkId, Vec<MacAddr>>,
}

/// What the server decided about one port of a managed network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortLease {
    /// Its network.
    pub(crate) network: NetworkId,
    /// Its network's.
    pub(crate) vni: Vni,
    /// Its instance's.
    pub(crate) instance_name: Name,
    /// `None` for a port that has leased nothing.
    pub(crate) address: Option<Ipv4Addr>,
    /// Its network's.
    pub(crate) mtu_bytes: u32,
    /// Its network's.
    pub(crate) settings: Arc<DhcpSettings>,
}

impl Leases {
    pub(crate) fn of_port(&self, port: MacAddr) -> Option<PortLease> {
        self.by_port.read().unwrap_or_else(PoisonError::into_inner).leases.get(&port).cloned()
    }

    /// From now on the network's ports have these leases and no others, and its MTU on this host is this.
    pub(crate) fn set(&self, state: &NetworkState, mtu_bytes: u32) {
        let leases = leases_of(state, mtu_bytes);
        self.change(|by_port| {
            by_port.forget(state.id);
            if !leases.is_empty() {
                by_port.ports.insert(state.id, leases.iter().map(|(mac, _)| *mac).collect());
                by_port.leases.extend(leases);
            }
        });
    }

    pub(crate) fn remove(&self, network: NetworkId) {
        self.change(|by_port| by_port.forget(network));
    }

    fn change(&self, change: impl FnOnce(&mut ByPort)) {
        change(&mut self.by_port.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ByPort {
    fn forget(&mut self, network: NetworkId) {
        for mac in self.ports.remove(&network).unwrap_or_default() {
            self.leases.remove(&mac);
        }
    }
}

fn leases_of(state: &NetworkState, mtu_bytes: u32) -> Vec<(MacAddr, PortLease)> {
    let Some(settings) = state.dhcp.clone().map(Arc::new) else { return Vec::new() };
    let lease = |(member, port): (&Member, &LocalPort)| PortLease {
        network: state.id,
        vni: state.vni,
        instance_name: port.instance_name.clone(),
        address: member.address,
        mtu_bytes,
        settings: Arc::clone(&settings),
    };
    state.local_ports().map(|port| (port.0.mac, lease(port))).collect()
}
