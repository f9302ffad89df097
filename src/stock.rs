//! A provider around the provider: minting runs on a runtime of its own, and a session that nobody came to fetch goes
//! to the next visit.
//!
//! A visitor who leaves while Genesys still answers does not stop the call: the session exists by then, and it cost
//! quota. Nobody was told of it, so it is the next one's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::session::{MintError, Minting, Provider, Session};

/// A session that waited longer than this is left to lapse: its visitor should have nearly all of the lifetime that
/// was asked for.
const MAX_AGE: Duration = Duration::from_secs(60);

/// More than a burst of impatient visitors leaves behind; past it, sessions lapse.
const MAX_KEPT: usize = 1_024;

/// Sessions for the gate: those left over first, else freshly minted ones.
#[derive(Debug, Clone)]
pub struct Stock {
    provider: Arc<dyn Provider>,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    left_over: Arc<Mutex<Vec<Session>>>,
}

impl Stock {
    /// Mints with `provider`, on `runtime`.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, runtime: Handle, clock: Arc<dyn Clock>) -> Self {
        Self { provider, runtime, clock, left_over: Arc::default() }
    }

    fn take(&self) -> Option<Session> {
        let now = self.clock.now();
        let mut kept = self.left_over.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|session| now.since(session.issued_at) < MAX_AGE && now < session.expires_at);
        kept.pop()
    }

    fn put(&self, session: Session) {
        let mut kept = self.left_over.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(session);
        }
    }
}

impl Provider for Stock {
    fn mint(&self, budget: Duration) -> Minting<'_> {
        if let Some(session) = self.take() {
            return Box::pin(std::future::ready(Ok(session)));
        }
        let (sender, receiver) = oneshot::channel();
        let stock = self.clone();
        self.runtime.spawn(async move {
            let minted = stock.provider.mint(budget).await;
            if let Err(Ok(session)) = sender.send(minted) {
                stock.put(session);
            }
        });
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
            self.stock.put(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::secret::SecretText;

    const BUDGET: Duration = Duration::from_secs(3);

    /// Mints one session for each permit.
    #[derive(Debug)]
    struct Slow {
        permits: Semaphore,
        minted: AtomicU32,
        clock: Arc<ManualClock>,
    }

    impl Provider for Slow {
        fn mint(&self, _budget: Duration) -> Minting<'_> {
            Box::pin(async {
                self.permits.acquire().await.unwrap().forget();
                let number = self.minted.fetch_add(1, Ordering::Relaxed) + 1;
                let now = self.clock.now();
                Ok(Session {
                    id: format!("session-{number}"),
                    token: SecretText::new("t".repeat(43)),
                    organization_id: "org".to_owned(),
                    issued_at: now,
                    expires_at: now.plus(Duration::from_secs(3_600)),
                })
            })
        }

        fn organization_id(&self) -> &'static str {
            "org"
        }
    }

    fn stock(permits: usize) -> (Stock, Arc<Slow>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
        let slow = Slow { permits: Semaphore::new(permits), minted: AtomicU32::new(0), clock: Arc::clone(&clock) };
        let slow = Arc::new(slow);
        let stock = Stock::new(Arc::clone(&slow) as Arc<dyn Provider>, Handle::current(), Arc::clone(&clock) as _);
        (stock, slow, clock)
    }

    /// A visitor who leaves before there is a session.
    async fn impatient(stock: &Stock, slow: &Slow) {
        let mut visit = stock.mint(BUDGET);
        assert!(futures_util::poll!(&mut visit).is_pending());
        drop(visit);
        slow.permits.add_permits(1);
        while stock.left_over.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_session_that_nobody_fetched_goes_to_the_next_visit() {
        let (stock, slow, _) = stock(0);
        impatient(&stock, &slow).await;
        assert_eq!(stock.mint(BUDGET).await.unwrap().id, "session-1");
        slow.permits.add_permits(1);
        assert_eq!(stock.mint(BUDGET).await.unwrap().id, "session-2", "and to nobody after that");
    }

    #[tokio::test]
    async fn a_session_that_was_handed_over_unseen_is_not_lost() {
        let (stock, slow, _) = stock(0);
        let mut visit = stock.mint(BUDGET);
        assert!(futures_util::poll!(&mut visit).is_pending());
        slow.permits.add_permits(1);
        while slow.minted.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        drop(visit);
        assert_eq!(stock.left_over.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_session_that_waited_too_long_lapses() {
        let (stock, slow, clock) = stock(0);
        impatient(&stock, &slow).await;
        clock.advance(MAX_AGE);
        slow.permits.add_permits(1);
        assert_eq!(stock.mint(BUDGET).await.unwrap().id, "session-2");
    }
}
