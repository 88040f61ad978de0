//! What holds for every plan, at every step of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{
    AddressRange, DeviceName, DhcpOptions, DhcpSettings, Generation, InstanceId, LocalPort, Location, MacAddr, Member,
    Name, Netns, NetworkId, NetworkState, Placement, Power, Vni,
};
use privnet_plan::{
    Configuration, FdbTarget, InterfaceAddress, KernelNetwork, KernelPort, NetOp, NetworkSettings, PortSpec, PortStage,
    Route, plan, wanted_kernel_network,
};
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_plan_carried_out_reaches_what_is_wanted(wanted in wanted(), actual in actual()) {
        let mut network = actual.clone();
        plan(vni(), &wanted, &actual).iter().for_each(|op| network.apply(op));
        prop_assert_eq!(network, wanted);
    }

    #[test]
    fn what_is_as_wanted_needs_nothing(wanted in wanted()) {
        prop_assert_eq!(plan(vni(), &wanted, &wanted), []);
    }

    #[test]
    fn operations_come_in_their_order(wanted in wanted(), actual in actual()) {
        let ranks: Vec<_> = plan(vni(), &wanted, &actual).iter().map(rank).collect();
        prop_assert!(ranks.is_sorted(), "{ranks:?}");
    }

    #[test]
    fn an_operation_done_twice_leaves_what_it_leaves_when_done_once(wanted in wanted(), actual in actual()) {
        let mut network = actual.clone();
        for op in plan(vni(), &wanted, &actual) {
            network.apply(&op);
            let once = network.clone();
            network.apply(&op);
            prop_assert_eq!(&network, &once, "{}", op);
        }
    }

    #[test]
    fn no_frame_goes_astray_at_any_step(wanted in wanted(), actual in actual()) {
        let mut network = actual.clone();
        for op in plan(vni(), &wanted, &actual) {
            let safe = may_be_done(&op, &network, &wanted);
            prop_assert!(safe, "{} on {:#?}", op, network);
            network.apply(&op);
        }
    }

    #[test]
    fn a_plan_with_failures_goes_nowhere_unsafe_and_the_next_one_completes_it(
        wanted in wanted(), actual in actual(), fails in prop::collection::vec(any::<bool>(), 100)
    ) {
        let mut network = actual.clone();
        let mut undone: Vec<NetOp> = Vec::new();
        for (op, fails) in plan(vni(), &wanted, &actual).into_iter().zip(fails) {
            if fails || undone.iter().any(|earlier| op.needs(earlier)) {
                undone.push(op);
            } else {
                prop_assert!(network_is_ready_for_port(&op, &network), "{} on {:#?}", op, network);
                network.apply(&op);
            }
        }
        plan(vni(), &wanted, &network.clone()).iter().for_each(|op| network.apply(op));
        prop_assert_eq!(network, wanted);
    }
}

/// Where each kind of operation stands in a plan.
fn rank(op: &NetOp) -> u8 {
    match op {
        NetOp::Close { .. } => 0,
        NetOp::RemoveNeighbor { .. } => 1,
        NetOp::RemoveFdb { .. } => 2,
        NetOp::RemoveVtep { .. } => 3,
        NetOp::Unplug { .. } => 4,
        NetOp::RemoveNetwork { .. } => 5,
        NetOp::SetNetwork { .. } => 6,
        NetOp::SetMtu { .. } => 7,
        NetOp::AddVtep { .. } => 8,
        NetOp::Plug { .. } => 9,
        NetOp::Filter { .. } => 10,
        NetOp::SetFdb { .. } => 11,
        NetOp::SetNeighbor { .. } => 12,
        NetOp::Configure { .. } => 13,
        NetOp::Open { .. } => 14,
    }
}

/// Whether `op` sends no frame to where it does not belong, given what is there when it is done.
fn may_be_done(op: &NetOp, network: &KernelNetwork, wanted: &KernelNetwork) -> bool {
    let nothing_stale = || network.fdb.iter().all(|(mac, target)| wanted.fdb.get(mac) == Some(target));
    network_is_ready_for_port(op, network)
        && match op {
            NetOp::RemoveVtep { vtep, .. } => !network.fdb.values().any(|t| *t == FdbTarget::Remote(*vtep)),
            NetOp::RemoveNetwork { .. } => KernelNetwork { settings: None, ..network.clone() }.is_empty(),
            NetOp::SetFdb { target: FdbTarget::Remote(vtep), .. } => network.vteps.contains(vtep),
            NetOp::SetFdb { target: FdbTarget::Stray, .. } => false,
            NetOp::SetNetwork { .. } | NetOp::AddVtep { .. } | NetOp::Plug { .. } => nothing_stale(),
            NetOp::SetNeighbor { .. } => network.fdb == wanted.fdb,
            NetOp::Open { .. } => {
                KernelNetwork { ports: BTreeMap::new(), ..network.clone() }
                    == KernelNetwork { ports: BTreeMap::new(), ..wanted.clone() }
            }
            _ => true,
        }
}

