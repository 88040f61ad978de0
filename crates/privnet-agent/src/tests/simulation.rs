//! Any course of events, then quiet: the kernel holds what the server wants, and the server knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use privnet_datapath::{ApplyError, DumpError, Kernel, KernelDump, Simulated};
use privnet_model::{Generation, InstanceState, MacAddr, Member, Netns, NetworkDelta, NetworkId, NetworkState};
use privnet_plan::{FdbTarget, NetOp, PortStage};
use privnet_sync::{FromAgent, FromServer};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::host::identity;
use super::values::{by_vni, id, local, mac, network, remote, vni, wanted};
use crate::agent::Agent;
use crate::client::Event;
use crate::copies::Copies;
use crate::follow::{Sources, follow};
use crate::leases::Leases;

const NETWORKS: u8 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// The network is made, or one of its ports changes.
    Change {
        network: u8,
        port: u8,
        to: PortIs,
    },
    Delete {
        network: u8,
    },
    /// A message comes that was overtaken by a later one.
    SayAgain {
        network: u8,
    },
    /// The connection breaks and comes back.
    Reconnect,
    /// The agent stops and starts again; the server comes back later.
    RestartAgent {
        alone_ms: u64,
    },
    /// The agent is upgraded to one of another version; the server comes back later.
    Upgrade {
        alone_ms: u64,
    },
    /// The host loses all devices and maps while the agent is down.
    Reboot {
        alone_ms: u64,
    },
    RemoveByHand {
        network: u8,
        port: u8,
    },
    LeadAstray {
        network: u8,
        port: u8,
    },
    AddByHand {
        network: u8,
    },
    AddStray {
        port: u8,
    },
    /// The network's settings are lost.
    ForgetByHand {
        network: u8,
    },
    /// One kind of operation fails for a while.
    Refuse {
        operations: &'static str,
    },
    /// The port's namespace is gone for a while.
    LoseNamespace {
        network: u8,
        port: u8,
    },
    /// Whatever fails succeeds again.
    Heal,
    /// Time goes by and whatever is due happens.
    Wait {
        ms: u64,
    },
}

#[derive(Debug, Clone, Copy)]
enum PortIs {
    Here,
    Elsewhere,
    Gone,
}

/// What does not end by now never does. Real time: the runtime's own clock only runs ahead.
const CASE_TIMEOUT: Duration = Duration::from_secs(30);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn after_quiet_the_kernel_holds_what_is_wanted_and_the_server_knows_it(steps in vec(step(), 1..40)) {
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            live_through(&steps);
            ended.send(())
        });
        end.recv_timeout(CASE_TIMEOUT).expect("the case ends well");
    }
}

fn live_through(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("runtime").block_on(async {
        let mut zone = Zone::start().await;
        for step in steps {
            zone.take(step).await;
        }
        zone.quiet().await;
    });
}

