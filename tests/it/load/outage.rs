//! Genesys is dead for a while, under load: whoever has a session sees nothing of it, and whoever is new is received as
//! the route says, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use guestpass::demo::genesys::{Endpoint, Faults, Target, Trouble};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::percentile;
use crate::harness::{Machine, Plan, Visitor, eventually};

const MINT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
const BREAKER_FAILURES: usize = 5;
const BREAKER_RETRY: Duration = Duration::from_secs(3);

/// What a machine that does many other things may add to any time.
const ALLOWANCE: Duration = Duration::from_millis(300);

const RETURNING: usize = 20;
const NEW: usize = 2;

/// How long it is dead: the seconds of `GUESTPASS_OUTAGE`.
fn outage() -> Duration {
    Duration::from_secs(std::env::var("GUESTPASS_OUTAGE").map_or(15, |seconds| seconds.parse().unwrap()))
}

/// One request, and what came of it.
struct Seen {
    began: Instant,
    took: Duration,
    status: StatusCode,
    got_a_session: bool,
    told_when_to_come_again: bool,
}

#[tokio::test]
#[ignore = "needs a release build"]
async fn who_has_a_session_notices_nothing_and_who_has_none_does_not_wait() {
    let limit: toml::Table = "per = '1m'\nothers = 100000".parse().unwrap();
    let plan = Plan::default()
        .routes(&["path = \"/account/**\"\nsession = \"require\"\non_missing = \"issue\""])
        .set("genesys.mint_timeout", text(MINT_TIMEOUT))
        .set("genesys.attempt_timeout", text(ATTEMPT_TIMEOUT))
        .set("genesys.breaker_failures", BREAKER_FAILURES as i64)
        .set("genesys.breaker_retry", text(BREAKER_RETRY))
        .set("session.mint_limit", limit)
        .set("log.access", "access.log");
    let machine = Machine::planned(plan).await;
    let (_program, address) = machine.run();
    let crowd = Crowd::default();
    let mut returning = Vec::new();
    for number in 0..RETURNING {
        let mut visitor = Visitor::over_http1(address);
        visitor.visit("/").await;
        returning.push(crowd.keeps_visiting(visitor, if number % 2 == 0 { "/" } else { "/account/" }));
    }
    let nobody = || Visitor::over_http1(address);
    let new: Vec<_> = (0..NEW).map(|_| crowd.keeps_visiting(nobody(), "/")).collect();
    let new_and_required: Vec<_> = (0..NEW).map(|_| crowd.keeps_visiting(nobody(), "/account/")).collect();

    tokio::time::sleep(Duration::from_secs(5)).await;
    machine.genesys.set_faults(Faults::always(Trouble::Hang).on(Target::Both));
    let died = Instant::now();
    let calls = || machine.genesys.calls_to(Endpoint::Session).len();
    let before = calls();
    tokio::time::sleep(outage()).await;
    let tried = calls() - before;
    machine.genesys.set_faults(Faults::default());
    let revived = Instant::now();
    tokio::time::sleep(BREAKER_RETRY + MINT_TIMEOUT).await;
    let returning = crowd.goes_home(returning).await;
    let new = crowd.goes_home(new).await;
    let new_and_required = crowd.goes_home(new_and_required).await;

    let all = || returning.iter().chain(&new).chain(&new_and_required);
    let longest = all().map(|seen| seen.took).max().unwrap();
    println!("{} requests, of which the longest took {longest:?}; Genesys was tried {tried} times", all().count());
    // How long it waited for its session is below. This is everything, on a machine on which the visitors run as well.
    assert!(longest < 2 * MINT_TIMEOUT, "{longest:?}");
    // Those that opened the breaker may have been so many at once, each with a second attempt.
    let most = BREAKER_FAILURES + 2 * 2 * NEW + 2 * (outage().as_secs() / BREAKER_RETRY.as_secs()) as usize;
    assert!(tried <= most, "{tried} calls, not {most}");

    let is_dead = |seen: &&Seen| seen.began >= died && seen.began + seen.took < revived;
    assert!(returning.iter().all(|seen| seen.status == 200 && !seen.got_a_session));
    let (usual, now): (Vec<&Seen>, Vec<&Seen>) = returning.iter().partition(|seen| seen.began + seen.took < died);
    let [usual, now] = [usual, now].map(|seen| percentile(seen.iter().map(|seen| seen.took).collect(), 99));
    println!("a returning visitor's 99th percentile: {usual:?} before, {now:?} from then on");
    assert!(now < 3 * usual + Duration::from_millis(20), "{usual:?} before, {now:?} from then on");

    let dead: Vec<&Seen> = new.iter().filter(is_dead).collect();
    assert!(!dead.is_empty() && dead.iter().all(|seen| seen.status == 200 && !seen.got_a_session));
    let refused: Vec<&Seen> = new_and_required.iter().filter(is_dead).collect();
    assert!(!refused.is_empty() && refused.iter().all(|seen| seen.status == 503 && seen.told_when_to_come_again));

    // Whoever did not try himself, against those who need not.
    let took = |all: Vec<&Seen>| -> Vec<Duration> {
        all.iter().map(|seen| seen.took).filter(|took| *took < ATTEMPT_TIMEOUT / 2).collect()
    };
    let at_the_same_time: Vec<&Seen> = returning.iter().filter(is_dead).collect();
    let [returning, waited] = [at_the_same_time, dead].map(|seen| percentile(took(seen), 50));
    println!("with the breaker open, the median of a first visit is {waited:?}, and of a return visit {returning:?}");
    assert!(waited < returning + Duration::from_millis(1), "{waited:?} instead of {returning:?}");
    let [longest, median, p99] = waits(&machine).await;
    println!(
        "the longest wait was {longest:?}; with the breaker open it was {median:?}, {p99:?} at the 99th percentile"
    );
    assert!(longest < MINT_TIMEOUT + ALLOWANCE, "{longest:?}");
    assert!(median < Duration::from_millis(1), "{median:?}");

    let again = new.iter().chain(&new_and_required).filter(|seen| seen.began >= revived && seen.got_a_session);
    let again = again.map(|seen| seen.began + seen.took - revived).min().expect("minting resumes");
    println!("minting resumed after {again:?}");
    assert!(again < BREAKER_RETRY + ALLOWANCE, "{again:?}");
}

