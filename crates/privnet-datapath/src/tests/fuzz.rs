//! The programs against a model of what they shall do: frames as anybody might send them come in by the
//! ports and the overlay of a small host, and where each goes, what it is then and what is counted must
//! be what the model says. Beside that, the invariants are checked without the model.
//!
//! A run follows from its seed. What fails is made smaller, and written as a case that stays in `cases`.

mod dice;
mod fast_lane;
mod flows;
mod generator;
mod input;
mod invariants;
mod model;
mod paths;
mod rig;
mod witness;
mod world;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{SigHandler, Signal, signal};

use self::dice::Dice;
use self::generator::{FRAME_OCTETS_MAX, Generator, HEADER_OCTETS};
use self::input::{Door, Input};
use self::model::{Count, Expected, Outcome, Row};
use self::rig::{REDIRECT, ROWS, Rig, SHOT, Seen, UNSPEC, combine};
use self::world::{Underlay, World};
use super::lab::Namespace;
use crate::layout::{Counters, DROP_REASONS};

/// How many frames come in before the world changes.
const BATCH_FRAMES: u64 = 256;
const SHORT_RUN_FRAMES: u64 = 100_000;
const SHORT_RUN_SEED: u64 = 1;
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);
/// How often a failure is tried to be made smaller.
const SHRINKS_MAX: usize = 20_000;

/// Of how many frames, or until when.
enum Length {
    Frames(u64),
    Until(Instant),
}

/// What several workers have done so far.
#[derive(Default)]
struct Progress {
    frames: AtomicU64,
    stop: AtomicBool,
    outcomes: Mutex<BTreeMap<(&'static str, Outcome), u64>>,
}

struct Fuzzer {
    rig: Rig,
    generator: Generator,
    dice: Dice,
    world: World,
    /// Hashes of what frames had in common that ended in the same way.
    known: HashSet<u64>,
}

struct Failure {
    world: World,
    input: Input,
    why: String,
}

#[test]
fn frames_end_where_the_model_says() {
    short_run(Underlay::Ipv4);
}

#[test]
fn frames_end_where_the_model_says_on_an_ipv6_underlay() {
    short_run(Underlay::Ipv6);
}

/// The same each time.
fn short_run(underlay: Underlay) {
    let progress = Progress::default();
    run(underlay, SHORT_RUN_SEED, &Length::Frames(SHORT_RUN_FRAMES), &progress);
    assert_all_seen(underlay, &progress);
}

/// As long as `make fuzz` says; a moment otherwise.
#[test]
fn a_long_run_ends_when_its_time_is_over() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
    let seed = setting("PRIVNET_FUZZ_SEED").unwrap_or(since_1970.as_secs());
    long_run(seed, Duration::from_secs(60 * setting("PRIVNET_FUZZ_MINUTES").unwrap_or(0)));
}

/// Each case of a mistake that was found, so that it does not come back.
#[test]
fn what_was_found_stays_mended() {
    let paths = fs::read_dir(cases()).expect("a folder").map(|entry| entry.expect("readable").path());
    let cases = paths.map(|path| read_case(&fs::read_to_string(path).expect("readable")));
    let (ipv4, ipv6): (Vec<_>, _) = cases.partition(|(world, _)| world.underlay == Underlay::Ipv4);
    for (underlay, cases) in [(Underlay::Ipv4, ipv4), (Underlay::Ipv6, ipv6)] {
        let namespace = Namespace::new();
        namespace.within(|| {
            let mut rig = Rig::new(&namespace, underlay);
            for (world, inputs) in cases {
                inputs.iter().for_each(|input| assert_eq!(alone(&mut rig, &world, input), None, "{world}{input}"));
            }
        });
    }
}

#[test]
fn a_case_is_read_as_it_was_written() {
    let mut dice = Dice::new(7);
    let generator = Generator::new();
    let mut world = World::settled(Underlay::Ipv4, &mut dice);
    for number in 0..500 {
        if number == 250 {
            world = World::settled(Underlay::Ipv6, &mut dice);
        }
        world = world.next(&mut dice);
        let input = generator.next(&mut dice, &world);
        assert_eq!(read_case(&format!("# comment\n{world}{input}\n")), (world.clone(), vec![input]));
    }
}

