//! When Genesys does not answer, the site stays up and whoever has a session notices nothing.

use std::time::{Duration, Instant};

use guestpass::demo::genesys::{Endpoint, Faults, Target, Trouble};

use crate::harness::{Plan, Town};

fn broken() -> Faults {
    Faults { error_rate: 1.0, ..Faults::default() }
}

#[tokio::test]
async fn a_first_visit_passes_without_a_session() {
    let town = Town::planned(Plan::default().faults(broken()).set("genesys.mint_timeout", "500ms")).await;
    let answer = town.visitor().visit("/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.session_cookie().is_none());
    assert!(!town.site_saw().headers.contains_key("x-genesys-session-id"));
    assert_eq!(town.events(), ["mint failed"]);
}

#[tokio::test]
async fn a_route_may_say_that_it_is_refused_instead() {
    let routes = [
        "path = \"/chat/**\"\non_mint_failure = \"refuse\"",
        "path = \"/account/**\"\nsession = \"require\"\non_missing = \"issue\"",
    ];
    let town =
        Town::planned(Plan::default().routes(&routes).faults(broken()).set("genesys.mint_timeout", "500ms")).await;
    for path in ["/chat/", "/account/"] {
        let answer = town.visitor().visit(path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "session_unavailable"), "{path}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert!(town.site.seen().is_empty());
}

#[tokio::test]
async fn a_return_visit_notices_nothing() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    town.genesys.set_faults(Faults::always(Trouble::Hang).on(Target::Both));
    let started = Instant::now();
    assert_eq!(visitor.visit("/account/").await.status, 200);
    assert!(started.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn no_visit_waits_longer_than_mint_timeout() {
    let plan = Plan::default().set("genesys.mint_timeout", "400ms").set("genesys.attempt_timeout", "300ms");
    let town = Town::planned(plan.faults(Faults::always(Trouble::Hang).on(Target::Both))).await;
    let started = Instant::now();
    assert_eq!(town.visitor().visit("/").await.status, 200);
    assert!(started.elapsed() < Duration::from_millis(1_000), "{:?}", started.elapsed());
}

#[tokio::test]
async fn with_the_breaker_open_a_visit_does_not_wait_at_all() {
    let plan = Plan::default().set("genesys.breaker_failures", 1).set("genesys.mint_timeout", "300ms");
    let town = Town::planned(
        plan.set("genesys.attempt_timeout", "200ms").faults(Faults::always(Trouble::Hang).on(Target::Both)),
    )
    .await;
    town.visitor().visit("/").await;
    let calls = town.genesys.calls_to(Endpoint::Token).len();
    let started = Instant::now();
    assert_eq!(town.visitor().visit("/").await.status, 200);
    assert!(started.elapsed() < Duration::from_millis(150), "{:?}", started.elapsed());
    assert_eq!(town.genesys.calls_to(Endpoint::Token).len(), calls, "and Genesys is left alone");
}
