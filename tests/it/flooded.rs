//! While others flood, dawdle or only sit there, a well-behaved visitor is served as ever; memory stays bounded, and
//! within seconds of the end everything is as before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::flood::{FLOODS, Flood};
use crate::harness::frames::{self, END_HEADERS, HEADERS, PING, RST_STREAM, WINDOW_UPDATE, field, frame, get};
use crate::harness::program::Program;
use crate::harness::{Visitor, raw};
use crate::load::{Street, memory, percentile};

const MIB: u64 = 1024 * 1024;

/// How long each of them lasts.
const LASTS: Duration = Duration::from_secs(2);

/// What 99 of 100 requests of the visitor are answered within, on a machine that has nothing else to do.
const PROMPTLY: Duration = Duration::from_millis(250);

/// How much longer than just before. On a machine that is busy with something else all takes its time, and whoever is
/// busy himself waits longer for his turn than who wakes up now and then.
const SLOWER: u32 = 5;

/// As many requests as a hundredth of them says something; or as many as there are when so much time is over.
const VISITS: (usize, Duration) = (200, Duration::from_secs(15));

/// Until when everything is as before.
const BACK: Duration = Duration::from_secs(5);

/// How many do it at once.
const ATTACKERS: usize = 10;

/// What ten connections may take with all that is buffered for them, the allocator's reserve with it.
const BOUND: u64 = 48 * MIB;

/// What is left of it when they have gone: the allocator's reserve.
const RESERVE: u64 = 24 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build"]
async fn by_frames() {
    let street = Street::build();
    for flood in FLOODS {
        beside(&street, flood.name, ATTACKERS, BOUND, || flood_on(street.address, flood)).await;
    }
}

