//! Each refusal: when it comes, what it says and which kind it is.

use super::super::{RefusalKind, UpdateNetwork};
use super::addresses::update_range;
use super::*;
use crate::{DeviceName, OperationId, OperationState, OrganizationId, Role, Scope};

/// Checks that a command is refused with this message, as this kind, and changes nothing.
pub(super) fn check(world: &mut World, command: &Command, kind: RefusalKind, message: &str) {
    let before = world.zone.clone();
    let refusal = world.refused(command);
    assert_eq!((refusal.to_string().as_str(), refusal.kind()), (message, kind));
    assert!(world.zone == before);
}

fn unknown_network() -> NetworkId {
    NetworkId::from_bytes([7; 16])
}

fn unknown_instance() -> InstanceId {
    InstanceId::from_bytes([7; 16])
}

#[test]
fn a_network_that_is_not_there_is_not_found() {
    let mut world = World::default();
    let (network, instance) = (unknown_network(), world.instance());
    let commands = [
        Command::UpdateNetwork(network, UpdateNetwork::default()),
        Command::DeleteNetwork(network),
        Command::ResetLabels(network),
        attach(network, instance),
        Command::Detach { network, instance },
        Command::UpdateIp { network, instance, address: None },
    ];
    for command in commands {
        let message = "private network 07070707-0707-0707-0707-070707070707 not found";
        check(&mut world, &command, RefusalKind::NotFound, message);
    }
}

#[test]
fn an_instance_that_is_not_there_is_not_found() {
    let mut world = World::default();
    let (network, instance) = (world.managed(50, 99), unknown_instance());
    let commands = [
        attach(network, instance),
        Command::Detach { network, instance },
        Command::UpdateIp { network, instance, address: None },
        Command::DeleteInstance(instance),
        Command::MoveInstance { instance, host: host_name(1), placement: None },
    ];
    for command in commands {
        let message = "instance 07070707-0707-0707-0707-070707070707 not found";
        check(&mut world, &command, RefusalKind::NotFound, message);
    }
}

#[test]
fn a_host_that_is_not_there_is_not_found() {
    let mut world = World::default();
    check(&mut world, &create_instance(9), RefusalKind::NotFound, "host host-9 not found");
    let instance = world.instance();
    check(&mut world, &move_to(instance, 9), RefusalKind::NotFound, "host host-9 not found");
    for with_instances in [false, true] {
        let remove = Command::RemoveHost { host: HostId::from_bytes([7; 16]), with_instances };
        let message = "host 07070707-0707-0707-0707-070707070707 not found";
        check(&mut world, &remove, RefusalKind::NotFound, message);
    }
}

#[test]
fn an_operation_that_is_not_there_is_not_found() {
    let finish = Command::FinishOperation(OperationId::from_bytes([7; 16]), OperationState::Success);
    let message = "operation 07070707-0707-0707-0707-070707070707 not found";
    check(&mut World::default(), &finish, RefusalKind::NotFound, message);
}

#[test]
fn a_range_is_not_set_by_half() {
    let mut world = World::default();
    let network = world.unmanaged();
    let none = RangeFields::default();
    let netmask = Some(Ipv4Addr::new(255, 255, 255, 0));
    let cases = [
        (RangeFields { start: Some(ip(1)), ..none }, "end-ip, netmask are missing"),
        (RangeFields { start: Some(ip(1)), end: Some(ip(2)), ..none }, "netmask is missing"),
        (RangeFields { netmask, ..none }, "start-ip, end-ip are missing"),
        (RangeFields { end: Some(ip(2)), netmask, ..none }, "start-ip is missing"),
    ];
    for (fields, missing) in cases {
        let message = format!("start-ip, end-ip and netmask come together or not at all: {missing}");
        check(&mut world, &create_network(fields), RefusalKind::Invalid, &message);
        check(&mut world, &update_range(network, fields), RefusalKind::Invalid, &message);
    }
}

