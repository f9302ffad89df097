//! What the key custodian's system (KMS) must hear of: sessions that were made or taken back, keys that changed.
//!
//! An event is a [`message`], and is on disk ([`journal`]) before what it tells of takes effect; one thread ([`keeper`])
//! writes, many at a time. From there it is delivered ([`deliver`]) at least once and in order for each session, however
//! long that takes, and nobody waits for it. What could not be delivered in time becomes a dead letter ([`Letters`]),
//! which the operator sends again or drops.
//!
//! Several processes may write into the same journal, as when one takes over from another. One of them delivers.

mod message;
mod journal;
mod keeper;
mod queue;
mod courier;
mod signature;
mod deliver;
mod letters;
mod wire;

pub use self::letters::{Letter, Letters, Which};
pub use self::signature::{BadSecret, SigningSecret};

use std::fmt;
use std::future::ready;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime;
use tokio::sync::{Notify, mpsc as orders, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::context::Context;
use crate::cookie::{Protection, SharedRing};
use crate::event::{Event, Recording, Sink, Unrecorded};
use crate::random::Random;

use self::courier::Courier;
use self::deliver::Deliveries;
use self::journal::Journal;
use self::keeper::{Keeper, Order};
use self::message::Message;

/// What may wait for the disk. It takes hundreds a second even one by one, so more than these means that it is stuck.
const QUEUE: usize = 1_024;

/// How long a visit waits for the disk: as long as for Genesys. Then it gets no session, as when that does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who says that something could not be recorded.
const WHO: &str = "the outbox";

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder of the journal.
    pub folder: PathBuf,
    /// Whom to tell.
    pub url: String,
    /// What deliveries are signed with.
    pub secret: SigningSecret,
    /// Who vouches for it, where that is not whoever the machine trusts.
    pub ca: Option<PathBuf>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How old an event becomes before it is a dead letter.
    pub give_up_after: Duration,
}

/// What all events say, as it is while they are told. Another configuration may bring another.
#[derive(Clone, Debug)]
pub struct InUse {
    /// Its signing key signs.
    pub ring: SharedRing,
    /// How cookies are protected.
    pub protection: Protection,
    /// After how long the signing key is replaced by itself; `None` is when somebody does.
    pub rotate_every: Option<Duration>,
}

/// Why there is no outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal cannot be used.
    #[error("the outbox {} cannot be used (store.path)", path.display())]
    Unusable {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: JournalError,
    },
    /// The receiver cannot be called.
    #[error("kms.webhook_url is no address that can be called: {0}")]
    Address(String),
    /// The certificates that vouch for the receiver cannot be read.
    #[error("the certificates in {} cannot be used (kms.ca)", path.display())]
    Authorities {
        /// Their file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no HTTP client to be had: the machine has no root certificates, say.
    #[error("no HTTP client can be made for kms.webhook_url")]
    Client(#[source] reqwest::Error),
    /// There is no thread to be had.
    #[error("the outbox's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// What went wrong with the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The folder or a file.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The database in the file.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// Others than its owner may read or write it, who could have anything told in our name.
    #[error("its mode is {0:04o}, which lets others in: chmod 600")]
    Exposed(u32),
    /// A newer guestpass has written it.
    #[error("it has version {0}, which this guestpass does not know")]
    Version(i64),
}

/// How the outbox fares, for whoever shows it. What it says of the journal is at most a second old.
#[derive(Debug, Default)]
pub struct Health {
    waiting: AtomicU64,
    /// In milliseconds since the epoch; 0 is none.
    oldest: AtomicU64,
    dead: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
    unrecorded: AtomicU64,
    is_failing: AtomicBool,
    is_unwritable: AtomicBool,
    is_delivering: AtomicBool,
}

impl Health {
    /// Events that are still to be delivered, by whichever process.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Since when the oldest of them has been waiting.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        Some(self.oldest.load(Ordering::Relaxed)).filter(|millis| *millis > 0).map(Timestamp::from_millis)
    }

    /// Dead letters.
    #[must_use]
    pub fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// Deliveries of this process that were accepted.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Attempts of this process that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Events that this process made dead letters of.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Dead letters that this process threw away, since there were too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Events that could not be written down; a session of which that is so was not handed out.
    #[must_use]
    pub fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Ordering::Relaxed)
    }

    /// Whether the last attempt to deliver failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Whether the last attempt to write failed.
    #[must_use]
    pub fn is_unwritable(&self) -> bool {
        self.is_unwritable.load(Ordering::Relaxed)
    }

    /// Whether it is this process that delivers.
    #[must_use]
    pub fn is_delivering(&self) -> bool {
        self.is_delivering.load(Ordering::Relaxed)
    }
}

