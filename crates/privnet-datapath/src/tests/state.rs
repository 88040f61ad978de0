//! What is in the kernel: made, read back, kept, repaired and removed.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::sync::Barrier;

use futures::{FutureExt, StreamExt};
use privnet_model::{DeviceName, HostName, InstanceState, MacAddr, Netns, Placement, Vni};
use privnet_plan::{KernelNetwork, NetOp, PortStage, plan};

use super::lab::{Host, Instance, Namespace, PinDir, Sleeper, UNDERLAY_MTU_BYTES, config, network};
use crate::layout::{FdbKey, LAYOUT_VERSION, MemberKey, Network, VtepKey, vtep_octets};
use crate::names::{OVERLAY_DEVICE, ROUTE_DEVICE, port_device};
use crate::programs::Hook;
use crate::{CountersError, Datapath, Kernel as _, KernelDump, netns, purge, read_counters, sys};

/// Instances a and b on one host, c on another, all in one network and with their addresses.
pub(super) struct Scene {
    pub(super) one: Host,
    pub(super) two: Host,
    pub(super) a: Instance,
    pub(super) b: Instance,
    pub(super) c: Instance,
    pub(super) wanted: KernelNetwork,
}

impl Scene {
    pub(super) fn new(hook: Hook) -> Self {
        let (mut one, mut two) = Host::pair(hook);
        let [a, b, c] = [1, 2, 3].map(Instance::new);
        let mut wanted = network(&[&a, &b], &[&c], two.vtep);
        wanted.neighbors.insert(c.address, c.mac);
        one.reach(vni(), &wanted);
        two.reach(vni(), &network(&[&c], &[&a, &b], one.vtep));
        [&a, &b, &c].into_iter().for_each(Instance::configure);
        Self { one, two, a, b, c, wanted }
    }

    pub(super) fn is_as_wanted(&mut self) -> bool {
        let networks = [(vni(), self.wanted.clone())].into();
        let underlay_mtu_bytes = Some(UNDERLAY_MTU_BYTES);
        self.one.dump() == KernelDump { networks, underlay_mtu_bytes, ..KernelDump::default() }
    }

    pub(super) fn by_hand(&mut self, change: impl FnOnce(&mut Datapath) + Send) {
        self.one.with(|opened, _| change(&mut opened.datapath));
    }

    /// The damage shows, and what the agent does about it makes all as it was.
    #[track_caller]
    fn is_repaired(&mut self, what: &str) {
        assert!(!self.is_as_wanted(), "{what} does not show");
        self.one.reach(vni(), &self.wanted);
        assert_eq!(self.one.dump().networks, [(vni(), self.wanted.clone())].into(), "{what}");
        assert!(self.is_as_wanted(), "{what}");
    }

    pub(super) fn all_reach_each_other(&self) -> bool {
        let (a, b, c) = (&self.a, &self.b, &self.c);
        [(a, b), (a, c), (c, b)].into_iter().all(|(from, to)| from.namespace.can_ping(to.address))
    }
}

pub(super) fn vni() -> Vni {
    Vni::from_random(100)
}

#[test]
fn an_operation_done_twice_is_done_once() {
    let (mut host, wire) = Host::alone(Hook::Tcx);
    drop(wire);
    let [a, b, c] = [1, 2, 3].map(Instance::new);
    let mut wanted = network(&[&a, &b], &[&c], host.vtep);
    wanted.neighbors.insert(c.address, c.mac);
    let mut reached = KernelNetwork::default();
    let nothing = KernelNetwork::default();
    for op in plan(vni(), &wanted, &nothing).into_iter().chain(plan(vni(), &nothing, &wanted)) {
        reached.apply(&op);
        for time in ["once", "twice"] {
            host.apply(&op).unwrap_or_else(|error| panic!("{op}: {error}"));
            let found = host.dump().networks.remove(&vni()).unwrap_or_default();
            assert_eq!(found, reached, "{op} {time}");
        }
    }
}

#[test]
fn what_was_made_stays_when_the_agent_goes() {
    for hook in [Hook::Tcx, Hook::Clsact] {
        let mut scene = Scene::new(hook);
        scene.one.close();
        assert!(scene.all_reach_each_other(), "without an agent");
        scene.one.reopen();
        assert!(scene.is_as_wanted());
        assert!(scene.all_reach_each_other(), "with a new one");
        let counters = scene.one.counters(scene.a.mac);
        assert!(counters.sent_frames > 0 && counters.drops.is_empty(), "{counters:?}");
    }
}

