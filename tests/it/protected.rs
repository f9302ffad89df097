//! A protected path lets nobody in without a valid session.

use http::Method;

use crate::harness::{Plan, Town};

#[tokio::test]
async fn without_a_cookie_it_is_401_and_the_site_hears_nothing() {
    let town = Town::raise().await;
    let answer = town.visitor().visit("/account/orders").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "session_required"));
    assert_eq!(answer.headers["www-authenticate"], "GuestSession realm=\"localhost\"");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!((town.minted(), town.site.seen().len()), (0, 0));
}

#[tokio::test]
async fn with_it_the_way_is_free_and_caches_are_told() {
    let town = Town::planned(Plan::default().routes(&["path = \"/bytes/**\"\nsession = \"require\""])).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let answer = visitor.visit("/bytes/10").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "private", "what needs a session is for nobody else");
}

#[tokio::test]
async fn with_any_byte_of_it_changed_it_is_refused() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let good = visitor.cookie.clone().unwrap();
    for place in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        let status = visitor.holding(&changed).visit("/account/").await.status.as_u16();
        assert!(matches!(status, 401 | 403), "byte {place} changed: {status}");
    }
    assert!(town.site.seen().iter().all(|seen| !seen.target.starts_with("/account")));
}

#[tokio::test]
async fn a_forged_cookie_is_taken_away_by_a_navigations_answer() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    let (head, tag) = visitor.cookie.as_deref().unwrap().rsplit_once('.').unwrap();
    let flipped = if tag.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}.{flipped}{}", &tag[1..]);

    let navigation = visitor.holding(&forged).visit("/account/").await;
    assert_eq!((navigation.status.as_u16(), navigation.code().as_str()), (403, "session_invalid"));
    let cleared = navigation.session_cookie().expect("it is expired");
    assert!(cleared.value.is_empty() && cleared.attributes.iter().any(|found| found == "max-age=0"), "{cleared:?}");

    let cors = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    let fetch = visitor.holding(&forged).ask(Method::GET, "/account/", &cors).await;
    assert_eq!(fetch.status, 403);
    assert!(fetch.session_cookie().is_none(), "a script's request takes nothing away");
}

#[tokio::test]
async fn a_client_cannot_name_its_own_session() {
    let town = Town::raise().await;
    let claims = [
        ("X-Genesys-Session-Id", "mine"),
        ("x_genesys_session_id", "mine"),
        ("X-Genesys_Session-Token", "mine"),
        ("x.genesys.session.expires", "mine"),
        ("X-Original-URL", "/account/"),
        ("X_Rewrite_Url", "/account/"),
    ];
    town.visitor().ask(Method::POST, "/", &claims).await;
    let seen = town.site_saw();
    for (name, _) in claims {
        assert!(!seen.headers.contains_key(name), "{name} arrived");
    }
}

#[tokio::test]
async fn on_missing_issue_mints_for_a_visit_and_refuses_all_else() {
    let town = Town::planned(
        Plan::default().routes(&["path = \"/account/**\"\nsession = \"require\"\non_missing = \"issue\""]),
    )
    .await;
    let visit = town.visitor().visit("/account/").await;
    assert_eq!(visit.status, 200);
    assert!(visit.session_cookie().is_some());
    assert_eq!(town.visitor().ask(Method::POST, "/account/", &[]).await.status, 401);
    assert_eq!(town.minted(), 1);
}

#[tokio::test]
async fn on_missing_redirect_sends_a_visit_elsewhere_and_refuses_all_else() {
    let town = Town::planned(
        Plan::default().routes(&["path = \"/account/**\"\nsession = \"require\"\non_missing = \"redirect:/hello\""]),
    )
    .await;
    let visit = town.visitor().visit("/account/").await;
    assert_eq!((visit.status.as_u16(), visit.headers["location"].to_str().unwrap()), (303, "/hello"));
    assert_eq!(town.visitor().ask(Method::POST, "/account/", &[]).await.status, 401);
}

#[tokio::test]
async fn a_cors_preflight_passes_since_it_carries_no_cookies() {
    let town = Town::raise().await;
    let preflight = [("origin", "https://app.example"), ("access-control-request-method", "PUT")];
    assert_eq!(town.visitor().ask(Method::OPTIONS, "/account/", &preflight).await.status, 200);
    assert_eq!(town.visitor().ask(Method::OPTIONS, "/account/", &[]).await.status, 401, "any other is judged");
}

#[tokio::test]
async fn a_method_in_a_header_does_not_open_another_door() {
    let routes = ["path = \"/items/**\"\nsession = \"require\"\nmethods = [\"DELETE\"]"];
    let town = Town::planned(Plan::default().routes(&routes)).await;
    assert_eq!(town.visitor().ask(Method::POST, "/items/1", &[]).await.status, 200);
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        assert_eq!(town.visitor().ask(Method::POST, "/items/1", &[(name, "DELETE")]).await.status, 401, "{name}");
    }
}
