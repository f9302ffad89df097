//! What the site does, seen from a client on a real connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// For what happens on a loopback at once, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn site() -> Site {
    Site::start("127.0.0.1:0".parse().unwrap(), Settings::recording()).unwrap()
}

async fn send<B>(site: &Site, request: Request<B>) -> Response<Incoming>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(site.address()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.unwrap()
}

async fn send_h2<B>(site: &Site, request: Request<B>) -> Response<Incoming>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(site.address()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "shop.example").body(Full::default()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn every_path_without_a_meaning_of_its_own_shows_the_request() {
    let site = site();
    for path in ["/", "/public/a", "/account/orders?id=1", "/whatever/it/is", "//"] {
        let mut request = get(path);
        request.headers_mut().insert("x-genesys-session-id", HeaderValue::from_static("s-1"));
        let response = send(&site, request).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(text(response).await.contains("s-1"));
    }
    let targets: Vec<_> = site.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/", "/public/a", "/account/orders?id=1", "/whatever/it/is", "//"]);
}

#[tokio::test]
async fn headers_come_back_as_they_came() {
    let site = site();
    let mut request = get("/headers");
    request.headers_mut().append("x-twice", HeaderValue::from_static("one"));
    request.headers_mut().append("x-twice", HeaderValue::from_static("two, \"three\""));
    let answer: serde_json::Value = serde_json::from_str(&text(send(&site, request).await).await).unwrap();
    assert_eq!(answer, serde_json::json!({ "host": ["shop.example"], "x-twice": ["one", "two, \"three\""] }));
}

#[tokio::test]
async fn a_body_is_measured_and_seen_with_its_trailers() {
    let site = site();
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("7"))]);
    let frames = [Frame::data(Bytes::from_static(b"hello ")), Frame::data("world".into()), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
    let response = send_h2(&site, Request::post("http://shop.example/body?a=b").body(body).unwrap()).await;
    let answer: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(answer["length"], 11);
    assert_eq!(answer["sha256"], "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");

    let [seen] = &site.seen()[..] else { panic!("one request") };
    assert_eq!((seen.body_length, seen.whole), (11, true));
    assert_eq!(seen.trailers.as_ref().unwrap()["x-sum"], "7");
    assert_eq!((seen.target.as_str(), seen.authority.as_deref()), ("/body?a=b", Some("shop.example")));
    assert_eq!(seen.version, http::Version::HTTP_2);
}