#[test]
fn what_nobody_wants_any_more_is_gone_without_a_trace() {
    let mut scene = Scene::new(Hook::Tcx);
    scene.one.reach(vni(), &KernelNetwork::default());
    let nothing = KernelDump { underlay_mtu_bytes: Some(UNDERLAY_MTU_BYTES), ..KernelDump::default() };
    assert_eq!(scene.one.dump(), nothing);
    scene.by_hand(|datapath| {
        assert_eq!(datapath.tables.local_members.entries().expect("read"), []);
        assert_eq!(datapath.tables.remote_members.entries().expect("read"), []);
    });
    let devices = scene.one.namespace.ip("-brief link show type veth");
    assert_eq!(devices.lines().count(), 1, "under0 alone: {devices}");
    assert_eq!(scene.a.namespace.ip("-brief link show type veth"), "");
}

mod damage {
    use super::*;

    #[test]
    fn pins_that_were_removed_are_made_again_and_nothing_is_lost_with_the_agent() {
        for hook in [Hook::Tcx, Hook::Clsact] {
            let mut scene = Scene::new(hook);
            fs::remove_dir_all(&scene.one.pins.0).expect("removed");
            assert!(scene.is_as_wanted(), "the maps are there all the same");
            // The kernel takes a link down a moment after its pin, and the agent looks again and again.
            let link = scene.one.pins.0.join("links").join(OVERLAY_DEVICE);
            let is_back = |scene: &mut Scene| hook == Hook::Clsact || (scene.one.dump(), link.exists()).1;
            while !is_back(&mut scene) {}
            scene.one.close();
            assert!(scene.all_reach_each_other(), "without an agent");
            scene.one.reopen();
            assert!(scene.is_as_wanted(), "a new agent finds what the old one has left");
            assert!(scene.all_reach_each_other());
        }
    }

