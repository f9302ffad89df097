//! No request fails and no memory is lost, however many there are.

use std::net::SocketAddr;
use std::time::Duration;

use super::h2load::H2load;
use super::{MIB, memory};
use crate::harness::program::{self, Program};
use crate::harness::{Visitor, eventually};

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
        for (path, flags) in [("/bytes/1000", protocol), ("/account/", &[protocol, &["-H", &cookie]].concat())] {
            H2load::start(address, path, Duration::from_secs(10), &[flags, &["-c", "200"]].concat())
                // So few that any machine manages them, and so many that each connection has been used over and over.
                .all_succeed(10_000);
        }
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
