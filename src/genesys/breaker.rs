//! Leaves Genesys alone once it has failed several times in a row, and tries it now and then.
//!
//! What counts as a failure is said by [`super::retry::Failure::breaks`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Closed while Genesys works, open while it does not.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_to_open: u32,
    retry: Duration,
    clock: Arc<dyn Clock>,
    openings: AtomicU64,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    /// `next_try` is in [`Clock::uptime`]. It moves when a try is let through, not when that try ends: so there is
    /// nothing to clean up behind a try whose visitor went away.
    Open {
        next_try: Duration,
    },
}

impl Breaker {
    pub(super) fn new(failures_to_open: u32, retry: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            failures_to_open: failures_to_open.max(1),
            retry,
            clock,
            openings: AtomicU64::new(0),
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Asks before each try (a token if there is none, and one session call). `Err` says when to come again.
    pub(super) fn admit(&self) -> Result<(), Duration> {
        let now = self.clock.uptime();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => Ok(()),
            State::Open { next_try } if now < next_try => Err(next_try - now),
            State::Open { .. } => {
                *state = State::Open { next_try: now + self.retry };
                Ok(())
            }
        }
    }

    /// Genesys answered a session call as something that works does.
    pub(super) fn succeeded(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Open { .. }) {
            tracing::info!("Genesys works again");
        }
        *state = State::Closed { failures: 0 };
    }

    /// A call failed. While open this changes nothing: the next try is already set.
    pub(super) fn failed(&self) {
        let now = self.clock.uptime();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Closed { failures } = *state else { return };
        let failures = failures + 1;
        *state = if failures < self.failures_to_open {
            State::Closed { failures }
        } else {
            tracing::warn!(failures, "Genesys keeps failing: it is tried only every {:?} from now on", self.retry);
            self.openings.fetch_add(1, Ordering::Relaxed);
            State::Open { next_try: now + self.retry }
        };
    }

    /// For how long it stays open; `None` while it is closed. Asking changes nothing.
    pub(super) fn stands(&self) -> Option<Duration> {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Closed { .. } => None,
            State::Open { next_try } => Some(next_try.saturating_sub(self.clock.uptime())),
        }
    }

    /// How often it has opened.
    pub(super) fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    const RETRY: Duration = Duration::from_secs(10);

    fn breaker(failures: u32) -> (Breaker, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        (Breaker::new(failures, RETRY, Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    #[test]
    fn it_opens_at_failures_in_a_row_only() {
        let (breaker, _) = breaker(3);
        for _ in 0..5 {
            breaker.failed();
            breaker.failed();
            assert_eq!(breaker.admit(), Ok(()));
            breaker.succeeded();
        }
        breaker.failed();
        breaker.failed();
        breaker.failed();
        assert_eq!(breaker.admit(), Err(RETRY));
    }

    #[test]
    fn while_open_it_lets_one_try_through_at_a_time_even_if_nobody_reports_back() {
        let (breaker, clock) = breaker(1);
        breaker.failed();
        clock.advance(Duration::from_secs(9));
        assert_eq!(breaker.admit(), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(breaker.admit(), Ok(()));
        assert_eq!(breaker.admit(), Err(RETRY), "the second of the same moment");
        clock.advance(RETRY);
        assert_eq!(breaker.admit(), Ok(()), "the first was dropped, and nothing is wedged");
    }

    #[test]
    fn a_try_that_fails_leaves_it_open_and_one_that_works_closes_it() {
        let (breaker, clock) = breaker(2);
        breaker.failed();
        breaker.failed();
        clock.advance(RETRY);
        assert_eq!(breaker.admit(), Ok(()));
        breaker.failed();
        assert_eq!(breaker.admit(), Err(RETRY));
        clock.advance(RETRY);
        assert_eq!(breaker.admit(), Ok(()));
        breaker.succeeded();
        assert_eq!((breaker.admit(), breaker.admit()), (Ok(()), Ok(())));
        breaker.failed();
        assert_eq!(breaker.admit(), Ok(()), "the count began anew");
    }
}