/// Every reason for a drop and every way to go, so that nobody trusts a run that has seen half of it.
fn assert_all_seen(underlay: Underlay, progress: &Progress) {
    let outcomes = progress.outcomes.lock().expect("not poisoned");
    let reasons: HashSet<_> = outcomes.keys().map(|(_, outcome)| *outcome).collect();
    let drops = DROP_REASONS.into_iter().map(Outcome::Dropped).filter(|outcome| !reasons.contains(outcome));
    let ways = [
        Outcome::ToAgent,
        Outcome::ArpAnswered,
        Outcome::TooBigAnswered,
        Outcome::ToVeth,
        Outcome::ToTap,
        Outcome::ToVtep,
    ];
    let to_all = [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)];
    let to_all = to_all.map(|(ports, vteps)| Outcome::ToAll(ports, vteps));
    let from_overlay = [Outcome::ToVeth, Outcome::ToTap, Outcome::ToAll(1, false), Outcome::ToAll(2, false)];
    let fast = [
        ("port", Outcome::ToVtepDirectly),
        ("underlay", Outcome::ToVeth),
        ("underlay", Outcome::ToTap),
        ("underlay", Outcome::Dropped("unknown-vtep")),
        ("underlay", Outcome::Dropped("unknown-vni")),
        ("underlay", Outcome::Dropped("unknown-unicast")),
        ("underlay", Outcome::Dropped("target-closed")),
        ("underlay", Outcome::Dropped("rogue-dhcp")),
    ];
    let from_port = ways.into_iter().chain(to_all).map(|outcome| ("port", outcome));
    let refused = ["rogue-dhcp", "spoofed-arp", "tagged", "too-short"].map(Outcome::Dropped);
    let from_overlay = from_overlay.into_iter().chain(refused).map(|outcome| ("overlay", outcome));
    let all = from_port.chain(from_overlay).chain([("underlay", Outcome::Left)]);
    let all = all.chain(fast.into_iter().filter(|_| underlay == Underlay::Ipv4));
    let missing: Vec<_> = all.filter(|end| !outcomes.contains_key(end)).collect();
    assert_eq!((missing, drops.collect::<Vec<_>>()), (vec![], vec![]), "no frame has ended so");
}

fn long_run(seed: u64, time: Duration) {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    extern "C" fn interrupt(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only writes an atomic.
    unsafe { signal(Signal::SIGINT, SigHandler::Handler(interrupt)) }.expect("set");
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    eprintln!("fuzzing for {} minutes with {workers} workers from seed {seed} on", time.as_secs() / 60);
    let (start, progress) = (Instant::now(), Progress::default());
    let length = Length::Until(start + time);
    std::thread::scope(|scope| {
        let (length, progress) = (&length, &progress);
        let worker = |seed: u64| {
            let underlay = if seed.is_multiple_of(2) { Underlay::Ipv4 } else { Underlay::Ipv6 };
            scope.spawn(move || run(underlay, seed, length, progress))
        };
        let workers: Vec<_> = (seed..seed + workers).map(worker).collect();
        let (mut told, mut frames_told) = (start, 0);
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(100));
            if INTERRUPTED.load(Ordering::Relaxed) {
                progress.stop.store(true, Ordering::Relaxed);
            }
            if told.elapsed() >= PROGRESS_PAUSE {
                let frames = progress.frames.load(Ordering::Relaxed);
                let rate = (frames - frames_told) as f64 / told.elapsed().as_secs_f64();
                let outcomes = progress.outcomes.lock().expect("not poisoned").len();
                eprintln!("{frames} frames, {rate:.0}/s, {outcomes} outcomes");
                (told, frames_told) = (Instant::now(), frames);
            }
        }
    });
    let (frames, seconds) = (progress.frames.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    eprintln!("{frames} frames in {seconds:.0} s ({:.0}/s) ended as the model says:", frames as f64 / seconds);
    for ((door, outcome), frames) in progress.outcomes.lock().expect("not poisoned").iter() {
        eprintln!("{frames:>12} from the {door}: {outcome:?}");
    }
}

/// Lets frames come in, and panics with a case if one does not end as it shall.
fn run(underlay: Underlay, seed: u64, length: &Length, progress: &Progress) {
    let namespace = Namespace::new();
    let failure = namespace.within(|| {
        let mut dice = Dice::new(seed);
        let world = World::settled(underlay, &mut dice);
        let (rig, generator) = (Rig::new(&namespace, underlay), Generator::new());
        let mut fuzzer = Fuzzer { rig, generator, dice, world, known: HashSet::new() };
        let mut frames = 0;
        let goes_on = |frames| match length {
            Length::Frames(all) => frames < *all,
            Length::Until(end) => Instant::now() < *end,
        };
        while goes_on(frames) && !progress.stop.load(Ordering::Relaxed) {
            if let Err(failure) = fuzzer.batch(progress) {
                progress.stop.store(true, Ordering::Relaxed);
                return Some(fuzzer.shrink(*failure));
            }
            frames += BATCH_FRAMES;
        }
        None
    });
    if let Some(Failure { world, input, why }) = failure {
        let case = format!("# Seed {seed}: {}\n{world}{input}\n", why.replace('\n', "\n# "));
        let mut hasher = DefaultHasher::new();
        case.hash(&mut hasher);
        let path = cases().join(format!("found-{:016x}.case", hasher.finish()));
        let written = match fs::write(&path, &case) {
            Ok(()) => format!("written as {}; commit it with what mends it", path.display()),
            Err(error) => format!("not written as {}: {error}", path.display()),
        };
        panic!("{why}\n\n{case}\n{written}");
    }
}

