//! Hosts and instances made of network namespaces. A namespace lives as long as its file is open, so
//! it goes with the test however that ends.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns, unshare};
use privnet_model::{DeviceName, InstanceId, MacAddr, Netns, Placement, Vni};
use privnet_plan::{FdbTarget, KernelNetwork, KernelPort, NetworkSettings, PortSpec, PortStage, plan};
use tokio::runtime::Runtime;

use crate::programs::Hook;
use crate::{ApplyError, Datapath, DatapathConfig, Kernel, KernelDump, Opened};

pub(super) const UNDERLAY_MTU_BYTES: u32 = 1500;
pub(super) const MTU_BYTES: u32 = 1450;
pub(super) const VXLAN_PORT: u16 = 4789;

pub(super) struct Namespace(File);

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

    /// As an instance's placement names it.
    pub(super) fn netns(&self) -> Netns {
        let path = format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd());
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

    pub(super) fn can_ping(&self, address: Ipv4Addr) -> bool {
        self.run(&format!("ping -n -c 1 -W 2 {address}")).0
    }
}

/// A folder for pins that goes with the test.
pub(super) struct PinDir(pub(super) PathBuf);

impl PinDir {
    fn new() -> Self {
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
    pub(super) vtep: Ipv4Addr,
    opened: Option<Opened>,
    runtime: Runtime,
    pub(super) namespace: Namespace,
    pub(super) pins: PinDir,
    hook: Hook,
}

impl Host {
    /// Hosts 192.0.2.1 and 192.0.2.2, joined by a wire.
    pub(super) fn pair(hook: Hook) -> (Self, Self) {
        let (one, two) = (Namespace::new(), Namespace::new());
        one.ip(&format!(
            "link add under0 mtu {UNDERLAY_MTU_BYTES} type veth peer name under0 mtu {UNDERLAY_MTU_BYTES} netns {}",
            two.netns()
        ));
        (Self::open(one, 1, hook), Self::open(two, 2, hook))
    }

    fn open(namespace: Namespace, number: u8, hook: Hook) -> Self {
        let vtep = Ipv4Addr::new(192, 0, 2, number);
        namespace.ip(&format!("address add {vtep}/24 dev under0"));
        namespace.ip("link set under0 up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut host = Self { vtep, opened: None, runtime, namespace, pins: PinDir::new(), hook };
        host.reopen();
        host
    }

    /// Drops the data plane, as when the agent ends, and opens it again.
    pub(super) fn reopen(&mut self) {
        self.opened = None;
        let config = DatapathConfig { vtep: self.vtep.into(), vxlan_port: VXLAN_PORT, pin_dir: self.pins.0.clone() };
        let open = || {
            let _guard = self.runtime.enter();
            Datapath::open_with(&config, self.hook)
        };
        self.opened = Some(self.namespace.within(open).expect("opened"));
    }

    /// Runs `work` with the open data plane.
    pub(super) fn with<T: Send>(&mut self, work: impl FnOnce(&mut Opened, &Runtime) -> T + Send) -> T {
        let Self { opened, runtime, namespace, .. } = self;
        let opened = opened.as_mut().expect("open");
        namespace.within(|| work(opened, runtime))
    }

    pub(super) fn dump(&mut self) -> KernelDump {
        self.with(|opened, runtime| runtime.block_on(opened.datapath.dump())).expect("dumped")
    }

    pub(super) fn apply(&mut self, op: &privnet_plan::NetOp) -> Result<(), ApplyError> {
        self.with(|opened, runtime| runtime.block_on(opened.datapath.apply(op)))
    }

    /// What the agent does: from what is there to what is wanted.
    pub(super) fn reach(&mut self, vni: Vni, wanted: &KernelNetwork) {
        let actual = self.dump().networks.remove(&vni).unwrap_or_default();
        for op in plan(vni, wanted, &actual) {
            self.apply(&op).unwrap_or_else(|error| panic!("{op}: {}", chain(&error)));
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|source| format!(": {}", chain(source))).unwrap_or_default();
    format!("{error}{cause}")
}

/// An instance with one port.
pub(super) struct Instance {
    pub(super) namespace: Namespace,
    pub(super) mac: MacAddr,
    pub(super) address: Ipv4Addr,
}

impl Instance {
    pub(super) fn new(number: u8) -> Self {
        let mac = MacAddr::for_port([0, 0, 0, 0, number]);
        Self { namespace: Namespace::new(), mac, address: Ipv4Addr::new(10, 0, 0, number) }
    }

    pub(super) fn port(&self) -> KernelPort {
        let spec = PortSpec {
            instance: InstanceId::new(1, [self.mac.octets()[5]; 10]),
            placement: Placement::Netns(self.namespace.netns()),
            device: DeviceName::of_port(0),
            mtu_bytes: MTU_BYTES,
        };
        KernelPort { spec, stage: PortStage::Open }
    }

    /// Gives its device its address.
    pub(super) fn configure(&self) {
        self.namespace.ip(&format!("address add {}/24 dev net0", self.address));
    }
}

/// A network in which these instances are here and those are there.
pub(super) fn network(here: &[&Instance], there: &[&Instance], vtep: Ipv4Addr) -> KernelNetwork {
    let local = here.iter().map(|instance| (instance.mac, FdbTarget::Local));
    let remote = there.iter().map(|instance| (instance.mac, FdbTarget::Remote(vtep.into())));
    KernelNetwork {
        settings: Some(NetworkSettings { managed: false, mtu_bytes: MTU_BYTES }),
        ports: here.iter().map(|instance| (instance.mac, instance.port())).collect(),
        fdb: local.chain(remote).collect(),
        neighbors: Default::default(),
        vteps: if there.is_empty() { Default::default() } else { [vtep.into()].into() },
    }
}
