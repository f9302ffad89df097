//! The thread behind the journal: one step for all that is waiting, and the loop around it.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Notify, mpsc, oneshot};

use super::journal::{Journal, Settled, Waiting};
use super::message::Message;
use super::{Health, JournalError};

/// Orders that share one sync: a disk's slowest millisecond is then paid by many.
const BATCH: usize = 256;

/// Dead letters that are kept: some 200 MiB. By then nobody has looked at them for a long time.
const MOST_DEAD: u64 = 400_000;

/// What is asked of the thread.
#[derive(Debug)]
pub(super) enum Order {
    /// A message, and who waits for it to be on disk.
    Record(Message, oneshot::Sender<Result<(), String>>),
    /// A message waits no more. When that cannot be written, it is tried again later.
    Settle(Settled),
    /// Some of what waits behind a number.
    Load { behind: u64, limit: usize, done: oneshot::Sender<Vec<Waiting>> },
    /// Says when all before it is done.
    Flush(oneshot::Sender<()>),
    /// Time to look around.
    Look,
}

/// The only one in this process who uses the journal.
#[derive(Debug)]
pub(super) struct Keeper {
    journal: Journal,
    news: Arc<Notify>,
    health: Arc<Health>,
    /// What could not be written yet.
    settled: Vec<Settled>,
    /// Whether this process has written since the last look.
    has_written: bool,
    others_wrote: Option<i64>,
}

impl Keeper {
    /// `news` is told whenever there is something more to deliver.
    pub(super) fn new(journal: Journal, news: Arc<Notify>, health: Arc<Health>) -> Self {
        let mut this = Self { journal, news, health, settled: Vec::new(), has_written: true, others_wrote: None };
        this.look();
        this
    }

    /// Runs until nobody can ask for anything any more.
    pub(super) fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(first) = orders.blocking_recv() {
            let mut batch = vec![first];
            while let Some(order) = (batch.len() < BATCH).then(|| orders.try_recv().ok()).flatten() {
                batch.push(order);
            }
            self.carry_out(batch);
        }
        // Whether it could be written has been said; what could not is delivered once more by the next process.
        let _ = self.write(&[]);
    }

    /// One step: what is new and what is settled goes to the disk together, and then each is told.
    pub(super) fn carry_out(&mut self, orders: Vec<Order>) {
        let (mut news, mut waiting) = (Vec::new(), Vec::new());
        let (mut loads, mut flushes, mut is_time_to_look) = (Vec::new(), Vec::new(), false);
        for order in orders {
            match order {
                // Whoever has gone away meanwhile was not served.
                Order::Record(_, done) if done.is_closed() => {}
                Order::Record(message, done) => {
                    news.push(message);
                    waiting.push(done);
                }
                Order::Settle(settled) => self.settled.push(settled),
                Order::Load { behind, limit, done } => loads.push((behind, limit, done)),
                Order::Flush(done) => flushes.push(done),
                Order::Look => is_time_to_look = true,
            }
        }
        let outcome = self.write(&news.iter().collect::<Vec<_>>());
        for done in waiting {
            // Whoever goes away just now is told of all the same.
            let _ = done.send(outcome.clone());
        }
        if outcome.is_ok() && !news.is_empty() {
            self.news.notify_one();
        }
        for (behind, limit, done) in loads {
            match self.journal.waiting_behind(behind, limit) {
                // Whoever asked may have ended.
                Ok(found) => drop(done.send(found)),
                Err(error) => tracing::error!(%error, "the outbox cannot be read"),
            }
        }
        for done in flushes {
            let _ = done.send(());
        }
        if is_time_to_look {
            self.look();
        }
    }

    fn write(&mut self, news: &[&Message]) -> Result<(), String> {
        if news.is_empty() && self.settled.is_empty() {
            return Ok(());
        }
        let written = self.journal.write(news, &self.settled);
        self.has_written = true;
        match &written {
            Ok(()) => {
                self.settled.clear();
                if self.health.is_unwritable.swap(false, Ordering::Relaxed) {
                    tracing::info!("the outbox can be written again");
                }
            }
            Err(error) => {
                if !self.health.is_unwritable.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the outbox cannot be written");
                }
            }
        }
        written.map_err(|error| error.to_string())
    }

    /// Counts, where there may be something else to count, and tidies up.
    fn look(&mut self) {
        let looked = self.tidy_and_count();
        if let Err(error) = looked {
            tracing::warn!(%error, "the outbox cannot be looked after");
        }
    }

    fn tidy_and_count(&mut self) -> Result<(), JournalError> {
        let others_wrote = Some(self.journal.others_wrote()?);
        let is_news = self.others_wrote != others_wrote;
        self.others_wrote = others_wrote;
        if !take(&mut self.has_written) && !is_news {
            return Ok(());
        }
        if is_news {
            self.news.notify_one();
        }
        let mut counts = self.journal.count()?;
        if counts.dead > MOST_DEAD {
            let dropped = self.journal.forget_oldest_dead(MOST_DEAD)? as u64;
            counts.dead -= dropped;
            self.health.dropped.fetch_add(dropped, Ordering::Relaxed);
            tracing::error!(dropped, "there are too many dead letters: the oldest are lost");
        }
        if counts.waiting == 0 {
            self.journal.shrink()?;
        }
        self.health.waiting.store(counts.waiting, Ordering::Relaxed);
        self.health.oldest.store(counts.oldest.map_or(0, |oldest| oldest.millis()), Ordering::Relaxed);
        self.health.dead.store(counts.dead, Ordering::Relaxed);
        Ok(())
    }
}
