//! Which connection a request takes, when it is sent twice, and what a failing upstream makes of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream;
use http_body::Frame;
use http_body_util::{Empty, Full, StreamBody};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::*;
use super::harness::*;
use crate::body;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    for answer in [OK, CHUNKED, "HTTP/1.1 204 No Content\r\n\r\n"] {
        let (site, connections) = answering(answer).await;
        let forward = forward(site);
        for _ in 0..5 {
            text(ask(&forward, get("/")).await.into_body()).await;
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_whose_answer_was_not_read_or_that_closes_is_not_used_again() {
    let (site, connections) = answering(OK).await;
    let unread = forward(site);
    drop(ask(&unread, get("/")).await);
    text(ask(&unread, get("/")).await.into_body()).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2);

    let (site, connections) = answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let closing = forward(site);
    for _ in 0..2 {
        text(ask(&closing, get("/")).await.into_body()).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// A site as [`answering`], which also counts the connections that are open now.
async fn counting() -> (Upstream, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let open = Arc::<AtomicUsize>::default();
    let now = Arc::clone(&open);
    let (site, made) = site(move |_, mut stream| {
        let now = Arc::clone(&now);
        async move {
            now.fetch_add(1, Ordering::SeqCst);
            while !read_head(&mut stream).await.is_empty() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            now.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    (site, made, open)
}

async fn three_at_once(forward: &Forward) {
    for response in [ask(forward, get("/")).await, ask(forward, get("/")).await, ask(forward, get("/")).await] {
        text(response.into_body()).await;
    }
}

#[tokio::test]
async fn a_burst_uses_its_connections_again_and_the_surplus_goes_by_itself() {
    for allowed in [1, 2, 3] {
        let (mut site, made, open) = counting().await;
        site.max_idle_connections = allowed;
        let forward = forward(site);
        for _ in 0..3 {
            three_at_once(&forward).await;
        }
        assert_eq!((made.load(Ordering::SeqCst), open.load(Ordering::SeqCst)), (3, 3), "{allowed} allowed");
        eventually(|| open.load(Ordering::SeqCst) == allowed).await;
        // A second surplus finds somebody who looks after it, too.
        three_at_once(&forward).await;
        assert_eq!(made.load(Ordering::SeqCst), 3 + 3 - allowed, "what is kept is used");
        eventually(|| open.load(Ordering::SeqCst) == allowed).await;
    }
}

#[tokio::test]
async fn where_no_connections_are_allowed_to_idle_none_is_used_twice() {
    let (mut site, made, open) = counting().await;
    site.max_idle_connections = 0;
    let forward = forward(site);
    three_at_once(&forward).await;
    three_at_once(&forward).await;
    assert_eq!(made.load(Ordering::SeqCst), 6);
    eventually(|| open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_connection_that_comes_back_serves_whoever_gets_none_of_a_full_listener() {
    // Accepts one connection, and lets the others wait in a queue that soon is full.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (arrive, arrived) = oneshot::channel();
    let (answer, asked) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        arrive.send(()).unwrap();
        asked.await.unwrap();
        while stream.write_all(OK.as_bytes()).await.is_ok() && !read_head(&mut stream).await.is_empty() {}
        drop(listener);
    });
    let forward = forward(upstream(Protocol::Http, address.port()));
    let first = tokio::spawn({
        let forward = forward.clone();
        async move { text(ask(&forward, get("/first")).await.into_body()).await }
    });
    arrived.await.unwrap();
    let mut queue = Vec::new();
    while let Ok(queued) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        queue.push(queued.unwrap());
    }

    let second = async { text(ask(&forward, get("/second")).await.into_body()).await };
    let release = async {
        answer.send(()).unwrap();
        first.await.unwrap()
    };
    assert_eq!(tokio::join!(second, release), ("ok".to_owned(), "ok".to_owned()));
}

/// Answers the first request of each connection, and closes on the second one once it has been read. Counts the heads.
async fn dying() -> (Upstream, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let (site, connections) = site(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let first = read_head(&mut stream).await;
            seen.lock().unwrap().push(first);
            stream.write_all(OK.as_bytes()).await.unwrap();
            let second = read_head(&mut stream).await;
            seen.lock().unwrap().push(second);
        }
    })
    .await;
    (site, connections, heads)
}

#[tokio::test]
async fn an_idempotent_request_survives_the_death_of_a_kept_connection() {
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let (site, connections, heads) = dying().await;
        let forward = forward(site);
        text(ask(&forward, get("/first")).await.into_body()).await;
        let second = ask(&forward, request(method, "/second", Empty::new())).await;
        assert_eq!(second.status(), 200, "{method}");
        assert_eq!(connections.load(Ordering::SeqCst), 2);
        let heads = heads.lock().unwrap();
        assert_eq!(heads[1], heads[2], "the same request twice");
    }
}

#[tokio::test]
async fn what_may_have_been_acted_on_is_not_sent_twice() {
    for body in ["", "buy"] {
        let (site, connections, heads) = dying().await;
        let forward = forward(site);
        text(ask(&forward, get("/first")).await.into_body()).await;
        let second = ask(&forward, request("POST", "/second", Full::new(Bytes::from_static(body.as_bytes())))).await;
        assert_eq!(code(second).await, (502, "upstream_unreachable".to_owned()));
        assert_eq!((connections.load(Ordering::SeqCst), heads.lock().unwrap().len()), (1, 2));
    }
}

#[tokio::test]
async fn a_connection_that_died_while_idle_costs_nobody_a_request() {
    let (site, connections) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let forward = forward(site);
    for _ in 0..20 {
        let post = request("POST", "/", Full::new(Bytes::from_static(b"buy")));
        assert_eq!(text(ask(&forward, post).await.into_body()).await, "ok");
        // The site's end is on its way; it arrives before the next request or while that is being handed over.
        tokio::task::yield_now().await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn half_an_answer_is_no_reason_to_ask_again() {
    let (site, connections) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nConte").await.unwrap();
    })
    .await;
    let forward = forward(site);
    text(ask(&forward, get("/")).await.into_body()).await;
    assert_eq!(code(ask(&forward, get("/")).await).await, (502, "upstream_invalid".to_owned()));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_invalid() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let (site, _) = answering(answer).await;
        assert_eq!(code(ask(&forward(site), get("/")).await).await, (502, "upstream_invalid".to_owned()), "{answer}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_noted() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (response, context) = ask_noted(&forward(upstream(Protocol::Http, free)), get("/")).await;
    assert_eq!(code(response).await, (502, "upstream_unreachable".to_owned()));
    let entry = noted(&context);
    assert_eq!(entry.upstream.as_deref(), Some("site"));
    assert!(entry.reason.unwrap().contains("refused") && entry.upstream_time.is_none());

    // Connects, but does not shake hands.
    let (mut mute, _) = site(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    mute.protocol = Protocol::Https(UpstreamTls::default());
    mute.connect_timeout = Duration::from_millis(50);
    let (response, _) = ask_noted(&forward(mute), get("/")).await;
    assert_eq!(code(response).await, (502, "upstream_unreachable".to_owned()));
}

#[tokio::test]
async fn a_name_with_several_addresses_is_reached_by_the_one_that_listens() {
    let (mut site, _) = answering(OK).await;
    // ::1 comes first where it is known, and nobody listens there.
    site.servers[0] = Server::Tcp { host: "localhost".to_owned(), port: port(&site) };
    assert_eq!(text(ask(&forward(site), get("/")).await.into_body()).await, "ok");
}

#[tokio::test]
async fn a_slow_head_is_a_timeout_and_an_answer_in_time_is_timed() {
    let (mut silent, _) = site(|_, mut stream| async move { while !read_head(&mut stream).await.is_empty() {} }).await;
    silent.response_timeout = Duration::from_millis(30);
    let post = request("POST", "/", Full::new(Bytes::from_static(b"buy")));
    assert_eq!(code(ask(&forward(silent.clone()), post).await).await, (504, "upstream_timeout".to_owned()));
    assert_eq!(code(ask(&forward(silent), get("/")).await).await, (504, "upstream_timeout".to_owned()));

    let (site, _) = answering(OK).await;
    let (response, context) = ask_noted(&forward(site), get("/")).await;
    text(response.into_body()).await;
    let entry = noted(&context);
    assert!(entry.upstream_time.is_some() && entry.reason.is_none() && !entry.cut);
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_answer() {
    let (mut site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        // Ten chunks of one byte and the last one.
        read_exactly(&mut stream, 10 * "1\r\nx\r\n".len() + "0\r\n\r\n".len()).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    site.response_timeout = Duration::from_millis(100);
    let body = StreamBody::new(stream::unfold(0, |sent| async move {
        tokio::time::sleep(Duration::from_millis(25)).await;
        (sent < 10).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), sent + 1))
    }));
    let response = ask(&forward(site), request("POST", "/", Box::pin(body))).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn an_upload_that_the_upstream_does_not_take_is_late() {
    let (mut site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    site.response_timeout = Duration::from_millis(100);
    let endless = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 65536]))));
    let response = ask(&forward(site), request("POST", "/", StreamBody::new(endless))).await;
    assert_eq!(code(response).await, (504, "upstream_timeout".to_owned()));
}

#[tokio::test]
async fn a_body_that_breaks_is_the_clients_fault_and_never_looks_whole_upstream() {
    type Make = fn() -> BoxError;
    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] body::Error);
    let cases: [(Make, u16, &str); 4] = [
        (|| body::Error::TooLarge.into(), 413, "body_too_large"),
        (|| Wrapped(body::Error::TooLarge).into(), 413, "body_too_large"),
        (|| body::Error::TimedOut.into(), 408, "body_timeout"),
        (|| body::Error::Broken("gone".into()).into(), 400, "bad_request"),
    ];
    for (error, status, name) in cases {
        let (heard, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let (site, _) = site(move |_, mut stream| {
            let heard = heard.clone();
            async move {
                read_head(&mut stream).await;
                let mut body = Vec::new();
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut body).await;
                heard.send(body).unwrap();
            }
        })
        .await;
        let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"half"))), Err(error())]);
        let response = ask(&forward(site), request("POST", "/", StreamBody::new(frames))).await;
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(code(response).await, (status, name.to_owned()));
        let body = seen.recv().await.unwrap();
        assert!(!body.ends_with(b"0\r\n\r\n"), "{body:?}");
    }
}
