//! An agent whose maps are laid out otherwise takes over from one that was killed, and is killed in turn.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use privnet_model::MacAddr;
use privnet_plan::{KernelNetwork, NetOp, PortStage, plan};

use super::frames::{BROADCAST, EXPERIMENTAL, Tap, saying};
use super::lab::{Instance, network};
use super::state::{Scene, vni};
use crate::Datapath;
use crate::layout::LAYOUT_VERSION;
use crate::names::port_device;
use crate::programs::{Hook, Version, Which};

const OTHER_LAYOUT: u32 = LAYOUT_VERSION + 1;
/// How many lead to what is wanted here from maps that are empty.
const OPERATIONS: usize = 10;
const STRANGER: MacAddr = MacAddr::for_port([9; 5]);

/// A scene, what its instances see, and pings that nobody interrupts.
struct Upgrade {
    scene: Scene,
    taps: [Tap; 3],
    pings: [Pings; 2],
}

impl Upgrade {
    /// Everything is open, by maps of the present layout.
    fn new(hook: Hook) -> Self {
        let mut scene = Scene::new(hook);
        // A clsact queueing discipline that is made on a device has the kernel drop what the device would send
        // meanwhile, which is the first agent's doing and no upgrade's.
        scene.one.dump();
        scene.two.dump();
        let Scene { a, b, c, .. } = &scene;
        let pings = [Pings::start(a, c), Pings::start(c, b)];
        let upgrade = Self {
            taps: [a, b, c].map(|instance| Tap::for_type(&instance.namespace, "net0", EXPERIMENTAL)),
            pings,
            scene,
        };
        assert_eq!(plan(vni(), &upgrade.scene.wanted, &KernelNetwork::default()).len(), OPERATIONS + 2, "and Plug");
        upgrade
    }

    /// Another agent starts in the place of the one that runs.
    fn restart_with(&mut self, layout: u32) {
        self.scene.one.layout = layout;
        self.scene.one.reopen();
        self.nothing_is_lost("after the start");
    }

    /// What there is to do.
    fn plan(&mut self) -> Vec<NetOp> {
        let actual = self.scene.one.dump().networks.remove(&vni()).unwrap_or_default();
        plan(vni(), &self.scene.wanted, &actual)
    }

    fn apply(&mut self, op: &NetOp) {
        self.scene.one.apply(op).unwrap_or_else(|error| panic!("{op}: {error}"));
        self.nothing_is_lost(&op.to_string());
    }

    /// What there is to do, but for so many operations at the end.
    fn apply_all_but(&mut self, undone: usize) {
        let plan = self.plan();
        plan[..plan.len() - undone].iter().for_each(|op| self.apply(op));
    }

    fn stage(&mut self, port: MacAddr) -> PortStage {
        self.scene.one.dump().networks[&vni()].ports[&port].stage
    }

    /// Which from_underlay the first host's wire has.
    fn underlay_version(&mut self) -> Version {
        self.scene.one.with(|opened, _| {
            let Datapath { netlink, programs, .. } = &mut opened.datapath;
            let device = netlink.link("under0").expect("asked").expect("a wire");
            programs.on(netlink, Which::FromUnderlay, &device).expect("asked")
        })
    }

    fn layouts(&self) -> Vec<u32> {
        let has = |layout: &u32| self.scene.one.pins.0.join(format!("v{layout}")).exists();
        [LAYOUT_VERSION, OTHER_LAYOUT].into_iter().filter(has).collect()
    }

    /// Frames for one and for all arrive from everybody, once; forged ones do not.
    #[track_caller]
    fn nothing_is_lost(&self, when: &str) {
        let macs = [&self.scene.a, &self.scene.b, &self.scene.c].map(|instance| instance.mac);
        for (from, tap) in macs.into_iter().zip(&self.taps) {
            let others = || macs.into_iter().zip(&self.taps).filter(|(to, _)| *to != from);
            for (to, _) in others() {
                tap.send(&saying(to, STRANGER, "forged"));
                tap.send(&saying(to, from, when));
            }
            tap.send(&saying(BROADCAST, from, when));
            for (to, tap) in others() {
                for to in [to, BROADCAST] {
                    assert!(tap.next() == saying(to, from, when), "{when}");
                }
            }
        }
    }

