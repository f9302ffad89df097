//! The audit trail: one line for each session that was minted, refused or taken back, each cookie that was rejected, each
//! key that changed. What it must not do is to lose a line unnoticed; what it must never hold is a token.
//!
//! Each line carries a sequence number and an HMAC over itself and the [`chain`] before it, so that a line that was
//! removed, changed or moved shows. A [`head`] beside each file, written after it, shows a tail that was cut. One thread
//! ([`writer`]) writes them, as many as are waiting at a time, into [`segment`]s of this process's own.
//!
//! What nothing here can show is that everything was put back to how it stood at an earlier time, heads and all: for
//! that a head must be kept where whoever does it cannot write.

mod budget;
mod chain;
mod head;
mod line;
mod lines;
mod segment;
mod entry;
mod verify;
mod wire;
mod writer;

pub use self::chain::Link;
pub use self::entry::{Entries, Entry};
pub use self::line::EVENTS;
pub use self::segment::list;
pub use self::verify::{Flaw, Note, Report, Verified, verify, verify_all};

use std::fmt;
use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::context::Context;
use crate::cookie::SharedRing;
use crate::event::{Event, Recording, Sink, Unrecorded};

use self::budget::Budget;
use self::line::Draft;
use self::wire::Line;
use self::writer::{Order, Writer};

/// Lines that may wait for the disk. It takes thousands a second, so more than these means that it is stuck.
const QUEUE: usize = 4_096;

/// Half of it is for what somebody waits for: whoever sends forged cookies by the thousand fills the other half, and
/// keeps nobody from a session.
const UNAWAITED: usize = QUEUE / 2;

/// How long the end of the program waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who says that something could not be recorded.
const WHO: &str = "the audit log";

/// What is written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of the trail: of `audit/session.log` the files are `audit/session-000001.log` and so on.
    pub path: PathBuf,
    /// What a session waits for.
    pub mode: Mode,
    /// The operator's own statement, repeated on each line.
    pub compliance: Option<String>,
    /// How much of a client's address is written.
    pub client_address: ClientAddress,
    /// Bytes after which the next file is begun.
    pub max_size: u64,
    /// Files that are kept, the one that is written among them.
    pub keep: usize,
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// For nothing: what cannot be written is counted and said.
    #[default]
    BestEffort,
    /// For its line to be on disk: without it, nobody gets the session.
    Required,
}

/// How much of a client's address is written here, and shown to an operator elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// All of it.
    Full,
    /// The network: a /24 of IPv4, a /48 of IPv6.
    #[default]
    Truncated,
    /// Nothing.
    None,
}

impl ClientAddress {
    /// What may be shown of this one.
    #[must_use]
    pub fn of(self, client: IpAddr) -> Option<String> {
        let client = client.to_canonical();
        let bits = match (self, client) {
            (Self::None, _) => return None,
            (Self::Full, _) => return Some(client.to_string()),
            (Self::Truncated, IpAddr::V4(_)) => 24,
            (Self::Truncated, IpAddr::V6(_)) => 48,
        };
        IpNet::new(client, bits).ok().map(|net| net.network().to_string())
    }
}

/// Why there is no audit trail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder or a file in it cannot be used.
    #[error("the audit log cannot be written at {} (audit.path)", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no thread to be had.
    #[error("the audit log's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// How the trail fares, for whoever shows it.
#[derive(Debug, Default)]
pub struct Health {
    written: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
    /// Lines on their way to the thread.
    queued: AtomicUsize,
}

impl Health {
    /// Lines that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lines that could not be.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the last attempt failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// The audit trail of one process. When it is dropped, what is waiting is written first.
pub struct Audit {
    config: Config,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    budget: Budget,
    orders: Option<SyncSender<Order>>,
    writer: Option<JoinHandle<()>>,
}

impl Audit {
    /// Begins a file of this process's own, which continues what stands in the newest one before it, and starts the
    /// thread that writes. `ring` has the keys for it.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or a file in it cannot be.
    pub fn start(config: Config, ring: SharedRing, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let health = Arc::<Health>::default();
        let writer = Writer::open(&config, ring, Arc::clone(&clock), Arc::clone(&health))
            .map_err(|source| Error::Unusable { path: config.path.clone(), source })?;
        let (orders, queue) = sync_channel(QUEUE);
        let named = thread::Builder::new().name("audit".to_owned());
        let writer = named.spawn(move || writer.run(&queue)).map_err(Error::Thread)?;
        Ok(Self { config, clock, health, budget: Budget::default(), orders: Some(orders), writer: Some(writer) })
    }

