//! A slow client costs the others nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{GIB, MIB, Street};
use crate::harness::raw;

/// How long anything may take that nobody holds up: a thousand times what it takes, and a small part of the minute for
/// which the slow ones are put up with.
const PROMPTLY: Duration = Duration::from_secs(1);

#[tokio::test]
#[ignore = "needs a release build"]
async fn slow_readers_and_slow_uploaders_hold_nobody_up() {
    let street = Street::build();
    let (mut readers, mut uploaders) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        readers.push(slow_reader(street.address).await);
        uploaders.push(slow_uploader(street.address).await);
    }
    for mut visitor in street.visitors() {
        // Over HTTP/2 on the very connection of the well-behaved one.
        let unread = visitor.request(Method::GET, &format!("/bytes/{GIB}")).send().await.unwrap();
        for path in ["/bytes/1000", "/bytes/1000000"] {
            for _ in 0..100 {
                let asked = Instant::now();
                assert_eq!(visitor.visit(path).await.status, 200);
                assert!(asked.elapsed() < PROMPTLY, "{path} took {:?}", asked.elapsed());
            }
        }
        drop(unread);
    }
    for mut reader in readers {
        let mut more = vec![0; 4 * MIB as usize];
        timeout(PROMPTLY, reader.read_exact(&mut more)).await.expect("it goes on where it stopped").unwrap();
    }
    for mut uploader in uploaders {
        say_and_hear(&mut uploader, b'~').await;
    }
}

type Stream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// Has asked for a lot, read the beginning, and reads no more.
async fn slow_reader(address: SocketAddr) -> Stream {
    let mut stream = raw::connect(address, &["http/1.1"]).await;
    let request = format!("GET /bytes/{GIB} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut beginning = [0; 15];
    timeout(PROMPTLY, stream.read_exact(&mut beginning)).await.expect("an answer").unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 200 OK");
    stream
}

/// Has begun to send a body, which has come through to the site and back, and sends no more.
async fn slow_uploader(address: SocketAddr) -> Stream {
    let mut stream = raw::connect(address, &["http/1.1"]).await;
    let head = b"POST /mirror HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await.unwrap();
    say_and_hear(&mut stream, b'~').await;
    stream
}

/// Sends a chunk of this one letter, which stands nowhere else, and waits until it comes back.
async fn say_and_hear(stream: &mut Stream, letter: u8) {
    stream.write_all(&[b'1', b'\r', b'\n', letter, b'\r', b'\n']).await.unwrap();
    let heard = async { while stream.read_u8().await.unwrap() != letter {} };
    timeout(PROMPTLY, heard).await.expect("it comes back");
}
