//! What is wanted and said, made of small numbers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{
    AddressRange, DeviceName, DhcpOptions, DhcpSettings, Generation, InstanceId, LocalPort, Location, MacAddr, Member,
    Name, Netns, NetworkDelta, NetworkId, NetworkState, Placement, Power, Vni,
};
use privnet_plan::{KernelNetwork, wanted_kernel_network};
use privnet_sync::{FromAgent, FromServer};

pub(super) const MTU: u32 = 1450;

pub(super) fn by_vni(states: &[&NetworkState]) -> BTreeMap<Vni, KernelNetwork> {
    states.iter().map(|state| (state.vni, wanted(state))).collect()
}

pub(super) fn wanted(state: &NetworkState) -> KernelNetwork {
    wanted_kernel_network(state, MTU)
}

pub(super) fn network(number: u8, generation: u64, members: &[Member]) -> NetworkState {
    NetworkState {
        id: id(number),
        vni: vni(number),
        generation: Generation(generation),
        mtu_bytes: Some(MTU),
        dhcp: None,
        members: members.iter().map(|member| (member.mac, member.clone())).collect(),
    }
}

pub(super) fn delta(number: u8, base: u64, generation: u64, set: &[Member], removed: &[MacAddr]) -> NetworkDelta {
    NetworkDelta {
        id: id(number),
        base: Generation(base),
        generation: Generation(generation),
        mtu_bytes: Some(MTU),
        dhcp: None,
        set: set.to_vec(),
        removed: removed.iter().copied().collect(),
    }
}

pub(super) fn local(number: u8) -> Member {
    let port = LocalPort {
        instance: InstanceId::from_bytes([number; 16]),
        instance_name: Name::try_from("web").expect("valid"),
        placement: Placement::Netns(Netns::try_from(format!("i{number}").as_str()).expect("valid")),
        device: DeviceName::of_port(0),
        is_configured: false,
        power: Power::Running,
        reboots: 0,
    };
    member(number, Location::Local(port))
}

pub(super) fn remote(number: u8) -> Member {
    member(number, Location::Remote { vtep: vtep(number) })
}

fn member(number: u8, location: Location) -> Member {
    Member { mac: mac(number), address: Some(Ipv4Addr::new(10, 0, 0, number)), location }
}

pub(super) fn dhcp() -> DhcpSettings {
    let [start, end, netmask] = [[10, 0, 0, 1], [10, 0, 0, 9], [255, 255, 255, 0]].map(Ipv4Addr::from);
    DhcpSettings { range: AddressRange::new(start, end, netmask).expect("valid"), options: DhcpOptions::default() }
}

pub(super) fn applied(number: u8, generation: u64) -> FromAgent {
    FromAgent::Applied { network: id(number), generation: Generation(generation), failures: vec![] }
}

pub(super) fn remove(number: u8) -> FromServer {
    FromServer::Remove { network: id(number), removal: u64::from(number) }
}

pub(super) fn removed(number: u8) -> FromAgent {
    FromAgent::Removed { network: id(number), removal: u64::from(number) }
}

pub(super) fn repaired(number: u8, what: &[&str]) -> FromAgent {
    FromAgent::Repaired { network: id(number), what: what.iter().map(ToString::to_string).collect() }
}

pub(super) fn id(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

pub(super) fn vni(number: u8) -> Vni {
    Vni::try_from(u32::from(number)).expect("valid")
}

pub(super) fn mac(number: u8) -> MacAddr {
    MacAddr::for_port([0, 0, 0, 0, number])
}

pub(super) fn vtep(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}
