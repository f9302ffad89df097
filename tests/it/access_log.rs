//! One line a request, and never a cookie, a token or a query string in it.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::harness::{Plan, Town, eventually};

/// A town that logs to a file in `folder`.
async fn logging(folder: &tempfile::TempDir, format: &str) -> Town {
    let file = folder.path().join("access.log");
    Town::planned(Plan::default().set("log.access", file.to_str().unwrap()).set("log.format", format)).await
}

async fn lines(folder: &tempfile::TempDir, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    eventually("the lines are written", || read().lines().count() >= count).await;
    read().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_line_says_what_was_asked_decided_and_answered() {
    let folder = tempfile::tempdir().unwrap();
    let town = logging(&folder, "json").await;
    let mut visitor = town.visitor();
    visitor.visit("/bytes/1000?secret=in-the-query").await;
    visitor.visit("/account/").await;
    visitor.holding("v1.x.y.z").ask(Method::POST, "/account/", &[]).await;

    let lines = lines(&folder, 3).await;
    let [first, second, third] = lines.each_value();
    let session = town.genesys.sessions()[0].id.clone();
    for (name, expected) in [
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("method", "GET"),
        ("host", "localhost"),
        ("path", "/bytes/1000"),
        ("route", "/**"),
        ("policy", "issue"),
        ("reading", "absent"),
        ("decision", "mint"),
        ("upstream", "site"),
        ("server", &format!("http://{}", town.site.address())),
        ("session_id", session.as_str()),
    ] {
        assert_eq!(first[name], expected, "{name} of {first}");
    }
    assert_eq!((&first["status"], &first["bytes"]), (&Value::from(200), &Value::from(1000)));
    for name in ["duration_ms", "upstream_ms", "mint_ms"] {
        assert!(first[name].as_f64().unwrap() > 0.0, "{name} of {first}");
    }
    let parent = town.site.seen()[0].headers["traceparent"].clone();
    assert_eq!(first["trace_id"], parent.to_str().unwrap()[3..35]);
    assert_eq!(first["request_id"], town.site.seen()[0].headers["x-request-id"].to_str().unwrap());
    assert_eq!((&second["reading"], &second["decision"]), (&"valid".into(), &"pass".into()));
    assert_eq!((&third["decision"], &third["reason"]), (&"refuse".into(), &"malformed".into()));
    assert_eq!(third["status"], 403);
}

#[tokio::test]
async fn every_answer_bears_the_id_of_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let nobody = Plan::default().set("upstream.servers", vec!["http://127.0.0.1:1"]).listener(
        r#"address = "127.0.0.1:0"
        redirect_to_https = true"#,
    );
    let town = Town::planned(nobody.set("log.access", file.to_str().unwrap())).await;
    let mut visitor = town.visitor();
    let refusals = [
        (502, visitor.ask(Method::POST, "/", &[]).await),
        (401, visitor.ask(Method::POST, "/account/", &[]).await),
        (403, visitor.holding("v1.x.y.z").ask(Method::POST, "/account/", &[]).await),
        (400, visitor.ask(Method::GET, "/account%2f", &[]).await),
    ];
    let plain = format!("http://127.0.0.1:{}/", town.proxy.addresses()[1].port());
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let redirected = client.get(plain).send().await.unwrap();

    let lines: [Value; 5] = lines(&folder, 5).await.each_value();
    let id_of =
        |status: u16| lines.iter().find(|line| line["status"] == status).unwrap()["request_id"].as_str().unwrap();
    for (status, refusal) in refusals {
        assert_eq!(refusal.status, status);
        assert_eq!(refusal.headers["x-request-id"], id_of(status), "{status}");
        let problem: Value = serde_json::from_str(&refusal.body).unwrap();
        assert_eq!(problem["request_id"], id_of(status), "{status}");
    }
    assert_eq!(redirected.headers()["x-request-id"], id_of(308));
}

#[tokio::test]
async fn a_site_that_names_its_answers_itself_is_left_to_it() {
    let named = Town::planned(Plan::default().answer("x-request-id", "theirs")).await;
    let answer = named.visitor().visit("/").await;
    assert_eq!(answer.headers.get_all("x-request-id").iter().collect::<Vec<_>>(), ["theirs"]);

    let nameless = Town::raise().await;
    let answer = nameless.visitor().visit("/").await;
    assert_eq!(answer.headers["x-request-id"], nameless.site_saw().headers["x-request-id"]);
}

#[tokio::test]
async fn nothing_secret_reaches_it() {
    for format in ["json", "text"] {
        let folder = tempfile::tempdir().unwrap();
        let town = logging(&folder, format).await;
        let mut visitor = town.visitor();
        visitor.visit("/?password=hunter2").await;
        visitor.visit("/account/?password=hunter2").await;
        let all = lines(&folder, 2).await.join("\n");
        let sessions = town.genesys.sessions();
        for secret in ["hunter2", sessions[0].token.expose(), visitor.cookie.as_deref().unwrap()] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
}

#[tokio::test]
async fn requests_that_go_nowhere_have_their_line_too() {
    let folder = tempfile::tempdir().unwrap();
    let town = logging(&folder, "json").await;
    crate::harness::raw::exchange(town.address(), b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    let lines = lines(&folder, 1).await;
    let [line] = lines.each_value();
    assert_eq!((&line["status"], &line["reason"]), (&400.into(), &"more than one Host".into()));
}

/// U+009B begins an order to a terminal, U+0085 and U+2028 end a line.
#[tokio::test]
async fn no_path_gives_orders_to_a_terminal() {
    for format in ["json", "text"] {
        let folder = tempfile::tempdir().unwrap();
        let town = logging(&folder, format).await;
        for target in ["/\u{9b}31m\u{85}\u{2028}", "/%2e/account/%C2%9B31m%C2%85%E2%80%A8%E2%80%AE"] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            crate::harness::raw::exchange(town.address(), request.as_bytes()).await;
        }
        for line in lines(&folder, 2).await {
            assert!(line.contains("31m") && line.is_ascii(), "{line:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let town = logging(&folder, "json").await;
    let visitor = town.visitor();
    let request = visitor.request(Method::GET, "/slow?ms=60000").send();
    assert!(tokio::time::timeout(Duration::from_millis(300), request).await.is_err());
    drop(visitor);
    let lines = lines(&folder, 1).await;
    let [line] = lines.each_value();
    assert_eq!((&line["status"], &line["cut"]), (&499.into(), &true.into()));
}

/// Exactly as many lines as are asked for, read.
trait EachValue {
    fn each_value<const N: usize>(&self) -> [Value; N];
}

impl EachValue for Vec<String> {
    fn each_value<const N: usize>(&self) -> [Value; N] {
        let values: Vec<Value> = self.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        values.try_into().unwrap()
    }
}