fn step() -> impl Strategy<Value = Step> {
    let network = 1..=NETWORKS;
    let port = 1..4u8;
    let to = prop::sample::select(&[PortIs::Here, PortIs::Elsewhere, PortIs::Gone][..]);
    let operations =
        prop::sample::select(&["+ port", "- port", "+ fdb", "- fdb", "~ network", "~ port", "+ vtep", "~"]);
    let alone_ms = 0..2000u64;
    prop_oneof![
        12 => (network.clone(), port.clone(), to).prop_map(|(network, port, to)| Step::Change { network, port, to }),
        3 => network.clone().prop_map(|network| Step::Delete { network }),
        1 => network.clone().prop_map(|network| Step::SayAgain { network }),
        2 => Just(Step::Reconnect),
        1 => alone_ms.clone().prop_map(|alone_ms| Step::RestartAgent { alone_ms }),
        1 => alone_ms.clone().prop_map(|alone_ms| Step::Upgrade { alone_ms }),
        1 => alone_ms.prop_map(|alone_ms| Step::Reboot { alone_ms }),
        1 => (network.clone(), port.clone()).prop_map(|(network, port)| Step::RemoveByHand { network, port }),
        1 => (network.clone(), port.clone()).prop_map(|(network, port)| Step::LeadAstray { network, port }),
        1 => (network.clone(), port.clone()).prop_map(|(network, port)| Step::LoseNamespace { network, port }),
        1 => network.clone().prop_map(|network| Step::ForgetByHand { network }),
        1 => network.prop_map(|network| Step::AddByHand { network }),
        1 => port.prop_map(|port| Step::AddStray { port }),
        1 => operations.prop_map(|operations| Step::Refuse { operations }),
        1 => Just(Step::Heal),
        6 => (0..800u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// The kernel, and whoever sees to it that the agent opens no port before it is filtered and its network's
/// settings are there (invariant 4), and that another version's programs go on until all is filled (invariant 8).
#[derive(Clone, Default)]
struct Guarded {
    kernel: Simulated,
    /// Whether somebody else has changed it since the agent last read it.
    is_meddled_with: Arc<AtomicBool>,
    /// Whether nobody has changed it since the agent began to read it.
    is_still: Arc<AtomicBool>,
    /// Whether some operation may have failed, or does.
    has_failures: Arc<AtomicBool>,
}

impl Guarded {
    /// For what makes operations fail.
    fn fail(&self) -> &Simulated {
        self.has_failures.store(true, Ordering::Relaxed);
        &self.kernel
    }

    /// For changes that the agent cannot know of yet.
    fn meddle(&self) -> &Simulated {
        self.is_meddled_with.store(true, Ordering::Relaxed);
        self.is_still.store(false, Ordering::Relaxed);
        &self.kernel
    }
}

impl Kernel for Guarded {
    async fn dump(&mut self) -> Result<Option<KernelDump>, DumpError> {
        let read = self.kernel.dump().await?;
        if read.is_none() {
            self.is_still.store(true, Ordering::Relaxed);
        } else if self.is_still.load(Ordering::Relaxed) {
            self.is_meddled_with.store(false, Ordering::Relaxed);
        }
        Ok(read)
    }

    async fn apply(&mut self, op: &NetOp) -> Result<(), ApplyError> {
        self.is_still.store(false, Ordering::Relaxed);
        if let NetOp::Open { vni, mac } = op
            && !self.is_meddled_with.load(Ordering::Relaxed)
        {
            let held = self.kernel.held();
            let network = held.networks.get(vni).expect("settings come first");
            assert!(network.settings.is_some(), "{op} before the network's settings");
            assert!(network.ports[mac].stage >= PortStage::Filtered, "{op} before its filter");
        }
        self.kernel.apply(op).await
    }

    async fn make_instance(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        self.kernel.make_instance(state).await
    }

    async fn remove_instance(&mut self, state: &InstanceState) -> Result<(), ApplyError> {
        self.kernel.remove_instance(state).await
    }

    async fn instances(&mut self) -> Result<Vec<InstanceState>, DumpError> {
        self.kernel.instances().await
    }

    async fn upgrade(&mut self) -> Result<(), ApplyError> {
        if !self.has_failures.load(Ordering::Relaxed) && !self.is_meddled_with.load(Ordering::Relaxed) {
            let held = self.kernel.held();
            let mut ports = held.networks.values().flat_map(|network| network.ports.values());
            assert!(!ports.any(|port| port.stage == PortStage::Outdated), "not all is filled yet: {held:#?}");
        }
        self.kernel.upgrade().await
    }
}

/// A server that wants something of one host.
struct Zone {
    kernel: Guarded,
    dir: tempfile::TempDir,
    wanted: BTreeMap<NetworkId, NetworkState>,
    /// What was wanted before the last change of each.
    outdated: BTreeMap<NetworkId, NetworkState>,
    /// Networks that the host may carry.
    carriages: BTreeSet<NetworkId>,
    /// The number of the last removal, of all and of each network.
    removal: u64,
    removals: BTreeMap<NetworkId, u64>,
    generation: u64,
    agent: Option<RunningAgent>,
    from_agent: mpsc::Receiver<FromAgent>,
    applied: BTreeMap<NetworkId, Generation>,
}

struct RunningAgent {
    events: mpsc::Sender<Event>,
    shutdown: oneshot::Sender<()>,
    running: JoinHandle<()>,
    _link_events: mpsc::Sender<()>,
}

impl Zone {
    async fn start() -> Self {
        let mut zone = Self {
            kernel: Guarded::default(),
            // What is durable is not the point here, and thousands of fsyncs would take minutes.
            dir: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("temporary folder"),
            wanted: BTreeMap::new(),
            outdated: BTreeMap::new(),
            carriages: BTreeSet::new(),
            removal: 0,
            removals: BTreeMap::new(),
            generation: 0,
            agent: None,
            from_agent: mpsc::channel(1).1,
            applied: BTreeMap::new(),
        };
        zone.start_agent();
        zone.connect().await;
        zone
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Change { network, port, to } => self.change(network, port, to).await,
            Step::Delete { network } => self.delete(network).await,
            Step::SayAgain { network } => {
                if let Some(state) = self.outdated.get(&id(network)).cloned() {
                    self.say(Event::Message(FromServer::Full(state))).await;
                }
            }
            Step::Reconnect => {
                self.say(Event::Lost).await;
                self.connect().await;
            }
            Step::RestartAgent { alone_ms } => {
                self.stop_agent().await;
                self.start_agent();
                tokio::time::sleep(Duration::from_millis(alone_ms)).await;
                self.connect().await;
            }
            Step::Upgrade { alone_ms } => {
                self.stop_agent().await;
                self.kernel.meddle().outdate();
                self.start_agent();
                tokio::time::sleep(Duration::from_millis(alone_ms)).await;
                self.connect().await;
            }
            Step::Reboot { alone_ms } => {
                self.stop_agent().await;
                self.kernel.meddle().reboot();
                self.start_agent();
                tokio::time::sleep(Duration::from_millis(alone_ms)).await;
                self.connect().await;
            }
            Step::RemoveByHand { network, port } => {
                self.kernel.meddle().by_hand(vni(network), |held| drop(held.ports.remove(&mac_in(network, port))));
            }
            Step::LeadAstray { network, port } => self.kernel.meddle().by_hand(vni(network), |held| {
                if !held.is_empty() {
                    held.fdb.insert(mac_in(network, port), FdbTarget::Stray);
                }
            }),
            Step::AddByHand { network: number } => self.kernel.meddle().by_hand(vni(NETWORKS + number), |held| {
                *held = wanted(&network(NETWORKS + number, 1, &[remote(7)]));
            }),
            Step::AddStray { port } => self.kernel.meddle().add_stray(mac(port)),
            Step::ForgetByHand { network } => self.kernel.meddle().by_hand(vni(network), |held| held.settings = None),
            Step::Refuse { operations } => self.kernel.fail().refuse(operations),
            Step::LoseNamespace { network, port } => {
                self.kernel.fail().fail(mac_in(network, port), Netns::try_from("lost").expect("valid"));
            }
            Step::Heal => self.kernel.kernel.heal_all(),
            Step::Wait { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.listen().await;
            }
        }
    }

    async fn change(&mut self, number: u8, port: u8, to: PortIs) {
        self.generation += 1;
        let generation = Generation(self.generation);
        let port = number_in(number, port);
        let member: Option<Member> = match to {
            PortIs::Here => Some(local(port)),
            PortIs::Elsewhere => Some(remote(port)),
            PortIs::Gone => None,
        };
        self.carriages.insert(id(number));
        let Some(state) = self.wanted.get_mut(&id(number)) else {
            let state = network(number, self.generation, member.as_slice());
            self.wanted.insert(id(number), state.clone());
            return self.say(Event::Message(FromServer::Full(state))).await;
        };
        let delta = NetworkDelta {
            id: id(number),
            base: state.generation,
            generation,
            mtu_bytes: state.mtu_bytes,
            dhcp: None,
            removed: if member.is_none() { [mac(port)].into() } else { BTreeSet::new() },
            set: member.into_iter().collect(),
        };
        self.outdated.insert(id(number), state.clone());
        state.apply(delta.clone()).expect("builds on it");
        // Sometimes a change gets lost between the server and its streams.
        if !self.generation.is_multiple_of(7) {
            self.say(Event::Message(FromServer::Delta(delta))).await;
        }
    }

    async fn delete(&mut self, number: u8) {
        self.outdated.remove(&id(number));
        if self.wanted.remove(&id(number)).is_some() {
            self.remove(id(number)).await;
        }
    }

    async fn connect(&mut self) {
        let (outbox, from_agent) = mpsc::channel(256);
        self.say(Event::Connected(outbox)).await;
        self.from_agent = from_agent;
        self.applied.clear();
        let Some(FromAgent::Hello(hello)) = self.from_agent.recv().await else { panic!("no Hello") };
        let lacking = self.wanted.values().filter(|state| hello.held.get(&state.id) != Some(&state.generation));
        let lacking: Vec<_> = lacking.cloned().map(FromServer::Full).collect();
        let unwanted: BTreeSet<_> = self.carriages.iter().chain(hello.held.keys()).copied().collect();
        let unwanted = unwanted.into_iter().filter(|network| !self.wanted.contains_key(network));
        let unwanted: Vec<_> = unwanted.collect();
        for message in lacking {
            self.say(Event::Message(message)).await;
        }
        for network in unwanted {
            self.remove(network).await;
        }
        self.say(Event::Message(FromServer::Current)).await;
    }

    async fn remove(&mut self, network: NetworkId) {
        self.removal += 1;
        self.removals.insert(network, self.removal);
        self.say(Event::Message(FromServer::Remove { network, removal: self.removal })).await;
    }

    /// Hears what the agent has said so far.
    async fn listen(&mut self) {
        while let Ok(message) = self.from_agent.try_recv() {
            self.hear(message).await;
        }
    }

    async fn hear(&mut self, message: FromAgent) {
        match message {
            FromAgent::Hello(_) => panic!("a second Hello"),
            FromAgent::Present { .. } => panic!("nobody has asked whether it is there"),
            FromAgent::AddressDeclined { .. } => panic!("nobody asks by DHCP here"),
            FromAgent::Applied { network, generation, failures } if failures.is_empty() => {
                self.applied.insert(network, generation);
            }
            FromAgent::Applied { network, .. } => drop(self.applied.remove(&network)),
            FromAgent::Removed { network, removal } => {
                if !self.wanted.contains_key(&network) && self.removals.get(&network) == Some(&removal) {
                    let is_carried =
                        self.kernel.kernel.held().networks.keys().any(|vni| id(vni.get() as u8) == network);
                    assert!(!is_carried, "{network} is confirmed as removed and still there");
                    self.carriages.remove(&network);
                }
            }
            FromAgent::NeedFull { network } => {
                if let Some(state) = self.wanted.get(&network) {
                    self.say(Event::Message(FromServer::Full(state.clone()))).await;
                }
            }
            FromAgent::Repaired { .. } | FromAgent::UnderlayMtu { .. } => {}
            FromAgent::InstanceMade { .. } | FromAgent::InstanceFailed { .. } | FromAgent::InstanceRemoved { .. } => {
                panic!("no instance is to be made")
            }
        }
    }

    /// Nothing fails or changes any more.
    async fn quiet(&mut self) {
        self.kernel.kernel.heal_all();
        // What got lost between the server and its streams is found by its periodic comparison.
        self.listen().await;
        for state in self.wanted.clone().into_values() {
            if self.applied.get(&state.id) != Some(&state.generation) {
                self.say(Event::Message(FromServer::Full(state))).await;
            }
        }
        let expected: BTreeMap<_, _> = self.wanted.values().map(|state| (state.id, state.generation)).collect();
        while !self.has_heard_of(&expected) {
            let message = self.from_agent.recv().await.expect("the agent goes on");
            self.hear(message).await;
        }
        let wanted: Vec<_> = self.wanted.values().collect();
        let wanted = by_vni(&wanted);
        self.kernel.kernel.until(|held| held.networks == wanted && held.strays.is_empty() && !held.is_outdated).await;
        self.stop_agent().await;
        let (_copies, found, _saved) = Copies::open(self.dir.path()).expect("state folder");
        let kept: BTreeMap<_, _> = found.states.into_iter().map(|state| (state.id, state)).collect();
        assert_eq!(kept, self.wanted);
    }

    /// Whether the agent has confirmed these generations, and the removal of all other networks.
    fn has_heard_of(&self, generations: &BTreeMap<NetworkId, Generation>) -> bool {
        generations.iter().all(|(network, generation)| self.applied.get(network) == Some(generation))
            && self.carriages.iter().all(|network| generations.contains_key(network))
    }

    async fn say(&self, event: Event) {
        let agent = self.agent.as_ref().expect("running");
        agent.events.send(event).await.expect("the agent listens");
    }

    fn start_agent(&mut self) {
        let (copies, found, saved) = Copies::open(self.dir.path()).expect("state folder");
        let agent = Agent::new(identity(), self.kernel.clone(), copies, found, Arc::new(Leases::default()));
        let (events, server) = mpsc::channel(4);
        let (link_events, links) = mpsc::channel(1);
        let (shutdown, stopped) = oneshot::channel::<()>();
        let (_, declines) = mpsc::channel(1);
        let sources = Sources { server, saved, link_events: ReceiverStream::new(links), declines };
        let running = tokio::spawn(async move {
            follow(agent, sources, async { drop(stopped.await) }).await.expect("starts");
        });
        self.agent = Some(RunningAgent { events, shutdown, running, _link_events: link_events });
    }

    async fn stop_agent(&mut self) {
        let agent = self.agent.take().expect("running");
        drop(agent.shutdown);
        agent.running.await.expect("no panic");
    }
}

/// A MAC address is its port's for its life: it never comes to another network.
fn number_in(network: u8, port: u8) -> u8 {
    network * 16 + port
}

fn mac_in(network: u8, port: u8) -> MacAddr {
    mac(number_in(network, port))
}
