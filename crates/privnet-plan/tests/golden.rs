//! Plans as they are printed, for the changes that hosts see.

use std::net::{IpAddr, Ipv4Addr};

use privnet_model::{DeviceName, InstanceId, MacAddr, Netns, Placement, SERVER_MAC, Vni};
use privnet_plan::{FdbTarget, KernelNetwork, KernelPort, NetOp, NetworkSettings, PortSpec, PortStage, plan};

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
    };
    (mac(number), KernelPort { spec, stage })
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