#[tokio::test]
async fn a_mirror_answers_while_the_body_still_comes() {
    let site = site();
    let (sender, body) = tokio::sync::mpsc::unbounded_channel::<Frame<Bytes>>();
    let body = StreamBody::new(futures_util::stream::unfold(body, |mut body| async {
        body.recv().await.map(|frame| (Ok::<_, Infallible>(frame), body))
    }));
    sender.send(Frame::data("first".into())).unwrap();
    let request = Request::post("http://shop.example/mirror").body(Box::pin(body)).unwrap();
    let mut answer = send_h2(&site, request).await.into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    assert!(!site.seen()[0].whole);

    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    sender.send(Frame::trailers(trailers)).unwrap();
    drop(sender);
    assert_eq!(answer.collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
    assert!(site.seen()[0].whole);
}

#[tokio::test]
async fn as_many_bytes_come_as_were_asked_for() {
    let site = site();
    for length in [0, 1, 64, 16 * 1024, 1_000_003] {
        let response = send(&site, get(&format!("/bytes/{length}"))).await;
        assert_eq!(response.headers()["content-length"], length.to_string().as_str());
        let body = text(response).await;
        assert_eq!(body.len(), length);
        assert!(
            body.lines().all(|line| line == "abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXY"
                || body.ends_with(line))
        );
    }
    for path in ["/bytes/", "/bytes/-1", "/bytes/many", "/status/99", "/status/101", "/status/600", "/status/x"] {
        assert_eq!(send(&site, get(path)).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_cut_answer_never_looks_whole() {
    let site = site();
    let response = send(&site, get("/cut/100000")).await;
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
    let response =
        send_h2(&site, Request::get("http://shop.example/cut/5").body(Full::<Bytes>::default()).unwrap()).await;
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn an_early_answer_leaves_the_body_unread() {
    let site = site();
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    stream.write_all(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert!(!site.seen()[0].whole);
}

#[tokio::test]
async fn events_come_one_by_one() {
    let site = site();
    let response = send(&site, get("/events?n=2")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let began = Instant::now();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "id: 1\ndata: event 1 of 2\n\n");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "id: 2\ndata: event 2 of 2\n\n");
    assert!(began.elapsed() > Duration::from_millis(900), "a second between them");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn head_gets_the_fields_and_no_body() {
    let site = site();
    let length = text(send(&site, get("/robots.txt")).await).await.len().to_string();
    let head = |target| Request::head(target).header("host", "shop.example").body(Full::<Bytes>::default()).unwrap();
    for response in
        [send(&site, head("/robots.txt")).await, send_h2(&site, head("http://shop.example/robots.txt")).await]
    {
        assert_eq!(response.headers()["content-length"], length.as_str());
        assert_eq!(text(response).await, "");
    }
}

#[tokio::test]
async fn a_status_is_answered_as_asked() {
    let site = site();
    for status in [200, 204, 205, 304, 404, 503] {
        let response = send(&site, get(&format!("/status/{status}"))).await;
        assert_eq!(response.status(), status);
        assert_eq!(text(response).await.is_empty(), [204, 205, 304].contains(&status));
    }
    assert_eq!(text(send(&site, get("/slow?ms=1")).await).await, "Answered after 1 ms.\n");
    assert_eq!(send(&site, get("/favicon.ico")).await.headers()["content-type"], "image/svg+xml");
}

#[tokio::test]
async fn a_websocket_says_everything_back() {
    let site = site();
    let stream = TcpStream::connect(site.address()).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://shop.example/echo", stream).await.unwrap();
    for message in [Message::text("hello"), Message::binary(vec![0, 159, 146, 150]), Message::text("x".repeat(200_000))]
    {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(None)))));

    let response = send(&site, get("/echo")).await;
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(response.headers()["upgrade"], "websocket");
}

#[tokio::test]
async fn the_answers_fields_can_be_given() {
    let answer_headers =
        HeaderMap::from_iter(["a=1", "b=2"].map(|cookie| (http::header::SET_COOKIE, HeaderValue::from_static(cookie))));
    let settings = Settings { answer_headers, ..Settings::default() };
    let site = Site::start("127.0.0.1:0".parse().unwrap(), settings).unwrap();
    let response = send(&site, get("/")).await;
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert!(site.seen().is_empty(), "and nothing is remembered unless it was asked for");
}

#[tokio::test]
async fn the_oldest_are_forgotten_first() {
    let settings = Settings { remember: 2, ..Settings::default() };
    let site = Site::start("127.0.0.1:0".parse().unwrap(), settings).unwrap();
    for path in ["/1", "/2", "/3"] {
        send(&site, get(path)).await;
    }
    assert_eq!(site.seen().into_iter().map(|seen| seen.target).collect::<Vec<_>>(), ["/2", "/3"]);
}

#[tokio::test]
async fn a_dropped_site_lets_go_of_its_connections_and_its_address() {
    let site = site();
    let mut idle = TcpStream::connect(site.address()).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async("ws://a/echo", TcpStream::connect(site.address()).await.unwrap())
            .await
            .unwrap();
    let address = site.address();
    drop(site);
    let read = tokio::time::timeout(PATIENCE, idle.read(&mut [0])).await.expect("the idle connection ends");
    assert!(matches!(read, Ok(0) | Err(_)));
    let last = tokio::time::timeout(PATIENCE, socket.next()).await.expect("the WebSocket ends");
    assert!(matches!(last, None | Some(Err(_))));
    assert!(TcpStream::connect(address).await.is_err());
}
