//! Plans as they are printed, for the changes that hosts see.

use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{
    AddressRange, DeviceName, DhcpOptions, DhcpSettings, Generation, InstanceId, LocalPort, Location, MacAddr, Member,
    Name, Netns, NetworkId, NetworkState, Placement, Power, SERVER_MAC, Tap, Vni,
};
use privnet_plan::{
    Configuration, FdbTarget, InterfaceAddress, KernelNetwork, KernelPort, NetOp, NetworkSettings, PortSpec, PortStage,
    Route, plan, wanted_kernel_network,
};

const HOST_2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const HOST_3: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 3));

#[test]
fn a_network_comes_to_a_host() {
    check(
        &nothing(),
        &network(),
        "~ network vni 4097 managed mtu 1450
         + vtep vni 4097 10.9.0.2
         + port vni 4097 0a:00:00:00:00:01 net0 in netns web1 mtu 1450
         ~ port vni 4097 0a:00:00:00:00:01 filtered
         + fdb vni 4097 0a:00:00:00:00:01 local
         + fdb vni 4097 0a:00:00:00:00:02 via 10.9.0.2
         + neighbor vni 4097 10.0.0.1 0a:00:00:00:00:01
         + neighbor vni 4097 10.0.0.2 0a:00:00:00:00:02
         + neighbor vni 4097 10.0.0.254 0e:00:00:00:00:00
         ~ port vni 4097 0a:00:00:00:00:01 open",
    );
}

#[test]
fn a_tap_comes_to_a_host() {
    let (mac, mut tap) = port(1, "web1", PortStage::Open);
    tap.spec.placement = Placement::Tap(Tap { owner: None, group: None, is_multi_queue: false });
    tap.spec.device = DeviceName::on_host(mac);
    check(
        &KernelNetwork { ports: [].into(), ..network() },
        &KernelNetwork { ports: [(mac, tap)].into(), ..network() },
        "- fdb vni 4097 0a:00:00:00:00:01
         + port vni 4097 0a:00:00:00:00:01 pn0000000001 as tap mtu 1450
         ~ port vni 4097 0a:00:00:00:00:01 filtered
         + fdb vni 4097 0a:00:00:00:00:01 local
         ~ port vni 4097 0a:00:00:00:00:01 open",
    );
}

#[test]
fn a_network_leaves_a_host() {
    check(
        &network(),
        &nothing(),
        "~ port vni 4097 0a:00:00:00:00:01 closed
         - neighbor vni 4097 10.0.0.1
         - neighbor vni 4097 10.0.0.2
         - neighbor vni 4097 10.0.0.254
         - fdb vni 4097 0a:00:00:00:00:01
         - fdb vni 4097 0a:00:00:00:00:02
         - vtep vni 4097 10.9.0.2
         - port 0a:00:00:00:00:01
         - network vni 4097",
    );
}

/// The network with a router, where the host configures port 1 with this address.
fn configured(address: u8, router: Ipv4Addr) -> KernelNetwork {
    let range = AddressRange::new(ip(1), ip(9), Ipv4Addr::new(255, 255, 255, 0)).expect("valid");
    let options = DhcpOptions::new(vec![router], vec![], vec![], vec![]).expect("short");
    let port = LocalPort {
        instance: InstanceId::from_bytes([1; 16]),
        instance_name: Name::try_from("web").expect("valid"),
        placement: Placement::Netns(Netns::try_from("web1").expect("valid")),
        device: DeviceName::of_port(0),
        is_configured: true,
        power: Power::Running,
        reboots: 0,
    };
    let member = Member { mac: mac(1), address: Some(ip(address)), location: Location::Local(port) };
    let state = NetworkState {
        id: NetworkId::from_bytes([1; 16]),
        vni: vni(),
        generation: Generation(1),
        mtu_bytes: None,
        dhcp: Some(DhcpSettings { range, options }),
        members: [(mac(1), member)].into(),
    };
    wanted_kernel_network(&state, 1450)
}

#[test]
fn a_port_that_its_host_configures_has_its_address_and_the_way_to_the_router_before_it_is_open() {
    check(
        &nothing(),
        &configured(1, ip(3)),
        "~ network vni 4097 managed mtu 1450
         + port vni 4097 0a:00:00:00:00:01 net0 in netns web1 mtu 1450
         ~ port vni 4097 0a:00:00:00:00:01 filtered
         + fdb vni 4097 0a:00:00:00:00:01 local
         + neighbor vni 4097 10.0.0.1 0a:00:00:00:00:01
         + neighbor vni 4097 10.0.0.254 0e:00:00:00:00:00
         ~ port vni 4097 0a:00:00:00:00:01 configured 10.0.0.1/24, route 0.0.0.0/0 via 10.0.0.3
         ~ port vni 4097 0a:00:00:00:00:01 open",
    );
}

