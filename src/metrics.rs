//! The numbers of a running proxy: what was told of it, counted, and what the other rooms say when they are asked.
//!
//! On a request's way stands a handful of additions to plain atomics: no lock, no label that is looked up, and nothing
//! that a visitor could make more of. What is written of them for Prometheus stands in [`exposition`], and the last five
//! minutes, for a page to look at, in [`history`]. Who may see them is [`crate::admin`]'s business.

mod tally;
mod count;
mod house;
mod history;
mod exposition;
mod process;

pub use self::exposition::Format;
pub use self::history::{Rates, Summary};
pub use self::house::{House, KeyFacts, Keys, RingFile};

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::MissedTickBehavior;

use crate::audit::{self, ClientAddress};
use crate::clock::{Clock, Timestamp};
use crate::context::Context;
use crate::cookie::{KeyId, Reading};
use crate::event::{Event, Sink};
use crate::outbox;
use crate::refusal::{Code, Refusal};
use crate::routes::Route;

use self::history::{History, STEP, Sample};
use self::tally::{READINGS, Tally};

/// How many refusals are remembered: a screenful.
const REFUSALS: usize = 50;

/// The numbers. A clone shows and counts the same.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    started: Timestamp,
    began: Duration,
    client_address: ClientAddress,
    audit: Option<Arc<audit::Health>>,
    outbox: Option<Arc<outbox::Health>>,
    tally: Tally,
    house: ArcSwapOption<House>,
    history: Mutex<History>,
    refusals: Mutex<VecDeque<LastRefusal>>,
    reload: Mutex<Option<Reload>>,
}

/// A configuration that was read while the program ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// Whether it has been in use since; else the last good one still is.
    pub taken: bool,
}

/// A request that was refused not long ago. Nothing of it is the visitor's own text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefusal {
    /// When.
    pub at: Timestamp,
    /// With what.
    pub code: Code,
    /// By which rule.
    pub reason: String,
    /// On which route, as its path pattern, if it met one.
    pub route: Option<String>,
    /// From where, as far as an audit log may say it.
    pub client: Option<String>,
}