    /// How it fares.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Waits until what was said so far is on disk, or cannot be.
    pub fn flush(&self) {
        self.tell_omitted(self.budget.settle());
        let (done, flushed) = channel();
        if let Some(orders) = &self.orders
            && orders.send(Order::Flush(done)).is_ok()
        {
            // A disk that takes longer than this takes for ever, and the program is about to end.
            let _ = flushed.recv_timeout(PATIENCE);
        }
    }

    fn draft(&self, event: &Event<'_>, context: Option<&Context>) -> Option<Draft> {
        Draft::of(event, context, &self.config, &*self.clock)
    }

    /// Hands a line to the thread, without waiting for it to be written.
    fn send(&self, draft: Draft, done: Option<oneshot::Sender<Result<(), String>>>) -> Result<(), Unrecorded> {
        let queued = self.health.queued.fetch_add(1, Ordering::Relaxed);
        let is_crowded = done.is_none() && queued >= UNAWAITED;
        let order = Order::Write(Box::new(draft), done);
        let sent = match &self.orders {
            Some(_) if is_crowded => Err("the disk does not keep up"),
            Some(orders) => orders.try_send(order).map_err(|error| match error {
                TrySendError::Full(_) => "the disk does not keep up",
                TrySendError::Disconnected(_) => "its thread has ended",
            }),
            None => Err("its thread has ended"),
        };
        sent.map_err(|why| {
            self.health.queued.fetch_sub(1, Ordering::Relaxed);
            self.lose(why)
        })
    }

    /// That so many lines were left out, since they were past the budget.
    fn tell_omitted(&self, count: u64) {
        if count > 0 {
            let line = Draft::of_the_trail("log.omitted", &*self.clock);
            let _ = self.send(Draft(Line { omitted: Some(count), ..line }), None);
        }
    }

    fn lose(&self, why: &str) -> Unrecorded {
        self.health.lost.fetch_add(1, Ordering::Relaxed);
        Unrecorded { by: WHO, why: why.to_owned() }
    }
}

impl Sink for Audit {
    /// What [`Sink::record`] has written already is not written again.
    fn notice(&self, event: &Event<'_>, context: Option<&Context>) {
        if is_recorded(event) {
            return;
        }
        if let Some(draft) = self.draft(event, context) {
            if is_anybodys(event) {
                let (is_left, omitted) = self.budget.take(self.clock.uptime());
                self.tell_omitted(omitted);
                if !is_left {
                    return;
                }
            }
            // What is lost is counted, and the trail says so when it can be written again.
            let _ = self.send(draft, None);
        }
    }

    fn record<'a>(&'a self, event: &'a Event<'a>, context: Option<&'a Context>) -> Recording<'a> {
        let Some(draft) = self.draft(event, context).filter(|_| is_recorded(event)) else {
            return Box::pin(ready(Ok(())));
        };
        match self.config.mode {
            Mode::BestEffort => {
                let _ = self.send(draft, None);
                Box::pin(ready(Ok(())))
            }
            Mode::Required => Box::pin(async move {
                let (done, outcome) = oneshot::channel();
                self.send(draft, Some(done))?;
                let written = outcome.await.unwrap_or_else(|_| Err("its thread has ended".to_owned()));
                written.map_err(|why| Unrecorded { by: WHO, why })
            }),
        }
    }
}

/// What is written before it takes effect, or at once when it has.
const fn is_recorded(event: &Event<'_>) -> bool {
    matches!(event, Event::Minted { .. } | Event::Revoked { .. } | Event::KeyRotated { .. } | Event::KeyRetired { .. })
}

/// What takes no more than a request that is refused.
const fn is_anybodys(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::CookieRejected { .. }
            | Event::Conflicted { .. }
            | Event::Refused { .. }
            | Event::Shadowed { .. }
            | Event::MintFailed { .. }
            | Event::MintLimited
    )
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("config", &self.config).field("health", &self.health).finish_non_exhaustive()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so already.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
