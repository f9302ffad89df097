//! A ring file under a running proxy: read again when it has changed, and rotated when its key has become old.
//!
//! One step at a time; whoever wires the program calls [`Keeper::look`] again and again.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::{Clock, Timestamp};
use crate::cookie::SharedRing;
use crate::fingerprint::Fingerprint;
use crate::random::Random;

use super::Config;
use super::error::Error;
use super::file;
use super::record::RingRecord;

/// After a rotation that came to nothing: soon enough for what happens every few months, and rare enough for a log.
const RETRY: Duration = Duration::from_secs(60);

/// A process that may not write the ring waits so long for one that may, before it complains that none does.
const OVERDUE: Duration = Duration::from_secs(86_400);

/// The name under which a running proxy holds the lock.
const WHO: &str = "a running guestpass";

/// Looks after one ring file.
///
/// ```
/// use std::time::Duration;
///
/// use guestpass::keys::{Keeper, Looked};
///
/// /// On a thread of its own.
/// fn look_after(mut keeper: Keeper) {
///     loop {
///         if keeper.look(false) == Looked::Broken {
///             eprintln!("the last good ring stays");
///         }
///         std::thread::sleep(Duration::from_secs(1));
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    rotate_every: Option<Duration>,
    stage_for: Duration,
    ring: SharedRing,
    record: SharedRecord,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// The file as it was when it was last read, well or badly.
    seen: Option<Fingerprint>,
    /// When its key is to be rotated; `None` for never, or while nobody can know.
    due: Option<Timestamp>,
    /// No rotation is tried before this uptime.
    retry_at: Duration,
    has_complained: bool,
}

/// The last good record of a ring file, for whoever shows it.
#[derive(Clone, Debug)]
pub struct SharedRecord(Arc<ArcSwap<RingRecord>>);

impl SharedRecord {
    /// The one of this moment.
    #[must_use]
    pub fn load(&self) -> Arc<RingRecord> {
        self.0.load_full()
    }
}

/// What a look has come to.
///
/// ```
/// use guestpass::keys::{Keeper, Looked};
///
/// /// For a health check: whether replicas that start now would come up.
/// fn is_readable(keeper: &mut Keeper) -> bool {
///     keeper.look(true) != Looked::Broken
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The file is as it was.
    Unchanged,
    /// It was read, and is what requests now see.
    Read,
    /// It could not be read. Requests see the last good ring.
    Broken,
    /// A new key was staged, and the file was read after that.
    Rotated,
}

impl Keeper {
    /// Reads the file at `path` for the first time. The ring that requests are to use is [`Keeper::ring`].
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use guestpass::clock::SystemClock;
    /// use guestpass::gate::GateLayer;
    /// use guestpass::keys::{Config, Keeper, Source};
    /// use guestpass::random::SystemRandom;
    /// use guestpass::session::MadeUp;
    /// # use guestpass::{clock::Clock, keys::{self, RingRecord}};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("keys.toml");
    /// # keys::create(&path, "an example", &RingRecord::generate(&SystemRandom, SystemClock::new().now()))?;
    /// let (source, stage_for) = (Source::File(path.clone()), Config::STAGE_FOR);
    /// let config = Config { source, rotate_every: Some(Config::ROTATE_EVERY), stage_for };
    /// let keeper = Keeper::open(path, &config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// let gate = GateLayer::new(keeper.ring(), MadeUp::default());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When it cannot be read: there is no last good ring yet.
    pub fn open(path: PathBuf, config: &Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, Error> {
        // Before it is read: what changes in between is then seen at the next look.
        let seen = Fingerprint::of(&path);
        let record = file::read(&path)?;
        let ring = record.ring();
        Ok(Self {
            due: config.rotate_every.map(|every| record.rotation_due(every)),
            ring: ring.into(),
            record: SharedRecord(Arc::new(ArcSwap::from_pointee(record))),
            path,
            rotate_every: config.rotate_every,
            stage_for: config.stage_for,
            clock,
            random,
            seen,
            retry_at: Duration::ZERO,
            has_complained: false,
        })
    }

    /// What the file says, now and after each look.
    ///
    /// ```
    /// use guestpass::gate::GateLayer;
    /// use guestpass::session::MadeUp;
    /// # use std::sync::Arc;
    /// # use guestpass::clock::{Clock, SystemClock};
    /// # use guestpass::keys::{self, Config, Keeper, RingRecord, Source};
    /// # use guestpass::random::SystemRandom;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("keys.toml");
    /// # keys::create(&path, "an example", &RingRecord::generate(&SystemRandom, SystemClock::new().now()))?;
    /// # let (source, stage_for) = (Source::File(path.clone()), Config::STAGE_FOR);
    /// # let config = Config { source, rotate_every: Some(Config::ROTATE_EVERY), stage_for };
    /// # let mut keeper = Keeper::open(path, &config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    ///
    /// // Whatever the keeper sees later, this gate goes by it.
    /// let gate = GateLayer::new(keeper.ring(), MadeUp::default());
    /// # keeper.look(false);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ring(&self) -> SharedRing {
        self.ring.clone()
    }

