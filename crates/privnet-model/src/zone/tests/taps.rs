//! Instances whose ports are taps.

use super::super::{DeviceWish, RefusalKind};
use super::*;
use crate::{Account, DeviceName, Location, OrganizationId, Role, Scope, Tap};

fn virtual_machine(world: &mut World) -> InstanceId {
    world.host(1);
    let account = |text| Some(Account::try_from(text).expect("valid"));
    let tap = Tap { owner: account("libvirt-qemu"), group: account("36"), is_multi_queue: true };
    let Command::CreateInstance { name, host, organization, labels, .. } = create_instance(1) else { panic!() };
    let command = Command::CreateInstance { name, host, placement: Placement::Tap(tap), organization, labels };
    let Outcome::Instance(instance) = world.run(&command) else { panic!("no instance") };
    instance.id
}

#[test]
fn a_taps_device_is_called_by_its_mac_address_or_as_asked() {
    let mut world = World::default();
    let instance = virtual_machine(&mut world);
    let networks = [world.unmanaged(), world.unmanaged()];
    world.attach(networks[0], instance);
    let port = world.port(networks[0], instance);
    assert_eq!(port.device, DeviceName::on_host(port.mac));
    let device = DeviceWish { name: Some(DeviceName::try_from("tap0").expect("valid")), is_configured: false };
    world.run(&Command::Attach { network: networks[1], instance, address: None, device });
    assert_eq!(world.port(networks[1], instance).device.as_str(), "tap0");
}

/// Or it would be an alternative name of a device of the host, and tell which names the host has.
#[test]
fn operators_alone_name_a_tap() {
    let mut world = World::default();
    let instance = virtual_machine(&mut world);
    let host = world.host_of(instance);
    let network = world.unmanaged();
    let named = DeviceWish { name: Some(DeviceName::try_from("docker0").expect("valid")), is_configured: false };
    let attach_named = Command::Attach { network, instance, address: None, device: named };
    for role in [Role::Admin, Role::Runtime(host)] {
        world.caller = Caller::Client { key: None, scope: Scope::Organization(OrganizationId::DEFAULT, role) };
        let refusal = world.refused(&attach_named);
        assert_eq!((&refusal, refusal.kind()), (&Refusal::TapNamed(instance), RefusalKind::Forbidden));
        world.run(&attach(network, instance));
        world.detach(network, instance);
    }
    world.caller = Caller::OPERATOR;
    world.run(&attach_named);
    assert_eq!(world.port(network, instance).device.as_str(), "docker0");
}

#[test]
fn its_host_is_told_who_may_open_it() {
    let mut world = World::default();
    let instance = virtual_machine(&mut world);
    let network = world.unmanaged();
    world.attach(network, instance);
    let state = world.zone.wanted(network, world.host_of(instance)).expect("wanted");
    let Location::Local(port) = &state.members[&world.port(network, instance).mac].location else { panic!("remote") };
    assert_eq!(port.placement, world.zone.instance(instance).expect("it is there").placement);
}

#[test]
fn a_host_configures_no_virtual_machine() {
    let mut world = World::default();
    let instance = virtual_machine(&mut world);
    let network = world.unmanaged();
    let device = DeviceWish { name: None, is_configured: true };
    let refusal = world.refused(&Command::Attach { network, instance, address: None, device });
    assert_eq!(refusal, Refusal::TapConfigured(instance));
}

#[test]
fn a_virtual_machine_becomes_no_namespace_while_it_has_ports() {
    let mut world = World::default();
    let instance = virtual_machine(&mut world);
    let network = world.unmanaged();
    world.attach(network, instance);
    let placement = Some(Placement::Netns(Netns::try_from("web1").expect("valid")));
    world.host(2);
    let to_netns = Command::MoveInstance { instance, host: host_name(2), placement };
    let refusal = world.refused(&to_netns);
    assert_eq!(refusal, Refusal::OtherPortKind { instance, kind: "tap", count: 1 });
    world.run(&Command::Detach { network, instance });
    world.run(&to_netns);
}

#[test]
fn it_moves_with_its_device_and_who_may_open_it() {
    let mut world = World::default();
    let instance = virtual_machine(&mut world);
    let network = world.unmanaged();
    world.attach(network, instance);
    let (before, port) = (world.zone.instance(instance).expect("it is there").clone(), world.port(network, instance));
    world.host(2);
    world.run(&move_to(instance, 2));
    assert_eq!(world.zone.instance(instance).expect("it is there").placement, before.placement);
    assert_eq!(world.port(network, instance).device, port.device);
}
