//! The connections of one core and listener, looked through a few times a second for what is overdue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Limits;
use super::pulse::{Order, Patience, Phase, Pulse, Tick};

/// At most so long between two rounds: timeouts are in seconds, and a round of 5,000 connections is 5,000 loads.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long a client may take to close its side after we have closed ours, and what a draining connection has for a
/// first request: a few round trips of a slow mobile network.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Dropping it closes every connection on it.
#[derive(Debug)]
pub(super) struct Sweeper {
    now: Arc<AtomicU32>,
    pulses: Vec<Arc<Pulse>>,
    patience: Patience,
    interval: Duration,
}

impl Sweeper {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { handshake_timeout, header_timeout, body_timeout, keep_alive, .. } = *limits;
        let shortest = handshake_timeout.min(header_timeout).min(body_timeout).min(keep_alive);
        // A fifth of the shortest keeps it from lasting half as long again, the one millisecond from spinning.
        let interval = (shortest / 5).clamp(Duration::from_millis(1), INTERVAL);
        let ticks = |timeout| ticks(timeout, interval);
        let patience = Patience {
            handshake: ticks(handshake_timeout),
            head: ticks(header_timeout),
            idle: ticks(keep_alive),
            stall: ticks(body_timeout),
            closing: ticks(CLOSE_WAIT),
        };
        Self { now: Arc::new(AtomicU32::new(1)), pulses: Vec::new(), patience, interval }
    }

    /// How long between two rounds.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// A new connection's.
    pub(super) fn enlist(&mut self, phase: Phase) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse::new(Arc::clone(&self.now), phase));
        self.pulses.push(Arc::clone(&pulse));
        pulse
    }

    /// One round: who has gone is forgotten, who is overdue is told.
    pub(super) fn sweep(&mut self) {
        self.now.fetch_add(1, Ordering::Relaxed);
        self.pulses.retain(|pulse| {
            let alive = Arc::strong_count(pulse) > 1;
            if alive {
                pulse.judge(&self.patience);
            }
            alive
        });
    }

    pub(super) fn command(&self, order: Order) {
        self.pulses.iter().for_each(|pulse| pulse.command(order));
    }

    /// As of the last round.
    pub(super) fn is_empty(&self) -> bool {
        self.pulses.is_empty()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.command(Order::Close);
    }
}

/// Rounded up, since a phase may have begun just after the tick that it is stamped with.
fn ticks(timeout: Duration, interval: Duration) -> Tick {
    Tick::try_from(timeout.as_nanos().div_ceil(interval.as_nanos())).unwrap_or(Tick::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_as_rare_as_the_shortest_limit_allows() {
        assert_eq!(Sweeper::new(&Limits::default()).interval(), INTERVAL);
        let short = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
        assert_eq!(Sweeper::new(&short).interval(), Duration::from_millis(40));
        let none = Limits { keep_alive: Duration::ZERO, ..Limits::default() };
        assert_eq!(Sweeper::new(&none).interval(), Duration::from_millis(1));
    }

    #[test]
    fn who_has_gone_is_forgotten_and_who_is_left_is_closed_at_the_end() {
        let mut sweeper = Sweeper::new(&Limits::default());
        let (gone, stays) = (sweeper.enlist(Phase::Idle), sweeper.enlist(Phase::Idle));
        drop(gone);
        sweeper.sweep();
        assert_eq!(sweeper.pulses.len(), 1);
        drop(sweeper);
        assert_eq!(stays.order(), Order::Close);
    }
}
