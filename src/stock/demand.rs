//! How many sessions are worth having ahead: from how visits have come lately, and how long Genesys usually takes.

use std::time::Duration;

/// Over how long a visit counts: long enough to see past one second's luck, short enough to follow the start of a
/// campaign and to be over soon after its end.
const MEMORY: Duration = Duration::from_secs(5);

/// What Genesys is taken to need until it was measured: about what it takes on an ordinary day.
const FIRST_GUESS: Duration = Duration::from_millis(250);

/// How much of the usual latency one more measurement is worth: a dozen of them outweigh what was before.
const WEIGHT: f64 = 0.2;

/// How many standard deviations of luck the stock holds out. Visits that come independently of each other are Poisson
/// distributed, so that three of them leave out about one replacement's time in a thousand.
const HEADROOM: f64 = 3.0;

/// The size of a stock out of which visits that come at `per_second` are served while a replacement takes `latency`:
/// what is fetched in that time, and headroom for bad luck.
///
/// None where not even one visit is to be expected before a session is `max_age` old, and never more than are. At most
/// `size`.
#[must_use]
pub(super) fn target(per_second: f64, latency: Duration, max_age: Duration, size: usize) -> usize {
    let fetched = per_second * latency.as_secs_f64();
    let wanted = (fetched + HEADROOM * fetched.sqrt()).ceil();
    let used_in_time = (per_second * max_age.as_secs_f64()).floor();
    // A float beyond usize becomes its greatest value, and none is negative.
    (wanted.max(1.0).min(used_in_time) as usize).min(size)
}

/// What was seen so far. Times are the clock's uptime.
#[derive(Debug)]
pub(super) struct Demand {
    /// Visits, each worth less the longer ago it was, as of `counted`.
    visits: f64,
    counted: Duration,
    latency: Duration,
}

impl Demand {
    pub(super) const fn new() -> Self {
        Self { visits: 0.0, counted: Duration::ZERO, latency: FIRST_GUESS }
    }

    pub(super) fn visit(&mut self, now: Duration) {
        self.visits = self.remembered(now) + 1.0;
        self.counted = now;
    }

    /// A session took so long to make.
    pub(super) fn made_in(&mut self, latency: Duration) {
        self.latency = self.latency.mul_f64(1.0 - WEIGHT) + latency.mul_f64(WEIGHT);
    }

    /// How long one usually takes to make.
    pub(super) const fn latency(&self) -> Duration {
        self.latency
    }

    pub(super) fn per_second(&self, now: Duration) -> f64 {
        self.remembered(now) / MEMORY.as_secs_f64()
    }

    fn remembered(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.counted).as_secs_f64();
        self.visits * (-passed / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(60);

    #[test]
    fn a_stock_is_as_large_as_visits_and_latency_ask_for() {
        let quarter = Duration::from_millis(250);
        #[rustfmt::skip]
        let table: &[(f64, Duration, Duration, usize, usize)] = &[
            // a second   latency                      max age                  size  target
            (0.0,         quarter,                     MAX_AGE,                 100,  0),
            (0.01,        quarter,                     MAX_AGE,                 100,  0),
            (0.02,        quarter,                     MAX_AGE,                 100,  1),
            (0.2,         quarter,                     MAX_AGE,                 100,  1),
            (1.0,         quarter,                     MAX_AGE,                 100,  2),
            (4.0,         quarter,                     MAX_AGE,                 100,  4),
            (20.0,        quarter,                     MAX_AGE,                 100,  12),
            (20.0,        Duration::from_millis(30),   MAX_AGE,                 100,  3),
            (20.0,        Duration::from_secs(1),      MAX_AGE,                 100,  34),
            (100.0,       quarter,                     MAX_AGE,                 100,  40),
            (20.0,        quarter,                     MAX_AGE,                 8,    8),
            (20.0,        quarter,                     MAX_AGE,                 0,    0),
            (20.0,        quarter,                     Duration::from_millis(100), 100, 2),
            (20.0,        Duration::ZERO,              MAX_AGE,                 100,  1),
            (1e300,       Duration::from_secs(3_600),  MAX_AGE,                 100,  100),
        ];
        for (per_second, latency, max_age, size, expected) in table {
            let found = target(*per_second, *latency, *max_age, *size);
            assert_eq!(found, *expected, "{per_second}/s, {latency:?}, {max_age:?}, {size}");
        }
    }

    #[test]
    fn the_rate_follows_the_visits_and_is_forgotten_without_them() {
        let mut demand = Demand::new();
        let mut now = Duration::from_secs(1_000);
        assert_eq!(demand.per_second(now), 0.0);
        for _ in 0..400 {
            now += Duration::from_millis(50);
            demand.visit(now);
        }
        let steady = demand.per_second(now);
        assert!((19.0..=21.0).contains(&steady), "{steady} of 20 a second, after 20 seconds of them");
        let later = demand.per_second(now + Duration::from_secs(60));
        assert_eq!(target(later, FIRST_GUESS, MAX_AGE, 100), 0, "{later}");
    }

    #[test]
    fn the_usual_latency_is_learned() {
        let mut demand = Demand::new();
        for _ in 0..12 {
            demand.made_in(Duration::from_millis(30));
        }
        assert!((30..=50).contains(&demand.latency().as_millis()), "{:?}", demand.latency());
    }
}
