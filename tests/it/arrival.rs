//! A visitor who comes from another site is known again, and never gets a second session for it.

use std::collections::BTreeMap;

use http::Method;

use crate::harness::visitor::Answer;
use crate::harness::{Plan, Town, Visitor, eventually};

const NAVIGATE: [(&str, &str); 2] = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

/// A browser with a jar of all cookies, as far as their names, `SameSite` and end go.
struct Browser {
    visitor: Visitor,
    jar: BTreeMap<String, Cookie>,
    has_fetch_metadata: bool,
}

#[derive(Clone, Debug)]
struct Cookie {
    value: String,
    is_strict: bool,
}

/// Where a navigation starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Elsewhere,
    Here,
}

impl Browser {
    fn new(town: &Town) -> Self {
        Self { visitor: town.visitor(), jar: BTreeMap::new(), has_fetch_metadata: true }
    }

    fn without_fetch_metadata(town: &Town) -> Self {
        Self { has_fetch_metadata: false, ..Self::new(town) }
    }

    /// The cookies that it sends: from elsewhere no Strict one (RFC 6265bis, section 5.8.3).
    fn cookies(&self, start: Start) -> String {
        let sent = self.jar.iter().filter(|(_, cookie)| start == Start::Here || !cookie.is_strict);
        sent.map(|(name, cookie)| format!("{name}={}", cookie.value)).collect::<Vec<_>>().join("; ")
    }

    async fn ask(&mut self, method: Method, path: &str, start: Start, more: &[(&str, &str)]) -> Answer {
        let site = if start == Start::Here { "same-origin" } else { "cross-site" };
        let mut headers = vec![("sec-fetch-site", site)];
        headers.extend_from_slice(more);
        headers.retain(|(name, _)| self.has_fetch_metadata || !name.starts_with("sec-fetch-"));
        if !headers.iter().any(|(name, _)| *name == "accept") {
            headers.push(("accept", "text/html,application/xhtml+xml,*/*;q=0.8"));
        }
        let cookies = self.cookies(start);
        if !cookies.is_empty() {
            headers.push(("cookie", &cookies));
        }
        self.visitor.cookie = None;
        let answer = self.visitor.ask(method, path, &headers).await;
        for value in answer.headers.get_all("set-cookie") {
            let text = value.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("; Max-Age=0;") {
                self.jar.remove(name);
            } else {
                let is_strict = text.contains("SameSite=Strict");
                self.jar.insert(name.to_owned(), Cookie { value: value.to_owned(), is_strict });
            }
        }
        answer
    }

    /// Follows a link, and the page's own refreshes, for as long as there are any. Says how many there were.
    async fn navigate(&mut self, path: &str, start: Start) -> (Answer, usize) {
        let mut answer = self.ask(Method::GET, path, start, &NAVIGATE).await;
        let mut reloads = 0;
        while answer.headers.get("refresh").is_some_and(|refresh| refresh == "0") {
            reloads += 1;
            assert!(reloads < 10, "it never ends");
            answer = self.ask(Method::GET, path, Start::Here, &NAVIGATE).await;
        }
        (answer, reloads)
    }

    fn session(&self) -> Option<String> {
        self.jar.get("genesys_session").map(|cookie| cookie.value.clone())
    }
}

const ROUTES: [&str; 3] = [
    "path = \"/account/**\"\nsession = \"require\"",
    "path = \"/welcome/**\"\nsession = \"require\"\non_missing = \"issue\"",
    "path = \"/public/**\"\nsession = \"open\"",
];

async fn town() -> Town {
    Town::planned(Plan::default().routes(&ROUTES)).await
}

#[tokio::test]
async fn a_first_visit_sets_the_marker_beside_the_session_with_the_same_end() {
    let town = town().await;
    let answer = town.visitor().visit("/").await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    let [session, marker] = cookies[..] else { panic!("{cookies:?}") };
    let marker_attributes = marker.strip_prefix("genesys_session_seen=1; HttpOnly; SameSite=Lax; Secure; Path=/; ");
    let end = session.split_once("Max-Age").unwrap().1;
    assert_eq!(marker_attributes.unwrap().strip_prefix("Max-Age").unwrap(), end);
}