impl Fuzzer {
    fn batch(&mut self, progress: &Progress) -> Result<(), Box<Failure>> {
        self.world = self.world.next(&mut self.dice);
        self.rig.set(&self.world);
        let before = self.rig.counters();
        let mut expected = [Counters::default(); ROWS];
        let mut outcomes = BTreeMap::new();
        let mut inputs = Vec::new();
        for _ in 0..BATCH_FRAMES {
            let input = self.generator.next(&mut self.dice, &self.world);
            let judged = model::judge(&self.world, &input);
            let seen = self.rig.run(&input);
            if let Some(why) = disagreement(&self.world, &input, &judged, &seen) {
                return Err(Box::new(Failure { world: self.world.clone(), input, why }));
            }
            add(&mut expected, &judged, &input);
            *outcomes.entry((door(&input), judged.outcome)).or_default() += 1;
            if self.known.insert(likeness(&input, &judged)) {
                self.generator.keep(&input);
            }
            inputs.push(input);
        }
        if difference(&self.rig.counters(), &before) != expected {
            return Err(Box::new(self.miscounted(inputs)));
        }
        progress.frames.fetch_add(BATCH_FRAMES, Ordering::Relaxed);
        let mut all = progress.outcomes.lock().expect("not poisoned");
        outcomes.into_iter().for_each(|(outcome, frames): (_, u64)| *all.entry(outcome).or_default() += frames);
        Ok(())
    }

    /// Which one of these it is that is not counted as it shall be.
    fn miscounted(&mut self, inputs: Vec<Input>) -> Failure {
        let world = self.world.clone();
        let found = inputs.into_iter().find_map(|input| {
            let why = alone(&mut self.rig, &world, &input)?;
            Some(Failure { world: world.clone(), input, why })
        });
        found.expect("each frame is counted right alone, but not all of them together")
    }

    /// Takes away what the failure does not need, of the frame and then of the world.
    fn shrink(&mut self, mut failure: Failure) -> Failure {
        let mut tries = 0..SHRINKS_MAX;
        while let Some(smaller) = smaller(&failure).zip(&mut tries).find_map(|((world, input), _)| {
            let why = alone(&mut self.rig, &world, &input)?;
            (why.lines().next() == failure.why.lines().next()).then_some(Failure { world, input, why })
        }) {
            failure = smaller;
        }
        failure
    }
}

/// What is wrong with the end of a frame that comes in alone.
fn alone(rig: &mut Rig, world: &World, input: &Input) -> Option<String> {
    rig.set(world);
    let before = rig.counters();
    let judged = model::judge(world, input);
    let seen = rig.run(input);
    let counted = difference(&rig.counters(), &before);
    let mut expected = [Counters::default(); ROWS];
    add(&mut expected, &judged, input);
    disagreement(world, input, &judged, &seen).or_else(|| {
        let miscounted = invariants::miscounted(input, &seen, &counted);
        let why = miscounted.or((counted != expected).then_some("not counted as the model says"))?;
        Some(format!("{why}\nseen: {}; {}\nexpected: {judged:?}", told(&seen), told_counters(&counted)))
    })
}

fn disagreement(world: &World, input: &Input, judged: &Expected, seen: &Seen) -> Option<String> {
    if let Some(broken) = invariants::broken(world, input, seen) {
        return Some(format!("{broken}\nseen: {}", told(seen)));
    }
    let unicast = |way: &model::Way| !matches!(way, model::Way::CopyByPort(_) | model::Way::CopyToVtep { .. });
    let is_request = judged.outcome == Outcome::ToAgent;
    let verdict = match judged.outcome {
        Outcome::Left => UNSPEC,
        _ if judged.ways.iter().any(unicast) => REDIRECT,
        _ => SHOT,
    };
    // Outer addresses are written when the next hop is known.
    let from = if judged.outcome == Outcome::ToVtepDirectly { HEADER_OCTETS } else { 0 };
    let frame = judged.frame.as_ref().unwrap_or(&input.frame);
    let is_dropped = matches!(judged.outcome, Outcome::Dropped(_));
    let same = seen.verdict == verdict
        && seen.ways.iter().map(Result::as_ref).eq(judged.ways.iter().map(Ok))
        && seen.altered.is_empty()
        && (is_dropped || seen.frame.get(from..) == frame.get(from..))
        && seen.requests.len() == usize::from(is_request);
    (!same).then(|| format!("not as the model says\nseen: {}\nexpected: {judged:?}", told(seen)))
}

