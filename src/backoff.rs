//! How long to wait before trying again: exponential, with full jitter, or as the other side asks.
//!
//! Full jitter (a uniform draw between nothing and the ceiling) rather than a little noise around the ceiling:
//! callers that failed together must not come back together.

use std::time::{Duration, SystemTime};

use crate::clock::Timestamp;
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

/// Reads `Retry-After` (RFC 9110, section 10.2.3), in seconds or as an HTTP date; a date that is past means now; what is
/// neither is as good as absent. It can be of any length, so whoever asks has a bound of his own.
#[must_use]
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are still a number, and a long one.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let moment = httpdate::parse_http_date(value).ok()?;
    let since_epoch = moment.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_seconds(since_epoch.as_secs()).since(now))
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
