use std::io;

use privnet_datapath::{ApplyError, Simulated};
use privnet_model::{Netns, Reason};
use tempfile::TempDir;

use super::*;

const NONE: fn(InstanceId) -> bool = |_| false;

/// Instances of an agent on a simulated host, whose own copy is in a folder of its own.
struct Agent {
    instances: Instances,
    kernel: Simulated,
    copies: Copies,
    _dir: TempDir,
}

impl Agent {
    /// One that knows all that it shall have, which is nothing yet.
    fn new() -> Self {
        Self { instances: Instances { knows_all: true, ..Instances::restored(vec![]) }, ..Self::restored(vec![]) }
    }

    /// One that has just started, with these in its own copy.
    fn restored(states: Vec<InstanceState>) -> Self {
        let dir = TempDir::new().expect("a folder");
        let (copies, ..) = Copies::open(dir.path()).expect("its own");
        Self { instances: Instances::restored(states), kernel: Simulated::new(), copies, _dir: dir }
    }

    async fn bring_about(&mut self) -> bool {
        self.instances.bring_about(&mut self.kernel, NONE).await
    }

    /// Compares with the kernel, as the agent does again and again.
    async fn compare(&mut self) {
        let found = self.kernel.instances().await.expect("read");
        self.instances.compare(found);
    }

    /// Has the own copy written, which then survives this.
    fn save(&mut self, survives: Survives) {
        self.instances.save(&mut self.copies);
        if let CopyState::Writing(change) | CopyState::Written(change) = self.instances.copy {
            self.instances.saved(change, Ok(survives));
        }
    }

    /// All that there is to tell, with a copy that survives.
    fn news(&mut self) -> Vec<FromAgent> {
        self.save(Survives::Kill);
        std::iter::from_fn(|| self.instances.tell()).collect()
    }

    fn has(&self, states: &[&InstanceState]) {
        assert_eq!(self.kernel.held_instances().iter().collect::<Vec<_>>(), states);
    }
}

fn state(number: u8) -> InstanceState {
    in_netns(number, &format!("guest-{number}"))
}

fn in_netns(number: u8, netns: &str) -> InstanceState {
    InstanceState { id: id(number), netns: Netns::try_from(netns).expect("valid") }
}

fn id(number: u8) -> InstanceId {
    InstanceId::from_bytes([number; 16])
}

fn made(number: u8, serial: u64) -> FromAgent {
    FromAgent::InstanceMade { instance: id(number), serial }
}

fn removed(number: u8, serial: u64) -> FromAgent {
    FromAgent::InstanceRemoved { instance: id(number), serial }
}

fn failed(number: u8, serial: u64) -> FromAgent {
    let error = ApplyError::NetnsTaken(state(number).netns);
    let failure = InstanceFailure { reason: Reason::Fault, message: with_causes(&error) };
    FromAgent::InstanceFailed { instance: id(number), serial, failure }
}

#[tokio::test]
async fn what_is_wanted_is_made_and_told_once() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    assert!(agent.bring_about().await);
    agent.has(&[&state(1)]);
    assert_eq!(agent.news(), [made(1, 5)]);
    assert!(!agent.bring_about().await, "made again");
    assert_eq!(agent.news(), []);
}

#[tokio::test]
async fn nothing_is_told_before_the_own_copy_would_survive_the_agent() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    assert_eq!(agent.instances.tell(), None, "not written");
    agent.instances.save(&mut agent.copies);
    assert_eq!(agent.instances.tell(), None, "being written");
    assert_eq!(agent.news(), [made(1, 5)]);
}