impl Metrics {
    /// Begins to count. Of the clients' addresses so much is shown; `audit` and `outbox` are how these fare, where there
    /// are any.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        client_address: ClientAddress,
        audit: Option<Arc<audit::Health>>,
        outbox: Option<Arc<outbox::Health>>,
    ) -> Self {
        Self(Arc::new(Inner {
            started: clock.now(),
            began: clock.uptime(),
            clock,
            client_address,
            audit,
            outbox,
            tally: Tally::new(),
            house: ArcSwapOption::empty(),
            history: Mutex::default(),
            refusals: Mutex::default(),
            reload: Mutex::default(),
        }))
    }

    /// From now on these rooms are asked.
    pub fn ask(&self, house: House) {
        self.0.house.store(Some(Arc::new(house)));
    }

    /// Under which numbers requests of these routes are counted, in their order, and of the one that is implied. A route
    /// that was there under another configuration goes on with its number.
    #[must_use]
    pub fn slots(&self, routes: &[Route], upstreams: &[&str]) -> Arc<[usize]> {
        let upstream = |place: usize| upstreams.get(place).copied().unwrap_or("none");
        let name = |route: &Route| match route.host.to_string() {
            host if host == "*" => route.path.to_string(),
            host => format!("{host}{}", route.path),
        };
        let slot = |route: &Route| self.0.tally.slot(&name(route), upstream(route.upstream));
        routes.iter().chain([&Route::implied()]).map(slot).collect()
    }

    /// Fills the last five minutes, for as long as it is polled.
    pub async fn keep_history(self) {
        let mut ticks = tokio::time::interval(STEP);
        // A moment in which nobody had time to look is one long step, and no row of empty ones.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    /// One step of the history.
    fn look(&self) {
        let sample = self.sample();
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner).add(sample);
    }

    /// All numbers, as text.
    #[must_use]
    pub fn write(&self, format: Format) -> String {
        exposition::write(self, format)
    }

    /// The last five minutes: how far apart the steps are, and what happened in each.
    #[must_use]
    pub fn rates(&self) -> (Duration, Rates) {
        (STEP, self.0.history.lock().unwrap_or_else(PoisonError::into_inner).rates())
    }

    /// The same as a whole.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let now = self.sample();
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner).summary(&now)
    }

    /// The last refusals, the newest first.
    #[must_use]
    pub fn last_refusals(&self) -> Vec<LastRefusal> {
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    /// The last time that the configuration was read again, and how often it was refused and taken.
    #[must_use]
    pub fn reloads(&self) -> (Option<Reload>, [u64; 2]) {
        (*self.0.reload.lock().unwrap_or_else(PoisonError::into_inner), self.0.tally.reloads().map(|(_, count)| count))
    }

    /// How many cookies a key has vouched for.
    #[must_use]
    pub fn verified_with(&self, id: KeyId) -> u64 {
        self.0.tally.verified_with(id)
    }

    /// How many cookies were good.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.0.tally.read_as(Reading::Valid)
    }

    /// How many requests each route in shadow would have turned away, where there were any.
    #[must_use]
    pub fn shadowed(&self) -> Vec<(String, u64)> {
        let routes = self.0.tally.routes();
        let counts = routes.iter().map(|route| (route.name.clone(), route.shadowed.count()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The other rooms, once they are known.
    #[must_use]
    pub fn house(&self) -> Option<Arc<House>> {
        self.0.house.load_full()
    }

    /// How the audit log fares, where there is one.
    #[must_use]
    pub fn audit(&self) -> Option<&audit::Health> {
        self.0.audit.as_deref()
    }

    /// How the outbox fares, where there is one.
    #[must_use]
    pub fn outbox(&self) -> Option<&outbox::Health> {
        self.0.outbox.as_deref()
    }

    /// When the program started.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.0.started
    }

    /// How long it has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.clock.uptime().saturating_sub(self.0.began)
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn tally(&self) -> &Tally {
        &self.0.tally
    }

    fn sample(&self) -> Sample {
        let tally = &self.0.tally;
        let sum = |counts: &mut dyn Iterator<Item = (&'static str, u64)>| counts.map(|(_, count)| count).sum::<u64>();
        let (mints, mint_failures) = (sum(&mut tally.minted().into_iter()), tally.mint_failures());
        let readings = READINGS.map(|reading| tally.read_as(reading));
        let verified = readings[Reading::Valid as usize];
        Sample {
            at: self.0.clock.uptime(),
            requests: tally.routes().iter().map(|route| sum(&mut route.classes())).sum(),
            visits: verified + mints + mint_failures.iter().sum::<u64>() + tally.mints_limited(),
            mints,
            readings,
            mint_failures,
            refusals: tally.refusals(),
            mint_waits: tally.mint_waits().read(),
        }
    }

    /// Remembers a refusal, unless another one is being written down at this very moment: a flood of them is not to
    /// queue up here.
    fn remember(&self, refusal: &Refusal, context: Option<&Context>) {
        let mut refusals = match self.0.refusals.try_lock() {
            Ok(refusals) => refusals,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if refusals.len() == REFUSALS {
            refusals.pop_front();
        }
        let mut route = None;
        if let Some(context) = context {
            context.record.note(|entry| route = entry.route.as_deref().map(str::to_owned));
        }
        refusals.push_back(LastRefusal {
            at: self.0.clock.now(),
            code: refusal.code,
            reason: refusal.reason.clone().into_owned(),
            route,
            client: context.and_then(|context| self.0.client_address.of(context.client)),
        });
    }
}

impl Sink for Metrics {
    fn notice(&self, event: &Event<'_>, context: Option<&Context>) {
        self.0.tally.count(event, context);
        match event {
            Event::Refused { refusal } => self.remember(refusal, context),
            Event::ConfigReloaded { taken } => {
                let reload = Reload { at: self.0.clock.now(), taken: *taken };
                *self.0.reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
            }
            _ => {}
        }
    }
}
