//! The last five minutes in steps of two seconds, for somebody who looks at a chart. It is filled in the background and
//! is no part of any request's way.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cookie::Reading;
use crate::refusal::Code;

use super::count::Durations;
use super::tally::{MINT_FAILURES, READINGS};

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
    pub(super) mints: u64,
    /// By the places of [`READINGS`], [`MINT_FAILURES`] and [`Code::ALL`].
    pub(super) readings: [u64; READINGS.len()],
    pub(super) mint_failures: [u64; MINT_FAILURES.len()],
    pub(super) refusals: [u64; Code::ALL.len()],
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The share of the cookies that were sent and were good; `None` where none was sent.
    pub validity: Option<f64>,
    /// How the cookies of requests were read, and how often; what never came to pass is left out, here and below.
    pub readings: Vec<(&'static str, u64)>,
    /// Why no session could be made.
    pub mint_failures: Vec<(&'static str, u64)>,
    /// With what requests were refused.
    pub refusals: Vec<(&'static str, u64)>,
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
            mint_failures: of(|sample| sample.mint_failures.iter().sum()),
            refusals: of(|sample| sample.refusals.iter().sum()),
        }
    }

    /// From the oldest sample to `now`.
    pub(super) fn summary(&self, now: &Sample) -> Summary {
        let then = self.0.front().copied().unwrap_or_default();
        let readings = since(&now.readings, &then.readings);
        let verified = readings[Reading::Valid as usize];
        let sent = readings.iter().sum::<u64>() - readings[Reading::Absent as usize];
        let waits = now.mint_waits.since(&then.mint_waits);
        let quantiles = [0.5, 0.95, 0.99].map(|share| waits.quantile(share));
        Summary {
            validity: (sent > 0).then(|| verified as f64 / sent as f64),
            readings: named(READINGS.map(Reading::as_str), &readings),
            mint_failures: named(MINT_FAILURES, &since(&now.mint_failures, &then.mint_failures)),
            refusals: named(Code::ALL.map(Code::as_str), &since(&now.refusals, &then.refusals)),
            mint_seconds: match quantiles {
                [Some(half), Some(most), Some(nearly_all)] => Some([half, most, nearly_all]),
                _ => None,
            },
        }
    }
}

fn since<const N: usize>(now: &[u64; N], then: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|place| now[place].saturating_sub(then[place]))
}

fn named<const N: usize>(names: [&'static str; N], counts: &[u64; N]) -> Vec<(&'static str, u64)> {
    names.into_iter().zip(*counts).filter(|(_, count)| *count > 0).collect()
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
        let now = |valid, absent, forged| {
            let mut readings = [0; READINGS.len()];
            readings[Reading::Valid as usize] = valid;
            readings[Reading::Absent as usize] = absent;
            readings[Reading::Forged as usize] = forged;
            Sample { readings, ..Sample::default() }
        };
        assert_eq!(history.summary(&now(0, 7, 0)).validity, None);
        let summary = history.summary(&now(3, 7, 1));
        assert_eq!(summary.validity, Some(0.75));
        assert_eq!(summary.readings, [("valid", 3), ("absent", 7), ("forged", 1)]);
    }

    #[test]
    fn what_is_older_than_five_minutes_counts_no_more() {
        let mut history = History::default();
        let sample = |mint_failures, code: Code, count| {
            let mut refusals = [0; Code::ALL.len()];
            refusals[code as usize] = count;
            let mut failures = [0; MINT_FAILURES.len()];
            failures[0] = mint_failures;
            Sample { mint_failures: failures, refusals, ..Sample::default() }
        };
        history.add(sample(5, Code::SessionRequired, 2));
        let summary = history.summary(&sample(5, Code::SessionRequired, 9));
        assert_eq!(summary.refusals, [("session_required", 7)]);
        assert_eq!(summary.mint_failures, []);
    }
}