    #[test]
    fn a_device_that_was_removed_is_made_anew() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.one.namespace.ip(&format!("link delete {}", port_device(scene.a.mac)));
        scene.is_repaired("a device that was removed");
        scene.a.configure();
        assert!(scene.all_reach_each_other());
        // Of the device that is gone nothing is left.
        let index = scene.one.index_of(scene.a.mac);
        scene.by_hand(move |datapath| {
            let ports = datapath.tables.ports.entries().expect("read");
            assert_eq!(ports.len(), 2);
            assert!(ports.iter().any(|(ifindex, _)| *ifindex == index));
        });
    }

    #[test]
    fn what_a_removed_device_leaves_is_removed_when_the_port_is_plugged_in_anew() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.one.namespace.ip(&format!("link delete {}", port_device(scene.a.mac)));
        let only_a = KernelNetwork { ports: [(scene.a.mac, scene.a.port())].into(), ..KernelNetwork::default() };
        for op in plan(vni(), &only_a, &KernelNetwork::default()) {
            scene.one.apply(&op).expect("applied");
        }
        let indexes = [scene.a.mac, scene.b.mac].map(|mac| scene.one.index_of(mac));
        scene.by_hand(move |datapath| {
            let ports = datapath.tables.ports.entries().expect("read");
            assert_eq!(ports.into_iter().map(|(index, _)| index).collect::<BTreeSet<_>>(), indexes.into());
        });
        // The FDB entry is for the plan to put right.
        scene.is_repaired("an FDB entry for a device that is gone");
    }

    #[test]
    fn what_a_removed_device_leaves_is_removed_when_nobody_wants_the_port() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.one.namespace.ip(&format!("link delete {}", port_device(scene.a.mac)));
        assert_eq!(scene.one.dump().strays, [scene.a.mac].into());
        scene.wanted = network(&[&scene.b], &[&scene.c], scene.two.vtep);
        scene.is_repaired("a device that was removed");
    }

    #[test]
    fn a_device_that_was_set_down_is_set_up() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.one.namespace.ip(&format!("link set {} down", port_device(scene.a.mac)));
        scene.is_repaired("a device that was set down");
        assert!(scene.all_reach_each_other());
    }

    #[test]
    fn a_device_with_another_alias_is_made_anew() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.one.namespace.ip(&format!("link set {} alias uplink", port_device(scene.a.mac)));
        assert_eq!(scene.one.dump().strays, [scene.a.mac].into());
        scene.is_repaired("a device with another alias");
    }

    #[test]
    fn a_filter_that_was_removed_is_put_back() {
        let mut scene = Scene::new(Hook::Tcx);
        let device = port_device(scene.a.mac);
        let removed = scene.one.namespace.run(&format!("tc filter delete dev {device} ingress"));
        assert!(removed.0, "{}", removed.1);
        scene.is_repaired("a filter that was removed");
        let removed = scene.one.namespace.run(&format!("tc qdisc delete dev {device} clsact"));
        assert!(removed.0, "{}", removed.1);
        scene.is_repaired("a queueing discipline that was removed");
        assert!(scene.all_reach_each_other());
    }

    #[test]
    fn map_entries_that_were_removed_are_put_back() {
        let mut scene = Scene::new(Hook::Tcx);
        let index = scene.one.index_of(scene.a.mac);
        scene.by_hand(|datapath| datapath.tables.ports.remove(&index).expect("removed"));
        scene.is_repaired("a port's entry that was removed");
        let (a, c) = (FdbKey::new(vni(), scene.a.mac), FdbKey::new(vni(), scene.c.mac));
        for key in [a, c] {
            scene.by_hand(|datapath| datapath.tables.fdb.remove(&key).expect("removed"));
            scene.is_repaired("an FDB entry that was removed");
        }
        scene.by_hand(|datapath| {
            let (key, _) = datapath.tables.neighbors.entries().expect("read")[0];
            datapath.tables.neighbors.remove(&key).expect("removed");
        });
        scene.is_repaired("a neighbor that was removed");
        let vtep = VtepKey { vni: vni().get(), address: vtep_octets(scene.two.vtep) };
        scene.by_hand(|datapath| datapath.tables.vteps.remove(&vtep).expect("removed"));
        scene.is_repaired("a VTEP that was removed");
        scene.by_hand(|datapath| datapath.tables.networks.remove(&vni().get()).expect("removed"));
        scene.is_repaired("a network's entry that was removed");
        assert!(scene.all_reach_each_other());
    }

    #[test]
    fn map_entries_that_were_changed_are_changed_back() {
        let mut scene = Scene::new(Hook::Tcx);
        let [index, other] = [scene.a.mac, scene.b.mac].map(|mac| scene.one.index_of(mac));
        scene.by_hand(|datapath| {
            let entry = datapath.tables.ports.get(&index).expect("read").expect("some");
            datapath.tables.ports.set(index, crate::layout::Port { vni: 7, ..entry }).expect("set");
        });
        scene.is_repaired("another network's number");
        let key = FdbKey::new(vni(), scene.a.mac);
        for ifindex in [1, other] {
            let astray = crate::layout::FdbTarget { ifindex, vtep: [0; 16] };
            scene.by_hand(|datapath| datapath.tables.fdb.set(key, astray).expect("set"));
            scene.is_repaired("an FDB entry that leads astray");
        }
        let changes: [fn(&mut Network); 5] = [
            |network| network.mtu = 9000,
            |network| network.managed = 1,
            |network| network.local_members = 1,
            |network| network.local_members = 3,
            |network| network.remote_members = 0,
        ];
        for change in changes {
            scene.by_hand(|datapath| {
                let mut network = datapath.tables.networks.get(&vni().get()).expect("read").expect("some");
                change(&mut network);
                datapath.tables.networks.set(vni().get(), network).expect("set");
            });
            scene.is_repaired("a network's entry that was changed");
        }
        assert!(scene.all_reach_each_other());
    }

    #[test]
    fn members_that_were_changed_are_put_right() {
        let mut scene = Scene::new(Hook::Tcx);
        let index = scene.one.index_of(scene.a.mac);
        let slot = |slot| MemberKey { vni: vni().get(), slot };
        scene.by_hand(|datapath| datapath.tables.local_members.set(slot(0), index + 1000).expect("set"));
        scene.is_repaired("a strange member");
        scene.by_hand(|datapath| datapath.tables.local_members.remove(&slot(1)).expect("removed"));
        scene.is_repaired("a member that was removed");
        scene.by_hand(|datapath| {
            let first = datapath.tables.local_members.get(&slot(0)).expect("read").expect("some");
            datapath.tables.local_members.set(slot(1), first).expect("set");
        });
        scene.is_repaired("a member in two slots");
        scene.by_hand(|datapath| datapath.tables.remote_members.remove(&slot(0)).expect("removed"));
        scene.is_repaired("a VTEP that was removed");
        assert!(scene.all_reach_each_other());
    }

    #[test]
    fn what_is_there_of_an_unknown_network_shows_and_can_be_removed() {
        let mut scene = Scene::new(Hook::Tcx);
        let unknown = Vni::from_random(300);
        scene.by_hand(|datapath| {
            datapath.tables.local_members.set(MemberKey { vni: unknown.get(), slot: 4 }, 1).expect("set");
            datapath.tables.vteps.set(VtepKey { vni: unknown.get(), address: [9; 16] }, 0).expect("set");
            datapath
                .tables
                .fdb
                .set(FdbKey::new(unknown, MacAddr::for_port([8; 5])), crate::layout::FdbTarget::default())
                .expect("set");
        });
        assert!(scene.one.dump().networks.contains_key(&unknown));
        scene.one.reach(unknown, &KernelNetwork::default());
        assert!(scene.is_as_wanted());
    }

    fn overlay_is_repaired(hook: Hook, damages: &[&str]) {
        let mut scene = Scene::new(hook);
        for damage in damages {
            let done = scene.one.namespace.run(damage);
            assert!(done.0, "{damage}: {}", done.1);
            assert!(scene.is_as_wanted(), "the overlay belongs to no network");
            assert!(scene.all_reach_each_other(), "{damage}");
        }
    }

    #[test]
    fn the_overlay_device_is_repaired() {
        overlay_is_repaired(
            Hook::Tcx,
            &[
                &format!("ip link set {OVERLAY_DEVICE} down"),
                &format!("ip link set {OVERLAY_DEVICE} mtu 1300"),
                &format!("ip link delete {OVERLAY_DEVICE}"),
            ],
        );
    }

    #[test]
    fn the_overlay_device_is_repaired_on_a_kernel_without_tcx() {
        overlay_is_repaired(
            Hook::Clsact,
            &[
                &format!("tc qdisc delete dev {OVERLAY_DEVICE} clsact"),
                &format!("ip link set {OVERLAY_DEVICE} down"),
                &format!("ip link delete {OVERLAY_DEVICE}"),
            ],
        );
    }

    #[test]
    fn a_device_of_the_overlays_name_that_is_none_is_replaced() {
        let mut scene = Scene::new(Hook::Tcx);
        scene.one.namespace.ip(&format!("link delete {OVERLAY_DEVICE}"));
        scene.one.namespace.ip(&format!("link add {OVERLAY_DEVICE} type vxlan id 7 dstport 4789"));
        assert!(scene.is_as_wanted());
        assert!(scene.all_reach_each_other());
    }

    #[test]
    fn a_link_of_the_overlay_that_was_removed_is_put_back() {
        let mut scene = Scene::new(Hook::Tcx);
        std::fs::remove_file(scene.one.pins.0.join("links").join(OVERLAY_DEVICE)).expect("it was there");
        // The kernel detaches the program in the background.
        scene.by_hand(|datapath| {
            while !sys::tcx_programs(datapath.devices.overlay).expect("asked").is_empty() {
                std::thread::yield_now();
            }
        });
        assert!(scene.is_as_wanted());
        assert!(scene.all_reach_each_other());
    }
}

