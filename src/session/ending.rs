//! The end of a session, to be waited for by whatever may outlast it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;

use super::{Revocations, Session};

/// How often it is asked whether the session still stands. A revocation must end a connection within two seconds, and
/// so few comparisons a second cost nothing.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Waits for a session to expire or to be revoked. Only connections that live long want one: it keeps a timer.
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::clock::SystemClock;
/// use guestpass::session::{Ending, Session};
/// use guestpass::store::Store;
///
/// /// A chat by WebSocket, which its visitor must not be able to keep open.
/// async fn chat(session: Arc<Session>, store: Store, talk: impl Future<Output = ()>) {
///     let ending = Ending::of(session, Arc::new(store), Arc::new(SystemClock::new()));
///     tokio::select! {
///         () = talk => {}
///         () = ending.come() => {}
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Ending {
    session: Arc<Session>,
    revocations: Arc<dyn Revocations>,
    clock: Arc<dyn Clock>,
}

impl Ending {
    /// The end of `session`, by this clock and these revocations.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use guestpass::clock::SystemClock;
    /// use guestpass::session::{Ending, Revocations, Session};
    ///
    /// fn ending(session: &Arc<Session>, revocations: Arc<dyn Revocations>) -> Ending {
    ///     Ending::of(Arc::clone(session), revocations, Arc::new(SystemClock::new()))
    /// }
    /// ```
    #[must_use]
    pub fn of(session: Arc<Session>, revocations: Arc<dyn Revocations>, clock: Arc<dyn Clock>) -> Self {
        Self { session, revocations, clock }
    }

    /// Returns once the session has ended, at most a second later.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::session::Ending;
    ///
    /// /// Whether it ends within the hour.
    /// async fn ends_soon(ending: Ending) -> bool {
    ///     tokio::time::timeout(Duration::from_secs(3_600), ending.come()).await.is_ok()
    /// }
    /// ```
    pub async fn come(self) {
        while !self.has_come() {
            // The calendar may be set while we wait, so the end is not waited for in one go.
            let left = self.session.expires_at.since(self.clock.now());
            tokio::time::sleep(left.min(ASK_EVERY)).await;
        }
    }

    /// The same, to be kept.
    #[doc(hidden)]
    #[must_use]
    pub fn boxed(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.come())
    }

    fn has_come(&self) -> bool {
        self.clock.now() >= self.session.expires_at || self.revocations.is_revoked(&self.session)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::secret::SecretText;

    #[derive(Debug, Default)]
    struct Switch(AtomicBool);

    impl Revocations for Switch {
        fn is_revoked(&self, _session: &Session) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn ending(switch: &Arc<Switch>, clock: &Arc<ManualClock>) -> Ending {
        let session = Session {
            id: "session".to_owned(),
            token: SecretText::new("token".to_owned()),
            organization_id: "org".to_owned(),
            issued_at: Timestamp::from_seconds(1_000),
            expires_at: Timestamp::from_seconds(1_060),
        };
        Ending::of(Arc::new(session), Arc::clone(switch) as _, Arc::clone(clock) as _)
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_within_a_second_of_expiry_and_of_revocation() {
        for revokes in [false, true] {
            let (switch, clock) = (Arc::default(), Arc::new(ManualClock::at(Timestamp::from_seconds(1_000))));
            let mut end = ending(&switch, &clock).boxed();
            let early = timeout(Duration::from_secs(600), &mut end).await;
            assert!(early.is_err(), "the clock stands still");
            if revokes {
                switch.0.store(true, Ordering::Relaxed)
            } else {
                clock.advance(Duration::from_secs(60))
            }
            let since = Instant::now();
            end.await;
            assert!(since.elapsed() <= ASK_EVERY + Duration::from_millis(5));
        }
    }
}
