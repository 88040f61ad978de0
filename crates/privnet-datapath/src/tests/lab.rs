//! Hosts and instances made of network namespaces. A namespace lives as long as its file is open, so
//! it goes with the test however that ends.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::HashMap;
use aya::programs::SchedClassifier;
use aya::{TestRun as _, TestRunOptions};
use nix::sched::{CloneFlags, setns, unshare};
use privnet_model::{DeviceName, InstanceId, MacAddr, Netns, Placement, Vni, with_causes};
use privnet_plan::{
    Configuration, FdbTarget, KernelNetwork, KernelPort, NetOp, NetworkSettings, PortSpec, PortStage, plan,
};
use tokio::runtime::Runtime;

use super::frames::PATIENCE;
use crate::layout::LAYOUT_VERSION;
use crate::programs::{Hook, Which};
use crate::{ApplyError, Datapath, DatapathConfig, DhcpRequest, Kernel, KernelDump, Opened, PortCounters, sys};

pub(super) const UNDERLAY_MTU_BYTES: u32 = 1500;
pub(super) const MTU_BYTES: u32 = 1450;
pub(super) const VXLAN_PORT: u16 = 4789;

pub(super) struct Namespace(File);

/// A process in a namespace, until it is dropped.
pub(super) struct Sleeper(Child);

impl Sleeper {
    pub(super) fn in_namespace(namespace: &Namespace) -> Self {
        Self(namespace.within(|| Command::new("sleep").arg("600").spawn().expect("it runs")))
    }

    pub(super) fn number(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have been killed by hand.
        let _ = (self.0.kill(), self.0.wait());
    }
}