#[test]
fn the_three_fields_must_make_a_range() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let message = "start-ip 10.0.0.9 is after end-ip 10.0.0.5";
    check(&mut world, &create_network(range(9, 5)), RefusalKind::Invalid, message);
    let wish = RangeFields { end: Some(ip(40)), ..RangeFields::default() };
    let message = "start-ip 10.0.0.50 is after end-ip 10.0.0.40";
    check(&mut world, &update_range(network, wish), RefusalKind::Invalid, message);
    let message = "10.0.0.9 to 10.0.0.254 covers 10.0.0.254, the DHCP server's address of 10.0.0.0/24";
    check(&mut world, &create_network(range(9, 254)), RefusalKind::Invalid, message);
}

#[test]
fn an_unmanaged_network_leases_no_addresses() {
    let mut world = World::default();
    let network = world.unmanaged();
    let instance = world.attached(network);
    let message = "ip 10.0.0.7: the private network is unmanaged (it has no start-ip, end-ip and netmask) and leases \
        no addresses";
    let address = Some(ip(7));
    for command in [
        Command::Attach { network, instance, address, device: DeviceWish::default() },
        Command::UpdateIp { network, instance, address },
    ] {
        check(&mut world, &command, RefusalKind::Invalid, message);
    }
    let message = "the private network is unmanaged (it has no start-ip, end-ip and netmask) and leases no addresses";
    let command = Command::UpdateIp { network, instance, address: None };
    check(&mut world, &command, RefusalKind::Invalid, message);
}

#[test]
fn a_static_address_lies_in_the_subnet_and_off_its_reserved_addresses() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let (attached, instance) = (world.attached(network), world.instance());
    let cases = [
        (Ipv4Addr::new(10, 0, 1, 7), "ip 10.0.1.7 is outside the network's subnet 10.0.0.0/24"),
        (ip(0), "ip 10.0.0.0 is the network address of 10.0.0.0/24"),
        (ip(254), "ip 10.0.0.254 is the DHCP server's address of 10.0.0.0/24"),
        (ip(255), "ip 10.0.0.255 is the broadcast address of 10.0.0.0/24"),
    ];
    for (address, message) in cases {
        let address = Some(address);
        check(
            &mut world,
            &Command::Attach { network, instance, address, device: DeviceWish::default() },
            RefusalKind::Invalid,
            message,
        );
        let update = Command::UpdateIp { network, instance: attached, address };
        check(&mut world, &update, RefusalKind::Invalid, message);
    }
}

#[test]
fn an_address_is_not_held_twice_in_a_network() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let (holder, attached, instance) = (world.attached(network), world.attached(network), world.instance());
    let message = format!("ip 10.0.0.50 is leased to instance {holder}");
    let address = Some(ip(50));
    check(
        &mut world,
        &Command::Attach { network, instance, address, device: DeviceWish::default() },
        RefusalKind::Conflict,
        &message,
    );
    let update = Command::UpdateIp { network, instance: attached, address };
    check(&mut world, &update, RefusalKind::Conflict, &message);
}

#[test]
fn an_instance_has_each_device_name_once_and_is_attached_in_one_way() {
    let mut world = World::default();
    let (network, other) = (world.unmanaged(), world.unmanaged());
    let instance = world.instance();
    let name = DeviceName::try_from("eth0").expect("valid");
    let attach = |network, device| Command::Attach { network, instance, address: None, device };
    let wish = DeviceWish { name: Some(name.clone()), is_configured: false };
    world.run(&attach(network, wish.clone()));
    assert_eq!((&world.port(network, instance).device, world.port(network, instance).is_configured), (&name, false));
    let message =
        format!("instance {instance} has a device eth0 already, in private network {network}; give another name");
    check(&mut world, &attach(other, wish.clone()), RefusalKind::Conflict, &message);
    for same in [DeviceWish::default(), wish] {
        assert_eq!(world.changes(&attach(network, same)), [], "it is the operation under way");
    }
    let message = format!(
        "instance {instance} is already attached by its device eth0, which its host does not configure; detach it \
        first to attach it otherwise"
    );
    let other_name = DeviceWish { name: Some(DeviceName::of_port(0)), is_configured: false };
    for different in [other_name, DeviceWish { name: None, is_configured: true }] {
        check(&mut world, &attach(network, different), RefusalKind::Conflict, &message);
    }
}