/// How long visits waited for a session, as the access log says: at most, and with the breaker open the median and the
/// 99th percentile.
async fn waits(machine: &Machine) -> [Duration; 3] {
    let read = || std::fs::read_to_string(machine.folder().join("access.log")).unwrap();
    eventually("the log is whole", || read().ends_with('\n')).await;
    let lines: Vec<Value> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let waits = |is_one: fn(&Value) -> bool| -> Vec<Duration> {
        let some = lines.iter().filter(|line| is_one(line));
        some.filter_map(|line| Some(Duration::from_secs_f64(line["mint_ms"].as_f64()? / 1000.0))).collect()
    };
    let open = waits(|line| line["reason"] == "breaker_open");
    assert!(open.len() > 100, "{} visits", open.len());
    [percentile(waits(|_| true), 100), percentile(open.clone(), 50), percentile(open, 99)]
}

/// Visitors who go on until they are called home.
#[derive(Default)]
struct Crowd {
    enough: Arc<AtomicBool>,
}

impl Crowd {
    /// Ten times a second, on a connection of his own. Who has no session at the beginning keeps none.
    fn keeps_visiting(&self, visitor: Visitor, path: &'static str) -> JoinHandle<Vec<Seen>> {
        let enough = Arc::clone(&self.enough);
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut all = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                pace.tick().await;
                let began = Instant::now();
                let answer = visitor.clone().ask(Method::GET, path, &[]).await;
                all.push(Seen {
                    began,
                    took: began.elapsed(),
                    status: answer.status,
                    got_a_session: answer.session_cookie().is_some(),
                    told_when_to_come_again: answer.headers.contains_key("retry-after"),
                });
            }
            all
        })
    }

    async fn goes_home(&self, visitors: Vec<JoinHandle<Vec<Seen>>>) -> Vec<Seen> {
        self.enough.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for visitor in visitors {
            all.extend(visitor.await.unwrap());
        }
        all
    }
}

fn text(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