impl Namespace {
    pub(super) fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace; these tests need root");
            File::open("/proc/thread-self/ns/net").expect("its file")
        });
        let namespace = Self(made.join().expect("no panic"));
        namespace.ip("link set lo up");
        namespace
    }

    /// One that has a name.
    pub(super) fn of(netns: &Netns) -> Self {
        Self(File::open(netns.path()).expect("it is there"))
    }

    /// As a program in another process names it.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }

    /// As an instance's placement names it.
    pub(super) fn netns(&self) -> Netns {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        Netns::try_from(&*path).expect("an absolute path")
    }

    /// Runs `work` on a thread in it.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).expect("entered");
            work()
        };
        let ended = std::thread::scope(|scope| scope.spawn(entered).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program in it, and returns whether it succeeded and what it printed.
    pub(super) fn run(&self, line: &str) -> (bool, String) {
        let words: Vec<_> = line.split_whitespace().collect();
        let output = self.within(|| Command::new(words[0]).args(&words[1..]).output().expect("it runs"));
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// Runs `ip`, which must succeed.
    pub(super) fn ip(&self, words: &str) -> String {
        let (succeeded, printed) = self.run(&format!("ip {words}"));
        assert!(succeeded, "ip {words}: {printed}");
        printed
    }

    pub(super) fn index_of(&self, device: &str) -> u32 {
        self.within(|| nix::net::if_::if_nametoindex(device)).expect("a device")
    }

    pub(super) fn mac_of(&self, device: &str) -> MacAddr {
        let shown = self.ip(&format!("link show dev {device}"));
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).expect("an Ethernet device").parse().expect("a MAC address")
    }

    /// How many packets have left and come in by a device.
    pub(super) fn passed(&self, device: &str) -> [u64; 2] {
        let shown = self.ip(&format!("-statistics link show dev {device}"));
        ["TX:", "RX:"].map(|way| {
            let (_, rest) = shown.split_once(way).expect("counters");
            let mut numbers = rest.lines().nth(1).expect("in a line").split_whitespace();
            numbers.nth(1).expect("octets, packets").parse().expect("a number")
        })
    }

    /// Has a device leave checksums to the kernel.
    pub(super) fn without_tx_checksum(&self, device: &str) {
        const ETHTOOL_STXCSUM: u32 = 0x17;
        self.set_up_offload(device, [ETHTOOL_STXCSUM, 0]);
    }

    /// Has a device look for frames to merge, for which it verifies their checksums.
    pub(super) fn with_gro(&self, device: &str) {
        const ETHTOOL_SGRO: u32 = 0x2c;
        self.set_up_offload(device, [ETHTOOL_SGRO, 1]);
    }

    /// A command of the kernel's ethtool.h, and its value.
    fn set_up_offload(&self, device: &str, mut command: [u32; 2]) {
        const SIOCETHTOOL: libc::Ioctl = 0x8946;
        // SAFETY: a struct of numbers and pointers, all of which may be zero.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
        let socket = self.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("a socket");
        // SAFETY: the kernel reads the name, which ends in a NUL, and the two numbers.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }

    /// Whether somebody answers, at once or when a device has found its carrier.
    pub(super) fn can_ping(&self, address: Ipv4Addr) -> bool {
        self.run(&format!("ping -n -c 1 -w {} {address}", PATIENCE.as_secs())).0
    }

    /// Whether nobody answers for a while.
    pub(super) fn cannot_ping(&self, address: Ipv4Addr) -> bool {
        !self.run(&format!("ping -n -c 1 -W 2 {address}")).0
    }
}

/// Until the kernel's clock has gone on by a tick: what a program has asked about a route does not hold any more.
pub(super) fn until_the_next_tick() {
    let ticks = || {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes the one struct. This clock goes on with the ticks.
        let read = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
        assert_eq!(read, 0, "{}", io::Error::last_os_error());
        (now.tv_sec, now.tv_nsec)
    };
    let start = ticks();
    while ticks() == start {
        std::thread::yield_now();
    }
}

/// A folder for pins that goes with the test.
pub(super) struct PinDir(pub(super) PathBuf);

impl PinDir {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("/sys/fs/bpf/privnet-test-{}-{number}", process::id()).into())
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A host with an open data plane.
pub(super) struct Host {
    pub(super) vtep: IpAddr,
    opened: Option<Opened>,
    runtime: Runtime,
    pub(super) namespace: Namespace,
    pub(super) pins: PinDir,
    hook: Hook,
    bum_copies_per_second: u32,
    /// The layout version of its agent's maps.
    pub(super) layout: u32,
}

impl Host {
    /// Hosts 192.0.2.1 and 192.0.2.2, joined by a wire.
    pub(super) fn pair(hook: Hook) -> (Self, Self) {
        Self::pair_at([1, 2].map(|number| Ipv4Addr::new(192, 0, 2, number).into()), hook)
    }

    /// Hosts 2001:db8::1 and 2001:db8::2, joined by a wire.
    pub(super) fn pair_by_ipv6() -> (Self, Self) {
        Self::pair_at([1, 2].map(|number| ipv6_vtep(number).into()), Hook::Tcx)
    }

    fn pair_at(vteps: [IpAddr; 2], hook: Hook) -> (Self, Self) {
        let (one, two) = (Namespace::new(), Namespace::new());
        one.ip(&format!(
            "link add under0 mtu {UNDERLAY_MTU_BYTES} type veth peer name under0 mtu {UNDERLAY_MTU_BYTES} netns {}",
            two.path()
        ));
        (Self::open(one, vteps[0], hook), Self::open(two, vteps[1], hook))
    }

    /// Host 192.0.2.1, which has another address that the kernel would rather use, and the other end of
    /// its wire, which has the addresses 192.0.2.2 to 192.0.2.9.
    pub(super) fn alone(hook: Hook) -> (Self, Namespace) {
        let (host, wire) = (Namespace::new(), Namespace::new());
        host.ip(&format!("link add under0 type veth peer name under0 netns {}", wire.path()));
        host.ip("address add 192.0.2.99/24 dev under0");
        for number in 2..10 {
            wire.ip(&format!("address add 192.0.2.{number}/24 dev under0"));
        }
        wire.ip("link set under0 up");
        (Self::open(host, Ipv4Addr::new(192, 0, 2, 1).into(), hook), wire)
    }

    /// Host 2001:db8::1, which has the addresses 2001:db8::3:1 and 192.0.2.1, too, and the other end of its
    /// wire, which has the addresses 2001:db8::2 to 2001:db8::9 and 192.0.2.2.
    pub(super) fn alone_by_ipv6() -> (Self, Namespace) {
        let (host, wire) = (Namespace::new(), Namespace::new());
        host.ip(&format!("link add under0 type veth peer name under0 netns {}", wire.path()));
        host.ip("address add 192.0.2.1/24 dev under0");
        host.ip("address add 2001:db8::3:1/64 dev under0 nodad");
        wire.ip("address add 192.0.2.2/24 dev under0");
        for number in 2..10 {
            wire.ip(&format!("address add {}/64 dev under0 nodad", ipv6_vtep(number)));
        }
        wire.ip("link set under0 up");
        (Self::open(host, ipv6_vtep(1).into(), Hook::Tcx), wire)
    }

    fn open(namespace: Namespace, vtep: IpAddr, hook: Hook) -> Self {
        let address = if vtep.is_ipv4() { format!("{vtep}/24") } else { format!("{vtep}/64") };
        // A wire of its own has no duplicates to be detected.
        let nodad = if vtep.is_ipv4() { "" } else { "nodad" };
        namespace.ip(&format!("address add {address} dev under0 {nodad}"));
        namespace.ip("link set under0 up");
        Self::at(namespace, vtep, hook)
    }

    /// A host whose underlay has been set up.
    pub(super) fn at(namespace: Namespace, vtep: IpAddr, hook: Hook) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut host = Self {
            vtep,
            opened: None,
            runtime,
            namespace,
            pins: PinDir::new(),
            hook,
            bum_copies_per_second: 0,
            layout: LAYOUT_VERSION,
        };
        host.reopen();
        host
    }

    /// Drops the data plane, as when the agent ends, and opens it again.
    pub(super) fn reopen(&mut self) {
        self.opened = None;
        let config =
            DatapathConfig { bum_copies_per_second: self.bum_copies_per_second, ..config(self.vtep, &self.pins.0) };
        let open = || {
            let _guard = self.runtime.enter();
            Datapath::open_with(&config, self.hook, self.layout)
        };
        self.opened = Some(self.namespace.within(open).expect("opened"));
    }

    /// As [`reopen`](Self::reopen), with another limit.
    pub(super) fn reopen_with_limit(&mut self, bum_copies_per_second: u32) {
        self.bum_copies_per_second = bum_copies_per_second;
        self.reopen();
    }

    /// Drops the data plane, as when the agent ends.
    pub(super) fn close(&mut self) {
        self.opened = None;
    }

    /// Runs `work` with the open data plane.
    pub(super) fn with<T: Send>(&mut self, work: impl FnOnce(&mut Opened, &Runtime) -> T + Send) -> T {
        let Self { opened, runtime, namespace, .. } = self;
        let opened = opened.as_mut().expect("open");
        namespace.within(|| work(opened, runtime))
    }

    pub(super) fn dump(&mut self) -> KernelDump {
        self.with(|opened, runtime| {
            let part = || runtime.block_on(opened.datapath.dump()).expect("dumped");
            std::iter::repeat_with(part).flatten().next().expect("there is an end")
        })
    }

    pub(super) fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        self.with(|opened, runtime| runtime.block_on(opened.datapath.apply(op)))
    }

    /// Runs a program on a frame as if it had come in by a device, and returns its verdict and what it
    /// made of the frame.
    pub(super) fn judge(&mut self, which: Which, ifindex: u32, frame: &[u8]) -> (u32, Vec<u8>) {
        const IFINDEX_OFFSET: usize = std::mem::offset_of!(SkBuff, ifindex);
        let mut context = [0; size_of::<SkBuff>()];
        context[IFINDEX_OFFSET..IFINDEX_OFFSET + 4].copy_from_slice(&ifindex.to_ne_bytes());
        let mut result = vec![0; frame.len() + 64];
        let run = self.with(|opened, _| {
            let program = opened.datapath.programs.object().program_mut(which.name()).expect("in the object");
            let program: &mut SchedClassifier = program.try_into().expect("a classifier");
            program.test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut result),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
        });
        let run = run.expect("run");
        result.truncate(run.data_size_out as usize);
        (run.return_value, result)
    }

    /// All ports may again what they have done too often, as when time has passed.
    pub(super) fn forget_budgets(&mut self) {
        self.with(|opened, _| {
            let map = opened.datapath.programs.object().map_mut("budgets").expect("in the object");
            let mut budgets = HashMap::<_, [u32; 2], u64>::try_from(map).expect("a hash map");
            for key in budgets.keys().collect::<Result<Vec<_>, _>>().expect("read") {
                budgets.remove(&key).expect("removed");
            }
        });
    }

    /// As [`judge`](Self::judge), on a frame whose device has made a checksum of it all, and with an error if
    /// that is wrong afterwards. A kernel that does not know how to do that (before 6.15) does not look.
    pub(super) fn judge_with_checksum(&mut self, which: Which, ifindex: u32, frame: &[u8]) -> io::Result<u32> {
        const BPF_F_TEST_SKB_CHECKSUM_COMPLETE: u32 = 1 << 2;
        let context = SkBuff { before: [0; 10], ifindex, after: [0; 37] };
        self.with(|opened, _| {
            let program = opened.datapath.programs.object().program(which.name()).expect("in the object");
            let program: &SchedClassifier = program.try_into().expect("a classifier");
            let program = program.fd().expect("loaded").as_fd().as_raw_fd();
            let run = |flags| TestRun {
                prog_fd: program as u32,
                data_size_in: frame.len() as u32,
                data_in: frame.as_ptr() as u64,
                ctx_size_in: size_of_val(&context) as u32,
                ctx_in: &raw const context as u64,
                flags,
                ..TestRun::default()
            };
            match run(BPF_F_TEST_SKB_CHECKSUM_COMPLETE).run() {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => run(0).run(),
                other => other,
            }
        })
    }

    pub(super) fn index_of(&mut self, port: MacAddr) -> u32 {
        self.with(|opened, _| opened.datapath.device(port)).expect("read").expect("plugged in").index
    }

    pub(super) fn counters(&mut self, port: MacAddr) -> PortCounters {
        self.with(|opened, _| opened.datapath.counters(port)).expect("read").expect("filtered")
    }

    pub(super) fn overlay_counters(&mut self) -> PortCounters {
        self.with(|opened, _| opened.datapath.overlay_counters()).expect("read")
    }

    pub(super) fn next_dhcp_request(&mut self) -> DhcpRequest {
        self.with(|opened, runtime| runtime.block_on(opened.dhcp_requests.next())).expect("read")
    }

    pub(super) fn upgrade(&mut self) {
        self.with(|opened, runtime| runtime.block_on(opened.datapath.upgrade())).expect("upgraded");
    }

    /// What the agent does: from what is there to what is wanted.
    pub(super) fn reach(&mut self, vni: Vni, wanted: &KernelNetwork) {
        let KernelDump { mut networks, strays, .. } = self.dump();
        for mac in strays {
            self.apply(&NetOp::Unplug { mac }).expect("unplugged");
        }
        let actual = networks.remove(&vni).unwrap_or_default();
        for op in plan(vni, wanted, &actual) {
            self.apply(&op).unwrap_or_else(|error| panic!("{op}: {}", with_causes(&error)));
        }
    }
}

