//! A first visit gets a session, and notices nothing else of it.

use std::time::Duration;

use futures_util::future::join_all;
use guestpass::demo::genesys::{Endpoint, Faults};
use http::Method;

use crate::harness::{Plan, Town, Visitor};

const NAVIGATION: [(&str, &str); 2] = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

#[tokio::test]
async fn it_is_minted_signed_and_set_and_the_site_hears_of_it() {
    let town = Town::raise().await;
    let answer = town.visitor().ask(Method::GET, "/", &NAVIGATION).await;

    assert_eq!(answer.status, 200);
    let cookie = answer.session_cookie().expect("a cookie is set");
    assert!(cookie.value.starts_with("v1.env-"), "{}", cookie.value);
    for attribute in ["secure", "httponly", "samesite=strict", "path=/"] {
        assert!(cookie.attributes.iter().any(|found| found == attribute), "{attribute}: {:?}", cookie.attributes);
    }
    let max_age = cookie.attributes.iter().find_map(|found| found.strip_prefix("max-age=")).unwrap();
    assert!((3560..=3570).contains(&max_age.parse::<u32>().unwrap()), "the session's hour, less the margin: {max_age}");
    assert!(cookie.attributes.iter().any(|found| found.starts_with("expires=")), "{:?}", cookie.attributes);
    assert!(!cookie.attributes.iter().any(|found| found.starts_with("domain")), "{:?}", cookie.attributes);
    assert_eq!(answer.headers["cache-control"], "private, no-store");

    let session = town.genesys.sessions().pop().unwrap();
    assert_eq!(town.site_saw().headers["x-genesys-session-id"], session.id.as_str());
    assert!(!town.site_saw().headers.contains_key("x-genesys-session-token"));
    assert_eq!(town.events(), ["minted"]);
}

#[tokio::test]
async fn it_goes_upstream_unconditionally_so_that_the_answer_is_whole() {
    let town = Town::raise().await;
    let conditions = [
        ("if-none-match", "\"1\""),
        ("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("if-range", "\"1\""),
        ("range", "bytes=0-1"),
    ];
    let mut visitor = town.visitor();
    visitor.ask(Method::GET, "/", &conditions).await;
    assert!(conditions.iter().all(|(name, _)| !town.site_saw().headers.contains_key(*name)));

    visitor.ask(Method::GET, "/", &conditions).await;
    assert!(conditions.iter().all(|(name, _)| town.site_saw().headers.contains_key(*name)), "a return visit may ask");
}

#[tokio::test]
async fn what_is_no_visit_passes_and_mints_nothing() {
    let town = Town::raise().await;
    let not_visits: [(Method, &str, &[(&str, &str)]); 6] = [
        (Method::POST, "/", &[]),
        (Method::HEAD, "/", &[]),
        (Method::GET, "/robots.txt", &[]),
        (Method::GET, "/style.css", &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "style")]),
        (Method::GET, "/", &[NAVIGATION[0], NAVIGATION[1], ("sec-purpose", "prefetch")]),
        (Method::GET, "/public/page", &NAVIGATION),
    ];
    for (method, path, headers) in not_visits {
        let answer = town.visitor().ask(method.clone(), path, headers).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.status);
        assert!(answer.session_cookie().is_none(), "{method} {path}");
        assert!(!town.site_saw().headers.contains_key("x-genesys-session-id"), "{method} {path}");
    }
    assert_eq!(town.minted(), 0);
}

#[tokio::test]
async fn a_hundred_at_once_get_a_hundred_sessions_with_one_token() {
    let plan = Plan::default().set("session.mint_limit", mint_limit(1000)).set("genesys.rate_limit", 1000);
    let town = Town::planned(plan.faults(Faults { latency: Duration::from_millis(50), ..Faults::default() })).await;
    let visits = (0..100).map(|_| async { town.visitor().visit("/").await });
    let answers = join_all(visits).await;

    let mut cookies: Vec<String> = answers.iter().map(|answer| answer.session_cookie().unwrap().value).collect();
    cookies.sort_unstable();
    cookies.dedup();
    assert_eq!(cookies.len(), 100, "two people never share a session");
    assert_eq!(town.minted(), 100);
    assert_eq!(town.genesys.calls_to(Endpoint::Token).len(), 1);
}

#[tokio::test]
async fn over_http2_it_is_the_same() {
    let town = Town::raise().await;
    let mut visitor = Visitor::over_http2(town.address());
    let first = visitor.visit("/").await;
    assert!(first.session_cookie().is_some());
    assert!(visitor.visit("/account/").await.status.is_success());
    assert_eq!(town.minted(), 1);
}

#[tokio::test]
async fn one_address_gets_so_many_and_no_more_and_the_site_stays_up() {
    let plan = Plan::default().set("session.mint_limit", mint_limit(3)).routes(&[r#"
        path = "/account/**"
        session = "require"
        on_missing = "issue"
    "#]);
    let town = Town::planned(plan).await;
    for _ in 0..3 {
        assert!(town.visitor().visit("/").await.session_cookie().is_some());
    }
    let fourth = town.visitor().visit("/").await;
    assert_eq!(fourth.status, 200);
    assert!(fourth.session_cookie().is_none());

    let refused = town.visitor().visit("/account/").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "too_many_sessions"));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(town.minted(), 3);
}

#[tokio::test]
async fn the_cookie_goes_on_our_own_errors_too() {
    let plan = Plan::default().set("upstream.servers", vec!["http://127.0.0.1:1"]);
    let town = Town::planned(plan).await;
    let answer = town.visitor().visit("/").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_unreachable"));
    assert!(answer.session_cookie().is_some(), "the session exists, so it is not wasted");
}

#[tokio::test]
async fn issue_on_any_mints_for_every_request_without_a_session() {
    let town = Town::planned(Plan::default().set("session.issue_on", "any")).await;
    let answer = town.visitor().ask(Method::POST, "/api", &[("sec-fetch-mode", "cors")]).await;
    assert!(answer.session_cookie().is_some());
}

fn mint_limit(others: i64) -> toml::Table {
    toml::Table::from_iter([("per".to_owned(), "1m".into()), ("others".to_owned(), others.into())])
}

#[tokio::test]
async fn a_sealed_cookie_is_as_good_and_shows_nothing() {
    let town = Town::planned(Plan::default().set("cookie.protection", "sealed")).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    assert!(visitor.cookie.as_ref().unwrap().starts_with("e1.env-"), "{:?}", visitor.cookie);
    assert_eq!(visitor.visit("/account/").await.status, 200);
    assert_eq!(town.site_saw().headers["x-genesys-session-id"], town.genesys.sessions()[0].id.as_str());
    assert_eq!(town.minted(), 1);

    let signing = Town::raise().await;
    assert_eq!(visitor_of(&signing, &visitor).visit("/account/").await.status, 200, "the other mode reads it as well");
}

/// The same person at another instance with the same key.
fn visitor_of(town: &Town, visitor: &Visitor) -> Visitor {
    town.visitor().holding(visitor.cookie.clone().unwrap())
}
