//! What the site is told of a visitor is the proxy's own word: what a client claims is dropped before, and what is added
//! behind that cannot be taken away by what a client said.

use http::Method;

use crate::harness::{Town, Visitor};

/// Everything that the site is told beside what the client said. `Via` is the one to which everybody on the way adds
/// (RFC 9110, section 7.6.3), so it stands last.
const OURS: [&str; 10] = [
    "x-genesys-session-id",
    "x-genesys-session-expires",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "forwarded",
    "x-real-ip",
    "via",
];

#[tokio::test]
async fn a_claim_is_replaced_by_what_was_verified_and_by_what_was_minted() {
    let town = Town::raise().await;
    let claimed = &OURS[..OURS.len() - 1];
    let claims: Vec<_> = claimed.iter().map(|name| (*name, "mine")).collect();
    for mut visitor in [town.visitor(), Visitor::over_http2(town.address())] {
        // The first time it is minted, the second time verified.
        for _ in 0..2 {
            visitor.ask(Method::GET, "/", &claims).await;
            let seen = town.site_saw();
            for name in claimed.iter().copied() {
                let values: Vec<_> = seen.headers.get_all(name).iter().collect();
                assert!(!values.is_empty() && values.iter().all(|value| *value != "mine"), "{name}: {values:?}");
            }
            let session = town.genesys.sessions().pop().unwrap();
            assert_eq!(seen.headers["x-genesys-session-id"], session.id.as_str());
        }
    }
}

#[tokio::test]
async fn connection_names_nothing_away_that_is_added_behind_it() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    let everything = OURS.join(", ");
    for _ in 0..2 {
        visitor.ask(Method::GET, "/", &[("connection", everything.as_str())]).await;
        let seen = town.site_saw();
        let gone: Vec<_> = OURS.into_iter().filter(|name| !seen.headers.contains_key(*name)).collect();
        assert!(gone.is_empty(), "{gone:?} did not arrive");
    }
}

#[tokio::test]
async fn the_first_visit_and_the_next_are_told_the_same_end() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    let mut ends = Vec::new();
    for _ in 0..2 {
        visitor.visit("/").await;
        ends.push(town.site_saw().headers["x-genesys-session-expires"].clone());
    }
    assert_eq!(town.minted(), 1);
    assert_eq!(ends[0], ends[1]);
}

/// A stranger's reached the site, where the access log knew the request by another.
#[tokio::test]
async fn the_request_id_of_a_stranger_is_not_passed_on() {
    let town = Town::raise().await;
    for name in ["x-request-id", "x_request_id"] {
        let answer = town.visitor().ask(Method::GET, "/", &[(name, "mine")]).await;
        let seen = town.site_saw();
        assert_eq!(seen.headers["x-request-id"], answer.headers["x-request-id"]);
        assert!(seen.headers.values().all(|value| value != "mine"), "{name}");
    }
}
