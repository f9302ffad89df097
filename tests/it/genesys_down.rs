//! When Genesys does not answer, the site stays up and whoever has a session notices nothing.

use std::time::{Duration, Instant};

use guestpass::demo::genesys::{Endpoint, Faults, Malformation, Target, Trouble};
use http::StatusCode;

use crate::harness::{Plan, Town};

fn broken() -> Faults {
    Faults { error_rate: 1.0, ..Faults::default() }
}

/// What Genesys answers to the session calls of one first visit, and whether the visit gets a session in the end.
#[tokio::test]
async fn every_row_of_the_error_table_as_the_visitor_the_site_and_genesys_see_it() {
    let status = |code: u16| Trouble::status(StatusCode::from_u16(code).unwrap());
    let asking_to_wait =
        Trouble::Status { status: StatusCode::TOO_MANY_REQUESTS, retry_after: Some("3600".to_owned()) };
    #[rustfmt::skip]
    let table: Vec<(&str, Faults, &[u16], bool)> = vec![
        ("401 once",             Faults::next(1, status(401)),                     &[401, 201],      true),
        ("401 for ever",         Faults::always(status(401)),                      &[401, 401],      false),
        ("403",                  Faults::always(status(403)),                      &[403],           false),
        ("400",                  Faults::always(status(400)),                      &[400],           false),
        ("409 once",             Faults::next(1, status(409)),                     &[409, 201],      true),
        ("409 for ever",         Faults::always(status(409)),                      &[409, 409],      false),
        ("429 once",             Faults::next(1, status(429)),                     &[429, 201],      true),
        ("429 for an hour",      Faults::always(asking_to_wait),                   &[429],           false),
        ("503 twice",            Faults::next(2, status(503)),                     &[503, 503, 201], true),
        ("502 for ever",         Faults::always(status(502)),                      &[502, 502, 502], false),
        ("504 once",             Faults::next(1, status(504)),                     &[504, 201],      true),
        ("500",                  Faults::always(status(500)),                      &[500],           false),
        ("418",                  Faults::always(status(418)),                      &[418],           false),
        ("no JSON",              malformed(Malformation::NotJson),                 &[201],           false),
        ("no token",             malformed(Malformation::MissingToken),            &[201],           false),
        ("a token that is none", malformed(Malformation::BadToken),                &[201],           false),
        ("expired already",      malformed(Malformation::Past),                    &[201],           false),
        ("expires next week",    malformed(Malformation::TooFar),                  &[201],           false),
    ];
    for (row, faults, statuses, gets_a_session) in table {
        let town = Town::planned(Plan::default().faults(faults)).await;
        let answer = town.visitor().visit("/").await;
        assert_eq!(answer.status, 200, "{row}: the site stays up");
        assert_eq!(answer.session_cookie().is_some(), gets_a_session, "{row}: what the visitor got");
        assert_eq!(town.site.seen().len(), 1, "{row}: the site is asked once");
        let identity = town.site_saw().headers.contains_key("x-genesys-session-id");
        assert_eq!(identity, gets_a_session, "{row}: what the site heard");
        let calls = town.genesys.calls_to(Endpoint::Session);
        let answered: Vec<u16> = calls.iter().filter_map(|call| Some(call.status?.as_u16())).collect();
        assert_eq!(answered, statuses, "{row}: what Genesys answered");
    }
}

fn malformed(how: Malformation) -> Faults {
    Faults::always(Trouble::Malformed(how))
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