#[test]
fn a_range_whose_addresses_are_all_leased_is_exhausted() {
    let mut world = World::default();
    let network = world.managed(50, 51);
    let instance = world.instance();
    world.attached(network);
    world.attach_static(network, instance, 51);
    let message = "all 2 addresses from 10.0.0.50 to 10.0.0.51 are leased; widen the range, detach an instance or \
        give a static ip in 10.0.0.0/24";
    let next = world.instance();
    check(&mut world, &attach(network, next), RefusalKind::Conflict, message);
    let update = Command::UpdateIp { network, instance, address: None };
    check(&mut world, &update, RefusalKind::Conflict, message);
}

#[test]
fn a_network_does_not_become_managed_with_fewer_addresses_than_ports() {
    let mut world = World::default();
    let network = world.unmanaged();
    world.attached(network);
    world.attached(network);
    let message = "all 1 addresses from 10.0.0.50 to 10.0.0.50 are leased; widen the range, detach an instance or \
        give a static ip in 10.0.0.0/24";
    check(&mut world, &update_range(network, range(50, 50)), RefusalKind::Conflict, message);
}

#[test]
fn an_instance_is_not_attached_again_with_another_address() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let instance = world.attached(network);
    let message =
        format!("instance {instance} is already attached with ip 10.0.0.50, not 10.0.0.51; use update-ip to change it");
    let command = Command::Attach { network, instance, address: Some(ip(51)), device: DeviceWish::default() };
    check(&mut world, &command, RefusalKind::Conflict, &message);
}

#[test]
fn what_is_not_attached_has_no_port() {
    let mut world = World::default();
    let (network, instance) = (world.managed(50, 99), world.instance());
    let message = format!("instance {instance} is not attached to private network {network}");
    check(&mut world, &Command::Detach { network, instance }, RefusalKind::NotFound, &message);
    let update = Command::UpdateIp { network, instance, address: None };
    check(&mut world, &update, RefusalKind::NotFound, &message);
}

#[test]
fn a_network_with_ports_is_not_deleted() {
    let mut world = World::default();
    let network = world.unmanaged();
    world.attached(network);
    let message = format!("private network {network} has 1 instance attached; detach it first");
    check(&mut world, &Command::DeleteNetwork(network), RefusalKind::Conflict, &message);
    world.attached(network);
    let message = format!("private network {network} has 2 instances attached; detach them first");
    check(&mut world, &Command::DeleteNetwork(network), RefusalKind::Conflict, &message);
}

#[test]
fn a_change_that_would_strand_leases_says_which() {
    let mut world = World::default();
    let network = world.managed(50, 99);
    let (first, second) = (world.instance(), world.instance());
    world.attach_static(network, second, 200);
    let netmask = |last| RangeFields { netmask: Some(Ipv4Addr::new(255, 255, 255, last)), ..RangeFields::default() };
    let message = format!(
        "1 lease would lie outside the changed subnet or on a reserved address, the first being 10.0.0.200 of \
         instance {second}; detach it or change its ip first"
    );
    check(&mut world, &update_range(network, netmask(128)), RefusalKind::Conflict, &message);

    world.attach_static(network, first, 126);
    let message = format!(
        "2 leases would lie outside the changed subnet or on a reserved address, the first being 10.0.0.126 of \
         instance {first}; detach it or change its ip first"
    );
    check(&mut world, &update_range(network, netmask(128)), RefusalKind::Conflict, &message);
}