    fn end(self) {
        self.nothing_is_lost("at the end");
        assert!(self.scene.all_reach_each_other());
        self.pings.into_iter().for_each(Pings::stop);
    }
}

/// One ping every millisecond.
struct Pings(Child);

impl Pings {
    fn start(from: &Instance, to: &Instance) -> Self {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-q", "-i", "0.001", &to.address.to_string()]).env("LC_ALL", "C").stdout(Stdio::piped());
        Self(from.namespace.within(|| ping.spawn()).expect("ping runs"))
    }

    /// All were answered, but for the last one, which may be on its way.
    fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT).expect("it runs");
        let mut printed = String::new();
        self.0.stdout.take().expect("piped").read_to_string(&mut printed).expect("it ends");
        // "3 packets transmitted, 2 received, 33% packet loss, time 204ms"
        let summary = printed.lines().find(|line| line.contains(" received, ")).expect("a summary");
        let numbers: Vec<u32> = summary.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert!(numbers[1] > 0 && numbers[0] - numbers[1] <= 1, "{summary}");
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the kernel has between two operations it keeps for a while, if the agent is killed there.
fn an_upgrade_that_is_killed_at_every_step(hook: Hook) {
    let mut upgrade = Upgrade::new(hook);
    for undone in (0..OPERATIONS).rev() {
        upgrade.restart_with(OTHER_LAYOUT);
        assert!(upgrade.scene.one.dump().is_outdated);
        assert_eq!(upgrade.layouts(), [LAYOUT_VERSION, OTHER_LAYOUT]);
        upgrade.apply_all_but(undone);
    }
    upgrade.scene.one.upgrade();
    assert!(upgrade.scene.is_as_wanted());
    assert_eq!(upgrade.layouts(), [OTHER_LAYOUT]);
    upgrade.restart_with(OTHER_LAYOUT);
    assert!(upgrade.scene.is_as_wanted());
    upgrade.end();
}

#[test]
fn an_upgrade_loses_no_frame_wherever_it_is_killed() {
    an_upgrade_that_is_killed_at_every_step(Hook::Tcx);
}

#[test]
fn an_upgrade_loses_no_frame_wherever_it_is_killed_on_a_kernel_without_tcx() {
    an_upgrade_that_is_killed_at_every_step(Hook::Clsact);
}

/// The way back to the earlier version, from wherever the later one has got to.
fn an_upgrade_that_is_undone(hook: Hook) {
    let mut upgrade = Upgrade::new(hook);
    for undone in [OPERATIONS - 1, 2, 1, 0] {
        upgrade.restart_with(OTHER_LAYOUT);
        upgrade.apply_all_but(undone);
        upgrade.restart_with(LAYOUT_VERSION);
        assert_eq!(upgrade.layouts(), [LAYOUT_VERSION]);
        upgrade.apply_all_but(0);
        assert!(upgrade.scene.is_as_wanted());
    }
    upgrade.end();
}

#[test]
fn an_upgrade_that_is_undone_loses_no_frame() {
    an_upgrade_that_is_undone(Hook::Tcx);
}

#[test]
fn an_upgrade_that_is_undone_loses_no_frame_on_a_kernel_without_tcx() {
    an_upgrade_that_is_undone(Hook::Clsact);
}

#[test]
fn until_its_own_maps_are_filled_an_agent_leaves_another_version_s_programs_in_force() {
    let mut upgrade = Upgrade::new(Hook::Tcx);
    let mac = upgrade.scene.a.mac;
    upgrade.restart_with(OTHER_LAYOUT);
    assert_eq!(upgrade.stage(mac), PortStage::Outdated);
    let (filter, open) = (NetOp::Filter { vni: vni(), mac }, NetOp::Open { vni: vni(), mac });
    let refusal = upgrade.scene.one.apply(&open).expect_err("refused");
    assert_eq!(refusal.to_string(), format!("port {mac} is not filtered, and must not be opened"));
    let refusal = upgrade.scene.one.apply(&filter).expect_err("refused");
    assert_eq!(refusal.to_string(), "the network with VNI 101 has no settings on this host");
    assert_eq!(upgrade.stage(mac), PortStage::Outdated);
    upgrade.nothing_is_lost("after refusals");
    let wanted = upgrade.scene.wanted.clone();
    upgrade.scene.one.reach(vni(), &wanted);
    upgrade.scene.one.upgrade();
    upgrade.end();
}

