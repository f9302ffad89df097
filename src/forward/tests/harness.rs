//! Upstreams, requests, and a front that speaks HTTP/1.1 to raw clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::super::*;
use crate::clock::SystemClock;
use crate::context::{Connection, Entry, Record, RequestId, Scheme, Trace};
use crate::hygiene;
use crate::policy::Rules;
use crate::random::SystemRandom;
use crate::session::NoRevocations;

/// How long a test waits for what is bound to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A listener whose n-th connection is served by `serve(n, stream)`, and how many there were.
pub(super) async fn site<F, S>(serve: S) -> (Upstream, Arc<AtomicUsize>)
where
    S: Fn(usize, TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let upstream = upstream(Protocol::Http, listener.local_addr().unwrap().port());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(counted.fetch_add(1, Ordering::SeqCst), stream));
        }
    });
    (upstream, count)
}

/// A site that answers each request, once its head and a body of Content-Length are read, with the same bytes.
pub(super) async fn answering(answer: &'static str) -> (Upstream, Arc<AtomicUsize>) {
    use tokio::io::AsyncWriteExt;
    site(move |_, mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// A site that answers one request and hands its head out.
pub(super) async fn listening(answer: &'static str) -> (Upstream, tokio::sync::mpsc::UnboundedReceiver<String>) {
    use tokio::io::AsyncWriteExt;
    let (heads, received) = tokio::sync::mpsc::unbounded_channel();
    let (upstream, _) = site(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                let _ = heads.send(head);
            }
        }
    })
    .await;
    (upstream, received)
}

pub(super) fn upstream(protocol: Protocol, port: u16) -> Upstream {
    Upstream {
        name: "site".to_owned(),
        protocol,
        servers: vec![Server::Tcp { host: "127.0.0.1".to_owned(), port }],
        balance: Balance::RoundRobin,
        health_check: HealthCheck {
            path: None,
            interval: Duration::from_millis(5),
            timeout: PATIENCE,
            fail_after: 1,
            pass_after: 1,
        },
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        stream_idle_timeout: PATIENCE,
        keep_headers: Vec::new(),
        max_idle_connections: 8,
        host: HostHeader::Preserve,
        forward_token: false,
    }
}

pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        renderer: Renderer::default(),
        clock: Arc::new(SystemClock::new()),
        revocations: Arc::new(NoRevocations),
        drain: CancellationToken::new(),
        tunnels: TaskTracker::new(),
    }
}

pub(super) fn forward(upstream: Upstream) -> Forward {
    let around = surroundings();
    Forward::new(&servers(&[upstream], &around), around, None)
}

pub(super) fn servers(upstreams: &[Upstream], around: &Surroundings) -> Servers {
    let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
    Servers::new(upstreams, Arc::clone(&around.clock), &resolver, None).unwrap()
}

/// Where a site of this harness listens.
pub(super) fn port(upstream: &Upstream) -> u16 {
    let Server::Tcp { port, .. } = &upstream.servers[0] else { unreachable!("they all listen on TCP") };
    *port
}

const TRACE: HeaderValue = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

pub(super) fn context() -> Context {
    Context {
        request_id: RequestId::adopt("r1").unwrap(),
        trace: Trace::of(&HeaderMap::from_iter([(Trace::PARENT, TRACE)]), &SystemRandom),
        method: http::Method::GET,
        uri: http::Uri::from_static("/"),
        version: http::Version::HTTP_11,
        connection: Connection {
            peer: SocketAddr::from(([192, 0, 2, 7], 50000)),
            local: SocketAddr::from(([127, 0, 0, 1], 8443)),
            scheme: Scheme::Https,
        },
        peer_is_trusted: false,
        client: IpAddr::from([192, 0, 2, 7]),
        forwarded_agrees: true,
        scheme: Scheme::Https,
        authority: "shop.example".to_owned(),
        host: "shop.example".to_owned(),
        port: 443,
        misaddressed: None,
        received: Duration::ZERO,
        record: Record::default(),
    }
}

/// A request as it leaves the gate.
pub(super) fn request<B>(method: &str, target: &str, body: B) -> Request<B> {
    let matched = Matched { pattern: "/**".into(), place: 0, rules: Arc::new(Rules::default()), upstream: 0 };
    Request::builder().method(method).uri(target).extension(Arc::new(context())).extension(matched).body(body).unwrap()
}

pub(super) fn get(target: &str) -> Request<Empty<Bytes>> {
    request("GET", target, Empty::new())
}

pub(super) async fn ask<B>(forward: &Forward, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    tokio::time::timeout(PATIENCE, forward.clone().call(request)).await.expect("an answer in time").unwrap()
}

/// The record of a request that is asked by [`ask_noted`].
pub(super) async fn ask_noted<B>(forward: &Forward, request: Request<B>) -> (Response<Body>, Arc<Context>)
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let context = Arc::clone(request.extensions().get::<Arc<Context>>().unwrap());
    (ask(forward, request).await, context)
}

pub(super) fn noted(context: &Context) -> Entry {
    context.record.take()
}

pub(super) async fn text<B>(body: B) -> String
where
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Debug,
{
    let whole = tokio::time::timeout(PATIENCE, body.collect()).await.expect("a body in time").unwrap();
    String::from_utf8(whole.to_bytes().to_vec()).unwrap()
}

/// The refusal's stable code.
pub(super) async fn code(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let text = text(response.into_body()).await;
    let problem: serde_json::Value = serde_json::from_str(&text).expect("a problem document");
    (status, problem["code"].as_str().unwrap().to_owned())
}

/// Reads up to the empty line, and not a byte further; empty at the end of the stream.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

pub(super) async fn read_exactly(stream: &mut (impl AsyncRead + Unpin), count: usize) -> String {
    let mut bytes = vec![0; count];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("bytes in time").unwrap();
    String::from_utf8(bytes).unwrap()
}

/// All lines of a head but the first, sorted.
pub(super) fn sorted_lines(head: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = head.lines().skip(1).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

/// An HTTP/1.1 server with hygiene and forward behind it: what a raw client meets.
pub(super) async fn front(forward: Forward) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let forward = forward.clone();
            let service = service_fn(move |arrived: Request<hyper::body::Incoming>| {
                let (mut head, body) = arrived.into_parts();
                let template = request("GET", "/", ()).into_parts().0;
                hygiene::cleanse(&mut head, false, &[]);
                head.extensions.insert(template.extensions.get::<Arc<Context>>().unwrap().clone());
                head.extensions.insert(template.extensions.get::<Matched>().unwrap().clone());
                forward.clone().call(Request::from_parts(head, body))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    address
}

pub(super) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Waits until `holds`, which other tasks bring about.
pub(super) async fn eventually(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it came to pass");
}
