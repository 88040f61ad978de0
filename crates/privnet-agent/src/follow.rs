use std::future::{pending, ready};

use futures::{Stream, StreamExt};
use privnet_datapath::{DumpError, Kernel};
use privnet_sync::FromAgent;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::agent::Agent;
use crate::client::Event;
use crate::copies::Saved;

/// Where the agent's work comes from.
pub(crate) struct Sources<L> {
    pub(crate) server: mpsc::Receiver<Event>,
    pub(crate) saved: mpsc::UnboundedReceiver<Saved>,
    pub(crate) link_events: L,
}

/// One reason to do something.
enum Wake {
    Server(Event),
    Saved(Saved),
    LinkEvent,
    Verify,
    Retry,
    Pass,
    Tell(mpsc::OwnedPermit<FromAgent>),
    ServerIsDeaf,
    Shutdown,
}

/// Does what there is to do until `shutdown`. Each step is short, so that a change never waits for
/// more than what was begun before it.
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
    loop {
        let change = async {
            tokio::select! {
                () = &mut shutdown => Wake::Shutdown,
                Some(event) = sources.server.recv() => Wake::Server(event),
                Some(saved) = sources.saved.recv() => Wake::Saved(saved),
                Some(()) = sources.link_events.next() => Wake::LinkEvent,
                () = due(agent.next_retry()) => Wake::Retry,
                () = ready(()), if agent.has_passes() => Wake::Pass,
                wake = room(agent.outbox()) => wake,
            }
        };
        // What the kernel has is read when there is nothing else to do.
        let wake = tokio::select! {
            biased;
            wake = change => wake,
            () = ready(()), if agent.is_verifying() => Wake::Verify,
            () = sleep_until(agent.next_verification()) => Wake::Verify,
        };
        match wake {
            Wake::Server(event) => agent.on_event(event).await,
            Wake::Saved(saved) => agent.on_saved(saved),
            Wake::LinkEvent => agent.on_link_event(),
            Wake::Verify => match agent.verify().await {
                // Lets the connection bring what has come meanwhile.
                Ok(false) => yield_now().await,
                Ok(true) => {}
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot read what the kernel has; trying again");
                }
            },
            Wake::Retry => agent.queue_retries(Instant::now()),
            Wake::Pass => agent.pass().await,
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
