//! A site that keeps every byte that the proxy writes to it, and answers each whole request with nothing.
//!
//! It reads as strictly as the proxy is to write: any other way of framing a request fails the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::ANYWHERE;

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    /// Of each connection.
    bytes: Arc<Mutex<Vec<Vec<u8>>>>,
    listening: JoinHandle<()>,
}

/// One request as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The lines behind the last chunk.
    pub(crate) trailers: String,
    pub(crate) whole: bool,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(ANYWHERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let all = Arc::clone(&bytes);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(record(stream, Arc::clone(&all)));
            }
        });
        Self { address, bytes, listening }
    }

    /// What it was told so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.bytes.lock().unwrap().iter().flat_map(|bytes| requests(bytes)).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn record(mut stream: TcpStream, all: Arc<Mutex<Vec<Vec<u8>>>>) {
    let connection = {
        let mut all = all.lock().unwrap();
        all.push(Vec::new());
        all.len() - 1
    };
    let (mut answered, mut buffer) = (0, [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let whole = {
            let bytes = &mut all.lock().unwrap()[connection];
            bytes.extend_from_slice(&buffer[..read]);
            requests(bytes).iter().filter(|request| request.whole).count()
        };
        for _ in answered..whole {
            // The proxy may have given the request up.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
        answered = whole;
    }
}

fn requests(mut bytes: &[u8]) -> Vec<Recorded> {
    let mut requests = Vec::new();
    while let Some((head, rest)) = until(bytes, "\r\n\r\n") {
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let fields = |name: &str| -> Vec<&str> {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|line| line.0.eq_ignore_ascii_case(name)).map(|line| line.1).collect()
        };
        let mut request =
            Recorded { target, head: head.clone(), body: Vec::new(), trailers: String::new(), whole: true };
        bytes = match (&fields("content-length")[..], &fields("transfer-encoding")[..]) {
            ([], []) => rest,
            ([length], []) => {
                let size: usize = length.parse().unwrap();
                assert_eq!(*length, size.to_string(), "{head}");
                request.whole = rest.len() >= size;
                let (body, rest) = rest.split_at(size.min(rest.len()));
                request.body = body.to_vec();
                rest
            }
            ([], ["chunked"]) => chunks(rest, &mut request),
            (lengths, codings) => panic!("{lengths:?} and {codings:?}: {head}"),
        };
        requests.push(request);
    }
    requests
}

fn chunks<'a>(mut bytes: &'a [u8], request: &mut Recorded) -> &'a [u8] {
    request.whole = false;
    while let Some((line, rest)) = until(bytes, "\r\n") {
        let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("{line:?} in {request:?}"));
        assert_eq!(line, format!("{size:X}"), "{request:?}");
        if size == 0 {
            let end = if rest.starts_with(b"\r\n") { "\r\n" } else { "\r\n\r\n" };
            let Some((trailers, rest)) = until(rest, end) else { break };
            request.trailers = trailers;
            request.whole = true;
            return rest;
        }
        if rest.len() < size + 2 {
            break;
        }
        request.body.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n", "{request:?}");
        bytes = &rest[size + 2..];
    }
    &[]
}

fn until<'a>(bytes: &'a [u8], end: &str) -> Option<(String, &'a [u8])> {
    let at = bytes.windows(end.len()).position(|window| window == end.as_bytes())?;
    // Bytes beyond ASCII stand for themselves.
    Some((bytes[..at].iter().map(|byte| char::from(*byte)).collect(), &bytes[at + end.len()..]))
}
