//! What must outlive the process: which sessions were taken back before their end.
//!
//! Whoever asks waits for nobody: every core reads the same immutable set, which is swapped when it changes. Whoever
//! revokes waits for the disk: only when the line is there is it in force. One thread writes the [`journal`], several
//! revocations at a time, and once a second looks whether another process has written in it, such as the one that this
//! one takes over from. A store is one machine's: replicas do not share it.

mod known;
mod journal;
mod keeper;
mod wire;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::session::{Revocations, Session};

use self::keeper::{Keeper, Order};
use self::known::Known;

/// How long a revocation is kept where the session's own end is not known: the longest that Genesys lets a session last
/// (a day), and an hour for clocks that disagree.
pub const LONGEST_SESSION: Duration = Duration::from_secs(86_400 + 3_600);

/// Revocations that may wait for the disk. It takes thousands a second, so more than these means that it is stuck.
const QUEUE: usize = 1_024;

/// Where what is to be kept is kept.
///
/// ```
/// use std::path::PathBuf;
///
/// use guestpass::store::Place;
///
/// // A test forgets, and a site does not.
/// let place = if cfg!(test) { Place::Memory } else { Place::Folder(PathBuf::from("/var/lib/shop")) };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a folder, which is made if it is missing.
    Folder(PathBuf),
    /// Nowhere: it is forgotten when the process ends.
    Memory,
}

/// What is taken back.
///
/// ```
/// use guestpass::clock::{Clock, SystemClock};
/// use guestpass::store::{Revocation, RevokeError, Store};
///
/// /// After something has leaked.
/// async fn everybody_out(store: &Store, clock: &SystemClock) -> Result<(), RevokeError> {
///     store.revoke(Revocation::IssuedBefore(clock.now())).await
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// One session.
    Session {
        /// Its id.
        id: String,
        /// From when on it would be void by itself, so that nobody need remember any more.
        until: Timestamp,
    },
    /// Every session that was issued before a moment. Cookies know whole seconds, so the sessions of the moment's own
    /// second are taken back as well.
    IssuedBefore(Timestamp),
}

impl Revocation {
    /// Takes back a session that one holds.
    ///
    /// ```
    /// use guestpass::session::Session;
    /// use guestpass::store::{Revocation, RevokeError, Store};
    ///
    /// async fn sign_out(store: &Store, session: &Session) -> Result<(), RevokeError> {
    ///     store.revoke(Revocation::of(session)).await
    /// }
    /// ```
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self::Session { id: session.id.clone(), until: session.expires_at }
    }

    /// Until when it must be known.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    /// use guestpass::store::{LONGEST_SESSION, Revocation};
    ///
    /// let moment = Timestamp::from_seconds(1_795_357_200);
    /// assert_eq!(Revocation::IssuedBefore(moment).until(), moment.plus(LONGEST_SESSION));
    /// ```
    #[must_use]
    pub fn until(&self) -> Timestamp {
        match self {
            Self::Session { until, .. } => *until,
            Self::IssuedBefore(moment) => moment.plus(LONGEST_SESSION),
        }
    }
}

/// Why there is no store.
///
/// ```
/// use std::path::PathBuf;
/// use std::sync::Arc;
///
/// use guestpass::clock::SystemClock;
/// use guestpass::store::{OpenError, Place, Store};
///
/// let place = Place::Folder(PathBuf::from("/dev/null/none"));
/// let error = Store::open(&place, Arc::new(SystemClock::new())).unwrap_err();
/// assert!(matches!(error, OpenError::Unusable { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder or the journal in it cannot be used.
    #[error("{} cannot be used for what must outlive the process (store.path)", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no thread to be had.
    #[error("the store's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// Why something was not taken back.
///
/// ```
/// use guestpass::store::RevokeError;
/// use http::StatusCode;
///
/// /// What somebody is told who wanted to sign out.
/// fn status(revoked: Result<(), RevokeError>) -> StatusCode {
///     match revoked {
///         Ok(()) => StatusCode::NO_CONTENT,
///         // It must not look as if it had been done.
///         Err(_) => StatusCode::SERVICE_UNAVAILABLE,
///     }
/// }
/// # assert_eq!(status(Err(RevokeError::Busy)), 503);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// It could not be written down, so it would be forgotten: the disk is full, say.
    #[error("{} cannot be written", path.display())]
    Unwritten {
        /// The journal.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// Too much is waiting for the disk already.
    #[error("the disk does not keep up")]
    Busy,
    /// The process is about to end.
    #[error("the store is closed")]
    Closed,
}

/// A handle on the store. Its clones are the same store, which closes with the last of them.
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::clock::SystemClock;
/// use guestpass::session::Session;
/// use guestpass::store::{Place, Revocation, RevokeError, Store};
/// # use guestpass::{cookie::Key, gate::GateLayer, secret::SecretBytes, session::MadeUp};
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let store = Store::open(&Place::Memory, Arc::new(SystemClock::new()))?;
/// let gate = GateLayer::builder(key, MadeUp::default()).revocations(store.clone()).build();
///
/// async fn sign_out(store: &Store, session: &Session) -> Result<(), RevokeError> {
///     store.revoke(Revocation::of(session)).await
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    known: Arc<ArcSwap<Known>>,
    orders: SyncSender<Order>,
}

impl Store {
    /// Reads what is known, and starts the thread that writes and follows.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use guestpass::clock::SystemClock;
    /// use guestpass::store::{Place, Store};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().to_owned();
    /// let store = Store::open(&Place::Folder(path), Arc::new(SystemClock::new()))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, or its journal cannot be read and written.
    pub fn open(place: &Place, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let known = Arc::<ArcSwap<Known>>::default();
        let keeper = Keeper::open(place, Arc::clone(&known), clock)?;
        let (orders, queue) = sync_channel(QUEUE);
        let named = thread::Builder::new().name("store".to_owned());
        named.spawn(move || keeper.run(&queue)).map_err(OpenError::Thread)?;
        Ok(Self { known, orders })
    }

    /// Takes sessions back. When it returns `Ok`, that is on disk and in force on every core.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    /// use guestpass::store::{Revocation, RevokeError, Store};
    ///
    /// /// Of a session that one has by its id alone, `until` is when it would have ended by itself.
    /// async fn revoke(store: &Store, id: &str, until: Timestamp) -> Result<(), RevokeError> {
    ///     store.revoke(Revocation::Session { id: id.to_owned(), until }).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// When it could not be written down. Then nothing has changed.
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), RevokeError> {
        let (done, outcome) = oneshot::channel();
        self.orders.try_send(Order { revocation, done }).map_err(|error| match error {
            TrySendError::Full(_) => RevokeError::Busy,
            TrySendError::Disconnected(_) => RevokeError::Closed,
        })?;
        outcome.await.unwrap_or(Err(RevokeError::Closed))
    }
}

impl Revocations for Store {
    fn is_revoked(&self, session: &Session) -> bool {
        self.known.load().contain(session)
    }
}

#[cfg(test)]
mod tests;
