//! SIGTERM and SIGINT finish what is under way, and no more than that.
//!
//! Clients have a thread of their own, since waiting for the program to end would keep them from closing their side.

use std::net::TcpStream;
use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{House, eventually, eventually_found, raw};

fn running(grace: &str) -> House {
    House::build(&format!("shutdown.grace = \"{grace}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_and_then_it_ends() {
    let mut house = running("10s");
    let visitor = house.visitor();
    let slow = tokio::spawn({
        let mut visitor = visitor.clone();
        async move { visitor.ask(Method::POST, "/slow?ms=600", &[]).await }
    });
    eventually("it is under way", || !house.site.seen().is_empty()).await;
    house.program.signal("TERM");
    assert_eq!(slow.await.unwrap().status, 200);
    assert!(house.program.ends_within(Duration::from_secs(3)).success());
    let refused = visitor.request(Method::POST, "/").send().await;
    assert!(refused.is_err(), "nobody listens any more");
}

/// It closed with the others, so that nobody could ask how far it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_answered_until_everything_is_finished() {
    let mut house = House::build("shutdown.grace = \"30s\"\nadmin.address = \"127.0.0.1:0\"");
    let admin = house.program.says("admin=");
    let ask = async |path: &str| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("http://{}{path}", admin.trim())).send().await?;
        Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
    };
    assert_eq!(ask("/readyz").await.unwrap().0, 200);
    let slow = tokio::spawn(house.visitor().request(Method::POST, "/slow?ms=2000").send());
    eventually("it is under way", || !house.site.seen().is_empty()).await;
    house.program.signal("TERM");
    house.program.says("stopping");
    let (status, why) = eventually_found("it says so", Duration::from_secs(1), async || {
        Some(ask("/readyz").await.unwrap()).filter(|(status, _)| *status != 200)
    })
    .await;
    assert!(status == 503 && why.contains("it is stopping"), "{status} {why}");
    assert_eq!(ask("/healthz").await.unwrap().0, 200);
    assert!(!slow.is_finished(), "all of that while a request is under way");
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert!(house.program.ends_within(Duration::from_secs(3)).success());
    assert!(ask("/healthz").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_grace_is_cut() {
    let mut house = running("300ms");
    let visitor = house.visitor();
    let slow = tokio::spawn(visitor.request(Method::POST, "/slow?ms=60000").send());
    eventually("it is under way", || !house.site.seen().is_empty()).await;
    house.program.signal("TERM");
    assert!(house.program.ends_within(Duration::from_secs(3)).success());
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait() {
    let mut house = running("60s");
    let visitor = house.visitor();
    let slow = tokio::spawn(visitor.request(Method::POST, "/slow?ms=60000").send());
    eventually("it is under way", || !house.site.seen().is_empty()).await;
    house.program.signal("TERM");
    house.program.says("stopping");
    house.program.signal("INT");
    assert!(house.program.ends_within(Duration::from_secs(3)).success());
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_gets_one_more_answer_that_says_it_is_the_last() {
    let mut house = running("10s");
    let mut stream = raw::connect(house.address, &["http/1.1"]).await;
    let mut answer = vec![0; 64 * 1024];
    stream.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let length = stream.read(&mut answer).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer[..length]).to_ascii_lowercase().contains("connection: close"));

    house.program.signal("TERM");
    eventually("nobody is let in any more", || TcpStream::connect(house.address).is_err()).await;
    // As one that was on its way already.
    stream.write_all(b"POST /status/404 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    answer.clear();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let at = answer.find("http/1.1 404").unwrap_or_else(|| panic!("{answer}"));
    assert!(answer[at..].contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(house.program.ends_within(Duration::from_secs(3)).success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_says_nothing_more_does_not_hold_the_end_up() {
    let mut house = running("60s");
    let mut visitor = house.visitor();
    visitor.ask(Method::POST, "/", &[]).await;
    house.program.signal("TERM");
    assert!(house.program.ends_within(Duration::from_secs(5)).success());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_it_says_goaway() {
    let mut house = running("10s");
    let mut stream = raw::connect(house.address, &["h2"]).await;
    // The preface and empty SETTINGS (RFC 9113, section 3.4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut first = [0; 9];
    stream.read_exact(&mut first).await.unwrap();
    house.program.signal("TERM");
    let mut rest = Vec::new();
    // This client knows no farewell: it answers no PING, and so is cut off in the end.
    let _ = stream.read_to_end(&mut rest).await;
    let bytes = [&first[..], &rest].concat();
    let mut kinds = Vec::new();
    let mut frames = &bytes[..];
    while let [a, b, c, kind, tail @ ..] = frames {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames = tail.get(5 + length..).unwrap_or_default();
    }
    assert!(kinds.contains(&7), "GOAWAY is frame type 7 (RFC 9113, section 6.8): {kinds:?}");
    assert!(house.program.ends_within(Duration::from_secs(5)).success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_ended_soon_and_well() {
    let mut house = running("60s");
    let stream = raw::connect(house.address, &["http/1.1"]).await;
    let request = format!("wss://localhost:{}/echo", house.address.port()).into_client_request().unwrap();
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    house.program.signal("TERM");
    while let Some(Ok(_)) = socket.next().await {}
    assert!(house.program.ends_within(Duration::from_secs(5)).success());
}
