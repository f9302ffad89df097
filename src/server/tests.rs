//! Over real sockets: what a well-behaved client gets, and what a hostile one does not.

mod announced;
mod client;
mod house;

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::AsyncReadExt;

use self::client::{Raw, frames, http2};
use self::house::{House, eventually};
use super::sweeper::CLOSE_WAIT;
use super::*;
use crate::context::Trust;

/// Short enough to be waited for, long enough for a busy machine to be in time.
const SOON: Duration = Duration::from_millis(250);

fn limits() -> Limits {
    Limits::default()
}

#[tokio::test]
async fn http_1_and_http_2_are_spoken_with_and_without_tls() {
    for tls in [false, true] {
        let house = House::open(limits(), tls).await;
        let scheme = if tls { "https" } else { "http" };

        let mut one = Raw::connect(&house, &[b"http/1.1"]).await;
        for _ in 0..2 {
            let response = one.exchange("GET /facts HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let facts = format!("{} {} {scheme} HTTP/1.1", one.address, house.address);
            assert!(response.starts_with("HTTP/1.1 200") && response.ends_with(&facts), "{response}");
        }

        let (mut two, _connection) = http2(&house).await;
        for _ in 0..2 {
            let (status, body) = two.get("/facts").await.unwrap();
            assert_eq!(status, StatusCode::OK);
            assert!(body.ends_with(&format!("{} {scheme} HTTP/2.0", house.address)), "{body}");
        }
    }
}

#[tokio::test]
async fn a_listener_for_tls_never_speaks_in_the_clear() {
    let mut house = House::build(limits(), true);
    house.server.tls = None;
    let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    assert_eq!(house.server.serve(socket, house.service()).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn what_only_begins_like_http_2_is_read_as_http_1() {
    let house = House::open(limits(), false).await;
    for request in ["PUT /echo HTTP/1.1\r\n", "PRI /echo HTTP/1.1\r\n", "P /echo HTTP/1.1\r\n"] {
        let mut client = Raw::connect(&house, &[]).await;
        for byte in request.chars() {
            client.send(&byte.to_string()).await;
        }
        let response = client.exchange("Host: a\r\nContent-Length: 2\r\n\r\nhi").await;
        assert!(response.ends_with("\r\n\r\nhi"), "{response}");
    }
    let mut client = Raw::connect(&house, &[]).await;
    client.send("PRI * HTTP/2.0\r\n\r\nno").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn the_sites_own_date_survives_and_a_missing_one_is_added() {
    let house = House::open(limits(), false).await;
    let mut client = Raw::connect(&house, &[]).await;
    let response = client.exchange("GET /dated HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(response.matches("date: Sun, 06 Nov 1994 08:49:37 GMT").count(), 1, "{response}");
    assert_eq!(response.matches("date: ").count(), 1, "{response}");
    assert!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.contains("date: "));
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_holds_nobody_up() {
    for tls in [false, true] {
        let house = House::open(Limits { header_timeout: SOON, ..limits() }, tls).await;
        let mut good = Raw::connect(&house, &[]).await;
        let mut slow = Raw::connect(&house, &[]).await;
        let begun = Instant::now();
        slow.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
        // Each new byte is no new start.
        while slow.try_send("X: y\r\n").await && begun.elapsed() < SOON * 20 {
            assert!(good.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.ends_with("hello"));
            tokio::time::sleep(SOON / 10).await;
        }
        assert!((SOON..SOON * 20).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_with_and_without_a_request_before() {
    for tls in [false, true] {
        let house = House::open(Limits { keep_alive: SOON, ..limits() }, tls).await;
        for requests in [0, 1] {
            let mut client = Raw::connect(&house, &[]).await;
            for _ in 0..requests {
                client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            }
            let begun = Instant::now();
            // `rest` fails on a reset, and on TLS without close_notify: it is a proper end.
            assert_eq!(client.rest().await, "");
            // The server's clock may have begun when our last response left it.
            assert!((SOON * 3 / 4..CLOSE_WAIT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        }
        let (mut client, connection) = http2(&house).await;
        assert!(client.get("/").await.is_ok());
        let ended = tokio::time::timeout(SOON * 20, connection).await.expect("an idle connection ends");
        assert!(ended.unwrap().is_ok(), "with GOAWAY, not with an error");
    }
}

#[tokio::test]
async fn an_open_stream_keeps_an_http_2_connection() {
    let house = House::open(Limits { keep_alive: SOON, ..limits() }, true).await;
    let (client, _connection) = http2(&house).await;
    let waiting = client.start("/wait");
    tokio::time::sleep(SOON * 3).await;
    house.release();
    assert_eq!(waiting.await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_ended() {
    let house = House::open(Limits { handshake_timeout: SOON, ..limits() }, true).await;
    for first in [&b""[..], &[0x16, 3, 1, 2, 0, 1]] {
        let begun = Instant::now();
        let mut client = Raw::tcp(&house).await;
        client.send_bytes(first).await;
        client.end_or_reset().await;
        assert!(begun.elapsed() >= SOON, "{:?}", begun.elapsed());
    }
    eventually("they are forgotten", || house.server.admission.open() == 0).await;
}

#[tokio::test]
async fn a_slow_body_times_out_for_whoever_reads_it() {
    let house = House::open(Limits { body_timeout: SOON, ..limits() }, true).await;
    let mut one = Raw::connect(&house, &[]).await;
    one.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab").await;
    assert!(one.rest().await.ends_with("TimedOut"));

    let (mut two, _connection) = http2(&house).await;
    let (sender, body) = frames();
    sender.send(Bytes::from_static(b"ab")).unwrap();
    let slow = two.send(Request::post("/echo").body(body.boxed()).unwrap());
    assert_eq!(slow.await.unwrap().1, "TimedOut");
    assert!(two.get("/").await.is_ok(), "only the stream has failed");
}

#[tokio::test]
async fn a_body_over_the_limit_is_told_to_whoever_reads_it() {
    let house = House::open(Limits { body_size: Some(4), ..limits() }, false).await;
    let mut client = Raw::connect(&house, &[]).await;
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(client.exchange(&format!("{chunked}4\r\n1234\r\n0\r\n\r\n")).await.ends_with("1234"));
    assert!(client.exchange(&format!("{chunked}5\r\n12345\r\n0\r\n\r\n")).await.ends_with("TooLarge"));
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_broken() {
    let house = House::open(limits(), false).await;
    let mut client = Raw::connect(&house, &[]).await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab").await;
    drop(client);
    eventually("the service sees it", || house.seen().contains(&"Broken".to_owned())).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let house = House::open(Limits { body_timeout: SOON, ..limits() }, false).await;
    let mut client = Raw::connect(&house, &[]).await;
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("its response is dropped", || house.seen().contains(&"endless dropped".to_owned())).await;
    eventually("and so is the connection", || house.server.admission.open() == 0).await;
}

#[tokio::test]
async fn a_stream_of_which_nothing_is_taken_is_reset_alone() {
    let house = House::open(Limits { body_timeout: SOON, ..limits() }, true).await;
    let (mut client, _connection) = http2(&house).await;
    let mut stalled = client.head("/endless").await.unwrap().into_body();
    let mut other = client.head("/endless").await.unwrap().into_body();
    let begun = Instant::now();
    while !house.seen().contains(&"endless dropped".to_owned()) {
        assert!(other.frame().await.unwrap().is_ok(), "the other stream goes on");
        assert!(begun.elapsed() < SOON * 40, "the stalled stream goes on too");
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() >= SOON / 2, "{:?}", begun.elapsed());
    let end = loop {
        match stalled.frame().await {
            Some(Ok(_)) => {}
            end => break end,
        }
    };
    assert!(end.expect("not a proper end").is_err());
    assert!(client.get("/").await.is_ok());
}

#[tokio::test]
async fn an_answer_before_the_end_of_an_upload_leaves_the_upload_alone() {
    let house = House::open(Limits { header_timeout: SOON, keep_alive: SOON, ..limits() }, false).await;
    let mut client = Raw::connect(&house, &[]).await;
    let response = client.exchange("POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n").await;
    assert!(response.ends_with("hello"));
    for _ in 0..12 {
        tokio::time::sleep(SOON / 4).await;
        client.send("x").await;
    }
    eventually("it has come whole", || house.seen().contains(&"12 bytes later".to_owned())).await;
}

#[tokio::test]
async fn a_refused_upload_gets_its_answer() {
    for tls in [false, true] {
        let house = House::open(limits(), tls).await;
        let mut client = Raw::connect(&house, &[]).await;
        client.send("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").await;
        assert!(client.until("\r\n\r\nno").await.starts_with("HTTP/1.1 403"));
        // It may look at the answer only when it has sent everything: no reset keeps it from either.
        for _ in 0..9 {
            client.send_bytes(&[b'x'; 100_000]).await;
        }
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn a_client_that_does_not_close_after_us_is_closed() {
    let house = House::open(limits(), false).await;
    let mut client = Raw::connect(&house, &[]).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(client.rest().await.ends_with("hello"));
    assert_eq!(house.server.admission.open(), 1);
    eventually("it is gone", || house.server.admission.open() == 0).await;
}

#[tokio::test]
async fn a_tunnel_is_nobodys_business_until_the_end() {
    let short = Limits { header_timeout: SOON, keep_alive: SOON, body_timeout: SOON, ..limits() };
    let house = House::open(Limits { handshake_timeout: Duration::from_secs(10), ..short }, true).await;
    let mut client = Raw::connect(&house, &[]).await;
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    tokio::time::sleep(SOON * 3).await;
    client.send("hello?").await;
    assert_eq!(client.until("?").await, "hello?");
    assert_eq!((house.server.admission.open(), house.server.connections.len()), (1, 1));

    house.server.drain.cancel();
    client.send("still there?").await;
    assert_eq!(client.until("?").await, "still there?");
    house.kill();
    client.end_or_reset().await;
    eventually("it is gone", || house.server.connections.is_empty() && house.server.admission.open() == 0).await;
}

#[tokio::test]
async fn connections_are_limited_in_all_and_from_one_address() {
    let house = House::open(Limits { connections: 3, connections_per_address: 2, ..limits() }, false).await;
    let mut first = Raw::connect_from(&house, [127, 0, 0, 1]).await;
    let _second = Raw::connect_from(&house, [127, 0, 0, 1]).await;
    eventually("both are in", || house.server.admission.open() == 2).await;
    Raw::connect_from(&house, [127, 0, 0, 1]).await.end_or_reset().await;

    let _third = Raw::connect_from(&house, [127, 0, 0, 2]).await;
    eventually("another address is let in", || house.server.admission.open() == 3).await;
    Raw::connect_from(&house, [127, 0, 0, 3]).await.end_or_reset().await;
    assert_eq!(house.server.admission.refused(), 2);

    assert!(first.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.ends_with("hello"));
    drop(first);
    eventually("there is room again", || house.server.admission.open() == 2).await;
    let mut again = Raw::connect_from(&house, [127, 0, 0, 1]).await;
    assert!(again.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.ends_with("hello"));
}

#[tokio::test]
async fn too_large_a_head_and_too_many_fields_are_431() {
    let house = House::open(Limits { header_size: 2048, headers: 10, ..limits() }, false).await;
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(2048));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10));
    let endless = "y".repeat(100_000);
    for request in [&large, &many, &endless] {
        let mut client = Raw::connect(&house, &[]).await;
        client.try_send(request).await;
        let response = client.rest().await;
        assert!(response.starts_with("HTTP/1.1 431"), "{response}");
    }
    let (mut client, _connection) = http2(&house).await;
    let mut large = Request::get("/").header("x", "y".repeat(2048)).body(Empty::new().boxed()).unwrap();
    let mut many = Request::get("/").body(Empty::new().boxed()).unwrap();
    (0..11).for_each(|n| {
        many.headers_mut().append("x", n.into());
    });
    for request in [&mut large, &mut many] {
        let request = std::mem::replace(request, Request::new(Empty::new().boxed()));
        assert_eq!(client.send(request).await.unwrap().0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let crumbs = (0..20).fold(Request::get("/"), |request, n| request.header("cookie", format!("c={n}")));
    assert_eq!(client.send(crumbs.body(Empty::new().boxed()).unwrap()).await.unwrap().0, StatusCode::OK);
    assert_eq!(house.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn draining_finishes_what_is_begun_and_closes_the_rest() {
    for tls in [false, true] {
        let mut house = House::open(limits(), tls).await;
        let mut idle = Raw::connect(&house, &[]).await;
        idle.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut silent = Raw::connect(&house, &[]).await;
        silent.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut fresh = Raw::connect(&house, &[]).await;
        let mut reading = Raw::connect(&house, &[]).await;
        reading.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut busy = Raw::connect(&house, &[]).await;
        busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut two, connection) = http2(&house).await;
        let stream = two.start("/wait");
        eventually("both wait", || house.waiting() == 2).await;
        reading.send("GET /wait HTTP/1.1\r\n").await;
        // What was sent before this exchange has been read when it is over.
        idle.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;

        house.server.drain.cancel();
        let last = idle.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(last.contains("connection: close") && last.ends_with("hello"), "it may have been on its way: {last}");
        assert_eq!(idle.rest().await, "");
        assert!(fresh.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.ends_with("hello"), "once more");
        let answered = Instant::now();
        assert_eq!(fresh.rest().await, "");
        assert!(answered.elapsed() < CLOSE_WAIT, "and then at once");
        assert!(Raw::refused(&house).await, "nobody listens any more");
        reading.send("Host: a\r\n\r\n").await;
        eventually("it is read", || house.waiting() == 3).await;
        assert!(!house.server.connections.is_empty());

        house.release();
        for client in [&mut busy, &mut reading] {
            let response = client.rest().await;
            assert!(response.contains("connection: close") && response.ends_with("waited"), "{response}");
        }
        assert_eq!(stream.await.unwrap().1, "waited");
        assert!(connection.await.unwrap().is_ok(), "GOAWAY is no error");
        assert!(two.get("/").await.is_err());
        assert_eq!(silent.rest().await, "", "nobody is waited for who says nothing more");
        drop((idle, silent, fresh, busy, reading));
        house.server.connections.close();
        tokio::time::timeout(SOON * 20, house.server.connections.wait()).await.expect("all connections end");
        house.ended().await;
    }
}

#[tokio::test]
async fn what_waits_in_the_kernels_queue_when_draining_begins_is_served() {
    let house = House::build(limits(), false);
    // Nobody accepts yet.
    let mut queued = Vec::new();
    for _ in 0..20 {
        queued.push(Raw::tcp(&house).await);
    }
    house.server.drain.cancel();
    let _house = house.start();
    for client in &mut queued {
        assert!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.ends_with("hello"));
    }
}

#[test]
fn running_out_of_files_stops_accepting_for_a_moment_and_a_client_that_left_does_not() {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM; then ECONNABORTED, EHOSTUNREACH, ENETDOWN as Linux numbers them.
    for (errno, of_the_connection) in
        [(24, false), (23, false), (105, false), (12, false), (103, true), (113, true), (100, true)]
    {
        assert_eq!(is_of_the_connection(&io::Error::from_raw_os_error(errno)), of_the_connection, "{errno}");
    }
}

#[test]
fn complaints_are_rare() {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut complaints = Complaints::every(Duration::from_secs(10), Duration::from_millis(250));
    let mut said = 0;
    for _ in 0..400 {
        complaints.refused(Refused::Full);
        complaints.failed(io::Error::from_raw_os_error(24));
        complaints.round(address);
        said += u32::from(complaints.refused == 0 && complaints.failed == 0);
    }
    assert_eq!(said, 10, "100 s of rounds, one complaint every 10 s");
}
