//! A provider around the provider: minting runs on a runtime of its own, and what is there already goes to the next
//! visit at once.
//!
//! Two things are kept. A visitor who leaves while Genesys still answers does not stop the call: the session exists by
//! then, it cost quota, and nobody was told of it, so it is the next one's. And where a warm pool is configured,
//! sessions are made ahead while visits come in ([`demand`] says how many, [`pool`] whether now is the time), so that a
//! first visit does not wait for Genesys.
//!
//! Nothing is made ahead but on the heels of a visit, so that an idle site costs no quota. At any time at most
//! [`Config::size`] sessions exist that nobody has asked for: in stock, under way, or thrown away unused. The last are
//! forgotten at a tenth of the pace at which visits come, since otherwise a pool would be used up after a few quiet
//! nights.

mod demand;
mod pool;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::session::{MintError, Minting, Provider, Session};

use self::pool::Pool;

/// How long a session that is made ahead may take. Nobody waits for it, so this only bounds how long it counts as under
/// way: as long as visits usually wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much is made ahead, and how long what is there is kept.
///
/// ```
/// use std::time::Duration;
///
/// use guestpass::stock::Config;
///
/// // As many as come in a busy second, and no older than a minute.
/// let config = Config { size: 20, max_age: Duration::from_secs(60), per_second: 20 };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sessions that may be made ahead; 0 makes none.
    pub size: usize,
    /// How long a session waits for its visitor before it is thrown away: he should have nearly all of the lifetime that
    /// was asked for.
    pub max_age: Duration,
    /// Sessions a second that the provider may make.
    pub per_second: u32,
}

/// How much there is.
///
/// ```
/// use guestpass::stock::Level;
///
/// fn is_used_up(level: Level) -> bool {
///     level.size > 0 && level.kept == 0
/// }
/// # assert!(!is_used_up(Level { kept: 0, under_way: 0, size: 0 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Sessions that wait for their visitor, those included that one has left behind.
    pub kept: usize,
    /// Sessions that are being made ahead.
    pub under_way: usize,
    /// [`Config::size`].
    pub size: usize,
}

/// Sessions for the gate: those that are there first, else freshly minted ones.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use guestpass::clock::SystemClock;
/// use guestpass::gate::GateLayer;
/// use guestpass::session::MadeUp;
/// use guestpass::stock::{Config, Stock};
/// use tokio::runtime::Handle;
/// # use guestpass::{cookie::Key, secret::SecretBytes};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let pool = Config { size: 20, max_age: Duration::from_secs(60), per_second: 5 };
/// let clock = Arc::new(SystemClock::new());
/// let provider = Stock::new(Arc::new(MadeUp::default()), Handle::current(), clock, pool);
/// let gate = GateLayer::new(key, provider);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # ?; Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stock {
    provider: Arc<dyn Provider>,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    pool: Arc<Mutex<Pool>>,
}

impl Stock {
    /// Mints with `provider`, on `runtime`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use guestpass::clock::SystemClock;
    /// use guestpass::session::MadeUp;
    /// use guestpass::stock::{Config, Stock};
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// // Nothing is made ahead: what is kept is what visitors have left behind.
    /// let config = Config { size: 0, max_age: Duration::from_secs(60), per_second: 5 };
    /// let runtime = tokio::runtime::Handle::current();
    /// let stock = Stock::new(Arc::new(MadeUp::default()), runtime, Arc::new(SystemClock::new()), config);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, runtime: Handle, clock: Arc<dyn Clock>, config: Config) -> Self {
        Self { provider, runtime, clock, pool: Arc::new(Mutex::new(Pool::new(config))) }
    }

    /// How much there is now.
    ///
    /// ```
    /// use guestpass::stock::Stock;
    ///
    /// fn line(stock: &Stock) -> String {
    ///     let level = stock.level();
    ///     format!("{} of {} sessions, {} under way", level.kept, level.size, level.under_way)
    /// }
    /// ```
    #[must_use]
    pub fn level(&self) -> Level {
        self.pool().level()
    }

    /// Touched by visits that have no session, for moments in which nothing is waited for.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to make as many sessions ahead as are worth it now.
    fn mint_ahead(&self) {
        let count = self.pool().start(self.clock.uptime(), self.clock.now());
        for _ in 0..count {
            let stock = self.clone();
            self.runtime.spawn(async move {
                let began = stock.clock.uptime();
                let minted = stock.provider.mint(PATIENCE).await;
                if let Err(error) = &minted {
                    tracing::debug!(%error, "no session could be made ahead");
                }
                stock.pool().put_ahead(minted, began, stock.clock.uptime());
                stock.mint_ahead();
            });
        }
    }

    fn put_left_over(&self, session: Session) {
        self.pool().put_left_over(session, self.clock.uptime());
    }
}

impl Provider for Stock {
    fn at_hand(&self) -> Option<Session> {
        let session = self.pool().visit(self.clock.uptime(), self.clock.now());
        if session.is_some() {
            // Else the visit's own is asked for first, in a moment.
            self.mint_ahead();
        }
        session
    }

    fn mint(&self, budget: Duration) -> Minting<'_> {
        let (sender, receiver) = oneshot::channel();
        let stock = self.clone();
        let wait = self.pool().begin(self.clock.uptime());
        self.runtime.spawn(async move {
            let minted = stock.provider.mint(budget).await;
            stock.pool().end(wait, stock.clock.uptime(), &minted);
            if let Err(Ok(session)) = sender.send(minted) {
                stock.put_left_over(session);
            }
            stock.mint_ahead();
        });
        self.mint_ahead();
        Box::pin(Waiting { receiver, stock: self })
    }

    fn organization_id(&self) -> &str {
        self.provider.organization_id()
    }
}

/// A visit waiting for its session.
struct Waiting<'a> {
    receiver: oneshot::Receiver<Result<Session, MintError>>,
    stock: &'a Stock,
}

impl Future for Waiting<'_> {
    type Output = Result<Session, MintError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let stopped = || Err(MintError::Unreachable("minting has been stopped".to_owned()));
        Pin::new(&mut self.receiver).poll(cx).map(|received| received.unwrap_or_else(|_| stopped()))
    }
}

impl Drop for Waiting<'_> {
    /// The session may have been handed over and not been looked at.
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Ok(session)) = self.receiver.try_recv() {
            self.stock.put_left_over(session);
        }
    }
}

#[cfg(test)]
mod tests;
