//! How many sessions one client address may ask for.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

use super::MintLimit;

/// Below so many addresses nothing is ever swept: a few hundred KiB.
const SWEEP_FROM: usize = 4_096;

/// Counts sessions per address: one budget for browsers, a tighter one for clients without Fetch Metadata, so that a
/// script cannot use up what the visitors behind the same carrier's address need.
#[derive(Debug)]
pub(super) struct MintLimiter {
    browsers: Option<Budget>,
    others: Option<Budget>,
}

impl MintLimiter {
    pub(super) fn new(limit: MintLimit, clock: Arc<dyn Clock>) -> Self {
        let others = Budget::new(limit.others, limit.per, Arc::clone(&clock));
        Self { browsers: Budget::new(limit.browsers, limit.per, clock), others }
    }

    /// Takes one from the address's budget.
    ///
    /// # Errors
    ///
    /// How long to wait until there is one again.
    pub(super) fn take(&self, address: IpAddr, is_browser: bool) -> Result<(), Duration> {
        match if is_browser { &self.browsers } else { &self.others } {
            Some(budget) => budget.take(prefix(address)),
            // A budget of none: there is no time at which it makes sense to come again.
            None => Err(Duration::from_secs(3_600)),
        }
    }
}

/// A customer has one IPv4 address, or an IPv6 /64 and can make up addresses in it at will.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

struct Budget {
    limiter: RateLimiter<IpAddr, DashMapStateStore<IpAddr>, Uptime, NoOpMiddleware<Duration>>,
    clock: Uptime,
    sweep_at: AtomicUsize,
}

impl Budget {
    fn new(count: u32, per: Duration, clock: Arc<dyn Clock>) -> Option<Self> {
        let count = NonZeroU32::new(count)?;
        // One comes back each `per / count`, and `count` may be had at once.
        let quota = Quota::with_period(per / count.get())?.allow_burst(count);
        let clock = Uptime(clock);
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), clock.clone());
        Some(Self { limiter, clock, sweep_at: AtomicUsize::new(SWEEP_FROM) })
    }

    fn take(&self, address: IpAddr) -> Result<(), Duration> {
        self.sweep();
        self.limiter.check_key(&address).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets the addresses whose budget is whole again, each time their number has doubled.
    fn sweep(&self) {
        let sweep_at = self.sweep_at.load(Ordering::Relaxed);
        if self.limiter.len() < sweep_at {
            return;
        }
        // Whoever wins the exchange sweeps; the others go on.
        if self.sweep_at.compare_exchange(sweep_at, usize::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.limiter.retain_recent();
            self.sweep_at.store(SWEEP_FROM.max(self.limiter.len() * 2), Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("addresses", &self.limiter.len()).finish_non_exhaustive()
    }
}

/// Our clock in governor's words.
#[derive(Clone, Debug)]
struct Uptime(Arc<dyn Clock>);

impl GovernorClock for Uptime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.uptime()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn limiter(clock: &Arc<ManualClock>) -> MintLimiter {
        let limit = MintLimit { per: Duration::from_secs(60), browsers: 6, others: 2 };
        MintLimiter::new(limit, Arc::clone(clock) as Arc<dyn Clock>)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn browsers_and_others_have_budgets_of_their_own_that_fill_up_again() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let limiter = limiter(&clock);
        let visitor = address("192.0.2.1");
        assert_eq!((0..9).filter(|_| limiter.take(visitor, false).is_ok()).count(), 2);
        assert_eq!((0..9).filter(|_| limiter.take(visitor, true).is_ok()).count(), 6);
        assert!(limiter.take(address("192.0.2.2"), false).is_ok(), "another address is not touched");
        assert_eq!(limiter.take(visitor, false), Err(Duration::from_secs(30)));
        clock.advance(Duration::from_secs(30));
        assert_eq!(limiter.take(visitor, false), Ok(()));
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        let limiter = limiter(&Arc::new(ManualClock::at(Timestamp::from_seconds(0))));
        let tries = ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3", "2001:db8:0:1::1"];
        let passed: Vec<bool> = tries.iter().map(|text| limiter.take(address(text), false).is_ok()).collect();
        assert_eq!(passed, [true, true, false, true]);
    }

    #[test]
    fn addresses_whose_budget_is_whole_are_forgotten() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let limiter = limiter(&clock);
        for number in 0..3 * SWEEP_FROM as u32 {
            clock.advance(Duration::from_millis(100));
            limiter.take(std::net::Ipv4Addr::from_bits(number).into(), true).unwrap();
        }
        let kept = limiter.browsers.as_ref().unwrap().limiter.len();
        assert!(kept <= SWEEP_FROM, "{kept}");
    }

    #[test]
    fn a_budget_of_none_lets_nobody_mint() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let limit = MintLimit { per: Duration::from_secs(60), browsers: 1, others: 0 };
        let limiter = MintLimiter::new(limit, clock);
        assert!(limiter.take(address("192.0.2.1"), false).is_err());
        assert!(limiter.take(address("192.0.2.1"), true).is_ok());
    }
}