#[test]
fn maps_of_another_layout_are_not_kept() {
    let mut scene = Scene::new(Hook::Tcx);
    let pins = &scene.one.pins.0;
    let [mine, other, theirs] = [&*format!("v{LAYOUT_VERSION}"), "v0", "void"].map(|name| pins.join(name));
    for dir in [&other, &theirs] {
        std::fs::create_dir(dir).expect("made");
    }
    scene.one.reopen();
    assert_eq!([mine, other, theirs].map(|dir| dir.exists()), [true, false, true]);
    assert!(scene.is_as_wanted());
}

#[test]
fn counters_are_read_from_maps_of_this_layout_alone() {
    let mut scene = Scene::new(Hook::Tcx);
    let read = |host: &Host| host.namespace.within(|| read_counters(&host.pins.0));
    let (a, counters) = (scene.a.mac, scene.one.counters(scene.a.mac));
    let all = read(&scene.one).expect("read");
    let of_a = all.ports.iter().find(|port| port.mac == a).expect("counted");
    assert_eq!((of_a.vni, &of_a.device, &of_a.counters), (vni().get(), &port_device(a), &counters));
    assert_eq!(of_a.instance, Some(scene.a.port().spec.instance));
    assert_eq!(all.ports.len(), 2);
    scene.one.close();
    let pins = scene.one.pins.0.clone();
    std::fs::remove_dir_all(pins.join(format!("v{LAYOUT_VERSION}"))).expect("removed");
    assert!(matches!(read(&scene.one), Err(CountersError::NoAgent(dir)) if dir == pins));
    std::fs::create_dir(pins.join("v0")).expect("made");
    assert!(matches!(read(&scene.one), Err(CountersError::OtherVersion(dir)) if dir == pins));
}

