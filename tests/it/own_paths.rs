//! The proxy's own paths: for the site's pages alone, and out of the site's reach.

use guestpass::demo::genesys::Faults;
use http::Method;

use crate::harness::visitor::Answer;
use crate::harness::{Plan, Town, Visitor, raw};

const SESSION: &str = "/_guestpass/session";
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// As every answer about a session must be.
fn is_for_our_pages_alone(answer: &Answer) {
    assert!(answer.headers["cache-control"].to_str().unwrap().contains("no-store"), "{answer:?}");
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{answer:?}");
}

async fn with_session(town: &Town) -> Visitor {
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor
}

fn holding(town: &Town, cookie: Option<&String>) -> Visitor {
    let mut visitor = town.visitor();
    visitor.cookie = cookie.cloned();
    visitor
}

#[tokio::test]
async fn a_script_learns_its_session_and_never_the_token() {
    let town = Town::raise().await;
    let mut visitor = with_session(&town).await;
    for origin in [&[][..], &[SAME_ORIGIN], &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "cross-site")]] {
        let answer = visitor.ask(Method::GET, SESSION, origin).await;
        is_for_our_pages_alone(&answer);
        assert_eq!(answer.headers["cross-origin-resource-policy"], "same-origin");
        assert_eq!(answer.status, 200);
        let session = &town.genesys.sessions()[0];
        let found = json(&answer);
        assert_eq!(found["session_id"], session.id.as_str());
        assert!(found["expires_at"].as_str().unwrap().ends_with(".000Z"), "{found}");
        assert_eq!(found.as_object().unwrap().len(), 2);
        assert!(!answer.body.contains(session.token.expose()));
    }
    assert_eq!(visitor.ask(Method::HEAD, SESSION, &[]).await.status, 200);
    assert_eq!(town.site.seen().len(), 1, "the first visit alone reached the site");
}

#[tokio::test]
async fn looking_mints_nothing() {
    let town = Town::raise().await;
    let navigation = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    for headers in [&[][..], &[SAME_ORIGIN], &navigation] {
        let answer = town.visitor().ask(Method::GET, SESSION, headers).await;
        is_for_our_pages_alone(&answer);
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "session_required"));
    }
    assert_eq!((town.minted(), town.site.seen().len()), (0, 0));
}

#[tokio::test]
async fn every_cookie_is_read_as_on_a_protected_path_or_replaced() {
    let town = Town::raise().await;
    let good = with_session(&town).await.cookie.unwrap();
    let other = with_session(&town).await.cookie.unwrap();
    let (head, tag) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}{}", if tag.starts_with('A') { 'B' } else { 'A' }, &tag[1..]);
    let outdated = good.replacen("v1.env-", "v1.old-", 1);
    let twins = format!("{good}; genesys_session={other}");
    //           cookie      GET  POST mints DELETE
    let table = [
        (Some(&good), 200, 200, false, 204),
        (None, 401, 200, true, 204),
        (Some(&outdated), 401, 200, true, 204),
        (Some(&forged), 403, 200, true, 204),
        (Some(&twins), 403, 403, false, 403),
    ];
    for (cookie, get, post, mints, delete) in table {
        // A visitor each, since signing out takes the session away; the good one goes last.
        let visitor = || holding(&town, cookie);
        let before = town.minted();
        assert_eq!(visitor().ask(Method::GET, SESSION, &[SAME_ORIGIN]).await.status, get, "GET {cookie:?}");
        assert_eq!(town.minted(), before);
        let posted = visitor().ask(Method::POST, SESSION, &[SAME_ORIGIN]).await;
        is_for_our_pages_alone(&posted);
        assert_eq!(posted.status, post, "POST {cookie:?}");
        assert_eq!(town.minted() - before, usize::from(mints), "POST {cookie:?}");
        let set = posted.session_cookie();
        assert_eq!(set.as_ref().is_some_and(|set| !set.value.is_empty()), mints, "{cookie:?}");
        let clears = set.is_some_and(|set| set.value.is_empty());
        assert_eq!(clears, cookie == Some(&twins), "of twins the planted one is cleared away: {cookie:?}");
        if cookie == Some(&good) {
            continue;
        }
        let deleted = visitor().ask(Method::DELETE, SESSION, &[SAME_ORIGIN]).await;
        is_for_our_pages_alone(&deleted);
        assert_eq!(deleted.status, delete, "DELETE {cookie:?}");
    }
    let again = holding(&town, Some(&good)).visit("/account/").await;
    assert_eq!(again.status, 200, "no one else's sign-out has touched it");
}

