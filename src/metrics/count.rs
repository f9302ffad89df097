//! What numbers are kept in: plain atomics, added to without an order and without a lock. Whoever reads sees each of
//! them as it is; that two of them fit together to the last request is not promised, nor needed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where a duration's buckets end, in microseconds. One set for all: from what the gate takes by itself to the longest
/// that anybody waits for a page.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// One bucket more than bounds, for what is longer.
const BUCKETS: usize = BOUNDS.len() + 1;

/// It only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, many times.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Durations {
        let buckets = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        Durations { buckets, micros: self.micros.load(Ordering::Relaxed) }
    }
}

/// A histogram as it was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Durations {
    buckets: [u64; BUCKETS],
    micros: u64,
}

impl Durations {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// How many lie in each bucket, with its upper end in seconds.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let ends = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        ends.zip(self.buckets).collect()
    }

    /// What came since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].saturating_sub(earlier.buckets[bucket])),
            micros: self.micros.saturating_sub(earlier.micros),
        }
    }

    /// In how many seconds this share of them was done: within a bucket taken as evenly spread, as Prometheus'
    /// `histogram_quantile` takes it, and no more than the last bound. `None` where there are none.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count() as f64;
        let mut before = 0.0;
        let mut start = 0.0;
        for (end, count) in self.buckets() {
            let count = count as f64;
            if count > 0.0 && before + count >= rank {
                return Some(if end.is_finite() { start + (end - start) * (rank - before) / count } else { start });
            }
            before += count;
            start = end;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let read = histogram.read();
        let buckets = read.buckets();
        assert_eq!((buckets[0], buckets[1]), ((0.0005, 2), (0.001, 1)));
        assert_eq!((buckets[13], buckets[14]), ((10.0, 1), (f64::INFINITY, 1)));
        assert_eq!((read.count(), read.seconds()), (5, 20.001_002));
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        for _ in 0..100 {
            histogram.observe(Duration::from_millis(20));
        }
        let before = histogram.read();
        assert_eq!(before.quantile(1.0), Some(0.025));
        assert!((before.quantile(0.5).unwrap() - 0.0175).abs() < 1e-9);
        histogram.observe(Duration::from_secs(60));
        assert_eq!(histogram.read().since(&before).quantile(0.5), Some(10.0), "it is known to be no less");
    }
}