#[test]
fn declined_addresses_are_counted_with_the_port_by_this_agent_and_the_next() {
    let mut scene = Scene::new(Hook::Tcx);
    let (a, b) = (scene.a.mac, scene.b.mac);
    let counted = |host: &mut Host| [a, b].map(|port| host.counters(port).dhcp_declines);
    let count = |host: &mut Host| host.with(|opened, _| opened.declines.count(a)).expect("counted");
    count(&mut scene.one);
    count(&mut scene.one);
    assert_eq!(counted(&mut scene.one), [2, 0]);
    scene.one.reopen();
    count(&mut scene.one);
    assert_eq!(counted(&mut scene.one), [3, 0]);
    let all = scene.one.namespace.within(|| read_counters(&scene.one.pins.0)).expect("read");
    assert_eq!(all.ports.iter().map(|port| port.counters.dhcp_declines).sum::<u64>(), 3);
    scene.one.reach(vni(), &KernelNetwork::default());
    count(&mut scene.one);
    let left = scene.one.with(|opened, _| opened.datapath.tables.declines.entries()).expect("read");
    assert_eq!(left, [], "it goes with the port, and nobody counts for one that is gone");
    // As an agent of an earlier version has pinned them.
    scene.one.close();
    std::fs::remove_file(scene.one.pins.0.join(format!("v{LAYOUT_VERSION}/declines"))).expect("removed");
    scene.one.namespace.within(|| read_counters(&scene.one.pins.0)).expect("read");
}

mod refusals {
    use super::*;

    fn plug(a: &Instance) -> NetOp {
        NetOp::Plug { vni: vni(), mac: a.mac, spec: a.port().spec }
    }

    fn refused(host: &mut Host, op: &NetOp, why: &str) {
        let before = host.dump();
        let error = host.apply(op).expect_err("refused");
        assert_eq!(error.to_string(), why);
        assert_eq!(host.dump(), before, "a refusal changes nothing");
    }

