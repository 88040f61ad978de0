//! A lab in which everything goes wrong, by a plan that a seed makes, and which must be right again
//! after each step.
//!
//! A step is a burst of requests, by clients that work side by side, with things that go wrong between
//! them: processes die, links and streams are cut, hosts reboot, disks fill, somebody changes by hand
//! what is ours. Then all of it is put right, and everything that the design promises is checked
//! (`quiet`). Meanwhile every instance sends and receives all the time (`traffic`): a frame that
//! crosses from one network to another is found at whatever moment it does.
//!
//! `plan` makes the events from the seed alone; `client` and `world` carry them out; `ledger` is
//! what the clients were told. What becomes of an event depends on timing. What the events are does not.

mod canary;
mod client;
mod event;
mod frame;
mod ledger;
mod plan;
mod quiet;
mod relay;
mod station;
mod traffic;
mod world;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::client::Client;
use self::event::{Event, HostNumber, InstanceSlot, MadeSlot, NetworkSlot, Request, Upset, What};
use self::frame::Mac;
use self::ledger::{Ledger, LivePort};
use self::plan::Plan;
use self::station::{Station, Stations};
use self::traffic::Traffic;
use self::world::World;
use crate::interrupt::{check_interrupts, wait_for, wait_for_interrupt};
use crate::lab::Lab;

/// How many clients work side by side.
const CLIENTS: usize = 4;

/// What server and agents log: not every request, or the ends of the logs would be nothing else.
const LOG: &str = "info,privnet_server::http=warn";

/// Certificates are renewed again and again, also in a short run; no upset keeps a host from it for so long that one
/// expires.
const SERVER_ARGS: [&str; 2] = ["--certificate-lifetime", "60s"];

/// How long a gathering waits for answers; a server that is away gives none.
const GATHER: Duration = Duration::from_secs(1);

/// Requests are answered within this when everything is right again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What a run is to be like.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// What the plan is made from.
    pub seed: u64,
    /// No step begins after this.
    pub duration: Duration,
    /// There are no more steps than this.
    pub steps: usize,
    /// How many hosts the lab has.
    pub hosts: u8,
    /// Whether the lab of a failure stays until an interrupt.
    pub is_kept: bool,
    /// The `privnet` binary; `None` is the one beside this process's own.
    pub binary: Option<PathBuf>,
}

/// What the threads of a run share. Locks are taken in the order of the fields, and `ledger` before `stations`
/// and both before what [`Traffic`] holds.
struct Shared {
    lab: String,
    /// Tells this run's frames from others.
    run: u32,
    pin_dirs: Vec<PathBuf>,
    /// Whether the traffic goes on.
    is_sending: Mutex<bool>,
    ledger: Mutex<Ledger>,
    stations: Stations,
    traffic: Traffic,
    violations: Mutex<Vec<String>>,
    unanswered: AtomicUsize,
    names: AtomicUsize,
    is_stopping: AtomicBool,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stations(&self) -> RwLockReadGuard<'_, std::collections::BTreeMap<InstanceSlot, Station>> {
        self.stations.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn stations_mut(&self) -> RwLockWriteGuard<'_, std::collections::BTreeMap<InstanceSlot, Station>> {
        self.stations.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn sending(&self) -> MutexGuard<'_, bool> {
        self.is_sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violate(&self, violation: String) {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(violation);
    }

