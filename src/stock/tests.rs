use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::secret::SecretText;

const BUDGET: Duration = Duration::from_secs(3);
const MAX_AGE: Duration = Duration::from_secs(60);
const LIFETIME: Duration = Duration::from_secs(3_600);

/// Makes one session for each permit, and fails as long as it is told to.
#[derive(Debug)]
struct Slow {
    permits: Semaphore,
    asked: AtomicU32,
    minted: AtomicU32,
    failure: Mutex<Option<MintError>>,
    lifetime: Mutex<Duration>,
    clock: Arc<ManualClock>,
}

impl Slow {
    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    fn fail(&self, with: Option<MintError>) {
        *self.failure.lock().unwrap() = with;
    }
}

impl Provider for Slow {
    fn mint(&self, _budget: Duration) -> Minting<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            self.permits.acquire().await.unwrap().forget();
            if let Some(error) = self.failure.lock().unwrap().clone() {
                return Err(error);
            }
            let number = self.minted.fetch_add(1, Ordering::Relaxed) + 1;
            let now = self.clock.now();
            Ok(Session {
                id: format!("session-{number}"),
                token: SecretText::new("t".repeat(43)),
                organization_id: "org".to_owned(),
                issued_at: now,
                expires_at: now.plus(*self.lifetime.lock().unwrap()),
            })
        })
    }

    fn organization_id(&self) -> &'static str {
        "org"
    }
}

/// A stock, what it mints with, and the clock.
struct Scene {
    stock: Stock,
    slow: Arc<Slow>,
    clock: Arc<ManualClock>,
}

/// Without a warm pool for `size` 0. Nothing is minted before there are permits.
fn scene(size: usize) -> Scene {
    scene_of(Config { size, max_age: MAX_AGE, per_second: 100 })
}

fn scene_of(config: Config) -> Scene {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
    let slow = Arc::new(Slow {
        permits: Semaphore::new(0),
        asked: AtomicU32::new(0),
        minted: AtomicU32::new(0),
        failure: Mutex::new(None),
        lifetime: Mutex::new(LIFETIME),
        clock: Arc::clone(&clock),
    });
    let stock = Stock::new(Arc::clone(&slow) as Arc<dyn Provider>, Handle::current(), Arc::clone(&clock) as _, config);
    Scene { stock, slow, clock }
}

impl Scene {
    /// Lets everything go on until it stands still. On one thread a few rounds are enough: no task has more than three
    /// steps, and each that ends starts at most one row of others.
    async fn settle(&self) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }

    /// A visit while Genesys answers at once. Says which session, and whether it was there already.
    async fn visit(&self) -> (String, bool) {
        if let Some(session) = self.stock.at_hand() {
            self.settle().await;
            return (session.id, true);
        }
        let session = self.stock.mint(BUDGET).await.unwrap();
        self.settle().await;
        (session.id, false)
    }

    /// A visitor who leaves before there is a session.
    async fn impatient(&self) {
        let mut visit = self.stock.mint(BUDGET);
        assert!(futures_util::poll!(&mut visit).is_pending());
        drop(visit);
        self.slow.permits.add_permits(1);
        self.settle().await;
        assert_eq!(self.stock.level().kept, 1);
    }

    fn answers(&self) {
        self.slow.permits.add_permits(1_000_000);
    }
}

#[tokio::test]
async fn a_session_that_nobody_fetched_goes_to_the_next_visit() {
    let scene = scene(0);
    scene.impatient().await;
    assert_eq!(scene.visit().await, ("session-1".to_owned(), true));
    scene.answers();
    assert_eq!(scene.visit().await, ("session-2".to_owned(), false), "and to nobody after that");
}

#[tokio::test]
async fn a_session_that_was_handed_over_unseen_is_not_lost() {
    let scene = scene(0);
    let mut visit = scene.stock.mint(BUDGET);
    assert!(futures_util::poll!(&mut visit).is_pending());
    scene.slow.permits.add_permits(1);
    scene.settle().await;
    assert_eq!((scene.slow.minted.load(Ordering::Relaxed), scene.stock.level().kept), (1, 0));
    drop(visit);
    assert_eq!(scene.stock.level().kept, 1);
}

#[tokio::test]
async fn a_session_that_waited_too_long_lapses() {
    let scene = scene(0);
    scene.impatient().await;
    scene.clock.advance(MAX_AGE);
    assert_eq!(scene.stock.at_hand(), None);
}

#[tokio::test]
async fn a_session_without_nearly_all_of_its_life_is_not_handed_out() {
    let scene = scene(0);
    *scene.slow.lifetime.lock().unwrap() = Duration::from_secs(100);
    scene.impatient().await;
    scene.clock.advance(Duration::from_secs(26));
    assert_eq!(scene.stock.at_hand(), None, "26 of 100 seconds are gone");
}

#[tokio::test]
async fn without_a_warm_pool_nothing_is_made_ahead() {
    let scene = scene(0);
    scene.answers();
    for _ in 0..50 {
        assert!(!scene.visit().await.1);
    }
    assert_eq!(scene.slow.asked(), 50);
}