#[tokio::test]
async fn asking_for_a_session_gives_one_and_the_same_from_then_on() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    let first = visitor.ask(Method::POST, SESSION, &[SAME_ORIGIN]).await;
    let attributes = first.session_cookie().unwrap().attributes;
    assert!(["secure", "httponly", "samesite=strict"].iter().all(|one| attributes.iter().any(|it| it == one)));
    let again = visitor.ask(Method::POST, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!(first.body, again.body.as_str());
    assert!(again.session_cookie().is_none());
    assert_eq!(json(&again)["session_id"], town.genesys.sessions()[0].id.as_str());
    assert_eq!((town.minted(), town.site.seen().len()), (1, 0));
    assert_eq!(town.events(), ["minted", "verified"]);
}

#[tokio::test]
async fn minting_has_the_limits_and_the_failures_of_a_visit() {
    let limited = Plan::default().set("session.mint_limit.others", 1).set("session.mint_limit.browsers", 1);
    let town = Town::planned(limited).await;
    assert_eq!(town.visitor().ask(Method::POST, SESSION, &[SAME_ORIGIN]).await.status, 200);
    let refused = town.visitor().ask(Method::POST, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "too_many_sessions"));
    assert!(refused.headers.contains_key("retry-after"));

    let down = Plan::default().faults(Faults { error_rate: 1.0, ..Faults::default() });
    let town = Town::planned(down).await;
    let refused = town.visitor().ask(Method::POST, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "session_unavailable"));
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn only_our_own_pages_may_change_anything() {
    let town = Town::planned(Plan::default().set("session.mint_limit.others", 100)).await;
    let ours = format!("https://localhost:{}", town.address().port());
    let shouted = ours.to_ascii_uppercase().replace("HTTPS", "https");
    let in_the_clear = ours.replace("https", "http");
    let longer = format!("{ours}.example");
    //           Sec-Fetch-Site      Origin                       is ours
    let table: [(Option<&str>, Option<&str>, bool); 15] = [
        (Some("same-origin"), Some(&ours), true),
        (Some("same-origin"), None, true),
        // Under `Referrer-Policy: no-referrer`.
        (Some("same-origin"), Some("null"), true),
        (None, Some(&ours), true),
        (None, Some(&shouted), true),
        (None, None, false),
        (None, Some("null"), false),
        (None, Some(&in_the_clear), false),
        (None, Some(&longer), false),
        (None, Some("https://localhost"), false),
        (None, Some("https://evil.example"), false),
        (Some("same-site"), Some(&ours), false),
        (Some("cross-site"), Some(&ours), false),
        (Some("none"), None, false),
        (Some(""), Some(&ours), false),
    ];
    for (site, origin, is_ours) in table {
        let mut headers = Vec::new();
        headers.extend(site.map(|site| ("sec-fetch-site", site)));
        headers.extend(origin.map(|origin| ("origin", origin)));
        let before = town.minted();
        let posted = town.visitor().ask(Method::POST, SESSION, &headers).await;
        assert_eq!(town.minted() - before, usize::from(is_ours), "{headers:?}");
        let mut visitor = with_session(&town).await;
        let deleted = visitor.ask(Method::DELETE, SESSION, &headers).await;
        if is_ours {
            assert_eq!((posted.status.as_u16(), deleted.status.as_u16()), (200, 204), "{headers:?}");
            continue;
        }
        for refused in [posted, deleted] {
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "cross_origin"), "{headers:?}");
            is_for_our_pages_alone(&refused);
        }
        assert_eq!(visitor.visit("/account/").await.status, 200, "it still has its session: {headers:?}");
    }
}

