//! Under load no request fails, memory stays where it was, and a slow client costs the others nothing.
//!
//! What is measured is the program itself, in a process of its own, as it is built for release. How fast it is stands
//! nowhere here.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use http::Method;
use reqwest::Body;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::program::{self, Program};
use crate::harness::{Visitor, eventually, raw};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// What a run may take more than the one before: 2 MiB, which is some ten bytes for each of its requests, or a fiftieth.
fn is_steady(before: u64, after: u64) -> bool {
    after <= before + (2 * MIB).max(before / 50)
}

/// How many runs there are at most. The allocator's reserve grows by steps of some MiB, whenever more buffers are in use
/// at once than ever before, and is enough after a few runs; what is lost for each request or connection is lost in
/// every run.
const RUNS: usize = 6;

#[tokio::test]
#[ignore = "needs h2load and a release build"]
async fn two_hundred_connections_over_http1_lose_no_request_and_no_memory() {
    run_again_and_again(&["--h1"], 200).await;
}

/// With 2,000 requests at once, connections to the site were closed after each answer and made anew, until there were
/// no ports left.
#[tokio::test]
#[ignore = "needs h2load and a release build"]
async fn two_hundred_connections_over_http2_with_ten_streams_lose_no_request_and_no_memory() {
    run_again_and_again(&["-m", "10"], 2_000).await;
}

async fn run_again_and_again(protocol: &[&str], at_once: usize) {
    let folder = tempfile::tempdir().unwrap();
    let demo = Program::start(program::command(folder.path(), &["demo", "--port", "0"]));
    let port = demo.says("guestpass, in front of the site   https://localhost:");
    let address = SocketAddr::from(([127, 0, 0, 1], port.trim_end_matches('/').parse().unwrap()));
    let site = demo.says("the site itself                   http://127.0.0.1:");
    let site: u16 = site.trim_end_matches('/').parse().unwrap();
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    let cookie = format!("cookie: genesys_session={}", visitor.cookie.as_deref().unwrap());

    let settled = || connections(site, ESTABLISHED) <= most_idle() && connections(address.port(), ESTABLISHED) <= 1;
    let mut resident = Vec::new();
    loop {
        load(address, "/bytes/1000", protocol);
        load(address, "/account/", &[protocol, &["-H", &cookie]].concat());
        eventually("all but those to be kept, and the visitor's own, are closed", settled).await;
        // Each of the two takes no more connections than it has requests at once. Where the machine stands still for
        // longer than a connection is kept, it may take as many again.
        let closed = connections(site, TIME_WAIT);
        assert!(!resident.is_empty() || closed <= 4 * at_once, "{closed} connections to the site were used up");
        resident.push(memory(&demo));
        match resident[..] {
            [_, .., before, after] if is_steady(before, after) => return,
            _ => assert!(resident.len() < RUNS, "bytes in memory after each run: {resident:?}"),
        }
    }
}

/// `max_idle_connections` for each core.
fn most_idle() -> usize {
    64 * std::thread::available_parallelism().unwrap().get()
}

/// Ten seconds of it, of which each request has to succeed.
fn load(address: SocketAddr, path: &str, flags: &[&str]) {
    let mut command = Command::new("h2load");
    command.args(["-c", "200", "-D", "10", &format!("--connect-to={address}")]).args(flags);
    command.arg(format!("https://localhost:{}{path}", address.port()));
    let mut h2load = Program::start(command);
    let status = h2load.ends_within(Duration::from_secs(40));
    // The last lines may not have been read when it has ended.
    h2load.says("status codes: ");
    let said = h2load.said();
    let count = |word: &str| -> u64 {
        let (before, _) = said.split_once(word).unwrap_or_else(|| panic!("{word} is not said: {said}"));
        before.split([' ', '\n']).next_back().unwrap().parse().unwrap()
    };
    assert!(status.success(), "{said}{}", h2load.complained());
    for word in [" failed", " errored", " timeout", " 3xx", " 4xx", " 5xx"] {
        assert_eq!(count(word), 0, "{word}: {said}");
    }
    // So few that any machine manages them, and so many that each connection has been used over and over.
    assert!(count(" 2xx") > 10_000 && count(" 2xx") >= count(" succeeded"), "{said}");
}

/// The proxy in front of a site, each in a process of its own.
pub(crate) struct Street {
    _folder: TempDir,
    _site: Program,
    pub(crate) proxy: Program,
    pub(crate) address: SocketAddr,
}