#[tokio::test]
async fn a_disk_that_fails_is_not_waited_for_and_is_tried_again() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    agent.instances.save(&mut agent.copies);
    let CopyState::Writing(change) = agent.instances.copy else { panic!("{:?}", agent.instances.copy) };
    agent.instances.saved(change, Err(io::ErrorKind::StorageFull.into()));
    assert_eq!(agent.instances.tell(), Some(made(1, 5)));
    agent.instances.save(&mut agent.copies);
    agent.instances.saved(change, Ok(Survives::PowerCut));
    assert!(!agent.instances.is_copy_durable(), "of the write before");
    agent.save(Survives::PowerCut);
    assert!(agent.instances.is_copy_durable());
}

#[tokio::test]
async fn what_cannot_be_made_is_told_once_and_tried_again() {
    let mut agent = Agent::new();
    agent.kernel.refuse("make instance");
    agent.instances.want(state(1), 5);
    assert!(!agent.bring_about().await);
    assert_eq!(agent.news(), [failed(1, 5)]);
    agent.bring_about().await;
    assert_eq!(agent.news(), [], "the same again");
    agent.kernel.heal_all();
    assert!(agent.bring_about().await);
    assert_eq!(agent.news(), [made(1, 5)]);
}

#[tokio::test]
async fn one_that_cannot_be_made_holds_up_no_other() {
    let mut agent = Agent::new();
    agent.kernel.refuse(&format!("make instance {}", id(1)));
    agent.instances.want(state(1), 5);
    agent.instances.want(state(2), 6);
    assert!(agent.bring_about().await);
    agent.has(&[&state(2)]);
    assert_eq!(agent.news(), [failed(1, 5), made(2, 6)]);
}

#[tokio::test]
async fn what_is_wanted_again_is_told_again_and_not_made_again() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    agent.news();
    agent.instances.want(state(1), 7);
    assert!(!agent.bring_about().await);
    assert_eq!(agent.news(), [made(1, 7)]);
}

#[tokio::test]
async fn what_is_wanted_in_another_way_replaces_what_was() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    agent.news();
    let other = in_netns(1, "other");
    agent.instances.want(other.clone(), 6);
    // What was there has ports, and stays until they are gone.
    assert!(agent.instances.bring_about(&mut agent.kernel, |_| true).await);
    agent.has(&[&state(1), &other]);
    agent.bring_about().await;
    agent.has(&[&other]);
    assert_eq!(agent.news(), [made(1, 6)]);
}

#[tokio::test]
async fn what_is_not_wanted_is_removed_when_its_ports_are_gone() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.instances.want(state(2), 6);
    agent.bring_about().await;
    agent.news();
    agent.instances.unwant(id(1), 7);
    agent.instances.bring_about(&mut agent.kernel, |instance| instance == id(1)).await;
    agent.has(&[&state(1), &state(2)]);
    assert!(agent.instances.has_removals());
    assert_eq!(agent.news(), []);
    agent.bring_about().await;
    agent.has(&[&state(2)]);
    assert!(!agent.instances.has_removals());
    assert_eq!(agent.news(), [removed(1, 7)]);
    assert_eq!(agent.news(), [], "once");
}

#[tokio::test]
async fn what_cannot_be_removed_is_tried_again_and_told_when_it_is_gone() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    agent.news();
    agent.kernel.refuse("remove instance");
    agent.instances.unwant(id(1), 6);
    agent.bring_about().await;
    assert!(agent.instances.has_removals());
    assert_eq!(agent.news(), []);
    // Asked for again, it is still known what was made.
    agent.instances.unwant(id(1), 7);
    agent.kernel.heal_all();
    agent.bring_about().await;
    agent.has(&[]);
    assert_eq!(agent.news(), [removed(1, 7)]);
}

#[tokio::test]
async fn that_nothing_is_left_of_what_was_never_there_is_confirmed() {
    let mut agent = Agent::new();
    agent.instances.unwant(id(1), 5);
    agent.bring_about().await;
    assert_eq!(agent.news(), [removed(1, 5)]);
}