    #[test]
    fn a_namespace_that_does_not_exist() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        for (netns, name) in [("privnet-test-none", "privnet-test-none"), ("/etc/passwd", "/etc/passwd")] {
            let mut spec = a.port().spec;
            spec.placement = Placement::Netns(Netns::try_from(netns).expect("valid"));
            let op = NetOp::Plug { vni: vni(), mac: a.mac, spec };
            refused(&mut host, &op, &format!("network namespace {name} does not exist on this host"));
            assert!(host.apply(&op).expect_err("refused").is_not_found());
        }
    }

    /// To open one may take for ever, start a watchdog or rewind a tape.
    #[test]
    fn a_file_of_another_kind_which_is_not_opened() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        let folder = std::env::temp_dir().join(format!("privnet-test-kinds-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("made");
        let fifo = folder.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("made");
        let fifo = fifo.to_str().expect("text");
        let own_mounts = format!("/proc/self/task/{}/ns/mnt", std::process::id());
        for path in [fifo, "/dev/tty", "/run", &own_mounts] {
            let mut spec = a.port().spec;
            spec.placement = Placement::Netns(Netns::try_from(path).expect("valid"));
            let op = NetOp::Plug { vni: vni(), mac: a.mac, spec };
            let why = format!("{path} is no network namespace but a file of another kind, which is left alone");
            refused(&mut host, &op, &why);
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    /// An agent in a namespace of its own plugs nothing into the host's.
    #[test]
    fn the_first_processs_namespace_as_well_as_the_agents() {
        assert_eq!(netns::HOSTS, ["/proc/thread-self/ns/net", "/proc/1/ns/net"]);
        let [own, first, other] = [(); 3].map(|()| Namespace::new());
        let paths = [own.path(), "/proc/0/ns/net".to_owned(), first.path()];
        let hosts = paths.each_ref().map(String::as_str);
        for (namespace, is_hosts) in [(&own, true), (&first, true), (&other, false)] {
            let file = netns::open(&namespace.netns()).expect("opened");
            assert_eq!(netns::is_any_of(&file, &hosts).expect("compared"), is_hosts);
        }
    }

    /// As an earlier version let it be registered: the process of that number may be another tenant's by now.
    #[test]
    fn a_namespace_by_the_number_of_a_process() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        let path = a.namespace.path();
        let mut spec = a.port().spec;
        spec.placement = Placement::Netns(Netns::try_from(&*path).expect("valid"));
        let op = NetOp::Plug { vni: vni(), mac: a.mac, spec };
        let why = format!(
            "network namespace {path} is whichever process has that number now; register the instance anew by the \
             process, as `privnet instance create --pid` does"
        );
        refused(&mut host, &op, &why);
    }

    /// Frames are handed over from one namespace to another (bpf_redirect_peer).
    fn plug_into(a: &Instance, netns: &Netns) -> NetOp {
        let mut spec = a.port().spec;
        spec.placement = Placement::Netns(netns.clone());
        NetOp::Plug { vni: vni(), mac: a.mac, spec }
    }

    #[test]
    fn a_process_that_is_gone_or_another_one_by_now() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        let sleeper = Sleeper::in_namespace(&a.namespace);
        let (number, ticks) = (sleeper.number(), netns::start_of(sleeper.number()).expect("it runs"));
        let its = Netns::of_process(number, ticks);
        host.apply(&plug_into(&a, &its)).expect("plugged in");
        host.apply(&NetOp::Unplug { mac: a.mac }).expect("unplugged");
        for ticks in [ticks - 1, ticks + 1] {
            let another = Netns::of_process(number, ticks);
            let why = format!("the process of {another} is gone; if there is one with its number, it is another");
            refused(&mut host, &plug_into(&a, &another), &why);
        }
        drop(sleeper);
        assert!(host.apply(&plug_into(&a, &its)).expect_err("refused").is_not_found());
    }

    #[test]
    fn a_process_of_the_host_itself() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        let sleeper = Sleeper::in_namespace(&host.namespace);
        let netns = Netns::of_process(sleeper.number(), netns::start_of(sleeper.number()).expect("it runs"));
        let why = format!("network namespace {netns} is the host's own, where no instance is");
        refused(&mut host, &plug_into(&a, &netns), &why);
    }

    /// Whoever may name a process is not to reach what the host makes for others.
    #[test]
    fn a_process_in_a_namespace_that_the_host_has_made() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        let name = format!("test-{}", std::process::id());
        let id = a.port().spec.instance;
        let netns = Netns::of_instance(&HostName::try_from(&*name).expect("valid"), id);
        let state = InstanceState { id, netns: netns.clone() };
        host.with(|opened, runtime| runtime.block_on(opened.datapath.make_instance(&state))).expect("made");
        let sleeper = Sleeper::in_namespace(&Namespace::of(&netns));
        let by_process = Netns::of_process(sleeper.number(), netns::start_of(sleeper.number()).expect("it runs"));
        let refusal = host.apply(&plug_into(&a, &by_process));
        let by_name = host.apply(&plug_into(&a, &netns));
        host.with(|opened, runtime| runtime.block_on(opened.datapath.remove_instance(&state))).expect("removed");
        let why =
            format!("the process of {by_process} is in the network namespace that this host has made for an instance");
        assert_eq!(refusal.expect_err("refused").to_string(), why);
        by_name.expect("plugged in");
    }

    #[test]
    fn the_hosts_own_namespace() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let netns = host.namespace.netns();
        let mut spec = Instance::new(1).port().spec;
        spec.placement = Placement::Netns(netns.clone());
        let op = NetOp::Plug { vni: vni(), mac: MacAddr::for_port([1; 5]), spec };
        refused(&mut host, &op, &format!("network namespace {netns} is the host's own, where no instance is"));
    }

    #[test]
    fn a_device_name_that_is_taken() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        a.namespace.ip("link add net0 type veth peer name other0");
        let why = format!("network namespace {} has another device named net0", a.namespace.netns());
        refused(&mut host, &plug(&a), &why);
        a.namespace.ip("link delete net0");
        host.apply(&plug(&a)).expect("plugged in");
    }

    #[test]
    fn a_port_is_opened_only_when_it_is_filtered() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        let a = Instance::new(1);
        let (filter, open) = (NetOp::Filter { vni: vni(), mac: a.mac }, NetOp::Open { vni: vni(), mac: a.mac });
        refused(&mut host, &filter, &format!("port {} has no device on this host", a.mac));
        refused(&mut host, &open, &format!("port {} has no device on this host", a.mac));
        host.apply(&plug(&a)).expect("plugged in");
        refused(&mut host, &open, &format!("port {} is not filtered, and must not be opened", a.mac));
        host.apply(&filter).expect("filtered");
        refused(&mut host, &open, "the network with VNI 101 has no settings on this host");
    }

    #[test]
    fn a_folder_for_pins_that_is_on_no_bpf_file_system() {
        let (mut host, _wire) = Host::alone(Hook::Tcx);
        host.close();
        let pin_dir = std::env::temp_dir().join("privnet-test-never-made");
        let config = config(host.vtep, &pin_dir);
        let refusal = host.namespace.within(|| Datapath::open(&config).err()).expect("refused");
        assert_eq!(refusal.to_string(), format!("cannot pin eBPF objects in {}", pin_dir.display()));
        assert!(!pin_dir.exists());
    }

    #[test]
    fn a_vtep_address_that_is_not_the_hosts() {
        let namespace = Namespace::new();
        let config = config(IpAddr::from([192, 0, 2, 1]), "/sys/fs/bpf/privnet-test-never-made".as_ref());
        let refusal = namespace.within(|| Datapath::open(&config).err()).expect("refused");
        assert_eq!(refusal.to_string(), "VTEP address 192.0.2.1 is on none of this host's devices");
        assert!(!config.pin_dir.exists());
    }
}