#[test]
fn an_instance_with_ports_is_not_deleted() {
    let mut world = World::default();
    let networks = [world.unmanaged(), world.unmanaged()];
    let instance = world.attached(networks[0]);
    let message = format!("instance {instance} is attached to 1 private network; detach it first");
    check(&mut world, &Command::DeleteInstance(instance), RefusalKind::Conflict, &message);
    world.attach(networks[1], instance);
    let message = format!("instance {instance} is attached to 2 private networks; detach it first");
    check(&mut world, &Command::DeleteInstance(instance), RefusalKind::Conflict, &message);
}

#[test]
fn a_host_with_instances_is_not_removed() {
    let mut world = World::default();
    let instance = world.instance_on(1);
    let remove = Command::RemoveHost { host: world.host_of(instance), with_instances: false };
    let todo = "first, or remove the host with its instances";
    let message = format!("host host-1 has 1 instance (web1); move or delete it {todo}");
    check(&mut world, &remove, RefusalKind::Conflict, &message);
    for _ in 0..4 {
        world.instance_on(1);
    }
    let message = format!("host host-1 has 5 instances (web1, web1, web1, web1, web1); move or delete them {todo}");
    check(&mut world, &remove, RefusalKind::Conflict, &message);
    world.instance_on(1);
    let message =
        format!("host host-1 has 6 instances (web1, web1, web1, web1, web1, ...); move or delete them {todo}");
    check(&mut world, &remove, RefusalKind::Conflict, &message);
}

#[test]
fn two_hosts_are_not_one_vtep() {
    let mut world = World::default();
    world.host(1);
    world.host(2);
    let Command::RegisterHost { facts, .. } = register_host(1) else { panic!("another command") };
    let message = "host host-1 already has the underlay address 192.0.2.1";
    for number in [2, 3] {
        let command = Command::RegisterHost { name: host_name(number), facts: facts.clone() };
        check(&mut world, &command, RefusalKind::Conflict, message);
    }
}

// A zone with all sixteen million VNIs would cost a minute: only what it says is tested.
#[test]
fn a_zone_without_a_free_vni_says_what_to_wait_for() {
    let message = "all VNIs are in use or wait for hosts to confirm that they carry them no more";
    let refusal = Refusal::VnisExhausted;
    assert_eq!((refusal.to_string().as_str(), refusal.kind()), (message, RefusalKind::Conflict));
}

#[test]
fn no_network_has_hosts_of_both_ip_versions() {
    let mut world = World::default();
    let (network, first) = (world.managed(50, 99), world.instance_on(1));
    let vtep = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 3]);
    let facts = HostFacts { vtep, underlay_mtu_bytes: 1500, version: "0.1.0".to_owned() };
    world.run(&Command::RegisterHost { name: host_name(3), facts });
    let Outcome::Instance(stranger) = world.run(&create_instance(3)) else { panic!("no instance") };
    // Alone it fits, as the first one of a network does.
    let own = world.managed(50, 99);
    world.attach(own, stranger.id);
    world.attach(network, first);
    let message = format!(
        "host host-3 has the VTEP 2001:db8::3, and host host-1, which carries private network {network}, has 192.0.2.1: \
         a network's hosts need VTEPs of the same IP version"
    );
    check(&mut world, &attach(network, stranger.id), RefusalKind::Conflict, &message);
    world.caller = Caller::Client { key: None, scope: Scope::Organization(OrganizationId::DEFAULT, Role::Admin) };
    let told = format!(
        "the instance's host cannot reach those of private network {network}; ask an operator, who can move the instance"
    );
    check(&mut world, &attach(network, stranger.id), RefusalKind::Conflict, &told);
    world.caller = Caller::Server;
    // As with an attach, so with a move: what the instance leaves behind counts, and not its own port.
    let moved = |host| Command::MoveInstance { instance: first, host: host_name(host), placement: None };
    world.run(&moved(3));
    world.run(&moved(1));
    world.attached(network);
    check(&mut world, &moved(3), RefusalKind::Conflict, &message);
}