async fn flood_on(address: SocketAddr, Flood { most, beginning, step, .. }: Flood) {
    let (mut reader, mut writer) = frames::connect(address, &[]).await;
    let reading = async { reader.end().await };
    let writing = async {
        let mut goes_on = writer.send(&beginning()).await;
        for first in (0..most).step_by(100) {
            let steps: Vec<u8> = (first..first + 100).flat_map(step).collect();
            goes_on = goes_on && writer.send(&steps).await;
        }
    };
    tokio::join!(reading, writing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build"]
async fn by_requests_dropped_when_they_have_come() {
    let street = Street::build();
    beside(&street, "paced resets", ATTACKERS, BOUND, || async {
        let (mut reader, mut writer) = frames::connect(street.address, &[]).await;
        let mut reset = Vec::new();
        for stream in (1..2_000).step_by(2) {
            let steps = [reset, get(stream, "/slow?ms=60000", &[]), frame(PING, 0, 0, &[0; 8])].concat();
            reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            if !writer.send(&steps).await {
                return;
            }
            while let Some(frame) = reader.next().await
                && frame.kind != PING
            {}
        }
    })
    .await;
}

/// Heads that unpack to as much as is forgiven, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build"]
async fn by_heads_that_unpack() {
    let street = Street::build();
    beside(&street, "HPACK", ATTACKERS, BOUND, || async {
        let (mut reader, mut writer) = frames::connect(street.address, &[]).await;
        let mut said_once = vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e];
        said_once.extend([b'y'; 4_000]);
        writer.send(&get(1, "/", &said_once)).await;
        for stream in (3..2_003).step_by(2) {
            writer.send(&get(stream, "/", &[0xbe; 30])).await;
            if stream % 100 == 3 {
                reader.wait_for(|frame| frame.stream == stream && frame.kind == HEADERS).await;
            }
        }
        // This one is not.
        writer.send(&get(2_003, "/", &[0xbe; 15_000])).await;
        reader.end().await;
    })
    .await;
}

/// Each asks for many large files at once, and takes nothing of them, or a byte at a time. All together they stay under
/// what the site's listener holds of connections that wait to be taken, else its queue is what is measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build"]
async fn by_windows_that_open_by_nothing_or_a_byte() {
    const STREAMS: u64 = 40;
    let street = Street::build();
    for step in [0_u8, 1] {
        // 64 KiB for each stream and three times over: what is buffered for a client that takes nothing.
        let bound = (ATTACKERS as u64) * 3 * STREAMS * 64 * 1024;
        beside(&street, "windows", ATTACKERS, bound, || async {
            // SETTINGS_INITIAL_WINDOW_SIZE of nothing.
            let (mut reader, mut writer) = frames::connect(street.address, &[0, 4, 0, 0, 0, 0]).await;
            for stream in (0..STREAMS as u32).map(|number| 2 * number + 1) {
                writer.send(&get(stream, "/bytes/1000000000", &[])).await;
            }
            let taking = async { while reader.next().await.is_some() {} };
            let opening = async {
                for round in 0..1_000_u32 {
                    let stream = round % STREAMS as u32 * 2 + 1;
                    if step > 0 && !writer.send(&frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, step])).await {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::select! { () = taking => {}, () = opening => {} }
        })
        .await;
    }
}

/// Requests that are in order, as many as one can send. Two clients who do that are answered like everybody else, and
/// whoever comes then stands behind some two hundred of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build"]
async fn by_many_streams() {
    let street = Street::build();
    beside(&street, "streams", 2, BOUND, || async {
        let (mut reader, mut writer) = frames::connect(street.address, &[]).await;
        for round in 0..5 {
            let streams = (0..100).map(|number| (round * 100 + number) * 2 + 1);
            let block = frames::fields(0x82, "/status/204", &field("x", "y"));
            let all: Vec<u8> =
                streams.flat_map(|stream| frame(HEADERS, END_HEADERS | frames::END_STREAM, stream, &block)).collect();
            writer.send(&all).await;
            for _ in 0..100 {
                reader.wait_for(|frame| frame.kind == HEADERS).await;
            }
        }
    })
    .await;
}

/// Has each of the attackers do `attack` over and over while visitors are served, and holds what it promises. That each
/// attack ends with its connection is [`crate::floods`]' business.
async fn beside<F>(street: &Street, name: &str, attackers: usize, bound: u64, attack: impl Fn() -> F + Sync)
where
    F: Future<Output = ()> + Send,
{
    let calm = settled(street).await;
    let over = CancellationToken::new();
    let attacking = futures_util::future::join_all((0..attackers).map(|_| async {
        loop {
            attack().await;
        }
    }));
    // On a thread of their own: what is measured is how the proxy treats the visitor, and not how a runtime does that
    // attackers keep busy.
    let flooded = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| runtime().block_on(async { drop(over.run_until_cancelled(attacking).await) }));
            // Whatever becomes of the visits, the attack ends: the thread is waited for.
            let _over = over.drop_guard_ref();
            runtime().block_on(visits(street, LASTS))
        })
    });
    flooded.is_like(&calm, name, bound);
    is_back(street, name, calm.memory).await;
}

/// What was measured while a visitor came again and again.
struct Visits {
    count: usize,
    /// What a hundredth of them took at least.
    late: Duration,
    /// What the proxy took at most.
    memory: u64,
}

