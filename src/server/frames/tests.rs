//! hyper on one end of a pipe, and on the other a client that counts, floods, or takes nothing.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::walk::{DATA, PING, RST_STREAM};
use super::*;
use crate::server::connection::PREFACE;
use crate::server::pulse::Open;

/// A pipe's end that counts what is written to it, and how often.
#[derive(Debug)]
struct Counting {
    pipe: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.get_mut().pipe).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.get_mut().pipe).poll_write_vectored(cx, slices)
    }

    /// As TLS and a socket are.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_shutdown(cx)
    }
}

fn pulse() -> Arc<Pulse> {
    Arc::new(Pulse::new(Arc::new(AtomicU32::new(1)), Phase::Fresh))
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_send_buf_size(1024 * 1024);
    builder
}

/// Answers with as many bytes as the path says.
async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let length = request.uri().path()[1..].parse().unwrap();
    Ok(Response::new(Full::new(Bytes::from(vec![b'x'; length]))))
}

/// A server on the other end of what is returned.
fn serve(capacity: usize) -> (DuplexStream, JoinHandle<Result<(), Error>>) {
    let (theirs, ours) = duplex(capacity);
    let framed = Framed::new(ours, &pulse(), |half| {
        builder().serve_connection(TokioIo::new(half), service_fn(answer::<hyper::body::Incoming>))
    });
    (theirs, tokio::spawn(framed))
}

/// How many writes it takes to answer ten requests that come at once, with what is written gathered or not.
async fn writes_for_ten(gathered: bool) -> usize {
    let (theirs, pipe) = duplex(1024 * 1024);
    let writes = Arc::<AtomicUsize>::default();
    let io = Counting { pipe, writes: Arc::clone(&writes) };
    let service = service_fn(answer::<hyper::body::Incoming>);
    if gathered {
        tokio::spawn(async move {
            Framed::new(io, &pulse(), |half| builder().serve_connection(TokioIo::new(half), service)).await.unwrap();
        });
    } else {
        tokio::spawn(async move { builder().serve_connection(TokioIo::new(io), service).await.unwrap() });
    }
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(theirs));
    let (client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let ask = || {
        let mut client = client.clone();
        async move {
            let request = Request::get("http://a/1000").body(Empty::<Bytes>::new()).unwrap();
            let body = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes().len(), 1000);
        }
    };
    ask().await;
    let before = writes.load(Ordering::Relaxed);
    futures_util::future::join_all((0..10).map(|_| ask())).await;
    writes.load(Ordering::Relaxed) - before
}

/// hyper by itself writes a head with what is before it, and then each body.
#[tokio::test]
async fn what_is_written_in_one_turn_leaves_in_one_write() {
    let (gathered, alone) = (writes_for_ten(true).await, writes_for_ten(false).await);
    assert!(alone >= 10, "{alone}");
    assert!(gathered <= 3, "{gathered}, and {alone} without it");
}

#[tokio::test]
async fn a_response_of_many_times_what_is_gathered_passes_through_a_narrow_pipe() {
    let (theirs, serving) = serve(1000);
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(8 * 1024 * 1024).initial_connection_window_size(8 * 1024 * 1024);
    let (mut client, connection) = client.handshake(TokioIo::new(theirs)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://a/4000000").body(Empty::<Bytes>::new()).unwrap();
    let body = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 4_000_000);
    drop(client);
    assert!(serving.await.unwrap().is_ok());
}

/// Writes until it has to wait, then says that it is done.
#[tokio::test]
async fn what_was_gathered_is_bounded_and_leaves_before_the_end() {
    let (mut theirs, ours) = duplex(1000);
    let pulse = pulse();
    let _open = Open::new(&pulse);
    let mut framed = Box::pin(Framed::new(ours, &pulse, |mut half| async move {
        let mut written = 0;
        std::future::poll_fn(|cx| {
            while let Poll::Ready(taken) = Pin::new(&mut half).poll_write(cx, &[0; 1009]) {
                written += taken.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        assert!((FULL..FULL + 1009).contains(&written), "{written}");
        half.flush().await.unwrap();
        half.shutdown().await.unwrap();
        Ok::<_, hyper::Error>(())
    }));
    assert!(futures_util::poll!(framed.as_mut()).is_pending());
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap();
        all.len()
    });
    framed.await.unwrap();
    assert_eq!(reading.await.unwrap(), FULL.div_ceil(1009) * 1009);
}

fn preface() -> BytesMut {
    let mut bytes = BytesMut::from(&PREFACE[..]);
    frame(&mut bytes, walk::SETTINGS, 0, &[]);
    bytes
}

fn frame(bytes: &mut BytesMut, kind: u8, stream: u32, payload: &[u8]) {
    Head { length: u32::try_from(payload.len()).unwrap(), kind, flags: 0, stream }.put(bytes);
    bytes.extend_from_slice(payload);
}

#[tokio::test]
async fn a_flood_is_answered_with_goaway_and_the_end() {
    let (mut theirs, serving) = serve(1024 * 1024);
    let mut bytes = preface();
    (0..1_100).for_each(|_| frame(&mut bytes, PING, 0, &[7; 8]));
    theirs.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    let goaway = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    assert!(answer.ends_with(&goaway), "{:?}", &answer[answer.len().saturating_sub(40)..]);
    assert!(matches!(serving.await.unwrap(), Err(Error::Flood(Flood::Frames(PING)))));
}

/// Resets that h2 counts by itself end with its own GOAWAY, and are told as a flood too.
#[tokio::test]
async fn what_h2_finds_by_itself_is_a_flood_as_well() {
    let (mut theirs, serving) = serve(1024 * 1024);
    let mut bytes = preface();
    for stream in (1..400).step_by(2) {
        let mut head = BytesMut::new();
        // GET, https, / of HPACK's static table; the last field is `:authority: a`.
        frame(&mut head, walk::HEADERS, stream, &[0x82, 0x87, 0x84, 0x41, 0x01, b'a']);
        head[4] = 0x4;
        bytes.extend_from_slice(&head);
        frame(&mut bytes, RST_STREAM, stream, &[0, 0, 0, 8]);
    }
    theirs.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    assert!(matches!(serving.await.unwrap(), Err(Error::Flood(Flood::Protocol))));
}

/// It would be read as the rest of the frame.
#[tokio::test]
async fn nothing_is_said_in_the_midst_of_a_frame() {
    for cut in [false, true] {
        let (mut theirs, ours) = duplex(64 * 1024);
        let mut bytes = preface();
        (0..1_100).for_each(|_| frame(&mut bytes, PING, 0, &[7; 8]));
        theirs.write_all(&bytes).await.unwrap();
        let framed = Framed::new(ours, &pulse(), |mut half| async move {
            let mut data = BytesMut::new();
            frame(&mut data, DATA, 1, &[0; 20]);
            half.write_all(&data[..if cut { 20 } else { 29 }]).await.unwrap();
            while half.read(&mut [0; 1000]).await.is_ok_and(|read| read > 0) {}
            Ok(())
        });
        assert!(matches!(framed.await, Err(Error::Flood(Flood::Frames(PING)))));
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.len(), if cut { 20 } else { 29 + 17 });
    }
}