#[tokio::test]
async fn a_preflight_gets_no_permission() {
    let town = Town::raise().await;
    let asks =
        [("origin", "https://evil.example"), ("access-control-request-method", "DELETE"), ("sec-fetch-mode", "cors")];
    let answer = town.visitor().ask(Method::OPTIONS, SESSION, &asks).await;
    is_for_our_pages_alone(&answer);
    assert_eq!(answer.status, 204);
    assert_eq!(answer.headers["allow"], "GET, HEAD, POST, DELETE, OPTIONS");
    assert_eq!(town.site.seen().len(), 0);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_the_next_visit_begins_another() {
    let town = Town::raise().await;
    let mut visitor = with_session(&town).await;
    let kept = visitor.clone();
    let answer = visitor.ask(Method::DELETE, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    let cleared = answer.session_cookie().unwrap();
    assert!(cleared.value.is_empty() && cleared.attributes.iter().any(|found| found == "max-age=0"), "{cleared:?}");
    assert!(answer.expires_marker(), "{:?}", answer.headers);
    assert_eq!(visitor.cookie, None);

    let stolen = kept.clone().visit("/account/").await;
    assert_eq!((stolen.status.as_u16(), stolen.code().as_str()), (403, "session_invalid"));
    assert_eq!(kept.clone().ask(Method::DELETE, SESSION, &[SAME_ORIGIN]).await.status, 204, "once more does no harm");

    visitor.visit("/").await;
    assert_eq!(town.minted(), 2);
    assert_eq!(visitor.visit("/account/").await.status, 200);
    assert!(town.events().contains(&"revoked"));
}

#[tokio::test]
async fn what_is_not_there_is_said_and_never_forwarded() {
    let town = Town::raise().await;
    let table = [
        (Method::PUT, SESSION, 405, "method_not_allowed"),
        (Method::TRACE, SESSION, 405, "method_not_allowed"),
        (Method::POST, "/_guestpass/health", 405, "method_not_allowed"),
        (Method::GET, "/_guestpass/", 404, "not_found"),
        (Method::GET, "/_guestpass/session/", 404, "not_found"),
        (Method::GET, "/_guestpass/Session", 404, "not_found"),
        (Method::POST, "/_guestpass/sessions/revoke", 404, "not_found"),
    ];
    for (method, path, status, code) in table {
        let answer = town.visitor().ask(method.clone(), path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{method} {path}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    assert_eq!((town.minted(), town.site.seen().len()), (0, 0));
}

#[tokio::test]
async fn by_no_other_spelling_is_the_site_reached_or_a_protected_path() {
    let town = Town::raise().await;
    for path in [
        "/_guestpass",
        "/_GUESTPASS/session",
        "//_guestpass/session",
        "/%5fguestpass/session",
        "/%255Fguestpass/session",
        "/_guestpass%2fsession",
        "/_guestpass%5csession",
        "/_guestpass;x/session",
        "/public/../_guestpass/session",
        "/public/%2e%2e/_guestpass/session",
        "/public/..%2f_guestpass/session",
        "/_guestpass/../account/",
        "/_guestpass/%2e%2e/account/",
        "/_guestpass/..%2faccount/",
        "/_guestpass/..;/account/",
        "/_guestpass/session/..%2f..%2faccount/",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(town.address(), head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_path"), "{path}: {answer}");
    }
    assert_eq!((town.minted(), town.site.seen().len()), (0, 0));
}

#[tokio::test]
async fn health_needs_no_host_and_a_session_does() {
    let town = Town::planned(Plan::default().routes(&["host = \"shop.example\"\npath = \"/**\""])).await;
    let mut visitor = town.visitor();
    assert_eq!(visitor.visit("/").await.status, 421);
    for method in [Method::GET, Method::HEAD] {
        let health = visitor.ask(method, "/_guestpass/health", &[]).await;
        assert_eq!((health.status.as_u16(), health.headers["cache-control"].as_bytes()), (200, &b"no-store"[..]));
    }
    for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
        assert_eq!(visitor.ask(method, SESSION, &[SAME_ORIGIN]).await.status, 421);
    }
    assert_eq!((town.minted(), town.site.seen().len()), (0, 0));
}

#[tokio::test]
async fn the_prefix_is_the_operators() {
    let town = Town::planned(Plan::default().set("own.prefix", "/own/paths/")).await;
    let mut visitor = with_session(&town).await;
    assert_eq!(visitor.visit("/own/paths/session").await.status, 200);
    visitor.visit(SESSION).await;
    assert_eq!(town.site_saw().target, SESSION, "which is the site's now");
}

#[tokio::test]
async fn a_script_gets_no_session_where_no_visit_would() {
    let protected = "path = \"/**\"\nsession = \"require\"";
    let town = Town::planned(Plan::default().routes(&[protected])).await;
    let refused = town.visitor().ask(Method::POST, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "session_required"));
    let forged = town.visitor().holding("v1.a.b.c").ask(Method::POST, SESSION, &[SAME_ORIGIN]).await;
    assert_eq!(forged.status, 403);
    assert_eq!(town.minted(), 0);

    let chat = "path = \"/chat/**\"\nsession = \"issue\"";
    let town = Town::planned(Plan::default().routes(&[protected, chat])).await;
    assert_eq!(town.visitor().ask(Method::POST, SESSION, &[SAME_ORIGIN]).await.status, 200);
}