/// Its veth pair goes with it.
#[test]
fn a_port_whose_namespace_is_gone_shows() {
    let mut scene = Scene::new(Hook::Tcx);
    let gone = std::mem::replace(&mut scene.a, Instance::new(9));
    let mac = gone.mac;
    drop(gone);
    // The kernel takes a namespace apart in the background.
    while scene.one.dump().strays.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(scene.one.dump().strays, [mac].into());
    scene.one.apply(&NetOp::Unplug { mac }).expect("unplugged");
    let dump = scene.one.dump();
    assert!(dump.strays.is_empty() && !dump.networks[&vni()].ports.contains_key(&mac));
}

/// As when an instance starts anew while something of the earlier one is still running.
#[test]
fn a_port_goes_to_the_namespace_that_has_the_name_now() {
    let mut scene = Scene::new(Hook::Tcx);
    let folder = tempfile::tempdir().expect("a folder");
    let name = folder.path().join("web");
    let [earlier, later] = [Namespace::new(), Namespace::new()];
    let is_named = |namespace: &Namespace| {
        let _ = fs::remove_file(&name);
        symlink(namespace.netns().as_str(), &name).expect("named");
    };
    let netns = Netns::try_from(name.to_str().expect("a text")).expect("an absolute path");
    scene.wanted.ports.get_mut(&scene.a.mac).expect("a port").spec.placement = Placement::Netns(netns);
    is_named(&earlier);
    scene.one.reach(vni(), &scene.wanted);
    assert!(scene.is_as_wanted());
    fs::remove_file(&name).expect("removed");
    assert!(scene.is_as_wanted(), "a namespace may lose its name and live on");
    is_named(&later);
    scene.is_repaired("a namespace that was replaced");
    assert_eq!(earlier.ip("-brief link show type veth"), "");
    assert!(later.ip("-brief link show type veth").starts_with("net0@"));
}

#[test]
fn purging_removes_all_of_ours_and_nothing_else() {
    for hook in [Hook::Tcx, Hook::Clsact] {
        let mut scene = Scene::new(hook);
        scene.one.namespace.ip("link add pnother type veth peer name pnzzzzzzzzzz");
        scene.one.close();
        let purge_one = || purge(&scene.one.pins.0).expect("purged");
        let mut removed = scene.one.namespace.within(purge_one);
        removed.sort();
        let [a, b] = [&scene.a, &scene.b].map(|instance| format!("device {}", port_device(instance.mac)));
        let pins = format!("eBPF pins in {}", scene.one.pins.0.display());
        assert_eq!(removed, [a, b, format!("device {ROUTE_DEVICE}"), format!("device {OVERLAY_DEVICE}"), pins]);
        assert!(!scene.one.pins.0.exists());
        assert_eq!(scene.one.namespace.within(purge_one), Vec::<String>::new());
        let devices = scene.one.namespace.ip("-brief link show type veth");
        assert_eq!(devices.lines().count(), 3, "{devices}");
    }
}

const HOST_IS_TAKEN: &str = "cannot take this host's network namespace";

/// Why an agent with these pins cannot start in a namespace.
fn refused(namespace: &Namespace, vtep: IpAddr, pins: &PinDir) -> String {
    let config = config(vtep, &pins.0);
    namespace.within(|| Datapath::open(&config).err()).expect("refused").to_string()
}

#[test]
fn an_agent_s_data_plane_is_neither_taken_over_nor_purged_under_its_feet() {
    let mut scene = Scene::new(Hook::Tcx);
    let Scene { one, .. } = &scene;
    assert_eq!(refused(&one.namespace, one.vtep, &one.pins), HOST_IS_TAKEN);
    let refusal = one.namespace.within(|| purge(&one.pins.0).err()).expect("refused");
    assert_eq!(refusal.to_string(), HOST_IS_TAKEN);
    assert_eq!(scene.one.dump().networks[&vni()].ports.len(), 2);
}