#[tokio::test]
async fn what_an_earlier_agent_has_made_is_removed_before_that_is_confirmed() {
    let mut agent = Agent::new();
    agent.kernel.make_instance(&state(1)).await.expect("made");
    agent.compare().await;
    agent.kernel.refuse("remove instance");
    agent.instances.unwant(id(1), 5);
    agent.bring_about().await;
    assert_eq!(agent.news(), []);
    agent.kernel.heal_all();
    agent.bring_about().await;
    agent.has(&[]);
    assert_eq!(agent.news(), [removed(1, 5)]);
}

#[tokio::test]
async fn what_nobody_has_told_of_stays_until_the_server_has_told_of_all_and_its_ports_are_gone() {
    let mut agent = Agent::restored(vec![]);
    agent.kernel.make_instance(&state(1)).await.expect("made");
    agent.compare().await;
    agent.bring_about().await;
    agent.has(&[&state(1)]);
    agent.instances.know_all();
    agent.instances.bring_about(&mut agent.kernel, |_| true).await;
    agent.has(&[&state(1)]);
    agent.bring_about().await;
    agent.has(&[]);
    assert_eq!(agent.news(), [], "nobody has asked for it");
}

#[tokio::test]
async fn what_somebody_else_has_removed_is_made_again() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    agent.news();
    agent.compare().await;
    assert!(!agent.bring_about().await, "it is there");
    agent.kernel.reboot();
    agent.compare().await;
    assert!(agent.bring_about().await);
    agent.has(&[&state(1)]);
    assert_eq!(agent.news(), [], "the server knows that it is made");
}

#[tokio::test]
async fn a_failure_is_not_told_again_because_the_kernel_was_read() {
    let mut agent = Agent::new();
    agent.kernel.refuse("make instance");
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    assert_eq!(agent.news(), [failed(1, 5)]);
    agent.compare().await;
    agent.bring_about().await;
    assert_eq!(agent.news(), []);
}

#[tokio::test]
async fn the_own_copy_is_enough_to_make_what_was_wanted() {
    let mut agent = Agent::restored(vec![state(1), state(2)]);
    assert_eq!(agent.instances.held(), [id(1), id(2)].into());
    assert!(agent.instances.is_copy_durable());
    agent.compare().await;
    assert!(agent.bring_about().await);
    agent.has(&[&state(1), &state(2)]);
    agent.instances.forget_what_was_told();
    assert_eq!(agent.news(), [made(1, 0), made(2, 0)]);
}

#[tokio::test]
async fn a_new_connection_is_told_all_again_and_says_itself_what_it_wants_removed() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.instances.want(state(2), 6);
    agent.bring_about().await;
    agent.news();
    agent.instances.unwant(id(2), 7);
    agent.instances.forget_what_was_told();
    assert_eq!(agent.news(), [made(1, 0)]);
    // Not wanted, but the server has not told of all yet.
    agent.bring_about().await;
    agent.has(&[&state(1), &state(2)]);
    agent.instances.unwant(id(2), 1);
    agent.instances.know_all();
    agent.bring_about().await;
    agent.has(&[&state(1)]);
    assert_eq!(agent.news(), [removed(2, 1)]);
}

#[tokio::test]
async fn what_is_wanted_in_another_way_before_it_was_removed_replaces_what_was() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    agent.news();
    agent.instances.unwant(id(1), 6);
    let other = in_netns(1, "other");
    agent.instances.want(other.clone(), 7);
    agent.bring_about().await;
    agent.has(&[&other]);
    assert_eq!(agent.news(), [made(1, 7)]);
}

#[tokio::test]
async fn what_is_wanted_again_before_it_was_removed_stays() {
    let mut agent = Agent::new();
    agent.instances.want(state(1), 5);
    agent.bring_about().await;
    agent.news();
    agent.instances.unwant(id(1), 6);
    agent.instances.want(state(1), 7);
    assert!(!agent.instances.has_removals());
    agent.bring_about().await;
    agent.has(&[&state(1)]);
    assert_eq!(agent.news(), [made(1, 7)]);
}
