//! With a warm pool a first visit does not wait for Genesys, and no more is made than visits and the pool account for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use guestpass::clock::{Clock, ManualClock, Timestamp};
use guestpass::demo::genesys::{Faults, Trouble};
use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::MissedTickBehavior;

use crate::harness::{Plan, Town, Visitor, eventually};

const LATENCY: Duration = Duration::from_millis(250);

/// A town with a pool of `size`, that logs into a folder.
async fn town(size: i64, plan: Plan) -> (Town, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let limit = toml::Table::from_iter([("per".to_owned(), "1m".into()), ("others".to_owned(), 10_000.into())]);
    let plan = plan
        .set("session.warm_pool.size", size)
        .set("session.mint_limit", limit)
        .set("log.access", folder.path().join("access.log").to_str().unwrap());
    (Town::planned(plan).await, folder)
}

fn slowly() -> Plan {
    Plan::default().faults(Faults { latency: LATENCY, ..Faults::default() })
}

/// Somebody new over a connection that is there already. What the session cookie was.
async fn somebody_new(visitor: &mut Visitor) -> String {
    visitor.cookie = None;
    let answer = visitor.visit("/").await;
    answer.session_cookie().expect("a first visit gets one").value
}

/// What the access log says of the first `count` requests.
async fn log(folder: &TempDir, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    eventually("the lines are written", || read().lines().count() >= count).await;
    read().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn first_visits_at_a_steady_pace_do_not_wait() {
    const SIZE: usize = 16;
    const VISITS: usize = 100;
    let (town, folder) = town(SIZE as i64, slowly()).await;
    let mut visitor = town.visitor();
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cookies = BTreeSet::new();
    for visits in 1..=VISITS {
        pace.tick().await;
        cookies.insert(somebody_new(&mut visitor).await);
        assert!(town.minted() <= visits + SIZE, "{} for {visits} visits", town.minted());
    }
    assert_eq!(cookies.len(), VISITS, "two visitors never share one");

    let lines = log(&folder, VISITS).await;
    let waits = |source: &str| -> Vec<f64> {
        lines.iter().filter(|line| line["mint"] == source).map(|line| line["mint_ms"].as_f64().unwrap()).collect()
    };
    let (pool, direct) = (waits("pool"), waits("direct"));
    assert_eq!(pool.len() + direct.len(), VISITS);
    assert!(direct.iter().all(|wait| *wait >= 240.0), "Genesys takes {LATENCY:?}: {direct:?}");
    // Generous, since the machine may do many other things, and this is no optimized build.
    assert!(pool.iter().filter(|wait| **wait > 20.0).count() <= VISITS / 100, "{pool:?}");
    assert!(direct.len() <= VISITS / 10, "{} of {VISITS} waited", direct.len());
}

#[tokio::test]
async fn nothing_is_made_while_idle_and_what_is_old_is_thrown_away() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
    let (town, folder) = town(8, Plan::default().clock(Arc::clone(&clock) as Arc<dyn Clock>)).await;
    let mut visitor = town.visitor();
    let first = somebody_new(&mut visitor).await;
    eventually("one more is made", || town.minted() == 2).await;

    for _ in 0..20 {
        // More than a minute in all, however late the answer arrives that Genesys has given.
        clock.advance(Duration::from_secs(4));
        assert_eq!(visitor.holding(&first).visit("/account/").await.status, 200);
    }
    assert_eq!(town.minted(), 2, "a return visit takes none, and nobody else came");

    somebody_new(&mut visitor).await;
    let lines = log(&folder, 22).await;
    let sessions = town.genesys.sessions();
    assert_eq!(lines[21]["mint"], "direct", "the one that was made ahead is a minute old");
    let got_one = |id: &str| lines.iter().any(|line| line["session_id"] == id);
    assert_eq!(sessions[..2].iter().filter(|session| got_one(&session.id)).count(), 1, "nobody gets it");

    let mut visits = 22;
    while log(&folder, visits).await[visits - 1]["mint"] != "pool" {
        somebody_new(&mut visitor).await;
        visits += 1;
        assert!(visits < 50, "the pool is filled again");
    }
    let handed_out = visits - 20;
    let told = town.events().iter().filter(|event| **event == "minted").count();
    assert_eq!(told, handed_out, "an event for each that was handed out, and none for what was made");
}

#[tokio::test]
async fn what_was_made_ahead_outlasts_genesys_and_a_failure_is_told_apart() {
    let plan = Plan::default().set("genesys.max_attempts", 1);
    let (town, folder) = town(1, plan).await;
    let mut visitor = town.visitor();
    somebody_new(&mut visitor).await;
    let mut visits = 1;
    while log(&folder, visits).await[visits - 1]["mint"] != "pool" {
        somebody_new(&mut visitor).await;
        visits += 1;
        assert!(visits < 50, "the pool is filled");
    }
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    town.genesys.set_faults(Faults::always(Trouble::Status { status, retry_after: None }));
    for _ in 0..3 {
        visitor.cookie = None;
        assert_eq!(visitor.visit("/").await.status, 200);
    }
    let lines = log(&folder, visits + 3).await;
    let said: Vec<&str> = lines[visits..].iter().map(|line| line["mint"].as_str().unwrap()).collect();
    assert_eq!(said.iter().filter(|word| **word == "direct").count(), 0, "{said:?}");
    assert!(said.ends_with(&["failed", "failed"]), "at most the one that was there already: {said:?}");
    assert_eq!(lines[visits + 2]["reason"], "status");
}
