//! The ledger of the stock: which sessions are kept, how many more are worth making, and whether now is the time.
//!
//! Nothing here waits, calls or spawns: it is told what happens, with the clock's uptime, and says what to do.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::demand::{Demand, target};
use super::{Config, Level};
use crate::clock::Timestamp;
use crate::session::{MintError, Session};

/// More left-over sessions than a burst of impatient visitors leaves behind; past it, they lapse.
const MAX_LEFT_OVER: usize = 1_024;

/// Sessions that are made ahead at once: Genesys' usual budget of 100 a second, at a quarter of a second each, keeps 25
/// under way.
const AT_ONCE: usize = 32;

/// How many visits it takes to make up for one session that was made for nobody.
const VISITS_FOR_A_LAPSE: usize = 10;

/// How often a visit must wait as long as usual before it counts as held up.
const HELD_UP: u32 = 2;

/// The ledger.
#[derive(Debug)]
pub(super) struct Pool {
    config: Config,
    /// The oldest first, so that under steady demand none gets too old.
    kept: VecDeque<Kept>,
    /// Being made ahead.
    under_way: usize,
    /// Visits that wait for a session of their own: since when, and a number, since two may begin in one moment.
    waiting: BTreeSet<Wait>,
    waits: u64,
    demand: Demand,
    turns: Turns,
    trouble: Option<Trouble>,
    /// Sessions made ahead that nobody fetched in time, in visits that must come before they are forgotten.
    lapses: usize,
}

/// A visit that waits.
pub(super) type Wait = (Duration, u64);

#[derive(Debug)]
struct Kept {
    session: Session,
    since: Duration,
    /// Made ahead, rather than for a visitor who left.
    ahead: bool,
}

/// Why nothing is made ahead for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The budget is spent, ours or the one that Genesys grants, until this moment.
    Spent(Duration),
    /// Genesys fails. Whether it works again is for a visit to find out: of the few tries that are let through to a
    /// failing Genesys none is to be spent on nobody.
    Failing,
}

impl Pool {
    pub(super) fn new(config: Config) -> Self {
        Self {
            turns: Turns::new(config.per_second),
            config,
            kept: VecDeque::new(),
            under_way: 0,
            waiting: BTreeSet::new(),
            waits: 0,
            demand: Demand::new(),
            trouble: None,
            lapses: 0,
        }
    }

    /// A visit wants a session: one that is kept, if there is one.
    pub(super) fn visit(&mut self, now: Duration, today: Timestamp) -> Option<Session> {
        self.demand.visit(now);
        self.lapses = self.lapses.saturating_sub(1);
        self.drop_stale(now, today);
        self.kept.pop_front().map(|kept| kept.session)
    }

    /// A visit begins to wait for a session of its own.
    pub(super) fn begin(&mut self, now: Duration) -> Wait {
        self.turns.take_one(now);
        self.waits += 1;
        let wait = (now, self.waits);
        self.waiting.insert(wait);
        wait
    }

    /// What came of it.
    pub(super) fn end(&mut self, wait: Wait, now: Duration, minted: &Result<Session, MintError>) {
        self.waiting.remove(&wait);
        match minted {
            Ok(_) => {
                self.demand.made_in(now.saturating_sub(wait.0));
                self.trouble = self.trouble.filter(|trouble| *trouble != Trouble::Failing);
            }
            Err(error) => self.failed(error, now),
        }
    }

    /// A session whose visitor has left.
    pub(super) fn put_left_over(&mut self, session: Session, now: Duration) {
        if self.kept.len() < MAX_LEFT_OVER {
            self.kept.push_back(Kept { session, since: now, ahead: false });
        }
    }

    /// What came of a session that was made ahead, `began` being when.
    pub(super) fn put_ahead(&mut self, minted: Result<Session, MintError>, began: Duration, now: Duration) {
        self.under_way = self.under_way.saturating_sub(1);
        match minted {
            Ok(session) => {
                self.demand.made_in(now.saturating_sub(began));
                self.kept.push_back(Kept { session, since: now, ahead: true });
            }
            Err(error) => self.failed(&error, now),
        }
    }

    pub(super) fn level(&self) -> Level {
        Level { kept: self.kept.len(), under_way: self.under_way, size: self.config.size }
    }

    /// How many sessions to begin to make ahead now. They count as under way from here on.
    pub(super) fn start(&mut self, now: Duration, today: Timestamp) -> usize {
        self.drop_stale(now, today);
        if self.is_held_back(now) {
            return 0;
        }
        let room = self.config.size.saturating_sub(self.lapses.div_ceil(VISITS_FOR_A_LAPSE));
        let target = target(self.demand.per_second(now), self.demand.latency(), self.config.max_age, room);
        let lacking = target.saturating_sub(self.kept.len() + self.under_way);
        let started = self.turns.take_spare(lacking.min(AT_ONCE.saturating_sub(self.under_way)), now);
        self.under_way += started;
        started
    }

    /// Genesys fails, the budget is spent, or a visit has to wait longer than usual: whatever is the matter, it is no
    /// time for work that nobody asked for.
    ///
    /// That a visit waits at all is no reason: where visits come faster than Genesys answers there would always be one,
    /// and a stock that ran out once would never be filled again.
    fn is_held_back(&self, now: Duration) -> bool {
        let is_held_up = |wait: &Wait| now.saturating_sub(wait.0) > self.demand.latency() * HELD_UP;
        self.waiting.first().is_some_and(is_held_up)
            || match self.trouble {
                None => false,
                Some(Trouble::Spent(until)) => now < until,
                Some(Trouble::Failing) => true,
            }
    }

    fn failed(&mut self, error: &MintError, now: Duration) {
        self.trouble = Some(match error {
            MintError::RateLimited { retry_after } => Trouble::Spent(now + *retry_after),
            _ => Trouble::Failing,
        });
    }

    fn drop_stale(&mut self, now: Duration, today: Timestamp) {
        while let Some(oldest) = self.kept.front()
            && !(now.saturating_sub(oldest.since) < self.config.max_age && is_fresh(&oldest.session, today))
        {
            // What was made for a visit that came is not made for nobody.
            self.lapses += if oldest.ahead { VISITS_FOR_A_LAPSE } else { 0 };
            self.kept.pop_front();
        }
    }
}

/// Whether nearly all of its life lies ahead: three quarters, which is what `check` holds `max_age` against. It matters
/// where Genesys gives less than was asked for, and where the machine slept or its calendar was set.
fn is_fresh(session: &Session, today: Timestamp) -> bool {
    session.expires_at.since(today) * 4 >= session.expires_at.since(session.issued_at) * 3 && today < session.expires_at
}

/// Our account of the provider's budget. Sessions made ahead take of its upper half alone, so that visits which then
/// come all at once do not find it spent.
#[derive(Debug)]
struct Turns {
    per_second: f64,
    left: f64,
    counted: Duration,
}

impl Turns {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, left: per_second, counted: Duration::ZERO }
    }

    fn take_one(&mut self, now: Duration) {
        self.refill(now);
        self.left = (self.left - 1.0).max(0.0);
    }

    /// Takes up to `wanted`.
    fn take_spare(&mut self, wanted: usize, now: Duration) -> usize {
        self.refill(now);
        // Of a budget of one a second there is no half.
        let enough = (self.per_second / 2.0 + 1.0).min(self.per_second);
        let mut taken = 0;
        while taken < wanted && self.left >= enough {
            self.left -= 1.0;
            taken += 1;
        }
        taken
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.counted).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        self.counted = now.max(self.counted);
    }
}