#[tokio::test]
async fn a_link_from_elsewhere_never_replaces_a_live_session() {
    for has_fetch_metadata in [true, false] {
        let town = town().await;
        let mut browser = Browser { has_fetch_metadata, ..Browser::new(&town) };
        browser.navigate("/", Start::Here).await;
        let session = browser.session().expect("a first visit gets one");
        // Several within the ten seconds for which a hop is remembered, as from a list of links.
        for path in ["/", "/account/", "/welcome/", "/public/", "/account/orders?page=2", "/", "/welcome/"] {
            if !has_fetch_metadata {
                browser.jar.remove("genesys_session_hop");
            }
            let (answer, reloads) = browser.navigate(path, Start::Elsewhere).await;
            assert_eq!(answer.status, 200, "{path}");
            let reloaded = !matches!(path, "/" | "/public/") || (!has_fetch_metadata && path == "/");
            assert_eq!(reloads, usize::from(reloaded), "{path}, Fetch Metadata {has_fetch_metadata}");
            assert_eq!(browser.session().as_ref(), Some(&session), "{path}");
            let known = town.site_saw().headers.contains_key("x-genesys-session-id");
            assert_eq!(known, reloaded, "{path}: where it was reloaded, the site is told who came");
        }
        assert_eq!(town.minted(), 1);
    }
}

#[tokio::test]
async fn on_issue_a_link_from_elsewhere_passes_and_sets_nothing() {
    let town = town().await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    let answer = browser.ask(Method::GET, "/headers", Start::Elsewhere, &NAVIGATE).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("set-cookie"), "{:?}", answer.headers);
    assert!(!town.site_saw().headers.contains_key("x-genesys-session-id"));
    assert_eq!(town.minted(), 1);
    // And from there on the visitor is known again.
    browser.navigate("/headers", Start::Here).await;
    assert!(town.site_saw().headers.contains_key("x-genesys-session-id"));
    assert_eq!(town.minted(), 1);
}

#[tokio::test]
async fn the_page_that_reloads_itself_is_kept_by_no_cache_and_names_the_request() {
    let town = town().await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    let seen = town.site.seen().len();
    let page = browser.ask(Method::GET, "/account/", Start::Elsewhere, &NAVIGATE).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["refresh"], "0");
    assert_eq!(page.headers["cache-control"], "private, no-store");
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.body.contains("<meta http-equiv=\"refresh\" content=\"0\">"), "{}", page.body);
    let id = page.body.split_once("<small>").unwrap().1.split_once("</small>").unwrap().0;
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", page.body);
    let cookies: Vec<_> = page.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 1);
    assert!(
        cookies[0].starts_with("genesys_session_hop=1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=10; "),
        "{cookies:?}"
    );
    assert_eq!(town.site.seen().len(), seen, "the site hears nothing of it");
}

/// Who comes back with a marker and has no session any more, which is so if he deleted it.
#[tokio::test]
async fn where_the_session_is_truly_gone_there_is_one_reload_and_no_loop() {
    #[rustfmt::skip]
    let table: &[(bool, Start, &str, usize, u16, usize)] = &[
        // Fetch Metadata, from,        path,       reloads, status, minted
        (true,  Start::Elsewhere, "/",         0, 200, 0),
        (true,  Start::Elsewhere, "/account/", 1, 401, 0),
        (true,  Start::Elsewhere, "/welcome/", 1, 200, 1),
        (true,  Start::Here,      "/",         0, 200, 1),
        (true,  Start::Here,      "/account/", 0, 401, 0),
        (true,  Start::Here,      "/welcome/", 0, 200, 1),
        (false, Start::Elsewhere, "/",         1, 200, 1),
        (false, Start::Elsewhere, "/account/", 1, 401, 0),
        (false, Start::Elsewhere, "/welcome/", 1, 200, 1),
        (false, Start::Here,      "/",         1, 200, 1),
        (false, Start::Here,      "/account/", 1, 401, 0),
    ];
    for (has_fetch_metadata, start, path, reloads, status, minted) in table {
        let town = town().await;
        let mut browser = Browser { has_fetch_metadata: *has_fetch_metadata, ..Browser::new(&town) };
        let marker = Cookie { value: "1".to_owned(), is_strict: false };
        browser.jar.insert("genesys_session_seen".to_owned(), marker);
        let (answer, reloaded) = browser.navigate(path, *start).await;
        let found = (reloaded, answer.status.as_u16(), town.minted());
        assert_eq!(found, (*reloads, *status, *minted), "{has_fetch_metadata} {start:?} {path}");
    }
}

/// A browser that went on saying that it comes from elsewhere is refused after a few reloads, and nothing is minted.
#[tokio::test]
async fn even_a_browser_that_always_comes_from_elsewhere_is_not_kept_in_a_loop() {
    let town = town().await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    let mut reloads = 0;
    let last = loop {
        let answer = browser.ask(Method::GET, "/welcome/", Start::Elsewhere, &NAVIGATE).await;
        if !answer.headers.contains_key("refresh") {
            break answer;
        }
        reloads += 1;
        assert!(reloads < 10, "it never ends");
    };
    assert_eq!((reloads, last.status.as_u16(), town.minted()), (5, 401, 1));
}

