//! The names under which sessions are asked for: each once, and never again while Genesys may remember it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Clock;
use crate::random::Random;

/// How long a spent nonce is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// How many spent nonces are remembered: what 100 sessions a second, Genesys' own limit, make of ten minutes, and a
/// little more. About 3 MiB.
const REMEMBERED: usize = 65_536;

/// A draw of 122 random bits that meets one of these nonces has not happened by chance even once.
const DRAWS: usize = 8;

/// The nonces in flight and the lately spent ones.
#[derive(Debug)]
pub(super) struct Nonces {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// In flight or spent.
    known: HashSet<Uuid>,
    /// Since when, in [`Clock::uptime`]; oldest first.
    spent: VecDeque<(Duration, Uuid)>,
}

impl Nonces {
    pub(super) fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random, ledger: Mutex::default() }
    }

    /// A fresh one; `None` when the random source does nothing but repeat itself.
    pub(super) fn draw(&self) -> Option<Nonce<'_>> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.forget(self.clock.uptime());
        (0..DRAWS).find_map(|_| {
            let mut bytes = [0; 16];
            self.random.fill(&mut bytes);
            let value = uuid::Builder::from_random_bytes(bytes).into_uuid();
            // Made only when it is fresh: dropping a `Nonce` locks the ledger.
            ledger.known.insert(value).then(|| Nonce { nonces: self, value, failed: false })
        })
    }
}

impl Ledger {
    fn forget(&mut self, now: Duration) {
        while let Some(&(since, value)) = self.spent.front()
            && (self.spent.len() > REMEMBERED || now.saturating_sub(since) >= REMEMBERED_FOR)
        {
            self.spent.pop_front();
            self.known.remove(&value);
        }
    }
}

/// A nonce in flight. Dropped, it is spent: whoever went away in the middle does not know whether it was used.
#[derive(Debug)]
pub(super) struct Nonce<'a> {
    nonces: &'a Nonces,
    value: Uuid,
    failed: bool,
}

impl Nonce<'_> {
    pub(super) const fn value(&self) -> Uuid {
        self.value
    }

    /// Creation failed for good: the nonce is let go.
    pub(super) fn release(mut self) {
        self.failed = true;
    }
}

impl Drop for Nonce<'_> {
    fn drop(&mut self) {
        let now = self.nonces.clock.uptime();
        let mut ledger = self.nonces.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed {
            ledger.known.remove(&self.value);
        } else {
            ledger.spent.push_back((now, self.value));
            ledger.forget(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::random::SystemRandom;

    /// Draws every number twice in a row.
    #[derive(Debug, Default)]
    struct Stutter(AtomicU64);

    impl Random for Stutter {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
            bytes[..8].copy_from_slice(&(self.0.fetch_add(1, Ordering::Relaxed) / 2).to_le_bytes());
        }
    }

    #[derive(Debug)]
    struct Broken;

    impl Random for Broken {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn nonces(random: impl Random + 'static) -> (Nonces, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        (Nonces::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(random)), clock)
    }

    #[test]
    fn a_nonce_is_a_uuid_of_version_4() {
        let (nonces, _) = nonces(SystemRandom);
        let value = nonces.draw().unwrap().value();
        assert_eq!((value.get_version_num(), value.get_variant()), (4, uuid::Variant::RFC4122));
    }

    #[test]
    fn none_is_drawn_twice_in_flight_or_spent() {
        let (nonces, _) = nonces(Stutter::default());
        let values: HashSet<Uuid> = (0..100).map(|_| nonces.draw().unwrap().value()).collect();
        assert_eq!(values.len(), 100);
        let (first, second) = (nonces.draw().unwrap(), nonces.draw().unwrap());
        assert_ne!(first.value(), second.value());
    }

    #[test]
    fn a_released_one_may_come_again_and_a_spent_one_only_after_ten_minutes() {
        let (nonces, clock) = nonces(Broken);
        let first = nonces.draw().unwrap();
        assert!(nonces.draw().is_none(), "in flight");
        first.release();
        drop(nonces.draw().unwrap());
        clock.advance(REMEMBERED_FOR - Duration::from_millis(1));
        assert!(nonces.draw().is_none(), "spent");
        clock.advance(Duration::from_millis(1));
        assert!(nonces.draw().is_some());
    }

    #[test]
    fn one_in_flight_is_remembered_however_long_it_takes() {
        let (nonces, clock) = nonces(Broken);
        let slow = nonces.draw().unwrap();
        clock.advance(REMEMBERED_FOR * 2);
        assert!(nonces.draw().is_none());
        drop(slow);
    }

    #[test]
    fn the_ledger_is_bounded() {
        let (nonces, _) = nonces(SystemRandom);
        for _ in 0..REMEMBERED + 1000 {
            drop(nonces.draw().unwrap());
        }
        let ledger = nonces.ledger.lock().unwrap();
        assert_eq!((ledger.known.len(), ledger.spent.len()), (REMEMBERED, REMEMBERED));
    }
}