/// It judges by all that is known of other hosts, which the new maps hold at the end.
#[test]
fn the_program_of_the_underlay_is_replaced_last() {
    for hook in [Hook::Tcx, Hook::Clsact] {
        let mut upgrade = Upgrade::new(hook);
        assert_eq!(upgrade.underlay_version(), Version::Loaded);
        upgrade.restart_with(OTHER_LAYOUT);
        assert_eq!(upgrade.underlay_version(), Version::OtherMaps);
        upgrade.apply_all_but(0);
        upgrade.scene.one.dump();
        assert_eq!(upgrade.underlay_version(), Version::OtherMaps);
        upgrade.scene.one.upgrade();
        assert_eq!(upgrade.underlay_version(), Version::Loaded);
        // One that judges by the same maps takes over at once.
        upgrade.restart_with(OTHER_LAYOUT);
        assert_eq!(upgrade.underlay_version(), Version::Loaded);
        upgrade.end();
    }
}

#[test]
fn a_port_that_nobody_wants_is_closed_in_an_upgrade() {
    let mut upgrade = Upgrade::new(Hook::Tcx);
    let gone = upgrade.scene.b.mac;
    upgrade.restart_with(OTHER_LAYOUT);
    upgrade.scene.wanted = network(&[&upgrade.scene.a], &[&upgrade.scene.c], upgrade.scene.two.vtep);
    let wanted = upgrade.scene.wanted.clone();
    upgrade.scene.one.reach(vni(), &wanted);
    upgrade.scene.one.upgrade();
    assert!(upgrade.scene.is_as_wanted());
    let devices = upgrade.scene.one.namespace.ip("-brief link show type veth");
    assert!(!devices.contains(&port_device(gone)), "{devices}");
    let [a, _, c] = &upgrade.taps;
    a.send(&saying(upgrade.scene.c.mac, upgrade.scene.a.mac, "still there"));
    assert!(c.next() == saying(upgrade.scene.c.mac, upgrade.scene.a.mac, "still there"));
    let [from_a, _] = upgrade.pings;
    from_a.stop();
}

#[test]
fn a_network_that_nobody_wants_goes_in_an_upgrade() {
    let mut upgrade = Upgrade::new(Hook::Tcx);
    upgrade.restart_with(OTHER_LAYOUT);
    upgrade.scene.wanted = KernelNetwork::default();
    upgrade.scene.one.reach(vni(), &KernelNetwork::default());
    upgrade.scene.one.upgrade();
    let dump = upgrade.scene.one.dump();
    assert!(dump.networks.is_empty() && dump.strays.is_empty() && !dump.is_outdated, "{dump:?}");
}

/// By maps of the same layout nothing is to be filled, and what was counted goes on.
#[test]
fn programs_that_judge_by_the_same_maps_are_replaced_at_once() {
    for hook in [Hook::Tcx, Hook::Clsact] {
        let mut upgrade = Upgrade::new(hook);
        let mac = upgrade.scene.a.mac;
        upgrade.nothing_is_lost("before");
        let before = upgrade.scene.one.counters(mac).sent_frames;
        upgrade.restart_with(LAYOUT_VERSION);
        assert!(upgrade.scene.is_as_wanted());
        assert!(before > 0 && upgrade.scene.one.counters(mac).sent_frames >= before);
        upgrade.end();
    }
}

/// As if one of them were new in this version: programs that do not use it go on until it is filled.
#[test]
fn a_map_that_is_missing_is_filled_before_programs_use_it() {
    let mut upgrade = Upgrade::new(Hook::Tcx);
    upgrade.scene.one.close();
    let fdb = upgrade.scene.one.pins.0.join(format!("v{LAYOUT_VERSION}/fdb"));
    std::fs::remove_file(fdb).expect("it was there");
    upgrade.restart_with(LAYOUT_VERSION);
    upgrade.apply_all_but(0);
    upgrade.scene.one.upgrade();
    assert!(upgrade.scene.is_as_wanted());
    upgrade.end();
}
