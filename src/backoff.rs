//! How long to wait before trying again: exponential, with full jitter.
//!
//! Full jitter (a uniform draw between nothing and the ceiling) rather than a little noise around the ceiling:
//! callers that failed together must not come back together.

use std::time::Duration;

use crate::random::Random;

/// A schedule of growing waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first wait.
    pub base: Duration,
    /// No wait is longer, however often it failed.
    pub cap: Duration,
}

impl Backoff {
    /// The wait before retry number `retry` (the first is 0): between nothing and `base * 2^retry`, at most `cap`.
    #[must_use]
    pub fn wait(&self, retry: u32, random: &dyn Random) -> Duration {
        self.ceiling(retry).mul_f64(random.unit())
    }

    fn ceiling(&self, retry: u32) -> Duration {
        let factor = 2_u32.checked_pow(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    const SCHEDULE: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<u64> = [0, 1, 2, 5, 6, 40].iter().map(|&n| SCHEDULE.ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn waits_are_spread_below_the_ceiling() {
        let waits: Vec<Duration> = (0..200).map(|_| SCHEDULE.wait(3, &SystemRandom)).collect();
        assert!(waits.iter().all(|wait| *wait < Duration::from_secs(8)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_secs(2)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(6)));
    }
}
