//! A gRPC call passes from end to end over HTTP/2: both directions at once, and its trailers whole.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use guestpass::demo::site::{Settings, Site};
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::{ANYWHERE, Plan, Town, raw};

const PATIENCE: Duration = Duration::from_secs(5);

/// A message as gRPC frames it: not compressed, its length, itself.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0][..], &length, text.as_bytes()].concat().into()
}

#[tokio::test]
async fn a_call_streams_both_ways_and_ends_with_its_trailers() {
    let grpc = HeaderValue::from_static("application/grpc");
    let answer_headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, grpc.clone())]);
    let site = Site::start(ANYWHERE, Settings { answer_headers, ..Settings::recording() }).unwrap();
    let plan = Plan::default()
        .set("upstream.servers", vec![format!("h2c://{}", site.address())])
        // A call may be silent for longer than a page.
        .set("upstream.idle_timeout", "50ms");
    let town = Town::planned(plan).await;

    let stream = raw::connect(town.address(), &["h2"]).await;
    let (mut calls, connection) =
        http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let (say, said) = mpsc::unbounded_channel::<Frame<Bytes>>();
    let body =
        stream::unfold(said, |mut said| async { said.recv().await.map(|frame| (Ok::<_, Infallible>(frame), said)) });
    let call = Request::post(format!("https://localhost:{}/mirror", town.address().port()))
        .header("content-type", grpc)
        .header("te", "trailers")
        .body(StreamBody::new(Box::pin(body)))
        .unwrap();
    say.send(Frame::data(message("one"))).unwrap();
    let answer = timeout(PATIENCE, calls.send_request(call)).await.expect("a head before the call has ended").unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    let mut heard = answer.into_body();
    for word in ["one", "two", "three"] {
        if word != "one" {
            timeout(Duration::from_millis(100), heard.frame()).await.expect_err("nothing was said yet");
            say.send(Frame::data(message(word))).unwrap();
        }
        let frame = timeout(PATIENCE, heard.frame()).await.expect("a message in time").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message(word));
    }
    let trailers = HeaderMap::from_iter([
        (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
        (http::HeaderName::from_static("grpc-message"), HeaderValue::from_static("all%20said")),
    ]);
    say.send(Frame::trailers(trailers.clone())).unwrap();
    drop(say);
    let last = timeout(PATIENCE, heard.frame()).await.expect("trailers in time").unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap(), trailers);
    assert!(heard.frame().await.is_none());

    let seen = site.seen().pop().unwrap();
    assert_eq!((seen.version, &seen.headers["te"]), (Version::HTTP_2, &HeaderValue::from_static("trailers")));
    assert_eq!(seen.trailers, Some(trailers));
    connection.abort();
}
