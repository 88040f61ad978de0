//! What the host sets on the instances' ends of its ports.

use std::net::Ipv4Addr;

use privnet_plan::{Configuration, InterfaceAddress, KernelNetwork, Route};

use super::lab::{Host, Instance, Namespace, network};
use super::state::vni;
use crate::programs::Hook;

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// An instance whose end the host configures with an address and a default route.
struct Scene {
    host: Host,
    _wire: Namespace,
    instance: Instance,
    wanted: KernelNetwork,
}

impl Scene {
    fn new() -> Self {
        let (host, wire) = Host::alone(Hook::Tcx);
        let instance = Instance::new(1);
        let mut wanted = network(&[&instance], &[], host.vtep);
        wanted.ports.get_mut(&instance.mac).expect("a port").spec.is_configured = true;
        let mut scene = Self { host, _wire: wire, instance, wanted };
        scene.reach(instance_configuration(1, [via(ROUTER)]));
        scene
    }

    fn reach(&mut self, configuration: Configuration) {
        self.wanted.ports.get_mut(&self.instance.mac).expect("a port").configuration = configuration;
        self.host.reach(vni(), &self.wanted);
        assert!(self.is_as_wanted());
    }

    fn is_as_wanted(&mut self) -> bool {
        self.host.dump().networks == [(vni(), self.wanted.clone())].into()
    }

    fn addresses(&self) -> Vec<String> {
        let shown = self.instance.namespace.ip("-4 -oneline address show dev net0");
        shown.lines().map(|line| line.split_whitespace().nth(3).expect("an address").to_owned()).collect()
    }

    /// The routes by gateways and to hosts, without what makes no difference here.
    fn routes(&self) -> Vec<String> {
        let shown = self.instance.namespace.ip("-4 route show");
        let is_subnet = |line: &&str| !line.contains("proto kernel");
        shown.lines().filter(is_subnet).map(|line| line.trim_end().replace(" linkdown", "")).collect()
    }

    fn ip(&self, words: &str) {
        self.instance.namespace.ip(words);
    }
}

fn instance_configuration(last: u8, routes: impl IntoIterator<Item = Route>) -> Configuration {
    let address = InterfaceAddress { address: Ipv4Addr::new(10, 0, 0, last), prefix_len: 24 };
    Configuration { is_up: true, addresses: [address].into(), routes: routes.into_iter().collect() }
}

fn via(router: Ipv4Addr) -> Route {
    Route::new(Ipv4Addr::UNSPECIFIED, 0, Some(router))
}

#[test]
fn an_end_has_its_address_its_routes_and_its_mtu_and_is_up() {
    let scene = Scene::new();
    assert_eq!(scene.addresses(), ["10.0.0.1/24"]);
    assert_eq!(scene.routes(), ["default via 10.0.0.9 dev net0 proto 112"]);
    let link = scene.instance.namespace.ip("-oneline link show dev net0");
    assert!(link.contains("LOWER_UP") && link.contains("mtu 1450") && link.contains("state UP"), "{link}");
    assert!(scene.instance.namespace.ip("-oneline address show dev net0").contains("brd 10.0.0.255"));
}

#[test]
fn another_address_takes_the_place_of_the_first_and_leaves_what_the_instance_has_set() {
    let mut scene = Scene::new();
    scene.ip("address add 10.0.0.77/24 dev net0");
    scene.ip("address add 192.0.2.7/32 dev net0");
    scene.ip("route add 198.51.100.0/24 via 10.0.0.8 dev net0");
    scene.reach(instance_configuration(5, [via(ROUTER)]));
    let mut addresses = scene.addresses();
    addresses.sort();
    assert_eq!(addresses, ["10.0.0.5/24", "10.0.0.77/24", "192.0.2.7/32"]);
    let routes = scene.routes();
    assert_eq!(routes, ["default via 10.0.0.9 dev net0 proto 112", "198.51.100.0/24 via 10.0.0.8 dev net0"]);
}

#[test]
fn a_router_outside_of_the_subnet_is_reached_on_the_link() {
    let mut scene = Scene::new();
    let router = Ipv4Addr::new(192, 0, 2, 1);
    scene.reach(instance_configuration(1, [Route::new(router, 32, None), via(router)]));
    let expected = ["default via 192.0.2.1 dev net0 proto 112", "192.0.2.1 dev net0 proto 112 scope link"];
    assert_eq!(scene.routes(), expected);
    scene.reach(instance_configuration(1, []));
    assert_eq!(scene.routes(), [] as [&str; 0]);
}

#[test]
fn a_default_route_by_another_device_stays_the_first() {
    let mut scene = Scene::new();
    scene.ip("link add other type veth peer name another");
    scene.ip("link set other up");
    scene.ip("address add 203.0.113.2/24 dev other");
    scene.ip("route delete default");
    scene.ip("route add default via 203.0.113.1");
    assert!(!scene.is_as_wanted(), "the damage shows");
    scene.host.reach(vni(), &scene.wanted);
    let expected = ["default via 203.0.113.1 dev other", "default via 10.0.0.9 dev net0 proto 112"];
    assert_eq!(scene.routes(), expected);
}

#[test]
fn what_is_damaged_by_hand_is_repaired() {
    let mut scene = Scene::new();
    for damage in [
        "link set net0 down",
        "address delete 10.0.0.1/24 dev net0",
        "address flush dev net0",
        "route delete default",
        "route replace default via 10.0.0.8 dev net0 proto 112",
    ] {
        scene.ip(damage);
        assert!(!scene.is_as_wanted(), "{damage} does not show");
        scene.host.reach(vni(), &scene.wanted);
        assert!(scene.is_as_wanted(), "{damage}");
        assert_eq!((scene.addresses().len(), scene.routes().len()), (1, 1), "{damage}");
    }
}

#[test]
fn an_agent_that_starts_anew_knows_what_is_its_own() {
    let mut scene = Scene::new();
    scene.ip("address add 10.0.0.77/24 dev net0");
    scene.host.reopen();
    assert!(scene.is_as_wanted());
    scene.ip("route delete default");
    scene.host.reopen();
    assert!(!scene.is_as_wanted());
    scene.reach(instance_configuration(2, [via(ROUTER)]));
    assert_eq!(scene.addresses(), ["10.0.0.77/24", "10.0.0.2/24"]);
}

#[test]
fn an_end_that_the_instance_has_taken_elsewhere_is_left_alone() {
    let mut scene = Scene::new();
    let elsewhere = Instance::new(2);
    scene.ip(&format!("link set net0 netns {}", elsewhere.namespace.path()));
    assert!(scene.is_as_wanted(), "there is nothing to repair");
    scene.reach(instance_configuration(5, []));
    assert_eq!(elsewhere.namespace.ip("-4 address show dev net0"), "");
}

#[test]
fn a_port_that_is_not_to_be_configured_has_nothing_set() {
    let (mut host, _wire) = Host::alone(Hook::Tcx);
    let instance = Instance::new(1);
    let wanted = network(&[&instance], &[], host.vtep);
    host.reach(vni(), &wanted);
    instance.configure();
    instance.namespace.ip("link set net0 down");
    assert_eq!(host.dump().networks, [(vni(), wanted)].into());
}
