//! The operator's listener: who may call it, and what the calls do.

use std::net::SocketAddr;

use guestpass::clock::{Clock, SystemClock};
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Plan, Town, Visitor};

const TOKEN: &str = "a-token-of-the-tests";

fn plan() -> Plan {
    Plan::default().set("admin.address", "127.0.0.1:0")
}

async fn with_token() -> Town {
    Town::planned(plan().set("admin.token", TOKEN)).await
}

fn admin(town: &Town) -> SocketAddr {
    town.proxy.admin_address().unwrap()
}

/// A call as an operator's script makes it, with these fields over its own.
async fn call(town: &Town, token: Option<&str>, body: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(format!("http://{}/sessions/revoke", admin(town))).body(body.to_owned());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers().keys().all(|name| !name.as_str().starts_with("access-control-")));
    assert_eq!(response.headers().get("www-authenticate").is_some(), status == 401);
    (status, response.json().await.unwrap())
}

async fn with_session(town: &Town) -> Visitor {
    let mut visitor = town.visitor();
    visitor.visit("/").await;
    visitor
}

#[tokio::test]
async fn one_session_is_revoked_and_no_other() {
    let town = with_token().await;
    let (mut goes, mut stays) = (with_session(&town).await, with_session(&town).await);
    let body = json!({ "session_id": town.genesys.sessions()[0].id }).to_string();
    let (status, answer) = call(&town, Some(TOKEN), &body, &[]).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["kept_until"].as_str().unwrap() > SystemClock::new().now().to_string().as_str());
    assert_eq!(goes.visit("/account/").await.status, 403);
    assert_eq!(stays.visit("/account/").await.status, 200);
    assert!(town.events().contains(&"revoked"));
}

#[tokio::test]
async fn all_issued_before_a_moment_are_revoked_and_later_ones_not() {
    let town = with_token().await;
    let mut old = with_session(&town).await;
    // Cookies know whole seconds.
    let second = SystemClock::new().now().seconds();
    crate::harness::eventually("the next second", || SystemClock::new().now().seconds() > second).await;
    let moment = SystemClock::new().now();
    let (status, answer) =
        call(&town, Some(TOKEN), &json!({ "issued_before": moment.to_string() }).to_string(), &[]).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(old.visit("/account/").await.status, 403);
    old.visit("/").await;
    assert_eq!(town.minted(), 2, "a visit begins anew");
}

#[tokio::test]
async fn nobody_changes_anything_without_the_token() {
    let town = with_token().await;
    let mut visitor = with_session(&town).await;
    let body = json!({ "session_id": town.genesys.sessions()[0].id }).to_string();
    for token in [None, Some(""), Some("another-token-of-the-tests"), Some("a-token-of-the-test")] {
        let (status, answer) = call(&town, token, &body, &[]).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (401, Some("admin_token_required")), "{token:?}");
    }
    assert_eq!(visitor.visit("/account/").await.status, 200);

    let without = Town::planned(plan()).await;
    let (status, answer) = call(&without, Some(TOKEN), &body, &[]).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (403, Some("admin_token_missing")));
}

#[tokio::test]
async fn no_other_name_leads_here() {
    let town = with_token().await;
    let port = admin(&town).port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (format!("LOCALHOST:{port}"), 200),
        ("127.0.0.1".to_owned(), 421),
        (format!("127.0.0.1:{}", port ^ 1), 421),
        (format!("rebound.example:{port}"), 421),
        (format!("localhost.:{port}"), 421),
        (format!("127.0.0.1.nip.io:{port}"), 421),
        (format!("[::1]:{port}"), 421),
        (String::new(), 421),
    ] {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("http://{}/healthz", admin(&town))).header("host", &host);
        assert_eq!(request.send().await.unwrap().status(), status, "{host}");
    }
}

#[tokio::test]
async fn what_cannot_be_understood_says_what_would_be() {
    let town = with_token().await;
    let mut visitor = with_session(&town).await;
    let id = town.genesys.sessions()[0].id.clone();
    let tomorrow = SystemClock::new().now().plus(std::time::Duration::from_secs(86_400)).to_string();
    for (body, word) in [
        (String::new(), "EOF"),
        ("{}".to_owned(), "either"),
        (json!({ "session_id": id, "issued_before": "2026-11-22T00:00:00Z" }).to_string(), "either"),
        (json!({ "session": id }).to_string(), "unknown field"),
        (json!({ "session_id": "" }).to_string(), "1 to"),
        (json!({ "session_id": "x".repeat(2_000) }).to_string(), "1 to"),
        (json!({ "session_id": id[..8] }).to_string(), "the whole of it"),
        (json!({ "session_id": id.to_uppercase() }).to_string(), "in lower case"),
        (json!({ "session_id": format!("{id} ") }).to_string(), "spaces"),
        (json!({ "issued_before": "yesterday" }).to_string(), "RFC 3339"),
        (json!({ "issued_before": tomorrow }).to_string(), "future"),
    ] {
        let (status, answer) = call(&town, Some(TOKEN), &body, &[]).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (400, Some("bad_request")), "{body}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{answer}");
    }
    let (status, _) = call(&town, Some(TOKEN), &"x".repeat(20_000), &[]).await;
    assert_eq!(status, 413);
    assert_eq!(visitor.visit("/account/").await.status, 200);

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let revoke = client.get(format!("http://{}/sessions/revoke", admin(&town))).send().await.unwrap();
    assert_eq!((revoke.status().as_u16(), &revoke.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let nothing = client.get(format!("http://{}/", admin(&town))).send().await.unwrap();
    assert_eq!(nothing.status(), 404);
}

#[tokio::test]
async fn nobody_listens_unless_it_is_asked_for() {
    assert_eq!(Town::raise().await.proxy.admin_address(), None);
}
