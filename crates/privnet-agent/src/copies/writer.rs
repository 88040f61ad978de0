//! The thread that writes, and what waits for it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::folder::{finish, mark_complete, mark_incomplete, sync_folder, write};
use super::{ChangeNumber, Kept, Saved, Survives};

/// What waits to be written: one change per file.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct Waiting {
    pub(super) changes: BTreeMap<Kept, Change>,
    pub(super) is_complete: bool,
    pub(super) is_closed: bool,
}

pub(super) struct Change {
    pub(super) number: ChangeNumber,
    /// The whole file, or none.
    pub(super) content: Option<Vec<u8>>,
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.changes.is_empty() && !self.is_complete
    }
}

impl Queue {
    pub(super) fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Everything that waits, as soon as there is something; `None` once closed and empty.
    fn take(&self) -> Option<Waiting> {
        let nothing_to_do = |waiting: &mut Waiting| waiting.is_idle() && !waiting.is_closed;
        let mut waiting = self.changed.wait_while(self.lock(), nothing_to_do).unwrap_or_else(PoisonError::into_inner);
        let is_closed = waiting.is_closed;
        let taken = std::mem::replace(&mut *waiting, Waiting { is_closed, ..Waiting::default() });
        if taken.is_idle() { None } else { Some(taken) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) saved: mpsc::UnboundedSender<Saved>,
}

impl Writer {
    pub(super) fn write_until_closed(&self, queue: &Queue) {
        while let Some(waiting) = queue.take() {
            self.carry_out(waiting);
        }
    }

    /// Goes on with what went well, step by step, and tells of each step and each failure.
    fn carry_out(&self, waiting: Waiting) {
        let Waiting { mut changes, is_complete, .. } = waiting;
        let all = changes.len();
        changes.retain(|what, change| {
            let outcome = write(&self.folder, *what, change.content.as_deref());
            self.tell(*what, change, outcome.map(|()| Survives::Kill))
        });
        changes.retain(|what, change| match finish(&self.folder, *what, change.content.is_some()) {
            Ok(()) => true,
            Err(error) => self.tell(*what, change, Err(error)),
        });
        let synced = sync_folder(&self.folder);
        for (what, change) in &changes {
            let outcome = synced.as_ref().map_err(copy_of).map(|()| Survives::PowerCut);
            self.tell(*what, change, outcome);
        }
        if is_complete && synced.is_ok() && changes.len() == all {
            mark_complete(&self.folder);
        }
    }

    /// Tells the agent, which does not listen any more when it is stopping. Returns whether it is good news.
    fn tell(&self, what: Kept, change: &Change, outcome: io::Result<Survives>) -> bool {
        let is_good = outcome.is_ok();
        if !is_good {
            // Before the agent goes on without it: from here on what has no file may be wanted.
            mark_incomplete(&self.folder);
        }
        let _ = self.saved.send(Saved { what, change: change.number, outcome });
        is_good
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
