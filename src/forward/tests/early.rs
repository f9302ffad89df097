//! Upstreams that answer before they have read the request: neither side may hang, and the client gets the answer.

use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::*;
use super::harness::*;

const NO: &str = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 2\r\n\r\nno";
const UPLOAD: usize = 64 * 1024 * 1024;

/// A client that reads nothing before it has written everything, as many a simple one does.
async fn upload_all_then_read(front: std::net::SocketAddr, size: usize) -> String {
    let mut client = connect(front).await;
    let exchange = async {
        let head = format!("POST /upload HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {size}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let block = [7; 65536];
        for _ in 0..size / block.len() {
            client.write_all(&block).await.unwrap();
        }
        let head = read_head(&mut client).await;
        let body = read_exactly(&mut client, 2).await;
        // The connection is in order: another request may follow.
        client.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 413"));
        format!("{} {body}", head.lines().next().unwrap())
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("no hang")
}

#[tokio::test]
async fn one_that_answers_and_stops_reading() {
    let (site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(NO.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let front = front(forward(site)).await;
    assert_eq!(upload_all_then_read(front, UPLOAD).await, "HTTP/1.1 413 Payload Too Large no");
}

#[tokio::test]
async fn one_that_answers_and_closes() {
    let (site, _) = site(|round, mut stream| async move {
        read_head(&mut stream).await;
        if round % 2 == 0 {
            // Some of the body is read, so that the rest is under way when the connection is reset.
            read_exactly(&mut stream, 200_000).await;
        }
        stream.write_all(NO.as_bytes()).await.unwrap();
    })
    .await;
    let front = front(forward(site)).await;
    for _ in 0..8 {
        assert_eq!(upload_all_then_read(front, UPLOAD / 8).await, "HTTP/1.1 413 Payload Too Large no");
    }
}

#[tokio::test]
async fn an_answer_in_the_receive_buffer_outlives_a_failed_write() {
    // The upstream's answer and its reset are there before the connection is polled again.
    let (site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(NO.as_bytes()).await.unwrap();
    })
    .await;
    let forward = forward(site);
    for _ in 0..50 {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 65536]))));
        let response = ask(&forward, request("POST", "/", StreamBody::new(endless))).await;
        assert_eq!(response.status(), 413);
        assert_eq!(text(response.into_body()).await, "no");
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_while_the_request_does() {
    // Each chunk is answered before the next is sent: both ways at once over one exchange.
    let (site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        for _ in 0..3 {
            let chunk = read_exactly(&mut stream, "1\r\na\r\n".len()).await;
            stream.write_all(chunk.as_bytes()).await.unwrap();
        }
        read_exactly(&mut stream, "0\r\n\r\n".len()).await;
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let (say, said) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let said = stream::unfold(said, |mut said| async move { Some((said.recv().await?, said)) });
    let body = StreamBody::new(said.map(|word| Ok::<_, Infallible>(Frame::data(Bytes::from_static(word.as_bytes())))));
    say.send("a").unwrap();
    let mut response = ask(&forward(site), request("POST", "/", Box::pin(body))).await;
    for (heard, next) in [("a", Some("b")), ("b", Some("c")), ("c", None)] {
        let frame = http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), heard);
        if let Some(next) = next {
            say.send(next).unwrap();
        }
    }
    drop(say);
    assert_eq!(text(response.into_body()).await, "");
}

#[tokio::test]
async fn a_hundred_is_said_when_the_body_is_wanted_and_not_before_a_refusal() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let (heard, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (site, _) = site(move |_, mut stream| {
        let heard = heard.clone();
        async move {
            let head = read_head(&mut stream).await;
            heard.send(head + &read_exactly(&mut stream, 2).await).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let mut client = connect(front(forward(site)).await).await;
    client.write_all(HEAD).await.unwrap();
    assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hi").await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let sent = seen.recv().await.unwrap();
    assert!(sent.ends_with("\r\n\r\nhi") && !sent.to_lowercase().contains("expect"), "{sent}");

    let nobody = upstream(Protocol::Http, 1);
    let mut refused = connect(front(forward(nobody)).await).await;
    refused.write_all(HEAD).await.unwrap();
    assert!(read_head(&mut refused).await.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    let _ = refused.shutdown().await;
    let mut rest = String::new();
    let _ = refused.read_to_string(&mut rest).await;
    assert!(!rest.contains("100 Continue"), "{rest}");
}
