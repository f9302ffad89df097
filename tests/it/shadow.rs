//! A route in shadow turns nobody away, and says whom it would have.

use guestpass::demo::genesys::Faults;
use http::Method;
use serde_json::Value;

use crate::harness::{Plan, Town, eventually, program};

fn shadowed(rest: &str) -> Plan {
    Plan::default().routes(&[
        &format!("path = \"/account/**\"\nsession = \"require\"\nshadow = true\n{rest}"),
        "path = \"/vault/**\"\nsession = \"require\"",
    ])
}

#[tokio::test]
async fn whoever_would_be_refused_passes_without_identity_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let town = Town::planned(shadowed("").set("log.access", file.to_str().unwrap())).await;
    let visitor = town.visitor();
    assert_eq!(visitor.clone().visit("/account/a").await.status, 200);
    let forged = visitor.holding("v1.x.y.z").visit("/account/b").await;
    assert_eq!(forged.status, 200);
    assert!(forged.session_cookie().is_none(), "nothing is taken away either");
    assert_eq!(town.minted(), 0);
    assert!(town.site.seen().iter().all(|seen| !seen.headers.contains_key("x-genesys-session-id")));
    assert_eq!(visitor.clone().visit("/vault/").await.status, 401, "the routes beside it hold");
    assert_eq!(town.events(), ["shadowed", "rejected", "shadowed", "refused"]);

    let read = || std::fs::read_to_string(&file).unwrap();
    eventually("the lines are written", || read().lines().count() >= 3).await;
    let lines: Vec<Value> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &Value| (line["decision"].clone(), line["shadow"].clone(), line["reading"].clone());
    assert_eq!(told(&lines[0]), ("pass".into(), "session_required".into(), "absent".into()));
    assert_eq!(told(&lines[1]), ("pass".into(), "session_invalid".into(), "malformed".into()));
    assert_eq!(told(&lines[2]), ("refuse".into(), Value::Null, "absent".into()));
}

#[tokio::test]
async fn redirects_are_not_sent_and_sessions_are_made_as_they_would_be() {
    let town = Town::planned(shadowed("on_missing = \"redirect:/hello\"")).await;
    assert_eq!(town.visitor().visit("/account/").await.status, 200);
    assert_eq!(town.minted(), 0);

    let town = Town::planned(shadowed("on_missing = \"issue\"")).await;
    let mut visitor = town.visitor();
    assert!(visitor.visit("/account/").await.session_cookie().is_some());
    visitor.visit("/account/").await;
    assert!(town.site_saw().headers.contains_key("x-genesys-session-id"), "who has one is told of as ever");
    assert_eq!(town.minted(), 1);
}

#[tokio::test]
async fn nobody_is_refused_for_want_of_genesys() {
    let faults = Faults { error_rate: 1.0, ..Faults::default() };
    let town = Town::planned(shadowed("on_missing = \"issue\"").faults(faults)).await;
    assert_eq!(town.visitor().visit("/account/").await.status, 200);
    assert!(town.events().contains(&"shadowed"));
}

#[tokio::test]
async fn what_is_no_decision_of_the_route_is_still_refused() {
    let town = Town::planned(shadowed("")).await;
    assert_eq!(town.visitor().visit("/account/%00").await.code(), "bad_path");
    // Under one of the two methods the request is another route's, which holds.
    let routes = [
        "path = \"/a\"\nsession = \"require\"\nshadow = true",
        "path = \"/a\"\nmethods = [\"PUT\"]\nsession = \"require\"",
    ];
    let town = Town::planned(Plan::default().routes(&routes)).await;
    let mut visitor = town.visitor();
    assert_eq!(visitor.ask(Method::POST, "/a", &[]).await.status, 200);
    assert_eq!(visitor.ask(Method::POST, "/a", &[("x-http-method-override", "PUT")]).await.status, 401);
}

#[test]
fn the_check_says_it_loudly() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
        listen = [{ address = "127.0.0.1:0", tls = false }]
        genesys = { client_id = "c", client_secret = "s", organization_id = "o" }
        keys.secret = "a secret that is long enough to be one"
        upstream = [{ name = "site", servers = ["http://127.0.0.1:1"] }]
        route = [{ path = "/account/**", session = "require", shadow = true }]
    "#;
    std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
    let checked = program::run(folder.path(), &["check"]);
    assert!(checked.status.success());
    let (said, complained) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("/account/**  require, IN SHADOW: nothing is refused"), "{said}");
    assert!(complained.contains("NOTHING IS REFUSED on it"), "{complained}");
    let explained = program::run(folder.path(), &["explain", "GET", "https://shop.example/account/"]);
    let (said, complained) = (String::from_utf8_lossy(&explained.stdout), String::from_utf8_lossy(&explained.stderr));
    assert!(said.contains("it would be session_required"), "{said}{complained}");
    assert_eq!(complained, "", "warnings are for those who check or run it");
}