/// As most hosts are set up.
pub(super) fn config(vtep: IpAddr, pin_dir: &Path) -> DatapathConfig {
    let pin_dir = pin_dir.to_owned();
    DatapathConfig { vtep, vxlan_port: VXLAN_PORT, pin_dir, bum_copies_per_second: 0 }
}

/// `test` in union bpf_attr.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    verdict: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    unused: u32,
}

impl TestRun {
    fn run(mut self) -> io::Result<u32> {
        const BPF_PROG_TEST_RUN: libc::c_int = 10;
        // SAFETY: laid out as the command wants it, with pointers to what outlives the call.
        unsafe { sys::bpf(BPF_PROG_TEST_RUN, &mut self)? };
        Ok(self.verdict)
    }
}

/// The first members of struct __sk_buff, and the size of it all.
#[repr(C)]
struct SkBuff {
    before: [u32; 10],
    ifindex: u32,
    after: [u32; 37],
}

/// An instance with one port.
pub(super) struct Instance {
    pub(super) namespace: Namespace,
    pub(super) mac: MacAddr,
    pub(super) address: Ipv4Addr,
}

impl Instance {
    pub(super) fn new(number: u8) -> Self {
        let namespace = Namespace::new();
        // So that it says nothing but what the test has it say.
        for devices in ["all", "default"] {
            let switch = format!("/proc/sys/net/ipv6/conf/{devices}/disable_ipv6");
            namespace.within(|| fs::write(switch, "1")).expect("set");
        }
        let mac = MacAddr::for_port([0, 0, 0, 0, number]);
        Self { namespace, mac, address: Ipv4Addr::new(10, 0, 0, number) }
    }

