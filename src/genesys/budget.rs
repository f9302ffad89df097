//! Our share of the organization's sessions a second, and the pauses that Genesys asks for.
//!
//! Kept on our side too, so that a crowd is smoothed before Genesys has to refuse it. It counts for this process alone.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

/// How long a visit waits for its turn at most: about as long as Genesys takes to make a session, so that waiting at
/// most doubles what the visitor feels.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// A turn that is due is asked for no sooner than this, which is as fine as timers are.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The budget.
pub(super) struct Budget {
    limiter: RateLimiter<NotKeyed, InMemoryState, Uptime, NoOpMiddleware<Duration>>,
    clock: Arc<dyn Clock>,
    /// In [`Clock::uptime`].
    paused_until: Mutex<Duration>,
}

impl Budget {
    /// `per_second` sessions may be asked for at once after a quiet second; from there on they are spread evenly.
    pub(super) fn new(per_second: u32, clock: Arc<dyn Clock>) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN));
        let limiter = RateLimiter::direct_with_clock(quota, Uptime(Arc::clone(&clock)));
        Self { limiter, clock, paused_until: Mutex::new(Duration::ZERO) }
    }

    /// Waits for a turn to call, and takes what it waited off `patience`. `Err`, at once, when the turn lies further
    /// ahead than that, with how far.
    pub(super) async fn turn(&self, patience: &mut Duration) -> Result<(), Duration> {
        loop {
            let wait = match self.wait() {
                None => return Ok(()),
                Some(wait) => wait.max(SHORTEST_WAIT),
            };
            *patience = patience.checked_sub(wait).ok_or(wait)?;
            tokio::time::sleep(wait).await;
        }
    }

    /// Nobody asks for the next `wait`.
    pub(super) fn pause(&self, wait: Duration) {
        let until = self.clock.uptime() + wait;
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused_until = until.max(*paused_until);
    }

    /// Takes a turn, or says how far the next one is.
    fn wait(&self) -> Option<Duration> {
        let now = self.clock.uptime();
        let paused_until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        if now < paused_until {
            return Some(paused_until - now);
        }
        self.limiter.check().err().map(|until| until.wait_time_from(now))
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("paused_until", &self.paused_until).finish_non_exhaustive()
    }
}

/// Our clock as the limiter wants it.
struct Uptime(Arc<dyn Clock>);

impl governor::clock::Clock for Uptime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.uptime()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    /// Goes with tokio's paused time, so that what is waited for comes about.
    #[derive(Debug)]
    struct Paused(tokio::time::Instant);

    impl Clock for Paused {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(0).plus(self.uptime())
        }

        fn uptime(&self) -> Duration {
            self.0.elapsed()
        }
    }

    fn budget(per_second: u32) -> Budget {
        Budget::new(per_second, Arc::new(Paused(tokio::time::Instant::now())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_smoothed_and_nobody_waits_past_their_patience() {
        let budget = budget(100);
        let start = tokio::time::Instant::now();
        let turns = futures_util::future::join_all((0..200).map(|_| {
            let budget = &budget;
            async move {
                let mut patience = PATIENCE;
                (budget.turn(&mut patience).await, start.elapsed())
            }
        }))
        .await;
        let granted = turns.iter().filter(|(turn, _)| turn.is_ok()).count();
        assert!((120..=126).contains(&granted), "a hundred at once and one every 10 ms: {granted}");
        assert!(turns.iter().all(|(_, waited)| *waited <= PATIENCE), "{turns:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_longer_than_patience_is_not_waited_for() {
        let budget = budget(100);
        budget.pause(Duration::from_secs(2));
        budget.pause(Duration::from_secs(1));
        let start = tokio::time::Instant::now();
        assert_eq!(budget.turn(&mut PATIENCE.clone()).await, Err(Duration::from_secs(2)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(1_800)).await;
        let mut patience = PATIENCE;
        assert_eq!(budget.turn(&mut patience).await, Ok(()));
        assert_eq!(patience, Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn one_a_second_is_one_a_second() {
        let budget = budget(1);
        assert_eq!(budget.turn(&mut Duration::ZERO.clone()).await, Ok(()));
        assert_eq!(budget.turn(&mut PATIENCE.clone()).await, Err(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.turn(&mut Duration::ZERO.clone()).await, Ok(()));
    }
}
