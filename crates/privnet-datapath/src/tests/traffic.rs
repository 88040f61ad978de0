//! Instances that talk through two hosts.

use privnet_model::Vni;

use super::lab::{Host, Instance, network};
use crate::programs::Hook;

#[test]
fn instances_of_one_network_reach_each_other() {
    let vni = Vni::from_random(100);
    let (mut one, mut two) = Host::pair(Hook::Tcx);
    let (a, b, c) = (Instance::new(1), Instance::new(2), Instance::new(3));
    let wanted_one = network(&[&a, &b], &[&c], two.vtep);
    let wanted_two = network(&[&c], &[&a, &b], one.vtep);
    one.reach(vni, &wanted_one);
    two.reach(vni, &wanted_two);
    assert_eq!(one.dump().networks[&vni], wanted_one);
    assert_eq!(two.dump().networks[&vni], wanted_two);
    [&a, &b, &c].into_iter().for_each(Instance::configure);
    assert!(a.namespace.can_ping(b.address), "on one host");
    assert!(a.namespace.can_ping(c.address), "across hosts");
    assert!(c.namespace.can_ping(b.address), "across hosts, the other way");
}
