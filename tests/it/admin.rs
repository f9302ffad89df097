//! The operator's listener: who may call it, and what the calls do.

use std::net::SocketAddr;
use std::time::Duration;

use guestpass::clock::{Clock, SystemClock};
use guestpass::keys::{self, RingRecord};
use guestpass::random::SystemRandom;
use http::StatusCode;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use toml::Table;

use crate::harness::{Plan, Town, Visitor, eventually_found};

const TOKEN: &str = "a-token-of-the-tests";

/// A ring file is looked at once a second.
const PATIENCE: Duration = Duration::from_secs(10);

fn plan() -> Plan {
    Plan::default().set("admin.address", "127.0.0.1:0")
}

async fn with_token() -> Town {
    Town::planned(plan().set("admin.token", TOKEN)).await
}

fn admin(town: &Town) -> SocketAddr {
    town.proxy.admin_address().unwrap()
}

/// A call as an operator's script makes it, with these fields beside its own.
async fn call(town: &Town, token: Option<&str>, body: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    call_at(town, "/sessions/revoke", token, body, &[&[("content-type", "application/json")], headers].concat()).await
}

/// The same, with no fields but these.
async fn call_at(
    town: &Town,
    path: &str,
    token: Option<&str>,
    body: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(format!("http://{}{path}", admin(town))).body(body.to_owned());
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

/// A target that named us made up for a `Host` that named another.
#[tokio::test]
async fn a_foreign_host_beside_a_target_that_names_us_leads_nowhere() {
    let town = with_token().await;
    let here = admin(&town);
    for (target, hosts, status) in [
        (format!("http://{here}/healthz"), format!("Host: {here}"), "200"),
        (format!("http://{here}/healthz"), "Host: rebound.example".to_owned(), "421"),
        ("http://rebound.example/healthz".to_owned(), format!("Host: {here}"), "421"),
        (format!("http://{here}/healthz"), "Host: @".to_owned(), "421"),
        (format!("http://{here}/healthz"), format!("Host: {here}\r\nHost: {here}"), "421"),
        ("/healthz".to_owned(), "A: b".to_owned(), "421"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(here).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\n{hosts}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.get(9..12), Some(status), "{request}{answer}");
    }
}

#[tokio::test]
async fn what_cannot_be_understood_says_what_would_be() {
    let town = with_token().await;
    let mut visitor = with_session(&town).await;
    let id = town.genesys.sessions()[0].id.clone();
    let tomorrow = SystemClock::new().now().plus(Duration::from_secs(86_400)).to_string();
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
    let nothing = client.get(format!("http://{}/nothing", admin(&town))).send().await.unwrap();
    assert_eq!(nothing.status(), 404);
}

#[tokio::test]
async fn no_page_of_another_origin_and_no_form_changes_anything() {
    let town = with_token().await;
    let mut visitor = with_session(&town).await;
    let body = json!({ "session_id": town.genesys.sessions()[0].id }).to_string();
    let ours = format!("http://{}", admin(&town));
    let port = admin(&town).port();
    for origin in ["null", "https://evil.example", &format!("https://127.0.0.1:{port}"), "http://127.0.0.1", ""] {
        let (status, answer) = call(&town, Some(TOKEN), &body, &[("origin", origin)]).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (403, Some("cross_origin")), "{origin}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let headers = [("content-type", content_type)];
        let (status, answer) = call_at(&town, "/sessions/revoke", Some(TOKEN), &body, &headers).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (415, Some("unsupported_media_type")), "{content_type}");
    }
    assert_eq!(visitor.visit("/account/").await.status, 200);
    let headers = [("content-type", "application/json; charset=utf-8"), ("origin", &*ours)];
    assert_eq!(call_at(&town, "/sessions/revoke", Some(TOKEN), &body, &headers).await.0, 200);
    assert_eq!(visitor.visit("/account/").await.status, 403);
}

#[tokio::test]
async fn keys_are_rotated_as_the_command_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let ring = folder.path().join("keys.toml");
    keys::create(&ring, "test", &RingRecord::generate(&SystemRandom, SystemClock::new().now())).unwrap();
    let file: Table = format!("file = '{}'", ring.display()).parse().unwrap();
    let plan = plan().set("admin.token", TOKEN).set("keys", file);
    let town = Town::planned(plan).await;
    let rotate = async |token, body: &str| {
        call_at(&town, "/keys/rotate", token, body, &[("content-type", "application/json")]).await
    };
    assert_eq!(rotate(None, "{}").await.0, 401);
    assert_eq!(rotate(Some("another-token-of-the-tests"), "{}").await.0, 401);
    assert_eq!(rotate(Some(TOKEN), "{\"at_once\": true}").await.0, 400);
    assert_eq!(keys::read(&ring).unwrap().keys().count(), 1);

    let (status, answer) = rotate(Some(TOKEN), "{}").await;
    assert_eq!(status, 200, "{answer}");
    let signs_from = answer["signs_from"].clone();
    let record = keys::read(&ring).unwrap();
    let staged = record.keys().last().unwrap();
    assert_eq!(answer["key"], staged.id().to_string());
    assert!(
        matches!(staged.state(), keys::State::Staged { signs_from } if signs_from.to_string() == answer["signs_from"])
    );
    // One at a time.
    let (status, answer) = rotate(Some(TOKEN), "{\"now\": true}").await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (409, Some("keys_not_rotated")));
    assert!(answer["detail"].as_str().unwrap().contains(&staged.id().to_string()), "{answer}");
    assert_eq!(keys::read(&ring).unwrap().keys().count(), 2);
    // The running proxy follows its file.
    let staged = staged.id().to_string();
    let status = async || -> Value { get(&town, "/status").await.json().await.unwrap() };
    let knows = async || {
        let keys = status().await["keys"].as_array().unwrap().clone();
        keys.into_iter().find(|key| key["id"] == *staged)
    };
    let key = eventually_found("the key is in use", PATIENCE, knows).await;
    assert_eq!((&key["state"], &key["signs_from"]), (&"staged".into(), &signs_from));
}

#[tokio::test]
async fn a_secret_of_the_configuration_is_not_rotated_from_here() {
    let town = with_token().await;
    let (status, answer) =
        call_at(&town, "/keys/rotate", Some(TOKEN), "{}", &[("content-type", "application/json")]).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (409, Some("keys_not_rotated")));
    let status: Value = get(&town, "/status").await.json().await.unwrap();
    assert_eq!((&status["key_ring"], &status["can_be_changed"]), (&Value::Null, &true.into()));
}

#[tokio::test]
async fn the_page_may_do_nothing_but_ask_this_listener() {
    let town = Town::planned(plan()).await;
    let page = get(&town, "/").await;
    assert_eq!(page.status(), 200);
    let field = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(field("content-type"), "text/html; charset=utf-8");
    assert_eq!([field("cache-control"), field("x-content-type-options")], ["no-store", "nosniff"]);
    assert_eq!([field("referrer-policy"), field("cross-origin-opener-policy")], ["no-referrer", "same-origin"]);
    let policy = field("content-security-policy");
    let rules: Vec<&str> = policy.split("; ").collect();
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'"] {
        assert!(rules.contains(&rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let status: Value = get(&town, "/status").await.json().await.unwrap();
    assert_eq!(status["can_be_changed"], false, "without a token");
}

async fn get(town: &Town, path: &str) -> Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("http://{}{path}", admin(town))).send().await.unwrap()
}

#[tokio::test]
async fn nobody_listens_unless_it_is_asked_for() {
    assert_eq!(Town::raise().await.proxy.admin_address(), None);
}