impl Street {
    pub(crate) fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Program::start(program::command(folder.path(), &["simulate", "site", "--listen", "127.0.0.1:0"]));
        let upstream = site.says("a sample site stands at ");
        certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
        // One core for all, so that whoever is held up shows. No Genesys is there, and none is needed.
        let text = format!(
            r#"
            workers = 1
            listen = [{{ address = "127.0.0.1:0" }}]
            tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
            genesys = {{ base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }}
            upstream = [{{ name = "site", servers = ["{}"] }}]
            route = [{{ path = "/**", session = "open" }}]
            log.access = "off"
            "#,
            upstream.trim_end_matches('/')
        );
        std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
        let mut command = program::command(folder.path(), &["run"]);
        command.env("HMAC_SECRET", "a secret of the environment, long enough");
        let proxy = Program::start(command);
        let address = proxy.says("listening address=").trim().parse().unwrap();
        Self { _folder: folder, _site: site, proxy, address }
    }

    pub(crate) fn visitors(&self) -> [Visitor; 2] {
        [Visitor::over_http1(self.address), Visitor::over_http2(self.address)]
    }
}

/// How much memory a program takes at most while it is looked at.
#[derive(Clone)]
struct Watch {
    program: u32,
    before: u64,
    most: Arc<AtomicU64>,
}

impl Watch {
    fn begin(program: &Program) -> Self {
        let before = memory(program);
        Self { program: program.id(), before, most: Arc::new(AtomicU64::new(before)) }
    }

    fn look(&self) {
        self.most.fetch_max(resident(self.program), Ordering::Relaxed);
    }

    fn grown(&self) -> u64 {
        self.look();
        self.most.load(Ordering::Relaxed) - self.before
    }
}

/// What is buffered on the way is far below this, whatever the body's length; a body that were collected is far above.
const BUFFERS: u64 = 16 * MIB;

#[tokio::test]
#[ignore = "needs a release build"]
async fn a_gibibyte_down_takes_no_memory() {
    let street = Street::build();
    for mut visitor in street.visitors() {
        assert_eq!(visitor.visit("/bytes/1000000").await.status, 200);
        let watch = Watch::begin(&street.proxy);
        let answer = visitor.request(Method::GET, &format!("/bytes/{GIB}")).send().await.unwrap();
        let mut body = answer.bytes_stream();
        let (mut length, mut looked_at) = (0, 0);
        while let Some(chunk) = body.next().await {
            length += chunk.unwrap().len() as u64;
            if length - looked_at > 16 * MIB {
                looked_at = length;
                watch.look();
            }
        }
        assert_eq!(length, GIB);
        assert!(watch.grown() < BUFFERS, "{} bytes more", watch.grown());
    }
}

#[tokio::test]
#[ignore = "needs a release build"]
async fn a_gibibyte_up_takes_no_memory() {
    const CHUNK: u64 = 64 * 1024;
    let street = Street::build();
    for mut visitor in street.visitors() {
        assert_eq!(visitor.ask(Method::POST, "/body", &[]).await.status, 200);
        let watch = Watch::begin(&street.proxy);
        let chunk = Bytes::from(vec![b'u'; CHUNK as usize]);
        let looking = watch.clone();
        let chunks = (0..GIB / CHUNK).map(move |sent| {
            if sent % 256 == 0 {
                looking.look();
            }
            Ok::<_, std::io::Error>(chunk.clone())
        });
        let request = visitor.request(Method::POST, "/body").body(Body::wrap_stream(stream::iter(chunks)));
        let answer: serde_json::Value = serde_json::from_str(&visitor.send(request).await.body).unwrap();
        assert_eq!(answer["length"], GIB, "{answer}");
        assert!(watch.grown() < BUFFERS, "{} bytes more", watch.grown());
    }
}

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

/// States of a connection, as `/proc/net/tcp` has them. In the second it is closed, and keeps its port from being used.
const ESTABLISHED: &str = "01";
const TIME_WAIT: &str = "06";

/// How many connections to a port of this machine are in a state.
fn connections(port: u16, state: &str) -> usize {
    let port = format!(":{port:04X}");
    let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(&port)) && fields.next() == Some(state)
    };
    all.lines().filter(|line| is_one(line)).count()
}

pub(crate) fn memory(program: &Program) -> u64 {
    resident(program.id())
}

/// The bytes of a process that stand in memory now (proc_pid_status(5), `VmRSS`).
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