#[test]
fn another_address_and_another_router_reach_an_open_port() {
    check(
        &configured(1, ip(3)),
        &configured(2, ip(3)),
        "- neighbor vni 4097 10.0.0.1
         + neighbor vni 4097 10.0.0.2 0a:00:00:00:00:01
         ~ port vni 4097 0a:00:00:00:00:01 configured 10.0.0.2/24, route 0.0.0.0/0 via 10.0.0.3",
    );
    check(
        &configured(1, ip(3)),
        &configured(1, Ipv4Addr::new(192, 0, 2, 1)),
        "~ port vni 4097 0a:00:00:00:00:01 configured 10.0.0.1/24, route 0.0.0.0/0 via 192.0.2.1, route 192.0.2.1/32",
    );
}

#[test]
fn an_instance_that_is_the_router_has_no_route_by_itself() {
    let configuration = &configured(1, ip(1)).ports[&mac(1)].configuration;
    assert!(configuration.routes.is_empty() && configuration.addresses.len() == 1, "{configuration}");
}

#[test]
fn what_is_damaged_of_a_configuration_is_repaired() {
    let wanted = configured(1, ip(3));
    let damages: [fn(&mut Configuration); 5] = [
        |configuration: &mut Configuration| configuration.is_up = false,
        |configuration| configuration.addresses.clear(),
        |configuration| configuration.addresses.extend([InterfaceAddress { address: ip(8), prefix_len: 24 }]),
        |configuration| configuration.routes.clear(),
        |configuration| configuration.routes.extend([Route::new(ip(0), 24, Some(ip(9)))]),
    ];
    for damage in damages {
        let mut actual = wanted.clone();
        actual.ports.get_mut(&mac(1)).map(|port| damage(&mut port.configuration)).expect("a port");
        check(
            &actual,
            &wanted,
            "~ port vni 4097 0a:00:00:00:00:01 configured 10.0.0.1/24, route 0.0.0.0/0 via 10.0.0.3",
        );
    }
}

#[test]
fn what_is_as_wanted_needs_nothing() {
    check(&network(), &network(), "");
    check(&nothing(), &nothing(), "");
}

#[test]
fn an_instance_moves_from_this_host_to_another() {
    check(
        &network(),
        &KernelNetwork { ports: [].into(), fdb: [(mac(1), via(HOST_2)), (mac(2), via(HOST_2))].into(), ..network() },
        "~ port vni 4097 0a:00:00:00:00:01 closed
         - fdb vni 4097 0a:00:00:00:00:01
         - port 0a:00:00:00:00:01
         + fdb vni 4097 0a:00:00:00:00:01 via 10.9.0.2",
    );
}

#[test]
fn a_port_moves_from_one_remote_host_to_another() {
    check(
        &network(),
        &KernelNetwork {
            fdb: [(mac(1), FdbTarget::Local), (mac(2), via(HOST_3))].into(),
            vteps: [HOST_3].into(),
            ..network()
        },
        "- fdb vni 4097 0a:00:00:00:00:02
         - vtep vni 4097 10.9.0.2
         + vtep vni 4097 10.9.0.3
         + fdb vni 4097 0a:00:00:00:00:02 via 10.9.0.3",
    );
}

#[test]
fn a_port_with_another_device_is_plugged_in_anew_with_the_entry_that_points_to_it() {
    check(
        &network(),
        &KernelNetwork { ports: [port(1, "db1", PortStage::Open)].into(), ..network() },
        "~ port vni 4097 0a:00:00:00:00:01 closed
         - fdb vni 4097 0a:00:00:00:00:01
         - port 0a:00:00:00:00:01
         + port vni 4097 0a:00:00:00:00:01 net0 in netns db1 mtu 1450
         ~ port vni 4097 0a:00:00:00:00:01 filtered
         + fdb vni 4097 0a:00:00:00:00:01 local
         ~ port vni 4097 0a:00:00:00:00:01 open",
    );
}

#[test]
fn another_mtu_is_set_in_place() {
    let mut wanted = network();
    wanted.settings = Some(NetworkSettings { managed: true, mtu_bytes: 8950 });
    wanted.ports.get_mut(&mac(1)).expect("port 1").spec.mtu_bytes = 8950;
    let plan = "~ network vni 4097 managed mtu 8950
         ~ port vni 4097 0a:00:00:00:00:01 mtu 8950";
    check(&network(), &wanted, plan);
    check(&wanted, &network(), &plan.replace("8950", "1450"));
}

#[test]
fn a_device_that_somebody_removed_is_made_again() {
    check(
        &KernelNetwork { ports: [].into(), ..network() },
        &network(),
        "- fdb vni 4097 0a:00:00:00:00:01
         + port vni 4097 0a:00:00:00:00:01 net0 in netns web1 mtu 1450
         ~ port vni 4097 0a:00:00:00:00:01 filtered
         + fdb vni 4097 0a:00:00:00:00:01 local
         ~ port vni 4097 0a:00:00:00:00:01 open",
    );
}