fn door(input: &Input) -> &'static str {
    match input.door {
        Door::Port(_) => "port",
        Door::Overlay(_) => "overlay",
        Door::Underlay => "underlay",
    }
}

fn told(seen: &Seen) -> String {
    let Seen { verdict, frame, ways, altered, requests } = seen;
    format!(
        "verdict {verdict}, ways {ways:?}, altered {altered:?}, requests {requests:?}, frame {}",
        input::to_hex(frame)
    )
}

/// What has been counted of anything, by the row's number.
fn told_counters(rows: &[Counters; ROWS]) -> String {
    let rows = rows.iter().enumerate().filter(|(_, row)| **row != Counters::default());
    rows.map(|(number, row)| format!("row {number} {row:?}")).collect::<Vec<_>>().join(", ")
}

/// Adds what the frame is to be counted as: without outer headers, whichever way it goes.
fn add(rows: &mut [Counters; ROWS], judged: &Expected, input: &Input) {
    for (row, count) in &judged.counted {
        let row = match row {
            Row::Overlay => &mut rows[0],
            Row::Port(port) => &mut rows[1 + usize::from(*port)],
        };
        match count {
            Count::Sent => {
                row.sent_frames += 1;
                row.sent_octets += input.frame.len() as u64;
            }
            Count::Received => {
                row.received_frames += 1;
                row.received_octets += judged.frame.as_ref().unwrap_or(&input.frame).len() as u64;
            }
            Count::DhcpRequest => row.dhcp_requests += 1,
            Count::ArpReply => row.arp_replies += 1,
            Count::IcmpReply => row.icmp_replies += 1,
            Count::Drop(reason) => {
                row.drops[DROP_REASONS.iter().position(|name| name == reason).expect("a reason that there is")] += 1;
            }
        }
    }
}

fn difference(after: &[Counters; ROWS], before: &[Counters; ROWS]) -> [Counters; ROWS] {
    std::array::from_fn(|row| combine(after[row], before[row], |after, before| after - before))
}

/// The same number for frames that are about the same to the rules.
fn likeness(input: &Input, judged: &Expected) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Input { tag, segments, frame, .. } = input;
    (door(input), judged.outcome).hash(&mut hasher);
    (tag.is_some(), segments.is_some(), &frame[12..14], frame.get(23), frame.len().ilog2()).hash(&mut hasher);
    hasher.finish()
}

/// The same with less in it, by one step.
fn smaller(failure: &Failure) -> impl Iterator<Item = (World, Input)> + use<> {
    let (world, input) = (failure.world.clone(), failure.input.clone());
    let octets = input.frame.len();
    let with = |frame| Input { frame, ..input.clone() };
    let lengths = [HEADER_OCTETS, octets / 2, octets * 7 / 8, octets - 1];
    let lengths = lengths.into_iter().filter(|length| (HEADER_OCTETS..octets).contains(length));
    let mut inputs: Vec<_> = lengths.map(|length| with(input.frame[..length].to_vec())).collect();
    inputs.extend(input.tag.map(|_| Input { tag: None, ..input.clone() }));
    inputs.extend(input.segments.map(|_| Input { segments: None, ..input.clone() }));
    inputs.extend((0..octets).filter(|at| input.frame[*at] != 0).map(|at| {
        let mut frame = input.frame.clone();
        frame[at] = 0;
        with(frame)
    }));
    let lines: Vec<_> = world.to_string().lines().map(str::to_owned).collect();
    let without = move |line| {
        let mut world = World::default();
        lines.iter().enumerate().filter(|(at, _)| *at != line).for_each(|(_, line)| assert!(world.read(line)));
        world
    };
    let worlds = (0..world.to_string().lines().count()).map(without);
    inputs.into_iter().map(move |input| (world.clone(), input)).chain(worlds.map(move |world| (world, input.clone())))
}

/// Where what was found is kept.
fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/fuzz/cases")
}

/// Reads a world and the frames that come into it.
fn read_case(text: &str) -> (World, Vec<Input>) {
    let mut world = World::default();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let frames: Vec<_> = lines.filter(|line| !world.read(line)).collect();
    let inputs: Vec<_> = frames.into_iter().map(Input::read).collect();
    assert!(
        inputs.iter().all(|input| (HEADER_OCTETS..=FRAME_OCTETS_MAX).contains(&input.frame.len())),
        "a frame's length"
    );
    (world, inputs)
}
