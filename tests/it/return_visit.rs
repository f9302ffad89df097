//! A visitor who has a session is verified without Genesys.

use std::sync::Arc;
use std::time::Duration;

use guestpass::clock::{ManualClock, Timestamp};
use http::Method;

use crate::harness::{Plan, Town};

#[tokio::test]
async fn the_cookie_is_enough_and_genesys_is_not_asked() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let calls = town.genesys.calls().len();

    let again = visitor.visit("/headers").await;
    assert_eq!(again.status, 200);
    assert!(again.session_cookie().is_none(), "nothing is set anew");
    assert!(!again.headers.contains_key("cache-control"), "and the site's own caching stands");
    assert_eq!(town.genesys.calls().len(), calls);
    assert_eq!(town.site_saw().headers["x-genesys-session-id"], town.genesys.sessions()[0].id.as_str());
    assert_eq!(town.events(), ["minted", "verified"]);
}

#[tokio::test]
async fn the_site_never_sees_the_raw_cookie_and_all_others_untouched() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let ours = format!("genesys_session={}", visitor.cookie.take().unwrap());
    let sent = format!("a=1;  b=\"x y\"; {ours}; c=%20; =odd");
    visitor.ask(Method::GET, "/", &[("cookie", &sent)]).await;
    let seen = town.site_saw();
    assert_eq!(seen.headers["cookie"], "a=1;  b=\"x y\"; c=%20; =odd");
    assert!(seen.headers.contains_key("x-genesys-session-id"));

    visitor.ask(Method::GET, "/", &[("cookie", &ours)]).await;
    assert!(!town.site_saw().headers.contains_key("cookie"));
}

#[tokio::test]
async fn the_token_goes_to_the_site_only_where_it_is_wanted() {
    let town = Town::planned(Plan::default().set("upstream.forward_token", true)).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor.visit("/").await;
    assert_eq!(town.site_saw().headers["x-genesys-session-token"], town.genesys.sessions()[0].token.expose());
}

#[tokio::test]
async fn an_expired_session_is_followed_by_a_new_one() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(guest_time())));
    let town =
        Town::planned(Plan::default().clock(Arc::clone(&clock) as _).set("session.expiration_seconds", 300)).await;
    let mut visitor = town.visitor();
    let first = visitor.visit("/").await.session_cookie().unwrap().value;
    clock.advance(Duration::from_secs(301));
    assert_eq!(visitor.visit("/account/").await.status, 401, "its time is over");
    let second = visitor.visit("/").await;
    assert!(second.session_cookie().is_none() || second.session_cookie().unwrap().value != first);
    assert_eq!(town.events()[1..3], ["rejected", "refused"]);
}

#[tokio::test]
async fn a_cookie_of_our_name_that_the_site_sets_is_dropped() {
    let plan =
        Plan::default().answer("set-cookie", "genesys_session=theirs; Path=/").answer("set-cookie", "cart=7; Path=/");
    let town = Town::planned(plan).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let answer = visitor.visit("/").await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["cart=7; Path=/"]);
    assert!(town.events().contains(&"upstream set our cookie"));
}

/// The simulator goes by the machine's clock, so a manual one must begin there.
#[expect(clippy::disallowed_methods, reason = "a test stands outside of the program")]
fn guest_time() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
