//! Bodies stream both ways, and what breaks looks broken.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use reqwest::Body;

use crate::harness::{Plan, Town, Visitor};

const CHUNK: usize = 64 * 1024;

fn upload(chunks: usize) -> Body {
    let chunk = Bytes::from(vec![b'u'; CHUNK]);
    Body::wrap_stream(stream::iter((0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))))
}

#[tokio::test]
async fn uploads_arrive_whole_over_both_versions() {
    let town = Town::raise().await;
    for visitor in [town.visitor(), Visitor::over_http2(town.address())] {
        let request = visitor.request(Method::POST, "/body").body(upload(256));
        let answer: serde_json::Value = serde_json::from_str(&visitor.clone().send(request).await.body).unwrap();
        assert_eq!(answer["length"], 256 * CHUNK, "{answer}");
    }
}

#[tokio::test]
async fn downloads_arrive_whole_over_both_versions() {
    let town = Town::raise().await;
    for visitor in [town.visitor(), Visitor::over_http2(town.address())] {
        let mut body = visitor.request(Method::GET, "/bytes/20000000").send().await.unwrap().bytes_stream();
        let mut length = 0;
        while let Some(chunk) = body.next().await {
            length += chunk.unwrap().len();
        }
        assert_eq!(length, 20_000_000);
    }
}

#[tokio::test]
async fn a_site_that_breaks_off_never_looks_complete() {
    let town = Town::raise().await;
    for visitor in [town.visitor(), Visitor::over_http2(town.address())] {
        let response = visitor.request(Method::GET, "/cut/100000").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.is_err());
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_read_reaches_the_client() {
    let town = Town::raise().await;
    for visitor in [town.visitor(), Visitor::over_http2(town.address())] {
        let request = visitor.request(Method::POST, "/early").body(upload(512));
        let answer = tokio::time::timeout(Duration::from_secs(5), request.send()).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "Answered before the body was read.\n");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_or_not_it_says_so() {
    let town = Town::planned(Plan::default().set("limits.body_size", "100KiB")).await;
    let mut visitor = town.visitor();
    let declared = visitor.request(Method::POST, "/body").body(vec![b'x'; 200 * 1024]);
    let answer = visitor.send(declared).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "body_too_large"));
    assert!(town.site.seen().is_empty(), "one that says so is refused before anything goes upstream");

    let mut visitor = Visitor::over_http2(town.address());
    let streamed = visitor.request(Method::POST, "/body").body(upload(4));
    assert_eq!(visitor.send(streamed).await.status, 413);
    assert!(town.site.seen().iter().all(|seen| !seen.whole), "the site never takes half of it for all");
}

#[tokio::test]
async fn server_sent_events_arrive_as_they_are_sent() {
    let town = Town::raise().await;
    let visitor = town.visitor();
    let mut events = visitor.request(Method::GET, "/events?n=2").send().await.unwrap().bytes_stream();
    let started = Instant::now();
    let first = events.next().await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_millis(700), "it was held back");
    assert!(String::from_utf8_lossy(&first).contains("data"));
}
