//! WebSockets as real libraries speak them: fragmented, compressed and large messages, and closes of either kind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::front::Front;
use crate::harness::program::Program;

#[test]
#[ignore = "needs node with ws"]
fn a_client_in_node_js_notices_no_proxy() {
    let mut client = Command::new("node");
    client.env("NODE_PATH", installed("node_modules")).arg(script("client.cjs"));
    speaks_through_the_proxy(client);
}

#[test]
#[ignore = "needs node with ws and python3 with websockets"]
fn a_client_in_python_notices_no_proxy() {
    let mut client = Command::new("python3");
    client.env("PYTHONPATH", installed("python")).env("PYTHONDONTWRITEBYTECODE", "1").arg(script("client.py"));
    speaks_through_the_proxy(client);
}

/// A page that is told so opens another one, and does not wait for a connection that is dead.
#[test]
#[ignore = "needs node with ws and python3 with websockets"]
fn clients_are_told_when_the_proxy_goes() {
    let (server, mut front) = behind_the_proxy();
    let mut node = Command::new("node");
    node.env("NODE_PATH", installed("node_modules")).arg(script("told.cjs"));
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", installed("python")).env("PYTHONDONTWRITEBYTECODE", "1").arg(script("told.py"));
    let mut clients = [node, python].map(|mut client| {
        client.arg(format!("wss://localhost:{}", front.addresses[0].port()));
        Program::start(client)
    });
    // Some that are spoken to all the time, and some that nobody speaks to, with and without compression.
    for client in &clients {
        client.says("all are open");
    }
    front.program.signal("TERM");
    for client in &mut clients {
        let status = client.ends_within(Duration::from_secs(10));
        assert!(status.success(), "{}{}", client.said(), client.complained());
        assert_eq!(client.said().matches("closed with 1001").count(), 4, "{}", client.said());
    }
    server.says_so_often("closed with 1001", 8);
    assert!(front.program.ends_within(Duration::from_secs(5)).success());
}

/// The server of `tests/websocket`, and the proxy in front of it.
fn behind_the_proxy() -> (Program, Front) {
    let mut server = Command::new("node");
    server.env("NODE_PATH", installed("node_modules")).arg(script("server.cjs"));
    let server = Program::start(server);
    let front = Front::of(server.says("listens on ").parse().unwrap(), &[""], "");
    (server, front)
}

fn speaks_through_the_proxy(mut client: Command) {
    let (server, front) = behind_the_proxy();
    client.arg(format!("wss://localhost:{}", front.addresses[0].port()));
    let mut client = Program::start(client);
    let status = client.ends_within(Duration::from_secs(60));
    assert!(status.success(), "{}{}", client.said(), client.complained());
    assert!(client.said().contains("all is well"), "{}", client.said());
    // A close without a word is seen as one on the other side too.
    server.says("closed with 1006");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/websocket").join(name)
}

/// Where `.ci/run` has put what the scripts need.
fn installed(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/websocket").join(name);
    assert!(place.exists(), "{} is missing: `.ci/run` installs it, as tests/websocket/install does", place.display());
    place
}