#[tokio::test]
async fn the_access_log_says_what_was_done_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let town = Town::planned(Plan::default().routes(&ROUTES).set("log.access", file.to_str().unwrap())).await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    browser.ask(Method::GET, "/", Start::Elsewhere, &NAVIGATE).await;
    browser.ask(Method::GET, "/account/", Start::Elsewhere, &NAVIGATE).await;
    let (mut other, session) = (town.visitor(), browser.session().unwrap());
    other.visit("/").await;
    let twins = format!("genesys_session={session}; genesys_session={}", other.cookie.take().unwrap());
    other.ask(Method::GET, "/", &[("cookie", &twins)]).await;
    other.ask(Method::GET, "/account/", &[("cookie", &twins), ("accept", "text/html")]).await;

    let read = || std::fs::read_to_string(&file).unwrap();
    eventually("the lines are written", || read().lines().count() >= 6).await;
    // Each core writes its own, so that their order says nothing.
    let lines = read();
    for (reading, decision, reason, policy) in [
        ("absent", "pass", "arrival", "issue"),
        ("absent", "reload", "arrival", "require"),
        ("conflict", "pass", "conflict", "issue"),
        ("conflict", "reload", "conflict", "require"),
    ] {
        let is_it = |line: &&str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            ["reading", "decision", "reason", "policy"].map(|name| line[name].as_str().unwrap_or_default().to_owned())
                == [reading, decision, reason, policy]
        };
        assert_eq!(lines.lines().filter(is_it).count(), 1, "{reading} {decision} {reason} {policy} in\n{lines}");
    }
}

#[tokio::test]
async fn only_a_get_navigation_is_ever_reloaded() {
    let town = town().await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    let cors = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    let prefetch = [NAVIGATE[0], NAVIGATE[1], ("sec-purpose", "prefetch")];
    for (method, headers) in [
        (Method::HEAD, &NAVIGATE[..]),
        (Method::POST, &NAVIGATE[..]),
        (Method::GET, &cors[..]),
        (Method::GET, &frame[..]),
        (Method::GET, &prefetch[..]),
    ] {
        let answer = browser.ask(method.clone(), "/account/", Start::Elsewhere, headers).await;
        assert_eq!(answer.status, 401, "{method} {headers:?}");
        assert!(!answer.headers.contains_key("refresh") && !answer.headers.contains_key("set-cookie"));
    }
    let mut old = Browser::without_fetch_metadata(&town);
    old.jar = browser.jar.clone();
    for method in [Method::HEAD, Method::POST] {
        assert_eq!(old.ask(method.clone(), "/account/", Start::Elsewhere, &[]).await.status, 401, "{method}");
    }
}

/// It was given the page that reloads itself, in the place of the JSON that it had asked for.
#[tokio::test]
async fn a_script_without_fetch_metadata_is_never_given_a_page_to_reload() {
    let town = town().await;
    let mut old = Browser::without_fetch_metadata(&town);
    old.jar.insert("genesys_session_seen".to_owned(), Cookie { value: "1".to_owned(), is_strict: false });
    for accept in ["application/json", "*/*", "image/webp,*/*"] {
        for (path, status) in [("/headers", 200), ("/account/", 401), ("/welcome/", 401)] {
            let answer = old.ask(Method::GET, path, Start::Here, &[("accept", accept)]).await;
            assert_eq!(answer.status, status, "{path} {accept}");
            assert!(!answer.headers.contains_key("refresh"), "{path} {accept}");
            assert!(!answer.headers.contains_key("set-cookie"), "{path} {accept}: a session may be there");
        }
    }
    assert_eq!(town.minted(), 0);
}

