//! The last five minutes in steps of two seconds, for somebody who looks at a chart. It is filled in the background and
//! is no part of any request's way.

use std::collections::VecDeque;
use std::time::Duration;

use super::count::Durations;

/// How far apart two samples are: a chart that moves, and a rate that is not all chance.
pub(super) const STEP: Duration = Duration::from_secs(2);

/// Five minutes of steps, and the sample that the first of them begins with.
const SAMPLES: usize = 151;

/// What had been counted by one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// The clock's uptime.
    pub(super) at: Duration,
    pub(super) requests: u64,
    pub(super) visits: u64,
    pub(super) verified: u64,
    pub(super) rejected: u64,
    pub(super) mints: u64,
    pub(super) mint_failures: u64,
    pub(super) refusals: u64,
    pub(super) mint_waits: Durations,
}

/// The samples, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Sample>);

/// Events a second, a number for each step, the oldest first. All are of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Requests of any kind.
    pub requests: Vec<f64>,
    /// Requests that had a session, or were a visit that wanted one.
    pub visits: Vec<f64>,
    /// Sessions handed out.
    pub mints: Vec<f64>,
    /// Visits for which none could be made.
    pub mint_failures: Vec<f64>,
    /// Requests that were refused.
    pub refusals: Vec<f64>,
}

/// What is said of the five minutes as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// The share of the cookies that were sent and were good; `None` where none was sent.
    pub validity: Option<f64>,
    /// How long visits waited for their session, in seconds: half of them no longer than the first, 95 % no longer than
    /// the second, 99 % no longer than the third. `None` where none wanted one.
    pub mint_seconds: Option<[f64; 3]>,
}

impl History {
    pub(super) fn add(&mut self, sample: Sample) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    pub(super) fn rates(&self) -> Rates {
        let of = |count: fn(&Sample) -> u64| {
            let steps = self.0.iter().zip(self.0.iter().skip(1));
            steps
                .map(|(before, after)| {
                    let seconds = after.at.saturating_sub(before.at).as_secs_f64();
                    // A clock that stood still counts as a step.
                    let seconds = if seconds > 0.0 { seconds } else { STEP.as_secs_f64() };
                    count(after).saturating_sub(count(before)) as f64 / seconds
                })
                .collect()
        };
        Rates {
            requests: of(|sample| sample.requests),
            visits: of(|sample| sample.visits),
            mints: of(|sample| sample.mints),
            mint_failures: of(|sample| sample.mint_failures),
            refusals: of(|sample| sample.refusals),
        }
    }

    /// From the oldest sample to `now`.
    pub(super) fn summary(&self, now: &Sample) -> Summary {
        let then = self.0.front().copied().unwrap_or_default();
        let verified = now.verified.saturating_sub(then.verified);
        let sent = verified + now.rejected.saturating_sub(then.rejected);
        let waits = now.mint_waits.since(&then.mint_waits);
        let quantiles = [0.5, 0.95, 0.99].map(|share| waits.quantile(share));
        Summary {
            validity: (sent > 0).then(|| verified as f64 / sent as f64),
            mint_seconds: match quantiles {
                [Some(half), Some(most), Some(nearly_all)] => Some([half, most, nearly_all]),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, requests: u64) -> Sample {
        Sample { at: Duration::from_secs(seconds), requests, ..Sample::default() }
    }

    #[test]
    fn a_rate_is_what_came_between_two_samples_by_the_time_between_them() {
        let mut history = History::default();
        assert_eq!(history.rates(), Rates::default());
        for (seconds, requests) in [(0, 0), (2, 10), (6, 10), (8, 14)] {
            history.add(sample(seconds, requests));
        }
        assert_eq!(history.rates().requests, [5.0, 0.0, 2.0]);
        assert_eq!(history.rates().mints, [0.0, 0.0, 0.0]);
    }

    #[test]
    fn five_minutes_are_kept_and_no_more() {
        let mut history = History::default();
        for step in 0..1_000 {
            history.add(sample(step * 2, step));
        }
        let rates = history.rates().requests;
        assert_eq!((rates.len(), rates.iter().sum::<f64>()), (150, 75.0));
    }

    #[test]
    fn the_validity_rate_is_of_the_cookies_that_were_sent() {
        let history = History::default();
        let now = |verified, rejected| Sample { verified, rejected, ..Sample::default() };
        assert_eq!(history.summary(&now(0, 0)).validity, None);
        assert_eq!(history.summary(&now(3, 1)).validity, Some(0.75));
    }
}