    /// What it says of its keys beside that.
    #[doc(hidden)]
    #[must_use]
    pub fn record(&self) -> SharedRecord {
        self.record.clone()
    }

    /// One step: reads the file if it has changed or the operator `asked` for it, and rotates it if that is due and
    /// this process may. Touches the disk, so it may block.
    ///
    /// ```
    /// use guestpass::keys::Looked;
    /// # use std::sync::Arc;
    /// # use guestpass::clock::{Clock, SystemClock};
    /// # use guestpass::keys::{self, Config, Keeper, RingRecord, Source};
    /// # use guestpass::random::SystemRandom;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("keys.toml");
    /// # keys::create(&path, "an example", &RingRecord::generate(&SystemRandom, SystemClock::new().now()))?;
    /// # let (source, stage_for) = (Source::File(path.clone()), Config::STAGE_FOR);
    /// # let config = Config { source, rotate_every: Some(Config::ROTATE_EVERY), stage_for };
    /// # let mut keeper = Keeper::open(path, &config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    ///
    /// assert_eq!(keeper.look(false), Looked::Unchanged);
    /// assert_eq!(keeper.look(true), Looked::Read); // as after a SIGHUP
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn look(&mut self, asked: bool) -> Looked {
        let seen = Fingerprint::of(&self.path);
        let looked = if asked || seen != self.seen { self.read(seen) } else { Looked::Unchanged };
        if self.is_due() && self.rotate() {
            self.read(Fingerprint::of(&self.path));
            return Looked::Rotated;
        }
        looked
    }

    fn read(&mut self, seen: Option<Fingerprint>) -> Looked {
        self.seen = seen;
        match file::read(&self.path) {
            Ok(record) => {
                let ring = record.ring();
                tracing::info!(signing = %ring.signing(self.clock.now()).id(), keys = ring.keys().count(), "the key ring was read");
                self.ring.replace(ring);
                self.due = self.rotate_every.map(|every| record.rotation_due(every));
                self.record.0.store(Arc::new(record));
                self.has_complained = false;
                Looked::Read
            }
            Err(error) => {
                tracing::error!(error = whole(&error), "the key ring is broken, and the last good one stays in use");
                self.due = None;
                Looked::Broken
            }
        }
    }

    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= self.clock.now()) && self.clock.uptime() >= self.retry_at
    }

    fn rotate(&mut self) -> bool {
        let (now, Some(every)) = (self.clock.now(), self.rotate_every) else { return false };
        let rotated = file::change(&self.path, WHO, |record| {
            // Another process may have been faster, and what counts is what the file says under the lock.
            if record.rotation_due(every) > now {
                return Ok(None);
            }
            record.rotate(self.stage_for, &*self.random, now).map(Some)
        });
        self.retry_at = self.clock.uptime().saturating_add(RETRY);
        match rotated {
            Ok(Some(id)) => {
                tracing::info!(%id, signs_from = %now.plus(self.stage_for), "the key ring was rotated");
                true
            }
            Ok(None) | Err(Error::Locked { .. }) => false,
            Err(error @ Error::ReadOnly { .. }) => {
                // Most replicas only read the ring, and one that writes it is enough.
                let overdue = self.due.is_some_and(|due| now.since(due) >= OVERDUE);
                if overdue && !std::mem::replace(&mut self.has_complained, true) {
                    tracing::warn!(error = whole(&error), "the key ring is due for rotation, and nobody rotates it");
                }
                false
            }
            Err(error) => {
                tracing::error!(error = whole(&error), "the key ring could not be rotated");
                false
            }
        }
    }
}

/// The error and what the operating system says of it.
fn whole(error: &Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests;