/// The outbox of one process. When it is dropped, deliveries under way are finished first.
pub struct Outbox {
    config: Config,
    in_use: ArcSwap<InUse>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    orders: Option<orders::Sender<Order>>,
    keeper: Option<JoinHandle<()>>,
    stop: CancellationToken,
    stopped: Mutex<mpsc::Receiver<()>>,
}

impl Outbox {
    /// Opens the journal, starts the thread that writes it, and delivers on `background`.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written or the receiver cannot be called at all. One that merely does not answer is
    /// no error.
    pub fn start(
        config: Config,
        in_use: InUse,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        background: &runtime::Handle,
    ) -> Result<Self, Error> {
        let path = journal::path(&config.folder);
        let journal = Journal::open(&config.folder).map_err(|source| Error::Unusable { path, source })?;
        let health = Arc::<Health>::default();
        let news = Arc::<Notify>::default();
        let courier = Courier::new(&config, Arc::clone(&clock))?;
        let (orders, queue) = orders::channel(QUEUE);
        let keeper = Keeper::new(journal, Arc::clone(&news), Arc::clone(&health));
        let named = thread::Builder::new().name("outbox".to_owned());
        let keeper = named.spawn(move || keeper.run(queue)).map_err(Error::Thread)?;
        let deliveries =
            Deliveries::new(&config, courier, orders.clone(), news, Arc::clone(&health), Arc::clone(&clock), random);
        let (stop, (done, stopped)) = (CancellationToken::new(), mpsc::channel());
        let stopping = stop.clone();
        background.spawn(async move {
            deliveries.run(stopping).await;
            // Nobody may be waiting for it any more.
            let _ = done.send(());
        });
        Ok(Self {
            config,
            in_use: ArcSwap::from_pointee(in_use),
            clock,
            health,
            orders: Some(orders),
            keeper: Some(keeper),
            stop,
            stopped: Mutex::new(stopped),
        })
    }

    /// How it fares.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// From now on events say this.
    pub fn say(&self, in_use: InUse) {
        self.in_use.store(Arc::new(in_use));
    }

    /// Begins no more deliveries, and waits for those under way. What is left is delivered by the next process; what is
    /// recorded from now on, too.
    pub fn stop(&self) {
        self.stop.cancel();
        // It keeps its own time; the runtime that it stands on may have ended before.
        if let Ok(stopped) = self.stopped.lock() {
            let _ = stopped.recv_timeout(self.config.timeout + PATIENCE);
        }
    }

    async fn write(&self, message: Message) -> Result<(), String> {
        let Some(orders) = &self.orders else { return Err("it is closed".to_owned()) };
        let (done, outcome) = oneshot::channel();
        orders.try_send(Order::Record(message, done)).map_err(|error| match error {
            orders::error::TrySendError::Full(_) => "the disk does not keep up".to_owned(),
            orders::error::TrySendError::Closed(_) => "its thread has ended".to_owned(),
        })?;
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(written) => written.unwrap_or_else(|_| Err("its thread has ended".to_owned())),
            Err(_) => Err(format!("the disk takes longer than {} s", PATIENCE.as_secs())),
        }
    }
}

impl Sink for Outbox {
    /// All that concerns us is recorded.
    fn notice(&self, _event: &Event<'_>, _context: Option<&Context>) {}

    fn record<'a>(&'a self, event: &'a Event<'a>, _context: Option<&'a Context>) -> Recording<'a> {
        let Some(message) = Message::of(event, &self.in_use.load(), self.clock.now()) else {
            return Box::pin(ready(Ok(())));
        };
        Box::pin(async move {
            self.write(message).await.map_err(|why| {
                self.health.unrecorded.fetch_add(1, Ordering::Relaxed);
                Unrecorded { by: WHO, why }
            })
        })
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("config", &self.config).field("health", &self.health).finish_non_exhaustive()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.stop();
        drop(self.orders.take());
        if let Some(keeper) = self.keeper.take() {
            // A keeper that panicked has said so already.
            let _ = keeper.join();
        }
    }
}

#[cfg(test)]
mod tests;