    fn check_violations(&self) -> Result<()> {
        let violations = std::mem::take(&mut *self.violations.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(first) = violations.first() else { return Ok(()) };
        bail!(
            "{first}{}",
            if violations.len() > 1 { format!(" (and {} more)", violations.len() - 1) } else { String::new() }
        )
    }

    fn answered(&self) {
        self.unanswered.fetch_sub(1, Ordering::SeqCst);
    }

    fn check_stopping(&self) -> Result<()> {
        ensure!(!self.is_stopping.load(Ordering::Relaxed), "the run is over");
        Ok(())
    }

    /// A name that nothing else in this run has.
    fn new_name(&self, slot: &impl std::fmt::Display) -> String {
        format!("{slot}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs a plan until its time is over, and fails at the first step after which something does not hold.
///
/// # Errors
/// Something does not hold: all about it has been printed. Or the lab cannot be made.
pub fn run(chaos: &Chaos) -> Result<()> {
    say(&format!("privnet chaos: seed {}, {} hosts", chaos.seed, chaos.hosts));
    let mut builder = Lab::builder().hosts(chaos.hosts).log(LOG).server_args(SERVER_ARGS);
    if let Some(binary) = &chaos.binary {
        builder = builder.binary(binary);
    }
    let mut run = Run::start(builder.prepare()?, chaos)?;
    let outcome = run.steps(chaos);
    let is_interrupted = check_interrupts().is_err();
    if outcome.is_err() && !is_interrupted && chaos.is_kept {
        run.keep();
    }
    let summary = run.summary();
    run.end()?;
    say(&summary);
    match outcome {
        Err(_) if is_interrupted => bail!("interrupted; what was checked until then held"),
        outcome => outcome,
    }
}

/// A run under way.
struct Run {
    world: World,
    shared: Arc<Shared>,
    clients: Vec<Sender<Request>>,
    threads: Vec<JoinHandle<()>>,
    plan: Plan,
    started: Instant,
    steps: usize,
    requests: usize,
    upsets: usize,
    frames_followed: u64,
}

impl Run {
    fn start(lab: Lab, chaos: &Chaos) -> Result<Self> {
        let shared = Arc::new(Shared {
            lab: lab.id().to_owned(),
            run: u32::from_str_radix(lab.id(), 16)?,
            pin_dirs: lab.hosts().iter().map(|host| host.pin_dir.clone()).collect(),
            is_sending: Mutex::new(true),
            ledger: Mutex::default(),
            stations: Stations::default(),
            traffic: Traffic::default(),
            violations: Mutex::default(),
            unanswered: AtomicUsize::new(0),
            names: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
        });
        let world = World::start(lab, Arc::clone(&shared))?;
        let mut threads = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let (requests, queue) = channel();
            let client = Client { api: world.lab.api().clone(), shared: Arc::clone(&shared) };
            threads.push(std::thread::spawn(move || client.run(&queue)));
            clients.push(requests);
        }
        let (receiving, sending, seed) = (Arc::clone(&shared), Arc::clone(&shared), chaos.seed);
        threads.push(std::thread::spawn(move || traffic::receive(&receiving)));
        threads.push(std::thread::spawn(move || traffic::send(&sending, seed)));
        let plan = Plan::new(chaos.seed, usize::from(chaos.hosts));
        let started = Instant::now();
        Ok(Self {
            world,
            shared,
            clients,
            threads,
            plan,
            started,
            steps: 0,
            requests: 0,
            upsets: 0,
            frames_followed: 0,
        })
    }

    fn steps(&mut self, chaos: &Chaos) -> Result<()> {
        while self.steps < chaos.steps && self.started.elapsed() < chaos.duration {
            check_interrupts()?;
            self.steps += 1;
            let (started, events) = (Instant::now(), self.plan.next_step());
            match self.step(&events) {
                Ok(found) => {
                    say(&format!("{:>4}  ok   {:>5.1} s  {found}", self.steps, started.elapsed().as_secs_f64()))
                }
                Err(error) if check_interrupts().is_err() => return Err(error),
                Err(error) => {
                    self.say_failure(chaos, &events, &error);
                    // All about it has been said.
                    bail!("seed {}: step {} does not hold", chaos.seed, self.steps);
                }
            }
        }
        Ok(())
    }

    /// A burst of events, then quiet, then all checks.
    fn step(&mut self, events: &[Event]) -> Result<String> {
        let before = self.shared.ledger().live_ports();
        let was_managed = self.managed_networks();
        self.shared.traffic.next_round();
        *self.shared.sending() = true;
        let (requests, upsets) = self.burst(events)?;
        self.world.repair()?;
        self.wait_for_answers(ANSWER_TIMEOUT).context("(6) requests are not answered though all is right again")?;
        let ends = quiet::operations_end(&self.shared, &self.world.lab)?;
        quiet::acknowledged(&self.shared, &self.world.lab)?;
        quiet::kernels(&self.shared, &self.world.lab)?;
        *self.shared.sending() = false;
        let ports = self.shared.ledger().live_ports();
        let steady = steady_pairs(events, &before, &ports);
        let followed = quiet::nothing_lost(&self.shared, &steady)?;
        quiet::dhcp_was_right(&self.shared, |port| was_managed.contains(&port.network))?;
        quiet::mesh(&self.shared, &ports)?;
        quiet::dhcp(&self.shared, &ports)?;
        quiet::all_frames_known(&self.shared)?;
        self.world.check_canaries()?;
        quiet::no_panics(&self.world.lab)?;
        self.shared.check_violations()?;
        self.requests += requests;
        self.upsets += upsets;
        self.frames_followed += followed;
        let count = |what: &str| ends.get(what).copied().unwrap_or_default();
        Ok(format!(
            "{requests:>2} requests ({} ended in success, {} in failure), {upsets} upsets; {} ports, {followed} frames followed",
            count("success"),
            count("failure"),
            ports.len()
        ))
    }

    fn burst(&mut self, events: &[Event]) -> Result<(usize, usize)> {
        let (mut requests, mut upsets) = (0, 0);
        for event in events {
            check_interrupts()?;
            self.shared.check_violations()?;
            std::thread::sleep(event.after);
            match &event.what {
                What::Ask(request) => {
                    requests += 1;
                    self.shared.unanswered.fetch_add(1, Ordering::SeqCst);
                    let client = owner(request);
                    self.clients[client].send(request.clone()).context("a client has ended")?;
                }
                What::Upset(upset) => {
                    upsets += 1;
                    self.world.upset(*upset).with_context(|| format!("\"{upset}\""))?;
                }
                // A server that is away lets nobody gather.
                What::Gather => drop(self.wait_for_answers(GATHER)),
            }
        }
        Ok((requests, upsets))
    }

    fn wait_for_answers(&self, limit: Duration) -> Result<()> {
        let unanswered = || self.shared.unanswered.load(Ordering::SeqCst);
        wait_for(
            || format!("{} requests are without an answer", unanswered()),
            limit,
            || Ok((unanswered() == 0).then_some(())),
        )
    }

    fn managed_networks(&self) -> BTreeSet<String> {
        let ledger = self.shared.ledger();
        ledger.networks.iter().flatten().filter(|network| network.range.is_some()).map(|one| one.id.clone()).collect()
    }

    fn say_failure(&self, chaos: &Chaos, events: &[Event], error: &anyhow::Error) {
        say(&format!("\n{}\n\nThe events of step {}:", self.world.lab.log_tails(), self.steps));
        events.iter().for_each(|event| say(&format!("  {event}")));
        say(&format!("\nFAILED: seed {}, step {}: {error:#}", chaos.seed, self.steps));
        say(&format!(
            "To replay: privnet-chaos --seed {} --hosts {} --steps {} --minutes 60",
            chaos.seed, chaos.hosts, self.steps
        ));
    }

    fn keep(&self) {
        let (id, dir) = (self.world.lab.id(), self.world.lab.dir().display());
        say(&format!(
            "The lab stays until Ctrl-C: namespaces pnlab-{id}-*, logs in {dir}, API at {}.",
            self.world.lab.api().url()
        ));
        wait_for_interrupt();
    }

    fn summary(&self) -> String {
        format!(
            "{} steps in {:.0} s: {} requests, {} upsets, {} frames received, {} of them followed from port to port",
            self.steps,
            self.started.elapsed().as_secs_f64(),
            self.requests,
            self.upsets,
            self.shared.traffic.state().received,
            self.frames_followed
        )
    }

    /// Ends all threads, which hold namespaces, and removes the lab.
    fn end(self) -> Result<()> {
        let Self { world, shared, clients, threads, .. } = self;
        shared.is_stopping.store(true, Ordering::Relaxed);
        drop(clients);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of the run has panicked"))?;
        }
        world.remove()
    }
}

/// Each network and each instance belongs to one client, so that it knows exactly what became of it.
fn owner(request: &Request) -> usize {
    match request {
        Request::CreateNetwork { network: NetworkSlot(slot), .. }
        | Request::Relabel { network: NetworkSlot(slot), .. }
        | Request::ResetLabels { network: NetworkSlot(slot) }
        | Request::SetRange { network: NetworkSlot(slot), .. }
        | Request::DeleteNetwork { network: NetworkSlot(slot) }
        | Request::CreateInstance { instance: InstanceSlot(slot), .. }
        | Request::DeleteInstance { instance: InstanceSlot(slot) }
        | Request::Move { instance: InstanceSlot(slot), .. }
        | Request::Attach { instance: InstanceSlot(slot), .. }
        | Request::Detach { instance: InstanceSlot(slot), .. }
        | Request::UpdateIp { instance: InstanceSlot(slot), .. }
        | Request::Make { made: MadeSlot(slot), .. }
        | Request::Join { made: MadeSlot(slot), .. }
        | Request::Power { made: MadeSlot(slot), .. }
        | Request::Unmake { made: MadeSlot(slot) } => slot % CLIENTS,
    }
}

fn steady_pairs(events: &[Event], before: &[LivePort], after: &[LivePort]) -> BTreeSet<(Mac, Mac)> {
    let upsets =
        || events.iter().filter_map(|event| if let What::Upset(upset) = event.what { Some(upset) } else { None });
    let harmed: BTreeSet<HostNumber> = upsets().flat_map(Upset::harms).collect();
    let is_moved = |slot| {
        let moves = |event: &Event| matches!(event.what, What::Ask(Request::Move { instance, .. }) if instance == slot);
        events.iter().any(moves)
    };
    let lost = |slot| is_moved(slot) || upsets().any(|upset| upset == Upset::LoseNamespace(slot));
    traffic::steady_pairs(before, after, |port| harmed.contains(&port.host) || lost(port.instance))
}

/// Prints a line. That nobody reads it any more is no reason to leave a lab behind.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
