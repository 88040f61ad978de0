use std::future::{pending, ready};
use std::pin::Pin;

use futures::{FutureExt, Stream, StreamExt};
use privnet_datapath::{DumpError, Kernel};
use privnet_sync::FromAgent;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::agent::Agent;
use crate::client::Event;
use crate::copies::Saved;
use crate::declines::DeclineReport;

/// How many other steps a part of the reading waits for at most, so that constant work costs repairs a moment and
/// does not put them off for ever.
const STEPS_BEFORE_READING_MAX: u32 = 16;

/// Where the agent's work comes from.
pub(crate) struct Sources<L> {
    pub(crate) server: mpsc::Receiver<Event>,
    pub(crate) saved: mpsc::UnboundedReceiver<Saved>,
    pub(crate) link_events: L,
    pub(crate) declines: mpsc::Receiver<DeclineReport>,
}

/// One reason to do something.
enum Wake {
    Server(Event),
    Saved(Saved),
    LinkEvent,
    Declined(DeclineReport),
    Verify,
    Retry,
    Pass,
    Tell(mpsc::OwnedPermit<FromAgent>),
    ServerIsDeaf,
    Shutdown,
}

/// Does what there is to do until `shutdown`. Each step is short, so that a change never waits for
/// more than what was begun before it, and one part of the reading.
///
/// # Errors
/// When the kernel cannot be read at the start.
pub(crate) async fn follow<K, L>(
    mut agent: Agent<K>,
    mut sources: Sources<L>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), DumpError>
where
    K: Kernel,
    L: Stream<Item = ()> + Unpin,
{
    tokio::pin!(shutdown);
    while !agent.verify().await? {}
    let mut steps_before_reading = 0u32;
    loop {
        let is_turn_of_reading = steps_before_reading >= STEPS_BEFORE_READING_MAX;
        let wake = if is_turn_of_reading && agent.is_to_verify(Instant::now()) {
            Wake::Verify
        } else {
            next(&agent, &mut sources, shutdown.as_mut()).await
        };
        steps_before_reading = if matches!(wake, Wake::Verify) { 0 } else { steps_before_reading.saturating_add(1) };
        match wake {
            Wake::Server(event) => agent.on_event(event).await,
            Wake::Saved(saved) => agent.on_saved(saved),
            Wake::LinkEvent => agent.on_link_event(),
            Wake::Declined(report) => agent.on_declined(report),
            Wake::Verify => match agent.verify().await {
                // Lets the connection bring what has come meanwhile.
                Ok(false) => yield_now().await,
                Ok(true) => {}
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot read what the kernel has; trying again");
                }
            },
            Wake::Retry => agent.queue_retries(Instant::now()),
            Wake::Pass => {
                agent.pass().await;
                // What the pass did itself is told, too, and calls for no look at everything. Somebody else's change
                // of the same moment is seen at the next regular one.
                let _ = sources.link_events.next().now_or_never();
            }
            Wake::Tell(permit) => {
                if let Some(message) = agent.tell() {
                    permit.send(message);
                }
            }
            Wake::ServerIsDeaf => agent.on_event(Event::Lost).await,
            Wake::Shutdown => break,
        }
    }
    info!("stopping; what is plugged in goes on without this agent");
    Ok(())
}

/// Waits for something to do. What the kernel has is read when there is nothing else.
async fn next<K, L>(agent: &Agent<K>, sources: &mut Sources<L>, shutdown: Pin<&mut impl Future<Output = ()>>) -> Wake
where
    K: Kernel,
    L: Stream<Item = ()> + Unpin,
{
    let change = async {
        tokio::select! {
            () = shutdown => Wake::Shutdown,
            Some(event) = sources.server.recv() => Wake::Server(event),
            Some(saved) = sources.saved.recv() => Wake::Saved(saved),
            Some(()) = sources.link_events.next() => Wake::LinkEvent,
            Some(report) = sources.declines.recv() => Wake::Declined(report),
            () = due(agent.next_retry()) => Wake::Retry,
            () = ready(()), if agent.has_passes() => Wake::Pass,
            wake = room(agent.outbox()) => wake,
        }
    };
    tokio::select! {
        biased;
        wake = change => wake,
        () = ready(()), if agent.is_verifying() => Wake::Verify,
        () = sleep_until(agent.next_verification()) => Wake::Verify,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Waits until the server's queue has room.
async fn room(outbox: Option<mpsc::Sender<FromAgent>>) -> Wake {
    match outbox {
        Some(outbox) => outbox.reserve_owned().await.map_or(Wake::ServerIsDeaf, Wake::Tell),
        None => pending().await,
    }
}