/// With `issue_on = "any"` a form on another site replaced a live session: neither cookie nor marker comes with it.
#[tokio::test]
async fn no_request_from_elsewhere_replaces_a_live_session_where_every_request_mints() {
    let any = || Plan::default().routes(&ROUTES).set("session.issue_on", "any");
    let town = Town::planned(any()).await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    browser.jar.remove("genesys_session_hop");
    let session = browser.session().expect("a first visit gets one");
    let cors = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    let prefetch = [NAVIGATE[0], NAVIGATE[1], ("sec-purpose", "prefetch")];
    let marker = browser.jar.remove("genesys_session_seen").unwrap();
    for (method, headers) in
        [(Method::POST, &NAVIGATE[..]), (Method::GET, &cors[..]), (Method::POST, &cors[..]), (Method::GET, &frame[..])]
    {
        let answer = browser.ask(method.clone(), "/headers", Start::Elsewhere, headers).await;
        assert_eq!(answer.status, 200, "{method} {headers:?}");
        assert!(!answer.headers.contains_key("set-cookie"), "{method} {headers:?}");
        let answer = browser.ask(method.clone(), "/welcome/", Start::Elsewhere, headers).await;
        assert_eq!(answer.status, 401, "{method} {headers:?}: nor where a visit would get one");
    }
    browser.jar.insert("genesys_session_seen".to_owned(), marker);
    for headers in [&NAVIGATE[..], &prefetch[..]] {
        let answer = browser.ask(Method::GET, "/headers", Start::Elsewhere, headers).await;
        assert!(!answer.headers.contains_key("set-cookie"), "{headers:?}");
    }
    assert_eq!((browser.session(), town.minted()), (Some(session), 1));

    // A cookie that comes from anywhere is not there when it does not come.
    let town = Town::planned(any().set("cookie.same_site", "none")).await;
    let answer = Browser::new(&town).ask(Method::POST, "/headers", Start::Elsewhere, &NAVIGATE).await;
    assert!(answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_lax_cookie_needs_no_marker_and_has_none() {
    for same_site in ["lax", "none"] {
        let town = Town::planned(Plan::default().routes(&ROUTES).set("cookie.same_site", same_site)).await;
        let mut browser = Browser::new(&town);
        browser.navigate("/", Start::Here).await;
        assert_eq!(browser.jar.keys().collect::<Vec<_>>(), ["genesys_session"]);
        let (answer, reloads) = browser.navigate("/account/", Start::Elsewhere).await;
        assert_eq!((answer.status.as_u16(), reloads), (200, 0), "it comes along by itself");

        // A marker that is left from a time when the cookie was Strict means nothing.
        let mut newcomer = Browser::new(&town);
        newcomer.jar.insert("genesys_session_seen".to_owned(), Cookie { value: "1".to_owned(), is_strict: false });
        newcomer.navigate("/", Start::Elsewhere).await;
        assert!(newcomer.session().is_some(), "a visit from elsewhere mints");
    }
}

#[tokio::test]
async fn a_cookie_with_a_prefix_has_companions_that_browsers_keep() {
    for name in ["__Host-guest", "__Secure-guest"] {
        let town = Town::planned(Plan::default().routes(&ROUTES).set("cookie.name", name)).await;
        let mut browser = Browser::new(&town);
        browser.navigate("/", Start::Here).await;
        let (answer, reloads) = browser.navigate("/account/", Start::Elsewhere).await;
        assert_eq!((answer.status.as_u16(), reloads), (200, 1));
        let names: Vec<_> = browser.jar.keys().cloned().collect();
        assert_eq!(names, [name.to_owned(), format!("{name}_hop"), format!("{name}_seen")]);
    }
}

#[tokio::test]
async fn the_site_sees_none_of_our_cookies_on_any_policy_and_all_others_untouched() {
    let town = town().await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    let session = browser.session().unwrap();
    let sent = format!(
        "a=1;  b=\"x y\"; genesys_session={session}; genesys_session_seen=1; c=%20;genesys_session_hop=1; =odd"
    );
    for path in ["/", "/account/", "/public/"] {
        browser.visitor.ask(Method::GET, path, &[("cookie", &sent)]).await;
        let seen = town.site_saw();
        assert_eq!(
            (seen.target.as_str(), seen.headers["cookie"].to_str().unwrap()),
            (path, "a=1;  b=\"x y\"; c=%20; =odd")
        );
    }
}

#[tokio::test]
async fn none_of_our_cookies_is_the_sites_to_set() {
    let plan = ["genesys_session=x", "genesys_session_seen=1", "genesys_session_hop=1", "genesys_session_seen2=1"]
        .iter()
        .fold(Plan::default().routes(&ROUTES), |plan, cookie| plan.answer("set-cookie", &format!("{cookie}; Path=/")));
    let town = Town::planned(plan).await;
    for path in ["/robots.txt", "/public/"] {
        let before = town.events().len();
        let answer = town.visitor().visit(path).await;
        let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(set, ["genesys_session_seen2=1; Path=/"], "{path}");
        assert_eq!(town.events()[before..], ["upstream set our cookie"; 3], "{path}");
    }
}

#[tokio::test]
async fn a_marker_goes_with_the_session_that_is_taken_away() {
    let town = town().await;
    let mut browser = Browser::new(&town);
    browser.navigate("/", Start::Here).await;
    let session = browser.session().unwrap();
    let forged = format!("{}{}", &session[..session.len() - 1], if session.ends_with('A') { 'E' } else { 'A' });
    browser.jar.insert("genesys_session".to_owned(), Cookie { value: forged, is_strict: true });
    let (answer, _) = browser.navigate("/account/", Start::Here).await;
    assert_eq!(answer.status, 403);
    assert!(browser.jar.is_empty(), "{:?}", browser.jar);
}