impl Visits {
    /// Whether it went as well as in `calm`, with so much more memory.
    fn is_like(&self, calm: &Self, name: &str, bound: u64) {
        let Self { count, late, memory } = self;
        eprintln!("{name}: {late:?} in {count} visits after {:?}, {memory} bytes after {}", calm.late, calm.memory);
        let promptly = PROMPTLY.max(calm.late * SLOWER);
        assert!(*late < promptly, "{name}: a hundredth of {count} visits took {late:?}, and {:?} before", calm.late);
        assert!(*memory < calm.memory + bound, "{name}: {} bytes before, and {memory} at most", calm.memory);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Visits for so long, of a site that is nobody else's: a flood of requests that are in order until they are dropped fills
/// the queue of the site that they are for, and who stands in that waits for the site.
async fn visits(street: &Street, lasts: Duration) -> Visits {
    let (begun, mut most) = (Instant::now(), 0);
    let mut took = Vec::new();
    let mut visitors = street.visitors();
    let (enough, too_long) = VISITS;
    while begun.elapsed() < lasts || (took.len() < enough && begun.elapsed() < too_long) {
        for visitor in &mut visitors {
            let asked = Instant::now();
            assert_eq!(visitor.visit("/quiet/").await.status, 200);
            took.push(asked.elapsed());
        }
        most = most.max(memory(&street.proxy));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Visits { count: took.len(), late: percentile(took, 99), memory: most }
}

/// How visits go when there is nobody else, and what the proxy takes when nobody is connected any more.
async fn settled(street: &Street) -> Visits {
    let calm = visits(street, Duration::ZERO).await;
    is_back(street, "visits", calm.memory).await;
    Visits { memory: memory(&street.proxy), ..calm }
}

async fn is_back(street: &Street, name: &str, before: u64) {
    let until = Instant::now() + BACK;
    loop {
        let (open, memory) = (connections(street.address.port()), memory(&street.proxy));
        if open == 0 && memory < before + RESERVE {
            return;
        }
        assert!(Instant::now() < until, "{name}: {open} connections, {memory} bytes after {before}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many connections are open at a port of ours, as the proxy sees it.
fn connections(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let port = format!(":{port:04X}");
    let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&port))
            && matches!(fields.nth(1), Some(ESTABLISHED | CLOSE_WAIT))
    };
    all.lines().filter(|line| is_one(line)).count()
}

/// As many connections as from 200 addresses, since from each only so many are let in.
async fn from_address(address: SocketAddr, number: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let last = u8::try_from(number / 100 + 2).unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, last)), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build and 12,000 file descriptors"]
async fn by_five_thousand_who_idle_and_a_thousand_half_open_handshakes() {
    const IDLE: usize = 5_000;
    let street = Street::build();
    let calm = settled(&street).await;
    let mut connecting = JoinSet::new();
    let gate = Arc::new(tokio::sync::Semaphore::new(100));
    for number in 0..IDLE + 1_000 {
        let (address, gate) = (street.address, Arc::clone(&gate));
        connecting.spawn(async move {
            let _turn = gate.acquire().await.unwrap();
            let mut tcp = from_address(address, number).await;
            if number < IDLE {
                let mut stream = raw::secure(tcp, &["http/1.1"]).await;
                stream.write_all(b"GET /bytes/10 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
                stream.read_exact(&mut [0; 15]).await.unwrap();
                Box::new(stream) as Box<dyn Send>
            } else {
                // The beginning of a ClientHello.
                tcp.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
                Box::new(tcp)
            }
        });
    }
    let held = connecting.join_all().await;
    assert!(connections(street.address.port()) >= IDLE, "they are all let in");
    let crowded = visits(&street, LASTS).await;
    // Forty KiB for each is twice what it takes.
    crowded.is_like(&calm, "idle connections", 6_000 * 40 * 1024);
    drop(held);
    // The memory of thousands of connections that have gone is the allocator's: it is taken again by the next.
    is_back(&street, "idle connections", crowded.memory).await;
}

/// Debian's slowhttptest in each of its ways: heads (H), bodies (B), and readers (X).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs slowhttptest and a release build"]
async fn by_slowhttptest() {
    let street = Street::build();
    let calm = settled(&street).await;
    for way in ["-H", "-B", "-X"] {
        let mut command = Command::new("slowhttptest");
        // This one reads what it is sent before it answers.
        let path = if way == "-B" { "body" } else { "bytes/1000000" };
        let url = format!("https://localhost:{}/{path}", street.address.port());
        command.args([way, "-c", "150", "-r", "100", "-l", "6", "-i", "2", "-p", "3", "-u", &url]);
        if way == "-X" {
            command.args(["-w", "512", "-y", "1024", "-n", "2", "-z", "32", "-k", "3"]);
        }
        let mut slow = Program::start(command);
        let slowed = visits(&street, Duration::from_secs(4)).await;
        assert!(connections(street.address.port()) > 100, "{way} is at work");
        // What is buffered both ways for a reader that takes nothing stays under a MiB, whatever the answer's length.
        slowed.is_like(&calm, way, BOUND + 150 * MIB);
        slow.ends_within(Duration::from_secs(20));
        // What readers held back is the allocator's now.
        is_back(&street, way, slowed.memory.max(calm.memory)).await;
    }
    assert_eq!(Visitor::over_http2(street.address).visit("/bytes/1000").await.status, 200);
}