    pub(super) fn port(&self) -> KernelPort {
        let spec = PortSpec {
            instance: InstanceId::new(1, [self.mac.octets()[5]; 10]),
            placement: Placement::Netns(self.namespace.netns()),
            device: DeviceName::of_port(0),
            mtu_bytes: MTU_BYTES,
            reboots: 0,
            is_configured: false,
        };
        KernelPort { spec, stage: PortStage::Open, configuration: Configuration::default() }
    }

    /// Gives its device its address.
    pub(super) fn configure(&self) {
        self.namespace.ip(&format!("address add {}/24 dev net0", self.address));
    }
}

/// As on the IPv6 underlays here.
pub(super) fn ipv6_vtep(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())
}

/// A network in which these instances are here and those are there.
pub(super) fn network(here: &[&Instance], there: &[&Instance], vtep: impl Into<IpAddr>) -> KernelNetwork {
    let vtep = vtep.into();
    let local = here.iter().map(|instance| (instance.mac, FdbTarget::Local));
    let remote = there.iter().map(|instance| (instance.mac, FdbTarget::Remote(vtep)));
    KernelNetwork {
        settings: Some(NetworkSettings { managed: false, mtu_bytes: MTU_BYTES }),
        ports: here.iter().map(|instance| (instance.mac, instance.port())).collect(),
        fdb: local.chain(remote).collect(),
        neighbors: Default::default(),
        vteps: if there.is_empty() { Default::default() } else { [vtep].into() },
    }
}
