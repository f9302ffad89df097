//! Two good cookies in one request: neither is used when they are of different sessions, and planted ones are cleared
//! away.

use http::Method;

use crate::harness::visitor::Answer;
use crate::harness::{Plan, Town};

const NAVIGATE: [(&str, &str); 3] =
    [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "same-origin")];
const FETCH: [(&str, &str); 3] =
    [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", "same-origin")];

/// The session cookies of two visitors.
async fn two_sessions(town: &Town) -> [String; 2] {
    let (mut one, mut other) = (town.visitor(), town.visitor());
    one.visit("/").await;
    other.visit("/").await;
    [one.cookie.unwrap(), other.cookie.unwrap()]
}

async fn ask(town: &Town, method: Method, path: &str, cookies: &[String], headers: &[(&str, &str)]) -> Answer {
    let sent: Vec<_> = cookies.iter().map(|value| format!("genesys_session={value}")).collect();
    let sent = sent.join("; ");
    town.visitor().ask(method, path, &[headers, &[("cookie", &sent)]].concat()).await
}

/// The places that an answer clears, as `Path` and `Domain`, and the hop that it sets.
fn set_by(answer: &Answer) -> (Vec<String>, Option<String>) {
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    let hops = cookies.iter().filter_map(|text| text.strip_prefix("genesys_session_hop="));
    let hop = hops.map(|rest| rest.split(';').next().unwrap().to_owned()).find(|hop| !hop.is_empty());
    let cleared = cookies.iter().filter(|text| text.starts_with("genesys_session=;")).map(|text| {
        assert!(text.contains("; Max-Age=0"), "{text}");
        let places = text.split("; ").filter(|part| part.starts_with("Path=") || part.starts_with("Domain="));
        places.collect::<Vec<_>>().join(" ")
    });
    (cleared.collect(), hop)
}

#[tokio::test]
async fn every_row_of_twins() {
    let town = Town::raise().await;
    let [one, other] = two_sessions(&town).await;
    let damaged = format!("{}x", &one[..one.len() - 1]);
    #[rustfmt::skip]
    let table: &[(&[&String], bool)] = &[
        // sent                          a session is known
        (&[&one],                        true),
        (&[&one, &one],                  true),
        (&[&damaged, &one],              true),
        (&[&one, &damaged],              true),
        (&[&one, &other],                false),
        (&[&other, &damaged, &one],      false),
    ];
    for (sent, known) in table {
        let sent: Vec<String> = sent.iter().map(|value| (*value).clone()).collect();
        let before = town.events().len();
        let answer = ask(&town, Method::GET, "/", &sent, &FETCH).await;
        assert_eq!(answer.status, 200);
        assert_eq!(town.site_saw().headers.contains_key("x-genesys-session-id"), *known, "{sent:?}");
        assert_eq!(town.events()[before..], [if *known { "verified" } else { "conflicted" }], "{sent:?}");
        assert!(set_by(&answer).0.is_empty(), "at `/` of this host there is our own place alone");
    }
    assert_eq!(town.minted(), 2, "nothing is minted on top");
}

#[tokio::test]
async fn on_issue_the_request_passes_and_its_answer_clears_every_place_but_ours() {
    let town = Town::planned(Plan::default().answer("cache-control", "public, max-age=600")).await;
    let sessions = two_sessions(&town).await;
    for headers in [NAVIGATE, FETCH] {
        let answer = ask(&town, Method::GET, "/shop/cart/7?a=b", &sessions, &headers).await;
        assert_eq!(answer.headers["cache-control"], "private, no-store");
        let places = ["Path=/shop", "Path=/shop/", "Path=/shop/cart", "Path=/shop/cart/", "Path=/shop/cart/7"];
        assert_eq!(set_by(&answer), (places.map(str::to_owned).to_vec(), None));
        assert_eq!(town.site_saw().target, "/shop/cart/7?a=b");
    }
}

#[tokio::test]
async fn the_domains_above_the_host_are_cleared_too() {
    let town = Town::raise().await;
    let sessions = two_sessions(&town).await;
    let host = [&FETCH[..], &[("host", "www.shop.co.uk")]].concat();
    let answer = ask(&town, Method::GET, "/a", &sessions, &host).await;
    let places = [
        "Path=/ Domain=www.shop.co.uk",
        "Path=/ Domain=shop.co.uk",
        "Path=/a",
        "Path=/a Domain=www.shop.co.uk",
        "Path=/a Domain=shop.co.uk",
    ];
    assert_eq!(set_by(&answer).0, places);

    let address = [&FETCH[..], &[("host", "127.0.0.1")]].concat();
    let answer = ask(&town, Method::GET, "/a", &sessions, &address).await;
    assert_eq!(set_by(&answer).0, ["Path=/a"], "an address has nothing above it");
}

#[tokio::test]
async fn on_require_a_navigation_is_cleared_and_reloaded_once_and_all_else_refused() {
    let town = Town::raise().await;
    let sessions = two_sessions(&town).await;
    let seen = town.site.seen().len();

    let page = ask(&town, Method::GET, "/account/", &sessions, &NAVIGATE).await;
    assert_eq!((page.status.as_u16(), page.headers["refresh"].to_str().unwrap()), (200, "0"));
    assert_eq!(page.headers["cache-control"], "private, no-store");
    let places = ["Path=/account", "Path=/account/"].map(str::to_owned).to_vec();
    assert_eq!(set_by(&page), (places, Some("c".to_owned())));

    for (method, headers) in [(Method::GET, FETCH), (Method::POST, NAVIGATE), (Method::HEAD, NAVIGATE)] {
        let answer = ask(&town, method.clone(), "/account/", &sessions, &headers).await;
        assert_eq!(answer.status, 403, "{method} {headers:?}");
        assert_eq!(set_by(&answer), (vec![], None), "{method} {headers:?}");
    }
    assert_eq!(town.site.seen().len(), seen, "the site hears of none");
}

#[tokio::test]
async fn where_clearing_helps_the_visitor_goes_on_and_where_it_does_not_it_is_403() {
    let town = Town::raise().await;
    let [own, planted] = two_sessions(&town).await;
    ask(&town, Method::GET, "/account/", &[planted.clone(), own.clone()], &NAVIGATE).await;

    for (sent, status) in [
        (format!("genesys_session={own}; genesys_session_hop=c"), 200),
        (format!("genesys_session={planted}; genesys_session={own}; genesys_session_hop=c"), 403),
    ] {
        let headers = [&NAVIGATE[..], &[("cookie", &sent)]].concat();
        let answer = town.visitor().ask(Method::GET, "/account/", &headers).await;
        assert_eq!(answer.status, status);
        assert!(!answer.headers.contains_key("refresh"), "there is no second reload");
    }
}

/// Whoever planted the hop as well locked the visitor out for as long as it lived: nothing seemed left to try.
#[tokio::test]
async fn a_planted_hop_beside_a_planted_twin_locks_nobody_out() {
    let town = Town::raise().await;
    let [own, planted] = two_sessions(&town).await;
    let sent = format!("genesys_session={planted}; genesys_session={own}; genesys_session_hop=c");
    let headers = [&NAVIGATE[..], &[("cookie", &sent), ("host", "www.shop.example")]].concat();
    let answer = town.visitor().ask(Method::GET, "/account/", &headers).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    for (pair, place) in [
        ("genesys_session=;", "; Path=/; Domain=shop.example; Max-Age=0"),
        ("genesys_session=;", "; Path=/account; Max-Age=0"),
        ("genesys_session_hop=;", "; Path=/; Domain=shop.example; Max-Age=0"),
        ("genesys_session_hop=;", "; Path=/account/; Max-Age=0"),
        ("genesys_session_hop=;", "; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
        ("=x;", "; Path=/; Max-Age=0"),
    ] {
        let is_there = |text: &&&str| text.starts_with(pair) && text.ends_with(place);
        assert_eq!(set.iter().filter(is_there).count(), 1, "{pair} {place} in {set:#?}");
    }
    assert!(
        !set.iter().any(|text| text.starts_with("genesys_session=;") && text.ends_with("Secure; Path=/; Max-Age=0"))
    );
}

/// The Strict cookie and its planted twin both stay behind when a link elsewhere leads here, and both come with the
/// reload.
#[tokio::test]
async fn twins_that_only_show_after_an_arrival_are_still_cleared() {
    let town = Town::raise().await;
    let [own, planted] = two_sessions(&town).await;
    let sent = format!("genesys_session={own}; genesys_session={planted}; genesys_session_hop=1");
    let headers = [&NAVIGATE[..], &[("cookie", &sent)]].concat();
    let page = town.visitor().ask(Method::GET, "/account/", &headers).await;
    assert_eq!((page.status.as_u16(), set_by(&page).1.as_deref()), (200, Some("c")));
}

#[tokio::test]
async fn an_answer_that_cannot_carry_cookies_clears_nothing() {
    let town = Town::raise().await;
    let sessions = two_sessions(&town).await;
    for (path, clears) in [("/status/200", true), ("/status/304", false)] {
        let answer = ask(&town, Method::GET, path, &sessions, &FETCH).await;
        assert_eq!(answer.status.as_str(), &path[8..]);
        assert_eq!(!set_by(&answer).0.is_empty(), clears, "{path}");
    }
}

#[tokio::test]
async fn on_open_nothing_is_read_and_nothing_cleared() {
    let town = Town::raise().await;
    let sessions = two_sessions(&town).await;
    let answer = ask(&town, Method::GET, "/public/a", &sessions, &NAVIGATE).await;
    assert_eq!((answer.status.as_u16(), set_by(&answer)), (200, (vec![], None)));
}