#[test]
fn a_folder_for_pins_is_one_agent_s_also_when_it_was_removed_and_made_again() {
    let mut scene = Scene::new(Hook::Tcx);
    scene.two.close();
    let why = format!("cannot take the folder {}", scene.one.pins.0.display());
    assert_eq!(refused(&scene.two.namespace, scene.two.vtep, &scene.one.pins), why);
    fs::remove_dir_all(&scene.one.pins.0).expect("removed");
    scene.one.dump();
    assert_eq!(refused(&scene.two.namespace, scene.two.vtep, &scene.one.pins), why);
}

#[test]
fn of_agents_that_start_together_one_has_the_host() {
    let mut scene = Scene::new(Hook::Tcx);
    scene.one.close();
    let (namespace, vtep) = (&scene.one.namespace, scene.one.vtep);
    let pins: Vec<_> = (0..4).map(|_| PinDir::new()).collect();
    let (started, ended) = (Barrier::new(pins.len()), Barrier::new(pins.len()));
    let is_refused = |pins: &PinDir| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _guard = runtime.enter();
        let config = config(vtep, &pins.0);
        started.wait();
        let opened = Datapath::open(&config);
        ended.wait();
        opened.err().map(|error| error.to_string()).inspect(|why| assert_eq!(why, HOST_IS_TAKEN)).is_some()
    };
    let is_refused = &is_refused;
    let refusals = std::thread::scope(|scope| {
        let agents: Vec<_> =
            pins.iter().map(|pins| scope.spawn(move || namespace.within(|| is_refused(pins)))).collect();
        agents.into_iter().map(|agent| agent.join().expect("no panic")).filter(|refused| *refused).count()
    });
    assert_eq!(refusals, pins.len() - 1);
}

#[test]
fn a_second_agent_with_pins_of_its_own_is_refused_while_the_first_runs() {
    let mut scene = Scene::new(Hook::Tcx);
    let other = PinDir::new();
    assert_eq!(refused(&scene.one.namespace, scene.one.vtep, &other), HOST_IS_TAKEN);
    let refusal = scene.one.namespace.within(|| purge(&other.0).err()).expect("refused");
    assert_eq!(refusal.to_string(), HOST_IS_TAKEN);
    assert!(!other.0.exists() && scene.is_as_wanted());
    // It may have the host when the first is gone.
    scene.one.close();
    scene.one.pins = other;
    scene.one.reopen();
    scene.one.reach(vni(), &scene.wanted);
    assert!(scene.all_reach_each_other());
}

#[test]
fn purging_leaves_what_others_have_put_beside_the_pins() {
    let mut scene = Scene::new(Hook::Tcx);
    scene.one.close();
    let theirs = scene.one.pins.0.join("theirs");
    std::fs::create_dir(&theirs).expect("made");
    scene.one.namespace.within(|| purge(&scene.one.pins.0)).expect("purged");
    assert!(theirs.exists());
    assert_eq!(scene.one.namespace.within(|| purge(&scene.one.pins.0)).expect("purged"), Vec::<String>::new());
}

#[test]
fn changes_of_devices_are_told() {
    let (mut host, _wire) = Host::alone(Hook::Tcx);
    let namespace = Namespace::new();
    // Those of opening come first.
    while host.with(|opened, _| opened.link_events.next().now_or_never()).is_some() {}
    host.namespace.ip(&format!("link add other0 type veth peer name other0 netns {}", namespace.path()));
    host.with(|opened, runtime| runtime.block_on(opened.link_events.next())).expect("told");
}

#[test]
fn an_instances_end_has_its_name_its_address_and_the_mtu() {
    let mut scene = Scene::new(Hook::Tcx);
    let shown = scene.a.namespace.ip("link show dev net0");
    assert!(shown.contains(&scene.a.mac.to_string()) && shown.contains("mtu 1450") && shown.contains("UP"), "{shown}");
    let device = port_device(scene.a.mac);
    let shown = scene.one.namespace.ip(&format!("link show dev {device}"));
    assert!(shown.contains("alias privnet vni=101 instance="), "{shown}");
    let switch = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    let is_off = scene.one.namespace.within(|| std::fs::read_to_string(switch)).expect("read");
    assert_eq!(is_off.trim(), "1", "the host's own IPv6 has nothing to say to an instance");
    let ports = scene.one.dump().networks.remove(&vni()).expect("a network").ports;
    assert_eq!(ports[&scene.a.mac].spec.device, DeviceName::of_port(0));
    assert_eq!(ports[&scene.a.mac].stage, PortStage::Open);
}
