//! Bodies both ways: whole, in their own time, at the reader's pace, and visibly broken when they break.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::*;
use super::harness::*;

const MIB: usize = 1024 * 1024;
static ZEROS: [u8; 65536] = [0; 65536];

#[tokio::test]
async fn lengths_and_chunks_pass_both_ways() {
    for (length, sent) in [(Some("5"), "hello"), (None, "5\r\nhello\r\n0\r\n\r\n")] {
        let (heard, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let (site, _) = site(move |_, mut stream| {
            let heard = heard.clone();
            async move {
                let head = read_head(&mut stream).await;
                heard.send((head, read_exactly(&mut stream, sent.len()).await)).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld").await.unwrap();
            }
        })
        .await;
        let mut request = request("POST", "/", Full::new(Bytes::from_static(b"hello")));
        if let Some(length) = length {
            request.headers_mut().insert("content-length", HeaderValue::from_static(length));
        }
        let response = ask(&forward(site), request).await;
        assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(5));
        assert_eq!(text(response.into_body()).await, "world");
        let (head, body) = seen.recv().await.unwrap();
        assert_eq!(head.contains("transfer-encoding: chunked"), length.is_none());
        assert_eq!(body, sent);
    }
}

#[tokio::test]
async fn sixty_four_mebibytes_go_up_as_fast_as_the_site_reads_and_no_faster() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let (site, _) = site(move |_, mut stream| {
        let mut gone = gone.clone();
        async move {
            read_head(&mut stream).await;
            gone.wait_for(|go| *go).await.unwrap();
            let mut buffer = vec![0; 65536];
            let mut left = 64 * MIB;
            while left > 0 {
                left -= stream.read(&mut buffer).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let polled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&polled);
    let body = StreamBody::new(stream::iter(0..1024).map(move |_| {
        counter.fetch_add(ZEROS.len(), Ordering::SeqCst);
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(&ZEROS)))
    }));
    let mut request = request("POST", "/", body);
    request.headers_mut().insert("content-length", HeaderValue::from(64 * MIB));
    let mut answer = forward(site).call(request);
    let stalled = tokio::time::timeout(Duration::from_millis(200), &mut answer).await;
    assert!(stalled.is_err(), "no answer before the body is read");
    // What the two sockets and hyper's own buffer hold.
    assert!(polled.load(Ordering::SeqCst) < 24 * MIB, "{} bytes were taken", polled.load(Ordering::SeqCst));
    go.send(true).unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 200);
    assert_eq!(polled.load(Ordering::SeqCst), 64 * MIB);
}

#[tokio::test]
async fn sixty_four_mebibytes_come_down_as_fast_as_the_client_reads_and_no_faster() {
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let (site, _) = site(move |_, mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB);
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..1024 {
                stream.write_all(&ZEROS).await.unwrap();
                counter.fetch_add(65536, Ordering::SeqCst);
            }
        }
    })
    .await;
    let mut response = ask(&forward(site), get("/")).await;
    tokio::time::timeout(Duration::from_millis(200), std::future::pending::<()>()).await.unwrap_err();
    let unread = written.load(Ordering::SeqCst);
    assert!(unread < 24 * MIB as u64, "{unread} bytes were taken");
    let mut read = 0;
    while let Some(frame) = response.body_mut().frame().await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, 64 * MIB);
}

#[tokio::test]
async fn trailers_pass_both_ways_but_for_what_they_may_not_say() {
    let (heard, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (site, _) = site(move |_, mut stream| {
        let heard = heard.clone();
        async move {
            read_head(&mut stream).await;
            let mut body = read_head(&mut stream).await;
            if !body.contains("\r\n0\r\n") {
                body += &read_head(&mut stream).await;
            }
            heard.send(body).unwrap();
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n\
                      X-Sum: 7\r\nSet-Cookie: a=1\r\n\r\n",
                )
                .await
                .unwrap();
        }
    })
    .await;
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "x-genesys-session-id", "x-forwarded-for", "content-length"] {
        trailers.insert(name, HeaderValue::from_static("9"));
    }
    let frames = [Frame::data(Bytes::from_static(b"hi")), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    let mut request = request("POST", "/", body);
    request
        .headers_mut()
        .insert("trailer", HeaderValue::from_static("x-sum, x-genesys-session-id, x-forwarded-for, content-length"));
    let response = ask(&forward(site), request).await;
    let whole = response.into_body().collect().await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), "2\r\nhi\r\n0\r\nx-sum: 9\r\n\r\n");
    let trailers = whole.trailers().unwrap();
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("7")));
}

#[tokio::test]
async fn an_event_is_there_before_the_next_one_and_may_wait_for_it() {
    let (mut site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\ndata: 1\n\n")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    site.idle_timeout = Duration::from_millis(1);
    site.stream_idle_timeout = Duration::from_millis(60);
    let mut response = ask(&forward(site), get("/")).await;
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "data: 1\n\n");
    let began = tokio::time::Instant::now();
    let silent = response.body_mut().frame().await.unwrap();
    assert!(matches!(silent, Err(BodyError::Silent)));
    assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_silent_upstream_is_cut_off_and_a_slow_client_is_not() {
    let (mut site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1").await.unwrap();
        let (mut reading, mut writing) = stream.split();
        // The second byte comes once the client has let its turn pass.
        tokio::time::sleep(Duration::from_millis(80)).await;
        writing.write_all(b"2").await.unwrap();
        let _ = reading.read_u8().await;
    })
    .await;
    site.idle_timeout = Duration::from_millis(50);
    let (mut response, context) = ask_noted(&forward(site), get("/")).await;
    response.body_mut().frame().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_millis(70), std::future::pending::<()>()).await.unwrap_err();
    let second = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(second.into_data().unwrap(), "2");
    assert!(matches!(response.body_mut().frame().await, Some(Err(BodyError::Silent))));
    assert!(noted(&context).cut);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_at_the_client_too() {
    for (answer, passed) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "half"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "4\r\nhalf\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "4\r\nhalf\r\n"),
    ] {
        let (site, _) = site(move |_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let forward = forward(site);
        let (response, context) = ask_noted(&forward, get("/")).await;
        assert!(response.into_body().collect().await.is_err(), "{answer}");
        assert!(noted(&context).cut);

        let mut client = connect(front(forward).await).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        read_head(&mut client).await;
        let mut rest = Vec::new();
        // hyper ends the connection there; a reset would be as good.
        let _ = client.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8(rest).unwrap(), passed, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let (site, _) = site(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            let head = read_head(&mut stream).await;
            if head.starts_with("GET /begun") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
            }
            ended.send(stream.read(&mut [0; 1024]).await.unwrap_or(0)).unwrap();
        }
    })
    .await;
    let forward = forward(site);
    // Before the head, and in the middle of the body.
    let waiting = tokio::time::timeout(Duration::from_millis(30), forward.clone().call(get("/")));
    assert!(waiting.await.is_err());
    assert_eq!(tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap(), Some(0));
    let mut begun = ask(&forward, get("/begun")).await;
    begun.body_mut().frame().await.unwrap().unwrap();
    drop(begun);
    assert_eq!(tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap(), Some(0));
}
