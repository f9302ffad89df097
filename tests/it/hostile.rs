//! What was tried to get past the gate, to speak in its name, or to set one side against the other.

use std::time::Duration;

use http::Method;

use crate::harness::{Plan, Town, Visitor, eventually, frames, raw};

/// A site that turns methods into capitals before it looks would act on it.
#[tokio::test]
async fn a_method_in_lower_case_does_not_open_another_door() {
    let routes = ["path = \"/items/**\"\nsession = \"require\"\nmethods = [\"DELETE\", \"GET\"]"];
    let town = Town::planned(Plan::default().routes(&routes)).await;
    for method in ["DELETE", "delete", "Delete", "get", "gEt"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(town.visitor().ask(method.clone(), "/items/1", &[]).await.status, 401, "{method}");
    }
    assert_eq!(town.site.seen().len(), 0);
}

/// HTTP/2 has no guard that looks at it.
#[tokio::test]
async fn a_method_of_any_length_is_no_method() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let town = Town::planned(Plan::default().set("log.access", log.to_str().unwrap())).await;
    let read = || std::fs::read_to_string(&log).unwrap();
    for mut visitor in [Visitor::over_http1(town.address()), Visitor::over_http2(town.address())] {
        for (length, status) in [(32, 200), (33, 400), (20_000, 400)] {
            let method = Method::from_bytes("M".repeat(length).as_bytes()).unwrap();
            assert_eq!(visitor.ask(method, "/public/", &[]).await.status, status, "{length}");
        }
    }
    assert_eq!(town.site.seen().len(), 2);
    eventually("each has its line", || read().lines().count() == 6).await;
    let refused = r#""method":"-""#;
    assert!(read().matches(refused).count() == 4 && read().len() < 6_000, "{}", read());
}

/// No browser's preflight names one, and a site that heeds it would answer as if it were no OPTIONS at all.
#[tokio::test]
async fn a_preflight_with_a_method_in_a_header_is_judged() {
    let town = Town::raise().await;
    for name in ["x-http-method-override", "x_http_method_override", "x-http-method", "x-method-override"] {
        let preflight = [("origin", "https://app.example"), ("access-control-request-method", "PUT"), (name, "get")];
        assert_eq!(town.visitor().ask(Method::OPTIONS, "/account/", &preflight).await.status, 401, "{name}");
    }
    assert_eq!(town.site.seen().len(), 0);
}

/// `new URL(request.url, base).pathname` is `/account/orders` for each of these.
#[tokio::test]
async fn a_target_that_begins_with_a_host_is_read_as_one() {
    let town = Town::raise().await;
    for target in ["//x/account/orders", "///x/account/orders", "//localhost/account", "/%5Cx/account", "/%2Fx/account"]
    {
        assert_eq!(status(&town, &get(target)).await, 400, "{target}");
    }
    assert_eq!(town.site.seen().len(), 0);
    assert_eq!(status(&town, &get("//x/style.css")).await, 200, "what cannot be misread passes");
    assert_eq!(town.site_saw().target, "//x/style.css", "as it was received");
}

/// h2 cuts it off, and shows nobody that it was there: so what is judged must be what the site gets.
#[tokio::test]
async fn a_fragment_over_http2_is_neither_judged_nor_sent() {
    let town = Town::raise().await;
    let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
    assert!(writer.send(&frames::get(1, "/public/#/../../account/", &[])).await);
    reader.wait_for(|frame| frame.kind == frames::HEADERS).await;
    assert_eq!(town.site_saw().target, "/public/");
    assert!(writer.send(&frames::get(3, "/account/#/../public/", &[])).await);
    reader.wait_for(|frame| frame.kind == frames::HEADERS && frame.stream == 3).await;
    assert_eq!(town.site.seen().len(), 1);
}

#[tokio::test]
async fn a_request_has_the_same_name_at_the_site_and_in_the_log() {
    let town = Town::raise().await;
    let answer = town.visitor().ask(Method::POST, "/", &[("x-request-id", "mine"), ("x_request_id", "mine")]).await;
    let seen = town.site_saw();
    let names: Vec<_> = seen.headers.get_all("x-request-id").iter().collect();
    assert_eq!(names, [&answer.headers["x-request-id"]]);
    assert_ne!(names[0], "mine");
    assert!(!seen.headers.contains_key("x_request_id"));
}

#[tokio::test]
async fn an_absolute_target_without_a_path_asks_for_the_root() {
    let town = Town::raise().await;
    for target in ["http://localhost", "http://localhost?a=b"] {
        assert_eq!(status(&town, &get(target)).await, 200, "{target}");
    }
    let targets: Vec<String> = town.site.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/", "/?a=b"]);
}

/// A body that nobody read must not be taken for the next request, nor what stands behind it be lost to it.
#[tokio::test]
async fn what_a_refused_request_brought_along_is_no_request() {
    let town = Town::raise().await;
    let inner = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = inner.len();
    for (framing, body) in [
        (format!("Content-Length: {length}"), inner.to_owned()),
        ("Transfer-Encoding: chunked".to_owned(), format!("{length:x}\r\n{inner}\r\n0\r\n\r\n")),
        ("Content-Length: 300000".to_owned(), inner.to_owned() + &"x".repeat(300_000 - length)),
    ] {
        for path in ["/account/", "/x/../account/"] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
            let answers = raw::exchange(town.address(), (head + &body + &get("/public/")).as_bytes()).await;
            assert!(answers.starts_with("HTTP/1.1 40"), "{path} {framing}: {answers}");
        }
    }
    assert!(town.site.seen().iter().all(|seen| seen.target == "/public/"), "{:?}", town.site.seen());
}

/// In each of these, two servers could see two different ends of the request.
#[tokio::test]
async fn framing_that_could_be_read_in_two_ways_gets_nothing_behind_it_through() {
    let town = Town::raise().await;
    for framing in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: 0x4",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \u{b}chunked",
    ] {
        let head = format!("POST /first HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
        raw::exchange(town.address(), (head + "0\r\n\r\n" + &get("/smuggled")).as_bytes()).await;
        assert!(town.site.seen().iter().all(|seen| seen.target == "/first"), "{framing}");
    }
}

/// Everybody's first visit at the same time, and half of them leave before the answer.
#[tokio::test]
async fn no_two_visitors_ever_get_the_same_session() {
    let town = Town::planned(Plan::default().set("session.mint_limit.others", 1000)).await;
    let visits = (0..60).map(|number| {
        let mut visitor = town.visitor();
        async move {
            let visit = visitor.visit("/headers");
            if number % 2 == 0 {
                // Some are gone before their request is sent, some while their session is made.
                let wait = Duration::from_millis(number / 2);
                tokio::time::timeout(wait, visit).await.ok()
            } else {
                Some(visit.await)
            }
        }
    });
    let answers: Vec<_> = futures_util::future::join_all(visits).await.into_iter().flatten().collect();
    assert!(answers.len() >= 30);
    let mut ids: Vec<String> = answers
        .iter()
        .map(|answer| {
            let seen: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert!(answer.session_cookie().is_some());
            seen["x-genesys-session-id"].to_string()
        })
        .collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

async fn status(town: &Town, request: &str) -> u16 {
    let answer = raw::exchange(town.address(), request.as_bytes()).await;
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{request}: {answer}")).parse().unwrap()
}
