//! `guestpass demo` shows the main job on a fresh machine, with no account anywhere.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::program::{self, Program};
use crate::harness::{Visitor, eventually};

fn demo() -> (tempfile::TempDir, Program, Visitor) {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(program::command(folder.path(), &["demo", "--port", "0"]));
    let rest = program.says("guestpass, in front of the site   https://localhost:");
    let port: u16 = rest.trim_end_matches('/').parse().unwrap();
    (folder, program, Visitor::over_http1(SocketAddr::from(([127, 0, 0, 1], port))))
}

#[tokio::test]
async fn it_says_what_runs_where_and_then_what_happens() {
    let (folder, mut program, mut visitor) = demo();
    assert!(visitor.visit("/").await.session_cookie().is_some());
    assert_eq!(visitor.visit("/account/").await.status, 200);
    visitor.cookie = None;
    assert_eq!(visitor.visit("/account/").await.status, 401);

    let words = ["minted    GET / ", "verified  GET /account/ ", "refused   GET /account/ "];
    eventually("it tells", || words.iter().all(|word| program.said().contains(word))).await;
    assert!(program.said().contains("401 session_required"), "{}", program.said());
    assert!(folder.path().join("certs/demo.pem").exists(), "the certificate is kept");

    program.signal("INT");
    assert!(program.ends_within(Duration::from_secs(5)).success());
}

#[tokio::test]
async fn its_sessions_are_made_ahead() {
    let (_folder, program, mut visitor) = demo();
    for _ in 0..10 {
        visitor.cookie = None;
        visitor.visit("/").await;
        if program.said().contains("from the pool") {
            return;
        }
    }
    program.says("from the pool");
}

#[tokio::test]
async fn its_curl_lines_name_the_port_that_it_took() {
    let (_folder, program, _) = demo();
    let port = program.says("guestpass, in front of the site   https://localhost:");
    let port = port.trim_end_matches('/');
    let said = program.said();
    let lines: Vec<&str> = said.lines().filter(|line| line.trim_start().starts_with("curl")).collect();
    assert!(lines.len() >= 4, "{said}");
    assert!(lines.iter().all(|line| line.contains(&format!("https://localhost:{port}/"))), "{lines:?}");
}

#[test]
fn a_port_that_is_taken_is_said_clearly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let ended = program::run(folder.path(), &["demo", "--port", &port]);
    let complained = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success());
    assert!(complained.contains(&port) && complained.contains("--port 0"), "{complained}");
}
