//! Delivering: one step, and the loop around it. What comes next says [`queue`](super::queue).
//!
//! Of all processes with the same journal one delivers: the one that holds the baton, a lock that ends with its process.
//! So what two of them have written goes out in order too.

use std::fs::{File, OpenOptions, TryLockError};
use std::future::pending;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::random::Random;

use super::courier::{Courier, Failure};
use super::journal::{Settled, Waiting};
use super::keeper::Order;
use super::queue::Queue;
use super::{Config, Health};

/// How often it is seen whether the baton is free, what others have written, and what has become too old.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Messages that are read from the journal at a time: some 500 KiB.
const PAGE: usize = 1_000;

/// Who delivers.
#[derive(Debug)]
pub(super) struct Deliveries {
    courier: Arc<Courier>,
    give_up_after: Duration,
    orders: mpsc::Sender<Order>,
    news: Arc<Notify>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    baton: Baton,
    queue: Queue,
    /// The last message that was read from the journal.
    last: u64,
}

/// The right to deliver.
#[derive(Debug)]
struct Baton {
    path: PathBuf,
    held: Option<File>,
}

type Outcome = (u64, Result<(), Failure>);

impl Deliveries {
    pub(super) fn new(
        config: &Config,
        courier: Courier,
        orders: mpsc::Sender<Order>,
        news: Arc<Notify>,
        health: Arc<Health>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            courier: Arc::new(courier),
            give_up_after: config.give_up_after,
            orders,
            news,
            health,
            clock,
            random,
            baton: Baton { path: config.folder.join("outbox.lock"), held: None },
            queue: Queue::default(),
            last: 0,
        }
    }

    /// Runs until it is stopped, and then until what is under way has come to an end.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.look_around().await,
                () = self.news.notified() => self.load().await,
                Some(outcome) = under_way.join_next() => self.settle(outcome).await,
                () = due(self.queue.wakes()) => {}
            }
            while let Some(Waiting { number, message }) = self.queue.next(Instant::now()) {
                let courier = Arc::clone(&self.courier);
                under_way.spawn(async move { (number, courier.deliver(message).await) });
            }
        }
        while let Some(outcome) = under_way.join_next().await {
            self.settle(outcome).await;
        }
        // What has arrived is not to be delivered once more by the next process.
        let (done, flushed) = oneshot::channel();
        let _ = self.orders.send(Order::Flush(done)).await;
        let _ = flushed.await;
    }

    async fn look_around(&mut self) {
        // A keeper that has ended has said so already.
        let _ = self.orders.send(Order::Look).await;
        if self.baton.held.is_none() && self.baton.take() {
            self.health.is_delivering.store(true, Ordering::Relaxed);
        }
        self.load().await;
        self.give_up().await;
    }

    /// Looked at after each failure too: what is tried again at once is under way whenever somebody looks.
    async fn give_up(&mut self) {
        let now = self.clock.now();
        let oldest = now.millis().saturating_sub(u64::try_from(self.give_up_after.as_millis()).unwrap_or(u64::MAX));
        for given_up in self.queue.give_up(Timestamp::from_millis(oldest), Instant::now()) {
            self.health.given_up.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(why = given_up.why, "an event was given up: see `guestpass outbox list`");
            let settled = Settled::GivenUp { number: given_up.number, died: now, why: given_up.why };
            let _ = self.orders.send(Order::Settle(settled)).await;
        }
    }

    /// Reads what is new, by whomever it was written.
    async fn load(&mut self) {
        while self.baton.held.is_some() {
            let (done, found) = oneshot::channel();
            let _ = self.orders.send(Order::Load { behind: self.last, limit: PAGE, done }).await;
            // What could not be read now is read when there is more, or another second has gone.
            let Ok(found) = found.await else { return };
            let is_all = found.len() < PAGE;
            for waiting in found {
                self.last = waiting.number;
                self.queue.add(waiting, Instant::now());
            }
            if is_all {
                return;
            }
        }
    }

    async fn settle(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        let (number, outcome) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return tracing::error!(%error, "a delivery has panicked"),
        };
        match outcome {
            Ok(()) => {
                self.health.delivered.fetch_add(1, Ordering::Relaxed);
                if self.queue.is_failing() {
                    tracing::info!("the KMS accepts events again");
                }
                self.queue.delivered(number, Instant::now());
                let _ = self.orders.send(Order::Settle(Settled::Delivered(number))).await;
            }
            Err(Failure { why, retry_after }) => {
                self.health.failed.fetch_add(1, Ordering::Relaxed);
                if !self.queue.is_failing() {
                    tracing::warn!(why, "the KMS did not accept an event, which is tried again");
                }
                self.queue.failed(number, why, retry_after, Instant::now(), &*self.random);
                self.give_up().await;
            }
        }
        self.health.is_failing.store(self.queue.is_failing(), Ordering::Relaxed);
    }
}

impl Baton {
    /// Whether it is ours now.
    fn take(&mut self) -> bool {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        let taken = file.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
        match taken {
            Ok(file) => self.held = Some(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::error!(path = %self.path.display(), %error, "events cannot be delivered");
            }
        }
        self.held.is_some()
    }
}

async fn due(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
