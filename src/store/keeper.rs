//! The thread behind the store: one step for what is waiting, one for a look around, and the loop around both.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};

use super::journal::Journal;
use super::known::Known;
use super::{OpenError, Place, Revocation, RevokeError};

/// How often the journal is looked at for what another process has written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often what has ended by itself is forgotten. It takes a walk over all entries, and nothing but memory waits for
/// it.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Revocations that share one sync: a disk's slowest millisecond is then paid by many.
const BATCH: usize = 256;

/// A revocation on its way to the disk.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) revocation: Revocation,
    pub(super) done: oneshot::Sender<Result<(), RevokeError>>,
}

/// The only one who changes what is known.
#[derive(Debug)]
pub(super) struct Keeper {
    known: Arc<ArcSwap<Known>>,
    journal: Option<Journal>,
    clock: Arc<dyn Clock>,
    forgot: Timestamp,
    /// Whether the last look failed, so that this is said once.
    blind: bool,
}

impl Keeper {
    pub(super) fn open(place: &Place, known: Arc<ArcSwap<Known>>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let mut keeper = Self { known, journal: None, forgot: clock.now(), clock, blind: false };
        if let Place::Folder(folder) = place {
            let unusable = |source| OpenError::Unusable { path: folder.clone(), source };
            let (journal, found) = Journal::open(folder).map_err(unusable)?;
            keeper.journal = Some(journal);
            keeper.learn(&found);
            keeper.forget();
        }
        Ok(keeper)
    }

    /// Runs until nobody can revoke any more.
    pub(super) fn run(mut self, queue: &Receiver<Order>) {
        let mut looked = Instant::now();
        loop {
            match queue.recv_timeout(LOOK_EVERY.saturating_sub(looked.elapsed())) {
                Ok(first) => {
                    let orders: Vec<Order> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
                    self.carry_out(orders);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Also while orders keep coming: a busy site must not keep from being forgotten what has ended.
            if looked.elapsed() >= LOOK_EVERY {
                self.look();
                looked = Instant::now();
            }
        }
    }

    /// One step: on disk, then in force, then said.
    pub(super) fn carry_out(&mut self, orders: Vec<Order>) {
        let news: Vec<Revocation> = orders.iter().map(|order| order.revocation.clone()).collect();
        let outcome = self.write(&news);
        if outcome.is_ok() {
            self.learn(&news);
        }
        for order in orders {
            // Whoever has gone away meanwhile has revoked all the same.
            let _ = order.done.send(outcome.clone());
        }
    }

    /// The other step: what others have written, what has ended, and whether the journal is worth writing anew.
    pub(super) fn look(&mut self) {
        if let Some(found) = self.journal.as_mut().map(Journal::follow) {
            match found {
                Ok(found) => {
                    self.blind = false;
                    self.learn(&found);
                }
                Err(error) => self.complain(&error),
            }
        }
        if self.clock.now().since(self.forgot) >= FORGET_EVERY {
            self.forget();
        }
    }

    fn write(&mut self, news: &[Revocation]) -> Result<(), RevokeError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.append(news, || self.known.load().all()) {
            Ok(others) => {
                self.learn(&others);
                Ok(())
            }
            Err(error) => {
                let path: PathBuf = journal.path().to_owned();
                tracing::error!(path = %path.display(), %error, "a revocation cannot be written, and is not in force");
                Err(RevokeError::Unwritten { path, source: Arc::new(error) })
            }
        }
    }

    fn learn(&self, news: &[Revocation]) {
        if !news.is_empty() {
            self.known.store(Arc::new(self.known.load().with(news)));
        }
    }

    fn forget(&mut self) {
        let now = self.clock.now();
        self.forgot = now;
        if let Some(rest) = self.known.load().without_ended(now) {
            self.known.store(Arc::new(rest));
        }
        let known = self.known.load_full();
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_bloated(known.len())) else { return };
        let mut all = Arc::clone(&known);
        let compacted = journal.compact(|others| {
            all = Arc::new(known.with(others));
            all.all()
        });
        match compacted {
            Ok(()) => self.known.store(all),
            Err(error) => tracing::warn!(%error, "the journal of revocations cannot be written anew, and grows"),
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.blind, true) {
            tracing::error!(%error, "the journal of revocations cannot be read: what is known stays in force");
        }
    }
}