#[tokio::test]
async fn while_visits_come_in_they_are_served_from_the_pool() {
    let scene = scene(8);
    scene.answers();
    let mut ids = BTreeSet::new();
    let mut direct = 0;
    for visits in 1..=400 {
        scene.clock.advance(Duration::from_millis(50));
        let (id, was_there) = scene.visit().await;
        assert!(ids.insert(id), "two visitors never share one");
        direct += u32::from(!was_there);
        assert!(scene.slow.asked() <= visits + 8, "{} for {visits} visits", scene.slow.asked());
    }
    assert_eq!(direct, 1, "only the first one waited");
}

#[tokio::test]
async fn nothing_is_made_while_nobody_comes() {
    let scene = scene(8);
    scene.answers();
    for _ in 0..100 {
        scene.clock.advance(Duration::from_millis(50));
        scene.visit().await;
    }
    let asked = scene.slow.asked();
    for _ in 0..600 {
        scene.clock.advance(Duration::from_secs(1));
        scene.settle().await;
    }
    assert_eq!(scene.slow.asked(), asked);
    assert!(!scene.visit().await.1, "what was there is too old by now");
}

#[tokio::test]
async fn what_nobody_fetches_counts_against_the_pool_until_ten_times_as_many_visits_came() {
    let scene = scene(2);
    scene.answers();
    // Lone visits, each of which has one more made that nobody fetches.
    let mut visits = 0;
    for _ in 0..40 {
        scene.visit().await;
        visits += 1;
        scene.clock.advance(2 * MAX_AGE);
    }
    assert!(scene.slow.asked() <= visits + 2 + visits / 10, "{} for {visits} visits", scene.slow.asked());
    assert!(scene.slow.asked() > visits + 2, "and yet the pool is not used up for ever");
}

#[tokio::test]
async fn a_visit_that_waits_longer_than_usual_stops_it() {
    let scene = scene(8);
    scene.answers();
    for _ in 0..100 {
        scene.clock.advance(Duration::from_millis(50));
        scene.visit().await;
    }
    scene.slow.permits.forget_permits(usize::MAX >> 4);
    // All that is there goes, and what is made ahead hangs, as the visit's own does.
    while scene.stock.at_hand().is_some() {}
    let waiting = scene.stock.mint(BUDGET);
    scene.settle().await;
    scene.clock.advance(Duration::from_secs(1));
    let asked = scene.slow.asked();
    for _ in 0..20 {
        assert_eq!(scene.stock.at_hand(), None);
        scene.stock.mint_ahead();
    }
    scene.settle().await;
    assert_eq!(scene.slow.asked(), asked, "while it waits");
    scene.answers();
    waiting.await.unwrap();
    scene.settle().await;
    assert!(scene.slow.asked() > asked, "and no longer");
}

#[tokio::test]
async fn while_genesys_fails_only_visits_try_it() {
    let scene = scene(8);
    scene.answers();
    scene.slow.fail(Some(MintError::BreakerOpen { retry_after: Duration::from_secs(10) }));
    // The first goes out with one made ahead, before anybody knows.
    let _ = scene.stock.mint(BUDGET).await;
    scene.settle().await;
    let asked = scene.slow.asked();
    for visits in 1..=20 {
        scene.clock.advance(Duration::from_secs(1));
        assert_eq!(scene.stock.at_hand(), None);
        assert!(scene.stock.mint(BUDGET).await.is_err());
        scene.settle().await;
        assert_eq!(scene.slow.asked(), asked + visits, "one try each, and none of ours");
    }
    scene.slow.fail(None);
    assert!(!scene.visit().await.1);
    assert!(scene.visit().await.1, "made ahead as soon as a visit had seen that Genesys works again");
}

#[tokio::test]
async fn a_spent_budget_is_left_to_the_visits_until_it_is_time() {
    let scene = scene(8);
    scene.answers();
    scene.slow.fail(Some(MintError::RateLimited { retry_after: Duration::from_secs(4) }));
    let _ = scene.stock.mint(BUDGET).await;
    scene.settle().await;
    scene.slow.fail(None);
    let asked = scene.slow.asked();
    for visits in 1..=3 {
        scene.clock.advance(Duration::from_secs(1));
        assert!(!scene.visit().await.1);
        assert_eq!(scene.slow.asked(), asked + visits);
    }
    scene.clock.advance(Duration::from_secs(1));
    assert!(!scene.visit().await.1);
    assert!(scene.visit().await.1, "four seconds are over");
}

#[tokio::test]
async fn half_of_the_budget_is_left_to_visits_that_may_come() {
    let scene = scene_of(Config { size: 100, max_age: MAX_AGE, per_second: 10 });
    scene.answers();
    // At one moment, so that nothing of the budget comes back.
    for _ in 0..50 {
        let _ = scene.stock.at_hand();
        scene.settle().await;
    }
    assert_eq!(scene.slow.asked(), 0, "nobody missed one yet");
    for _ in 0..20 {
        scene.stock.mint_ahead();
        scene.settle().await;
    }
    assert_eq!(scene.slow.asked(), 5, "ten at once are allowed, and five are left");
}

#[tokio::test]
async fn so_many_are_under_way_at_once_and_no_more() {
    let scene = scene_of(Config { size: 1_000, max_age: MAX_AGE, per_second: 10_000 });
    for _ in 0..5_000 {
        let _ = scene.stock.at_hand();
    }
    for _ in 0..5 {
        scene.stock.mint_ahead();
        scene.settle().await;
    }
    assert_eq!(scene.slow.asked(), 32);
}