#[test]
fn an_entry_that_leads_astray_is_taken_away_before_the_right_one_is_set() {
    check(
        &KernelNetwork { fdb: [(mac(1), FdbTarget::Local), (mac(2), FdbTarget::Stray)].into(), ..network() },
        &network(),
        "- fdb vni 4097 0a:00:00:00:00:02
         + fdb vni 4097 0a:00:00:00:00:02 via 10.9.0.2",
    );
}

#[test]
fn an_address_goes_from_one_port_to_another() {
    check(
        &network(),
        &KernelNetwork { neighbors: [(ip(1), mac(2)), (ip(254), SERVER_MAC)].into(), ..network() },
        "- neighbor vni 4097 10.0.0.1
         - neighbor vni 4097 10.0.0.2
         + neighbor vni 4097 10.0.0.1 0a:00:00:00:00:02",
    );
}

#[test]
fn a_port_that_got_half_way_goes_on_from_there() {
    check(
        &KernelNetwork { ports: [port(1, "web1", PortStage::Plugged)].into(), ..network() },
        &network(),
        "~ port vni 4097 0a:00:00:00:00:01 filtered
         ~ port vni 4097 0a:00:00:00:00:01 open",
    );
    check(
        &KernelNetwork { ports: [port(1, "web1", PortStage::Filtered)].into(), ..network() },
        &network(),
        "~ port vni 4097 0a:00:00:00:00:01 open",
    );
}

/// Of what the maps of the present version hold, nothing is there yet.
#[test]
fn a_port_that_another_version_s_programs_judge_is_swapped_when_all_else_is_in_place() {
    check(
        &KernelNetwork { ports: [port(1, "web1", PortStage::Outdated)].into(), ..nothing() },
        &network(),
        "~ network vni 4097 managed mtu 1450
         + vtep vni 4097 10.9.0.2
         ~ port vni 4097 0a:00:00:00:00:01 filtered
         + fdb vni 4097 0a:00:00:00:00:01 local
         + fdb vni 4097 0a:00:00:00:00:02 via 10.9.0.2
         + neighbor vni 4097 10.0.0.1 0a:00:00:00:00:01
         + neighbor vni 4097 10.0.0.2 0a:00:00:00:00:02
         + neighbor vni 4097 10.0.0.254 0e:00:00:00:00:00
         ~ port vni 4097 0a:00:00:00:00:01 open",
    );
}

#[test]
fn what_concerns_a_port_stops_at_its_first_failure() {
    let left_out = |failed: &str| {
        let operations = plan(vni(), &network(), &nothing());
        let mut undone: Vec<&NetOp> = Vec::new();
        for op in &operations {
            if op.to_string() == failed || undone.iter().any(|earlier| op.needs(earlier)) {
                undone.push(op);
            }
        }
        undone.iter().skip(1).map(ToString::to_string).collect::<Vec<_>>()
    };
    let after_plug = [
        "~ port vni 4097 0a:00:00:00:00:01 filtered",
        "+ fdb vni 4097 0a:00:00:00:00:01 local",
        "~ port vni 4097 0a:00:00:00:00:01 open",
    ];
    assert_eq!(left_out("+ port vni 4097 0a:00:00:00:00:01 net0 in netns web1 mtu 1450"), after_plug);
    assert_eq!(left_out("~ network vni 4097 managed mtu 1450"), after_plug[2..]);
    assert!(left_out("+ fdb vni 4097 0a:00:00:00:00:02 via 10.9.0.2").is_empty());
}

fn check(actual: &KernelNetwork, wanted: &KernelNetwork, expected: &str) {
    let printed: Vec<_> = plan(vni(), wanted, actual).iter().map(ToString::to_string).collect();
    let expected: Vec<_> = expected.lines().map(str::trim).collect();
    assert_eq!(printed, expected);
}

fn nothing() -> KernelNetwork {
    KernelNetwork::default()
}

/// Port 1 here, port 2 on host 2, a DHCP server.
fn network() -> KernelNetwork {
    KernelNetwork {
        settings: Some(NetworkSettings { managed: true, mtu_bytes: 1450 }),
        ports: [port(1, "web1", PortStage::Open)].into(),
        fdb: [(mac(1), FdbTarget::Local), (mac(2), via(HOST_2))].into(),
        neighbors: [(ip(1), mac(1)), (ip(2), mac(2)), (ip(254), SERVER_MAC)].into(),
        vteps: [HOST_2].into(),
    }
}

fn port(number: u8, netns: &str, stage: PortStage) -> (MacAddr, KernelPort) {
    let spec = PortSpec {
        instance: InstanceId::from_bytes([number; 16]),
        placement: Placement::Netns(Netns::try_from(netns).expect("valid")),
        device: DeviceName::of_port(0),
        mtu_bytes: 1450,
        reboots: 0,
        is_configured: false,
    };
    (mac(number), KernelPort { spec, stage, configuration: Configuration::default() })
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

fn via(vtep: IpAddr) -> FdbTarget {
    FdbTarget::Remote(vtep)
}