/// What must hold even when other operations have failed.
fn network_is_ready_for_port(op: &NetOp, network: &KernelNetwork) -> bool {
    let stage = |mac| network.ports.get(mac).map(|port| port.stage);
    match op {
        NetOp::Unplug { mac } => matches!(network.fdb.get(mac), None | Some(FdbTarget::Remote(_))),
        NetOp::SetMtu { mac, .. } => stage(mac).is_some(),
        NetOp::Plug { mac, .. } => stage(mac).is_none(),
        NetOp::Filter { mac, .. } => matches!(stage(mac), Some(PortStage::Plugged | PortStage::Outdated)),
        NetOp::SetFdb { mac, target: FdbTarget::Local, .. } => stage(mac) >= Some(PortStage::Filtered),
        NetOp::Open { mac, .. } => stage(mac) == Some(PortStage::Filtered) && network.settings.is_some(),
        _ => true,
    }
}

/// What a server may want of this host, or nothing.
fn wanted() -> impl Strategy<Value = KernelNetwork> {
    let member = (prop::option::of(1..6u8), location());
    let members = btree_map(1..6u8, member, 0..5);
    let routers = btree_set((1..9u8).prop_map(ip), 0..2);
    let state = (any::<bool>(), members, 1400..1402u32, routers).prop_map(|(managed, members, mtu_bytes, routers)| {
        let options = || DhcpOptions::new(routers.into_iter().collect(), vec![], vec![], vec![]).expect("short");
        let range = AddressRange::new(ip(1), ip(9), Ipv4Addr::new(255, 255, 255, 0)).expect("valid");
        let members = members.into_iter().map(|(number, (address, location))| {
            (mac(number), Member { mac: mac(number), address: address.map(ip), location })
        });
        let state = NetworkState {
            id: NetworkId::from_bytes([1; 16]),
            vni: vni(),
            generation: Generation(1),
            mtu_bytes: None,
            dhcp: managed.then(|| DhcpSettings { range, options: options() }),
            members: members.collect(),
        };
        wanted_kernel_network(&state, mtu_bytes)
    });
    prop_oneof![1 => Just(KernelNetwork::default()), 9 => state]
}

fn location() -> impl Strategy<Value = Location> {
    let local = ("[ab]", 1..3u8, any::<bool>()).prop_map(|(netns, instance, is_configured)| {
        Location::Local(LocalPort {
            instance: InstanceId::from_bytes([instance; 16]),
            instance_name: Name::try_from("web").expect("valid"),
            placement: Placement::Netns(Netns::try_from(netns.as_str()).expect("valid")),
            device: DeviceName::of_port(0),
            is_configured,
            power: Power::Running,
            reboots: 0,
        })
    });
    prop_oneof![local, vtep().prop_map(|vtep| Location::Remote { vtep })]
}

/// Anything that somebody may have made of the kernel, or what was once wanted.
fn actual() -> impl Strategy<Value = KernelNetwork> {
    let settings =
        (any::<bool>(), 1400..1402u32).prop_map(|(managed, mtu_bytes)| NetworkSettings { managed, mtu_bytes });
    let target = prop_oneof![Just(FdbTarget::Local), Just(FdbTarget::Stray), vtep().prop_map(FdbTarget::Remote)];
    let wild = (
        prop::option::of(settings),
        btree_map(1..6u8, port(), 0..4),
        btree_map((1..6u8).prop_map(mac), target, 0..5),
        btree_map((1..6u8).prop_map(ip), (1..6u8).prop_map(mac), 0..5),
        btree_set(vtep(), 0..4),
    )
        .prop_map(|(settings, ports, fdb, neighbors, vteps)| KernelNetwork {
            settings,
            ports: ports.into_iter().map(|(number, port)| (mac(number), port)).collect(),
            fdb,
            neighbors,
            vteps,
        });
    prop_oneof![wild, wanted()]
}

fn port() -> impl Strategy<Value = KernelPort> {
    let stage =
        prop::sample::select(&[PortStage::Plugged, PortStage::Outdated, PortStage::Filtered, PortStage::Open][..]);
    let set = (any::<bool>(), btree_set(1..6u8, 0..3), btree_set(1..9u8, 0..3));
    ("[ab]", 1..3u8, 1400..1402u32, stage, set).prop_map(|(netns, instance, mtu_bytes, stage, set)| {
        let (is_up, addresses, routers) = set;
        let configuration = Configuration {
            is_up,
            addresses: addresses
                .into_iter()
                .map(|last| InterfaceAddress { address: ip(last), prefix_len: 24 })
                .collect(),
            routes: routers.into_iter().map(|last| Route::new(Ipv4Addr::UNSPECIFIED, 0, Some(ip(last)))).collect(),
        };
        let spec = PortSpec {
            instance: InstanceId::from_bytes([instance; 16]),
            placement: Placement::Netns(Netns::try_from(netns.as_str()).expect("valid")),
            device: DeviceName::of_port(0),
            mtu_bytes,
            reboots: 0,
            is_configured: configuration != Configuration::default(),
        };
        KernelPort { spec, stage, configuration }
    })
}

fn vtep() -> impl Strategy<Value = IpAddr> {
    (1..4u8).prop_map(|last| IpAddr::from([192, 0, 2, last]))
}

fn vni() -> Vni {
    Vni::try_from(4097).expect("valid")
}

fn mac(number: u8) -> MacAddr {
    MacAddr::for_port([0, 0, 0, 0, number])
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}
