//! Changing protocols, and not changing them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::*;
use super::harness::*;

const HELLO: &str = "GET /chat HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\n\
                     Upgrade: WebSocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Version: 13\r\n\r\n";
const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A site that changes protocols, says `first` at once, and then echoes until the client's side ends; then it says
/// goodbye.
async fn echo(first: &'static str) -> (Upstream, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (heads, seen) = tokio::sync::mpsc::unbounded_channel();
    let (upstream, _) = site(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut stream).await).unwrap();
            stream.write_all(format!("{YES}{first}").as_bytes()).await.unwrap();
            let (mut reading, mut writing) = stream.split();
            if tokio::io::copy(&mut reading, &mut writing).await.is_ok() {
                let _ = writing.write_all(b"bye").await;
            }
        }
    })
    .await;
    (upstream, seen)
}

async fn open(front: SocketAddr) -> TcpStream {
    let mut client = connect(front).await;
    client.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    client
}

fn forward_drained_by(upstream: Upstream) -> (Forward, Surroundings) {
    let around = surroundings();
    (Forward::new(&servers(&[upstream], &around), around.clone(), None), around)
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_once_the_site_agrees() {
    let (site, mut heads) = echo("hi").await;
    let (forward, around) = forward_drained_by(site);
    let mut client = connect(front(forward).await).await;
    // What is said before the answer waits for it.
    client.write_all(format!("{HELLO}early ").as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    let lines = sorted_lines(&head);
    for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="] {
        assert!(lines.contains(&line), "{head}");
    }
    let sent = heads.recv().await.unwrap();
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version: 13",
    ] {
        assert!(sorted_lines(&sent).contains(&line), "{sent}");
    }
    client.write_all(b"\x81\x85late").await.unwrap();
    let mut heard = vec![0; 14];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, b"hiearly \x81\x85late");
    assert_eq!(around.tunnels.len(), 1);
    // Half-closed: the site still has something to say.
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye");
    eventually(|| around.tunnels.is_empty()).await;
}

#[tokio::test]
async fn a_tunnel_ends_after_a_silence_of_both_sides() {
    let (mut site, _heads) = echo("").await;
    site.stream_idle_timeout = Duration::from_millis(60);
    let (forward, around) = forward_drained_by(site);
    let mut client = open(front(forward).await).await;
    let began = tokio::time::Instant::now();
    let mut rest = String::new();
    // The site says goodbye when its reading ends.
    client.read_to_string(&mut rest).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
    eventually(|| around.tunnels.is_empty()).await;
}

#[tokio::test]
async fn a_tunnel_gets_a_moment_when_the_process_drains() {
    const GOING_AWAY: [u8; 4] = [0x88, 2, 3, 0xe9];
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let (site, _) = site(move |_, mut stream| {
        let heard = heard.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(format!("{YES}\u{1}\u{2}hi").as_bytes()).await.unwrap();
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            heard.send(all).unwrap();
        }
    })
    .await;
    let (forward, around) = forward_drained_by(site);
    let front = front(forward).await;
    let (mut answers, mut mute) = (open(front).await, open(front).await);
    around.drain.cancel();
    around.tunnels.close();
    for client in [&mut answers, &mut mute] {
        let mut told = [0; 8];
        client.read_exact(&mut told).await.unwrap();
        assert_eq!(told, [&b"\x01\x02hi"[..], &GOING_AWAY].concat()[..], "between two frames");
    }
    // One answers and goes, the other is ended.
    answers.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
    drop(answers);
    assert_eq!(hears.recv().await.unwrap(), b"\x88\x82\0\0\0\0\x03\xe9", "the site hears the answer");
    let began = tokio::time::Instant::now();
    tokio::time::timeout(PATIENCE, around.tunnels.wait()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let mut rest = String::new();
    let _ = mute.read_to_string(&mut rest).await;
}

#[tokio::test]
async fn a_site_that_goes_takes_the_tunnel_along() {
    let (site, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(format!("{YES}gone").as_bytes()).await.unwrap();
    })
    .await;
    let (forward, around) = forward_drained_by(site);
    let mut client = open(front(forward).await).await;
    assert_eq!(read_exactly(&mut client, 4).await, "gone");
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    drop(client);
    eventually(|| around.tunnels.is_empty()).await;
}

#[tokio::test]
async fn a_site_that_declines_just_answers() {
    for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 426 X\r\nContent-Length: 2\r\n\r\nno"] {
        let (site, _) = answering(answer).await;
        let mut client = connect(front(forward(site)).await).await;
        client.write_all(HELLO.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert_eq!(head.lines().next(), answer.lines().next());
        assert_eq!(read_exactly(&mut client, 2).await, "no");
        client.write_all(HELLO.as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut client).await.lines().next(), answer.lines().next(), "and the connection goes on");
    }
}

#[tokio::test]
async fn a_change_to_something_else_is_invalid() {
    let (site, _) = answering("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: irc\r\n\r\n").await;
    let mut client = connect(front(forward(site)).await).await;
    client.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
}

#[tokio::test]
async fn no_other_protocol_is_asked_for() {
    for upgrade in ["h2c", "irc", "TLS/1.0"] {
        let (site, mut heads) = listening("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let mut client = connect(front(forward(site)).await).await;
        let hello = format!(
            "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        client.write_all(hello.as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
        let sent = heads.recv().await.unwrap().to_lowercase();
        assert!(
            !sent.contains("upgrade") && !sent.contains("http2-settings") && !sent.contains("connection"),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn none_is_offered_over_http_2() {
    let mut client = connect(front(forward(upstream(Protocol::H2c, 1))).await).await;
    client.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 501 Not Implemented\r\n"));
}
